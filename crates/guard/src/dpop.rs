//! What a server asks of those who send it tokens, and the part of a proof's check that needs a memory and a secret.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use portcullis_core::identity::{Confirmation, ProofHeld, Vouched, dpop};
use portcullis_core::ids::{Principal, ServerName};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_core::wire::Scheme;

use crate::endpoint::Endpoint;
use crate::nonce::NonceKey;
use crate::reason::Reason;
use crate::replay::{ReplayId, ReplayLog, Use};

/// Which tokens a server takes. A token that is bound to a key or a certificate always needs its proof, whatever is said
/// here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderConstraint {
    /// Bearer tokens too: whoever holds one may use it.
    None,
    /// Those bound to a key that the sender proves (RFC 9449).
    Dpop,
    /// Those bound to the certificate of the connection (RFC 8705).
    Mtls,
    /// Either of the two.
    Either,
}

impl SenderConstraint {
    /// Whether a token that was confirmed so is taken.
    pub(crate) const fn takes(self, confirmation: Confirmation) -> bool {
        let (key, certificate) = match confirmation {
            Confirmation::Bearer => (false, false),
            Confirmation::Dpop(_) => (true, false),
            Confirmation::Certificate(_) => (false, true),
            Confirmation::DpopAndCertificate(..) => (true, true),
        };
        match self {
            Self::None => true,
            Self::Dpop => key,
            Self::Mtls => certificate,
            Self::Either => key || certificate,
        }
    }

    /// The schemes with which a token may come. RFC 8705 has none of its own: its tokens come as `Bearer`.
    pub(crate) const fn schemes(self) -> &'static [Scheme] {
        match self {
            Self::None | Self::Either => &[Scheme::Bearer, Scheme::Dpop],
            Self::Dpop => &[Scheme::Dpop],
            // A token that is bound to a key as well comes with its proof.
            Self::Mtls => &[Scheme::Bearer],
        }
    }
}

/// Whether a proof has to have a nonce of ours (RFC 9449 §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofNonce {
    /// No: a proof is as young as the clock of its sender says.
    Off,
    /// Yes: a proof was made after we gave out its nonce, at most two minutes ago.
    Required,
}

/// What one server asks of senders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderRules {
    /// Which tokens.
    pub constraint: SenderConstraint,
    /// What proofs.
    pub nonce: ProofNonce,
}

/// What all servers ask of senders, and what their proofs are checked with.
pub struct Senders {
    /// For servers that are not named below.
    pub usual: SenderRules,
    /// Servers with rules of their own.
    pub servers: HashMap<ServerName, SenderRules>,
    /// How long a proof is accepted after it was made, [`portcullis_core::identity::dpop::WINDOW`] at most.
    pub window: Lifetime,
    /// What nonces are made with.
    pub nonce_key: NonceKey,
    /// Remembers the proofs that were used. Replicas share one.
    pub replays: Arc<dyn ReplayLog>,
}

impl Senders {
    /// The rules of a server.
    pub(crate) fn rules(&self, server: &ServerName) -> SenderRules {
        self.servers.get(server).copied().unwrap_or(self.usual)
    }

    /// The nonce that proofs for this server should have next, if they need one.
    pub(crate) fn nonce(&self, server: &ServerName, now: UnixTime) -> Option<HeaderValue> {
        match self.rules(server).nonce {
            ProofNonce::Off => None,
            ProofNonce::Required => Some(self.nonce_key.nonce(now)),
        }
    }

    /// RFC 9449 §4.3, check 10: the nonce, where one is needed. It is needed also where the proof may have been made before the
    /// memory of used proofs begins, as it does when a process starts: only a nonce that was given out since then shows that
    /// this is no proof that was used before. A proof may have been made [`dpop::AHEAD`] before it says, by a clock that is ahead.
    fn check_nonce(&self, proof: &ProofHeld, server: &ServerName, now: UnixTime) -> Result<(), Reason> {
        let given_out = proof
            .nonce()
            .and_then(|nonce| self.nonce_key.given_out(nonce, now));
        let needed = match self.rules(server).nonce {
            ProofNonce::Off => false,
            ProofNonce::Required => true,
        };
        let since = self.replays.since();
        let fresh = given_out.is_some_and(|given_out| given_out >= since);
        if (needed || proof.issued() < since.plus(dpop::AHEAD)) && !fresh {
            Err(Reason::NonceNeeded)
        } else {
            Ok(())
        }
    }

    /// Uses up a token that is for one call (RFC 7519 §4.1.7). One that may have been made before the memory of used tokens began may
    /// have been used as well; by the clock of its issuer, which may be ahead by `skew`.
    pub(crate) async fn spend_token(
        &self,
        token: &Vouched,
        principal: &Principal,
        skew: Lifetime,
        now: UnixTime,
    ) -> Result<(), Reason> {
        let remembered = || match token.issued() < self.replays.since().plus(skew) {
            true => Err(Reason::TokenReplayed),
            false => Ok(()),
        };
        remembered()?;
        let id = ReplayId::token(token.issuer(), token.token_id()).sent_by(principal);
        match self
            .replays
            .first_use(id, token.expires().plus(skew), now)
            .await?
        {
            Use::First => remembered(),
            Use::Again => Err(Reason::TokenReplayed),
        }
    }

    /// Uses the proof up (RFC 9449 §11.1), if it has the nonce that it needs. The last check of all: only for who is verified
    /// is anything remembered.
    pub(crate) async fn spend(
        &self,
        proof: &ProofHeld,
        principal: &Principal,
        endpoint: &Endpoint,
        now: UnixTime,
    ) -> Result<(), Reason> {
        self.check_nonce(proof, endpoint.server(), now)?;
        let target = endpoint.target().as_str();
        let id = ReplayId::dpop(proof.key(), proof.jti(), target).sent_by(principal);
        match self.replays.first_use(id, proof.until(), now).await? {
            // The memory may have been lost while it was asked, and with it the first use.
            Use::First => self.check_nonce(proof, endpoint.server(), now),
            Use::Again => Err(Reason::ProofReplayed),
        }
    }
}
