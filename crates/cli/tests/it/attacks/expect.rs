//! The right answers, by the codes of the attack catalogue, and where they point.

/// What callers call the gateway, wherever it listens.
pub(super) const HOST: &str = "gw.example";
pub(super) const RESOURCE: &str = "https://gw.example/mcp";
/// The same server's other address: a resource of its own.
pub(super) const OTHER_RESOURCE: &str = "https://gw.example/s/crm/mcp";
pub(super) const METADATA: &str = "https://gw.example/.well-known/oauth-protected-resource/mcp";
pub(super) const HOME: &str = "https://home.example";
pub(super) const ALGS: &str = r#"algs="ES256 EdDSA ES384 ES512 PS256 RS256""#;

/// What the right answer is.
#[derive(Clone, Debug)]
pub(super) struct Expect {
    pub(super) status: u16,
    /// `WWW-Authenticate`, all of it; an empty one is none.
    pub(super) challenge: String,
    /// `error.data.reason`.
    pub(super) told: &'static str,
    /// `reason` and `fault` of the record. Nothing where the request is judged by nobody.
    pub(super) recorded: Option<(&'static str, &'static str)>,
    /// `error.code`.
    pub(super) json_rpc: Option<i64>,
}

impl Expect {
    fn new(
        status: u16,
        challenge: String,
        told: &'static str,
        recorded: (&'static str, &'static str),
    ) -> Self {
        Self {
            status,
            challenge,
            told,
            recorded: Some(recorded),
            json_rpc: None,
        }
    }

    /// The same, at another address of the server.
    pub(super) fn at(self, metadata: &str) -> Self {
        Self {
            challenge: self.challenge.replace(METADATA, metadata),
            ..self
        }
    }

    /// The same, to a caller who uses the scheme `DPoP`: the error stands in that, and nobody is asked to do without a key.
    pub(super) fn in_dpop(self) -> Self {
        let challenge = self.challenge.replacen("Bearer ", "DPoP ", 1);
        let challenge = challenge.replace(&format!(", DPoP {ALGS}"), &format!(", {ALGS}"));
        Self { challenge, ..self }
    }

    pub(super) fn with_code(self, json_rpc: i64) -> Self {
        Self {
            json_rpc: Some(json_rpc),
            ..self
        }
    }
}

/// `NO`: no credential.
pub(super) fn no() -> Expect {
    let challenge = format!(r#"Bearer resource_metadata="{METADATA}", scope="crm:read", DPoP {ALGS}"#);
    Expect::new(401, challenge, "token.missing", ("token.missing", "caller"))
}

fn invalid_token(text: &str, told: &'static str, recorded: (&'static str, &'static str)) -> Expect {
    let challenge = format!(
        r#"Bearer error="invalid_token", error_description="{text}", resource_metadata="{METADATA}", scope="crm:read", DPoP {ALGS}"#
    );
    Expect::new(401, challenge, told, recorded)
}

/// `IT`: a token that is not believed. Whoever sends it is told that, and the record why.
pub(super) fn it(reason: &'static str) -> Expect {
    invalid_token(
        "the access token is not valid here",
        "token.invalid",
        (reason, "caller"),
    )
}

/// `IT`, and only the issuer can have written such a token.
pub(super) fn it_of_peer(reason: &'static str) -> Expect {
    invalid_token(
        "the access token is not valid here",
        "token.invalid",
        (reason, "peer"),
    )
}

/// `IT` for the one thing that is told, because a client can do something about it.
pub(super) fn expired() -> Expect {
    let reason = "token.expired";
    invalid_token("the access token expired", reason, (reason, "caller"))
}

/// `IR`: a credential that says nothing, or two things.
pub(super) fn ir(reason: &'static str, text: &str) -> Expect {
    let challenge = format!(r#"Bearer error="invalid_request", error_description="{text}""#);
    Expect::new(400, challenge, reason, (reason, "caller"))
}

pub(super) fn ir_malformed() -> Expect {
    ir(
        "request.malformed-authorization",
        "the `Authorization` header is malformed",
    )
}

/// `IS`: more scope would help.
pub(super) fn is(scope: &str) -> Expect {
    let reason = "policy.insufficient-scope";
    let challenge = format!(
        r#"Bearer error="insufficient_scope", scope="{scope}", resource_metadata="{METADATA}", error_description="the call needs more scope than the access token has""#
    );
    Expect::new(403, challenge, reason, (reason, "caller"))
}

fn proof_wanted(error: &str, text: &str, reason: &'static str) -> Expect {
    let challenge = format!(
        r#"DPoP error="{error}", error_description="{text}", resource_metadata="{METADATA}", {ALGS}"#
    );
    Expect::new(401, challenge, reason, (reason, "caller"))
}

/// `DIT`: a token that is for another sender, or for a proof that is not there.
pub(super) fn dit(reason: &'static str, text: &str) -> Expect {
    proof_wanted("invalid_token", text, reason)
}

/// `DIP`: a proof that does not hold.
pub(super) fn dip(reason: &'static str, text: &str) -> Expect {
    proof_wanted("invalid_dpop_proof", text, reason)
}

/// `DN`: a proof that needs our nonce.
pub(super) fn dn() -> Expect {
    let text = "the proof needs the nonce that `DPoP-Nonce` of this answer has; make a new proof with it";
    proof_wanted("use_dpop_nonce", text, "dpop.nonce")
}

/// `HM`: a header that does not agree with the body.
pub(super) fn hm() -> Expect {
    refused(400, "request.header-mismatch").with_code(-32_020)
}

/// A refusal without a challenge: no other credential would help.
pub(super) fn refused(status: u16, reason: &'static str) -> Expect {
    Expect::new(status, String::new(), reason, (reason, "caller"))
}

/// As [`refused`], and somebody else has to act.
pub(super) fn unavailable(status: u16, reason: &'static str, fault: &'static str) -> Expect {
    Expect::new(status, String::new(), reason, (reason, fault))
}

/// Refused before anybody judges it, because it is for no endpoint.
pub(super) fn unjudged(status: u16, reason: &'static str) -> Expect {
    Expect {
        recorded: None,
        ..refused(status, reason)
    }
}
