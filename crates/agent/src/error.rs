//! What a person is told when the agent stops: what happened, whose fault it is, what to do.

use std::time::Duration;

use portcullis_core::fault::Fault;
use portcullis_core::ids::ScopeSet;
use portcullis_core::oauth::client::{Error as Client, RedirectRefused};
use portcullis_net::fetch;

use crate::mcp::Failed;
use crate::sealing::SealTrouble;
use crate::tokens::StoreError;
use crate::transport::Trouble;

/// Why the agent stopped. Nothing of a token is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A step of OAuth was refused, by the other party or by this client.
    #[error(transparent)]
    OAuth(#[from] Client),
    /// A party could not be reached, or may not be.
    #[error(transparent)]
    Network(#[from] fetch::Error),
    /// The tokens cannot be kept or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server asks for a login and does not say where.
    #[error("`{server}` does not say which authorization server it trusts (looked at {})", .tried.join(", "))]
    NoResourceMetadata {
        /// Which server.
        server: String,
        /// Where its metadata was looked for.
        tried: Vec<String>,
    },
    /// The authorization server describes itself nowhere.
    #[error("the authorization server `{issuer}` has no metadata (looked at {})", .tried.join(", "))]
    NoServerMetadata {
        /// Which authorization server.
        issuer: String,
        /// Where its metadata was looked for.
        tried: Vec<String>,
    },
    /// An answer to a request for metadata that says neither yes nor no.
    #[error("{url} answered HTTP {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The answer.
        status: u16,
    },
    /// Nobody has logged in to this server here.
    #[error("not logged in to `{0}`")]
    NotLoggedIn(String),
    /// The login has ended and cannot be renewed by itself.
    #[error("the login to `{0}` has ended")]
    LoginEnded(String),
    /// The browser did not come back.
    #[error("the login was not finished within {} minutes", .after.as_secs() / 60)]
    LoginTimedOut {
        /// How long it was waited for.
        after: Duration,
    },
    /// The address that the browser returns to could not be listened on.
    #[error("port {port} on 127.0.0.1 cannot be listened on: {source}")]
    Callback {
        /// Which port.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// More scope is wanted than this login can give.
    #[error("`{server}` wants the scope {scope}, and still did after it was granted what could be")]
    NotAllowed {
        /// Which server.
        server: String,
        /// What it wants.
        scope: ScopeSet,
    },
    /// The server refuses, and no login would change that.
    #[error("`{server}` refused: {reason}")]
    Forbidden {
        /// Which server.
        server: String,
        /// What it says.
        reason: String,
    },
    /// Sealed fields could not be sealed or opened, or did not come sealed.
    #[error("sealed fields of `{server}`: {reason}")]
    Sealing {
        /// Which server.
        server: String,
        /// The stable slug.
        code: &'static str,
        /// Whose fault it is.
        fault: Fault,
        /// What is wrong.
        reason: String,
        /// What would help.
        hint: &'static str,
    },
    /// The MCP server's answer is an error, or is not MCP.
    #[error("`{server}`: {reason}")]
    Server {
        /// Which server.
        server: String,
        /// What it says, or what is wrong with it.
        reason: String,
    },
}

impl Error {
    /// The stable slug.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::OAuth(error) => error.code(),
            Self::Network(_) => "agent.network",
            Self::Store(error) => error.code(),
            Self::NoResourceMetadata { .. } => "agent.no-resource-metadata",
            Self::NoServerMetadata { .. } => "agent.no-server-metadata",
            Self::Status { .. } => "agent.status",
            Self::NotLoggedIn(_) => "agent.not-logged-in",
            Self::LoginEnded(_) => "agent.login-ended",
            Self::LoginTimedOut { .. } => "agent.login-timed-out",
            Self::Callback { .. } => "agent.callback",
            Self::NotAllowed { .. } => "agent.not-allowed",
            Self::Forbidden { .. } => "agent.forbidden",
            Self::Sealing { code, .. } => code,
            Self::Server { .. } => "agent.server",
        }
    }

    /// Whose fault it is. The caller is the person who runs the agent.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::OAuth(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::Sealing { fault, .. } => *fault,
            Self::Network(_)
            | Self::NoResourceMetadata { .. }
            | Self::NoServerMetadata { .. }
            | Self::Status { .. }
            | Self::Server { .. } => Fault::Peer,
            Self::NotLoggedIn(_)
            | Self::LoginEnded(_)
            | Self::LoginTimedOut { .. }
            | Self::NotAllowed { .. }
            | Self::Forbidden { .. } => Fault::Caller,
            Self::Callback { .. } => Fault::Operator,
        }
    }

    /// What the person can do about it, if anything is known to help.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::OAuth(error) => return hint(error).map(str::to_owned),
            Self::NotLoggedIn(server) | Self::LoginEnded(server) => {
                return Some(format!("log in with: portcullis agent login {server}"));
            }
            Self::Network(fetch::Error::Refused { .. }) => {
                "the server named an address that is not public; if you trust it to name addresses of your own network, pass --private-network"
            }
            Self::Network(_) => "check the address, and that the server runs",
            Self::Store(StoreError::Exposed { .. }) => {
                "take the permissions of group and others away with chmod go-rwx"
            }
            Self::Store(StoreError::Damaged { .. }) => {
                "remove the files `tokens` and `key` from that folder and log in again"
            }
            Self::Store(_) => "choose another folder with --data DIR",
            Self::NoResourceMetadata { .. } => {
                "its operator must publish OAuth protected resource metadata (RFC 9728); is the path of the address right?"
            }
            Self::NoServerMetadata { .. } | Self::Status { .. } => "tell the operator of that server",
            Self::LoginTimedOut { .. } => {
                "run the command again; if the login page said that it does not know the client, run `portcullis agent logout` with the same address first"
            }
            Self::Callback { .. } => "choose another port with --callback-port, or leave it out",
            Self::NotAllowed { .. } => {
                "your account may not do this; ask whoever runs the server for the permission"
            }
            Self::Forbidden { .. } => "the server's policy decides this; ask whoever runs it",
            Self::Sealing { hint, .. } => hint,
            Self::Server { .. } => return None,
        };
        Some(text.to_owned())
    }

    pub(crate) fn sealing(server: &str, trouble: &SealTrouble) -> Self {
        Self::Sealing {
            server: server.to_owned(),
            code: trouble.code(),
            fault: trouble.fault(),
            reason: trouble.to_string(),
            hint: trouble.hint(),
        }
    }

    pub(crate) fn of(server: &str, failed: Failed) -> Self {
        let server = server.to_owned();
        match failed {
            Failed::Agent(error) => *error,
            Failed::Trouble(Trouble::Sealing(trouble)) => Self::sealing(&server, &trouble),
            Failed::Trouble(Trouble::Challenge(error)) => Self::OAuth(error),
            Failed::Trouble(Trouble::Network(error)) => Self::Network(error),
            Failed::Trouble(Trouble::Forbidden(reason)) => Self::Forbidden {
                server,
                reason: reason.unwrap_or_else(|| "it gives no reason".to_owned()),
            },
            Failed::Trouble(
                trouble @ (Trouble::Unauthorized(_)
                | Trouble::InsufficientScope(_)
                | Trouble::Status(_)
                | Trouble::Answer(_)),
            ) => Self::Server {
                server,
                reason: trouble.to_string(),
            },
            Failed::Rpc { .. } | Failed::TimedOut(_) | Failed::Protocol(_) => Self::Server {
                server,
                reason: failed.to_string(),
            },
        }
    }
}

impl From<RedirectRefused> for Error {
    fn from(refused: RedirectRefused) -> Self {
        Self::OAuth(refused.into())
    }
}

fn hint(error: &Client) -> Option<&'static str> {
    Some(match error {
        Client::Address { .. } => "give the whole address, such as https://mcp.example.com/mcp",
        Client::ResourceMismatch { .. } => {
            "nothing was sent; use the address that it speaks for, if you trust it, or tell the server's operator"
        }
        Client::NoPkce(_) => {
            "nothing was sent; its operator must offer S256 in `code_challenge_methods_supported`"
        }
        Client::NoRegistration(_) => {
            "register this program there by hand, and pass --client-id (and --client-secret-file, if it has a secret)"
        }
        Client::ForeignClient { .. } => {
            "nothing was sent to it; if the change is right, register there and log in again with --client-id"
        }
        Client::Redirect(RedirectRefused::Issuer { .. }) => {
            "the code was not used; someone may be trying to mix up two logins. Tell the operator of the server"
        }
        Client::Redirect(RedirectRefused::Denied(_)) => "log in again if that was a mistake",
        Client::Metadata { .. } | Client::Endpoint { .. } | Client::MixedEndpoints(_) => {
            "nothing was sent; tell the operator of that server"
        }
        Client::Challenge(_)
        | Client::Scope(_)
        | Client::NoClientAuth(_)
        | Client::RegistrationRefused(_)
        | Client::Redirect(_)
        | Client::TokenRefused(_)
        | Client::Answer { .. }
        | Client::Random(_) => return None,
        _ => return None,
    })
}
