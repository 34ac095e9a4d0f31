//! The sessions that the bridge gave out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_core::ids::Principal;

use super::session::Session;
use crate::gateway::upstream::UpstreamError;

/// Most sessions of one principal. Its own that was idle longest makes room: a client that forgets to end its sessions starts a
/// new one each time.
const SESSIONS_PER_PRINCIPAL: usize = 64;
/// Most sessions at one server. One that was idle too long makes room.
const SESSIONS: usize = 10_000;
/// A session that nobody used for this long is forgotten, and its client starts a new one.
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// The sessions of one server.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<Box<str>, Arc<Session>>>);

impl Sessions {
    /// A session, if it is the principal's.
    pub(super) fn find(&self, name: &str, of: &Principal) -> Option<Arc<Session>> {
        let table = self.table();
        let session = table.get(name)?;
        (session.of() == of).then(|| Arc::clone(session))
    }

    /// Keeps a session until it ends.
    pub(super) fn keep(&self, name: Box<str>, session: Session) -> Result<(), UpstreamError> {
        let mut table = self.table();
        let own = table.iter().filter(|(_, other)| other.of() == session.of());
        if own.clone().count() >= SESSIONS_PER_PRINCIPAL
            && let Some(idlest) = own
                .min_by_key(|(_, other)| other.used())
                .map(|(name, _)| name.clone())
            && let Some(ended) = table.remove(&idlest)
        {
            ended.end();
        }
        if table.len() >= SESSIONS {
            table.retain(|_, session| {
                let kept = session.used().elapsed() < IDLE;
                if !kept {
                    session.end();
                }
                kept
            });
        }
        if table.len() >= SESSIONS {
            return Err(UpstreamError::Busy);
        }
        table.insert(name, Arc::new(session));
        Ok(())
    }

    /// Ends a session: its calls are given up, and its stream is closed.
    pub(super) fn end(&self, name: &str) {
        if let Some(session) = self.table().remove(name) {
            session.end();
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Session>>> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::tests::session;
    use super::*;

    #[tokio::test]
    async fn sessions_of_one_at_the_limit_and_one_past_it() {
        let sessions = Sessions::default();
        for number in 0..SESSIONS_PER_PRINCIPAL {
            sessions.keep(number.to_string().into(), session("one")).unwrap();
        }
        sessions.keep("other".into(), session("other")).unwrap();
        let (one, other) = (session("one").of().clone(), session("other").of().clone());
        let first = sessions.find("0", &one).unwrap();
        assert!(sessions.find("0", &other).is_none(), "another's is not there");
        sessions.keep("more".into(), session("one")).unwrap();
        assert!(sessions.find("0", &one).is_none() && first.is_ended());
        assert!(sessions.find("1", &one).is_some() && sessions.find("other", &other).is_some());
    }

    #[tokio::test]
    async fn sessions_of_all_at_the_limit_and_one_past_it() {
        let sessions = Sessions::default();
        for number in 0..SESSIONS {
            let of = (number / SESSIONS_PER_PRINCIPAL).to_string();
            sessions.keep(number.to_string().into(), session(&of)).unwrap();
        }
        assert_eq!(sessions.keep("x".into(), session("x")), Err(UpstreamError::Busy));
        sessions.end("0");
        assert_eq!(sessions.keep("x".into(), session("x")), Ok(()));
    }
}
