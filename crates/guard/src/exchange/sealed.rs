//! Answers that change on their way because of sealed fields: results are sealed, what could be one in clear is withheld,
//! and the extension is announced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use portcullis_core::forward::{self, ServerMessage};
use serde_json::Value;

use super::Body;
use super::calls::{Calls, Place, Whose};
use super::events::{Event, Splitter};
use super::list::{Filter, Unfit, whole};
use crate::reason::UpstreamError;
use crate::sealing::SealedAnswer;

/// Longest wait for a whole result once its head is there.
const RESULT_TIME: Duration = Duration::from_secs(600);

/// What happens to each message of an answer.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// To a call with sealed fields.
    Seal {
        answer: SealedAnswer,
        calls: Arc<Calls>,
        /// Where the call is remembered, if it is.
        place: Option<Place>,
    },
    /// To anything else at a server that has sealed fields.
    Watch(Box<Watch>),
}

/// Looks at the messages of an answer that is not itself to be sealed, for results that do not belong there.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// The id of the request that is answered: none on a session's own stream.
    pub(super) id: Option<Value>,
    pub(super) own: Own,
    pub(super) calls: Arc<Calls>,
    pub(super) whose: Whose,
    /// The JSON-RPC error that takes the place of what is withheld, but for its id.
    pub(super) instead: Bytes,
    /// Set when something was withheld.
    pub(super) withheld: Arc<AtomicBool>,
}

/// What happens to the result of the request that is answered.
#[derive(Clone, Debug)]
pub(super) enum Own {
    /// It is handed on as it is.
    Passes,
    /// The server's capabilities say of the extension what is configured here.
    Announce(Value),
    /// A list of tools is filtered.
    List(Filter),
    /// Of a tool without sealed results: so is the task as which it may come.
    OfTool,
    /// Of a task of which nobody knows here whether its tool has sealed results.
    OfTask,
}

impl Change {
    /// The message as it is handed on; nothing for one that nobody waits for and nobody may see.
    async fn message(&self, message: &[u8]) -> Result<Option<Vec<u8>>, Unfit> {
        match self {
            Self::Seal { answer, calls, place } => {
                let sealed = seal(answer, message).await?;
                match ServerMessage::read(message).map_err(|_| Unfit::Unreadable)? {
                    ServerMessage::OnTheWay { .. } => return Ok(Some(sealed)),
                    ServerMessage::Result { task: Some(task), .. } if !answer.seals_results() => {
                        calls.note_clear_task(&task);
                    }
                    ServerMessage::Result { .. } | ServerMessage::Error { .. } => {}
                }
                if let Some(place) = place {
                    calls.answered(*place);
                }
                Ok(Some(sealed))
            }
            Self::Watch(watch) => watch.message(message).await,
        }
    }

    /// A whole JSON answer.
    pub(super) async fn json(&self, body: Body) -> Result<Bytes, UpstreamError> {
        let body = tokio::time::timeout(RESULT_TIME, whole(body))
            .await
            .map_err(|_| UpstreamError::TimedOut)??;
        let changed = self
            .message(&body)
            .await
            .map_err(|unfit| UpstreamError::BadAnswer {
                detail: unfit.detail(),
            })?;
        changed.map(Bytes::from).ok_or(UpstreamError::Withheld)
    }

    /// A stream of events. Each goes on when it is complete; one that may not be passed on ends the stream with [`Unfit`].
    pub(super) fn events(self, body: Body) -> Body {
        let passing = Passing {
            body,
            splitter: Splitter::default(),
            change: self,
        };
        let frames = stream::try_unfold(passing, async |mut passing: Passing| {
            let event = passing.next().await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(
                event.map(|event| (Frame::data(event), passing)),
            )
        });
        Body::new(StreamBody::new(frames))
    }
}

async fn seal(answer: &SealedAnswer, message: &[u8]) -> Result<Vec<u8>, Unfit> {
    answer.message(message).await.map_err(|problem| {
        tracing::warn!(code = problem.code(), %problem, "a result could not be sealed, and was not passed on");
        Unfit::NotSealed
    })
}

impl Watch {
    async fn message(&self, message: &[u8]) -> Result<Option<Vec<u8>>, Unfit> {
        // Of two messages in one, or one that can be read in two ways, nobody knows which one is looked at.
        let (id, task) = match ServerMessage::read(message).map_err(|_| Unfit::Unreadable)? {
            ServerMessage::OnTheWay { method, task } => return Ok(self.on_the_way(&method, task, message)),
            ServerMessage::Result { id, task } => (Some(id), task),
            ServerMessage::Error { id } => (id, None),
        };
        // An error without an id is about the request that is answered.
        let is_own =
            |own: &Value| id.as_ref().is_none_or(|id| id == own) && !self.calls.claims(&self.whose, own);
        if self.id.as_ref().is_some_and(is_own) {
            return self.own(task, message).map(Some);
        }
        let known = id.as_ref().and_then(|id| self.calls.find(&self.whose, id));
        match known {
            Some(answer) => match seal(&answer, message).await {
                Ok(sealed) => Ok(Some(sealed)),
                // Of a session that was ended, say. The stream is for other calls too.
                Err(_) => Ok(Some(self.instead(id))),
            },
            None => Ok(Some(self.instead(id))),
        }
    }

    /// A request or notification. One that tells how a task went can have its result.
    fn on_the_way(&self, method: &str, task: Option<String>, message: &[u8]) -> Option<Vec<u8>> {
        let tells = method.starts_with("notifications/tasks");
        if tells && !task.is_some_and(|task| self.calls.is_clear_task(&task)) {
            self.withheld.store(true, Ordering::Relaxed);
            return None;
        }
        Some(message.to_vec())
    }

    fn own(&self, task: Option<String>, message: &[u8]) -> Result<Vec<u8>, Unfit> {
        match &self.own {
            Own::Passes => {}
            Own::Announce(said) => return forward::announce(message, said).map_err(|_| Unfit::Unreadable),
            Own::List(filter) => return filter.message(message),
            Own::OfTool => {
                if let Some(task) = task {
                    self.calls.note_clear_task(&task);
                }
            }
            Own::OfTask => return Ok(self.instead(self.id.clone())),
        }
        Ok(message.to_vec())
    }

    /// What takes the place of an answer that is withheld.
    fn instead(&self, id: Option<Value>) -> Vec<u8> {
        self.withheld.store(true, Ordering::Relaxed);
        let mut instead: Value = serde_json::from_slice(&self.instead).unwrap_or_default();
        if let (Some(instead), Some(id)) = (instead.as_object_mut(), id) {
            instead.insert("id".to_owned(), id);
        }
        instead.to_string().into_bytes()
    }
}

struct Passing {
    body: Body,
    splitter: Splitter,
    change: Change,
}

impl Passing {
    async fn next(&mut self) -> Result<Option<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
        loop {
            if let Some(bytes) = self.splitter.event().map_err(|_| Unfit::TooLarge)? {
                return Ok(Some(self.event(bytes).await?));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            if let Some(bytes) = frame?.data_ref() {
                self.splitter.push(bytes);
            }
        }
    }

    async fn event(&mut self, bytes: Bytes) -> Result<Bytes, Unfit> {
        let event = Event::read(&bytes);
        match &event.data {
            Some(data) if !data.is_empty() => {
                Ok(match self.change.message(data).await? {
                    Some(changed) if changed == *data => bytes,
                    Some(changed) => event.with_data(&changed),
                    // Its id stays, so that a client that comes back goes on from here.
                    None => event.without_data(),
                })
            }
            // Comments, and the event that only gives a client an id to come back with.
            Some(_) | None => Ok(bytes),
        }
    }
}
