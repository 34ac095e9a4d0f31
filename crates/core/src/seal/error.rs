//! Why a field was not sealed or not opened.

use super::canonical::NotExact;
use super::pointer::{Place, TooManyPlaces};
use crate::fault::Fault;
use crate::jose::jws::SigningUnavailable;
use crate::random::RandomUnavailable;

/// What a sealed field is bound to, or one of the claims that say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bound {
    /// `iss`: who sealed.
    Issuer,
    /// `aud`: for whom.
    Audience,
    /// `sub`: in whose name the call is made.
    Principal,
    /// `call.server`
    Server,
    /// `call.tool`
    Tool,
    /// `call.id`: the JSON-RPC id.
    RequestId,
    /// `call.msg`: the message.
    Message,
    /// `call.ptr`: the place in the value.
    Pointer,
    /// `call.dir`
    Direction,
    /// `call.digest`: the rest of the arguments.
    Arguments,
}

impl Bound {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Issuer,
        Self::Audience,
        Self::Principal,
        Self::Server,
        Self::Tool,
        Self::RequestId,
        Self::Message,
        Self::Pointer,
        Self::Direction,
        Self::Arguments,
    ];

    /// What a person calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issuer => "sender",
            Self::Audience => "recipient",
            Self::Principal => "principal",
            Self::Server => "server",
            Self::Tool => "tool",
            Self::RequestId => "request id",
            Self::Message => "message",
            Self::Pointer => "place",
            Self::Direction => "direction",
            Self::Arguments => "arguments",
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Issuer => "seal.issuer",
            Self::Audience => "seal.audience",
            Self::Principal => "seal.principal",
            Self::Server => "seal.server",
            Self::Tool => "seal.tool",
            Self::RequestId => "seal.request-id",
            Self::Message => "seal.message",
            Self::Pointer => "seal.pointer",
            Self::Direction => "seal.direction",
            Self::Arguments => "seal.arguments",
        }
    }
}

/// Why a field was not sealed or not opened. Exhaustive on purpose: the one place that answers must name each.
///
/// Nothing of it repeats a value, and nothing tells a wrong key from a wrong tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The tool wants this place sealed and it came in clear.
    #[error("the field at `{0}` came in clear and this tool takes it sealed only")]
    InClear(Place),
    /// A sealed text at a place where none is configured: forwarding it would hand ciphertext to the tool.
    #[error("the text at `{0}` is sealed and this tool has no sealed field there")]
    Unexpected(Place),
    /// The value that is to be sealed is, or holds, a sealed text already.
    #[error("the value at `{0}` is sealed already")]
    AlreadySealed(Place),
    /// Not one of the two forms of a sealed text.
    #[error("the sealed text is malformed")]
    Form,
    /// Nested JWT where a session was expected, another session, or two modes in one value.
    #[error("the fields of one message are sealed in different ways")]
    Mode,
    /// The encryption names no key of ours.
    #[error("the field is sealed for a key that is not ours (any more); read the recipient's key set again")]
    RecipientKey,
    /// The ciphertext was not made for this key and, in a session, for this very place of this very call.
    #[error("the field does not open: it was altered, cut from another call, or made for another key")]
    Undecipherable,
    /// The signature names no key of the sender.
    #[error("the field is signed with a key that is not the sender's")]
    SenderKey,
    /// The signature inside does not hold.
    #[error("the field's signature does not hold")]
    Signature,
    /// `typ` is another: a token made for something else.
    #[error("the token is not a sealed field")]
    Typ,
    /// Not a strict JSON object, a claim is absent or of another JSON type, or there is one too many.
    #[error("the field's claims are malformed")]
    Claims,
    /// The field was made for another call, or for another place of this one.
    #[error("the field is bound to another {bound}", bound = .0.as_str())]
    Other(Bound),
    /// At or after `exp`, the accepted difference of clocks included.
    #[error("the field has expired")]
    Expired,
    /// `iat` is in the future, beyond the accepted difference of clocks.
    #[error("the field was made in the future; compare the clocks")]
    NotYet,
    /// `exp` is further from `iat` than allowed, or before it.
    #[error("the field's lifetime is longer than allowed")]
    Lifetime,
    /// This `jti`, or this counter, was here before.
    #[error("the field was here before")]
    Replayed,
    /// The memory of `jti`s is full: what cannot be remembered is not accepted.
    #[error("too many sealed fields are remembered at the moment; try again later or use session mode")]
    MemoryFull,
    /// The memory of this sender's `jti`s is full.
    #[error("this sender has sent more sealed fields than are remembered; send fewer or use session mode")]
    SenderFull,
    /// More places than are read.
    #[error(transparent)]
    TooMany(#[from] TooManyPlaces),
    /// A number or a depth that has no exact form.
    #[error(transparent)]
    NotExact(#[from] NotExact),
    /// A JSON-RPC id that is neither a string nor an integer below 2^53.
    #[error("the request's id is neither a string nor an integer below 2^53")]
    UnusableId,
    /// The other side has no session of this id, any more or yet.
    #[error("there is no such session; agree on a new one and repeat the call")]
    SessionUnknown,
    /// The session is over: its time has come, or someone ended it.
    #[error("the session is over; agree on a new one and repeat the call")]
    SessionOver,
    /// All counters of one direction are used.
    #[error("the session has sealed as many fields as it may; agree on a new one")]
    SessionSpent,
    /// A counter below the window.
    #[error("the field's counter is too far behind")]
    CounterTooOld,
    /// No cipher, or no curve, that both sides accept.
    #[error("the two sides accept no common session algorithm")]
    NothingInCommon,
    /// The other side's ephemeral key is not a point of its curve, or gives an all-zero secret.
    #[error("the session's ephemeral key is not acceptable")]
    EphemeralKey,
    /// The answer is not to our offer, or chooses what was not offered.
    #[error("the session's answer does not belong to the offer")]
    NotOurOffer,
    /// Our private key cannot be used now.
    #[error("a key cannot be used now: {0}")]
    KeyUnavailable(String),
    /// The system gave no randomness.
    #[error(transparent)]
    Random(#[from] RandomUnavailable),
    /// A step that cannot fail did.
    #[error("sealing failed for no known reason")]
    Bug,
}

impl Error {
    /// The stable slug, never reused.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InClear(_) => "seal.in-clear",
            Self::Unexpected(_) => "seal.unexpected",
            Self::AlreadySealed(_) => "seal.already-sealed",
            Self::Form => "seal.form",
            Self::Mode => "seal.mode",
            Self::RecipientKey => "seal.recipient-key",
            Self::Undecipherable => "seal.undecipherable",
            Self::SenderKey => "seal.sender-key",
            Self::Signature => "seal.signature",
            Self::Typ => "seal.typ",
            Self::Claims => "seal.claims",
            Self::Other(bound) => bound.code(),
            Self::Expired => "seal.expired",
            Self::NotYet => "seal.not-yet",
            Self::Lifetime => "seal.lifetime",
            Self::Replayed => "seal.replayed",
            Self::MemoryFull => "seal.memory-full",
            Self::SenderFull => "seal.sender-full",
            Self::TooMany(_) => "seal.too-many",
            Self::NotExact(NotExact::Number) => "seal.number",
            Self::NotExact(NotExact::TooDeep) => "seal.too-deep",
            Self::NotExact(NotExact::NotJson) => "seal.not-json",
            Self::UnusableId => "seal.unusable-id",
            Self::SessionUnknown => "seal.session-unknown",
            Self::SessionOver => "seal.session-over",
            Self::SessionSpent => "seal.session-spent",
            Self::CounterTooOld => "seal.counter-too-old",
            Self::NothingInCommon => "seal.nothing-in-common",
            Self::EphemeralKey => "seal.ephemeral-key",
            Self::NotOurOffer => "seal.not-our-offer",
            Self::KeyUnavailable(_) => "seal.key-unavailable",
            Self::Random(_) => "seal.random",
            Self::Bug => "seal.bug",
        }
    }

    /// Who has to act. [`Fault::Caller`] is whoever sent what was read: to an agent that opens a result it is the
    /// gateway, which there is a [`Fault::Peer`].
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::InClear(_)
            | Self::Unexpected(_)
            | Self::AlreadySealed(_)
            | Self::Form
            | Self::Mode
            | Self::RecipientKey
            | Self::Undecipherable
            | Self::SenderKey
            | Self::Signature
            | Self::Typ
            | Self::Claims
            | Self::Other(_)
            | Self::Expired
            | Self::NotYet
            | Self::Lifetime
            | Self::Replayed
            | Self::SenderFull
            | Self::TooMany(_)
            | Self::NotExact(_)
            | Self::UnusableId
            | Self::SessionUnknown
            | Self::SessionOver
            | Self::SessionSpent
            | Self::CounterTooOld
            | Self::NothingInCommon
            | Self::EphemeralKey
            | Self::NotOurOffer => Fault::Caller,
            Self::MemoryFull | Self::KeyUnavailable(_) | Self::Random(_) => Fault::Operator,
            Self::Bug => Fault::Bug,
        }
    }

    /// Whether the sender helps itself by sealing the call afresh and repeating it: in a session, after agreeing on a new
    /// one.
    #[must_use]
    pub const fn wants_sealing_afresh(&self) -> bool {
        matches!(
            self,
            Self::SessionUnknown | Self::SessionOver | Self::SessionSpent
        )
    }
}

impl From<SigningUnavailable> for Error {
    fn from(error: SigningUnavailable) -> Self {
        Self::KeyUnavailable(error.0)
    }
}
