//! Legacy sessions: one child each, for one principal.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::child::Child;
use crate::gateway::upstream::Principal;

/// Most sessions of one principal. The one that was idle longest makes room: a client that forgets to end its sessions starts a
/// new one each time, and cannot know the others.
pub(super) const SESSIONS_PER_PRINCIPAL: usize = 8;

/// The sessions of one server.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<Box<str>, Session>>);

#[derive(Debug)]
struct Session {
    of: Principal,
    child: Arc<Child>,
}

impl Sessions {
    /// The child of a session, if it lives and is the principal's.
    pub(super) fn find(&self, session: &str, of: &Principal) -> Option<Arc<Child>> {
        let table = self.table();
        let session = table.get(session)?;
        (session.of == *of && session.child.exchange().is_open()).then(|| Arc::clone(&session.child))
    }

    /// Keeps a session until it ends.
    pub(super) fn keep(&self, session: Box<str>, of: Principal, child: Arc<Child>) {
        let mut table = self.table();
        table.retain(|_, session| session.child.exchange().is_open());
        let own = table.iter().filter(|(_, session)| session.of == of);
        if own.clone().count() >= SESSIONS_PER_PRINCIPAL
            && let Some(idlest) = own
                .min_by_key(|(_, session)| session.child.exchange().used())
                .map(|(id, _)| id.clone())
            && let Some(session) = table.remove(&idlest)
        {
            session.child.stop();
        }
        table.insert(session, Session { of, child });
    }

    /// Ends a session and its child. `None` when there is none of the principal's.
    pub(super) fn end(&self, session: &str, of: &Principal) -> Option<()> {
        let child = self.find(session, of)?;
        self.table().remove(session);
        child.stop();
        Some(())
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Box<str>, Session>> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
