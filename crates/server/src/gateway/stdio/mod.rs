//! A stdio MCP server behind the gateway, with the face of Streamable HTTP.
//!
//! Takes: a command, calls of principals. Gives: answers, JSON or event streams. May use: processes, their pipes, randomness.
//! Never: a shell, one child for two principals, an environment that nobody named, a message that it read and wrote anew.
//!
//! A stdio server trusts whoever holds its pipes and knows nothing of callers, so a process is the wall between principals: in the
//! modern era each principal has one, in the legacy era each session. Neither era is translated into the other here: that is `bridge`.

mod child;
mod command;
pub(in crate::gateway) mod exchange;
mod launcher;
mod lines;
mod message;
pub(in crate::gateway) mod outbox;
mod pool;
mod sessions;

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use portcullis_core::forward::{Outbound, UpstreamCredential};
use portcullis_core::random::{self, SecureRandom};
use portcullis_core::wire::{Era, Kind, Method};
use portcullis_net::fetch::Body;
use tokio::time::timeout;

use super::answer;
use super::upstream::{Answer, CallInfo, HEAD_TIME, Principal, Upstream, UpstreamError};
use child::{Child, Program, Ticket};
use exchange::{Awaits, NotBegun};
use launcher::{Launcher, Place};
use outbox::{Event, Reader};
use pool::Pool;
use sessions::Sessions;

pub use command::{InvalidCommand, words};

/// The variables of our own environment that a stdio server cannot do without. Whoever makes [`Settings`] passes these on, and
/// what the configuration names.
pub const PASSED_ON: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "USER"];

/// What is started, and within which bounds.
#[derive(Clone, Debug)]
pub struct Settings {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(OsString, OsString)>,
    /// The bounds.
    pub limits: Limits,
}

/// Bounds of a stdio server. Every one is per server unless it says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most processes at one time.
    pub children: usize,
    /// Most requests that one process has at one time.
    pub pending: usize,
    /// Longest line that a process may write, in bytes.
    pub line_bytes: usize,
    /// Most bytes that wait for one client to read them.
    pub stream_bytes: usize,
    /// Longest wait for the first message of an answer.
    pub head_time: Duration,
    /// A stateless process that nobody used for this long is ended.
    pub idle: Duration,
    /// A session that nobody used for this long is ended, with its process.
    pub session_idle: Duration,
    /// Longest wait for a process to end by itself; then it is killed.
    pub stop_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            children: 64,
            pending: 256,
            line_bytes: 8 * 1024 * 1024,
            stream_bytes: 16 * 1024 * 1024,
            head_time: HEAD_TIME,
            idle: Duration::from_secs(10 * 60),
            session_idle: Duration::from_secs(30 * 60),
            stop_time: Duration::from_secs(3),
        }
    }
}

impl Settings {
    /// A program with its arguments, as [`words`] splits them, and the whole environment that it gets ([`PASSED_ON`] and what the
    /// configuration names).
    ///
    /// # Errors
    /// [`InvalidCommand::Empty`].
    pub fn new(command: Vec<String>, environment: Vec<(OsString, OsString)>) -> Result<Self, InvalidCommand> {
        let mut arguments = command.into_iter();
        let program = arguments
            .next()
            .filter(|program| !program.is_empty())
            .ok_or(InvalidCommand::Empty)?;
        Ok(Self {
            program,
            arguments: arguments.collect(),
            environment,
            limits: Limits::default(),
        })
    }
}

/// A guarded MCP server that is spoken to over stdio. Dropping it ends its processes.
pub struct StdioUpstream {
    launcher: Launcher,
    pool: Pool,
    sessions: Sessions,
    random: Arc<dyn SecureRandom>,
    head_time: Duration,
    credential: UpstreamCredential,
}

impl fmt::Debug for StdioUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioUpstream")
            .field("launcher", &self.launcher)
            .finish_non_exhaustive()
    }
}

impl StdioUpstream {
    /// Nothing is started before it is needed.
    #[must_use]
    pub fn new(settings: Settings, random: Arc<dyn SecureRandom>) -> Self {
        let Settings {
            program: path,
            arguments,
            environment,
            limits,
        } = settings;
        Self {
            launcher: Launcher::new(
                Program {
                    path,
                    arguments,
                    environment,
                },
                limits,
            ),
            pool: Pool::default(),
            sessions: Sessions::default(),
            random,
            head_time: limits.head_time,
            // The process is ours: whoever it listens to holds its pipes.
            credential: UpstreamCredential::None,
        }
    }

    /// Ends every process: its stdin is closed, and what does not end by itself is killed. Calls that still wait are broken off.
    pub async fn shutdown(&self) {
        self.launcher.shutdown().await;
    }

    async fn modern(
        &self,
        principal: &Principal,
        body: &str,
        info: &CallInfo,
    ) -> Result<Response<Body>, UpstreamError> {
        match info.kind {
            Kind::Request => {
                let awaits = if info.method == Method::SubscriptionsListen {
                    Awaits::Events
                } else {
                    Awaits::Answer
                };
                let child = self.stateless(principal).await?;
                let (ticket, events) = match child.request(body, awaits).await {
                    // It ended between being found and being asked, and has seen nothing: another may be asked.
                    Err(NotBegun::Closed) => self
                        .stateless(principal)
                        .await?
                        .request(body, awaits)
                        .await
                        .map_err(failed)?,
                    begun => begun.map_err(failed)?,
                };
                let first = self.first(&ticket, events).await?;
                let (first, events) = first.ok_or_else(unanswered)?;
                Ok(respond(Era::Modern, first, events, ticket))
            }
            Kind::Notification => {
                // Where no process runs, there is nothing to be told.
                if let Some(child) = self.pool.find(principal) {
                    child.tell(body).await.map_err(failed)?;
                }
                Ok(answer::empty(StatusCode::ACCEPTED))
            }
            Kind::Response | Kind::Transport => Ok(answer::empty(StatusCode::METHOD_NOT_ALLOWED)),
        }
    }

    async fn legacy(
        &self,
        principal: &Principal,
        body: &str,
        info: &CallInfo,
    ) -> Result<Response<Body>, UpstreamError> {
        if info.method == Method::Initialize {
            return self.initialize(principal, body).await;
        }
        let id = info.id.as_ref().filter(|_| info.kind == Kind::Request);
        let Some(session) = info.session.as_deref() else {
            return Ok(answer::refused(
                StatusCode::BAD_REQUEST,
                id,
                "the request names no session",
            ));
        };
        if info.method == Method::EndSession {
            let ended = self
                .sessions
                .end(session, principal)
                .map_or(StatusCode::NOT_FOUND, |()| StatusCode::NO_CONTENT);
            return Ok(answer::empty(ended));
        }
        let Some(child) = self.sessions.find(session, principal) else {
            return Ok(answer::refused(
                StatusCode::NOT_FOUND,
                id,
                "there is no such session",
            ));
        };
        match info.kind {
            Kind::Transport => Ok(stream(None, child.exchange().common(), None)),
            Kind::Notification | Kind::Response => {
                child.tell(body).await.map_err(failed)?;
                Ok(answer::empty(StatusCode::ACCEPTED))
            }
            Kind::Request => {
                let (ticket, events) = child.request(body, Awaits::Answer).await.map_err(failed)?;
                match self.first(&ticket, events).await? {
                    Some((first, events)) => Ok(respond(Era::Legacy, first, events, ticket)),
                    None => Ok(answer::none()),
                }
            }
        }
    }

    async fn initialize(&self, principal: &Principal, body: &str) -> Result<Response<Body>, UpstreamError> {
        let session = random::token::<32>(&*self.random).map_err(|error| UpstreamError::Unreachable {
            detail: format!("no session can be made: {error}"),
        })?;
        let header = HeaderValue::try_from(&session).map_err(|_| UpstreamError::Unreachable {
            detail: "no session can be made".to_owned(),
        })?;
        let place = self.place().await?;
        let newborn = Newborn {
            child: self.launcher.start(place, principal, Era::Legacy)?,
            wanted: false,
        };
        let (ticket, events) = newborn
            .child
            .request(body, Awaits::Answer)
            .await
            .map_err(failed)?;
        let first = self.first(&ticket, events).await?;
        let (first, events) = first.ok_or_else(unanswered)?;
        let refused = matches!(first, Event::Answer { error: Some(_), .. });
        let mut response = respond(Era::Legacy, first, events, ticket);
        if !refused {
            self.sessions
                .keep(session.into(), principal.clone(), newborn.keep());
            response
                .headers_mut()
                .insert(HeaderName::from_static("mcp-session-id"), header);
        }
        Ok(response)
    }

    /// Asks a process that is started for it, unless the principal has one. One that understands stays.
    async fn ask_a_stranger(
        &self,
        principal: &Principal,
        body: &str,
    ) -> Result<Response<Body>, UpstreamError> {
        let newborn = match self.pool.find(principal) {
            Some(child) => Newborn { child, wanted: true },
            None => Newborn {
                child: self.launcher.try_out(self.place().await?)?,
                wanted: false,
            },
        };
        let (ticket, events) = newborn
            .child
            .request(body, Awaits::Answer)
            .await
            .map_err(failed)?;
        let answered = timeout(PROBE_TIME, self.first(&ticket, events)).await;
        let first = answered.map_err(|_| UpstreamError::TimedOut)??;
        let (first, events) = first.ok_or_else(unanswered)?;
        match first {
            // What a server of before 2026-07-28 refuses, it refuses in words of its own.
            Event::Answer {
                error: Some(code), ..
            } if !matches!(code, -32022..=-32020) => Ok(answer::empty(StatusCode::NOT_FOUND)),
            Event::Answer { .. } | Event::Message(_) => {
                self.pool.adopt(principal, newborn.keep());
                Ok(respond(Era::Modern, first, events, ticket))
            }
        }
    }

    /// The principal's own process.
    async fn stateless(&self, principal: &Principal) -> Result<Arc<Child>, UpstreamError> {
        if let Some(child) = self.pool.find(principal) {
            return Ok(child);
        }
        let place = self.place().await?;
        self.pool
            .find_or_start(principal, || self.launcher.start(place, principal, Era::Modern))
    }

    /// Room for one more process, at the cost of an idle one.
    async fn place(&self) -> Result<Place, UpstreamError> {
        if let Some(place) = self.launcher.place() {
            return Ok(place);
        }
        self.pool.end_idlest().ok_or(UpstreamError::Busy)?;
        self.launcher.place_of_ending().await.ok_or(UpstreamError::Busy)
    }

    /// Waits for the first message, which decides between JSON and an event stream; `None` when the request was cancelled.
    async fn first(
        &self,
        ticket: &Ticket,
        mut events: Reader,
    ) -> Result<Option<(Event, Reader)>, UpstreamError> {
        match timeout(self.head_time, events.next()).await {
            Ok(Some(Ok(event))) => Ok(Some((event, events))),
            Ok(Some(Err(broken))) => Err(UpstreamError::Unreachable {
                detail: broken.to_string(),
            }),
            Ok(None) => Ok(None),
            Err(_) => {
                // MCP, Timeouts: whoever stops waiting says so, in either era.
                ticket.cancel();
                Err(UpstreamError::TimedOut)
            }
        }
    }
}

fn unanswered() -> UpstreamError {
    UpstreamError::Unreachable {
        detail: "the stdio server did not answer".to_owned(),
    }
}

impl Upstream for StdioUpstream {
    fn credential(&self) -> &UpstreamCredential {
        &self.credential
    }

    fn call<'a>(&'a self, principal: &'a Principal, outbound: Outbound, info: &'a CallInfo) -> Answer<'a> {
        Box::pin(async move {
            let body = std::str::from_utf8(&outbound.body).map_err(|_| failed(NotBegun::NotARequest))?;
            match info.era {
                Era::Modern => self.modern(principal, body, info).await,
                Era::Legacy => self.legacy(principal, body, info).await,
            }
        })
    }

    /// Whatever but an answer is one too: a server of before 2026-07-28 may say nothing at all to what it does not know, or end.
    fn probe<'a>(&'a self, principal: &'a Principal, outbound: Outbound, _: &'a CallInfo) -> Answer<'a> {
        Box::pin(async move {
            let body = std::str::from_utf8(&outbound.body).map_err(|_| failed(NotBegun::NotARequest))?;
            match self.ask_a_stranger(principal, body).await {
                Ok(response) => Ok(response),
                Err(UpstreamError::Busy) => Err(UpstreamError::Busy),
                Err(error) => {
                    tracing::debug!(%error, "a stdio server does not know what it was asked");
                    Ok(answer::empty(StatusCode::NOT_FOUND))
                }
            }
        })
    }
}

/// Longest wait for the answer of a server that may not understand the question. A program may have to be fetched before it starts.
const PROBE_TIME: Duration = Duration::from_secs(15);

/// A child whose session nobody has heard of yet. Dropped, it takes the child with it.
struct Newborn {
    child: Arc<Child>,
    wanted: bool,
}

impl Newborn {
    fn keep(mut self) -> Arc<Child> {
        self.wanted = true;
        Arc::clone(&self.child)
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        if !self.wanted {
            self.child.stop();
        }
    }
}

fn respond(era: Era, first: Event, events: Reader, ticket: Ticket) -> Response<Body> {
    match first {
        Event::Answer { json, error } => answer::whole(era, json, error),
        Event::Message(json) => stream(Some(json), events, Some(ticket)),
    }
}

/// The ticket is dropped with the body.
fn stream(first: Option<Bytes>, mut events: Reader, ticket: Option<Ticket>) -> Response<Body> {
    answer::stream(first, move |cx| {
        let _held = &ticket;
        events
            .poll(cx)
            .map(|event| Some(event?.map(|event| event.json().clone()).map_err(Into::into)))
    })
}

fn failed(why: NotBegun) -> UpstreamError {
    match why {
        NotBegun::Closed => UpstreamError::Unreachable {
            detail: "the stdio server has ended".to_owned(),
        },
        NotBegun::Busy => UpstreamError::Busy,
        NotBegun::NotARequest => UpstreamError::Unreachable {
            detail: "the call is none that stdio can carry".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests;
