//! From a call as it came to the call that is judged and sent.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use portcullis_core::forward;
use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::seal::session::Session;
use portcullis_core::seal::{self, BoundCall, CallId, Clear, NestedOpener, Opener, SenderKeys, canonical};
use portcullis_core::wire::{Call, Method, Target};
use serde_json::Value;

use super::answer::{SealedAnswer, With};
use super::once::{Noted, Unspent};
use super::refused::{SealProblem, SealRefused};
use super::shown::{How, Shown, ShownKeys};
use super::weight::Weight;
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
            (None, _) => nothing_sealed(&call).await.map(|()| None),
            (Some(seal), None) if seal.clear == Clear::Allow => nothing_sealed(&call).await.map(|()| None),
            (Some(_), None) => Err(SealProblem::Needed),
            (Some(seal), Some(said)) => self.opened(endpoint, who, seal, said, &call).await.map(Some),
        };
        let refused = |problem| self.refused(endpoint, seal.as_ref(), problem);
        match opened.map_err(refused)? {
            None => Ok(Open {
                call: match forward::withhold(call.body()) {
                    Some(body) => Call::parse(headers, body.into())?,
                    None => call,
                },
                answer: None,
            }),
            Some((body, answer)) => Ok(Open {
                call: Call::parse(headers, body.into())?,
                answer: Some(answer),
            }),
        }
    }

    async fn opened(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        who: &VerifiedIdentity,
        tool: &Arc<ToolSeal>,
        said: &str,
        call: &Call,
    ) -> Result<(Vec<u8>, SealedAnswer), SealProblem> {
        let Some(Target::Tool(name)) = call.target() else {
            return Err(seal::Error::Bug.into());
        };
        let id = call.id().ok_or(seal::Error::UnusableId)?;
        let Shown { message, how } = Shown::read(said, who)?;
        let sealed = Sealed {
            call: seal::Call {
                parties: self.parties(endpoint, who),
                tool: name.clone(),
                id: CallId::parse(id.as_json())?,
                message,
            },
            arguments: call
                .arguments()
                .map(|arguments| call.body().slice_ref(arguments.as_bytes())),
            body: call.body().clone(),
        };
        let (sealing, of) = (Arc::clone(self), Arc::clone(tool));
        let (body, bound, with) = match how {
            How::Keys(keys) => {
                let work = move || sealing.open_nested(sealed, &of, keys);
                let (body, bound, with, unspent) = Weight::Heavy.run(work).await??;
                self.spend(unspent, who.principal()).await?;
                (body, bound, with)
            }
            How::Session(id) => {
                let session = self.agreed.find(id, who, endpoint.server(), self.now())?;
                let work = move || sealing.open_in_session(sealed, &of, &session);
                Weight::of(call.body().len()).run(work).await??
            }
        };
        Ok((
            body,
            SealedAnswer::new(Arc::clone(self), Arc::clone(tool), bound, with),
        ))
    }

    fn open_nested(
        &self,
        sealed: Sealed,
        tool: &ToolSeal,
        keys: ShownKeys,
    ) -> Result<(Vec<u8>, BoundCall, With, Unspent), SealProblem> {
        let (agent, noted) = (keys.read()?, Noted::default());
        let openers = |kid: &_| self.keys.opener(kid);
        let sender = SenderKeys::One(&agent.signature);
        let mut opener = NestedOpener::new(sender, &openers, &noted, self.moment());
        let (body, bound) = sealed.open(tool, &mut opener)?;
        let with = With::Key(Arc::new(agent.encryption));
        Ok((body, bound, with, noted.unspent()))
    }

    fn open_in_session(
        &self,
        sealed: Sealed,
        tool: &ToolSeal,
        session: &Arc<Session>,
    ) -> Result<(Vec<u8>, BoundCall, With), seal::Error> {
        let (body, bound) = sealed.open(tool, &mut session.opener(self.now()))?;
        Ok((body, bound, With::Session(Arc::downgrade(session))))
    }
}

/// A call with sealed fields, to be opened wherever there is a thread for it.
struct Sealed {
    call: seal::Call,
    /// A part of `body`.
    arguments: Option<Bytes>,
    body: Bytes,
}

impl Sealed {
    /// The body as it is judged and sent.
    fn open(self, tool: &ToolSeal, opener: &mut dyn Opener) -> Result<(Vec<u8>, BoundCall), seal::Error> {
        let arguments = match &self.arguments {
            Some(arguments) => canonical::read(arguments)?,
            None => Value::Null,
        };
        let (opened, bound) =
            seal::open_arguments(arguments, &tool.arguments, Clear::Refuse, self.call, opener)?;
        let value = if self.arguments.is_none() && opened.value.is_null() {
            Value::Object(serde_json::Map::new())
        } else {
            opened.value
        };
        let body = forward::with_arguments(&self.body, &value).map_err(|_| seal::Error::Bug)?;
        Ok((body, bound))
    }
}

/// A sealed text in a call that has no sealed fields was cut from another one, or its sender is mistaken: the server could do
/// nothing with it.
async fn nothing_sealed(call: &Call) -> Result<(), SealProblem> {
    // An escape can spell the prefix too.
    let suspect = |text: &&str| text.contains(seal::PREFIX) || text.contains("\\u");
    let Some(arguments) = call.arguments().filter(suspect) else {
        return Ok(());
    };
    let weight = Weight::of(arguments.len());
    let arguments = call.body().slice_ref(arguments.as_bytes());
    let work = move || {
        let arguments: Value = serde_json::from_slice(&arguments).map_err(|_| seal::Error::Bug)?;
        seal::refuse_sealed(&arguments)
    };
    Ok(weight.run(work).await??)
}

impl From<SealRefused> for Reason {
    fn from(refused: SealRefused) -> Self {
        Self::Sealing(refused)
    }
}
