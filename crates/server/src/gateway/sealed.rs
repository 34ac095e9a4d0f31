//! Answers that change on their way because of sealed fields: results are sealed, and the extension is announced.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use portcullis_core::forward;
use portcullis_core::ids::KeyId;
use portcullis_core::jose::jwe::PayloadOpener;
use portcullis_core::jose::jws::TokenSigner;
use portcullis_core::wire::RequestId;
use portcullis_guard::{SealedAnswer, SealingKeys, UpstreamError};
use portcullis_net::fetch::Body;
use serde_json::Value;

use super::events::{Event, Splitter};
use super::list::{Filter, Unfit, whole};
use crate::custody::Keyring;

/// Longest wait for a whole result once its head is there.
const RESULT_TIME: Duration = Duration::from_secs(600);
/// Most calls of one session of whose results it is known how they are sealed.
const CALLS: usize = 256;
/// Most sessions with such calls.
const SESSIONS: usize = 10_000;

/// What happens to each message of an answer.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A result is sealed.
    Seal(SealedAnswer),
    /// The server's capabilities say of the extension what is configured here.
    Announce(Value),
    /// A session's own stream, on which a result can come again after a broken connection: it is sealed as it was.
    Again {
        sealed: Arc<Repeated>,
        session: Box<str>,
        filter: Box<Filter>,
    },
}

impl Change {
    async fn message(&self, message: &[u8]) -> Result<Vec<u8>, Unfit> {
        match self {
            Self::Seal(answer) => answer.message(message).await.map_err(|problem| {
                tracing::warn!(code = problem.code(), %problem, "a result could not be sealed, and was not passed on");
                Unfit::NotSealed
            }),
            Self::Announce(said) => forward::announce(message, said).map_err(|_| Unfit::Unreadable),
            Self::Again { sealed, session, filter } => match sealed.of(session, message) {
                Was::Sealed(answer) => Box::pin(Self::Seal(answer).message(message)).await,
                Was::Unknown => Err(Unfit::NotSealed),
                Was::NoResult => filter.passing(message),
            },
        }
    }

    /// A whole JSON answer.
    pub(super) async fn json(&self, body: Body) -> Result<Bytes, UpstreamError> {
        let body = tokio::time::timeout(RESULT_TIME, whole(body))
            .await
            .map_err(|_| UpstreamError::TimedOut)??;
        let changed = self.message(&body).await;
        changed
            .map(Bytes::from)
            .map_err(|unfit| UpstreamError::BadAnswer {
                detail: unfit.detail(),
            })
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

impl SealingKeys for Keyring {
    fn signer(&self) -> Arc<dyn TokenSigner> {
        Self::signer(self)
    }

    fn opener(&self, kid: &KeyId) -> Option<Arc<dyn PayloadOpener>> {
        Self::opener(self, kid)
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
            if let Some(bytes) = self.splitter.next().map_err(|_| Unfit::TooLarge)? {
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

    async fn event(&self, bytes: Bytes) -> Result<Bytes, Unfit> {
        let event = Event::read(&bytes);
        match &event.data {
            Some(data) if !data.is_empty() => {
                let changed = self.change.message(data).await?;
                Ok(if changed == *data {
                    bytes
                } else {
                    event.with_data(&changed)
                })
            }
            // Comments, and the event that only gives a client an id to come back with.
            Some(_) | None => Ok(bytes),
        }
    }
}

/// How the results of a session's calls are sealed, should they come again on another stream.
#[derive(Debug, Default)]
pub(super) struct Repeated(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<Box<str>, VecDeque<(RequestId, SealedAnswer)>>,
    order: VecDeque<Box<str>>,
}

enum Was {
    Sealed(SealedAnswer),
    /// A result in a session with sealed calls, and of none that is known.
    Unknown,
    NoResult,
}

impl Repeated {
    /// Remembers a call. Gives the session that made room for its own and must end: nothing of it could be sealed any more.
    pub(super) fn note(&self, session: &str, id: RequestId, answer: SealedAnswer) -> Option<Box<str>> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = table.sessions.contains_key(session);
        let calls = table.sessions.entry(session.into()).or_default();
        if calls.len() >= CALLS {
            calls.pop_front();
        }
        calls.push_back((id, answer));
        if known {
            return None;
        }
        table.order.push_back(session.into());
        if table.sessions.len() <= SESSIONS {
            return None;
        }
        let oldest = table.order.pop_front()?;
        drop(table.sessions.remove(&oldest));
        Some(oldest)
    }

    fn of(&self, session: &str, message: &[u8]) -> Was {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(calls) = table.sessions.get(session) else {
            return Was::NoResult;
        };
        let Ok(Value::Object(message)) = serde_json::from_slice::<Value>(message) else {
            return Was::Unknown;
        };
        if !message.contains_key("result") && !message.contains_key("error") {
            return Was::NoResult;
        }
        let id = message.get("id");
        let same = |known: &RequestId| serde_json::from_str::<Value>(known.as_json()).ok().as_ref() == id;
        calls
            .iter()
            .rev()
            .find(|(known, _)| same(known))
            .map_or(Was::Unknown, |(_, answer)| Was::Sealed(answer.clone()))
    }
}
