//! Modern clients before a legacy server: the bridge has a session of the principal's, and speaks in it.

mod held;
mod listening;
mod running;
mod session;
mod sessions;

use std::sync::Arc;

use http::{Response, StatusCode};
use portcullis_core::bridge::{Bound, Fault, LogLevel, Request, input_required};
use portcullis_core::forward::Outbound;
use portcullis_core::ids::{Principal, ServerName};
use portcullis_core::random::{RandomUnavailable, SecureRandom};
use portcullis_core::wire::{Era, Kind, Method};
use portcullis_net::clock::Clock;
use portcullis_net::fetch::Body;
use serde_json::value::RawValue;

use super::line::{Line, Messages, media_type, unreadable};
use super::reply::{self, INVALID_PARAMS, METHOD_NOT_FOUND, nothing, number};
use crate::gateway::answer;
use crate::gateway::upstream::{CallInfo, UpstreamError};
use held::{Held, Waiting};
use running::{Ongoing, Running, Step};
use sessions::{NotOpened, Sessions};

/// All modern clients of one legacy server.
#[derive(Debug)]
pub(super) struct ModernClients {
    server: ServerName,
    sessions: Sessions,
    held: Arc<Held>,
}

/// One call, and whom it is answered to.
struct Asked {
    /// What the answer echoes.
    id: Box<RawValue>,
    principal: Principal,
    server: ServerName,
    /// What a retry must say again.
    digest: [u8; 32],
}

impl ModernClients {
    pub(super) fn new(
        server: ServerName,
        clock: Arc<dyn Clock>,
        random: Arc<dyn SecureRandom>,
    ) -> Result<Self, RandomUnavailable> {
        Ok(Self {
            server,
            sessions: Sessions::default(),
            held: Arc::new(Held::new(clock, random)?),
        })
    }

    /// Answers a modern client's call.
    pub(super) async fn call(
        &self,
        line: &Line,
        outbound: &Outbound,
        info: &CallInfo,
    ) -> Result<Response<Body>, UpstreamError> {
        match info.kind {
            Kind::Request => {}
            // Whatever a stateless client may tell, a session has no use for: closing a stream is how it cancels.
            Kind::Notification => return Ok(answer::empty(StatusCode::ACCEPTED)),
            Kind::Response | Kind::Transport => return Ok(answer::empty(StatusCode::METHOD_NOT_ALLOWED)),
        }
        let request = Request::read(&outbound.body).map_err(|_| unreadable())?;
        let asked = Asked {
            id: request.id().ok_or_else(unreadable)?.to_owned(),
            principal: line.principal.clone(),
            server: self.server.clone(),
            digest: request.digest(),
        };
        if request.introduces_itself_briefly().is_err() {
            return Ok(asked.refused(
                INVALID_PARAMS,
                "the client says more of itself than a session keeps",
            ));
        }
        let answered = match &info.method {
            Method::Discover => self.discover(line, &request, &asked).await,
            Method::SubscriptionsListen => self.listen(line, &request, &asked).await,
            Method::ToolsList
            | Method::ToolsCall
            | Method::ResourcesList
            | Method::ResourcesTemplatesList
            | Method::ResourcesRead
            | Method::PromptsList
            | Method::PromptsGet
            | Method::Complete => self.forward(line, &request, asked, &info.method).await,
            // The tasks of 2025-11-25 are another thing than those of the extension, and no other method is in both eras.
            Method::TasksGet
            | Method::TasksUpdate
            | Method::TasksCancel
            | Method::Initialize
            | Method::Ping
            | Method::LoggingSetLevel
            | Method::ResourcesSubscribe
            | Method::ResourcesUnsubscribe
            | Method::Notification(_)
            | Method::Response
            | Method::OpenStream
            | Method::EndSession
            | Method::Other(_) => Ok(asked.refused(METHOD_NOT_FOUND, "the server has no such method")),
        };
        match answered {
            Ok(response) => Ok(response),
            Err(NotOpened::Upstream(error)) => Err(error),
            Err(NotOpened::Refused(response)) => Ok(*response),
        }
    }

    async fn discover(
        &self,
        line: &Line,
        request: &Request<'_>,
        asked: &Asked,
    ) -> Result<Response<Body>, NotOpened> {
        let session = self.sessions.of(line, request).await?;
        let result = session.welcome().discovered().map_err(|_| unreadable())?;
        Ok(asked.answered(&result))
    }

    async fn listen(
        &self,
        line: &Line,
        request: &Request<'_>,
        asked: &Asked,
    ) -> Result<Response<Body>, NotOpened> {
        let session = self.sessions.of(line, request).await?;
        match listening::begin(session, request, &asked.id).await? {
            Some(response) => Ok(response),
            None => Ok(asked.refused(INVALID_PARAMS, "`notifications` is no filter of changes")),
        }
    }

    async fn forward(
        &self,
        line: &Line,
        request: &Request<'_>,
        asked: Asked,
        method: &Method,
    ) -> Result<Response<Body>, NotOpened> {
        let Ok(answers) = request.answers() else {
            return Ok(asked.refused(INVALID_PARAMS, "`inputResponses` cannot be read"));
        };
        let Ok(state) = request.state() else {
            return Ok(asked.refused(INVALID_PARAMS, "`requestState` is no string"));
        };
        let Some(state) = state else {
            return self.begin(line, request, asked, method).await;
        };
        match self.held.take(&state, asked.bound()) {
            None => Ok(asked.refused(
                INVALID_PARAMS,
                "`requestState` is not good: it was used, is too old, or is of another call",
            )),
            Some(Waiting::Again) => self.begin(line, request, asked, method).await,
            Some(Waiting::Call(mut running)) => {
                running.wanted(request);
                if running.answer(answers).await? {
                    Ok(self.drive(*running, asked).await?)
                } else {
                    Ok(asked.ask(&self.held, *running)?)
                }
            }
        }
    }

    /// Makes the call in the principal's session. A session that the server has forgotten is begun anew, once: it has seen nothing
    /// of the call then.
    async fn begin(
        &self,
        line: &Line,
        request: &Request<'_>,
        asked: Asked,
        method: &Method,
    ) -> Result<Response<Body>, NotOpened> {
        for attempt in [Attempt::First, Attempt::Last] {
            let session = self.sessions.of(line, request).await?;
            if let Some(level) = request.level() {
                session.log_from(level).await;
            }
            let (ongoing, inbox) = Ongoing::begin(&session)?;
            let body = request
                .to_legacy(&number(ongoing.number()))
                .map_err(|_| unreadable())?;
            let response = line
                .legacy(Some(session.address()), Kind::Request, method.clone(), body)
                .await?;
            let status = response.status();
            if status == StatusCode::NOT_FOUND && session.address().session.is_some() {
                ongoing.over();
                session.end();
                match attempt {
                    Attempt::First => continue,
                    Attempt::Last => {
                        return Err(UpstreamError::BadAnswer {
                            detail: "it forgets a session that it has just begun",
                        }
                        .into());
                    }
                }
            }
            if !status.is_success() && media_type(response.headers()).is_none() {
                ongoing.over();
                return Ok(response);
            }
            let messages = Messages::of(response).await?;
            let running = Running::new(ongoing, inbox, messages, method.clone(), request);
            return Ok(self.drive(running, asked).await?);
        }
        Err(unreadable().into())
    }

    /// Waits for what decides between JSON and a stream, and sees to the rest.
    async fn drive(&self, mut running: Running, asked: Asked) -> Result<Response<Body>, UpstreamError> {
        match running.step().await? {
            Step::Done(answer) => Ok(reply::whole(Era::Modern, Some(&asked.id), answer.as_deref())),
            Step::Ask => asked.ask(&self.held, running),
            Step::Again(asks) => {
                let state = self.held.hold(Waiting::Again, asked.bound())?;
                let result = input_required(&asks, &state).map_err(|_| unreadable())?;
                Ok(asked.answered(&result))
            }
            Step::Note(first) => {
                let (outgoing, coming) = reply::channel();
                let held = Arc::clone(&self.held);
                tokio::spawn(pump(running, asked, held, outgoing));
                Ok(reply::stream(Some(first), coming))
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Attempt {
    First,
    Last,
}

/// Passes on what comes of a call until its answer. A client that goes away cancels it (MCP 2026-07-28, Streamable HTTP).
async fn pump(mut running: Running, asked: Asked, held: Arc<Held>, outgoing: reply::Outgoing) {
    loop {
        let step = tokio::select! {
            () = outgoing.closed() => return,
            step = running.step() => step,
        };
        let last = match step {
            Ok(Step::Note(note)) => {
                if outgoing.send(Ok(note)).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(Step::Done(answer)) => Ok(reply::message(Some(&asked.id), answer.as_deref())),
            Ok(Step::Ask) => held.question(running, &asked),
            Ok(Step::Again(asks)) => held
                .hold(Waiting::Again, asked.bound())
                .and_then(|state| input_required(&asks, &state).map_err(|_| unreadable()))
                .map(|result| reply::message(Some(&asked.id), Ok(&result))),
            Err(error) => Err(error),
        };
        // Whoever has gone misses it.
        let _gone = outgoing.send(last).await;
        return;
    }
}

impl Asked {
    fn bound(&self) -> Bound<'_> {
        Bound {
            principal: &self.principal,
            server: &self.server,
            request: &self.digest,
        }
    }

    fn answered(&self, result: &RawValue) -> Response<Body> {
        reply::whole(Era::Modern, Some(&self.id), Ok(result))
    }

    fn refused(&self, code: i64, message: &str) -> Response<Body> {
        reply::whole(Era::Modern, Some(&self.id), Err(&Fault::new(code, message)))
    }

    /// Holds a call that the server asked something in, and asks its client.
    fn ask(&self, held: &Arc<Held>, running: Running) -> Result<Response<Body>, UpstreamError> {
        let result = held.ask(running, self)?;
        Ok(self.answered(&result))
    }
}

impl Held {
    fn ask(self: &Arc<Self>, running: Running, asked: &Asked) -> Result<Box<RawValue>, UpstreamError> {
        let asks = running.asks();
        let state = self.hold(Waiting::Call(Box::new(running)), asked.bound())?;
        input_required(&asks, &state).map_err(|_| unreadable())
    }

    fn question(self: &Arc<Self>, running: Running, asked: &Asked) -> Result<bytes::Bytes, UpstreamError> {
        let result = self.ask(running, asked)?;
        Ok(reply::message(Some(&asked.id), Ok(&result)))
    }
}

/// The log messages that a session is asked for: those of the call that wants most.
fn graver(one: Option<LogLevel>, other: LogLevel) -> bool {
    one.is_none_or(|one| other < one)
}

/// An answer to a question of the server's, or why there is none.
fn answer_to(id: &RawValue, answer: Result<&RawValue, &Fault>) -> Vec<u8> {
    portcullis_core::bridge::response(Some(id), answer.map_err(|error| &*error.json))
}

/// The answer to `ping`.
fn pong(id: &RawValue) -> Vec<u8> {
    answer_to(id, Ok(&nothing()))
}
