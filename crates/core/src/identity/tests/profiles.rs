//! Issuers whose tokens differ from RFC 9068, and opaque tokens. Payloads are those of the issuers' documentation.

use super::*;
use crate::identity::WithoutSubject;
use crate::identity::profile::TokenIds;
use crate::limits;

fn trust_in(profile: Profile) -> IssuerTrust {
    IssuerTrust {
        tokens: TokenProfile::of(profile),
        ..trust()
    }
}

fn at(text: &str) -> ClaimPath {
    ClaimPath::parse(text).unwrap()
}

/// Header and payload of an access token of this profile.
fn access_token(profile: Profile) -> (Value, Value) {
    let common = json!({ "iss": ISSUER, "aud": RESOURCE, "exp": NOW + 300, "iat": NOW, "sub": "alice" });
    let (typ, own) = match profile {
        Profile::Rfc9068 => (
            json!("at+jwt"),
            json!({ "client_id": "agent-1", "jti": "t-1", "scope": "a b" }),
        ),
        Profile::Entra => (
            json!("JWT"),
            json!({ "azp": "agent-1", "uti": "t-1", "scp": "a b", "roles": ["r"], "tid": "contoso", "ver": "2.0" }),
        ),
        Profile::Okta => (
            json!("application/okta-internal-at+jwt"),
            json!({ "cid": "agent-1", "jti": "AT.t-1", "scp": ["a", "b"], "uid": "00u", "ver": 1 }),
        ),
        Profile::Auth0 => (json!("JWT"), json!({ "azp": "agent-1", "scope": "a b" })),
        Profile::Keycloak => (
            json!("JWT"),
            json!({ "azp": "agent-1", "jti": "t-1", "typ": "Bearer", "scope": "a b", "realm_access": { "roles": ["r"] } }),
        ),
        Profile::Cognito => (
            Value::Null,
            json!({ "client_id": "agent-1", "jti": "t-1", "token_use": "access", "scope": "a b", "cognito:groups": ["g"] }),
        ),
    };
    let mut header = json!({ "alg": "ES256", "kid": "es" });
    if !typ.is_null() {
        header["typ"] = typ;
    }
    let mut claims = common;
    for (name, value) in own.as_object().unwrap() {
        claims[name] = value.clone();
    }
    (header, claims)
}

fn verdict_in(
    forge: &Forge,
    trust: &IssuerTrust,
    (header, claims): &(Value, Value),
) -> Result<VerifiedIdentity, Failed> {
    judge(&forge.token(Es256, header, claims), trust, &forge.keys, NOW)
}

#[test]
fn each_profile_reads_its_issuers_access_tokens() {
    let forge = Forge::new();
    for profile in Profile::ALL {
        assert_eq!(Profile::from_name(profile.name()), Some(profile));
        let who = verdict_in(&forge, &trust_in(profile), &access_token(profile)).unwrap();
        assert_eq!(who.client().as_str(), "agent-1", "{profile:?}");
        assert_eq!(who.scopes().to_string(), "a b", "{profile:?}");
    }
    let who = verdict_in(&forge, &trust_in(Profile::Entra), &access_token(Profile::Entra)).unwrap();
    assert_eq!(who.tenant(), Some("contoso"));
    assert!(who.roles().contains("r") && who.groups().is_empty());
    let who = verdict_in(
        &forge,
        &trust_in(Profile::Cognito),
        &access_token(Profile::Cognito),
    )
    .unwrap();
    assert!(who.groups().contains("g"));
}

/// No profile opens what another issuer's would: every token is for its own profile, but where two issuers write alike.
#[test]
fn a_token_of_another_profile_is_refused() {
    let forge = Forge::new();
    for profile in Profile::ALL {
        for other in Profile::ALL {
            let verdict = verdict_in(&forge, &trust_in(profile), &access_token(other));
            let alike = profile == other
                // Entra's and Keycloak's tokens have all that Auth0's have, and Entra requires no name.
                || matches!(
                    (profile, other),
                    (Profile::Auth0, Profile::Entra | Profile::Keycloak)
                        | (Profile::Entra, Profile::Auth0 | Profile::Keycloak)
                );
            assert_eq!(verdict.is_ok(), alike, "{profile:?} reads {other:?}");
        }
    }
}

#[test]
fn id_tokens_are_no_access_tokens_under_any_profile() {
    let forge = Forge::new();
    // As each issuer writes them, but for an audience that happens to be ours.
    let id_token = |profile: Profile| {
        let (header, claims) = access_token(profile);
        let marks = json!({ "nonce": "n", "at_hash": "h", "auth_time": NOW });
        let mut claims = marks
            .as_object()
            .unwrap()
            .iter()
            .fold(claims, |claims, (name, value)| with(claims, name, value.clone()));
        match profile {
            Profile::Rfc9068 => return (with(header, "typ", json!("JWT")), claims),
            Profile::Keycloak => claims = with(claims, "typ", json!("ID")),
            Profile::Cognito => claims = with(claims, "token_use", json!("id")),
            Profile::Entra | Profile::Okta | Profile::Auth0 => {}
        }
        (header, claims)
    };
    for profile in Profile::ALL {
        let verdict = verdict_in(&forge, &trust_in(profile), &id_token(profile));
        assert_eq!(verdict.unwrap_err(), Failed::NotAnAccessToken, "{profile:?}");
    }
    // A refreshed one may have no mark. Then it lacks the client that access tokens have, or their kind.
    let bare = [
        (Profile::Entra, "azp", Failed::ClaimMissing(ClaimName::ClientId)),
        (Profile::Okta, "cid", Failed::ClaimMissing(ClaimName::ClientId)),
        (Profile::Keycloak, "typ", Failed::NotAnAccessToken),
        (Profile::Cognito, "token_use", Failed::NotAnAccessToken),
    ];
    for (profile, name, expected) in bare {
        let (header, claims) = access_token(profile);
        let verdict = verdict_in(&forge, &trust_in(profile), &(header, without(claims, name)));
        assert_eq!(verdict.unwrap_err(), expected, "{profile:?}");
    }
    for mark in ["nonce", "at_hash", "c_hash", "s_hash"] {
        let (header, claims) = access_token(Profile::Auth0);
        let marked = (header, with(claims, mark, json!("x")));
        let verdict = verdict_in(&forge, &trust_in(Profile::Auth0), &marked);
        assert_eq!(verdict.unwrap_err(), Failed::NotAnAccessToken, "{mark}");
    }
}

#[test]
fn a_token_without_a_name_is_named_by_its_hash_where_its_profile_lets_it() {
    let forge = Forge::new();
    for profile in Profile::ALL {
        let (header, claims) = access_token(profile);
        let nameless = (header, without(without(claims, "jti"), "uti"));
        let verdict = verdict_in(&forge, &trust_in(profile), &nameless);
        match TokenProfile::of(profile).token_ids() {
            TokenIds::Required => {
                assert_eq!(
                    verdict.unwrap_err(),
                    Failed::ClaimMissing(ClaimName::Jti),
                    "{profile:?}"
                );
            }
            TokenIds::OrHash => {
                let other = (nameless.0, with(nameless.1, "sub", json!("bob")));
                let other = verdict_in(&forge, &trust_in(profile), &other).unwrap();
                let name = verdict.unwrap().token_id().clone();
                assert!(name.as_str().starts_with("sha-256:") && name != *other.token_id());
            }
        }
    }
}

#[test]
fn auth0_may_name_its_own_userinfo_beside_us_and_nothing_else() {
    let forge = Forge::new();
    let issuer = format!("{ISSUER}/");
    let trust = IssuerTrust {
        issuer: Issuer::parse(&issuer).unwrap(),
        ..trust_in(Profile::Auth0)
    };
    let verdict = |trust: &IssuerTrust, aud: Value| {
        let (header, claims) = access_token(Profile::Auth0);
        let claims = with(with(claims, "iss", json!(trust.issuer.as_str())), "aud", aud);
        verdict_in(&forge, trust, &(header, claims)).map(drop)
    };
    let userinfo = format!("{ISSUER}/userinfo");
    assert_eq!(verdict(&trust, json!([RESOURCE, userinfo])), Ok(()));
    assert_eq!(verdict(&trust, json!([userinfo, RESOURCE])), Ok(()));
    for aud in [
        json!([RESOURCE, "https://evil.example/userinfo"]),
        json!([RESOURCE, format!("{ISSUER}.evil.example/userinfo")]),
        json!([RESOURCE, format!("{userinfo}/")]),
        json!([RESOURCE, userinfo, "https://third.example"]),
        json!([RESOURCE, RESOURCE]),
        json!([userinfo, userinfo]),
    ] {
        assert_eq!(verdict(&trust, aud.clone()), Err(Failed::ManyAudiences), "{aud}");
    }
    // Only Auth0 does this.
    let keycloak = IssuerTrust {
        tokens: TokenProfile::of(Profile::Keycloak),
        ..trust
    };
    let (header, claims) = access_token(Profile::Keycloak);
    let claims = with(
        with(claims, "iss", json!(issuer)),
        "aud",
        json!([RESOURCE, userinfo]),
    );
    assert_eq!(
        verdict_in(&forge, &keycloak, &(header, claims)).unwrap_err(),
        Failed::ManyAudiences
    );
}

#[test]
fn an_audience_of_the_issuers_own_takes_the_place_of_ours() {
    let forge = Forge::new();
    let guid = "11112222-bbbb-3333-cccc-4444dddd5555";
    let trust = IssuerTrust {
        tokens: TokenProfile::of(Profile::Entra).with_audience(guid),
        ..trust()
    };
    let (header, claims) = access_token(Profile::Entra);
    let named = |aud: &str| (header.clone(), with(claims.clone(), "aud", json!(aud)));
    let who = verdict_in(&forge, &trust, &named(guid)).unwrap();
    assert_eq!(who.audience().as_str(), RESOURCE);
    for aud in [RESOURCE, &guid.to_uppercase(), "11112222"] {
        assert_eq!(
            verdict_in(&forge, &trust, &named(aud)).unwrap_err(),
            Failed::OtherAudience,
            "{aud}"
        );
    }
}

#[test]
fn claims_are_read_where_configuration_says_and_nowhere_else() {
    let forge = Forge::new();
    let trust = IssuerTrust {
        tokens: TokenProfile::of(Profile::Rfc9068)
            .with_claim(Field::Subject, at("/who/name"))
            .with_claim(Field::Client, at("app"))
            .with_claim(Field::Scopes, at("/realm~1access/scopes"))
            .with_claim(Field::Groups, at("https://acme.example/groups"))
            .with_claim(Field::Roles, at("/realm~1access/roles"))
            .with_claim(Field::Tenant, at("org")),
        ..trust()
    };
    let good = json!({
        "iss": ISSUER, "aud": RESOURCE, "exp": NOW + 300, "iat": NOW, "jti": "t-1", "org": "acme",
        "who": { "name": "alice" }, "app": "agent-1", "https://acme.example/groups": "staff",
        "realm/access": { "scopes": ["b", "a"], "roles": ["admin", "dev"] },
        // What RFC 9068 calls them is not looked at.
        "sub": "mallory", "client_id": "evil", "scope": "root",
    });
    let verdict = |claims: &Value| verdict_in(&forge, &trust, &(header(Es256), claims.clone()));
    let who = verdict(&good).unwrap();
    assert_eq!(
        (who.subject().as_str(), who.client().as_str()),
        ("alice", "agent-1")
    );
    assert_eq!(who.scopes().to_string(), "a b");
    assert_eq!(
        who.groups().iter().map(|name| &**name).collect::<Vec<_>>(),
        ["staff"]
    );
    assert_eq!(
        who.roles().iter().map(|name| &**name).collect::<Vec<_>>(),
        ["admin", "dev"]
    );
    assert_eq!(who.tenant(), Some("acme"));

    // Absent groups are none; what is something else than it should is never absent.
    assert!(
        verdict(&without(good.clone(), "https://acme.example/groups"))
            .unwrap()
            .groups()
            .is_empty()
    );
    assert!(
        verdict(&without(good.clone(), "realm/access"))
            .unwrap()
            .roles()
            .is_empty()
    );
    let malformed = |name: ClaimName| Failed::ClaimMalformed(name);
    let long = "x".repeat(limits::NAME_BYTES + 1);
    let many: Vec<String> = (0..=limits::GROUPS).map(|n| n.to_string()).collect();
    let scopes = |value: Value| json!({ "scopes": value });
    for (name, value, expected) in [
        ("who", json!("alice"), malformed(ClaimName::Sub)),
        ("who", json!({}), Failed::ClaimMissing(ClaimName::Sub)),
        ("app", json!(["agent-1"]), malformed(ClaimName::ClientId)),
        ("org", json!(["acme"]), malformed(ClaimName::Tenant)),
        ("org", json!(""), malformed(ClaimName::Tenant)),
        (
            "https://acme.example/groups",
            json!(null),
            malformed(ClaimName::Groups),
        ),
        (
            "https://acme.example/groups",
            json!([1]),
            malformed(ClaimName::Groups),
        ),
        (
            "https://acme.example/groups",
            json!([long]),
            malformed(ClaimName::Groups),
        ),
        (
            "https://acme.example/groups",
            json!(many),
            malformed(ClaimName::Groups),
        ),
        (
            "realm/access",
            scopes(json!(["a b"])),
            malformed(ClaimName::Scope),
        ),
        (
            "realm/access",
            scopes(json!(["a", 1])),
            malformed(ClaimName::Scope),
        ),
        ("realm/access", json!([]), malformed(ClaimName::Scope)),
    ] {
        assert_eq!(
            verdict(&with(good.clone(), name, value.clone())).unwrap_err(),
            expected,
            "{name}: {value}"
        );
    }
    let most = with(good, "https://acme.example/groups", json!(many[1..]));
    assert_eq!(verdict(&most).unwrap().groups().len(), limits::GROUPS);
}

#[test]
fn groups_that_are_to_be_fetched_elsewhere_are_not_absent() {
    let forge = Forge::new();
    let (header, claims) = access_token(Profile::Entra);
    for (name, value) in [
        ("_claim_names", json!({ "groups": "src1" })),
        ("hasgroups", json!(true)),
    ] {
        let token = (header.clone(), with(claims.clone(), name, value));
        // Whoever reads no groups misses none.
        assert!(
            verdict_in(&forge, &trust_in(Profile::Entra), &token).is_ok(),
            "{name}"
        );
        let trust = IssuerTrust {
            tokens: TokenProfile::of(Profile::Entra).with_claim(Field::Groups, at("groups")),
            ..trust()
        };
        assert_eq!(
            verdict_in(&forge, &trust, &token).unwrap_err(),
            Failed::ClaimMalformed(ClaimName::Groups),
            "{name}"
        );
    }
}

#[test]
fn two_places_that_both_name_the_client_name_nobody() {
    let forge = Forge::new();
    let (header, claims) = access_token(Profile::Entra);
    let v1 = with(without(claims.clone(), "azp"), "appid", json!("agent-1"));
    assert!(verdict_in(&forge, &trust_in(Profile::Entra), &(header.clone(), v1)).is_ok());
    let both = with(claims, "appid", json!("agent-2"));
    assert_eq!(
        verdict_in(&forge, &trust_in(Profile::Entra), &(header, both)).unwrap_err(),
        Failed::ClaimMalformed(ClaimName::ClientId)
    );
}

fn asked(answer: &str) -> Result<VerifiedIdentity, Failed> {
    asked_of(TokenProfile::of_introspection(), answer)
}

fn asked_of(tokens: TokenProfile, answer: &str) -> Result<VerifiedIdentity, Failed> {
    let trust = IssuerTrust { tokens, ..trust() };
    let resource = ResourceUri::parse(RESOURCE).unwrap();
    let vouched = introspected(
        &bearer("opaque"),
        answer.as_bytes(),
        &trust,
        &resource,
        UnixTime::from_secs(NOW),
    );
    Arc::new(vouched?).confirm(None, None)
}

fn active() -> Value {
    json!({
        "active": true, "iss": ISSUER, "aud": RESOURCE, "exp": NOW + 300, "iat": NOW, "sub": "alice",
        "client_id": "agent-1", "scope": "a b", "token_type": "Bearer",
    })
}

#[test]
fn clm_16_who_is_not_named_is_the_client_where_configuration_says_so() {
    let itself = TokenProfile::of_introspection().with_absent_subject(WithoutSubject::Client);
    let nobody = without(active(), "sub").to_string();
    let who = asked_of(itself.clone(), &nobody).unwrap();
    assert!(who.is_client_itself());
    assert_eq!(who.subject().as_str(), "agent-1");
    // Whoever is named is that one, and a name that cannot be read is none.
    let who = asked_of(itself.clone(), &active().to_string()).unwrap();
    assert_eq!(who.subject().as_str(), "alice");
    for subject in [json!(""), json!(null), json!(1)] {
        let answer = with(active(), "sub", subject).to_string();
        let refused = asked_of(itself.clone(), &answer).unwrap_err();
        assert_eq!(refused, Failed::ClaimMalformed(ClaimName::Sub), "{answer}");
    }
    let neither = without(without(active(), "sub"), "client_id").to_string();
    let refused = asked_of(itself, &neither).unwrap_err();
    assert_eq!(refused, Failed::ClaimMissing(ClaimName::ClientId));
}

#[test]
fn an_answer_that_says_active_is_held_to_what_a_token_is() {
    let who = asked(&active().to_string()).unwrap();
    assert_eq!(
        (who.subject().as_str(), who.client().as_str()),
        ("alice", "agent-1")
    );
    assert_eq!(who.scopes().to_string(), "a b");
    assert!(who.token_id().as_str().starts_with("sha-256:"));
    assert!(asked(&without(active(), "iss").to_string()).is_ok());
    assert!(asked(&without(active(), "token_type").to_string()).is_ok());
    assert!(asked(&with(active(), "token_use", json!("access_token")).to_string()).is_ok());
    let rows = [
        (
            with(active(), "iss", json!("https://evil.example")),
            Failed::OtherIssuer,
        ),
        (
            with(active(), "iss", json!([ISSUER])),
            Failed::ClaimMalformed(ClaimName::Iss),
        ),
        (
            with(active(), "aud", json!("https://other.example")),
            Failed::OtherAudience,
        ),
        (
            with(active(), "aud", json!([RESOURCE, "https://other.example"])),
            Failed::ManyAudiences,
        ),
        (without(active(), "aud"), Failed::ClaimMissing(ClaimName::Aud)),
        (with(active(), "exp", json!(NOW - SKEW)), Failed::Expired),
        (without(active(), "exp"), Failed::ClaimMissing(ClaimName::Exp)),
        (without(active(), "iat"), Failed::ClaimMissing(ClaimName::Iat)),
        (
            with(active(), "exp", json!(NOW + MAX_LIFETIME + 1)),
            Failed::Lifetime,
        ),
        (with(active(), "nbf", json!(NOW + SKEW + 1)), Failed::NotYetValid),
        (without(active(), "sub"), Failed::ClaimMissing(ClaimName::Sub)),
        (
            without(active(), "client_id"),
            Failed::ClaimMissing(ClaimName::ClientId),
        ),
        (
            with(active(), "token_type", json!("refresh_token")),
            Failed::NotAnAccessToken,
        ),
        (
            with(active(), "token_type", json!(1)),
            Failed::IntrospectionAnswer,
        ),
        (
            with(active(), "token_use", json!("refresh_token")),
            Failed::NotAnAccessToken,
        ),
        (
            with(active(), "token_type", json!("DPoP")),
            Failed::ClaimMissing(ClaimName::Cnf),
        ),
        (
            with(active(), "cnf", json!({ "jkt": encode([7; 32]) })),
            Failed::SenderConstrained,
        ),
        (
            with(active(), "cnf", json!({ "kid": "x" })),
            Failed::ConfirmationUnknown,
        ),
    ];
    for (answer, expected) in rows {
        assert_eq!(asked(&answer.to_string()).unwrap_err(), expected, "{answer}");
    }
}

/// RS-30.
#[test]
fn what_only_looks_like_an_active_answer_is_none() {
    assert_eq!(asked(r#"{"active":false}"#).unwrap_err(), Failed::Inactive);
    assert_eq!(
        asked(&with(active(), "active", json!(false)).to_string()).unwrap_err(),
        Failed::Inactive
    );
    for active_says in [
        json!("true"),
        json!(1),
        json!(null),
        json!([true]),
        json!({ "active": true }),
    ] {
        let answer = with(active(), "active", active_says).to_string();
        assert_eq!(
            asked(&answer).unwrap_err(),
            Failed::IntrospectionAnswer,
            "{answer}"
        );
    }
    let whole = active().to_string();
    let doubled = whole.replacen('{', r#"{"active":false,"#, 1);
    for answer in [
        &without(active(), "active").to_string(),
        &doubled,
        whole.trim_start_matches('{'),
        &format!("[{whole}]"),
        &format!("{whole}{whole}"),
        "",
        "true",
        "<html>active</html>",
    ] {
        assert_eq!(
            asked(answer).unwrap_err(),
            Failed::IntrospectionAnswer,
            "{answer}"
        );
    }
}
