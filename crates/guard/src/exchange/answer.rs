//! The server's answer on its way to the caller.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use portcullis_core::audit::Ending;
use portcullis_core::forward;
use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::ids::Principal;
use portcullis_core::wire::{Era, Kind, Method, Target};
use tokio::time::{Instant, Sleep, sleep};

use super::calls::{Place, Whose};
use super::events;
use super::list::{Filter, FilteredEvents, Streams, Unfit};
use super::sealed::{Change, Own, Watch};
use super::{Body, CallInfo, Exchange, full};
use crate::arrival::Arrival;
use crate::outcomes::Ticket;
use crate::pipeline::Doubt;
use crate::reason::{Reason, UpstreamError};
use crate::refusal::REQUEST_ID;
use crate::sealing::SealedAnswer;
use crate::streams::Stream;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// One admitted call that the server answered.
pub(super) struct Answered<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) arrival: &'a Arrival,
    pub(super) who: &'a Arc<VerifiedIdentity>,
    pub(super) principal: Principal,
    pub(super) info: CallInfo,
    /// What it was aimed at.
    pub(super) target: Option<Target>,
    /// Seals its result.
    pub(super) sealed: Option<SealedAnswer>,
    /// Where that is remembered.
    pub(super) remembered: Option<Place>,
}

impl Answered<'_> {
    /// What the caller gets. `stream` is the place of a stream that was asked for. The ticket closes when the last of it is sent, or when the caller goes away.
    ///
    /// # Errors
    /// The upstream's answer is none to pass on; the ticket is given back, still open.
    pub(super) async fn pass_on(
        self,
        response: http::Response<Body>,
        stream: Option<Stream>,
        mut ticket: Ticket,
    ) -> Result<http::Response<Watched>, (UpstreamError, Ticket)> {
        let (head, body) = response.into_parts();
        ticket.answered(head.status.as_u16());
        let mut headers = forward::response_headers(&head.headers);
        let checked = refused_us(head.status)
            .and_then(|()| self.readable(head.status, &headers, &body))
            .and_then(|()| self.sessions(head.status, &mut headers));
        if let Err(error) = checked {
            return Err((error, ticket));
        }
        let withheld = Arc::default();
        let change = self.change(&withheld);
        let filtered = match change {
            Some(change) => self.changed(head.status, &headers, body, change).await,
            None => self.filtered(head.status, &headers, body).await,
        };
        let (body, farewell) = match filtered {
            Ok(filtered) => filtered,
            Err(error) => return Err((error, ticket)),
        };
        let bounds = self.bounds(&headers, stream);
        if let Ok(request) = HeaderValue::from_str(ticket.request()) {
            headers.insert(REQUEST_ID, request);
        }
        let mut response = http::Response::new(Watched::new(body, ticket, bounds, farewell, withheld));
        *response.status_mut() = head.status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// A message is answered with JSON or with events (MCP, Streamable HTTP). Anything else with a status that
    /// says all is well is a page of some other server, which no client should see as an answer.
    fn readable(&self, status: StatusCode, headers: &HeaderMap, body: &Body) -> Result<(), UpstreamError> {
        let answers = match self.info.kind {
            Kind::Request => true,
            Kind::Notification | Kind::Response => !body.is_end_stream(),
            Kind::Transport => false,
        };
        if answers && status == StatusCode::OK && media_type(headers).is_none() {
            return Err(UpstreamError::BadAnswer {
                detail: "its content type is neither JSON nor an event stream",
            });
        }
        Ok(())
    }

    /// A session belongs to whom the server gave it on `initialize`; nothing else gives one, and a stateless
    /// message has none.
    fn sessions(&self, status: StatusCode, headers: &mut HeaderMap) -> Result<(), UpstreamError> {
        let sessions = self.exchange.endpoint.sessions();
        match (self.info.era, &self.info.method) {
            (Era::Legacy, Method::Initialize) if status.is_success() => {
                let Some(session) = headers.get(SESSION) else {
                    return Ok(());
                };
                let session = session.to_str().map_err(|_| UpstreamError::BadAnswer {
                    detail: "its session id is malformed",
                })?;
                let now = self.exchange.guard.clock().now();
                return sessions
                    .bind(session, self.principal.clone(), now)
                    .map_err(|error| {
                        tracing::warn!(server = %self.exchange.endpoint.server(), %error, "session refused");
                        UpstreamError::BadAnswer {
                            detail: "it gave out a session that another principal has",
                        }
                    });
            }
            (Era::Legacy, method) => {
                let ended =
                    status == StatusCode::NOT_FOUND || (*method == Method::EndSession && status.is_success());
                if let (Some(session), true) = (&self.info.session, ended) {
                    sessions.end(session);
                    self.exchange.calls.end(session);
                }
            }
            (Era::Modern, _) => {}
        }
        if headers.get(SESSION).map(HeaderValue::as_bytes) != self.info.session.as_deref().map(str::as_bytes)
        {
            headers.remove(SESSION);
        }
        Ok(())
    }

    /// The body as this caller may see it; with a stream of events, what to say should it have to end early.
    async fn filtered(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Body, Option<Bytes>), UpstreamError> {
        let streams = match self.info.method {
            Method::ToolsList => Streams::TheList,
            Method::OpenStream => Streams::AnySession,
            Method::ToolsCall
            | Method::Initialize
            | Method::Discover
            | Method::Ping
            | Method::ResourcesList
            | Method::ResourcesTemplatesList
            | Method::ResourcesRead
            | Method::ResourcesSubscribe
            | Method::ResourcesUnsubscribe
            | Method::PromptsList
            | Method::PromptsGet
            | Method::Complete
            | Method::LoggingSetLevel
            | Method::SubscriptionsListen
            | Method::TasksGet
            | Method::TasksUpdate
            | Method::TasksCancel
            | Method::Notification(_)
            | Method::Response
            | Method::EndSession
            | Method::Other(_) => return Ok((body, None)),
        };
        // A list is a list whatever its status says; only an error page that is neither JSON nor events holds none.
        if !status.is_success() && media_type(headers).is_none() {
            return Ok((body, None));
        }
        if headers.contains_key(CONTENT_ENCODING) {
            return Err(UpstreamError::BadAnswer {
                detail: "a list of tools came encoded, which nobody asked for",
            });
        }
        let filter = self.filter();
        match media_type(headers) {
            Some(MediaType::Json) => Ok((full(filter.json(body).await?), None)),
            Some(MediaType::EventStream) => Ok((
                Body::new(FilteredEvents::new(body, filter, streams)),
                Some(self.farewell()),
            )),
            None => Err(UpstreamError::BadAnswer {
                detail: "its content type is neither JSON nor an event stream",
            }),
        }
    }

    fn filter(&self) -> Filter {
        let guard = &self.exchange.guard;
        let server = self.exchange.endpoint.server();
        Filter {
            guard: Arc::clone(guard),
            who: Arc::clone(self.who),
            server: server.clone(),
            catalogue: Arc::clone(&self.exchange.catalogue),
            sealing: guard.sealing().cloned(),
        }
    }

    /// What sealed fields make of the answer: nothing at a server without any.
    fn change(&self, withheld: &Arc<AtomicBool>) -> Option<Change> {
        if let Some(answer) = &self.sealed {
            return Some(Change::Seal {
                answer: answer.clone(),
                calls: Arc::clone(&self.exchange.calls),
                place: self.remembered,
            });
        }
        let Exchange {
            guard,
            endpoint,
            calls,
            ..
        } = self.exchange;
        let server = endpoint.server();
        let sealing = guard.sealing().filter(|sealing| sealing.is_for(server))?;
        let own = match (&self.info.method, &self.target) {
            (Method::Initialize | Method::Discover, _) => Own::Announce(sealing.capability(server)),
            (Method::ToolsList, _) => Own::List(self.filter()),
            (Method::ToolsCall, _) => Own::OfTool,
            (_, Some(Target::Task(task))) if !calls.is_clear_task(task) => Own::OfTask,
            (_, Some(_) | None) => Own::Passes,
        };
        let reason = Reason::Upstream(UpstreamError::Withheld);
        let instead = guard.answer(endpoint, self.arrival, None, &reason);
        Some(Change::Watch(Box::new(Watch {
            id: self
                .info
                .id
                .as_ref()
                .and_then(|id| serde_json::from_str(id.as_json()).ok()),
            own,
            calls: Arc::clone(calls),
            whose: Whose::of(self.info.session.as_deref(), &self.principal),
            instead: instead.into_response().into_body(),
            withheld: Arc::clone(withheld),
        })))
    }

    /// The answer as it has to be changed, and nothing else: what is neither JSON nor events could hold anything.
    async fn changed(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Body,
        change: Change,
    ) -> Result<(Body, Option<Bytes>), UpstreamError> {
        // What has no body has nothing to hide, such as the answer to a notification.
        if body.is_end_stream() && self.sealed.is_none() {
            return Ok((body, None));
        }
        let readable = !headers.contains_key(CONTENT_ENCODING);
        match media_type(headers).filter(|_| readable) {
            Some(MediaType::Json) => Ok((full(change.json(body).await?), None)),
            Some(MediaType::EventStream) => Ok((change.events(body), Some(self.farewell()))),
            None if readable && self.sealed.is_none() && !status.is_success() => Ok((body, None)),
            None => Err(UpstreamError::BadAnswer {
                detail: "it cannot be looked into, as it has to be",
            }),
        }
    }

    fn farewell(&self) -> Bytes {
        let reason = Reason::Upstream(UpstreamError::BadAnswer {
            detail: "a message that has to be looked into may not be passed on",
        });
        let guard = &self.exchange.guard;
        let answer = guard.answer(
            &self.exchange.endpoint,
            self.arrival,
            self.info.id.as_ref(),
            &reason,
        );
        events::message(&answer.into_response().into_body())
    }

    /// What ends a stream before its own end: our stop, silence, and a revocation of what its caller showed. A stream that has no end
    /// of its own ends with the token that opened it too, and when nobody can say what is revoked. The answer to a call does not: the
    /// call was judged when it was made, and what it did is not undone by keeping its result back.
    fn bounds(&self, headers: &HeaderMap, stream: Option<Stream>) -> Option<Bounds> {
        let place = match (stream, media_type(headers)) {
            (Some(place), _) => place,
            (None, Some(MediaType::EventStream)) => {
                let streams = self.exchange.endpoint.sessions().streams();
                streams.count(self.principal.clone())
            }
            (None, Some(MediaType::Json) | None) => return None,
        };
        let stop = self.exchange.bounds.stop.clone().cancelled_owned();
        let endless = matches!(self.info.method, Method::OpenStream | Method::SubscriptionsListen);
        let (guard, who) = (Arc::clone(&self.exchange.guard), Arc::clone(self.who));
        let server = self.exchange.endpoint.server().clone();
        let left = endless.then(|| {
            let now = guard.clock().now();
            let left = who.expires().as_millis().saturating_sub(now.as_millis());
            Duration::from_millis(u64::try_from(left).unwrap_or(0))
        });
        let doubt = if endless { Doubt::Ends } else { Doubt::Passes };
        let end: Pin<Box<dyn Future<Output = Ending> + Send>> = Box::pin(async move {
            let over = async {
                match left {
                    // An error is the time that is over, and either way the stream ends.
                    Some(left) => drop(tokio::time::timeout(left, stop).await),
                    None => stop.await,
                }
            };
            tokio::select! {
                () = over => Ending::Abandoned,
                () = guard.revoked(&who, &server, doubt) => Ending::Revoked,
            }
        });
        let silence = self.exchange.bounds.stream_silence;
        Some(Bounds {
            end,
            silence: (silence, Box::pin(sleep(silence))),
            _place: place,
        })
    }
}

/// Statuses that speak of us, not of the call. A 401 passed on would make the caller get
/// another token of ours, and a redirect could make it send the token elsewhere.
fn refused_us(status: StatusCode) -> Result<(), UpstreamError> {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Err(UpstreamError::RefusesUs {
                status: status.as_u16(),
            })
        }
        status if status.is_redirection() => Err(UpstreamError::BadAnswer {
            detail: "it redirects elsewhere",
        }),
        status if status.is_informational() => Err(UpstreamError::BadAnswer {
            detail: "it switches to another protocol",
        }),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MediaType {
    Json,
    EventStream,
}

fn media_type(headers: &HeaderMap) -> Option<MediaType> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Some(MediaType::Json)
    } else if essence.eq_ignore_ascii_case("text/event-stream") {
        Some(MediaType::EventStream)
    } else {
        None
    }
}

/// What a stream ends with, if it does not end by itself.
struct Bounds {
    end: Pin<Box<dyn Future<Output = Ending> + Send>>,
    /// The longest, and what is left of it.
    silence: (Duration, Pin<Box<Sleep>>),
    /// Its place among the principal's streams.
    _place: Stream,
}

impl Bounds {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        self.end.as_mut().poll(context)
    }

    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.silence.1.as_mut().poll(context)
    }

    fn heard(&mut self) {
        let (longest, left) = &mut self.silence;
        // A time that the clock cannot say never comes.
        if let Some(until) = Instant::now().checked_add(*longest) {
            left.as_mut().reset(until);
        }
    }
}

/// A body that says how it ended. Dropping it drops the upstream's body, which cancels the call there.
pub(super) struct Watched {
    body: Body,
    /// `None` once it ended.
    ticket: Option<Ticket>,
    /// `None` for what is no stream, and once it ended.
    bounds: Option<Bounds>,
    farewell: Option<Bytes>,
    /// Whether an error took the place of something in it.
    withheld: Arc<AtomicBool>,
}

impl Watched {
    fn new(
        body: Body,
        ticket: Ticket,
        bounds: Option<Bounds>,
        farewell: Option<Bytes>,
        withheld: Arc<AtomicBool>,
    ) -> Self {
        let mut watched = Self {
            body,
            ticket: Some(ticket),
            bounds,
            farewell,
            withheld,
        };
        watched.close_at_end();
        watched
    }

    /// The HTTP layer does not ask for another frame after the last one: the end has to be seen with it.
    fn close_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.close(Ending::Completed);
        }
    }

    fn close(&mut self, ending: Ending) {
        self.bounds = None;
        if let Some(ticket) = self.ticket.take() {
            ticket.close(if self.withheld.load(Ordering::Relaxed) {
                Ending::Withheld
            } else {
                ending
            });
        }
    }

    /// Ends a stream in order, and the upstream's with it.
    fn end<T>(&mut self, ending: Ending) -> Poll<Option<T>> {
        self.close(ending);
        self.body = full(Bytes::new());
        Poll::Ready(None)
    }
}

/// A caller that goes away does not take from the record what was withheld before.
impl Drop for Watched {
    fn drop(&mut self) {
        if self.withheld.load(Ordering::Relaxed) {
            self.close(Ending::Withheld);
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Some(Poll::Ready(ending)) = this.bounds.as_mut().map(|bounds| bounds.poll_end(context)) {
            return this.end(ending);
        }
        let frame = match (Pin::new(&mut this.body).poll_frame(context), this.bounds.as_mut()) {
            (Poll::Ready(frame), bounds) => {
                if let Some(bounds) = bounds {
                    bounds.heard();
                }
                frame
            }
            (Poll::Pending, Some(bounds)) => {
                ready!(bounds.poll_silence(context));
                return this.end(Ending::TimedOut);
            }
            (Poll::Pending, None) => return Poll::Pending,
        };
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(ticket), Some(data)) = (&mut this.ticket, frame.data_ref()) {
                    ticket.sent(data.len());
                }
                this.close_at_end();
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "an upstream's answer broke off");
                this.close(Ending::UpstreamFailed);
                // An orderly end, so that the last words arrive: an error here would cut the connection
                // before them. A stream that the upstream broke off is cut too, and its client can take it up
                // again.
                if let (true, Some(farewell)) = (error.is::<Unfit>(), this.farewell.take()) {
                    this.body = full(Bytes::new());
                    return Poll::Ready(Some(Ok(Frame::data(farewell))));
                }
            }
            None => this.close(Ending::Completed),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
