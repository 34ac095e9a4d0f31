//! Once means once: what was used, for as long as it could be used again.
//!
//! A proof, an assertion or a sealed token is for one use. Its [`ReplayId`] goes into a [`ReplayLog`] after everything
//! else about it held, so that only those who hold a key and a token can make a log grow (RFC 9449 §11.1).
//! [`LocalReplayLog`] remembers in this process; replicas share a log of the server's `ephemeral` room.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aws_lc_rs::digest;
use portcullis_core::fault::Fault;
use portcullis_core::ids::{ClientId, Issuer, Principal, TokenId};
use portcullis_core::jose::jwk::Thumbprint;
use portcullis_core::time::UnixTime;

mod local;

pub use local::{LOCAL_IDS, LocalReplayLog};

/// Remembers what was used. Whoever cannot be remembered is refused: a log never forgets an id whose time is not over.
pub trait ReplayLog: Send + Sync {
    /// Whether this is the first use of `id`; from now on and up to `until` it is no more. Of several askers at once
    /// exactly one hears [`Use::First`]. An id whose `until` is not after `now` is never used for the first time.
    ///
    /// `until` is when the thing itself stops being accepted, with the accepted difference of clocks: the caller has
    /// checked that this is soon, for the log keeps it that long. A future that is dropped before it is ready may have used
    /// the id up.
    ///
    /// # Errors
    /// [`ReplayUnavailable`]: nobody can say, and the caller refuses. The answer comes in bounded time.
    fn first_use(&self, id: ReplayId, until: UnixTime, now: UnixTime) -> FirstUse<'_>;

    /// Since when it remembers. What was made before may have been used without a trace here: in the process that ran before
    /// this one, or in a store that was restarted or emptied. The caller refuses it, or asks for one that is new.
    fn since(&self) -> UnixTime;

    /// Whether ids can be remembered now, for a readiness check.
    ///
    /// # Errors
    /// What [`Self::first_use`] would answer with.
    fn ready(&self) -> Result<(), ReplayUnavailable>;
}

impl<L: ReplayLog + ?Sized> ReplayLog for Arc<L> {
    fn first_use(&self, id: ReplayId, until: UnixTime, now: UnixTime) -> FirstUse<'_> {
        (**self).first_use(id, until, now)
    }

    fn since(&self) -> UnixTime {
        (**self).since()
    }

    fn ready(&self) -> Result<(), ReplayUnavailable> {
        (**self).ready()
    }
}

/// What a log says about an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It was not used before, and now it is.
    First,
    /// It was used before, or its time is over.
    Again,
}

/// Nobody can say whether an id was used before: what it belongs to is refused, and can be tried again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayUnavailable {
    /// There is no room until something expires.
    #[error("the replay log is full")]
    Full,
    /// The sender has as many live ids as there is room left. Others are still served.
    #[error("the sender fills the replay log")]
    SenderFull,
    /// The clock was later before: what expired then was forgotten, so an old id cannot be told from a new one.
    #[error("the clock went back, behind what the replay log has forgotten")]
    ClockWentBack,
    /// The store that replicas share does not answer.
    #[error("the shared replay log does not answer")]
    Unreachable,
}

impl ReplayUnavailable {
    /// The stable slug of this error.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Full => "replay.full",
            Self::SenderFull => "replay.sender-full",
            Self::ClockWentBack => "replay.clock-went-back",
            Self::Unreachable => "replay.unreachable",
        }
    }

    /// Who can do something about it.
    #[must_use]
    pub const fn fault(self) -> Fault {
        match self {
            Self::SenderFull => Fault::Caller,
            Self::Full | Self::ClockWentBack | Self::Unreachable => Fault::Operator,
        }
    }
}

/// An answer on its way. A log in this process knows it at once and allocates nothing for it.
#[must_use = "an id counts as used when this says so"]
pub struct FirstUse<'a>(Answer<'a>);

enum Answer<'a> {
    Known(Result<Use, ReplayUnavailable>),
    Asked(Pin<Box<dyn Future<Output = Result<Use, ReplayUnavailable>> + Send + 'a>>),
}

impl<'a> FirstUse<'a> {
    /// An answer that is there.
    pub const fn known(answer: Result<Use, ReplayUnavailable>) -> Self {
        Self(Answer::Known(answer))
    }

    /// An answer that comes. The future bounds its own waiting.
    pub fn asked(answer: impl Future<Output = Result<Use, ReplayUnavailable>> + Send + 'a) -> Self {
        Self(Answer::Asked(Box::pin(answer)))
    }
}

impl Future for FirstUse<'_> {
    type Output = Result<Use, ReplayUnavailable>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Answer::Known(answer) => Poll::Ready(*answer),
            Answer::Asked(answer) => answer.as_mut().poll(context),
        }
    }
}

/// The name of one thing that is for one use: a SHA-256 over its purpose and its parts, each with its length before it, so that
/// ids of different purposes and different parts are different. Says who sent it too, so that nobody fills the log for others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplayId {
    name: [u8; 32],
    sender: [u8; 8],
}

impl ReplayId {
    /// A DPoP proof (RFC 9449 §11.1). `htu` is the endpoint's own URL, as configured: what the proof says may be spelled in
    /// many ways. The sender is the key, until [`Self::sent_by`] says more.
    #[must_use]
    pub fn dpop(key: &Thumbprint, jti: &str, htu: &str) -> Self {
        Self {
            name: digest("dpop", &[key.as_bytes(), jti.as_bytes(), htu.as_bytes()]),
            sender: shortened(*key.as_bytes()),
        }
    }

    /// A client's assertion (RFC 7523 §3): its issuer is the client.
    #[must_use]
    pub fn client_assertion(issuer: &ClientId, jti: &TokenId) -> Self {
        Self::of("client assertion", issuer.as_str(), jti.as_str())
    }

    /// A token that an issuer made for one use (RFC 7519 §4.1.7).
    #[must_use]
    pub fn token(issuer: &Issuer, jti: &TokenId) -> Self {
        Self::of("token", issuer.as_str(), jti.as_str())
    }

    /// A sealed payload of a sender.
    #[must_use]
    pub fn sealed(sender: &str, jti: &TokenId) -> Self {
        Self::of("sealed", sender, jti.as_str())
    }

    /// The same id, charged to a principal: keys cost nothing to make, identities do.
    #[must_use]
    pub fn sent_by(self, principal: &Principal) -> Self {
        let parts = [
            principal.issuer.as_str().as_bytes(),
            principal.subject.as_str().as_bytes(),
            principal.client.as_str().as_bytes(),
        ];
        Self {
            sender: shortened(digest("principal", &parts)),
            ..self
        }
    }

    /// The 32 bytes, which do not depend on whom the id is charged to.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.name
    }

    fn of(purpose: &str, sender: &str, jti: &str) -> Self {
        Self {
            name: digest(purpose, &[sender.as_bytes(), jti.as_bytes()]),
            sender: shortened(digest("sender", &[purpose.as_bytes(), sender.as_bytes()])),
        }
    }
}

impl fmt::Debug for ReplayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplayId(")?;
        for byte in self.name {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

fn digest(purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in std::iter::once(&purpose.as_bytes()).chain(parts) {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

fn shortened(digest: [u8; 32]) -> [u8; 8] {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(digest) {
        *to = from;
    }
    bytes
}

#[cfg(test)]
mod tests;
