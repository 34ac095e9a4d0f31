use proptest::prelude::*;

use super::*;
use crate::audit::{Actor, Decision, KeyedDigest, System, TokenHash, Verdict};
use crate::fault::Fault;
use crate::ids::{ScopeSet, TokenId};

fn system(detail: &str) -> Event {
    Event::System(System {
        what: "start",
        detail: detail.to_owned(),
    })
}

fn decision() -> Event {
    Event::Decision(Box::new(Decision {
        request: "r-1".to_owned(),
        actor: Some(Actor {
            issuer: Some("https://as.example".to_owned()),
            agent: Some("c".to_owned()),
            user: None,
        }),
        server: "notes".to_owned(),
        method: Some("tools/call".to_owned()),
        target: Some("add_note".to_owned()),
        target_kind: Some("tool"),
        effect: Some("write"),
        scopes_held: ScopeSet::parse("notes:read").unwrap(),
        scopes_needed: ScopeSet::parse("notes:write").unwrap(),
        verdict: Verdict::Denied,
        reason: "policy.insufficient-scope",
        fault: Some(Fault::Caller),
        rules: Vec::new(),
        token: Some(TokenHash::of(&TokenId::parse("abc").unwrap())),
        arguments: None::<KeyedDigest>,
        confirmation: Some("bearer"),
        certificate: None,
        status: 403,
        era: Some("modern"),
        peer: Some("127.0.0.1".to_owned()),
    }))
}

fn log(events: &[Event]) -> Vec<u8> {
    let mut chain = Chain::start([7; 32]);
    let mut out = Vec::new();
    for (event, second) in events.iter().zip(1_795_256_040_i64..) {
        chain
            .append(event, UnixTime::from_millis(second * 1000 + 7), &mut out)
            .unwrap();
    }
    out
}

fn verify(log: &[u8]) -> Result<Summary, Broken> {
    let mut verifier = Verifier::new();
    verifier.begin_file("audit-1.jsonl");
    let mut rest = log;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        verifier.push(&rest[..end])?;
        rest = &rest[end + 1..];
    }
    if rest.is_empty() {
        Ok(verifier.finish())
    } else {
        Err(verifier.unterminated())
    }
}

#[test]
fn a_line_is_flat_json_in_the_documented_order() {
    let log = String::from_utf8(log(&[decision()])).unwrap();
    let hash = log
        .rsplit_once(",\"hash\":\"")
        .unwrap()
        .1
        .trim_end()
        .trim_end_matches("\"}");
    assert_eq!(
        log,
        format!(
            "{{\"seq\":1,\"time\":\"2026-11-21T10:14:00.007Z\",\"prev\":\"{}\",\"kind\":\"decision\",\"request\":\"r-1\",\
             \"issuer\":\"https://as.example\",\"agent\":\"c\",\"server\":\"notes\",\"method\":\"tools/call\",\
             \"target\":\"add_note\",\"target_kind\":\"tool\",\"effect\":\"write\",\"scopes_held\":\"notes:read\",\
             \"scopes_needed\":\"notes:write\",\"verdict\":\"denied\",\"reason\":\"policy.insufficient-scope\",\
             \"fault\":\"caller\",\"token\":\"ba7816bf8f01cfea414140de5dae2223\",\"confirmation\":\"bearer\",\
             \"status\":403,\"era\":\"modern\",\"peer\":\"127.0.0.1\",\"hash\":\"{hash}\"}}\n",
            "07".repeat(32),
        )
    );
    let parsed: serde_json::Value = serde_json::from_str(&log).unwrap();
    assert!(
        parsed
            .as_object()
            .unwrap()
            .values()
            .all(|value| !value.is_object()),
        "flat: {parsed}"
    );
}

#[test]
fn the_first_record_links_to_the_log_and_each_next_one_to_its_predecessor() {
    let log = String::from_utf8(log(&[system("a"), system("b"), system("c")])).unwrap();
    let records: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records[0]["prev"], "07".repeat(32));
    assert_eq!(records[1]["prev"], records[0]["hash"]);
    assert_eq!(records[2]["prev"], records[1]["hash"]);
    let summary = verify(log.as_bytes()).unwrap();
    assert_eq!((summary.records, summary.first_seq, summary.last_seq), (3, 1, 3));
    assert_eq!(serde_json::json!(summary.last_hash), records[2]["hash"]);
    assert_eq!(serde_json::json!(summary.last_time), records[2]["time"]);
}

#[test]
fn one_flipped_bit_anywhere_is_found_and_its_record_named() {
    let good = log(&[system("a"), decision(), system("c")]);
    assert!(verify(&good).is_ok());
    for at in 0..good.len() {
        for bit in [0x01, 0x04, 0x20, 0x80] {
            let mut bad = good.clone();
            bad[at] ^= bit;
            let broken = verify(&bad).unwrap_err();
            let record = 1 + good[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
            // The very first record has nothing before it that tells its number.
            assert!(
                broken.seq() == Some(record) || (record == 1 && broken.seq() != Some(2)),
                "byte {at}: {broken}"
            );
            assert_eq!(broken.line(), record, "byte {at}: {broken}");
            assert_eq!(broken.file(), Some("audit-1.jsonl"));
        }
    }
}

#[test]
fn records_that_are_missing_doubled_or_swapped_are_found() {
    let good = log(&[system("a"), system("b"), system("c"), system("d")]);
    let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    for (order, seq, defect) in [
        (vec![0, 2, 3], 2, Defect::Sequence { found: 3 }),
        (vec![0, 1, 1, 2], 3, Defect::Sequence { found: 2 }),
        (vec![0, 2, 1, 3], 2, Defect::Sequence { found: 3 }),
    ] {
        let broken = verify(
            &order
                .iter()
                .flat_map(|at| lines[*at])
                .copied()
                .collect::<Vec<_>>(),
        )
        .unwrap_err();
        assert_eq!((broken.seq(), broken.defect()), (Some(seq), defect));
    }
    // A tail is a log of its own: its older files may be elsewhere. It says so.
    assert_eq!(verify(&lines[2..].concat()).unwrap().first_seq, 3);
}

#[test]
fn a_record_forged_with_a_fitting_hash_breaks_the_link_of_the_next() {
    let good = log(&[system("a"), system("b"), system("c")]);
    let forged = {
        let mut chain = Chain::start([7; 32]);
        let mut out = Vec::new();
        chain
            .append(&system("a"), UnixTime::from_millis(1_795_256_040_007), &mut out)
            .unwrap();
        chain
            .append(
                &system("forged"),
                UnixTime::from_millis(1_795_256_041_007),
                &mut out,
            )
            .unwrap();
        out.extend_from_slice(good.split_inclusive(|byte| *byte == b'\n').nth(2).unwrap());
        out
    };
    let broken = verify(&forged).unwrap_err();
    assert_eq!((broken.seq(), broken.defect()), (Some(3), Defect::Link));
    assert_eq!(
        broken.to_string(),
        "audit-1.jsonl line 3, record 3: it does not follow the record before it"
    );
}

#[test]
fn a_clock_set_back_is_noted_and_no_break() {
    let mut chain = Chain::start([0; 32]);
    let mut out = Vec::new();
    for second in [10, 5, 6] {
        chain
            .append(&system("x"), UnixTime::from_secs(second), &mut out)
            .unwrap();
    }
    assert_eq!(verify(&out).unwrap().clock_went_back, 1);
}

#[test]
fn a_chain_goes_on_after_what_held() {
    let mut log = log(&[system("a"), system("b")]);
    let mut verifier = Verifier::new();
    assert!(verifier.chain().is_none() && verifier.last_hash().is_none());
    let last = log[..log.len() - 1].rsplit(|byte| *byte == b'\n').next().unwrap();
    verifier.push(last).unwrap();
    let hash = verifier.last_hash().unwrap();
    assert!(last.ends_with(format!(",\"hash\":\"{hash}\"}}").as_bytes()));
    let mut chain = verifier.chain().unwrap();
    assert_eq!(
        chain.append(&system("c"), UnixTime::from_secs(2_000_000_000), &mut log),
        Ok(3)
    );
    assert_eq!(verify(&log).unwrap().records, 3);
}

#[test]
fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
    let mut chain = Chain::start([0; 32]);
    let mut out = Vec::new();
    chain
        .append(&system(""), UnixTime::from_secs(0), &mut out)
        .unwrap();
    let empty = out.len() - 1;
    let before = out.clone();
    let too_long = system(&"x".repeat(LINE_BYTES - empty + 1));
    assert_eq!(
        chain.append(&too_long, UnixTime::from_secs(0), &mut out),
        Err(Unrecordable)
    );
    assert_eq!(
        (out.len(), chain.next_seq()),
        (before.len(), 2),
        "nothing changed"
    );
    assert_eq!(
        chain.append(
            &system(&"x".repeat(LINE_BYTES - empty)),
            UnixTime::from_secs(0),
            &mut out
        ),
        Ok(2)
    );
    assert_eq!(verify(&out).unwrap().records, 2);
}

#[test]
fn times_are_rfc_3339() {
    for (millis, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_799_999, "2000-02-29T23:59:59.999Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (i64::MAX, "9999-12-31T23:59:59.999Z"),
        (i64::MIN, "1970-01-01T00:00:00.000Z"),
    ] {
        let mut out = Vec::new();
        write_time(&mut out, UnixTime::from_millis(millis));
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}

proptest! {
    #[test]
    fn any_text_makes_one_line_that_holds(detail in ".*") {
        let log = log(&[system(&detail), system("after")]);
        prop_assert_eq!(log.iter().filter(|byte| **byte == b'\n').count(), 2);
        prop_assert_eq!(verify(&log).unwrap().records, 2);
        let line: serde_json::Value = serde_json::from_slice(log.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
        prop_assert_eq!(&line["detail"], &detail);
    }
}
