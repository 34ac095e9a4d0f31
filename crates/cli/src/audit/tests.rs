use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use portcullis_core::audit::{Actor, Decision, Event, Login, RegisteredBy, Registration, System, Verdict};
use portcullis_core::fault::Fault;
use portcullis_core::ids::ScopeSet;
use portcullis_guard::recorder::{Durability, Recorder as _};
use portcullis_net::{clock, random};
use portcullis_server::sink::AuditLog;

use super::names::Names;
use super::show::{Record, Style, shown};
use super::*;

/// A folder with a log in it.
struct Folder(PathBuf);

impl Folder {
    fn new(events: impl IntoIterator<Item = Event>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "portcullis-audit-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let folder = Self(std::env::temp_dir().join(name));
        folder.add(events);
        folder
    }

    fn open(&self) -> AuditLog {
        AuditLog::open(&self.0, Arc::new(clock::System), &random::System).unwrap()
    }

    fn add(&self, events: impl IntoIterator<Item = Event>) {
        let log = self.open();
        for event in events {
            drop(log.record(event, Durability::Queued));
        }
        log.close().unwrap();
    }

    fn place(&self) -> Place {
        Place {
            dir: Some(self.0.clone()),
            ..Place::default()
        }
    }

    fn file(&self) -> PathBuf {
        files(&self.0).unwrap().pop().unwrap()
    }

    fn verify(&self, json: bool) -> (ExitCode, String) {
        self.verify_with(verify::Args {
            json,
            ..verify::Args::default()
        })
    }

    /// What is found as JSON, and whether it is well.
    fn found(&self, args: verify::Args) -> (ExitCode, serde_json::Value) {
        let (code, text) = self.verify_with(verify::Args { json: true, ..args });
        (code, serde_json::from_str(&text).unwrap())
    }

    fn verify_with(&self, args: verify::Args) -> (ExitCode, String) {
        let mut out = Vec::new();
        let args = Args {
            command: Command::Verify(verify::Args {
                place: self.place(),
                ..args
            }),
        };
        (run(&args, &mut out).unwrap(), String::from_utf8(out).unwrap())
    }

    fn query(&self, args: query::Args) -> Vec<String> {
        let mut out = Vec::new();
        let args = Args {
            command: Command::Query(query::Args {
                place: self.place(),
                ..args
            }),
        };
        run(&args, &mut out).unwrap();
        String::from_utf8(out)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn decision(user: &str, tool: &str, verdict: Verdict) -> Event {
    let denied = verdict == Verdict::Denied;
    Decision {
        request: "r".to_owned(),
        actor: Some(Actor {
            issuer: Some("https://as.example".to_owned()),
            agent: Some("agent-1".to_owned()),
            user: Some(user.to_owned()),
        }),
        server: "notes".to_owned(),
        method: Some("tools/call".to_owned()),
        target: Some(tool.to_owned()),
        target_kind: Some("tool"),
        effect: Some("write"),
        scopes_held: ScopeSet::parse("notes:read").unwrap(),
        scopes_needed: ScopeSet::parse("notes:write").unwrap(),
        verdict,
        reason: if denied { "policy.insufficient-scope" } else { "ok" },
        fault: denied.then_some(Fault::Caller),
        rules: Vec::new(),
        token: None,
        arguments: None,
        confirmation: Some("bearer"),
        certificate: None,
        status: if denied { 403 } else { 0 },
        era: Some("modern"),
        peer: None,
    }
    .into()
}

fn login(user: &str, result: &'static str) -> Event {
    Login {
        user: user.to_owned(),
        result,
        peer: Some("127.0.0.1".to_owned()),
    }
    .into()
}

fn some() -> Folder {
    Folder::new([
        System {
            what: "start",
            detail: "gateway".to_owned(),
        }
        .into(),
        login("alice", "login.wrong-password"),
        login("alice", "ok"),
        decision("alice", "add_note", Verdict::Denied),
        decision("alice", "add_note", Verdict::Allowed),
        decision("bob", "list_notes", Verdict::Allowed),
    ])
}

/// The line without its time, which is the system's.
fn timeless(line: &str) -> &str {
    line.split_once(' ').unwrap().1
}

#[test]
fn a_record_is_one_readable_line() {
    let folder = some();
    let lines = folder.query(query::Args::default());
    let lines: Vec<&str> = lines.iter().map(|line| timeless(line)).collect();
    assert_eq!(
        lines,
        [
            "     1 system       start     gateway",
            "     2 login        login.wrong-password alice from 127.0.0.1",
            "     3 login        ok        alice from 127.0.0.1",
            "     4 decision     denied    alice by agent-1 on notes tools/call add_note [write]: policy.insufficient-scope, needs notes:write",
            "     5 decision     allowed   alice by agent-1 on notes tools/call add_note [write]",
            "     6 decision     allowed   bob by agent-1 on notes tools/call list_notes [write]",
        ]
    );
}

#[test]
fn what_others_named_cannot_break_out_of_its_line() {
    let folder = Folder::new([decision(
        "eve\n2026 9 login ok root",
        "x\u{1b}[2J\u{9b}\u{202e}\u{200b}y",
        Verdict::Allowed,
    )]);
    let lines = folder.query(query::Args::default());
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains(r"eve\u{a}2026 9 login ok root by"), "{lines:?}");
    assert!(
        lines[0].contains(r"x\u{1b}[2J\u{9b}\u{202e}\u{200b}y"),
        "{lines:?}"
    );
    assert_eq!(shown("Zoë 名前 ü"), "Zoë 名前 ü");
}

fn registration(name: &str) -> Event {
    Registration {
        client: Some("agent-1".to_owned()),
        how: RegisteredBy::Dcr,
        client_name: Some(name.to_owned()),
        redirect_hosts: Vec::new(),
        result: "ok",
    }
    .into()
}

#[test]
fn an_agent_that_registered_is_shown_with_the_name_that_it_gave_itself() {
    let folder = Folder::new([
        registration("Inspector\" on bank\n"),
        decision("alice", "add_note", Verdict::Allowed),
    ]);
    let lines = folder.query(query::Args::default());
    let expected = r#"alice by agent-1 "Inspector' on bank\u{a}" on notes"#;
    assert!(lines[1].contains(expected), "{lines:?}");
    let json = folder.query(query::Args {
        json: true,
        ..query::Args::default()
    });
    assert!(!json[1].contains("Inspector"), "{json:?}");
    // the registration is older than what is shown, and one that comes later counts too
    let mut out = Vec::new();
    let mut follower = tail::follow_from(&folder.0, 1, &mut out);
    assert!(String::from_utf8(out).unwrap().contains(r#"agent-1 "Inspector'"#));
    folder.add([
        registration("Notebook"),
        decision("bob", "add_note", Verdict::Allowed),
    ]);
    let mut out = Vec::new();
    assert!(follower.print_new(Style::Plain, &mut out).is_ok());
    assert!(
        String::from_utf8(out)
            .unwrap()
            .contains(r#"bob by agent-1 "Notebook""#)
    );
}

#[test]
fn the_log_of_a_configuration_is_found() {
    let folder = some();
    let file = folder.0.with_extension("toml");
    let text = format!("version = 1\n[audit]\ndir = \"{}\"\n", folder.0.display());
    std::fs::write(&file, text).unwrap();
    let place = Place {
        config: Some(file.clone()),
        ..Place::default()
    };
    assert_eq!(place.folder().unwrap(), folder.0);
    std::fs::write(&file, "version = 1\n").unwrap();
    assert!(place.folder().unwrap_err().to_string().contains("no `[audit]`"));
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn colour_is_for_terminals_only() {
    let record = Record::parse(br#"{"kind":"login","result":"ok","user":"a"}"#).unwrap();
    let line = |terminal| record.line(&Names::default(), Style::for_terminal(terminal));
    assert!(line(true).contains("\u{1b}[32mok"));
    assert!(!line(false).contains('\u{1b}'));
}

#[test]
fn queries_select() {
    let folder = some();
    let text = |text: &str| Some(text.to_owned());
    let seqs = |args: query::Args| -> Vec<u64> {
        let lines = folder.query(query::Args { json: true, ..args });
        let seq = |line: &String| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"]
                .as_u64()
                .unwrap()
        };
        lines.iter().map(seq).collect()
    };
    let all = query::Args::default;
    const NONE: [u64; 0] = [];
    assert_eq!(
        seqs(query::Args {
            denied: true,
            ..all()
        }),
        [2, 4]
    );
    assert_eq!(
        seqs(query::Args {
            user: text("alice"),
            ..all()
        }),
        [2, 3, 4, 5]
    );
    assert_eq!(
        seqs(query::Args {
            agent: text("agent-1"),
            user: text("bob"),
            ..all()
        }),
        [6]
    );
    assert_eq!(
        seqs(query::Args {
            tool: text("add_note"),
            ..all()
        }),
        [4, 5]
    );
    assert_eq!(
        seqs(query::Args {
            server: text("other"),
            ..all()
        }),
        NONE
    );
    assert_eq!(
        seqs(query::Args {
            kind: text("login"),
            ..all()
        }),
        [2, 3]
    );
    assert_eq!(
        seqs(query::Args {
            limit: Some(2),
            ..all()
        }),
        [5, 6]
    );
    assert_eq!(
        seqs(query::Args {
            limit: Some(0),
            ..all()
        }),
        NONE
    );
    assert_eq!(
        seqs(query::Args {
            since: text("2999-01-01T00:00:00.000Z"),
            ..all()
        }),
        NONE
    );
    assert_eq!(
        seqs(query::Args {
            until: text("2999-01-01T00:00:00.000Z"),
            limit: Some(1),
            ..all()
        }),
        [6]
    );
}

#[test]
fn times_are_read_as_people_write_them() {
    let now = 1_795_256_040_123;
    for (written, meant) in [
        ("2026-11-21T10:00:00Z", Some("2026-11-21T10:00:00.000Z")),
        ("2026-11-21T10:00:00.5+01:00", Some("2026-11-21T09:00:00.500Z")),
        ("2026-11-21", Some("2026-11-21T00:00:00.000Z")),
        ("90s", Some("2026-11-21T10:12:30.123Z")),
        ("2h", Some("2026-11-21T08:14:00.123Z")),
        ("7d", Some("2026-11-14T10:14:00.123Z")),
        ("-2h", None),
        ("h", None),
        ("", None),
        ("9223372036854775807d", None),
        ("yesterday", None),
        ("2é", None),
    ] {
        assert_eq!(query::time_at(written, now).as_deref(), meant, "{written}");
    }
}

#[test]
fn a_sound_log_is_summed_up() {
    let folder = some();
    let (code, text) = folder.verify(false);
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(text.starts_with("ok: 6 records in 1 files, 1 to 6, 20"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&folder.verify(true).1).unwrap();
    assert_eq!(
        (&json["ok"], &json["log"]["records"]),
        (&serde_json::json!(true), &serde_json::json!(6))
    );
    assert!(text.contains(json["log"]["last_hash"].as_str().unwrap()));
}

#[test]
fn one_changed_byte_is_found_and_named() {
    let folder = some();
    let mut bytes = std::fs::read(folder.file()).unwrap();
    let at = bytes.windows(8).position(|part| part == b"add_note").unwrap();
    bytes[at] = b'A';
    std::fs::write(folder.file(), bytes).unwrap();
    let (code, text) = folder.verify(false);
    assert_eq!(code, ExitCode::FAILURE);
    assert_eq!(
        text,
        "broken: audit-00000000000000000001.jsonl line 4, record 4: its content does not match its hash\n\
         3 records before it hold, 1 to 3; nothing after it can be trusted\n"
    );
    let json: serde_json::Value = serde_json::from_str(&folder.verify(true).1).unwrap();
    assert_eq!(
        (&json["ok"], &json["broken"]["line"], &json["broken"]["seq"]),
        (&false.into(), &4.into(), &4.into())
    );
}

#[test]
fn a_half_line_is_a_break_unless_it_is_being_written() {
    let folder = some();
    let mut bytes = std::fs::read(folder.file()).unwrap();
    bytes.pop();
    std::fs::write(folder.file(), &bytes).unwrap();
    assert_eq!(folder.verify(false).0, ExitCode::FAILURE);

    let folder = some();
    let writing = folder.open();
    let file = folder.file();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, [&whole[..], b"{\"seq\":7,"].concat()).unwrap();
    assert_eq!(folder.verify(false).0, ExitCode::SUCCESS);
    std::fs::write(&file, whole).unwrap();
    drop(writing);
}

fn expecting(hash: &str) -> verify::Args {
    verify::Args {
        expect_last: Some(hash.to_owned()),
        ..verify::Args::default()
    }
}

fn last_hash(folder: &Folder) -> String {
    folder.found(verify::Args::default()).1["log"]["last_hash"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_hash_noted_earlier_proves_all_up_to_it() {
    let folder = some();
    let noted = last_hash(&folder);
    for args in [expecting(&noted), verify::Args::default()] {
        assert_eq!(folder.found(args).0, ExitCode::SUCCESS);
    }
    // The log may grow after it was noted.
    folder.add([login("carol", "ok")]);
    let (code, text) = folder.verify_with(expecting(&noted));
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(
        text.contains("expected hash: record 6 has it, so it and all before it are as they were"),
        "{text}"
    );
    assert_eq!(folder.found(expecting(&noted)).1["expected"]["seq"], 6);
    // Any other hash is missed, were it the name of the log itself.
    let first = std::fs::read_to_string(folder.file()).unwrap();
    let log_id = first.split('"').nth(9).unwrap().to_owned();
    assert_eq!(log_id.len(), 64);
    for other in ["0".repeat(64), log_id] {
        let (code, text) = folder.verify_with(expecting(&other));
        assert_eq!(code, ExitCode::FAILURE);
        assert!(
            text.starts_with(&format!("broken: no record has the expected hash {other}: ")),
            "{text}"
        );
    }
}

#[test]
fn a_tail_that_was_cut_or_written_anew_shows_against_a_noted_hash_only() {
    let folder = some();
    let noted = last_hash(&folder);
    let whole = std::fs::read_to_string(folder.file()).unwrap();
    let cut: String = whole.split_inclusive('\n').take(3).collect();
    std::fs::write(folder.file(), &cut).unwrap();
    assert_eq!(
        folder.found(verify::Args::default()).0,
        ExitCode::SUCCESS,
        "as documented"
    );
    assert_eq!(folder.found(expecting(&noted)).0, ExitCode::FAILURE);
    // The same records once more, but for one, with fitting hashes.
    folder.add([
        decision("mallory", "add_note", Verdict::Allowed),
        decision("alice", "add_note", Verdict::Allowed),
        decision("bob", "list_notes", Verdict::Allowed),
    ]);
    assert_eq!(
        folder.found(verify::Args::default()).0,
        ExitCode::SUCCESS,
        "as documented"
    );
    let (code, json) = folder.found(expecting(&noted));
    assert_eq!((code, &json["ok"]), (ExitCode::FAILURE, &false.into()));
    assert!(json["expected"]["seq"].is_null() && json["broken"].is_null());
}

#[test]
fn a_noted_hash_before_a_break_still_proves_what_is_before_it() {
    let folder = some();
    let noted = last_hash(&folder);
    folder.add([login("carol", "ok")]);
    let text = std::fs::read_to_string(folder.file()).unwrap();
    std::fs::write(folder.file(), text.replace("carol", "Carol")).unwrap();
    let (code, json) = folder.found(expecting(&noted));
    assert_eq!(code, ExitCode::FAILURE);
    assert_eq!(
        (&json["expected"]["seq"], &json["broken"]["seq"]),
        (&6.into(), &7.into())
    );
}

#[test]
fn a_hash_is_64_hexadecimal_digits() {
    use clap::Parser as _;
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: verify::Args,
    }
    let parse = |hash: &str| Line::try_parse_from(["verify", "--expect-last", hash]);
    assert_eq!(
        parse(&"aB".repeat(32)).ok().unwrap().args.expect_last,
        Some("ab".repeat(32))
    );
    for wrong in ["", "ab", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64)] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
    assert_eq!(Line::try_parse_from(["verify"]).ok().unwrap().args.from, None);
}

#[test]
fn a_log_without_its_beginning_is_not_whole() {
    let folder = some();
    let whole = std::fs::read_to_string(folder.file()).unwrap();
    let headless: String = whole.split_inclusive('\n').skip(2).collect();
    std::fs::write(folder.file(), headless).unwrap();
    let (code, text) = folder.verify(false);
    assert_eq!(code, ExitCode::FAILURE);
    assert!(
        text.starts_with("broken: the log begins with record 3, not with record 1: "),
        "{text}"
    );
    assert_eq!(folder.found(verify::Args::default()).1["log"]["first_seq"], 3);
    for (from, expected) in [
        (Some(2), ExitCode::FAILURE),
        (Some(3), ExitCode::SUCCESS),
        (Some(4), ExitCode::FAILURE),
    ] {
        assert_eq!(
            folder
                .found(verify::Args {
                    from,
                    ..verify::Args::default()
                })
                .0,
            expected,
            "{from:?}"
        );
    }
    std::fs::write(folder.file(), "").unwrap();
    for from in [None, Some(3)] {
        let (code, json) = folder.found(verify::Args {
            from,
            ..verify::Args::default()
        });
        assert_eq!(code, ExitCode::FAILURE);
        assert_eq!(json["faults"], serde_json::json!(["the log has no records"]));
    }
}

#[test]
fn repairs_are_named() {
    let folder = some();
    assert_eq!(
        folder.found(verify::Args::default()).1["repairs"],
        serde_json::json!([])
    );
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(folder.file())
        .unwrap();
    file.write_all(b"{\"seq\":7").unwrap();
    // Whoever names themselves so is no repair.
    folder.add([login("\"kind\":\"system\",\"what\":\"log.repaired\"", "ok")]);
    let (code, text) = folder.verify(false);
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(
        text.ends_with(
            "note: repairs after a crash: 1\n  record 7 in audit-00000000000000000001.jsonl: 8 bytes that are no \
             whole record moved from audit-00000000000000000001.jsonl to audit-00000000000000000001.torn-0\n"
        ),
        "{text}"
    );
    let repairs = folder.found(verify::Args::default()).1["repairs"].clone();
    assert_eq!(repairs.as_array().unwrap().len(), 1);
    assert_eq!(
        (&repairs[0]["seq"], &repairs[0]["file"]),
        (&7.into(), &"audit-00000000000000000001.jsonl".into())
    );
}

#[test]
fn no_log_is_a_mistake_in_usage() {
    let args = Args {
        command: Command::Verify(verify::Args {
            place: Place {
                data: Some(std::env::temp_dir().join("portcullis-nothing-is-here")),
                ..Place::default()
            },
            ..verify::Args::default()
        }),
    };
    let failure = run(&args, &mut Vec::new()).unwrap_err();
    assert_eq!(failure.exit_code(), ExitCode::from(2));
    assert!(failure.to_string().contains("--data DIR"), "{failure}");
}

#[test]
fn the_tail_is_the_newest_and_goes_on_with_what_comes() {
    let folder = some();
    let mut out = Vec::new();
    let mut follower = tail::follow_from(&folder.0, 2, &mut out);
    let printed = |out: &mut Vec<u8>| {
        let text = String::from_utf8(std::mem::take(out)).unwrap();
        text.lines()
            .map(|line| timeless(line).trim_start().split_once(' ').unwrap().0.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(printed(&mut out), ["5", "6"]);

    folder.add([login("carol", "ok")]);
    assert!(follower.print_new(Style::Plain, &mut out).is_ok());
    assert_eq!(printed(&mut out), ["7"]);

    // Half a line is not shown before its end is there; then the next file.
    let line = std::fs::read_to_string(folder.file())
        .unwrap()
        .lines()
        .last()
        .unwrap()
        .to_owned()
        + "\n";
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(folder.file())
        .unwrap();
    let (half, rest) = line.split_at(50);
    for (part, expected) in [(half, vec![]), (rest, vec!["7".to_owned()])] {
        file.write_all(part.as_bytes()).unwrap();
        assert!(follower.print_new(Style::Plain, &mut out).is_ok());
        assert_eq!(printed(&mut out), expected);
    }
    std::fs::write(folder.0.join("audit-00000000000000000008.jsonl"), &line).unwrap();
    assert!(follower.print_new(Style::Plain, &mut out).is_ok());
    assert_eq!(printed(&mut out), ["7"]);
    assert_eq!(
        printed(&mut {
            let mut out = Vec::new();
            tail::follow_from(&folder.0, 3, &mut out);
            out
        })
        .len(),
        3
    );
}
