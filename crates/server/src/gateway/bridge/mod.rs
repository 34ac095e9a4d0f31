//! The bridge between eras: a server that speaks one, before clients of both.
//!
//! Takes: calls that were permitted, a server. Gives: answers in the caller's era, whichever the server's is. May use: `upstream`,
//! the words of `core::bridge`. Never: sends what was not permitted, lets two principals share a session, waits without a bound.
//!
//! It stands where an upstream stands, so what may be asked is decided before it and what may be seen after it, as without it. A
//! server that speaks the caller's era is passed everything as it is; which eras it speaks is found out by asking.

mod eras;
mod legacy_client;
mod line;
mod modern_client;
mod reply;

use std::sync::Arc;

use http::{Response, StatusCode};
use portcullis_core::bridge::Incoming;
use portcullis_core::forward::{Outbound, UpstreamCredential};
use portcullis_core::ids::ServerName;
use portcullis_core::random::{RandomUnavailable, SecureRandom};
use portcullis_core::wire::{Era, Method};
use portcullis_net::clock::Clock;
use portcullis_net::fetch::{self, Body};
use serde_json::value::RawValue;

use super::sse::{Begun, SseServer};
use super::upstream::{Answer, CallInfo, Principal, Upstream, UpstreamError};
use eras::{Eras, Speaks};
use legacy_client::LegacyClients;
use line::{Line, MediaType, media_type};
use modern_client::ModernClients;

/// A server that answers clients of both eras.
#[derive(Debug)]
pub struct Bridge {
    upstream: Arc<dyn Upstream>,
    /// The same server as one of 2024-11-05, should it be one.
    sse: Option<Arc<SseServer>>,
    eras: Eras,
    modern_clients: ModernClients,
    legacy_clients: LegacyClients,
}

impl Bridge {
    /// Before a server. Nothing is asked of it before a client asks.
    ///
    /// # Errors
    /// [`RandomUnavailable`].
    pub fn new(
        server: ServerName,
        upstream: Arc<dyn Upstream>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn SecureRandom>,
    ) -> Result<Self, RandomUnavailable> {
        Ok(Self {
            upstream,
            sse: None,
            eras: Eras::default(),
            modern_clients: ModernClients::new(server.clone(), clock, Arc::clone(&random))?,
            legacy_clients: LegacyClients::new(server, random),
        })
    }

    /// The same, where the server may be one of 2024-11-05.
    #[must_use]
    pub fn or_sse(self, sse: SseServer) -> Self {
        Self {
            sse: Some(Arc::new(sse)),
            ..self
        }
    }

    async fn modern(
        &self,
        principal: &Principal,
        outbound: Outbound,
        info: &CallInfo,
    ) -> Result<Response<Body>, UpstreamError> {
        let line = Line::of(&self.upstream, principal, &outbound);
        match self.eras.modern(&line).await {
            Some(Speaks::Yes) => {
                let response = self.upstream.call(principal, outbound, info).await?;
                if matches!(
                    response.status(),
                    StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
                ) {
                    self.eras.doubt_modern();
                }
                Ok(response)
            }
            Some(Speaks::No) => {
                let line = self.legacy_line(line);
                self.modern_clients.call(&line, &outbound, info).await
            }
            None => self.upstream.call(principal, outbound, info).await,
        }
    }

    async fn legacy(
        &self,
        principal: &Principal,
        outbound: Outbound,
        info: &CallInfo,
    ) -> Result<Response<Body>, UpstreamError> {
        let line = Line::of(&self.upstream, principal, &outbound);
        if info.method == Method::Initialize {
            return self.initialize(&line, outbound, info).await;
        }
        let ours = info
            .session
            .as_deref()
            .and_then(|session| self.legacy_clients.find(session, principal));
        match (ours, &self.sse, info.session.as_deref()) {
            (Some(session), _, _) => self.legacy_clients.call(session, &line, &outbound, info).await,
            (None, Some(sse), Some(session)) if sse.has(session) => sse.call(principal, outbound, info).await,
            (None, _, _) => self.upstream.call(principal, outbound, info).await,
        }
    }

    /// How a legacy session is had at this server, over Streamable HTTP or as it was before.
    fn legacy_line(&self, line: Line) -> Line {
        match &self.sse {
            Some(sse) => line.by(Arc::new(Legacy {
                upstream: Arc::clone(&self.upstream),
                sse: Arc::clone(sse),
            })),
            None => line,
        }
    }

    /// A client begins a session: with the server, or with the bridge where the server has none to give.
    async fn initialize(
        &self,
        line: &Line,
        outbound: Outbound,
        info: &CallInfo,
    ) -> Result<Response<Body>, UpstreamError> {
        if self.eras.legacy() == Some(Speaks::No) {
            return self.legacy_clients.initialize(line, &outbound.body).await;
        }
        let (hello, headers) = (outbound.body.clone(), outbound.headers.clone());
        let method = outbound.method.clone();
        let response = self.upstream.call(&line.principal, outbound, info).await?;
        let (refused, response) = is_refused(response).await?;
        if !refused {
            return Ok(response);
        }
        if let Some(sse) = self.sse.as_ref().filter(|_| may_be_sse(response.status())) {
            let body = hello.clone();
            let outbound = Outbound {
                method,
                headers,
                body,
            };
            if let Begun::Answered(response) = sse.initialize(&line.principal, outbound).await? {
                return Ok(response);
            }
        }
        // What it refuses may be the era or this client: a modern server answers when it is asked in its own.
        if self.eras.modern(line).await != Some(Speaks::Yes) {
            return Ok(response);
        }
        self.eras.note_legacy(Speaks::No);
        self.legacy_clients.initialize(line, &hello).await
    }
}

/// Whether a server refuses to begin a session, and its answer, whole.
async fn is_refused(response: Response<Body>) -> Result<(bool, Response<Body>), UpstreamError> {
    let status = response.status();
    if status.is_server_error() || eras::is_about_us(status) {
        return Ok((false, response));
    }
    match media_type(response.headers()) {
        Some(MediaType::Json) => {
            let (head, body) = response.into_parts();
            let body = line::whole(body).await?;
            let is_error = matches!(Incoming::read(&body), Ok(Incoming::Error { .. }));
            let response = Response::from_parts(head, fetch::full(body));
            Ok((is_error || status.is_client_error(), response))
        }
        Some(MediaType::EventStream) | None => Ok((status.is_client_error(), response)),
    }
}

impl Upstream for Bridge {
    fn credential(&self) -> &UpstreamCredential {
        self.upstream.credential()
    }

    fn call<'a>(&'a self, principal: &'a Principal, outbound: Outbound, info: &'a CallInfo) -> Answer<'a> {
        Box::pin(async move {
            match info.era {
                Era::Modern => self.modern(principal, outbound, info).await,
                Era::Legacy => self.legacy(principal, outbound, info).await,
            }
        })
    }
}

/// What a server of 2024-11-05 answers to a POST at the address of its stream (MCP, Transports, Backwards Compatibility).
fn may_be_sse(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
    )
}

/// A legacy server, over Streamable HTTP or, where it does not know that, over HTTP with SSE.
#[derive(Debug)]
struct Legacy {
    upstream: Arc<dyn Upstream>,
    sse: Arc<SseServer>,
}

impl Legacy {
    async fn answer(
        &self,
        principal: &Principal,
        outbound: Outbound,
        info: &CallInfo,
    ) -> Result<Response<Body>, UpstreamError> {
        if info
            .session
            .as_deref()
            .is_some_and(|session| self.sse.has(session))
        {
            return self.sse.call(principal, outbound, info).await;
        }
        if info.method != Method::Initialize {
            return self.upstream.call(principal, outbound, info).await;
        }
        let again = Outbound {
            method: outbound.method.clone(),
            headers: outbound.headers.clone(),
            body: outbound.body.clone(),
        };
        let response = self.upstream.call(principal, outbound, info).await?;
        if !may_be_sse(response.status()) {
            return Ok(response);
        }
        match self.sse.initialize(principal, again).await? {
            Begun::Answered(answered) => Ok(answered),
            Begun::NotThis => Ok(response),
        }
    }
}

impl Upstream for Legacy {
    fn credential(&self) -> &UpstreamCredential {
        self.upstream.credential()
    }

    fn call<'a>(&'a self, principal: &'a Principal, outbound: Outbound, info: &'a CallInfo) -> Answer<'a> {
        Box::pin(self.answer(principal, outbound, info))
    }
}

/// What the bridge calls itself where a client does not say who it is.
fn this_client() -> Box<RawValue> {
    let version = env!("CARGO_PKG_VERSION");
    let client = format!(r#"{{"name":"portcullis","version":"{version}"}}"#);
    RawValue::from_string(client).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
