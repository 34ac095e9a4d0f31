//! The sessions that were agreed on: whose each is, and for how long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::ids::{Principal, ServerName};
use portcullis_core::seal::session::Session;
use portcullis_core::seal::{self, SessionId};
use portcullis_core::time::UnixTime;

use super::refused::SealProblem;

/// Most sessions at one time.
pub(crate) const SEALED_SESSIONS: usize = 10_000;
/// Most sessions of one principal. Its own oldest makes room, so that nobody ends another's.
pub(crate) const SEALED_SESSIONS_PER_PRINCIPAL: usize = 16;

/// The sessions. Dropping them wipes their keys.
#[derive(Debug, Default)]
pub(super) struct Agreed(Mutex<HashMap<SessionId, Held>>);

#[derive(Debug)]
struct Held {
    by: Principal,
    at: ServerName,
    since: UnixTime,
    session: Arc<Session>,
}

impl Agreed {
    pub(super) fn keep(
        &self,
        by: Principal,
        at: ServerName,
        session: Session,
        now: UnixTime,
    ) -> Result<(), SealProblem> {
        let mut held = self.held();
        held.retain(|_, held| now < held.session.until());
        let own = held.iter().filter(|(_, held)| held.by == by);
        if own.clone().count() >= SEALED_SESSIONS_PER_PRINCIPAL {
            let oldest = own.min_by_key(|(_, held)| held.since).map(|(id, _)| *id);
            if let Some(oldest) = oldest {
                drop(held.remove(&oldest));
            }
        }
        if held.len() >= SEALED_SESSIONS {
            return Err(SealProblem::TooManySessions);
        }
        let session = Arc::new(session);
        let entry = Held {
            by,
            at,
            since: now,
            session,
        };
        held.insert(entry.session.id(), entry);
        Ok(())
    }

    /// The session of this name, if it is the caller's at this server: another's is unknown here, like one that never was.
    pub(super) fn find(
        &self,
        id: SessionId,
        who: &VerifiedIdentity,
        at: &ServerName,
        now: UnixTime,
    ) -> Result<Arc<Session>, SealProblem> {
        let held = self.held();
        held.get(&id)
            .filter(|held| held.by == *who.principal() && held.at == *at && now < held.session.until())
            .map(|held| Arc::clone(&held.session))
            .ok_or(SealProblem::Fields(seal::Error::SessionUnknown))
    }

    /// Ends all sessions of a principal, and says how many there were.
    pub(super) fn end(&self, who: &VerifiedIdentity) -> usize {
        let mut held = self.held();
        let before = held.len();
        held.retain(|_, held| held.by != *who.principal());
        before.saturating_sub(held.len())
    }

    /// Ends the sessions of whom this is true, by the principal, the server and since when the principal has it.
    pub(super) fn end_where(&self, over: impl Fn(&Principal, &ServerName, UnixTime) -> bool) {
        self.held()
            .retain(|_, held| !over(&held.by, &held.at, held.since));
    }

    /// Ends those whose time is over.
    pub(super) fn sweep(&self, now: UnixTime) {
        self.held().retain(|_, held| now < held.session.until());
    }

    fn held(&self) -> MutexGuard<'_, HashMap<SessionId, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
