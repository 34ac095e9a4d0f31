use super::*;
use crate::ids::Issuer;
use crate::oauth::server::Refusal;
use crate::oauth::server::authorization::{Addressed, Offer, Recalled};
use crate::oauth::server::parameters::Parameters;
use crate::time::Lifetime;

const GOOD: [(&str, &str); 8] = [
    ("response_type", "code"),
    ("client_id", "c1"),
    ("redirect_uri", "https://c.example/cb"),
    ("scope", "n:read n:write"),
    ("state", "s t"),
    ("code_challenge", CHALLENGE),
    ("code_challenge_method", "S256"),
    ("resource", RESOURCE),
];

fn query(pairs: &[(&str, &str)]) -> Parameters {
    let text = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish();
    Parameters::parse(text.as_bytes()).unwrap()
}

/// The good request with changes: `name=` removes, `name=value` replaces, `+name=value` adds.
fn changed(changes: &[&str]) -> Parameters {
    let mut pairs = GOOD.to_vec();
    for change in changes {
        let (name, value) = change.split_once('=').unwrap();
        match name.strip_prefix('+') {
            Some(name) => pairs.push((name, value)),
            None => {
                pairs.retain(|(given, _)| *given != name);
                if !value.is_empty() {
                    pairs.push((name, value));
                }
            }
        }
    }
    query(&pairs)
}

fn offers() -> Vec<Offer> {
    vec![Offer {
        uri: resource(),
        scopes: scopes("n:read n:write n:irreversible"),
        basic: scopes("n:read"),
        unnamed: true,
    }]
}

fn refused(changes: &[&str]) -> Option<Refusal> {
    let parameters = changed(changes);
    Addressed::new(client(), &parameters)
        .unwrap()
        .request(&parameters, &offers())
        .err()
        .map(|answered| answered.refusal)
}

#[test]
fn nothing_is_sent_to_a_redirect_uri_that_is_not_the_clients() {
    for (changes, refusal) in [
        (&["redirect_uri="][..], Refusal::Missing("redirect_uri")),
        (&["redirect_uri=https://evil.example/cb"], Refusal::RedirectUri),
        (&["redirect_uri=https://c.example/cb/"], Refusal::RedirectUri),
        (&["redirect_uri=https://c.example.evil/cb"], Refusal::RedirectUri),
        (
            &["+redirect_uri=https://c.example/cb"],
            Refusal::Repeated("redirect_uri"),
        ),
        (&["+client_id=c2"], Refusal::Repeated("client_id")),
    ] {
        assert_eq!(
            Addressed::new(client(), &changed(changes)).err(),
            Some(refusal),
            "{changes:?}"
        );
    }
    // RFC 8252 §7.3
    assert!(Addressed::new(client(), &changed(&["redirect_uri=http://127.0.0.1:4711/cb"])).is_ok());
}

#[test]
fn every_rule_of_the_request_has_its_refusal() {
    for (changes, refusal) in [
        // RFC 6749 §3.1
        (&["+scope=n:read"][..], Refusal::Repeated("scope")),
        (&["+state=x"], Refusal::Repeated("state")),
        (&["+x=1", "+x=2"], Refusal::Repeated("a parameter")),
        // RFC 6749 §3.1.1, RFC 9700 §2.1.2
        (&["response_type="], Refusal::Missing("response_type")),
        (&["response_type=token"], Refusal::ResponseType),
        (&["response_type=code token"], Refusal::ResponseType),
        (&["response_type=code id_token"], Refusal::ResponseType),
        (&["+response_mode=fragment"], Refusal::Malformed("response_mode")),
        // RFC 7636 §4.3, §4.4.1
        (&["code_challenge="], Refusal::Missing("code_challenge")),
        (
            &["code_challenge_method="],
            Refusal::Missing("code_challenge_method"),
        ),
        (
            &["code_challenge_method=plain"],
            Refusal::Malformed("code_challenge_method"),
        ),
        (
            &["code_challenge_method=s256"],
            Refusal::Malformed("code_challenge_method"),
        ),
        (&["code_challenge=short"], Refusal::Malformed("code_challenge")),
        // RFC 8707 §2
        (&["resource=https://rs.example/mcp/"], Refusal::Resource),
        (&["resource=https://rs.example/mcp#x"], Refusal::Resource),
        (&["resource=/mcp"], Refusal::Resource),
        (&["+resource=https://rs.example/mcp"], Refusal::Resource),
        (&["+resource=https://other.example/"], Refusal::Resource),
        // RFC 6749 §3.3
        (&["scope=n:admin"], Refusal::Scope),
        (&["scope=n:read n:admin"], Refusal::Scope),
        (&["scope=a\"b"], Refusal::Scope),
        // RFC 9101, RFC 9126
        (&["+request=eyJ"], Refusal::RequestObject),
        (&["+request_uri=urn:x"], Refusal::RequestReference),
    ] {
        assert_eq!(refused(changes), Some(refusal), "{changes:?}");
    }
    for changes in [
        &[][..],
        &["+response_mode=query"],
        &["scope="],
        &["state="],
        &["+unknown=1"],
    ] {
        assert_eq!(refused(changes), None, "{changes:?}");
    }
}

#[test]
fn a_client_registered_for_another_grant_is_told() {
    let other = Client {
        grants: BTreeSet::from([GrantType::ClientCredentials]),
        ..client()
    };
    let parameters = changed(&[]);
    let answered = Addressed::new(other, &parameters)
        .unwrap()
        .request(&parameters, &offers())
        .unwrap_err();
    assert_eq!(answered.refusal, Refusal::GrantNotRegistered);
}

#[test]
fn a_request_without_scope_asks_for_the_basic_one() {
    for changes in [&["scope="][..], &["scope=offline_access"]] {
        let parameters = changed(changes);
        let request = Addressed::new(client(), &parameters)
            .unwrap()
            .request(&parameters, &offers())
            .unwrap();
        assert_eq!(*request.scopes(), scopes("n:read"), "{changes:?}");
    }
}

#[test]
fn a_resource_may_be_left_out_only_where_there_is_no_choice() {
    let unnamed = changed(&["resource="]);
    assert_eq!(
        Offer::choose(&offers(), &unnamed).map(|offer| offer.uri.clone()),
        Ok(resource())
    );
    let choice = [Offer {
        unnamed: false,
        ..offers()[0].clone()
    }];
    assert_eq!(Offer::choose(&choice, &unnamed), Err(Refusal::Resource));
    assert!(Offer::choose(&choice, &changed(&[])).is_ok());
    assert_eq!(Offer::choose(&[], &unnamed), Err(Refusal::Resource));
}

#[test]
fn every_answer_carries_state_and_issuer() {
    // RFC 9207 §2, RFC 6749 §4.1.2.1
    let issuer = Issuer::parse("https://as.example").unwrap();
    let addressed = |changes: &[&str]| Addressed::new(client(), &changed(changes)).unwrap();
    assert_eq!(
        addressed(&[]).answer(&issuer, &[("error", "access_denied")]),
        "https://c.example/cb?error=access_denied&state=s+t&iss=https%3A%2F%2Fas.example"
    );
    assert_eq!(
        addressed(&["state="]).answer(&issuer, &[("code", "x")]),
        "https://c.example/cb?code=x&iss=https%3A%2F%2Fas.example"
    );
}

fn recalled(client: Client, changes: &[&str], allowed: &str) -> Recalled {
    let parameters = changed(changes);
    let request = Addressed::new(client, &parameters)
        .unwrap()
        .request(&parameters, &offers())
        .unwrap();
    request.authenticated(user()).recall(&scopes(allowed))
}

#[test]
fn only_what_was_not_allowed_before_is_asked() {
    for (allowed, asked) in [
        ("", Some("n:read n:write")),
        ("n:read", Some("n:write")),
        ("n:read n:write", None),
        ("n:irreversible n:read n:write", None),
        ("n:irreversible", Some("n:read n:write")),
    ] {
        match recalled(client(), &[], allowed) {
            Recalled::Consented(_) => assert_eq!(asked, None, "{allowed}"),
            Recalled::Ask(asking) => {
                assert_eq!(Some(asking.new_scopes().to_string().as_str()), asked, "{allowed}")
            }
        }
    }
}

#[test]
fn a_documented_client_on_this_machine_is_asked_about_every_time() {
    // RFC 8252 §8.6
    let document = || Client {
        provenance: Provenance::Document,
        ..client()
    };
    let all = "n:read n:write";
    let local = "redirect_uri=http://127.0.0.1:1/cb";
    assert!(
        matches!(recalled(document(), &[local], all), Recalled::Ask(asking) if asking.new_scopes().is_empty())
    );
    assert!(matches!(recalled(document(), &[], all), Recalled::Consented(_)));
    assert!(matches!(
        recalled(client(), &[local], all),
        Recalled::Consented(_)
    ));
}

#[test]
fn a_code_says_what_was_consented_to() {
    let Recalled::Ask(asking) = recalled(client(), &["redirect_uri=http://127.0.0.1:5/cb"], "") else {
        panic!("not asked")
    };
    let issued = asking
        .approve()
        .issue(&counting(), NOW, Lifetime::from_secs(60))
        .unwrap();
    assert_eq!(issued.code.grant.client, id("c1"));
    assert_eq!(issued.code.grant.user, user());
    assert_eq!(issued.code.grant.resource, resource());
    assert_eq!(issued.code.grant.scopes, scopes("n:read n:write"));
    assert!(issued.code.grant.refreshable && !issued.code.used);
    // The one that was asked for, not the one that was registered.
    assert_eq!(issued.code.redirect, "http://127.0.0.1:5/cb");
    assert_eq!(issued.code.challenge.as_str(), CHALLENGE);
    assert_eq!(issued.code.expires, NOW.plus(Lifetime::from_secs(60)));
}

#[test]
fn a_denial_is_an_answer_to_the_client() {
    let Recalled::Ask(asking) = recalled(client(), &[], "") else {
        panic!("not asked")
    };
    let answered = asking.deny();
    assert_eq!(answered.refusal, Refusal::ConsentDenied);
    assert_eq!(answered.to.redirect().as_str(), "https://c.example/cb");
}
