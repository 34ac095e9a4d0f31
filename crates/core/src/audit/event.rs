//! What is recorded: one struct per kind of event. Every field is listed in `docs/audit-fields.md`.
//!
//! No field can hold a credential: tokens come in as [`TokenHash`], arguments as [`KeyedDigest`], and neither type
//! has another maker than a hash. Free text (names, methods) is a value, never a key.

use serde::{Serialize, Serializer};

use super::signal::Signal;
use super::{KeyedDigest, TokenHash};
use crate::fault::Fault;
use crate::ids::ScopeSet;

/// One thing that happened. In JSON a flat object whose `kind` names the variant in lower case.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A call was judged.
    Decision(Box<Decision>),
    /// A forwarded call ended.
    Outcome(Outcome),
    /// Somebody tried to log in.
    Login(Login),
    /// A user was asked whether an agent may act for them.
    Consent(Box<Consent>),
    /// An agent registered, or was refused.
    Registration(Registration),
    /// A token was asked for.
    Token(Box<Token>),
    /// A key of ours was made, or changed its state.
    KeyTransition(KeyTransition),
    /// Private keys of ours were used.
    KeyUse(KeyUse),
    /// Something was revoked, or a revocation was lifted.
    Revocation(Box<Revocation>),
    /// A transmitter of security events delivered one.
    Signal(Box<Signal>),
    /// Further refusals for the same reason were counted.
    Refusals(Refusals),
    /// The process itself: start, stop, keys, repairs.
    System(System),
}

impl Event {
    /// The value of `kind`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Decision(_) => "decision",
            Self::Outcome(_) => "outcome",
            Self::Login(_) => "login",
            Self::Consent(_) => "consent",
            Self::Registration(_) => "registration",
            Self::Token(_) => "token",
            Self::KeyTransition(_) => "key_transition",
            Self::KeyUse(_) => "key_use",
            Self::Revocation(_) => "revocation",
            Self::Signal(_) => "signal",
            Self::Refusals(_) => "refusals",
            Self::System(_) => "system",
        }
    }
}

/// Who did it, as far as verified. Written as members of the record itself: `issuer`, `agent`, `user`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// The issuer that vouched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The client identifier of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The user (`sub`), when a user is involved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Which way a decision went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The call may happen.
    Allowed,
    /// The call does not happen.
    Denied,
}

/// Exactly one for each judged call, allowed or denied, and for each refusal of a credential.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    /// Our identifier of the HTTP request, also sent to the caller and to the log.
    pub request: String,
    /// Who called; absent when no credential held.
    #[serde(flatten)]
    pub actor: Option<Actor>,
    /// The operator's name for the guarded server.
    pub server: String,
    /// The JSON-RPC method, or `GET` or `DELETE`; absent when the body was not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The tool, prompt, resource or task named by the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `tool`, `prompt`, `resource` or `task`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_kind: Option<&'static str>,
    /// `read`, `write` or `irreversible`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<&'static str>,
    /// Scopes of the token.
    #[serde(skip_serializing_if = "ScopeSet::is_empty")]
    pub scopes_held: ScopeSet,
    /// All scopes the call needs, held or not.
    #[serde(skip_serializing_if = "ScopeSet::is_empty")]
    pub scopes_needed: ScopeSet,
    /// Allowed or denied.
    pub verdict: Verdict,
    /// `ok`, or the stable code of the refusal.
    pub reason: &'static str,
    /// Who has to act, for a refusal.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "fault")]
    pub fault: Option<Fault>,
    /// Policy rules that decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Which token, by the hash of its `jti`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenHash>,
    /// Which arguments, by a keyed digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<KeyedDigest>,
    /// How the token is bound to its sender: `bearer`, `dpop`, `mtls` or `dpop+mtls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<&'static str>,
    /// The client certificate that came with the request, by its `x5t#S256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The HTTP status of a refusal; 0 when the call was allowed and the upstream's status is not known yet.
    #[serde(skip_serializing_if = "is_zero")]
    pub status: u16,
    /// `modern` or `legacy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub era: Option<&'static str>,
    /// IP address of the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// How a forwarded call ended. Exactly one follows each allowed decision.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The request identifier of the decision.
    pub request: String,
    /// Sequence number of the decision's record.
    pub decision_seq: u64,
    /// How it ended.
    pub result: Ending,
    /// HTTP status of the upstream, when it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_status: Option<u16>,
    /// Body bytes sent to the caller.
    pub bytes_out: u64,
    /// Milliseconds from decision to end.
    pub millis: u64,
}

/// The ways a forwarded call can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The upstream's answer was passed on to its end.
    Completed,
    /// The upstream's answer held what could not be handed on, such as a result that may have sealed fields and belongs to
    /// no call that is known: its place was taken by an error.
    Withheld,
    /// The upstream could not be reached or broke off.
    UpstreamFailed,
    /// The upstream did not answer in time.
    TimedOut,
    /// What the caller showed was revoked while the answer came.
    Revoked,
    /// The caller went away first.
    Cancelled,
    /// We dropped the call without an end: the safe assumption when nothing else was recorded.
    Abandoned,
}

/// An attempt to log in at the authority.
#[derive(Clone, Debug, Serialize)]
pub struct Login {
    /// The account named, whether or not it exists.
    pub user: String,
    /// `ok`, or the stable code of the refusal.
    pub result: &'static str,
    /// IP address of the browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// A user's answer on the consent page.
#[derive(Clone, Debug, Serialize)]
pub struct Consent {
    /// The account that answered.
    pub user: String,
    /// The agent's client identifier.
    #[serde(rename = "agent")]
    pub client: String,
    /// The name it gave itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// The host that receives the code.
    pub redirect_host: String,
    /// The resource asked for.
    pub resource: String,
    /// Scopes granted, or asked for when refused.
    pub scopes: ScopeSet,
    /// `ok`, or the stable code of the refusal.
    pub result: &'static str,
}

/// How an agent became known to the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RegisteredBy {
    /// Dynamic client registration (RFC 7591).
    Dcr,
    /// A client ID metadata document.
    Cimd,
    /// The operator's configuration.
    Preregistered,
}

/// An agent's registration.
#[derive(Clone, Debug, Serialize)]
pub struct Registration {
    /// The client identifier; absent when none was given out.
    #[serde(rename = "agent", skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Which way.
    pub how: RegisteredBy,
    /// The name it gave itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// Hosts of its redirect URIs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirect_hosts: Vec<String>,
    /// `ok`, or the stable code of the refusal.
    pub result: &'static str,
}

/// How a token request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenResult {
    /// A new grant got its first access token.
    Issued,
    /// A refresh token was rotated.
    Refreshed,
    /// Nothing was issued.
    Refused,
    /// A refresh token or code came a second time: its whole family is revoked.
    ReuseDetected,
    /// A token was revoked by its client (RFC 7009).
    Revoked,
}

/// A request at the token endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Token {
    /// `grant_type` as sent, when it is one we know.
    pub grant_type: &'static str,
    /// The agent's client identifier, as far as authenticated.
    #[serde(rename = "agent", skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The user the grant is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The resource the token is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Scopes issued, or asked for when refused.
    #[serde(skip_serializing_if = "ScopeSet::is_empty")]
    pub scopes: ScopeSet,
    /// The access token issued, by the hash of its `jti`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenHash>,
    /// What happened.
    pub result: TokenResult,
    /// `ok`, or the stable code of the refusal.
    pub reason: &'static str,
}

/// A key of ours was made, or changed its state. Each replica records what it sees.
#[derive(Clone, Debug, Serialize)]
pub struct KeyTransition {
    /// Whose: `authority` or `gateway`.
    pub role: String,
    /// The key.
    pub kid: String,
    /// `signing` or `encryption`.
    pub purpose: &'static str,
    /// The state before; `none` for a new key.
    pub from: &'static str,
    /// The state now.
    pub to: &'static str,
    /// `schedule`, `operator` or `emergency`.
    pub cause: &'static str,
    /// The operator's words, for a key that was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it happened, by the key's own record (RFC 3339). The record's `time` is when it was noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub happened: Option<String>,
}

/// A private key of ours was used: how often since the last such record of the same key.
#[derive(Clone, Debug, Serialize)]
pub struct KeyUse {
    /// Whose: `authority` or `gateway`.
    pub role: String,
    /// The key.
    pub kid: String,
    /// `signing`, `encryption` (opening what was sealed), or `certificates`.
    pub purpose: &'static str,
    /// How often, failures included.
    pub count: u64,
}

/// Something was revoked, or a revocation was lifted. Each log has it once: a replica's own from when it is in force there.
#[derive(Clone, Debug, Serialize)]
pub struct Revocation {
    /// Its name, the same in every log.
    pub id: String,
    /// `revoke` or `lift`.
    pub action: &'static str,
    /// Of what: `token`, `grant`, `user`, `agent` or `server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<&'static str>,
    /// The issuer within which the name counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The name: of a token its hash, as `token` of a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `for-good`, `issued` (what was issued until then) or `until-lifted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extent: Option<&'static str>,
    /// With `issued`: until when (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_until: Option<String>,
    /// The revocation that is lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifts: Option<String>,
    /// Who: `operator`, `authority`, or the issuer of security events.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// When it was said (RFC 3339). The record's `time` is when it came into force here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub happened: Option<String>,
}

/// Requests that were refused for want of a quota, after the one that has a decision of its own: how many since.
#[derive(Clone, Debug, Serialize)]
pub struct Refusals {
    /// The stable code of the refusal.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
    /// In so many seconds before the record.
    pub seconds: u64,
    /// Whose quota: a client's or a user's.
    #[serde(flatten)]
    pub actor: Option<Actor>,
    /// The operator's name for the server, where it is a tool's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The tool, where it is a tool's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The IP address, or the network, where it is an address's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// Something about the process itself.
#[derive(Clone, Debug, Serialize)]
pub struct System {
    /// A stable slug: `start`, `stop`, `log.begin`, `log.repaired`.
    pub what: &'static str,
    /// For people.
    pub detail: String,
}

macro_rules! event_from {
    ($($payload:ident $(in $boxed:ident)?),*) => {
        $(impl From<$payload> for Event {
            fn from(payload: $payload) -> Self {
                Self::$payload($($boxed::new)?(payload))
            }
        })*
    };
}

event_from!(Decision in Box, Outcome, Login, Consent in Box, Registration, Token in Box, KeyTransition, KeyUse, Revocation in Box, Signal in Box, Refusals, System);

fn is_zero(status: &u16) -> bool {
    *status == 0
}

pub(super) fn fault<S: Serializer>(fault: &Option<Fault>, serializer: S) -> Result<S::Ok, S::Error> {
    match fault {
        Some(fault) => serializer.serialize_str(fault.as_str()),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::DigestKey;
    use crate::ids::TokenId;

    const PAGE: &str = include_str!("../../../../docs/audit-fields.md");

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    /// Every kind of event with all its members.
    fn everything() -> Vec<Event> {
        let scopes = ScopeSet::parse("a").unwrap();
        let token = Some(TokenHash::of(&TokenId::parse("t").unwrap()));
        let decision = Decision {
            request: "r".to_owned(),
            actor: Some(Actor {
                issuer: some("i"),
                agent: some("a"),
                user: some("u"),
            }),
            server: "s".to_owned(),
            method: some("m"),
            target: some("t"),
            target_kind: Some("tool"),
            effect: Some("read"),
            scopes_held: scopes.clone(),
            scopes_needed: scopes.clone(),
            verdict: Verdict::Denied,
            reason: "x",
            fault: Some(Fault::Caller),
            rules: vec!["r".to_owned()],
            token: token.clone(),
            arguments: Some(DigestKey::new([0; 32]).digest(b"x")),
            confirmation: Some("bearer"),
            certificate: some("c"),
            status: 403,
            era: Some("modern"),
            peer: some("p"),
        };
        let outcome = Outcome {
            request: "r".to_owned(),
            decision_seq: 1,
            result: Ending::Completed,
            upstream_status: Some(200),
            bytes_out: 0,
            millis: 0,
        };
        let consent = Consent {
            user: "u".to_owned(),
            client: "c".to_owned(),
            client_name: some("n"),
            redirect_host: "h".to_owned(),
            resource: "r".to_owned(),
            scopes: scopes.clone(),
            result: "ok",
        };
        let registration = Registration {
            client: some("c"),
            how: RegisteredBy::Dcr,
            client_name: some("n"),
            redirect_hosts: vec!["h".to_owned()],
            result: "ok",
        };
        let token = Token {
            grant_type: "refresh_token",
            client: some("c"),
            user: some("u"),
            resource: some("r"),
            scopes,
            token,
            result: TokenResult::Issued,
            reason: "ok",
        };
        vec![
            decision.into(),
            outcome.into(),
            Login {
                user: "u".to_owned(),
                result: "ok",
                peer: some("p"),
            }
            .into(),
            consent.into(),
            registration.into(),
            token.into(),
            KeyTransition {
                role: "authority".to_owned(),
                kid: "k".to_owned(),
                purpose: "signing",
                from: "enabled",
                to: "deleted",
                cause: "emergency",
                reason: some("r"),
                happened: some("h"),
            }
            .into(),
            KeyUse {
                role: "authority".to_owned(),
                kid: "k".to_owned(),
                purpose: "signing",
                count: 1,
            }
            .into(),
            Refusals {
                reason: "limits.address",
                count: 1,
                seconds: 60,
                actor: Some(Actor {
                    issuer: some("i"),
                    agent: some("a"),
                    user: some("u"),
                }),
                server: some("s"),
                target: some("t"),
                peer: some("p"),
            }
            .into(),
            Signal {
                transmitter: "t".to_owned(),
                set: some("t").map(|id| TokenHash::of(&TokenId::parse(&id).unwrap())),
                events: vec!["session-revoked"],
                revoked: 1,
                state: some("s"),
                result: "signal.type",
                fault: Some(Fault::Peer),
                peer: some("p"),
            }
            .into(),
            System {
                what: "start",
                detail: "d".to_owned(),
            }
            .into(),
        ]
    }

    #[test]
    fn every_member_is_a_plain_value_and_documented_under_its_kind() {
        for event in everything() {
            let json = serde_json::to_value(&event).unwrap();
            let (_, section) = PAGE.split_once(&format!("\n## `{}`", event.kind())).unwrap();
            let section = section.split("\n## ").next().unwrap();
            for (member, value) in json.as_object().unwrap() {
                assert!(
                    !value.is_object() && !value.is_null(),
                    "{member} of {}",
                    event.kind()
                );
                if member == "kind" {
                    assert_eq!(value, event.kind());
                } else {
                    assert!(
                        section.contains(&format!("`{member}`")),
                        "`{member}` of {}",
                        event.kind()
                    );
                }
            }
        }
    }

    #[test]
    fn every_word_of_an_enumeration_is_documented() {
        let words = [
            serde_json::to_value([Verdict::Allowed, Verdict::Denied]),
            serde_json::to_value([
                Ending::Completed,
                Ending::Withheld,
                Ending::UpstreamFailed,
                Ending::TimedOut,
                Ending::Cancelled,
                Ending::Abandoned,
            ]),
            serde_json::to_value([RegisteredBy::Dcr, RegisteredBy::Cimd, RegisteredBy::Preregistered]),
            serde_json::to_value([
                TokenResult::Issued,
                TokenResult::Refreshed,
                TokenResult::Refused,
                TokenResult::ReuseDetected,
                TokenResult::Revoked,
            ]),
        ];
        for word in words
            .into_iter()
            .flat_map(|words| words.unwrap().as_array().unwrap().clone())
        {
            assert!(PAGE.contains(&format!("`{}`", word.as_str().unwrap())), "{word}");
        }
    }
}
