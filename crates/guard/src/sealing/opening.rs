//! From a call as it came to the call that is judged and sent.

use std::sync::Arc;

use http::HeaderMap;
use portcullis_core::forward;
use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::seal::{self, BoundCall, CallId, Clear, NestedOpener, Opened, SenderKeys, canonical};
use portcullis_core::wire::{Call, Method, Target};
use portcullis_net::offload;
use serde_json::Value;

use super::answer::{SealedAnswer, With};
use super::refused::{SealProblem, SealRefused};
use super::shown::{AgentKeys, Shown};
use super::{Sealing, ToolSeal};
use crate::endpoint::Endpoint;
use crate::reason::Reason;

/// A call in clear, and what seals its result where that is to be sealed.
pub(crate) struct Open {
    pub(crate) call: Call,
    pub(crate) answer: Option<SealedAnswer>,
}

impl Sealing {
    /// Opens what is sealed in a call, and takes every word of the extension out of it. A call that is refused here was
    /// not looked at by anyone, and nothing of it goes on.
    pub(crate) async fn open(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        who: &VerifiedIdentity,
        headers: &HeaderMap,
        call: Call,
    ) -> Result<Open, Reason> {
        let seal = match (call.method(), call.target()) {
            (Method::ToolsCall, Some(Target::Tool(tool))) => self.tool(endpoint.server(), tool).cloned(),
            _ => None,
        };
        let opened = match (&seal, call.sealing()) {
            (None, _) => self.nothing_sealed(&call).map(|()| None),
            (Some(seal), None) if seal.clear == Clear::Allow => self.nothing_sealed(&call).map(|()| None),
            (Some(_), None) => Err(SealProblem::Needed),
            (Some(seal), Some(said)) => self.opened(endpoint, who, seal, said, &call).await.map(Some),
        };
        let refused = |problem| Reason::Sealing(self.refused(endpoint, seal.as_ref(), problem));
        match opened.map_err(refused)? {
            None => Ok(Open {
                call: match forward::withhold(call.body()) {
                    Some(body) => Call::parse(headers, body.into())?,
                    None => call,
                },
                answer: None,
            }),
            Some((arguments, answer)) => {
                let bug = |_| refused(SealProblem::Fields(seal::Error::Bug));
                let body = forward::with_arguments(call.body(), &arguments).map_err(bug)?;
                Ok(Open {
                    call: Call::parse(headers, body.into())?,
                    answer,
                })
            }
        }
    }

    /// A sealed text in a call that has no sealed fields was cut from another one, or its sender is mistaken: the server
    /// could do nothing with it.
    fn nothing_sealed(&self, call: &Call) -> Result<(), SealProblem> {
        let Some(arguments) = call.arguments() else {
            return Ok(());
        };
        // An escape can spell the prefix too.
        if !arguments.contains(seal::PREFIX) && !arguments.contains("\\u") {
            return Ok(());
        }
        let arguments: Value = serde_json::from_str(arguments).map_err(|_| seal::Error::Bug)?;
        Ok(seal::refuse_sealed(&arguments)?)
    }

    async fn opened(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        who: &VerifiedIdentity,
        tool: &Arc<ToolSeal>,
        said: &str,
        call: &Call,
    ) -> Result<(Value, Option<SealedAnswer>), SealProblem> {
        let Some(Target::Tool(name)) = call.target() else {
            return Err(seal::Error::Bug.into());
        };
        let id = call.id().ok_or(seal::Error::UnusableId)?;
        let of = seal::Call {
            parties: self.parties(endpoint, who),
            tool: name.clone(),
            id: CallId::parse(id.as_json())?,
        };
        let arguments = match call.arguments() {
            Some(arguments) => canonical::read(arguments.as_bytes()).map_err(seal::Error::from)?,
            None => Value::Null,
        };
        let absent = arguments.is_null();
        let (opened, bound, with) = match Shown::read(said, who)? {
            Shown::Keys(agent) => {
                let (sealing, tool) = (Arc::clone(self), Arc::clone(tool));
                let work = move || {
                    let (opened, bound) = sealing.open_nested(arguments, &tool, of, &agent)?;
                    Ok::<_, seal::Error>((opened, bound, With::Key(Arc::new(agent.encryption))))
                };
                offload::run(work).await.map_err(|_| SealProblem::Lost)??
            }
            Shown::Session(id) => {
                let session = self.agreed.find(id, who, endpoint.server(), self.now())?;
                let mut opener = session.opener(self.now());
                let (opened, bound) =
                    seal::open_arguments(arguments, &tool.arguments, Clear::Refuse, of, &mut opener)?;
                (opened, bound, With::Session(session))
            }
        };
        let answer = (!tool.result.is_empty())
            .then(|| SealedAnswer::new(Arc::clone(self), Arc::clone(tool), bound, with));
        // What was not there is not put there: the server reads no arguments and `{}` as it likes.
        let value = if absent && opened.value.is_null() {
            Value::Object(serde_json::Map::new())
        } else {
            opened.value
        };
        Ok((value, answer))
    }

    fn open_nested(
        &self,
        arguments: Value,
        tool: &ToolSeal,
        call: seal::Call,
        agent: &AgentKeys,
    ) -> Result<(Opened, BoundCall), seal::Error> {
        let openers = |kid: &_| self.keys.opener(kid);
        let sender = SenderKeys::One(&agent.signature);
        let mut opener = NestedOpener::new(sender, &openers, &self.seen, self.moment());
        seal::open_arguments(arguments, &tool.arguments, Clear::Refuse, call, &mut opener)
    }
}

impl From<SealRefused> for Reason {
    fn from(refused: SealRefused) -> Self {
        Self::Sealing(refused)
    }
}
