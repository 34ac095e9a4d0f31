//! Legacy sessions and whose they are.
//!
//! A session id is an address, never a credential (MCP, Session hijacking): every request still brings its
//! token, and a session answers only to the principal that opened it. The binding is to issuer, subject and
//! client, so it survives a refreshed token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_core::identity::VerifiedIdentity;
use portcullis_core::ids::Principal;
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_core::wire::{Call, Kind, Method};

use crate::reason::Reason;
use crate::streams::Streams;

/// Most sessions of one server. The one that was idle longest makes room.
pub(crate) const SESSIONS: usize = 10_000;
/// Most sessions that one principal has at one server. Its own idlest makes room, so that nobody ends
/// another's sessions.
pub(crate) const SESSIONS_PER_PRINCIPAL: usize = 256;
/// A session idle for longer is forgotten, and its client starts a new one. An id without its principal's
/// token is of no use to anyone, so this bounds memory and nothing else.
pub(crate) const SESSION_IDLE: Lifetime = Lifetime::from_hours(24);

/// The legacy sessions of one server, and the streams that are open at it.
#[derive(Debug, Default)]
pub struct Sessions {
    table: Mutex<Table>,
    streams: Arc<Streams>,
}

#[derive(Debug, Default)]
struct Table {
    held: HashMap<Box<str>, Held>,
    /// Whether the server ever gave out a session.
    in_use: bool,
}

#[derive(Debug)]
struct Held {
    by: Principal,
    since: UnixTime,
    last_used: UnixTime,
}

/// The server gave out a session that another principal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server gave out a session that another principal has")]
pub struct SessionTaken;

impl Sessions {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet, at a server that has so many streams at the most.
    #[must_use]
    pub fn with_streams(most: usize) -> Self {
        Self {
            streams: Arc::new(Streams::at_most(most)),
            ..Self::default()
        }
    }

    /// The streams that are open at the server.
    #[must_use]
    pub fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }

    /// Checks that the session which the call names, if any, is the caller's, and notes that it was used; and
    /// that the caller may have one more stream, if the answer can be one.
    pub(crate) fn check(&self, call: &Call, who: &VerifiedIdentity, now: UnixTime) -> Result<(), Reason> {
        self.check_session(call, who, now)?;
        match (call.method(), call.kind()) {
            (Method::OpenStream | Method::SubscriptionsListen, _) => {
                self.streams.check_endless(who.principal())
            }
            (_, Kind::Request) => self.streams.check(who.principal()),
            // Ending a session, and a message that has no answer, help a caller who has too many.
            (_, Kind::Transport | Kind::Notification | Kind::Response) => Ok(()),
        }
    }

    fn check_session(&self, call: &Call, who: &VerifiedIdentity, now: UnixTime) -> Result<(), Reason> {
        let Some(session) = call.session() else {
            return match call.kind() {
                Kind::Transport if self.table().in_use => Err(Reason::SessionNeeded),
                Kind::Transport | Kind::Request | Kind::Notification | Kind::Response => Ok(()),
            };
        };
        let mut table = self.table();
        match table.held.get_mut(session) {
            Some(held) if held.by == *who.principal() && !held.idle_at(now) => {
                held.last_used = now;
                Ok(())
            }
            // Another's session is unknown here, like one that never was.
            Some(_) | None => Err(Reason::SessionUnknown),
        }
    }

    /// Binds a session that the server gave out on `initialize`.
    ///
    /// # Errors
    /// [`SessionTaken`]: whoever has it keeps it.
    pub fn bind(&self, session: &str, by: Principal, now: UnixTime) -> Result<(), SessionTaken> {
        let mut table = self.table();
        table.in_use = true;
        match table.held.get(session) {
            Some(held) if held.by != by && !held.idle_at(now) => return Err(SessionTaken),
            Some(_) => {}
            None => table.make_room(&by, now),
        }
        let held = Held {
            by,
            since: now,
            last_used: now,
        };
        table.held.insert(session.into(), held);
        Ok(())
    }

    /// Forgets a session that the server ended, or that its principal did.
    pub fn end(&self, session: &str) {
        self.table().held.remove(session);
    }

    /// Forgets the sessions of whom this is true, by the principal and since when it has the session.
    pub(crate) fn end_where(&self, over: impl Fn(&Principal, UnixTime) -> bool) {
        self.table().held.retain(|_, held| !over(&held.by, held.since));
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Runs at `initialize` only, so it may look at every session.
    fn make_room(&mut self, by: &Principal, now: UnixTime) {
        let own = self.held.values().filter(|held| held.by == *by).count();
        if own >= SESSIONS_PER_PRINCIPAL {
            self.forget_idlest(|held| held.by == *by);
        }
        if self.held.len() >= SESSIONS {
            self.held.retain(|_, held| !held.idle_at(now));
        }
        if self.held.len() >= SESSIONS {
            self.forget_idlest(|_| true);
        }
    }

    fn forget_idlest(&mut self, among: impl Fn(&Held) -> bool) {
        let idlest = self
            .held
            .iter()
            .filter(|(_, held)| among(held))
            .min_by_key(|(_, held)| held.last_used);
        if let Some(session) = idlest.map(|(session, _)| session.clone()) {
            self.held.remove(&session);
        }
    }
}

impl Held {
    fn idle_at(&self, now: UnixTime) -> bool {
        now >= self.last_used.plus(SESSION_IDLE)
    }
}
