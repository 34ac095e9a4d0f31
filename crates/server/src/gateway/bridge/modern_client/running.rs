//! A call that a legacy server works on, as a modern client hears of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_core::bridge::{
    Ask, Change, Fault, ForModern, Incoming, LogLevel, Need, Request, for_modern, log_level, notification,
    progress_token, with_progress_token,
};
use portcullis_core::wire::Method;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::session::Session;
use super::{answer_to, pong};
use crate::gateway::bridge::line::{Messages, unreadable};
use crate::gateway::bridge::reply::on_one_line;
use crate::gateway::upstream::UpstreamError;

/// Most questions that a call waits for the answers to.
const QUESTIONS: usize = 16;
/// How long after a question further ones are waited for, so that those which a server puts at once are asked at once.
const GATHERING: Duration = Duration::from_millis(50);
/// How often a stream that a server closes before its answer is taken up again.
const RESUMED: usize = 100;
/// The wait before that, unless the server names another; and the longest one.
const RESUME_WAIT: Duration = Duration::from_secs(1);
const LONGEST_RESUME_WAIT: Duration = Duration::from_secs(30);

/// A call's place in its session. Dropped before the answer came, it cancels the call at the server.
#[derive(Debug)]
pub(super) struct Ongoing {
    session: Arc<Session>,
    number: u64,
    waited_for: bool,
}

impl Ongoing {
    /// Gives a call its place, and what comes for it on the session's own stream.
    pub(super) fn begin(session: &Arc<Session>) -> Result<(Self, mpsc::Receiver<Incoming>), UpstreamError> {
        let (number, inbox) = session.begin()?;
        let ongoing = Self {
            session: Arc::clone(session),
            number,
            waited_for: true,
        };
        Ok((ongoing, inbox))
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The server does not work on it any more.
    pub(super) fn over(mut self) {
        self.waited_for = false;
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.session.over(self.number);
        if self.waited_for && self.session.is_open() {
            self.session.cancel(self.number);
        }
    }
}

/// The call.
#[derive(Debug)]
pub(super) struct Running {
    ongoing: Ongoing,
    inbox: mpsc::Receiver<Incoming>,
    messages: Messages,
    resumed: usize,
    method: Method,
    token: Option<Box<RawValue>>,
    level: Option<LogLevel>,
    /// What the server asked and has no answer to, each with the id that the answer echoes.
    asked: Vec<(Ask, Box<RawValue>)>,
    questions: usize,
    /// When the client is to be asked what has been gathered.
    ask_at: Option<Instant>,
}

/// What the client is to hear next.
pub(super) enum Step {
    /// This, on its stream.
    Note(Bytes),
    /// The answer.
    Done(Result<Box<RawValue>, Fault>),
    /// That the server wants to know something, and waits.
    Ask,
    /// That it is to ask its user this and call again: the server does not wait.
    Again(Vec<Ask>),
}

impl Running {
    pub(super) fn new(
        ongoing: Ongoing,
        inbox: mpsc::Receiver<Incoming>,
        messages: Messages,
        method: Method,
        request: &Request<'_>,
    ) -> Self {
        let mut running = Self {
            ongoing,
            inbox,
            messages,
            resumed: 0,
            method,
            token: None,
            level: None,
            asked: Vec::new(),
            questions: 0,
            ask_at: None,
        };
        running.wanted(request);
        running
    }

    /// What the request of this round wants to hear on the way.
    pub(super) fn wanted(&mut self, request: &Request<'_>) {
        self.token = request.progress_token().map(ToOwned::to_owned);
        self.level = request.level();
    }

    /// What the server waits for.
    pub(super) fn asks(&self) -> Vec<Ask> {
        self.asked.iter().map(|(ask, _)| ask.clone()).collect()
    }

    /// Takes the client's answers to the server, and says whether it has all of them now.
    pub(super) async fn answer(
        &mut self,
        answers: Vec<(String, Box<RawValue>)>,
    ) -> Result<bool, UpstreamError> {
        for (key, answer) in answers {
            // An answer to what nobody asked is nobody's.
            if let Some(place) = self.asked.iter().position(|(ask, _)| ask.key == key) {
                let (_, id) = self.asked.remove(place);
                self.ongoing.session.reply(answer_to(&id, Ok(&answer))).await?;
            }
        }
        Ok(self.asked.is_empty())
    }

    /// Waits for what the client is to hear next. Can be given up between two steps of the server's.
    pub(super) async fn step(&mut self) -> Result<Step, UpstreamError> {
        loop {
            let message = tokio::select! {
                message = self.messages.next() => match message? {
                    Some(message) => message,
                    None => {
                        self.resume().await?;
                        continue;
                    }
                },
                Some(message) = self.inbox.recv() => message,
                () = reached(self.ask_at) => {
                    self.ask_at = None;
                    return Ok(Step::Ask);
                }
            };
            match message {
                Incoming::Result { id, result } if self.is_own(&id) => {
                    self.ongoing.waited_for = false;
                    let server = self.ongoing.session.welcome().server();
                    let result = for_modern(&self.method, &result, server).map_err(|_| unreadable())?;
                    return Ok(Step::Done(Ok(result)));
                }
                Incoming::Error { id, error } if id.as_ref().is_none_or(|id| self.is_own(id)) => {
                    self.ongoing.waited_for = false;
                    return match ForModern::of(error).map_err(|_| unreadable())? {
                        ForModern::Error(error) => Ok(Step::Done(Err(error))),
                        ForModern::Ask(asks) => Ok(self.outside(asks)),
                    };
                }
                // Of another request than this one.
                Incoming::Result { .. } | Incoming::Error { .. } => {}
                Incoming::Notification { method, params } => {
                    if let Some(note) = self.note(&method, params.as_deref())? {
                        return Ok(Step::Note(note));
                    }
                }
                Incoming::Request { id, method, params } => {
                    self.question(id, &method, params).await?;
                }
            }
        }
    }

    /// A URL has to be opened first. Only a client that said it can is told so (MCP 2026-07-28).
    fn outside(&self, asks: Vec<Ask>) -> Step {
        if Need::Elicitation.is_declared(self.ongoing.session.capabilities()) && can_call_again(&self.method)
        {
            Step::Again(asks)
        } else {
            let message = "the server needs the user to open a URL, and the client cannot ask for that";
            Step::Done(Err(Fault::new(CANNOT_ASK, message)))
        }
    }

    fn note(&self, method: &str, params: Option<&RawValue>) -> Result<Option<Bytes>, UpstreamError> {
        if let Some(change) = Change::of(method, params) {
            self.ongoing.session.changed(change);
            return Ok(None);
        }
        match (method, params) {
            ("notifications/progress", Some(params)) => {
                let of_this = progress_token(params).is_some_and(|token| self.is_own(&token));
                let Some(token) = self.token.as_ref().filter(|_| of_this) else {
                    return Ok(None);
                };
                let params = with_progress_token(params, token).map_err(|_| unreadable())?;
                Ok(Some(on_one_line(notification(method, Some(&params)))))
            }
            ("notifications/message", Some(params)) => {
                let wanted = self
                    .level
                    .is_some_and(|from| log_level(params).is_some_and(|level| level >= from));
                Ok(wanted.then(|| on_one_line(notification(method, Some(params)))))
            }
            // No other is of this stream in the modern era.
            (_, Some(_) | None) => Ok(None),
        }
    }

    /// The server asks something itself.
    async fn question(
        &mut self,
        id: Box<RawValue>,
        method: &str,
        params: Option<Box<RawValue>>,
    ) -> Result<(), UpstreamError> {
        let session = &self.ongoing.session;
        if method == "ping" {
            return session.reply(pong(&id)).await;
        }
        let need = Need::of(method)
            .filter(|need| need.is_declared(session.capabilities()))
            .filter(|_| can_call_again(&self.method) && self.asked.len() < QUESTIONS);
        let Some(need) = need else {
            let refusal = Fault::new(-32601, "the client cannot be asked this");
            return session.reply(answer_to(&id, Err(&refusal))).await;
        };
        self.questions = self.questions.saturating_add(1);
        let key = format!("{}-{}", word(need), self.questions);
        self.asked.push((Ask { key, need, params }, id));
        let now = Instant::now();
        self.ask_at
            .get_or_insert(now.checked_add(GATHERING).unwrap_or(now));
        Ok(())
    }

    /// A server of 2025-11-25 may close a stream and let its client come back (Streamable HTTP, Resumability).
    async fn resume(&mut self) -> Result<(), UpstreamError> {
        let broken = || UpstreamError::BadAnswer {
            detail: "its stream ended without an answer",
        };
        let (last_event, wait) = self.messages.goes_on().ok_or_else(broken)?;
        if self.resumed >= RESUMED {
            return Err(broken());
        }
        self.resumed = self.resumed.saturating_add(1);
        let last_event = last_event.to_owned();
        sleep(wait.unwrap_or(RESUME_WAIT).min(LONGEST_RESUME_WAIT)).await;
        let session = &self.ongoing.session;
        let response = session
            .line()
            .transport(session.address(), Method::OpenStream, Some(&last_event))
            .await?;
        if !response.status().is_success() {
            return Err(broken());
        }
        self.messages = Messages::of(response).await?;
        Ok(())
    }

    fn is_own(&self, id: &RawValue) -> bool {
        id.get().parse() == Ok(self.ongoing.number)
    }
}

/// Waits until then; for ever where there is no such time.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The gateway's own codes are -31000 minus the status that says the same.
const CANNOT_ASK: i64 = -31_400;

/// Only these can be answered with "input required" (MCP 2026-07-28, Multi Round-Trip).
fn can_call_again(method: &Method) -> bool {
    matches!(
        method,
        Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead
    )
}

fn word(need: Need) -> &'static str {
    match need {
        Need::Elicitation => "elicitation",
        Need::Sampling => "sampling",
        Need::Roots => "roots",
    }
}
