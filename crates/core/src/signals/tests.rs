use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::*;
use crate::ids::{Issuer, KeyId};
use crate::jose::SignatureAlgorithm;
use crate::jose::jwk::{KeySet, PublicJwk, SigningKey};
use crate::jose::jws::{self, TokenSigner as _};
use crate::revocation::Target;
use crate::time::{Lifetime, UnixTime};

const NOW: i64 = 1_800_000_000;
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

struct Stage {
    key: SigningKey,
    keys: KeySet,
    of: Transmitter,
}

fn key(kid: &str) -> SigningKey {
    let (key, _) = SigningKey::generate(KeyId::parse(kid).unwrap(), SignatureAlgorithm::Es256).unwrap();
    key
}

impl Stage {
    fn new() -> Self {
        let key = key("k");
        let jwk = PublicJwk {
            key: key.public().clone(),
            algorithm: SignatureAlgorithm::Es256.into(),
            kid: key.kid().clone(),
            chain: Vec::new(),
        };
        let keys = json!({ "keys": [jwk.to_json()] }).to_string();
        Self {
            keys: KeySet::parse(keys.as_bytes()).unwrap(),
            key,
            of: Transmitter {
                issuer: Issuer::parse("https://ssf.example").unwrap(),
                audience: "https://gw.example".into(),
                algorithms: BTreeSet::from([SignatureAlgorithm::Es256]),
                speaks_for: BTreeSet::from([Issuer::parse("https://as.example").unwrap()]),
                sessions: Sessions::Unknown,
                skew: Lifetime::from_secs(30),
                oldest: Lifetime::from_hours(1),
            },
        }
    }

    fn set(&self, change: &Value) -> String {
        self.typed("secevent+jwt", change)
    }

    fn typed(&self, typ: &str, change: &Value) -> String {
        let mut claims: Map<String, Value> = json!({
            "iss": "https://ssf.example", "aud": "https://gw.example", "iat": NOW, "jti": "s-1",
            "sub_id": {"format": "iss_sub", "iss": "https://as.example", "sub": "ada"},
            "events": {format!("{CAEP}session-revoked"): {"event_timestamp": NOW - 10}},
        })
        .as_object()
        .unwrap()
        .clone();
        for (name, value) in change.as_object().unwrap() {
            if value.is_null() {
                claims.remove(name);
            } else {
                claims.insert(name.clone(), value.clone());
            }
        }
        jws::sign(&self.key, typ, &claims).unwrap()
    }

    fn verified(&self, text: &str) -> Result<SecurityEvents, Failed> {
        verify(
            &Candidate::parse(text)?,
            &self.of,
            &self.keys,
            UnixTime::from_secs(NOW),
        )
    }

    /// What the only event of this SET revokes, in words.
    fn revoked(&self, change: &Value) -> Result<Vec<String>, Failed> {
        let set = self.verified(&self.set(change))?;
        let [event] = set.events.as_slice() else {
            panic!("{set:?}")
        };
        if event.kind.effect() == Effect::None {
            return Ok(vec!["nothing".to_owned()]);
        }
        let named =
            |target: Target| format!("{} {} {}", target.kind(), target.issuer().unwrap(), target.name());
        Ok(event.subject.targets(event.at).map(named).collect())
    }
}

#[test]
fn a_session_that_ended_ends_what_its_user_was_issued_until_then() {
    let stage = Stage::new();
    let set = stage.verified(&stage.set(&json!({}))).unwrap();
    assert_eq!(set.id.as_str(), "s-1");
    let [event] = set.events.as_slice() else {
        panic!("{set:?}")
    };
    assert_eq!(
        (event.kind, event.at),
        (EventKind::SessionRevoked, UnixTime::from_secs(NOW - 10))
    );
    assert_eq!(
        stage.revoked(&json!({})),
        Ok(vec!["user https://as.example ada".to_owned()])
    );
    // Without a time of its own the event is as old as the SET; with a later one too.
    for change in [json!({}), json!({"event_timestamp": NOW + 5})] {
        let events = json!({"events": {format!("{CAEP}session-revoked"): change}});
        let set = stage.verified(&stage.set(&events)).unwrap();
        assert_eq!(set.events[0].at, UnixTime::from_secs(NOW));
    }
}

#[test]
fn each_event_has_its_effect_or_none() {
    let stage = Stage::new();
    let rows = [
        (CAEP, "session-revoked", json!({}), true),
        (CAEP, "credential-change", json!({"change_type": "revoke"}), true),
        (CAEP, "credential-change", json!({"change_type": "update"}), true),
        (CAEP, "credential-change", json!({"change_type": "delete"}), true),
        (CAEP, "credential-change", json!({}), true),
        (CAEP, "credential-change", json!({"change_type": "create"}), false),
        (CAEP, "token-claims-change", json!({"claims": {}}), false),
        (CAEP, "assurance-level-change", json!({}), false),
        (CAEP, "device-compliance-change", json!({}), false),
        (RISC, "account-disabled", json!({}), true),
        (RISC, "account-purged", json!({}), true),
        (RISC, "sessions-revoked", json!({}), true),
        (RISC, "account-enabled", json!({}), false),
        (SSF, "stream-updated", json!({"status": "paused"}), false),
        ("https://other.example/", "session-revoked", json!({}), false),
    ];
    for (at, name, payload, revokes) in rows {
        let revoked = stage
            .revoked(&json!({"events": {format!("{at}{name}"): payload}}))
            .unwrap();
        assert_eq!(revoked[0] != "nothing", revokes, "{at}{name}");
    }
}

#[test]
fn a_verification_event_gives_back_its_state() {
    let stage = Stage::new();
    let set = stage.set(&json!({
        "sub_id": {"format": "opaque", "id": "stream-1"},
        "events": {format!("{SSF}verification"): {"state": "c2VjcmV0"}},
    }));
    let set = stage.verified(&set).unwrap();
    assert_eq!(set.state.as_deref(), Some("c2VjcmV0"));
    assert_eq!(set.events[0].kind.effect(), Effect::None);
}

#[test]
fn subjects_are_those_of_issuers_that_the_transmitter_speaks_for() {
    let mut stage = Stage::new();
    let user = |issuer: &str| json!({"format": "iss_sub", "iss": issuer, "sub": "ada"});
    let ada = || vec!["user https://as.example ada".to_owned()];
    let rows = [
        (user("https://as.example"), ada()),
        (user("https://as.example/"), Vec::new()),
        (user("https://elsewhere.example"), Vec::new()),
        (json!({"format": "opaque", "id": "ada"}), ada()),
        (json!({"format": "email", "email": "ada@as.example"}), Vec::new()),
        (
            json!({"format": "aliases", "identifiers": [{"format": "email", "email": "a@b"}, user("https://as.example")]}),
            ada(),
        ),
        (
            json!({"format": "complex", "user": user("https://as.example"), "device": {"format": "opaque", "id": "d"}}),
            ada(),
        ),
        (
            json!({"format": "complex", "user": user("https://as.example"), "session": {"format": "opaque", "id": "sid-1"}}),
            ada(),
        ),
        (
            json!({"format": "complex", "tenant": {"format": "opaque", "id": "t"}}),
            Vec::new(),
        ),
    ];
    for (subject, expected) in rows {
        assert_eq!(
            stage.revoked(&json!({ "sub_id": subject })),
            Ok(expected),
            "{subject}"
        );
        // Where transmitters of before have it.
        let old = json!({"sub_id": null, "events": {format!("{CAEP}session-revoked"): {"subject": subject}}});
        assert!(stage.revoked(&old).is_ok());
    }
    for bad in [
        json!("ada"),
        json!({"sub": "ada"}),
        json!({"format": "iss_sub", "sub": "ada"}),
        json!({"format": "iss_sub", "iss": "https://as.example", "sub": ""}),
        json!({"format": "aliases"}),
        json!({"format": "aliases", "identifiers": vec![user("https://as.example"); SUBJECTS + 1]}),
    ] {
        assert_eq!(
            stage.revoked(&json!({ "sub_id": bad })),
            Err(Failed::Claim("sub_id")),
            "{bad}"
        );
    }
    let most = json!({"format": "aliases", "identifiers": vec![user("https://as.example"); SUBJECTS]});
    assert_eq!(stage.revoked(&json!({ "sub_id": most })), Ok(ada()));
    // Where tokens name their session, it is that session and nothing else.
    stage.of.sessions = Sessions::NamedByTokens;
    let session = json!({"format": "complex", "user": user("https://as.example"), "session": {"format": "opaque", "id": "sid-1"}});
    assert_eq!(
        stage.revoked(&json!({ "sub_id": session })),
        Ok(vec!["grant https://as.example sid-1".to_owned()])
    );
    // A disabled account or a changed credential is in every session, whichever is named.
    for uri in [
        format!("{CAEP}credential-change"),
        format!("{RISC}account-disabled"),
    ] {
        let whole = json!({"sub_id": session, "events": {uri: {}}});
        assert_eq!(stage.revoked(&whole), Ok(ada()));
    }
    // An opaque name is of nobody, where it could be of two.
    stage
        .of
        .speaks_for
        .insert(Issuer::parse("https://as2.example").unwrap());
    let opaque = json!({"sub_id": {"format": "opaque", "id": "ada"}});
    assert_eq!(stage.revoked(&opaque), Ok(Vec::new()));
}

#[test]
fn nothing_of_a_set_is_believed_that_is_not_the_transmitters() {
    let stage = Stage::new();
    let rows = [
        (stage.typed("JWT", &json!({})), Failed::Type, "invalid_request"),
        (stage.typed("at+jwt", &json!({})), Failed::Type, "invalid_request"),
        (
            stage.set(&json!({"iss": "https://as.example"})),
            Failed::Issuer,
            "invalid_issuer",
        ),
        (
            stage.set(&json!({"iss": "https://ssf.example/"})),
            Failed::Issuer,
            "invalid_issuer",
        ),
        (
            stage.set(&json!({"aud": "https://other.example"})),
            Failed::Audience,
            "invalid_audience",
        ),
        (
            stage.set(&json!({"aud": null})),
            Failed::Audience,
            "invalid_audience",
        ),
        (
            stage.set(&json!({"jti": null})),
            Failed::Claim("jti"),
            "invalid_request",
        ),
        (
            stage.set(&json!({"iat": null})),
            Failed::Claim("iat"),
            "invalid_request",
        ),
        (
            stage.set(&json!({"iat": NOW + 31})),
            Failed::Time,
            "invalid_request",
        ),
        (
            stage.set(&json!({"iat": NOW - 3_601})),
            Failed::Time,
            "invalid_request",
        ),
        (
            stage.set(&json!({"exp": NOW - 30})),
            Failed::Time,
            "invalid_request",
        ),
        (
            stage.set(&json!({"events": null})),
            Failed::Claim("events"),
            "invalid_request",
        ),
        (
            stage.set(&json!({"events": {}})),
            Failed::Claim("events"),
            "invalid_request",
        ),
        (
            stage.set(&json!({"events": {"x": 1}})),
            Failed::Claim("events"),
            "invalid_request",
        ),
        ("x".repeat(SET_BYTES + 1), Failed::TooLarge, "invalid_request"),
        ("x".repeat(SET_BYTES), Failed::Malformed, "invalid_request"),
        (String::new(), Failed::Malformed, "invalid_request"),
    ];
    for (text, failed, err) in rows {
        assert_eq!(stage.verified(&text), Err(failed));
        assert_eq!(failed.err(), err);
    }
    assert!(stage.verified(&stage.set(&json!({"iat": NOW + 30}))).is_ok());
    assert!(stage.verified(&stage.set(&json!({"iat": NOW - 3_600}))).is_ok());
    assert!(
        stage
            .verified(&stage.set(&json!({"aud": ["x", "https://gw.example"]})))
            .is_ok()
    );
    assert!(
        stage
            .verified(&stage.typed("application/secevent+jwt", &json!({})))
            .is_ok()
    );
    let many = |count: usize| {
        let events: Map<String, Value> = (0..count).map(|n| (format!("urn:{n}"), json!({}))).collect();
        stage.set(&json!({ "events": events }))
    };
    assert!(stage.verified(&many(EVENTS)).is_ok());
    assert_eq!(stage.verified(&many(EVENTS + 1)), Err(Failed::Claim("events")));

    let good = stage.set(&json!({}));
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (_, signature) = stage
        .set(&json!({"jti": "other"}))
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert_eq!(
        stage.verified(&format!("{signed}.{signature}")),
        Err(Failed::Signature)
    );
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoic2VjZXZlbnQrand0In0.e30.AA";
    assert_eq!(stage.verified(unsigned), Err(Failed::Algorithm));
    let mut elsewhere = Stage::new();
    elsewhere.key = key("other");
    assert_eq!(stage.verified(&elsewhere.set(&json!({}))), Err(Failed::Key));
}
