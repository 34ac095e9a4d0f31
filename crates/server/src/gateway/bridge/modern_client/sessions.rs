//! Which sessions the bridge has at one server: one for each principal and each set of capabilities that its requests declare.
//!
//! A legacy session agrees once on what the client can be asked, a modern request says it each time. Two requests that say the same
//! share a session, so that a server which looks at the capabilities sees those of the request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use http::Response;
use portcullis_core::bridge::Request;
use portcullis_core::ids::Principal;
use portcullis_net::fetch::Body;

use super::session::Session;
use crate::gateway::bridge::line::Line;
use crate::gateway::bridge::reply::nothing;
use crate::gateway::bridge::this_client;
use crate::gateway::upstream::UpstreamError;

/// Most sessions that one principal has at one server. Its own that was idle longest makes room.
pub(super) const SESSIONS_PER_PRINCIPAL: usize = 8;
/// Most sessions at one server. One that nobody uses makes room.
pub(super) const SESSIONS: usize = 1_000;

/// Whose, and for which capabilities.
type Key = (Principal, [u8; 32]);
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Session>>>>;

/// The sessions of one server.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<Key, Slot>>);

/// Why there is no session.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// The server gave no useful answer.
    Upstream(UpstreamError),
    /// It refused, with this.
    Refused(Box<Response<Body>>),
}

impl From<UpstreamError> for NotOpened {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

impl Sessions {
    /// The principal's session for such a request: one that there is, or a new one.
    pub(super) async fn of(&self, line: &Line, request: &Request<'_>) -> Result<Arc<Session>, NotOpened> {
        let none = nothing();
        let capabilities = request.capabilities().unwrap_or(&none);
        let key = (line.principal.clone(), of_capabilities(capabilities.get()));
        let slot = self.slot(key)?;
        // One at a time: whoever comes second finds the first one's.
        let mut slot = slot.lock().await;
        if let Some(session) = slot
            .as_ref()
            .filter(|session| session.is_open() && session.line().same_credential(line))
        {
            return Ok(Arc::clone(session));
        }
        let own = this_client();
        let client = request.client().unwrap_or(&own);
        let session = Session::open(line.clone(), capabilities, client).await?;
        *slot = Some(Arc::clone(&session));
        Ok(session)
    }

    fn slot(&self, key: Key) -> Result<Slot, UpstreamError> {
        let mut table = self.table();
        if let Some(slot) = table.get(&key) {
            return Ok(Arc::clone(slot));
        }
        if table.len() >= SESSIONS {
            table.retain(|_, slot| !is_closed(slot));
        }
        let own = table.keys().filter(|(principal, _)| *principal == key.0).count();
        if own >= SESSIONS_PER_PRINCIPAL {
            make_room(&mut table, |(principal, _)| *principal == key.0);
        }
        if table.len() >= SESSIONS {
            make_room(&mut table, |_| true);
        }
        let own = table.keys().filter(|(principal, _)| *principal == key.0).count();
        if own >= SESSIONS_PER_PRINCIPAL || table.len() >= SESSIONS {
            return Err(UpstreamError::Busy);
        }
        let slot = Slot::default();
        table.insert(key, Arc::clone(&slot));
        Ok(slot)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Capabilities are compared however they are spelled.
fn of_capabilities(text: &str) -> [u8; 32] {
    let canonical = serde_json::from_str::<serde_json::Value>(text).map(|value| value.to_string());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, canonical.as_deref().unwrap_or(text).as_bytes()).as_ref());
    bytes
}

fn is_closed(slot: &Slot) -> bool {
    slot.try_lock()
        .is_ok_and(|slot| slot.as_ref().is_none_or(|session| !session.is_open()))
}

/// Forgets the session among these that was idle longest, if one is idle: nothing of it is lost.
fn make_room(table: &mut HashMap<Key, Slot>, among: impl Fn(&Key) -> bool) {
    let idle = table
        .iter()
        .filter(|(key, _)| among(key))
        .filter_map(|(key, slot)| {
            // One that is locked is being opened.
            let slot = slot.try_lock().ok()?;
            match slot
                .as_ref()
                .filter(|session| session.is_open())
                .map(|session| session.used())
            {
                None => Some((key, None)),
                Some((used, false)) => Some((key, Some(used))),
                Some((_, true)) => None,
            }
        });
    let idlest = idle.min_by_key(|(_, used)| *used).map(|(key, _)| key.clone());
    if let Some(key) = idlest {
        table.remove(&key);
    }
}
