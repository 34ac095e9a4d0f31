//! An MCP server of 2024-11-05 (HTTP with SSE), with the face of Streamable HTTP in the legacy era.
//!
//! Takes: legacy calls of principals. Gives: answers, JSON or event streams. May use: outbound HTTP, randomness. Never: an address of
//! another origin than the configured one, one session for two principals.
//!
//! Such a server opens a stream on GET, names on it where to POST, and writes every answer onto it. Each legacy session has a stream.

mod session;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, Uri};
use portcullis_core::forward::Outbound;
use portcullis_core::random::{self, SecureRandom};
use portcullis_core::wire::{Era, Kind, Method};
use portcullis_net::fetch::{Body, Fetcher};
use tokio::time::timeout;

use super::answer;
use super::stdio::exchange::NotBegun;
use super::stdio::outbox::{Event, Reader};
use super::upstream::{CallInfo, HEAD_TIME, Principal, UpstreamError};
use session::Session;

/// Most sessions of one principal. Its own that was idle longest makes room.
const SESSIONS_PER_PRINCIPAL: usize = 8;
/// Most sessions at one server.
const SESSIONS: usize = 1_000;
/// A session that nobody used for this long makes room for others.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// The sessions at one server.
pub struct SseServer {
    url: Uri,
    fetcher: Fetcher,
    random: Arc<dyn SecureRandom>,
    sessions: Mutex<HashMap<Box<str>, Arc<Session>>>,
}

/// Whether the server is one of this kind.
#[derive(Debug)]
pub(super) enum Begun {
    /// It is, and this is its answer.
    Answered(Response<Body>),
    /// It opens no such stream.
    NotThis,
}

impl SseServer {
    /// A server whose stream is opened at a URL.
    #[must_use]
    pub fn new(url: Uri, fetcher: Fetcher, random: Arc<dyn SecureRandom>) -> Self {
        Self {
            url,
            fetcher,
            random,
            sessions: Mutex::default(),
        }
    }

    /// Whether a session is one of those.
    pub(super) fn has(&self, session: &str) -> bool {
        self.table().contains_key(session)
    }

    /// Begins a session with a client's `initialize`.
    pub(super) async fn initialize(
        &self,
        principal: &Principal,
        outbound: Outbound,
    ) -> Result<Begun, UpstreamError> {
        self.room(principal)?;
        let opened = Session::open(&self.fetcher, &self.url, principal, &outbound.headers).await?;
        let Some(session) = opened else {
            return Ok(Begun::NotThis);
        };
        let no_session = |detail: String| UpstreamError::Unreachable { detail };
        let name = random::token::<32>(&*self.random)
            .map_err(|error| no_session(format!("no session can be made: {error}")))?;
        let header =
            HeaderValue::try_from(&name).map_err(|_| no_session("no session can be made".to_owned()))?;
        let first = asked(&session, &outbound).await?;
        let (first, events) = first.ok_or_else(|| failed(NotBegun::Closed))?;
        let refused = matches!(first, Event::Answer { error: Some(_), .. });
        let mut response = respond(first, events);
        if !refused {
            self.table().insert(name.into(), session);
            response
                .headers_mut()
                .insert(HeaderName::from_static("mcp-session-id"), header);
        }
        Ok(Begun::Answered(response))
    }

    /// Answers what is said in a session.
    pub(super) async fn call(
        &self,
        principal: &Principal,
        outbound: Outbound,
        info: &CallInfo,
    ) -> Result<Response<Body>, UpstreamError> {
        let name = info.session.as_deref().unwrap_or_default();
        let session = self.table().get(name).map(Arc::clone);
        let Some(session) = session.filter(|session| session.is_of(principal) && session.is_open()) else {
            self.table().retain(|_, session| session.is_open());
            let id = info.id.as_ref().filter(|_| info.kind == Kind::Request);
            return Ok(answer::refused(
                StatusCode::NOT_FOUND,
                id,
                "there is no such session",
            ));
        };
        match (info.kind, &info.method) {
            (Kind::Transport, Method::EndSession) => {
                self.table().remove(name);
                Ok(answer::empty(StatusCode::NO_CONTENT))
            }
            (Kind::Transport, _) => Ok(stream(None, session.exchange().common())),
            (Kind::Notification | Kind::Response, _) => {
                session.tell(&outbound).await?;
                Ok(answer::empty(StatusCode::ACCEPTED))
            }
            (Kind::Request, _) => {
                let answered = asked(&session, &outbound).await?;
                Ok(answered.map_or_else(answer::none, |(first, events)| respond(first, events)))
            }
        }
    }

    fn room(&self, principal: &Principal) -> Result<(), UpstreamError> {
        let mut table = self.table();
        table.retain(|_, session| session.is_open());
        let own = table.iter().filter(|(_, session)| session.is_of(principal));
        if own.clone().count() >= SESSIONS_PER_PRINCIPAL
            && let Some(idlest) = own
                .min_by_key(|(_, session)| session.exchange().used())
                .map(|(name, _)| name.clone())
        {
            table.remove(&idlest);
        }
        if table.len() >= SESSIONS {
            table.retain(|_, session| session.exchange().used().elapsed() < IDLE);
        }
        if table.len() >= SESSIONS {
            return Err(UpstreamError::Busy);
        }
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Session>>> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SseServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SseServer")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Sends a request, and waits for the first message that comes of it; `None` when it was cancelled.
async fn asked(
    session: &Arc<Session>,
    outbound: &Outbound,
) -> Result<Option<(Event, Reader)>, UpstreamError> {
    let (number, mut events) = session.request(outbound).await?;
    match timeout(HEAD_TIME, events.next()).await {
        Ok(Some(Ok(event))) => Ok(Some((event, events))),
        Ok(Some(Err(broken))) => Err(UpstreamError::Unreachable {
            detail: broken.to_string(),
        }),
        Ok(None) => Ok(None),
        Err(_) => {
            session.exchange().forget(number);
            Err(UpstreamError::TimedOut)
        }
    }
}

fn respond(first: Event, events: Reader) -> Response<Body> {
    match first {
        Event::Answer { json, error } => answer::whole(Era::Legacy, json, error),
        Event::Message(json) => stream(Some(json), events),
    }
}

fn stream(first: Option<Bytes>, mut events: Reader) -> Response<Body> {
    answer::stream(first, move |cx| {
        events
            .poll(cx)
            .map(|event| Some(event?.map(|event| event.json().clone()).map_err(Into::into)))
    })
}

fn failed(why: NotBegun) -> UpstreamError {
    match why {
        NotBegun::Closed => UpstreamError::Unreachable {
            detail: "the server has closed its stream".to_owned(),
        },
        NotBegun::Busy => UpstreamError::Busy,
        NotBegun::NotARequest => UpstreamError::Unreachable {
            detail: "the call is none that this server can be asked".to_owned(),
        },
    }
}
