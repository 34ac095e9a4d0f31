//! The agent: one operation at a time on one server, with whatever login it takes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_core::ids::{ClientId, ScopeSet};
use portcullis_core::oauth::client::{self, Challenged, Client, Endpoint, Preregistered, ServerUrl};
use portcullis_core::secret::Secret;
use portcullis_net::clock::{self, Clock};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::login::Found;
use crate::mcp::{self, Called, Failed, Operation, Tool};
use crate::reach::Fetchers;
use crate::refresh::Held;
use crate::sealing::{Known, SWEEP, SealMode};
use crate::tokens::{Grant, TokenStore};
use crate::transport::Trouble;

/// Most logins for one operation (MCP: "no more than a few times"): a server that always wants more gets no further.
const LOGINS: usize = 3;
/// Longest wait for a person at a login page.
const PATIENCE: Duration = Duration::from_secs(300);

/// Shows a person where to log in.
pub trait Presenter: Send + Sync {
    /// The address of a login page, to be opened in a browser. It is https, or http on loopback. The agent waits for the
    /// browser's return afterwards, so this must not block.
    fn authorize(&self, url: &str);
}

/// What a server's documents may name, besides public addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Loopback if the server is there.
    Public,
    /// Any address of the networks this machine is on, except metadata services of clouds.
    Private,
}

/// How an agent works.
#[derive(Clone)]
pub struct Settings {
    /// Where tokens are kept.
    pub folder: PathBuf,
    /// Who shows login pages.
    pub presenter: Arc<dyn Presenter>,
    /// The URL of this program's metadata document, where authorization servers can fetch it.
    pub client_metadata_document: Option<ClientId>,
    /// The port on 127.0.0.1 that the browser returns to; 0 for a free one.
    pub callback_port: u16,
    /// What a server's documents may name.
    pub network: Network,
    /// Longest wait for a person at a login page.
    pub login_patience: Duration,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
    /// How fields are sealed, for tools that have sealed fields.
    pub seal: SealMode,
}

impl Settings {
    /// With the defaults: a free port, public addresses, five minutes.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, presenter: Arc<dyn Presenter>) -> Self {
        Self {
            folder: folder.into(),
            presenter,
            client_metadata_document: None,
            callback_port: 0,
            network: Network::Public,
            login_patience: PATIENCE,
            clock: Arc::new(clock::System),
            seal: SealMode::default(),
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("folder", &self.folder)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// What a login shall be.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// The scopes to ask for, instead of those that the server names.
    pub scope: Option<ScopeSet>,
    /// A client that was registered by hand at the server's authorization server.
    pub client: Option<Preregistered>,
}

/// A login that is kept.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// The server's address.
    pub server: String,
    /// Who granted it.
    pub issuer: String,
    /// What was granted, if it is known.
    pub scope: Option<String>,
    /// When the access token ends, in seconds since the epoch, if it is known.
    pub expires_at: Option<i64>,
    /// Whether it is renewed without a person.
    pub renewable: bool,
}

/// What a logout did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedOut {
    /// The tokens are forgotten here, and the authorization server was told to end them.
    Revoked,
    /// The tokens are forgotten here; the authorization server could not be told, so they end by themselves.
    Forgotten,
    /// There was no login.
    NotLoggedIn,
}

/// An agent. Cloning shares it.
#[derive(Clone)]
pub struct Agent(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: TokenStore,
    pub(crate) fetchers: Fetchers,
    pub(crate) presenter: Arc<dyn Presenter>,
    pub(crate) client_metadata_document: Option<ClientId>,
    pub(crate) callback_port: u16,
    pub(crate) login_patience: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) seal_mode: SealMode,
    /// The other sides of sealed fields, by server.
    pub(crate) gateways: Mutex<HashMap<String, Known>>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}

impl Agent {
    /// An agent that keeps its tokens in the folder of the settings, making it when it is not there.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Network`] when there is no TLS.
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        let inner = Arc::new(Inner {
            store: TokenStore::open(settings.folder).await?,
            fetchers: Fetchers::new(settings.network)?,
            presenter: settings.presenter,
            client_metadata_document: settings.client_metadata_document,
            callback_port: settings.callback_port,
            login_patience: settings.login_patience,
            clock: settings.clock,
            seal_mode: settings.seal,
            gateways: Mutex::default(),
        });
        if inner.seal_mode == SealMode::Session {
            inner.sweep_sessions(SWEEP);
        }
        Ok(Self(inner))
    }

    /// Logs a person in to a server, also when a login is kept already, and replaces that.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn login(&self, server: &str, login: &Login) -> Result<Status, Error> {
        let server = ServerUrl::parse(server)?;
        // The challenge names the metadata and the scope. A server that lets this pass may still have metadata.
        let challenged = match mcp::run(&server, &self.0, None, &mcp::List).await {
            Err(Failed::Trouble(
                Trouble::Unauthorized(challenged) | Trouble::InsufficientScope(challenged),
            )) => challenged,
            Err(failed @ Failed::Trouble(Trouble::Network(_) | Trouble::Challenge(_))) => {
                return Err(Error::of(server.as_str(), failed));
            }
            Ok(_) | Err(_) => Challenged::default(),
        };
        let found = self.0.discover(&server, &challenged).await?;
        let scope = match &login.scope {
            Some(scope) => client::step_up_scope(None, scope, &found.server),
            None => client::initial_scope(&challenged, &found.resource, &found.server),
        };
        let grant = self
            .0
            .authorize(&server, &found, scope.as_ref(), login.client.as_ref())
            .await?;
        Ok(status(server.as_str().to_owned(), grant))
    }

    /// Forgets the tokens of a server, and tells the authorization server to end them (RFC 7009) if it can be told.
    ///
    /// # Errors
    /// [`Error::OAuth`] for an address that is none, [`Error::Store`].
    pub async fn logout(&self, server: &str) -> Result<LoggedOut, Error> {
        let server = ServerUrl::parse(server)?;
        let had_session = self.0.forget_gateway(&server);
        let grant = self.0.store.grant(server.as_str()).await?;
        // Another process of this login may have agreed on a session, if anything was ever sealed.
        if (had_session || grant.is_some_and(|grant| !grant.sealed.is_empty()))
            && let Ok(token) = self.token(server.as_str()).await
        {
            self.0.end_seal_sessions(&server, &token).await;
        }
        let key = server.as_str().to_owned();
        let removed = self.0.store.update(move |kept| {
            let grant = kept.grants.remove(&key)?;
            // A registration that no login uses any more is not kept: the authorization server may have dropped it. Nor is
            // one with keys, so that whoever logs in next has other ones; logins that use it have it with them.
            if grant.client.keys().is_some()
                || !kept.grants.values().any(|other| other.issuer == grant.issuer)
            {
                let _forgotten = kept.clients.remove(grant.issuer.as_str());
            }
            Some(grant)
        });
        match removed.await? {
            None => Ok(LoggedOut::NotLoggedIn),
            Some(grant) => Ok(self.revoke(&server, &grant).await),
        }
    }

    async fn revoke(&self, server: &ServerUrl, grant: &Grant) -> LoggedOut {
        let (Some(endpoint), Some(refresh)) = (&grant.revocation_endpoint, &grant.refresh) else {
            return LoggedOut::Forgotten;
        };
        let Ok(endpoint) = Endpoint::parse(&grant.issuer, "revocation_endpoint", endpoint) else {
            return LoggedOut::Forgotten;
        };
        let request = client::build_revocation(&endpoint, &Client::from(grant.client.clone()), refresh);
        match self.0.fetchers.send(server, request).await {
            Ok(answer) if answer.status().is_success() => LoggedOut::Revoked,
            Ok(_) | Err(_) => LoggedOut::Forgotten,
        }
    }

    /// The logins that are kept, by server.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn status(&self) -> Result<Vec<Status>, Error> {
        let kept = self.0.store.read().await?;
        Ok(kept
            .grants
            .into_iter()
            .map(|(server, grant)| status(server, grant))
            .collect())
    }

    /// The tools of a server, all pages. Logs in when the server asks for it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn tools(&self, server: &str) -> Result<Vec<Tool>, Error> {
        self.run(server, &mcp::List).await
    }

    /// Calls a tool. Logs in when the server asks for it, and steps up when the tool needs more scope.
    ///
    /// # Errors
    /// [`Error`]. A tool that says it failed is no error here: see [`Called::failed`].
    pub async fn call(
        &self,
        server: &str,
        tool: &str,
        arguments: Map<String, Value>,
    ) -> Result<Called, Error> {
        self.run(
            server,
            &mcp::Call {
                tool: tool.to_owned(),
                arguments,
            },
        )
        .await
    }

    /// An access token for this server that is good for at least some seconds. Refreshes it if needed, and never asks a
    /// person. Show it to nobody but the server.
    ///
    /// # Errors
    /// [`Error::NotLoggedIn`], [`Error::LoginEnded`], and what a refresh can fail with.
    pub async fn token(&self, server: &str) -> Result<Secret, Error> {
        let server = ServerUrl::parse(server)?;
        match self.0.held(&server, None).await? {
            Held::Token(token) => Ok(token),
            Held::Ended => Err(Error::LoginEnded(server.as_str().to_owned())),
            Held::Nothing => Err(Error::NotLoggedIn(server.as_str().to_owned())),
        }
    }

    async fn run<O: Operation>(&self, server: &str, operation: &O) -> Result<O::Done, Error> {
        let server = ServerUrl::parse(server)?;
        let mut logins = 0;
        let mut refused: Option<Secret> = None;
        loop {
            let token = match self.0.held(&server, refused.as_ref()).await? {
                Held::Token(token) => Some(token),
                // Without a token, the server says what it wants.
                Held::Nothing | Held::Ended => None,
            };
            let failed = match mcp::run(&server, &self.0, token.clone(), operation).await {
                Ok(done) => return Ok(done),
                Err(failed) => failed,
            };
            if let Failed::Trouble(Trouble::Unauthorized(challenged)) = &failed {
                // It may have moved to another authorization server; then the refresh token must stay here.
                let found = self.0.discover(&server, challenged).await?;
                let grant = self.0.store.grant(server.as_str()).await?;
                if let (Some(token), None, Some(grant)) = (token, &refused, &grant)
                    && grant.issuer == *found.server.issuer()
                {
                    refused = Some(token);
                    continue;
                }
                logins += 1;
                if logins > LOGINS {
                    return Err(Error::of(server.as_str(), failed));
                }
                let scope = again_scope(challenged, &found, grant.as_ref());
                let _grant = self.0.authorize(&server, &found, scope.as_ref(), None).await?;
                refused = None;
            } else if let Failed::Trouble(Trouble::InsufficientScope(challenged)) = &failed {
                let Some(wanted) = &challenged.scope else {
                    let reason =
                        "the token has too little scope, and it does not say what it wants".to_owned();
                    return Err(Error::Forbidden {
                        server: server.as_str().to_owned(),
                        reason,
                    });
                };
                let grant = self.0.store.grant(server.as_str()).await?;
                logins += 1;
                if logins > LOGINS || holds(grant.as_ref(), wanted) {
                    return Err(Error::NotAllowed {
                        server: server.as_str().to_owned(),
                        scope: wanted.clone(),
                    });
                }
                let found = self.0.discover(&server, challenged).await?;
                let requested = grant.as_ref().and_then(|grant| grant.requested.as_ref());
                let scope = client::step_up_scope(requested, wanted, &found.server);
                let _grant = self.0.authorize(&server, &found, scope.as_ref(), None).await?;
            } else {
                return Err(Error::of(server.as_str(), failed));
            }
        }
    }
}

/// Whether the server wants what was granted already: asking a person again would change nothing.
fn holds(grant: Option<&Grant>, wanted: &ScopeSet) -> bool {
    grant
        .and_then(|grant| grant.granted.as_ref())
        .is_some_and(|granted| wanted.is_subset(granted))
}

/// The scopes of a login that replaces one that ended: no less than before, if it is the same authorization server.
fn again_scope(challenged: &Challenged, found: &Found, grant: Option<&Grant>) -> Option<ScopeSet> {
    let first = client::initial_scope(challenged, &found.resource, &found.server);
    match grant
        .filter(|grant| grant.issuer == *found.server.issuer())
        .and_then(|grant| grant.requested.as_ref())
    {
        Some(requested) => client::step_up_scope(Some(requested), &first.unwrap_or_default(), &found.server),
        None => first,
    }
}

fn status(server: String, grant: Grant) -> Status {
    Status {
        server,
        issuer: grant.issuer.to_string(),
        scope: grant.granted.map(|scope| scope.to_string()),
        expires_at: grant.expires_at,
        renewable: grant.refresh.is_some(),
    }
}
