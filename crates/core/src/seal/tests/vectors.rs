//! Pinned vectors, as printed in `docs/sealed-payloads.md`: whoever writes another implementation compares with them.

use serde_json::{Value, json};

use super::super::*;
use super::kit::{
    AGENT_SIG, Counted, GATEWAY_ENC, GATEWAY_SIG, NOW, argument_pointers, arguments, at, call, nested_sealer,
    opener_of, parties, recipient, signer, verifier,
};
use crate::time::Lifetime;

/// The protocol text, in which every vector stands.
const DOCUMENT: &str = include_str!("../../../../../docs/sealed-payloads.md");

/// The text in the fenced block after this heading.
fn printed(heading: &str) -> &'static str {
    let after = DOCUMENT.split_once(&format!("\n#### {heading}\n")).unwrap().1;
    let block = after.split_once("```").unwrap().1.split_once('\n').unwrap().1;
    block.split_once("\n```").unwrap().0
}

fn compare(heading: &str, made: &str) {
    assert_eq!(made, printed(heading), "vector `{heading}`");
}

fn field(value: &Value) -> &str {
    value["card"].as_str().unwrap()
}

#[test]
fn the_binding() {
    let (signer, recipient, random) = (signer(AGENT_SIG), recipient(GATEWAY_ENC), Counted::default());
    let mut sealer = nested_sealer(&signer, &recipient, &random);
    let (_, bound) = seal_arguments(arguments(), &argument_pointers(), call(), &mut sealer).unwrap();
    let text = bound.binding(Direction::Arguments).text("/card");
    compare("Binding", std::str::from_utf8(&text).unwrap());
}

/// The order of the header's members is the encryption's business, so that the printed field opens is what counts. To
/// print another, take it from the message of this failure.
#[test]
fn a_nested_field() {
    let (signer, recipient, random) = (signer(AGENT_SIG), recipient(GATEWAY_ENC), Counted::default());
    let mut sealer = nested_sealer(&signer, &recipient, &random);
    let (mut value, _) = seal_arguments(arguments(), &argument_pointers(), call(), &mut sealer).unwrap();
    let made = field(&value).to_owned();
    value["card"] = json!(printed("Nested field"));
    let (key, openers, memory) = (verifier(AGENT_SIG), opener_of(GATEWAY_ENC), Seen::new(3, 3));
    let mut opener = NestedOpener::new(SenderKeys::One(&key), &openers, &memory, at(NOW));
    let opened = open_arguments(value, &argument_pointers(), Clear::Refuse, call(), &mut opener);
    assert_eq!(opened.map(|(opened, _)| opened.value), Ok(arguments()), "{made}");
}

#[test]
fn a_session_and_a_field_of_it() {
    let random = Counted::default();
    let offering = Offering {
        curve: Curve::X25519,
        ciphers: vec![Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305],
    };
    let offer = Offer::new(parties(), offering, &signer(AGENT_SIG), at(NOW).now, &random).unwrap();
    compare("Offer", offer.text());
    let answering = Answering {
        ciphers: Cipher::ALL.to_vec(),
        curves: Curve::ALL.to_vec(),
        ends: at(NOW).now.plus(Lifetime::from_hours(1)),
    };
    let (memory, key, gateway) = (Seen::new(1, 1), verifier(AGENT_SIG), signer(GATEWAY_SIG));
    let answer = respond(
        offer.text(),
        &parties(),
        SenderKeys::One(&key),
        &answering,
        &gateway,
        &memory,
        at(NOW),
        &random,
    )
    .unwrap();
    compare("Answer", &answer.text);
    let gateway_key = verifier(GATEWAY_SIG);
    let agent = offer
        .accept(
            &answer.text,
            SenderKeys::One(&gateway_key),
            answering.ends,
            at(NOW),
        )
        .unwrap();
    let mut sealer = agent.sealer(at(NOW).now);
    let (value, _) = seal_arguments(arguments(), &argument_pointers(), call(), &mut sealer).unwrap();
    compare("Session field", field(&value));
    // What is printed opens, not only what was just made.
    let mut value = value;
    value["card"] = json!(printed("Session field"));
    let mut opener = answer.session.opener(at(NOW).now);
    let (opened, _) =
        open_arguments(value, &argument_pointers(), Clear::Refuse, call(), &mut opener).unwrap();
    assert_eq!(opened.value, arguments());
}
