//! The server's answer to a call with sealed fields.

use std::fmt;
use std::sync::Arc;

use portcullis_core::jose::jwe::ContentEncryption;
use portcullis_core::jose::jwk::EncryptionKey;
use portcullis_core::seal::session::Session;
use portcullis_core::seal::{self, BoundCall, NestedSealer, canonical};
use portcullis_net::offload;
use serde_json::{Value, json};

use super::refused::SealProblem;
use super::{Sealing, ToolSeal};

/// What a result is sealed with.
pub(super) enum With {
    /// The agent's `enc` key, each field by itself.
    Key(Arc<EncryptionKey>),
    /// A session that was agreed on.
    Session(Arc<Session>),
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

    /// One JSON-RPC message that came back, as it may be handed on: a result with its fields sealed, an error without
    /// the server's words (they may repeat what was sealed), anything else as it came.
    ///
    /// # Errors
    /// [`SealProblem`]: nothing of the message may be handed on.
    pub async fn message(&self, message: &[u8]) -> Result<Vec<u8>, SealProblem> {
        let message = canonical::read(message).map_err(seal::Error::from)?;
        let Value::Object(mut message) = message else {
            return Err(seal::Error::NotExact(canonical::NotExact::NotJson).into());
        };
        if let Some(result) = message.remove("result") {
            // A task's result comes with another call, to which nothing is bound.
            if result.get("task").is_some()
                || result
                    .get("resultType")
                    .is_some_and(|kind| *kind == json!("task"))
            {
                return Err(seal::Error::Mode.into());
            }
            message.insert("result".to_owned(), self.sealed(result).await?);
        } else if let Some(error) = message.get_mut("error") {
            withhold_words(error);
        }
        serde_json::to_vec(&message).map_err(|_| seal::Error::Bug.into())
    }

    async fn sealed(&self, result: Value) -> Result<Value, SealProblem> {
        let inner = &self.0;
        match &inner.with {
            With::Session(session) => {
                let mut sealer = session.sealer(inner.sealing.now());
                Ok(seal::seal_result(
                    result,
                    &inner.tool.result,
                    &inner.call,
                    &mut sealer,
                )?)
            }
            With::Key(key) => {
                let (inner, key) = (Arc::clone(inner), Arc::clone(key));
                let work = move || inner.seal_nested(result, &key);
                Ok(offload::run(work).await.map_err(|_| SealProblem::Lost)??)
            }
        }
    }
}

impl Inner {
    fn seal_nested(&self, result: Value, key: &EncryptionKey) -> Result<Value, seal::Error> {
        let signer = self.sealing.keys.signer();
        let mut sealer = NestedSealer {
            signer: &*signer,
            recipient: key,
            encryption: ContentEncryption::A256Gcm,
            now: self.sealing.now(),
            random: &*self.sealing.random,
        };
        seal::seal_result(result, &self.tool.result, &self.call, &mut sealer)
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
