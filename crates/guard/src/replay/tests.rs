use std::collections::HashSet;

use portcullis_core::ids::Subject;

use super::*;

fn key(byte: u8) -> Thumbprint {
    // 43 characters of base64url: 32 bytes.
    let letter = char::from(b'A' + byte);
    Thumbprint::parse(&format!("{}A", letter.to_string().repeat(42))).unwrap()
}

fn jti(text: &str) -> TokenId {
    TokenId::parse(text).unwrap()
}

#[test]
fn ids_of_different_purposes_and_parts_are_different() {
    let client = ClientId::parse("https://a.example").unwrap();
    let issuer = Issuer::parse("https://a.example").unwrap();
    let ids = [
        ReplayId::client_assertion(&client, &jti("1")),
        ReplayId::token(&issuer, &jti("1")),
        ReplayId::sealed("https://a.example", &jti("1")),
        ReplayId::sealed("https://a.example1", &jti("1")),
        ReplayId::sealed("https://a.exampl", &jti("e1")),
        ReplayId::sealed("https://a.example", &jti("11")),
        ReplayId::dpop(&key(0), "1", "https://a.example"),
        ReplayId::dpop(&key(1), "1", "https://a.example"),
        ReplayId::dpop(&key(0), "2", "https://a.example"),
        ReplayId::dpop(&key(0), "1h", "ttps://a.example"),
        ReplayId::dpop(&key(0), "1", "https://a.example/"),
    ];
    assert_eq!(
        ids.iter().map(ReplayId::as_bytes).collect::<HashSet<_>>().len(),
        ids.len()
    );
    assert_eq!(
        ReplayId::dpop(&key(0), "1", "https://a.example"),
        ids[6],
        "and the same parts give the same id, in every process"
    );
}

#[test]
fn whom_an_id_is_charged_to_does_not_change_it() {
    let by = |subject: &str| Principal {
        issuer: Issuer::parse("https://as.example").unwrap(),
        subject: Subject::parse(subject).unwrap(),
        client: ClientId::parse("agent-1").unwrap(),
    };
    let id = ReplayId::dpop(&key(0), "1", "https://a.example");
    assert_eq!(id.sent_by(&by("alice")).as_bytes(), id.as_bytes());
    assert_ne!(id.sent_by(&by("alice")).sender, id.sent_by(&by("bob")).sender);
    assert_eq!(
        id.sent_by(&by("alice")).sender,
        ReplayId::dpop(&key(1), "1", "https://a.example")
            .sent_by(&by("alice"))
            .sender,
        "a new key does not make a new sender"
    );
}

#[test]
fn every_refusal_has_its_own_code() {
    let all = [
        ReplayUnavailable::Full,
        ReplayUnavailable::SenderFull,
        ReplayUnavailable::ClockWentBack,
        ReplayUnavailable::Unreachable,
    ];
    assert_eq!(
        all.map(ReplayUnavailable::code)
            .iter()
            .collect::<HashSet<_>>()
            .len(),
        4
    );
}
