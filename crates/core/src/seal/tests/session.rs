//! Session mode.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::binding::BoundCall;
use super::super::envelope;
use super::super::session::{FIELDS, HANDSHAKE_TYP};
use super::super::*;
use super::kit::{
    AGENT_SIG, Counted, GATEWAY_SIG, NOW, SKEW, argument_pointers, arguments, at, call, other_calls, parties,
    result, result_pointers, signer, verifier,
};
use crate::ids::{ServerName, Subject};
use crate::jose::{base64url, jws};
use crate::time::{Lifetime, UnixTime};

fn ends() -> UnixTime {
    at(NOW).now.plus(Lifetime::from_hours(1))
}

fn offering(curve: Curve, ciphers: &[Cipher]) -> Offering {
    Offering {
        curve,
        ciphers: ciphers.to_vec(),
    }
}

fn answering() -> Answering {
    Answering {
        ciphers: Cipher::ALL.to_vec(),
        curves: Curve::ALL.to_vec(),
        ends: ends(),
    }
}

fn offer_with(offering: Offering) -> Offer {
    Offer::new(
        parties(),
        offering,
        &signer(AGENT_SIG),
        at(NOW).now,
        &Counted::default(),
    )
    .unwrap()
}

fn offer() -> Offer {
    offer_with(offering(Curve::X25519, &Cipher::ALL))
}

fn respond_to(
    offer: &str,
    parties: &Parties,
    answering: &Answering,
    moment: Moment,
) -> Result<Answer, Error> {
    let (memory, key) = (Seen::new(10, 10), verifier(AGENT_SIG));
    let agent = SenderKeys::One(&key);
    let signer = signer(GATEWAY_SIG);
    respond(
        offer,
        parties,
        agent,
        answering,
        &signer,
        &memory,
        moment,
        &Counted::default(),
    )
}

fn accept(offer: Offer, answer: &str) -> Result<Session, Error> {
    offer.accept(answer, SenderKeys::One(&verifier(GATEWAY_SIG)), ends(), at(NOW))
}

/// Agent and gateway.
fn agreed(offering: Offering) -> (Session, Session) {
    let offer = offer_with(offering);
    let answer = respond_to(offer.text(), &parties(), &answering(), at(NOW)).unwrap();
    (accept(offer, &answer.text).unwrap(), answer.session)
}

fn pair() -> (Session, Session) {
    agreed(offering(Curve::X25519, &Cipher::ALL))
}

fn seal(agent: &Session) -> (Value, BoundCall) {
    seal_arguments(
        arguments(),
        &argument_pointers(),
        call(),
        &mut agent.sealer(at(NOW).now),
    )
    .unwrap()
}

fn open_as(gateway: &Session, value: Value, call: Call) -> Result<Opened, Error> {
    let mut opener = gateway.opener(at(NOW).now);
    open_arguments(value, &argument_pointers(), Clear::Refuse, call, &mut opener).map(|(opened, _)| opened)
}

#[test]
fn arguments_and_results_arrive_with_every_curve_and_cipher() {
    for curve in Curve::ALL {
        for cipher in Cipher::ALL {
            let (agent, gateway) = agreed(offering(curve, &[cipher]));
            assert_eq!((agent.id(), agent.until()), (gateway.id(), gateway.until()));
            assert_eq!((agent.cipher(), gateway.cipher()), (cipher, cipher));
            let (value, bound) = seal(&agent);
            assert!(!value.to_string().contains("4111"));
            assert_eq!(
                mode(&value, &argument_pointers()),
                Ok(Some(Mode::Session(gateway.id())))
            );
            let mut opener = gateway.opener(at(NOW).now);
            let (opened, there) =
                open_arguments(value, &argument_pointers(), Clear::Refuse, call(), &mut opener).unwrap();
            assert_eq!((opened.value, &there), (arguments(), &bound));
            let mut sealer = gateway.sealer(at(NOW).now);
            let value = seal_result(result(), &result_pointers(), &there, &mut sealer).unwrap();
            let mut opener = agent.opener(at(NOW).now);
            let opened = open_result(value, &result_pointers(), Clear::Refuse, &bound, &mut opener).unwrap();
            assert_eq!(opened.value, result());
            agent.end();
            gateway.end();
        }
    }
}

#[test]
fn a_field_of_another_call_does_not_open() {
    for (other, bound) in other_calls() {
        let (agent, gateway) = pair();
        let (value, _) = seal(&agent);
        // Other parties have no such session; the rest is in what the cipher authenticates.
        let expected = match bound {
            Bound::Issuer | Bound::Audience | Bound::Principal | Bound::Server => Error::SessionUnknown,
            Bound::Tool
            | Bound::RequestId
            | Bound::Message
            | Bound::Pointer
            | Bound::Direction
            | Bound::Arguments => Error::Undecipherable,
        };
        assert_eq!(open_as(&gateway, value, other).unwrap_err(), expected);
    }
    let (agent, gateway) = pair();
    let (value, bound) = seal(&agent);
    let mut swapped = value.clone();
    swapped["notes"] = json!([value["notes"][1], value["notes"][0]]);
    assert_eq!(
        open_as(&gateway, swapped, call()).unwrap_err(),
        Error::Undecipherable
    );
    let mut other = value.clone();
    other["amount"] = json!(13);
    assert_eq!(
        open_as(&gateway, other, call()).unwrap_err(),
        Error::Undecipherable
    );
    // Sent back: the other direction has another key.
    let mut back = result();
    back["structuredContent"]["iban"] = value["card"].clone();
    let mut opener = agent.opener(at(NOW).now);
    let refused = open_result(back, &result_pointers(), Clear::Refuse, &bound, &mut opener).unwrap_err();
    assert_eq!(refused, Error::Undecipherable);
    // None of that has moved the window.
    assert_eq!(open_as(&gateway, value, call()).unwrap().value, arguments());
}

#[test]
fn a_field_of_another_session_or_mode_does_not_open() {
    let (agent, gateway) = pair();
    let (value, _) = seal(&agent);
    let mut text = value["card"].as_str().unwrap().to_owned();
    text.replace_range(21..43, "AAAAAAAAAAAAAAAAAAAAAA");
    let mut other = value.clone();
    other["card"] = json!(text);
    assert_eq!(mode(&other, &argument_pointers()), Err(Error::Mode));
    assert_eq!(
        open_as(&gateway, other, call()).unwrap_err(),
        Error::SessionUnknown
    );
    let mut other = value;
    other["card"] = json!("portcullis-sealed:1:x");
    assert_eq!(open_as(&gateway, other, call()).unwrap_err(), Error::Mode);
}

#[test]
fn a_session_ends_at_its_time() {
    let (agent, gateway) = pair();
    let until = gateway.until().as_secs();
    assert_eq!(until, NOW + 3600);
    for (secs, over) in [(until - 1, false), (until, true), (until + 1, true)] {
        let now = UnixTime::from_secs(secs);
        let sealed = seal_arguments(arguments(), &argument_pointers(), call(), &mut agent.sealer(now));
        assert_eq!(sealed.err(), over.then_some(Error::SessionOver));
        let (value, _) = seal(&agent);
        let opened = open_arguments(
            value,
            &argument_pointers(),
            Clear::Refuse,
            call(),
            &mut gateway.opener(now),
        );
        assert_eq!(opened.err(), over.then_some(Error::SessionOver));
    }
}

/// JWE-13 of the attack catalogue.
#[test]
fn counters_end_before_they_repeat() {
    let (agent, gateway) = pair();
    let one = Pointers::parse(["/card"]).unwrap();
    let seal = || seal_arguments(arguments(), &one, call(), &mut agent.sealer(at(NOW).now));
    agent.sent(FIELDS - 1);
    let (mut value, _) = seal().unwrap();
    assert_eq!(seal().unwrap_err(), Error::SessionSpent);
    assert_eq!(seal().unwrap_err(), Error::SessionSpent);
    let open = |value: Value| {
        let mut opener = gateway.opener(at(NOW).now);
        open_arguments(value, &one, Clear::Refuse, call(), &mut opener).map(|(opened, _)| opened.value)
    };
    assert_eq!(open(value.clone()), Ok(arguments()));
    let text = value["card"]
        .as_str()
        .unwrap()
        .replace(&format!(".{}.", FIELDS - 1), &format!(".{FIELDS}."));
    value["card"] = json!(text);
    assert_eq!(open(value), Err(Error::Undecipherable));
}

#[test]
fn an_offer_is_for_its_two_parties_and_taken_once() {
    let offer = offer();
    for (other, bound) in other_calls() {
        let refused = respond_to(offer.text(), &other.parties, &answering(), at(NOW));
        if other.parties != parties() {
            assert_eq!(refused.unwrap_err(), Error::Other(bound));
        }
    }
    let (memory, key, gateway) = (Seen::new(10, 10), verifier(AGENT_SIG), signer(GATEWAY_SIG));
    let agent = SenderKeys::One(&key);
    let twice = || {
        let random = Counted::default();
        respond(
            offer.text(),
            &parties(),
            agent,
            &answering(),
            &gateway,
            &memory,
            at(NOW),
            &random,
        )
        .map(|_| ())
    };
    assert_eq!(twice(), Ok(()));
    assert_eq!(twice(), Err(Error::Replayed));
    for (secs, verdict) in [
        (NOW + 300 + SKEW - 1, None),
        (NOW + 300 + SKEW, Some(Error::Expired)),
        (NOW - SKEW, None),
        (NOW - SKEW - 1, Some(Error::NotYet)),
    ] {
        assert_eq!(
            respond_to(offer.text(), &parties(), &answering(), at(secs)).err(),
            verdict,
            "{secs}"
        );
    }
    let mut over = answering();
    over.ends = at(NOW).now;
    assert_eq!(
        respond_to(offer.text(), &parties(), &over, at(NOW)).unwrap_err(),
        Error::SessionOver
    );
    // A day at most, whatever the caller says.
    over.ends = at(NOW).now.plus(Lifetime::from_days(9));
    let answer = respond_to(offer.text(), &parties(), &over, at(NOW)).unwrap();
    assert_eq!(answer.session.until().as_secs(), NOW + 86_400);
}

#[test]
fn what_both_accept_is_chosen_by_the_gateway() {
    let mut only = answering();
    only.ciphers = vec![Cipher::ChaCha20Poly1305];
    let answer = respond_to(offer().text(), &parties(), &only, at(NOW)).unwrap();
    assert_eq!(answer.session.cipher(), Cipher::ChaCha20Poly1305);
    let aes = offer_with(offering(Curve::X25519, &[Cipher::Aes256Gcm]));
    assert_eq!(
        respond_to(aes.text(), &parties(), &only, at(NOW)).unwrap_err(),
        Error::NothingInCommon
    );
    only.curves = vec![Curve::P256];
    assert_eq!(
        respond_to(offer().text(), &parties(), &only, at(NOW)).unwrap_err(),
        Error::NothingInCommon
    );
}

#[test]
fn the_agent_agrees_to_nothing_it_did_not_offer() {
    let aes = || offer_with(offering(Curve::X25519, &[Cipher::Aes256Gcm]));
    let good = respond_to(aes().text(), &parties(), &answering(), at(NOW)).unwrap();
    assert!(accept(aes(), &good.text).is_ok());
    // An answer to another offer.
    assert_eq!(accept(offer(), &good.text).unwrap_err(), Error::NotOurOffer);
    // Its own offer, sent back.
    let own = aes();
    let text = own.text().to_owned();
    assert_eq!(accept(own, &text).unwrap_err(), Error::SenderKey);
    let about = |change: &dyn Fn(&mut Map<String, Value>)| {
        let mut claims = claims_of(&good.text);
        change(&mut claims);
        jws::sign(&signer(GATEWAY_SIG), HANDSHAKE_TYP, &claims).unwrap()
    };
    let session = |name: &'static str, value: Value| {
        about(&move |claims| {
            drop(
                claims["session"]
                    .as_object_mut()
                    .unwrap()
                    .insert(name.to_owned(), value.clone()),
            )
        })
    };
    let p256 = json!({ "kty": "EC", "crv": "P-256",
        "x": "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ", "y": "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck" });
    let zero = json!({ "kty": "OKP", "crv": "X25519", "x": base64url::encode([0; 32]) });
    for (answer, expected) in [
        (session("cipher", json!("C20P")), "seal.not-our-offer"),
        (session("cipher", json!("none")), "seal.not-our-offer"),
        (session("epk", p256), "seal.not-our-offer"),
        (session("epk", zero), "seal.ephemeral-key"),
        (session("role", json!("offer")), "seal.direction"),
        (session("server", json!("shop")), "seal.server"),
        (session("sid", json!("AAAA")), "seal.claims"),
        (session("more", json!(1)), "seal.claims"),
        (session("until", json!(NOW)), "seal.session-over"),
        (session("until", json!(NOW + 86_400 + SKEW + 1)), "seal.lifetime"),
        (
            about(&|claims| drop(claims.insert("aud".into(), json!("agent-2")))),
            "seal.audience",
        ),
        (
            about(&|claims| drop(claims.insert("iss".into(), json!("https://x.example")))),
            "seal.issuer",
        ),
        (
            about(&|claims| drop(claims.insert("sub".into(), json!("x")))),
            "seal.principal",
        ),
        (about(&|claims| drop(claims.remove("jti"))), "seal.claims"),
    ] {
        assert_eq!(accept(aes(), &answer).unwrap_err().code(), expected);
    }
    let other_typ = jws::sign(&signer(GATEWAY_SIG), "sealed-field+jwt", &claims_of(&good.text)).unwrap();
    assert_eq!(accept(aes(), &other_typ).unwrap_err(), Error::Typ);
    let mut broken = good.text.clone().into_bytes();
    let last = broken.len() - 5;
    broken[last] = if broken[last] == b'A' { b'B' } else { b'A' };
    assert_eq!(
        accept(aes(), &String::from_utf8(broken).unwrap()).unwrap_err(),
        Error::Signature
    );
    assert_eq!(accept(aes(), &"x".repeat(17 * 1024)).unwrap_err(), Error::Claims);
}

fn claims_of(message: &str) -> Map<String, Value> {
    let payload = base64url::decode(message.split('.').nth(1).unwrap()).unwrap();
    envelope::claims(&payload).unwrap()
}

#[test]
fn an_offer_that_was_changed_and_signed_again_gives_other_keys() {
    // Both sides agree in words, but on another text of the offer: as if someone between could sign for the agent.
    let own = offer();
    let mut claims = claims_of(own.text());
    claims["session"]["ciphers"] = json!(["A256GCM"]);
    let weaker = jws::sign(&signer(AGENT_SIG), HANDSHAKE_TYP, &claims).unwrap();
    let answer = respond_to(&weaker, &parties(), &answering(), at(NOW)).unwrap();
    assert_eq!(accept(own, &answer.text).unwrap_err(), Error::NotOurOffer);
    let mut claims = claims_of(&answer.text);
    let own = offer();
    let right = claims_of(
        &respond_to(own.text(), &parties(), &answering(), at(NOW))
            .unwrap()
            .text,
    );
    claims["session"]["offer"] = right["session"]["offer"].clone();
    let lied = jws::sign(&signer(GATEWAY_SIG), HANDSHAKE_TYP, &claims).unwrap();
    let agent = accept(own, &lied).unwrap();
    let (value, _) = seal(&agent);
    assert_eq!(
        open_as(&answer.session, value, call()).unwrap_err(),
        Error::Undecipherable
    );
}

#[test]
fn the_sessions_of_two_principals_are_two() {
    let (agent, _) = pair();
    let mut other = call();
    other.parties.principal.subject = Subject::parse("bob").unwrap();
    let refused = seal_arguments(
        arguments(),
        &argument_pointers(),
        other,
        &mut agent.sealer(at(NOW).now),
    );
    assert_eq!(refused.unwrap_err(), Error::SessionUnknown);
    let mut other = call();
    other.parties.server = ServerName::parse("shop").unwrap();
    let refused = seal_arguments(
        arguments(),
        &argument_pointers(),
        other,
        &mut agent.sealer(at(NOW).now),
    );
    assert_eq!(refused.unwrap_err(), Error::SessionUnknown);
}

#[test]
fn nothing_shows_a_key() {
    let own = offer();
    let answer = respond_to(own.text(), &parties(), &answering(), at(NOW)).unwrap();
    let shown = format!("{own:?} {:?}", answer.session);
    assert!(!shown.contains("key") && !shown.contains("ephemeral"), "{shown}");
}

/// What happens to one of the fields on its way.
#[derive(Clone, Debug)]
enum Step {
    Deliver(usize),
    /// With one bit changed: which field, which byte of its sealed part, which bit.
    Flip(usize, usize, u8),
    /// With the counter of another.
    Renumber(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0_usize..1400;
    prop_oneof![
        4 => any.clone().prop_map(Step::Deliver),
        1 => (any.clone(), 0_usize..4000, 0_u8..8).prop_map(|(field, byte, bit)| Step::Flip(field, byte, bit)),
        1 => (any.clone(), any).prop_map(|(field, other)| Step::Renumber(field, other)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Any order, any loss, any repeat, any change: only authentic fields open, and each once.
    #[test]
    fn only_authentic_fields_open_and_each_once(
        steps in prop::collection::vec(step(), 1..300),
        cipher in prop::sample::select(Cipher::ALL.to_vec()),
    ) {
        let (agent, gateway) = agreed(offering(Curve::X25519, &[cipher]));
        let one = Pointers::parse(["/n"]).unwrap();
        let now = at(NOW).now;
        // The digest is the same for all, so that nothing but counter and tag tells them apart.
        let sealed: Vec<String> = (0..1400)
            .map(|n| {
                let (value, _) = seal_arguments(json!({ "n": n }), &one, call(), &mut agent.sealer(now)).unwrap();
                value["n"].as_str().unwrap().to_owned()
            })
            .collect();
        let open = |text: String| {
            let mut opener = gateway.opener(now);
            let opened = open_arguments(json!({ "n": text }), &one, Clear::Refuse, call(), &mut opener);
            opened.map(|(opened, _)| opened.value["n"].as_u64().unwrap())
        };
        let mut seen = BTreeSet::new();
        for step in steps {
            match step {
                Step::Deliver(field) => {
                    let counter = u64::try_from(field).unwrap();
                    let next = seen.last().map_or(0, |last| last + 1);
                    let verdict = open(sealed[field].clone());
                    if seen.contains(&counter) && next - counter <= 1024 {
                        prop_assert_eq!(verdict, Err(Error::Replayed));
                    } else if next.saturating_sub(counter) > 1024 {
                        prop_assert_eq!(verdict, Err(Error::CounterTooOld));
                    } else {
                        prop_assert_eq!(verdict, Ok(counter));
                        seen.insert(counter);
                    }
                }
                Step::Flip(field, byte, bit) => {
                    let (start, body) = sealed[field].rsplit_once('.').unwrap();
                    let mut bytes = base64url::decode(body).unwrap();
                    let place = byte % bytes.len();
                    bytes[place] ^= 1 << bit;
                    let verdict = open(format!("{start}.{}", base64url::encode(bytes)));
                    prop_assert!(matches!(verdict, Err(Error::Undecipherable | Error::Replayed | Error::CounterTooOld)));
                }
                Step::Renumber(field, other) if field != other => {
                    let verdict = open(sealed[field].replace(&format!(".{field}."), &format!(".{other}.")));
                    prop_assert!(matches!(verdict, Err(Error::Undecipherable | Error::Replayed | Error::CounterTooOld)));
                }
                Step::Renumber(..) => {}
            }
        }
    }
}
