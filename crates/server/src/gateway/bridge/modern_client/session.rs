//! One legacy session that the bridge has at a server, for one principal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::StatusCode;
use portcullis_core::bridge::{
    Change, Fault, INITIALIZED, Incoming, LogLevel, Welcome, notification, progress_token, request,
};
use portcullis_core::wire::{Kind, Method};
use serde_json::value::RawValue;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::sessions::NotOpened;
use super::{answer_to, graver, pong};
use crate::gateway::bridge::line::{Address, Line, Messages, answered, media_type, unreadable};
use crate::gateway::bridge::reply::number;
use crate::gateway::upstream::UpstreamError;

/// Most calls that one session has at one time.
const CALLS: usize = 256;
/// Messages that wait for a call which they came for on the session's own stream.
const INBOX: usize = 16;
/// Changes that wait for whoever listens.
const CHANGES: usize = 64;
/// A session that nobody used for this long is ended.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// The wait before a session's stream is opened again; it doubles, up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A session. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Session {
    line: Line,
    address: Address,
    welcome: Welcome,
    capabilities: Box<RawValue>,
    state: Mutex<State>,
    changes: broadcast::Sender<Change>,
    /// Cancelled when it has ended.
    ended: CancellationToken,
}

#[derive(Debug)]
struct State {
    last_number: u64,
    calls: HashMap<u64, mpsc::Sender<Incoming>>,
    level: Option<LogLevel>,
    /// How many listen for each resource.
    resources: HashMap<String, usize>,
    used: Instant,
}

impl Session {
    /// Begins a session for a client with these capabilities.
    pub(super) async fn open(
        line: Line,
        capabilities: &RawValue,
        client: &RawValue,
    ) -> Result<Arc<Self>, NotOpened> {
        let hello = Welcome::request(&number(0), capabilities, client).map_err(|_| unreadable())?;
        let response = line
            .legacy(None, Kind::Request, Method::Initialize, hello)
            .await?;
        if !response.status().is_success() || media_type(response.headers()).is_none() {
            return Err(NotOpened::Refused(Box::new(response)));
        }
        let headers = response.headers().clone();
        let welcome = match answered(response).await? {
            Some(Incoming::Result { result, .. }) => {
                Welcome::read(&result).map_err(|_| UpstreamError::BadAnswer {
                    detail: "it begins a session in a revision that is not known here",
                })?
            }
            Some(Incoming::Error { error, .. }) => {
                tracing::warn!(code = error.code, "a server does not begin a session");
                return Err(UpstreamError::BadAnswer {
                    detail: "it does not begin a session",
                }
                .into());
            }
            Some(Incoming::Request { .. } | Incoming::Notification { .. }) | None => {
                return Err(unreadable().into());
            }
        };
        let address = Address::given(&headers, welcome.version())?;
        let note = Method::Notification(INITIALIZED.into());
        let told = notification(INITIALIZED, None);
        line.tell(&address, Kind::Notification, note, told).await?;
        let (changes, _) = broadcast::channel(CHANGES);
        let session = Arc::new(Self {
            line: line.untraced(),
            address,
            welcome,
            capabilities: capabilities.to_owned(),
            state: Mutex::new(State {
                last_number: 0,
                calls: HashMap::new(),
                level: None,
                resources: HashMap::new(),
                used: Instant::now(),
            }),
            changes,
            ended: CancellationToken::new(),
        });
        tokio::spawn(follow(
            Arc::downgrade(&session),
            session.line.clone(),
            session.address.clone(),
            session.ended.clone(),
        ));
        Ok(session)
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    pub(super) fn capabilities(&self) -> &RawValue {
        &self.capabilities
    }

    /// Whether it can still be used.
    pub(super) fn is_open(&self) -> bool {
        !self.ended.is_cancelled()
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// It is of no more use: the server knows it no longer, or nobody needs it.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// When it was last used, and whether it is now.
    pub(super) fn used(&self) -> (Instant, bool) {
        let state = self.state();
        (
            state.used,
            !state.calls.is_empty() || self.changes.receiver_count() > 0,
        )
    }

    /// Gives a call a number, and what comes for it on the session's own stream.
    pub(super) fn begin(&self) -> Result<(u64, mpsc::Receiver<Incoming>), UpstreamError> {
        let mut state = self.state();
        if state.calls.len() >= CALLS {
            return Err(UpstreamError::Busy);
        }
        let (sender, inbox) = mpsc::channel(INBOX);
        let number = state.number();
        state.calls.insert(number, sender);
        Ok((number, inbox))
    }

    /// Forgets a call.
    pub(super) fn over(&self, number: u64) {
        let mut state = self.state();
        state.calls.remove(&number);
        state.used = Instant::now();
    }

    /// Hears of changes from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Something changed.
    pub(super) fn changed(&self, change: Change) {
        // An error is that nobody listens.
        let _nobody = self.changes.send(change);
    }

    /// Sees to it that the server writes log messages of this gravity. Each call gets what it asked for, so more may be written.
    pub(super) async fn log_from(&self, level: LogLevel) {
        {
            let mut state = self.state();
            if !graver(state.level, level) {
                return;
            }
            state.level = Some(level);
        }
        if self.welcome.can("logging", None) {
            let params = format!(r#"{{"level":"{}"}}"#, level.as_str());
            self.ask(Method::LoggingSetLevel, &params).await;
        }
    }

    /// Subscribes to a resource, unless somebody has. Says whether the server agreed.
    pub(super) async fn subscribe(&self, uri: &str) -> bool {
        {
            let mut state = self.state();
            let listeners = state.resources.entry(uri.to_owned()).or_default();
            *listeners = listeners.saturating_add(1);
            if *listeners > 1 {
                return true;
            }
        }
        let agreed = self.ask(Method::ResourcesSubscribe, &about(uri)).await;
        if !agreed {
            self.forget_resource(uri);
        }
        agreed
    }

    /// Ends the subscriptions of one who listened.
    pub(super) async fn unsubscribe(&self, uris: &[String]) {
        for uri in uris {
            if self.forget_resource(uri) && self.is_open() {
                self.ask(Method::ResourcesUnsubscribe, &about(uri)).await;
            }
        }
    }

    /// Says whether it was the last who listened.
    fn forget_resource(&self, uri: &str) -> bool {
        let mut state = self.state();
        let Some(listeners) = state.resources.get_mut(uri) else {
            return false;
        };
        *listeners = listeners.saturating_sub(1);
        let last = *listeners == 0;
        if last {
            state.resources.remove(uri);
        }
        last
    }

    /// Asks the server for something of the bridge's own, and says whether it agreed.
    async fn ask(&self, method: Method, params: &str) -> bool {
        let id = number(self.state().number());
        let params = RawValue::from_string(params.to_owned()).ok();
        let body = request(&id, method.as_str(), params.as_deref());
        let answer = async {
            let response = self
                .line
                .legacy(Some(&self.address), Kind::Request, method, body)
                .await?;
            answered(response).await
        };
        matches!(answer.await, Ok(Some(Incoming::Result { .. })))
    }

    /// Answers what the server asked.
    pub(super) async fn reply(&self, body: Vec<u8>) -> Result<(), UpstreamError> {
        let told = self
            .line
            .tell(&self.address, Kind::Response, Method::Response, body);
        self.heard_of(told.await?)
    }

    /// Tells the server that nobody waits for a call any more.
    pub(super) fn cancel(self: &Arc<Self>, call: u64) {
        const CANCELLED: &str = "notifications/cancelled";
        let params = format!(r#"{{"requestId":{call},"reason":"the client no longer waits"}}"#);
        let params = RawValue::from_string(params).ok();
        let body = notification(CANCELLED, params.as_deref());
        let session = Arc::clone(self);
        detached(async move {
            let method = Method::Notification(CANCELLED.into());
            let told = session
                .line
                .tell(&session.address, Kind::Notification, method, body);
            if let Err(error) = told.await {
                tracing::debug!(%error, "a server was not told that a call is cancelled");
            }
        });
    }

    fn heard_of(&self, status: StatusCode) -> Result<(), UpstreamError> {
        if status == StatusCode::NOT_FOUND && self.address.session.is_some() {
            self.end();
        }
        if status.is_success() {
            Ok(())
        } else {
            Err(UpstreamError::BadAnswer {
                detail: "it does not take an answer to what it asked",
            })
        }
    }

    /// Takes what came on the session's own stream to where it belongs.
    async fn take(&self, message: Incoming) {
        match message {
            Incoming::Notification { method, params } => {
                if let Some(change) = Change::of(&method, params.as_deref()) {
                    return self.changed(change);
                }
                let call = self.call_of(params.as_deref());
                let message = Incoming::Notification { method, params };
                if let Some(call) = call {
                    // A call that does not read misses it.
                    let _full = call.try_send(message);
                }
            }
            Incoming::Request { id, method, params } if method != "ping" => {
                let refusal = answer_to(&id, Err(&Fault::new(-32601, "nobody here can be asked")));
                let message = Incoming::Request { id, method, params };
                let taken = self
                    .call_of(None)
                    .is_some_and(|call| call.try_send(message).is_ok());
                if !taken && let Err(error) = self.reply(refusal).await {
                    tracing::debug!(%error, "a server's question was for nobody");
                }
            }
            Incoming::Request { id, .. } => drop(self.reply(pong(&id)).await),
            Incoming::Result { .. } | Incoming::Error { .. } => {}
        }
    }

    /// The call that a message belongs to: the one that it names, or the only one there is.
    fn call_of(&self, params: Option<&RawValue>) -> Option<mpsc::Sender<Incoming>> {
        let state = self.state();
        if let Some(token) = params.and_then(progress_token) {
            let call = token.get().parse().ok()?;
            return state.calls.get(&call).cloned();
        }
        let mut calls = state.calls.values();
        match (calls.next(), calls.next()) {
            (Some(only), None) => Some(only.clone()),
            (None | Some(_), _) => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.used = Instant::now();
        self.last_number = self.last_number.saturating_add(1);
        self.last_number
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let known = self.is_open() && self.address.session.is_some();
        self.ended.cancel();
        if known {
            let (line, address) = (self.line.clone(), self.address.clone());
            detached(async move {
                // A server that does not let sessions be ended forgets them by itself.
                drop(line.transport(&address, Method::EndSession, None).await);
            });
        }
    }
}

/// Runs something that nobody waits for, where there is still anything to run on.
fn detached(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        drop(runtime.spawn(work));
    }
}

fn about(uri: &str) -> String {
    serde_json::json!({ "uri": uri }).to_string()
}

/// Whether a server has ever opened a session's own stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Had {
    Yes,
    No,
}

/// Keeps a session's own stream open for as long as there is the session, and ends it when nobody uses it.
async fn follow(session: Weak<Session>, line: Line, address: Address, ended: CancellationToken) {
    let following = async {
        let mut wait = FIRST_WAIT;
        let mut last_event: Option<String> = None;
        let mut had = Had::No;
        loop {
            let opened = line
                .transport(&address, Method::OpenStream, last_event.as_deref())
                .await;
            match opened {
                Ok(response) if response.status().is_success() => {
                    let Ok(mut messages) = Messages::of(response).await else {
                        return;
                    };
                    had = Had::Yes;
                    while let Ok(Some(message)) = messages.next().await {
                        wait = FIRST_WAIT;
                        let Some(session) = session.upgrade() else { return };
                        session.take(message).await;
                    }
                    if let Some((id, retry)) = messages.goes_on() {
                        last_event = Some(id.to_owned());
                        wait = retry.unwrap_or(wait).clamp(FIRST_WAIT, LONGEST_WAIT);
                    }
                }
                // Where there was a stream, this is about the session; where there was none, only an answer to a call says so.
                Ok(response)
                    if had == Had::Yes
                        && response.status() == StatusCode::NOT_FOUND
                        && address.session.is_some() =>
                {
                    if let Some(session) = session.upgrade() {
                        session.end();
                    }
                    return;
                }
                // MCP, Streamable HTTP: a server need not have such a stream.
                Ok(response) if response.status().is_client_error() => return,
                Ok(_) | Err(_) => {}
            }
            sleep(wait).await;
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        }
    };
    let resting = async {
        loop {
            sleep(IDLE.div_f32(4.0)).await;
            let Some(session) = session.upgrade() else { return };
            let (used, in_use) = session.used();
            if !in_use && used.elapsed() >= IDLE {
                return;
            }
        }
    };
    let unended = async {
        following.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = unended => {}
        () = resting => {}
        () = ended.cancelled() => return,
    }
    if let Some(session) = session.upgrade() {
        // Known to the server still, so it is told.
        drop(line.transport(&address, Method::EndSession, None).await);
        session.end();
    }
}
