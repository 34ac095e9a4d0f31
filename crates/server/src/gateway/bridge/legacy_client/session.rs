//! One session that the bridge gave to a legacy client.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_core::bridge::{Fault, Filter, Found, LogLevel, Parameters, Stamp};
use portcullis_core::ids::{Principal, ToolName};
use serde_json::value::RawValue;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gateway::bridge::line::Line;
use crate::gateway::upstream::UpstreamError;

/// Most calls that one session has at one time.
const CALLS: usize = 256;
/// Most questions of one session that wait for an answer.
const QUESTIONS: usize = 64;
/// Most resources that one session hears of.
const RESOURCES: usize = 256;
/// Most tools of one session whose headers are remembered.
const TOOLS: usize = 10_000;

/// What the client said to a question.
pub(super) type Said = Result<Box<RawValue>, Fault>;

/// A session.
#[derive(Debug)]
pub(in crate::gateway::bridge) struct Session {
    line: Line,
    found: Found,
    state: Mutex<State>,
    /// Told when the client wants to hear of other resources.
    resources: watch::Sender<BTreeSet<String>>,
    ended: CancellationToken,
}

/// A call that is under way, and is over when this is dropped.
#[derive(Debug)]
pub(super) struct Call {
    session: Arc<Session>,
    id: String,
    given_up: CancellationToken,
}

/// Why a call does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotBegun {
    /// The session has as many as it may.
    Busy,
    /// One with this id is under way: which of them is answered or cancelled could not be told (JSON-RPC 2.0 §4).
    Running,
}

impl Call {
    /// Waits until the client gives it up, or the session ends.
    pub(super) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.session.state();
        state.calls.remove(&self.id);
        state.used = Instant::now();
    }
}

#[derive(Debug)]
struct State {
    stamp: Stamp,
    last_number: u64,
    calls: HashMap<String, CancellationToken>,
    questions: HashMap<String, oneshot::Sender<Said>>,
    tools: Option<HashMap<ToolName, Parameters>>,
    stream: CancellationToken,
    used: Instant,
}

impl Session {
    pub(super) fn new(line: Line, stamp: Stamp, found: Found) -> Self {
        let ended = CancellationToken::new();
        Self {
            line,
            found,
            state: Mutex::new(State {
                stamp,
                last_number: 0,
                calls: HashMap::new(),
                questions: HashMap::new(),
                tools: None,
                stream: ended.child_token(),
                used: Instant::now(),
            }),
            resources: watch::Sender::default(),
            ended,
        }
    }

    pub(super) fn of(&self) -> &Principal {
        &self.line.principal
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// When it was last used.
    pub(super) fn used(&self) -> Instant {
        self.state().used
    }

    pub(super) fn touch(&self) {
        self.state().used = Instant::now();
    }

    /// Gives up its calls, and closes its stream.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    #[cfg(test)]
    pub(super) fn is_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// What each call of the session says.
    pub(super) fn stamp(&self) -> Stamp {
        self.state().stamp.clone()
    }

    /// A number that no other request of the bridge's has in this session.
    pub(super) fn number(&self) -> u64 {
        let mut state = self.state();
        state.last_number = state.last_number.saturating_add(1);
        state.last_number
    }

    /// From now on, calls get log messages of this gravity.
    pub(super) fn log_from(&self, level: LogLevel) {
        self.state().stamp.level = Some(level);
    }

    /// Begins a call.
    pub(super) fn begin(self: &Arc<Self>, id: &RawValue) -> Result<Call, NotBegun> {
        let id = canonical(id);
        let mut state = self.state();
        if state.calls.contains_key(&id) {
            return Err(NotBegun::Running);
        }
        if state.calls.len() >= CALLS {
            return Err(NotBegun::Busy);
        }
        let given_up = self.ended.child_token();
        state.calls.insert(id.clone(), given_up.clone());
        Ok(Call {
            session: Arc::clone(self),
            id,
            given_up,
        })
    }

    /// The client gives a call up. Its id is free again when the call is over.
    pub(super) fn cancel(&self, id: &RawValue) {
        if let Some(call) = self.state().calls.get(&canonical(id)) {
            call.cancel();
        }
    }

    /// Puts a question, and says under which id, and where the answer comes.
    pub(super) fn ask(&self) -> Result<(String, oneshot::Receiver<Said>), UpstreamError> {
        let mut state = self.state();
        state.questions.retain(|_, waiting| !waiting.is_closed());
        if state.questions.len() >= QUESTIONS {
            return Err(UpstreamError::Busy);
        }
        state.last_number = state.last_number.saturating_add(1);
        let id = format!("\"portcullis-{}\"", state.last_number);
        let (sender, answer) = oneshot::channel();
        state.questions.insert(id.clone(), sender);
        Ok((id, answer))
    }

    /// The client answers a question. What nobody asked is nobody's.
    pub(super) fn answer(&self, id: &RawValue, said: Said) {
        let waiting = self.state().questions.remove(&canonical(id));
        if let Some(waiting) = waiting {
            // An error is that the call has been given up.
            drop(waiting.send(said));
        }
    }

    /// The arguments of a tool that go into headers; `None` when the tools have not been listed.
    pub(super) fn parameters(&self, tool: &ToolName) -> Option<Parameters> {
        let state = self.state();
        Some(state.tools.as_ref()?.get(tool).cloned().unwrap_or_default())
    }

    /// Notes what a list of tools said.
    pub(super) fn listed(&self, tools: HashMap<ToolName, Parameters>) {
        let mut state = self.state();
        let known = state.tools.get_or_insert_default();
        for (tool, parameters) in tools {
            if known.len() >= TOOLS {
                return;
            }
            known.insert(tool, parameters);
        }
    }

    /// What lists of tools said holds no more.
    pub(super) fn unlisted(&self) {
        self.state().tools = None;
    }

    /// Hears of a resource's changes.
    pub(super) fn subscribe(&self, uri: String) -> Result<(), Fault> {
        let mut full = false;
        self.resources.send_if_modified(|uris| {
            full = uris.len() >= RESOURCES && !uris.contains(&uri);
            !full && uris.insert(uri)
        });
        if full {
            Err(Fault::new(
                TOO_MANY,
                "the session has as many subscriptions as it may",
            ))
        } else {
            Ok(())
        }
    }

    /// Hears of them no more.
    pub(super) fn unsubscribe(&self, uri: &str) {
        self.resources.send_if_modified(|uris| uris.remove(uri));
    }

    /// The resources that it hears of, and when they change.
    pub(super) fn resources(&self) -> watch::Receiver<BTreeSet<String>> {
        self.resources.subscribe()
    }

    /// What is to be heard of, as far as the server tells it.
    pub(super) fn filter(&self, resources: &BTreeSet<String>) -> Filter {
        let subscribes = self.found.can("resources", Some("subscribe"));
        Filter {
            tools: self.found.can("tools", Some("listChanged")),
            prompts: self.found.can("prompts", Some("listChanged")),
            resources: self.found.can("resources", Some("listChanged")),
            uris: resources.iter().filter(|_| subscribes).cloned().collect(),
        }
    }

    /// Takes the session's stream. Whoever had it before gets no more.
    pub(super) fn take_stream(&self) -> CancellationToken {
        let mut state = self.state();
        state.stream.cancel();
        state.stream = self.ended.child_token();
        state.stream.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gateway's own codes are -31000 minus the status that says the same.
const TOO_MANY: i64 = -31_429;

/// One spelling for all JSON texts of the same id.
fn canonical(id: &RawValue) -> String {
    serde_json::from_str::<serde_json::Value>(id.get())
        .map_or_else(|_| id.get().to_owned(), |value| value.to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use portcullis_core::bridge::Request;
    use portcullis_core::forward::{Outbound, UpstreamCredential};
    use portcullis_core::ids::{ClientId, Issuer, Subject};

    use super::*;
    use crate::gateway::upstream::{Answer, CallInfo, Upstream};

    /// Never answers.
    #[derive(Debug)]
    struct Silent;

    impl Upstream for Silent {
        fn credential(&self) -> &UpstreamCredential {
            &UpstreamCredential::None
        }

        fn call<'a>(&'a self, _: &'a Principal, _: Outbound, _: &'a CallInfo) -> Answer<'a> {
            Box::pin(std::future::pending())
        }
    }

    /// Somebody.
    pub(in super::super) fn principal(of: &str) -> Principal {
        Principal {
            issuer: Issuer::parse("https://as.example").unwrap(),
            subject: Subject::parse(of).unwrap(),
            client: ClientId::parse("agent").unwrap(),
        }
    }

    /// A session of somebody's.
    pub(in super::super) fn session(of: &str) -> Session {
        let principal = principal(of);
        let outbound = Outbound {
            method: http::Method::POST,
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
        };
        let upstream: Arc<dyn Upstream> = Arc::new(Silent);
        let found = r#"{"supportedVersions":["2026-07-28"],"capabilities":{"resources":{"subscribe":true}}}"#;
        let found = Found::read(&RawValue::from_string(found.to_owned()).unwrap()).unwrap();
        Session::new(
            Line::of(&upstream, &principal, &outbound),
            Stamp::of(None, None).unwrap(),
            found,
        )
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn calls_questions_and_resources_at_the_limit_and_one_past_it() {
        let session = Arc::new(session("one"));
        let begin = |id: &str| session.begin(&raw(id));
        let mut calls: Vec<Call> = (0..CALLS)
            .map(|number| begin(&number.to_string()).unwrap())
            .collect();
        assert_eq!(begin("\"x\"").unwrap_err(), NotBegun::Busy);
        calls.pop();
        let call = begin("\"x\"").unwrap();
        session.cancel(&raw("\"\\u0078\""));
        call.given_up().await;
        assert_eq!(begin("\"x\"").unwrap_err(), NotBegun::Running, "not over yet");
        drop(call);
        assert!(!begin("\"x\"").unwrap().given_up.is_cancelled());

        let mut waiting: Vec<_> = (0..QUESTIONS).map(|_| session.ask().unwrap()).collect();
        assert!(session.ask().is_err());
        waiting.pop();
        let (id, answer) = session.ask().unwrap();
        session.answer(&raw(&id), Ok(raw("{}")));
        assert!(answer.await.unwrap().is_ok());

        for number in 0..RESOURCES {
            session.subscribe(number.to_string()).unwrap();
        }
        assert!(session.subscribe("0".to_owned()).is_ok(), "one that it has");
        assert!(session.subscribe("x".to_owned()).is_err());
        session.unsubscribe("0");
        assert!(session.subscribe("x".to_owned()).is_ok());
        let filter = session.filter(&session.resources().borrow());
        assert_eq!((filter.uris.len(), filter.tools), (RESOURCES, false));
    }

    #[tokio::test]
    async fn the_stream_is_the_last_one_s() {
        let session = session("one");
        let first = session.take_stream();
        let second = session.take_stream();
        assert!(first.is_cancelled() && !second.is_cancelled());
        session.end();
        assert!(second.is_cancelled());
    }

    #[test]
    fn ids_are_compared_however_they_are_spelled() {
        let body = br#"{"id":"a\u0062","method":"x"}"#;
        assert_eq!(canonical(Request::read(body).unwrap().id().unwrap()), "\"ab\"");
    }
}
