//! One call of a legacy client, as a modern server hears of it.
//!
//! A call is a task of its own: a client that closes its connection has not cancelled (MCP 2025-11-25, Streamable HTTP).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use portcullis_core::bridge::{
    Again, Ask, Fault, Incoming, Need, Needed, Parameters, Request, for_legacy, notification, request,
    tools_of,
};
use portcullis_core::ids::ToolName;
use portcullis_core::wire::{Era, Method, encoded};
use portcullis_net::fetch::Body;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::places::Place;
use super::session::{Call, NotBegun, Session};
use crate::gateway::answer;
use crate::gateway::bridge::line::{Line, Messages, answered, media_type, unreadable};
use crate::gateway::bridge::reply::{self, number, on_one_line};
use crate::gateway::upstream::UpstreamError;

/// Most times that a server may want input for one call.
const ROUNDS: usize = 16;
/// Longest wait for a client's answer. A person may have to be asked.
const ANSWER: Duration = Duration::from_secs(10 * 60);
/// How long a call goes on whose client has gone. It could not get the answer, and only the effect is left to come.
const UNHEARD: Duration = Duration::from_secs(10 * 60);
/// Most pages of a list of tools that are asked for.
const PAGES: usize = 100;

/// The gateway's own codes are -31000 minus the status that says the same.
const UNANSWERED: i64 = -31_408;
const TOO_MANY_ROUNDS: i64 = -31_508;
/// MCP 2026-07-28: the headers do not repeat what the body says.
const HEADER_MISMATCH: i64 = -32020;

/// What the client hears.
enum Heard {
    /// This, on the way.
    Note(Bytes),
    /// The answer.
    Answer(Result<Box<RawValue>, Fault>),
    /// The server's own answer, which is none of MCP.
    Response(Box<Response<Body>>),
    /// Nothing will come.
    Failed(UpstreamError),
}

/// JSON-RPC 2.0 §5.1.
const INVALID_REQUEST: i64 = -32600;

/// Makes the call, and waits for what decides between JSON and a stream.
pub(super) async fn call(
    session: Arc<Session>,
    place: Place,
    line: Line,
    body: Bytes,
    method: Method,
    id: &RawValue,
) -> Result<Response<Body>, UpstreamError> {
    let under_way = match session.begin(id) {
        Ok(under_way) => under_way,
        Err(NotBegun::Busy) => return Err(UpstreamError::Busy),
        Err(NotBegun::Running) => {
            let error = Fault::new(INVALID_REQUEST, "a request with this `id` is under way");
            return Ok(reply::whole(Era::Legacy, Some(id), Err(&error)));
        }
    };
    let (outgoing, mut heard) = mpsc::channel(1);
    let id = id.to_owned();
    let calling = Calling {
        session,
        line,
        method,
        outgoing,
    };
    tokio::spawn(make(calling, body, under_way, place));
    match heard.recv().await {
        Some(Heard::Answer(answer)) => Ok(reply::whole(Era::Legacy, Some(&id), answer.as_deref())),
        Some(Heard::Response(response)) => Ok(*response),
        Some(Heard::Failed(error)) => Err(error),
        Some(Heard::Note(first)) => Ok(answer::stream(Some(first), move |cx| {
            heard.poll_recv(cx).map(|next| {
                Some(match next? {
                    Heard::Note(note) => Ok(note),
                    Heard::Answer(answer) => Ok(reply::message(Some(&id), answer.as_deref())),
                    Heard::Response(_) => Err(unreadable().into()),
                    Heard::Failed(error) => Err(error.into()),
                })
            })
        })),
        // Given up.
        None => Ok(answer::none()),
    }
}

struct Calling {
    session: Arc<Session>,
    line: Line,
    method: Method,
    outgoing: mpsc::Sender<Heard>,
}

async fn make(calling: Calling, body: Bytes, under_way: Call, place: Place) {
    let unheard = async {
        calling.outgoing.closed().await;
        sleep(UNHEARD).await;
    };
    // What is dropped here closes the server's stream, which is how it is told (MCP 2026-07-28, Cancellation).
    let last = tokio::select! {
        last = calling.run(&body) => Some(last.unwrap_or_else(Heard::Failed)),
        () = under_way.given_up() => None,
        () = unheard => None,
    };
    drop((under_way, place));
    if let Some(last) = last {
        // A client that has gone misses it.
        drop(calling.outgoing.send(last).await);
    }
}

impl Calling {
    async fn run(&self, body: &[u8]) -> Result<Heard, UpstreamError> {
        let asked = Request::read(body).map_err(|_| unreadable())?;
        let (mut answers, mut state) = (Vec::new(), None::<Box<RawValue>>);
        let mut relisted = false;
        let mut round = 0;
        while round < ROUNDS {
            let again = number(self.session.number());
            let again = (round > 0).then(|| Again {
                id: &again,
                answers: &answers,
                state: state.as_deref(),
            });
            let stamp = self.session.stamp();
            let body = asked.to_modern(&stamp, again).map_err(|_| unreadable())?;
            let mirrored = self.mirrored(&asked).await?;
            let (outbound, info) = self.line.modern(&self.method, mirrored, body);
            let response = self
                .line
                .upstream
                .call(&self.line.principal, outbound, &info)
                .await?;
            let status = response.status();
            if !status.is_success() && (media_type(response.headers()).is_none() || status.is_server_error())
            {
                return Ok(Heard::Response(Box::new(response)));
            }
            if super::super::eras::is_about_us(status) {
                return Ok(Heard::Response(Box::new(response)));
            }
            match self.answer_of(Messages::of(response).await?).await? {
                Ok(result) => match for_legacy(&result).map_err(|_| unreadable())? {
                    Needed::Nothing(result) => return Ok(Heard::Answer(Ok(self.list(result)?))),
                    Needed::Input { asks, state: brought } => {
                        match self.ask_all(asks, &stamp.capabilities).await? {
                            Ok(said) => answers = said,
                            Err(error) => return Ok(Heard::Answer(Err(error))),
                        }
                        state = brought;
                        round = round.saturating_add(1);
                    }
                },
                // The tools were listed anew at the server: the headers that they want may have changed.
                Err(error)
                    if error.code == HEADER_MISMATCH
                        && status == StatusCode::BAD_REQUEST
                        && self.method == Method::ToolsCall
                        && !relisted =>
                {
                    relisted = true;
                    self.session.unlisted();
                }
                Err(error) => return Ok(Heard::Answer(Err(error))),
            }
        }
        let message = "the server wants input again and again";
        Ok(Heard::Answer(Err(Fault::new(TOO_MANY_ROUNDS, message))))
    }

    /// Reads to the answer, and passes on what comes before it.
    async fn answer_of(&self, mut messages: Messages) -> Result<Result<Box<RawValue>, Fault>, UpstreamError> {
        while let Some(message) = messages.next().await? {
            match message {
                Incoming::Result { result, .. } => return Ok(Ok(result)),
                Incoming::Error { error, .. } => return Ok(Err(error)),
                Incoming::Notification { method, params } => {
                    if matches!(&*method, "notifications/progress" | "notifications/message") {
                        let note = on_one_line(notification(&method, params.as_deref()));
                        // A client that has gone misses it.
                        drop(self.outgoing.send(Heard::Note(note)).await);
                    }
                }
                // MCP 2026-07-28: a server asks nothing by itself.
                Incoming::Request { .. } => {}
            }
        }
        Err(UpstreamError::BadAnswer {
            detail: "its stream ended without an answer",
        })
    }

    /// The headers that repeat what the call says.
    async fn mirrored(&self, asked: &Request<'_>) -> Result<Vec<(String, String)>, UpstreamError> {
        let member = if matches!(self.method, Method::ToolsCall | Method::PromptsGet) {
            "name"
        } else if self.method == Method::ResourcesRead {
            "uri"
        } else {
            return Ok(Vec::new());
        };
        let name = asked
            .param(member)
            .and_then(|name| serde_json::from_str::<String>(name.get()).ok())
            .ok_or_else(unreadable)?;
        let mut headers = Vec::new();
        if self.method == Method::ToolsCall
            && let Ok(tool) = ToolName::parse(&name)
        {
            headers = self.parameters(&tool).await?.headers(asked.param("arguments"));
        }
        headers.push(("mcp-name".to_owned(), encoded(&name).into_owned()));
        Ok(headers)
    }

    async fn parameters(&self, tool: &ToolName) -> Result<Parameters, UpstreamError> {
        if let Some(known) = self.session.parameters(tool) {
            return Ok(known);
        }
        self.list_tools().await?;
        Ok(self.session.parameters(tool).unwrap_or_default())
    }

    /// Lists the server's tools, for what they say of headers. A server that does not list them wants none.
    async fn list_tools(&self) -> Result<(), UpstreamError> {
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES {
            let params = self.session.stamp().params().map_err(|_| unreadable())?;
            let mut params: serde_json::Value =
                serde_json::from_str(params.get()).map_err(|_| unreadable())?;
            if let (Some(cursor), Some(members)) = (&cursor, params.as_object_mut()) {
                members.insert("cursor".to_owned(), cursor.as_str().into());
            }
            let params = RawValue::from_string(params.to_string()).map_err(|_| unreadable())?;
            let id = number(self.session.number());
            let body = request(&id, Method::ToolsList.as_str(), Some(&params));
            let (outbound, info) = self.line.modern(&Method::ToolsList, Vec::new(), body);
            let response = self
                .line
                .upstream
                .call(&self.line.principal, outbound, &info)
                .await?;
            if media_type(response.headers()).is_none() {
                return Ok(());
            }
            let Some(Incoming::Result { result, .. }) = answered(response).await? else {
                return Ok(());
            };
            let (tools, _) = tools_of(&result).map_err(|_| unreadable())?;
            self.session.listed(tools);
            #[derive(serde::Deserialize)]
            struct Page {
                #[serde(rename = "nextCursor")]
                next: Option<String>,
            }
            cursor = serde_json::from_str::<Page>(result.get())
                .ok()
                .and_then(|page| page.next);
            if cursor.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A list of tools without those that a client which speaks HTTP must not offer; another result as it is.
    fn list(&self, result: Box<RawValue>) -> Result<Box<RawValue>, UpstreamError> {
        if self.method != Method::ToolsList {
            return Ok(result);
        }
        let (tools, kept) = tools_of(&result).map_err(|_| unreadable())?;
        if !tools.is_empty() {
            self.session.listed(tools);
        }
        Ok(kept)
    }

    /// Asks the client what the server wants to know, all at once, and waits for every answer.
    async fn ask_all(
        &self,
        asks: Vec<Ask>,
        capabilities: &RawValue,
    ) -> Result<Result<Vec<(String, Box<RawValue>)>, Fault>, UpstreamError> {
        let mut waiting = Vec::with_capacity(asks.len());
        for ask in asks {
            if !ask.need.is_declared(capabilities) {
                let message = "the server wants to know what this client cannot be asked";
                return Ok(Err(Fault::new(UNANSWERED, message)));
            }
            let (id, answer) = self.session.ask()?;
            let id = RawValue::from_string(id).map_err(|_| unreadable())?;
            let question = on_one_line(request(&id, ask.need.method(), ask.params.as_deref()));
            if self.outgoing.send(Heard::Note(question)).await.is_err() {
                let message = "the client has gone before it could be asked";
                return Ok(Err(Fault::new(UNANSWERED, message)));
            }
            waiting.push((ask, answer));
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for (ask, answer) in waiting {
            let said = match timeout(ANSWER, answer).await {
                Ok(Ok(said)) => said,
                Ok(Err(_)) | Err(_) => {
                    let message = "the client did not answer what the server wants to know";
                    return Ok(Err(Fault::new(UNANSWERED, message)));
                }
            };
            match (said, ask.need) {
                (Ok(answer), _) => answers.push((ask.key, answer)),
                // A client that cannot ask its user has not asked: the modern era has a word for that.
                (Err(_), Need::Elicitation) => {
                    let cancelled = RawValue::from_string(r#"{"action":"cancel"}"#.to_owned());
                    answers.push((ask.key, cancelled.map_err(|_| unreadable())?));
                }
                (Err(error), Need::Sampling | Need::Roots) => return Ok(Err(error)),
            }
        }
        Ok(Ok(answers))
    }
}
