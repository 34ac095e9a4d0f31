//! Whether what held still counts: at the head of a request, when its body is there, and for as long as its answer comes.

use std::sync::Arc;

use portcullis_core::identity::{VerifiedIdentity, Vouched};
use portcullis_core::ids::{Principal, ServerName};
use portcullis_core::revocation::Claim;

use super::{Guard, Unidentified};
use crate::arrival::Arrival;
use crate::cache::{Key, Remembered};
use crate::endpoint::Endpoint;
use crate::reason::Reason;
use crate::revocations::Generation;
use crate::trust::Verifier;

/// What becomes of a stream while nobody can say what is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It ends: it would tell somebody of things to come who may not hear them any more.
    Ends,
    /// It goes on: it is the answer to a call that was judged.
    Passes,
}

impl Guard {
    /// A token that held, and that nothing revoked concerns. What is remembered of one that does not count any more is dropped.
    pub(super) fn unrevoked(
        &self,
        endpoint: &Endpoint,
        (verifier, key): (&Verifier, &Key),
        held: &Remembered,
    ) -> Result<(), Unidentified> {
        let generation = self.revocations.generation().map_err(Reason::from)?;
        if held.is_unrevoked_in(generation) {
            return Ok(());
        }
        let judged = self.judge_revoked(&held.vouched, endpoint.server());
        if let Err(reason) = judged {
            verifier.forget(key);
            return Err(Unidentified {
                reason,
                token: Some(held.vouched.token_id().clone()),
            });
        }
        held.unrevoked_in(generation);
        Ok(())
    }

    /// The same, of a caller that was identified when the request came: between its head and its body something may have been
    /// revoked.
    pub(super) fn still_unrevoked(
        &self,
        endpoint: &Endpoint,
        arrival: &Arrival,
        who: &VerifiedIdentity,
    ) -> Result<(), Reason> {
        let generation = self.revocations.generation()?;
        if generation == arrival.known() && generation != Generation::NONE {
            return Ok(());
        }
        self.judge_revoked(who.vouched(), endpoint.server())
    }

    /// Waits until what a caller showed counts no more.
    pub(crate) async fn revoked(&self, who: &VerifiedIdentity, server: &ServerName, doubt: Doubt) {
        // From before the first look: what comes after it is not missed.
        let mut changes = self.revocations.changes();
        loop {
            match (self.judge_revoked(who.vouched(), server), doubt) {
                (Ok(()), _) | (Err(Reason::RevocationsUnreadable(_)), Doubt::Passes) => {}
                (Err(_), Doubt::Ends | Doubt::Passes) => return,
            }
            // The sender is ours.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends the legacy and the sealed sessions at a server of those whom a revocation concerns, for as long as both live.
    pub(crate) fn end_revoked_sessions(self: &Arc<Self>, endpoint: &Endpoint) {
        let (server, sessions) = (
            endpoint.server().clone(),
            Arc::downgrade(endpoint.shared_sessions()),
        );
        let (mut changes, guard) = (self.revocations.changes(), Arc::downgrade(self));
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                let (Some(guard), Some(sessions)) = (guard.upgrade(), sessions.upgrade()) else {
                    return;
                };
                let over = |by: &Principal, since| {
                    let claim = Claim::of(by, since, Some(&server));
                    matches!(guard.revocations.judge(&claim), Ok(Some(_)))
                };
                sessions.end_where(over);
                if let Some(sealing) = &guard.sealing {
                    sealing.end_sessions_where(|by, at, since| *at == server && over(by, since));
                }
            }
        });
    }

    /// Whether anything that is revoked concerns what was shown. Fails closed: where nobody can say, it does not hold.
    pub(super) fn judge_revoked(&self, token: &Vouched, server: &ServerName) -> Result<(), Reason> {
        let principal = token.principal();
        let claim = Claim {
            token: Some(token.token_id()),
            grant: token.grant(),
            ..Claim::of(principal, token.issued(), Some(server))
        };
        match self.revocations.judge(&claim)? {
            None => Ok(()),
            Some(revoked) => Err(revoked.into()),
        }
    }
}
