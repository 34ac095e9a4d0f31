//! Legacy clients before a modern server: the session is the bridge's, and every call says what it agreed on.

mod calling;
mod following;
mod places;
mod session;
mod sessions;

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Response, StatusCode};
use portcullis_core::bridge::{Fault, Found, Hello, Incoming, LogLevel, Request, discover};
use portcullis_core::forward::Outbound;
use portcullis_core::ids::{Principal, ServerName};
use portcullis_core::random::{self, SecureRandom};
use portcullis_core::wire::{Era, Kind, Method};
use portcullis_net::fetch::Body;
use serde_json::value::RawValue;

use super::line::{Line, answered, unreadable};
use super::reply::{self, INVALID_PARAMS, METHOD_NOT_FOUND, nothing, number};
use crate::gateway::answer;
use crate::gateway::upstream::{CallInfo, UpstreamError};
use places::Places;
use session::Session;
use sessions::Sessions;

/// All legacy clients of one modern server.
pub(super) struct LegacyClients {
    server: ServerName,
    sessions: Sessions,
    places: Arc<Places>,
    random: Arc<dyn SecureRandom>,
}

impl LegacyClients {
    pub(super) fn new(server: ServerName, random: Arc<dyn SecureRandom>) -> Self {
        Self {
            server,
            sessions: Sessions::default(),
            places: Arc::default(),
            random,
        }
    }

    /// The principal's session of this id, if it is one of the bridge's.
    pub(super) fn find(&self, session: &str, principal: &Principal) -> Option<Arc<Session>> {
        self.sessions.find(session, principal)
    }

    /// Begins a session.
    pub(super) async fn initialize(&self, line: &Line, body: &[u8]) -> Result<Response<Body>, UpstreamError> {
        let request = Request::read(body).map_err(|_| unreadable())?;
        let id = request.id().ok_or_else(unreadable)?;
        let Ok(hello) = Hello::read(&request) else {
            let error = Fault::new(
                INVALID_PARAMS,
                "`initialize` names no protocol version, or says more of the client than a session keeps",
            );
            return Ok(reply::whole(Era::Legacy, Some(id), Err(&error)));
        };
        let asked = discover(&number(0), &hello.stamp).map_err(|_| unreadable())?;
        let (outbound, info) = line.modern(&Method::Discover, Vec::new(), asked);
        let response = line.upstream.call(&line.principal, outbound, &info).await?;
        if super::eras::is_about_us(response.status()) || response.status().is_server_error() {
            return Ok(response);
        }
        let found = match answered(response).await? {
            Some(Incoming::Result { result, .. }) => Found::read(&result).map_err(|_| unreadable())?,
            Some(Incoming::Error { .. } | Incoming::Request { .. } | Incoming::Notification { .. })
            | None => {
                return Err(UpstreamError::BadAnswer {
                    detail: "it does not say what it can do",
                });
            }
        };
        let no_session = |detail: String| UpstreamError::Unreachable { detail };
        let name = random::token::<32>(&*self.random)
            .map_err(|error| no_session(format!("no session can be made: {error}")))?;
        let header =
            HeaderValue::try_from(&name).map_err(|_| no_session("no session can be made".to_owned()))?;
        let result = found
            .welcome(hello.version, self.server.as_str())
            .map_err(|_| unreadable())?;
        let session = Session::new(line.clone().untraced(), hello.stamp, found);
        self.sessions.keep(name.into(), session)?;
        let mut response = reply::whole(Era::Legacy, Some(id), Ok(&result));
        response
            .headers_mut()
            .insert(HeaderName::from_static("mcp-session-id"), header);
        Ok(response)
    }

    /// Answers what a client says in its session.
    pub(super) async fn call(
        &self,
        session: Arc<Session>,
        line: &Line,
        outbound: &Outbound,
        info: &CallInfo,
    ) -> Result<Response<Body>, UpstreamError> {
        session.touch();
        match info.kind {
            Kind::Request => {}
            Kind::Transport => return Ok(self.transport(&session, info)),
            Kind::Notification => {
                let request = Request::read(&outbound.body).map_err(|_| unreadable())?;
                if info.method.as_str() == "notifications/cancelled"
                    && let Some(id) = request.param("requestId")
                {
                    session.cancel(id);
                }
                return Ok(answer::empty(StatusCode::ACCEPTED));
            }
            Kind::Response => {
                match Incoming::read(&outbound.body).map_err(|_| unreadable())? {
                    Incoming::Result { id, result } => session.answer(&id, Ok(result)),
                    Incoming::Error { id: Some(id), error } => session.answer(&id, Err(error)),
                    Incoming::Error { id: None, .. }
                    | Incoming::Request { .. }
                    | Incoming::Notification { .. } => {}
                }
                return Ok(answer::empty(StatusCode::ACCEPTED));
            }
        }
        let request = Request::read(&outbound.body).map_err(|_| unreadable())?;
        let id = request.id().ok_or_else(unreadable)?;
        let answered = |answer: Result<&RawValue, &Fault>| reply::whole(Era::Legacy, Some(id), answer);
        match &info.method {
            Method::Ping => Ok(answered(Ok(&nothing()))),
            Method::LoggingSetLevel => {
                let level = request.param("level").map(RawValue::get);
                let level = level.and_then(|text| serde_json::from_str::<String>(text).ok());
                match level.as_deref().and_then(LogLevel::parse) {
                    Some(level) => {
                        session.log_from(level);
                        Ok(answered(Ok(&nothing())))
                    }
                    None => {
                        let error = Fault::new(INVALID_PARAMS, "`level` is no level of log messages");
                        Ok(answered(Err(&error)))
                    }
                }
            }
            Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
                Ok(self.subscription(&session, &request, &info.method, id))
            }
            Method::ToolsList
            | Method::ToolsCall
            | Method::ResourcesList
            | Method::ResourcesTemplatesList
            | Method::ResourcesRead
            | Method::PromptsList
            | Method::PromptsGet
            | Method::Complete => {
                let place = self.places.take(session.of())?;
                calling::call(
                    session,
                    place,
                    line.clone(),
                    outbound.body.clone(),
                    info.method.clone(),
                    id,
                )
                .await
            }
            // The tasks of 2025-11-25 are another thing than those of the extension, and no other method is in both eras.
            Method::TasksGet
            | Method::TasksUpdate
            | Method::TasksCancel
            | Method::Initialize
            | Method::Discover
            | Method::SubscriptionsListen
            | Method::Notification(_)
            | Method::Response
            | Method::OpenStream
            | Method::EndSession
            | Method::Other(_) => {
                let error = Fault::new(METHOD_NOT_FOUND, "the server has no such method");
                Ok(answered(Err(&error)))
            }
        }
    }

    fn transport(&self, session: &Arc<Session>, info: &CallInfo) -> Response<Body> {
        if info.method == Method::EndSession {
            if let Some(name) = &info.session {
                self.sessions.end(name);
            }
            return answer::empty(StatusCode::NO_CONTENT);
        }
        following::follow(Arc::clone(session))
    }

    fn subscription(
        &self,
        session: &Session,
        request: &Request<'_>,
        method: &Method,
        id: &RawValue,
    ) -> Response<Body> {
        let uri = request.param("uri").map(RawValue::get);
        let Some(uri) = uri.and_then(|text| serde_json::from_str::<String>(text).ok()) else {
            let error = Fault::new(INVALID_PARAMS, "`uri` is missing");
            return reply::whole(Era::Legacy, Some(id), Err(&error));
        };
        let kept = if *method == Method::ResourcesSubscribe {
            session.subscribe(uri)
        } else {
            session.unsubscribe(&uri);
            Ok(())
        };
        match kept {
            Ok(()) => reply::whole(Era::Legacy, Some(id), Ok(&nothing())),
            Err(error) => reply::whole(Era::Legacy, Some(id), Err(&error)),
        }
    }
}

impl std::fmt::Debug for LegacyClients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LegacyClients")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
