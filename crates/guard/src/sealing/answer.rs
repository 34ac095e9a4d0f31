//! The server's answer to a call with sealed fields.

use std::fmt;
use std::sync::{Arc, Weak};

use portcullis_core::forward::ServerMessage;
use portcullis_core::jose::jwe::ContentEncryption;
use portcullis_core::jose::jwk::EncryptionKey;
use portcullis_core::seal::session::Session;
use portcullis_core::seal::{self, BoundCall, NestedSealer, canonical};
use serde_json::{Value, json};

use super::refused::SealProblem;
use super::weight::Weight;
use super::{Sealing, ToolSeal};

/// What a result is sealed with.
pub(super) enum With {
    /// The agent's `enc` key, each field by itself.
    Key(Arc<EncryptionKey>),
    /// A session that was agreed on. Whoever ends it wipes its keys, whatever answers are still to come: they are not
    /// handed on then.
    Session(Weak<Session>),
}

/// Seals the result of one call. Cloning shares it.
#[derive(Clone)]
pub struct SealedAnswer(Arc<Inner>);

struct Inner {
    sealing: Arc<Sealing>,
    tool: Arc<ToolSeal>,
    call: BoundCall,
    with: With,
}

impl SealedAnswer {
    pub(super) fn new(sealing: Arc<Sealing>, tool: Arc<ToolSeal>, call: BoundCall, with: With) -> Self {
        Self(Arc::new(Inner {
            sealing,
            tool,
            call,
            with,
        }))
    }

    /// Whether anything of the result is sealed. Where it is not, only the words of an error are kept back.
    #[must_use]
    pub fn seals_results(&self) -> bool {
        !self.0.tool.result.is_empty()
    }

    /// One JSON-RPC message that came back, as it may be handed on: a result with its fields sealed, an error without
    /// the server's words (they may repeat what was sealed), a request or notification as it came.
    ///
    /// # Errors
    /// [`SealProblem`]: nothing of the message may be handed on.
    pub async fn message(&self, message: &[u8]) -> Result<Vec<u8>, SealProblem> {
        let weight = match &self.0.with {
            // Signed with a key that may be somewhere else.
            With::Key(_) => Weight::Heavy,
            With::Session(_) => Weight::of(message.len()),
        };
        let (inner, message) = (Arc::clone(&self.0), message.to_vec());
        weight.run(move || inner.message(&message)).await?
    }
}

impl Inner {
    fn message(&self, message: &[u8]) -> Result<Vec<u8>, SealProblem> {
        let kind = ServerMessage::read(message).map_err(|_| SealProblem::NoMessage)?;
        let is_result = match kind {
            ServerMessage::OnTheWay { .. } => return Ok(message.to_vec()),
            ServerMessage::Result { .. } if self.tool.result.is_empty() => return Ok(message.to_vec()),
            ServerMessage::Result { .. } => true,
            ServerMessage::Error { .. } => false,
        };
        let Value::Object(mut message) = canonical::read(message).map_err(seal::Error::from)? else {
            return Err(SealProblem::NoMessage);
        };
        if is_result {
            let result = message.remove("result").unwrap_or_default();
            message.insert("result".to_owned(), self.sealed(result)?);
        } else if let Some(error) = message.get_mut("error") {
            withhold_words(error);
        }
        serde_json::to_vec(&message).map_err(|_| seal::Error::Bug.into())
    }

    fn sealed(&self, result: Value) -> Result<Value, seal::Error> {
        // A task's result comes with another call, to which nothing is bound.
        if result.get("task").is_some()
            || result
                .get("resultType")
                .is_some_and(|kind| *kind == json!("task"))
        {
            return Err(seal::Error::Mode);
        }
        let now = self.sealing.now();
        let pointers = &self.tool.result;
        match &self.with {
            With::Session(session) => {
                let session = session.upgrade().ok_or(seal::Error::SessionOver)?;
                seal::seal_result(result, pointers, &self.call, &mut session.sealer(now))
            }
            With::Key(key) => {
                let mut sealer = NestedSealer {
                    signer: &*self.sealing.keys.signer(),
                    recipient: key,
                    encryption: ContentEncryption::A256Gcm,
                    now,
                    random: &*self.sealing.random,
                };
                seal::seal_result(result, pointers, &self.call, &mut sealer)
            }
        }
    }
}

/// The code stays: clients act on it.
fn withhold_words(error: &mut Value) {
    let code = error.get("code").cloned().unwrap_or_else(|| json!(-32_603));
    *error = json!({
        "code": code,
        "message": "the server answered with an error; its words are withheld, since they may repeat what was sealed",
    });
}

impl fmt::Debug for SealedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedAnswer")
            .field("tool", &self.0.tool)
            .finish_non_exhaustive()
    }
}
