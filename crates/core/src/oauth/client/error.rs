//! What can go wrong for a client, and whose fault it is.

use crate::fault::Fault;
use crate::ids::{InvalidId, Issuer};
use crate::jose::json::Object;
use crate::oauth::metadata::InvalidMetadata;
use crate::random::RandomUnavailable;
use crate::wire::challenge::InvalidChallenge;

/// Longest text of a peer's that an error repeats, in characters.
const QUOTED: usize = 300;

/// Why the client stopped. Nothing of a credential is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The MCP server's address is not one that a token may be sent to.
    #[error("`{url}` is no address of an MCP server: {reason}")]
    Address {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A challenge that cannot be read with one meaning (RFC 9110 §11.6.1).
    #[error("the server's challenge cannot be used: {0}")]
    Challenge(#[from] InvalidChallenge),
    /// A scope token that is none (RFC 6749 §3.3).
    #[error("the server asks for a scope that cannot be requested: {0}")]
    Scope(InvalidId),
    /// A metadata document that cannot be used.
    #[error("the metadata at {url} cannot be used: {detail}")]
    Metadata {
        /// Where it was.
        url: String,
        /// What is wrong with it.
        detail: InvalidMetadata,
    },
    /// The metadata is of another resource (RFC 9728 §3.3).
    #[error("the metadata of `{server}` speaks for another resource, `{resource}`")]
    ResourceMismatch {
        /// Whom we asked about.
        server: String,
        /// Whom it speaks for.
        resource: String,
    },
    /// PKCE with S256 is not offered (MCP: clients MUST refuse).
    #[error("the authorization server `{0}` does not offer PKCE with S256")]
    NoPkce(Issuer),
    /// An endpoint that no secret and no browser may be sent to.
    #[error("the {role} `{url}` of `{issuer}` cannot be used: {reason}")]
    Endpoint {
        /// Whose.
        issuer: Issuer,
        /// Which, as metadata names it.
        role: &'static str,
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Endpoints of two parties in one document, and no `iss` to tell whose code comes back (RFC 9207 §1).
    #[error(
        "the authorization and token endpoints of `{0}` are of two hosts, and it does not send `iss` with its responses"
    )]
    MixedEndpoints(Issuer),
    /// No way to become a client of this authorization server.
    #[error("the authorization server `{0}` registers no clients by itself")]
    NoRegistration(Issuer),
    /// A client that someone registered by hand is of another authorization server.
    #[error(
        "the server now uses the authorization server `{now}`, and the client was registered with `{then}`"
    )]
    ForeignClient {
        /// Which it names now.
        now: Issuer,
        /// Which the client is of.
        then: Issuer,
    },
    /// The authorization server takes none of the ways in which this client can authenticate.
    #[error("the authorization server `{0}` takes no way of client authentication that this client has")]
    NoClientAuth(Issuer),
    /// The registration was refused (RFC 7591 §3.2.2).
    #[error("the authorization server refused the registration: {0}")]
    RegistrationRefused(OAuthError),
    /// What came back through the browser.
    #[error(transparent)]
    Redirect(#[from] RedirectRefused),
    /// The token endpoint refused (RFC 6749 §5.2).
    #[error("the authorization server refused: {0}")]
    TokenRefused(OAuthError),
    /// An answer that is not what the step needs.
    #[error("the {what} of the authorization server cannot be used: {reason}")]
    Answer {
        /// Which answer.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomUnavailable),
}

impl Error {
    /// The stable slug.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "client.address",
            Self::Challenge(_) => "client.challenge",
            Self::Scope(_) => "client.scope",
            Self::Metadata { .. } => "client.metadata",
            Self::ResourceMismatch { .. } => "client.resource-mismatch",
            Self::NoPkce(_) => "client.no-pkce",
            Self::Endpoint { .. } => "client.endpoint",
            Self::MixedEndpoints(_) => "client.mixed-endpoints",
            Self::NoRegistration(_) => "client.no-registration",
            Self::ForeignClient { .. } => "client.foreign-client",
            Self::NoClientAuth(_) => "client.no-client-auth",
            Self::RegistrationRefused(_) => "client.registration-refused",
            Self::Redirect(refused) => refused.code(),
            Self::TokenRefused(_) => "client.token-refused",
            Self::Answer { .. } => "client.answer",
            Self::Random(_) => "client.random",
        }
    }

    /// Whose fault it is. The caller is the person who runs the client.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Address { .. } | Self::NoRegistration(_) | Self::ForeignClient { .. } => Fault::Caller,
            Self::Redirect(refused) => refused.fault(),
            Self::Random(_) => Fault::Operator,
            Self::Challenge(_)
            | Self::Scope(_)
            | Self::Metadata { .. }
            | Self::ResourceMismatch { .. }
            | Self::NoPkce(_)
            | Self::Endpoint { .. }
            | Self::MixedEndpoints(_)
            | Self::NoClientAuth(_)
            | Self::RegistrationRefused(_)
            | Self::TokenRefused(_)
            | Self::Answer { .. } => Fault::Peer,
        }
    }
}

/// Why the browser's return was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectRefused {
    /// Its `state` is absent or another's: it does not belong to the login that waits, which goes on waiting.
    #[error("the browser brought something that belongs to no login of this client")]
    NotOurs,
    /// A parameter twice, or neither a code nor an error (RFC 6749 §3.1).
    #[error("the authorization response is malformed: {0}")]
    Malformed(&'static str),
    /// `iss` is not the recorded issuer, or is absent though promised (RFC 9207 §2.4). Its other parameters are another
    /// party's words, so they are not repeated.
    #[error("the authorization response is not from `{expected}`, where the login began")]
    Issuer {
        /// The recorded issuer.
        expected: Issuer,
    },
    /// The authorization server or the person said no (RFC 6749 §4.1.2.1).
    #[error("the login was not granted: {0}")]
    Denied(OAuthError),
}

impl RedirectRefused {
    const fn code(&self) -> &'static str {
        match self {
            Self::NotOurs => "client.redirect-state",
            Self::Malformed(_) => "client.redirect-malformed",
            Self::Issuer { .. } => "client.redirect-issuer",
            Self::Denied(_) => "client.redirect-denied",
        }
    }

    const fn fault(&self) -> Fault {
        match self {
            Self::Denied(_) => Fault::Caller,
            Self::NotOurs | Self::Malformed(_) | Self::Issuer { .. } => Fault::Peer,
        }
    }
}

/// An OAuth error of a peer's: its code and text, cut to what may be shown on a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthError {
    error: String,
    description: Option<String>,
}

impl OAuthError {
    /// From the parameters of a response.
    #[must_use]
    pub fn new(error: &str, description: Option<&str>) -> Self {
        Self {
            error: shown(error),
            description: description.map(shown).filter(|text| !text.is_empty()),
        }
    }

    /// From an answer that is no success: its JSON body if it has one (RFC 6749 §5.2), its status otherwise.
    #[must_use]
    pub(super) fn of(answer: &http::Response<bytes::Bytes>) -> Self {
        let object = Object::parse(answer.body()).unwrap_or_default();
        let text = |name| object.get(name).and_then(crate::jose::json::Value::as_text);
        match text("error") {
            Some(error) => Self::new(error, text("error_description")),
            None => Self::new(&format!("HTTP {}", answer.status().as_u16()), None),
        }
    }

    /// The code, such as `invalid_grant`.
    #[must_use]
    pub fn error(&self) -> &str {
        &self.error
    }
}

impl std::fmt::Display for OAuthError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.error)?;
        match &self.description {
            Some(description) => write!(f, " ({description})"),
            None => Ok(()),
        }
    }
}

/// RFC 6749 §5.2 allows printable ASCII without `"` and `\`; anything else could steer a terminal.
fn shown(text: &str) -> String {
    let allowed = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\' && c != '`';
    text.chars()
        .take(QUOTED)
        .map(|c| if allowed(c) { c } else { '?' })
        .collect()
}
