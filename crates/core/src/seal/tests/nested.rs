//! Nested JWT mode.

use serde_json::{Value, json};

use super::super::binding::BoundCall;
use super::super::envelope;
use super::super::*;
use super::kit::{
    AGENT_ENC, AGENT_SIG, Counted, GATEWAY_ENC, GATEWAY_SIG, NOW, SKEW, argument_pointers, arguments, at,
    call, nested_sealer, opener_of, other_calls, recipient, result, result_pointers, signer, verifier,
};
use crate::ids::KeyId;
use crate::jose::jwe::{ContentEncryption, OpeningFailed, PayloadOpener, Wrapped};
use crate::jose::jwk::{KeySet, PublicKey};
use crate::jose::nested;
use crate::random::{RandomUnavailable, SecureRandom};

fn memory() -> Seen {
    Seen::new(100, 100)
}

/// As the agent seals the call of the kit.
fn sealed() -> (Value, BoundCall) {
    let (signer, recipient) = (signer(AGENT_SIG), recipient(GATEWAY_ENC));
    let random = Counted::default();
    let mut sealer = nested_sealer(&signer, &recipient, &random);
    seal_arguments(arguments(), &argument_pointers(), call(), &mut sealer).unwrap()
}

/// As the gateway opens it.
fn open(value: Value, call: Call, memory: &Seen, moment: Moment) -> Result<(Opened, BoundCall), Error> {
    let (key, openers) = (verifier(AGENT_SIG), opener_of(GATEWAY_ENC));
    let mut opener = NestedOpener::new(SenderKeys::One(&key), &openers, memory, moment);
    open_arguments(value, &argument_pointers(), Clear::Refuse, call, &mut opener)
}

fn code(value: Value, call: Call) -> &'static str {
    open(value, call, &memory(), at(NOW)).unwrap_err().code()
}

#[test]
fn arguments_arrive_as_they_were() {
    let (value, bound) = sealed();
    let text = value.to_string();
    assert!(!text.contains("4111") && !text.contains("cvc"), "{text}");
    assert_eq!(value["amount"], 12.5);
    assert_eq!(mode(&value, &argument_pointers()), Ok(Some(Mode::Nested)));
    let memory = memory();
    let (opened, there) = open(value, call(), &memory, at(NOW)).unwrap();
    assert_eq!(opened.value, arguments());
    assert_eq!(there, bound);
    let places: Vec<&str> = opened.opened.iter().map(Place::as_str).collect();
    assert_eq!(places, ["/card", "/notes/0", "/notes/1"]);
    assert_eq!((opened.jtis.len(), memory.len()), (3, 3));
}

#[test]
fn results_arrive_as_they_were_and_for_the_call_they_answer() {
    let (_, bound) = sealed();
    let (gateway, agent) = (signer(GATEWAY_SIG), recipient(AGENT_ENC));
    let random = Counted::default();
    let mut sealer = nested_sealer(&gateway, &agent, &random);
    let value = seal_result(result(), &result_pointers(), &bound, &mut sealer).unwrap();
    assert!(!value.to_string().contains("DE02"));
    let keys = KeySet::parse(json!({ "keys": [public_of(GATEWAY_SIG)] }).to_string().as_bytes()).unwrap();
    let openers = opener_of(AGENT_ENC);
    let open = |bound: &BoundCall| {
        let memory = memory();
        let mut opener = NestedOpener::new(SenderKeys::Set(&keys), &openers, &memory, at(NOW));
        open_result(
            value.clone(),
            &result_pointers(),
            Clear::Refuse,
            bound,
            &mut opener,
        )
    };
    assert_eq!(open(&bound).unwrap().value, result());
    // The answer to a call with other arguments, which are not secret.
    let mut other = arguments();
    other["amount"] = json!(13);
    let (agent, recipient) = (signer(AGENT_SIG), recipient(GATEWAY_ENC));
    let mut sealer = nested_sealer(&agent, &recipient, &random);
    let (_, other) = seal_arguments(other, &argument_pointers(), call(), &mut sealer).unwrap();
    assert_eq!(open(&other).unwrap_err(), Error::Other(Bound::Arguments));
}

fn public_of(jwk: &str) -> Value {
    let mut jwk: Value = serde_json::from_str(jwk).unwrap();
    jwk.as_object_mut().unwrap().remove("d");
    jwk
}

#[test]
fn a_field_of_another_call_is_refused_by_name() {
    let (value, _) = sealed();
    for (other, bound) in other_calls() {
        assert_eq!(
            open(value.clone(), other, &memory(), at(NOW)).unwrap_err(),
            Error::Other(bound)
        );
    }
    // Cut and pasted, from one place of a value to another.
    let mut swapped = value.clone();
    swapped["notes"] = json!([value["notes"][1], value["notes"][0]]);
    assert_eq!(code(swapped, call()), "seal.pointer");
    let mut swapped = value.clone();
    swapped["card"] = value["notes"][0].clone();
    assert_eq!(code(swapped, call()), "seal.pointer");
    // The same field beside other arguments: changed, one more, one less.
    let mut other = value.clone();
    other["amount"] = json!(12.6);
    assert_eq!(code(other, call()), "seal.arguments");
    let mut other = value.clone();
    other["more"] = json!(null);
    assert_eq!(code(other, call()), "seal.arguments");
    let mut other = value.clone();
    other.as_object_mut().unwrap().remove("card");
    assert_eq!(code(other, call()), "seal.arguments");
    // White space, order and the spelling of numbers are no change.
    let text = value.to_string().replacen("12.5", "125e-1", 1);
    let same = canonical::read(text.as_bytes()).unwrap();
    assert!(open(same, call(), &memory(), at(NOW)).is_ok());
}

#[test]
fn configuration_decides_what_is_sealed() {
    let (value, _) = sealed();
    // In clear where a sealed one belongs.
    let mut clear = value.clone();
    clear["card"] = arguments()["card"].clone();
    let refused = open(clear.clone(), call(), &memory(), at(NOW)).unwrap_err();
    assert_eq!(refused, Error::InClear(Place::new("/card")));
    // Unless that is allowed; the others are opened all the same.
    let (key, openers, seen) = (verifier(AGENT_SIG), opener_of(GATEWAY_ENC), memory());
    let mut opener = NestedOpener::new(SenderKeys::One(&key), &openers, &seen, at(NOW));
    let (opened, _) = open_arguments(clear, &argument_pointers(), Clear::Allow, call(), &mut opener).unwrap();
    assert_eq!(opened.value, arguments());
    assert_eq!(opened.opened.len(), 2);
    // Sealed where nothing sealed belongs: elsewhere, inside a clear value, and inside a sealed one.
    let mut elsewhere = value.clone();
    elsewhere["memo"] = json!({ "x": [value["card"]] });
    let refused = open(elsewhere, call(), &memory(), at(NOW)).unwrap_err();
    assert_eq!(refused, Error::Unexpected(Place::new("/memo/x/0")));
    let mut inside = value.clone();
    inside["card"] = json!({ "number": value["card"] });
    let mut opener = NestedOpener::new(SenderKeys::One(&key), &openers, &seen, at(NOW));
    let refused =
        open_arguments(inside, &argument_pointers(), Clear::Allow, call(), &mut opener).unwrap_err();
    assert_eq!(refused, Error::Unexpected(Place::new("/card/number")));
    // Absent is fine.
    let (opened, _) = open(json!({ "amount": 1 }), call(), &memory(), at(NOW)).unwrap();
    assert_eq!((opened.value, opened.jtis), (json!({ "amount": 1 }), vec![]));
    // No arguments are the same as none at all.
    let of = |value: Value| open(value, call(), &memory(), at(NOW)).unwrap().1.digest();
    assert_eq!(of(Value::Null), of(json!({})));
    // Nothing is sealed twice.
    let (signer, recipient, random) = (signer(AGENT_SIG), recipient(GATEWAY_ENC), Counted::default());
    let mut sealer = nested_sealer(&signer, &recipient, &random);
    let again = seal_arguments(value, &argument_pointers(), call(), &mut sealer).unwrap_err();
    assert_eq!(again, Error::AlreadySealed(Place::new("/card")));
    assert_eq!(refuse_sealed(&json!(["x"])), Ok(()));
    assert!(refuse_sealed(&json!(["portcullis-sealed:1:x"])).is_err());
}

#[test]
fn a_replay_is_refused_and_a_full_memory_takes_nothing() {
    let (value, _) = sealed();
    let seen = memory();
    assert!(open(value.clone(), call(), &seen, at(NOW)).is_ok());
    assert_eq!(
        open(value.clone(), call(), &seen, at(NOW + 1)).unwrap_err(),
        Error::Replayed
    );
    assert_eq!(
        open(value.clone(), call(), &Seen::new(3, 3), at(NOW)).map(|_| ()),
        Ok(())
    );
    assert_eq!(
        open(value.clone(), call(), &Seen::new(2, 3), at(NOW)).unwrap_err(),
        Error::MemoryFull
    );
    assert_eq!(
        open(value, call(), &Seen::new(3, 2), at(NOW)).unwrap_err(),
        Error::SenderFull
    );
}

#[test]
fn a_message_that_fails_leaves_nothing_remembered() {
    let (mut value, _) = sealed();
    value["notes"][1] = value["notes"][0].clone();
    let seen = memory();
    assert_eq!(
        open(value, call(), &seen, at(NOW)).unwrap_err(),
        Error::Other(Bound::Pointer)
    );
    assert!(seen.is_empty());
}

#[test]
fn time_at_its_edges() {
    let (value, _) = sealed();
    let verdict = |secs: i64| open(value.clone(), call(), &memory(), at(secs)).err();
    assert_eq!(verdict(NOW + 300 + SKEW - 1), None);
    assert_eq!(verdict(NOW + 300 + SKEW), Some(Error::Expired));
    assert_eq!(verdict(NOW + 300 + SKEW + 1), Some(Error::Expired));
    assert_eq!(verdict(NOW - SKEW + 1), None);
    assert_eq!(verdict(NOW - SKEW), None);
    assert_eq!(verdict(NOW - SKEW - 1), Some(Error::NotYet));
}

/// A field at `/card` with other claims, signed and encrypted as it should be.
fn forged(change: impl Fn(&mut serde_json::Map<String, Value>)) -> Value {
    forged_as("sealed-field+jwt", AGENT_SIG, GATEWAY_ENC, change)
}

fn forged_as(typ: &str, sig: &str, enc: &str, change: impl Fn(&mut serde_json::Map<String, Value>)) -> Value {
    let (_, bound) = sealed();
    let binding = bound.binding(Direction::Arguments);
    let also = [
        ("call", Value::Object(binding.claim("/card"))),
        ("val", arguments()["card"].clone()),
    ];
    let mut claims = envelope::issue(binding.parties(), also, at(NOW).now, &Counted::default()).unwrap();
    change(&mut claims);
    let (signer, recipient) = (signer(sig), recipient(enc));
    let random = Counted::default();
    let token = nested::seal(
        &signer,
        &recipient,
        ContentEncryption::A128Gcm,
        typ,
        &claims,
        &random,
    );
    let (mut value, _) = sealed();
    value["card"] = json!(format!("portcullis-sealed:1:{}", token.unwrap()));
    value
}

#[test]
fn every_claim_is_checked() {
    // Without a change it opens, so what is refused below is refused for its change.
    assert!(open(forged(|_| {}), call(), &memory(), at(NOW)).is_ok());
    for (claim, value, expected) in [
        ("iss", json!("agent-2"), "seal.issuer"),
        ("iss", json!(7), "seal.claims"),
        ("aud", json!("https://gw.example/shop/mcp"), "seal.audience"),
        ("aud", json!(["https://gw.example/bank/mcp"]), "seal.claims"),
        ("sub", json!("alice"), "seal.principal"),
        ("sub", json!(null), "seal.claims"),
        ("iat", json!(NOW + SKEW + 1), "seal.not-yet"),
        ("iat", json!(NOW - 1), "seal.lifetime"),
        ("iat", json!("now"), "seal.claims"),
        ("iat", json!(1.5), "seal.claims"),
        ("iat", json!(i64::MIN), "seal.lifetime"),
        ("exp", json!(NOW + 301), "seal.lifetime"),
        ("exp", json!(NOW), "seal.lifetime"),
        ("exp", json!(i64::MAX), "seal.lifetime"),
        ("exp", json!(null), "seal.claims"),
        ("jti", json!(""), "seal.claims"),
        ("jti", json!(7), "seal.claims"),
        ("call", json!([]), "seal.claims"),
        ("more", json!(1), "seal.claims"),
    ] {
        let changed = forged(|claims| drop(claims.insert(claim.to_owned(), value.clone())));
        assert_eq!(code(changed, call()), expected, "{claim} {value}");
    }
    for claim in ["iss", "aud", "sub", "iat", "exp", "jti", "call", "val"] {
        let changed = forged(|claims| drop(claims.remove(claim)));
        assert_eq!(code(changed, call()), "seal.claims", "{claim}");
    }
}

#[test]
fn every_member_of_call_is_checked() {
    for (member, other, expected) in [
        ("server", json!("shop"), "seal.server"),
        ("tool", json!("refund"), "seal.tool"),
        ("id", json!(8), "seal.request-id"),
        ("id", json!("7"), "seal.request-id"),
        ("id", json!(7.0), "seal.request-id"),
        ("ptr", json!("/notes/0"), "seal.pointer"),
        ("ptr", json!("/card/"), "seal.pointer"),
        ("dir", json!("result"), "seal.direction"),
        (
            "digest",
            json!("47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"),
            "seal.arguments",
        ),
        ("digest", json!(1), "seal.claims"),
        ("more", json!(1), "seal.claims"),
    ] {
        let changed = forged(|claims| {
            drop(
                claims["call"]
                    .as_object_mut()
                    .unwrap()
                    .insert(member.to_owned(), other.clone()),
            )
        });
        assert_eq!(code(changed, call()), expected, "{member} {other}");
        let without = forged(|claims| drop(claims["call"].as_object_mut().unwrap().remove(member)));
        if member != "more" {
            assert_eq!(code(without, call()), "seal.claims", "{member}");
        }
    }
}

#[test]
fn keys_are_those_of_the_two_parties_and_for_their_purpose() {
    let same = |_: &mut serde_json::Map<String, Value>| {};
    assert_eq!(
        code(forged_as("JWT", AGENT_SIG, GATEWAY_ENC, same), call()),
        "seal.typ"
    );
    assert_eq!(
        code(
            forged_as("seal-session+jwt", AGENT_SIG, GATEWAY_ENC, same),
            call()
        ),
        "seal.typ"
    );
    // Signed by someone else, under their name and under the agent's.
    assert_eq!(
        code(
            forged_as("sealed-field+jwt", GATEWAY_SIG, GATEWAY_ENC, same),
            call()
        ),
        "seal.sender-key"
    );
    let posing = GATEWAY_SIG.replace("gateway-sig", "agent-sig");
    assert_eq!(
        code(forged_as("sealed-field+jwt", &posing, GATEWAY_ENC, same), call()),
        "seal.signature"
    );
    // Encrypted for someone else, under their name and under ours.
    assert_eq!(
        code(forged_as("sealed-field+jwt", AGENT_SIG, AGENT_ENC, same), call()),
        "seal.recipient-key"
    );
    let other = GATEWAY_ENC.replace("gateway-enc", "x");
    assert_eq!(
        code(forged_as("sealed-field+jwt", AGENT_SIG, &other, same), call()),
        "seal.recipient-key"
    );
    let posing = AGENT_ENC.replace("agent-enc", "gateway-enc");
    assert_eq!(
        code(forged_as("sealed-field+jwt", AGENT_SIG, &posing, same), call()),
        "seal.undecipherable"
    );
}

#[test]
fn a_character_anywhere_in_a_field_breaks_it() {
    let (value, _) = sealed();
    let text = value["card"].as_str().unwrap().to_owned();
    let start = "portcullis-sealed:1:".len();
    for at_byte in (start..text.len()).step_by(7).chain([text.len() - 1]) {
        let mut changed = text.clone().into_bytes();
        changed[at_byte] = if changed[at_byte] == b'A' { b'B' } else { b'A' };
        let mut message = value.clone();
        message["card"] = json!(String::from_utf8(changed).unwrap());
        let refused = open(message, call(), &memory(), at(NOW)).unwrap_err();
        let expected = [Error::Undecipherable, Error::RecipientKey, Error::Form];
        assert!(expected.contains(&refused), "{at_byte}: {refused:?}");
    }
    for broken in [
        "portcullis-sealed:",
        "portcullis-sealed:2:x",
        "portcullis-sealed:1:",
        "portcullis-sealed:1:a.b.c.d.e",
    ] {
        let mut message = value.clone();
        message["card"] = json!(broken);
        let refused = open(message, call(), &memory(), at(NOW)).unwrap_err();
        assert!(
            [Error::Form, Error::Undecipherable].contains(&refused),
            "{broken}: {refused:?}"
        );
    }
    let mut message = value;
    message["card"] = json!("portcullis-sealed:s1:AAAAAAAAAAAAAAAAAAAAAA.0.AAAA");
    assert_eq!(mode(&message, &argument_pointers()), Err(Error::Mode));
    assert_eq!(code(message, call()), "seal.mode");
}

struct Gone(PublicKey, KeyId);

impl PayloadOpener for Gone {
    fn kid(&self) -> &KeyId {
        &self.1
    }

    fn key(&self) -> &PublicKey {
        &self.0
    }

    fn recover(&self, _: Wrapped<'_>) -> Result<zeroize::Zeroizing<Vec<u8>>, OpeningFailed> {
        Err(OpeningFailed::Unavailable(
            "the token is not plugged in".to_owned(),
        ))
    }
}

#[test]
fn a_key_that_is_not_there_now_is_not_the_senders_fault() {
    let (value, _) = sealed();
    let gone = std::sync::Arc::new(Gone(
        recipient(GATEWAY_ENC).public().clone(),
        KeyId::parse("gateway-enc").unwrap(),
    ));
    let openers = move |_: &KeyId| -> Option<std::sync::Arc<dyn PayloadOpener>> { Some(gone.clone()) };
    let (key, seen) = (verifier(AGENT_SIG), memory());
    let mut opener = NestedOpener::new(SenderKeys::One(&key), &openers, &seen, at(NOW));
    let refused =
        open_arguments(value, &argument_pointers(), Clear::Refuse, call(), &mut opener).unwrap_err();
    assert_eq!(
        refused,
        Error::KeyUnavailable("the token is not plugged in".to_owned())
    );
    assert_eq!(refused.fault(), crate::fault::Fault::Operator);
}

struct Dry;

impl SecureRandom for Dry {
    fn fill(&self, _: &mut [u8]) -> Result<(), RandomUnavailable> {
        Err(RandomUnavailable)
    }
}

#[test]
fn without_randomness_nothing_is_sealed() {
    let (signer, recipient) = (signer(AGENT_SIG), recipient(GATEWAY_ENC));
    let mut sealer = nested_sealer(&signer, &recipient, &Dry);
    let refused = seal_arguments(arguments(), &argument_pointers(), call(), &mut sealer).unwrap_err();
    assert_eq!(refused, Error::Random(RandomUnavailable));
}

#[test]
fn large_integers_survive_inside_a_field_and_are_refused_beside_one() {
    let (signer, recipient, random) = (signer(AGENT_SIG), recipient(GATEWAY_ENC), Counted::default());
    let mut sealer = nested_sealer(&signer, &recipient, &random);
    let value = json!({ "card": u64::MAX });
    let (sealed, _) = seal_arguments(value.clone(), &argument_pointers(), call(), &mut sealer).unwrap();
    assert_eq!(open(sealed, call(), &memory(), at(NOW)).unwrap().0.value, value);
    let beside = json!({ "card": 1, "account": u64::MAX });
    let refused = seal_arguments(beside, &argument_pointers(), call(), &mut sealer).unwrap_err();
    assert_eq!(refused.code(), "seal.number");
}

#[test]
fn codes_are_different_and_have_one_fault() {
    let mut codes = std::collections::BTreeSet::new();
    for bound in Bound::ALL {
        assert!(codes.insert(Error::Other(bound).code()));
    }
    for error in [
        Error::Form,
        Error::Mode,
        Error::Claims,
        Error::Replayed,
        Error::MemoryFull,
        Error::SenderFull,
    ] {
        assert!(codes.insert(error.code()));
    }
    assert!(codes.iter().all(|code| code.starts_with("seal.")));
}
