//! In-process enforcement: every MCP call is verified, decided and recorded before anything else sees it.
//!
//! Takes: an HTTP request's head and body. Gives: [`Admitted`] with a permit to spend, or a [`Refusal`] to
//! send. May use: `portcullis-core`, `portcullis-net`. Never: opens a database, reaches an upstream, answers
//! before it recorded.
//!
//! ```text
//! present ─▶ verify ─▶ parse ─▶ open ─▶ decide ─▶ record ─▶ Admitted { permit, ticket, answer }
//!    └─────────┴─────────┴───────┴────────┴──▶ record ─▶ Refusal
//! ```
//!
//! The two halves of that line are [`Guard::authenticate`] and [`Guard::admit`]: the body is read between
//! them, because nobody's body is read before their credential held.

mod arrival;
mod cache;
mod challenge;
mod dpop;
mod draft;
mod endpoint;
pub mod exchange;
mod hint;
mod host;
pub mod layer;
mod limits;
mod nonce;
mod outcomes;
mod pipeline;
mod reason;
pub mod recorder;
mod refusal;
mod refused_tokens;
mod replay;
mod revocations;
mod sealing;
mod sessions;
mod streams;
mod tally;
mod trust;
mod workloads;

pub use arrival::{Arrival, Connection, ShownCertificate};
pub use dpop::{ProofNonce, SenderConstraint, SenderRules, Senders};
pub use endpoint::Endpoint;
pub use host::{InvalidPublicUrl, PublicHost};
pub use limits::{InvalidRate, Limited, RATE_COUNT, Rate, Rates, network};
pub use nonce::NonceKey;
pub use outcomes::Ticket;
pub use pipeline::{Admitted, ENDPOINT_METHODS, Guard, Judging, SEAL_METHODS, Settings};
pub use portcullis_core::identity::{ClientCertificate, VerifiedIdentity};
pub use portcullis_core::ids::Principal;
pub use portcullis_core::policy::Effect;
pub use reason::{CertificateRefused, Reason, UpstreamError};
pub use refusal::{DPOP_NONCE, REQUEST_ID, Refusal};
pub use replay::{FirstUse, LOCAL_IDS, LocalReplayLog, ReplayId, ReplayLog, ReplayUnavailable, Use};
pub use revocations::{Revocations, RevocationsUnreadable};
pub use sealing::{SealProblem, SealRefused, SealedAnswer, Sealing, SealingKeys, SealingSettings, ToolSeal};
pub use sessions::{SessionTaken, Sessions};
pub use streams::{STREAMS, STREAMS_PER_PRINCIPAL, Stream, Streams};
pub use tally::Tally;
pub use trust::{CallsOfToken, Opaque, Part, Serves, TrustedIssuer};
pub use workloads::{DomainKeys, DomainPart, TrustedDomain, WorkloadPath};

#[cfg(test)]
mod tests;
