//! What is known of the calls at a server that has tools with sealed fields.
//!
//! Their results are handed on as the answer to their call, sealed. By any other way (a session's own stream, another
//! call's answer, a task) a result is handed on when it is known here how, and not at all otherwise.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_core::ids::Principal;
use portcullis_core::wire::RequestId;
use serde_json::Value;

use crate::sealing::SealedAnswer;

/// Most calls with sealed fields that are known of one session. Its own oldest makes room.
const CALLS_OF_ONE: usize = 64;
/// Most such calls of one server. The oldest makes room.
const CALLS: usize = 100_000;
/// Most tasks known to be of tools without sealed results, of one server. The oldest makes room.
const TASKS: usize = 10_000;

/// Whose calls have ids of their own: a session's, or a principal's at a server without sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    Session(Box<str>),
    Principal(Principal),
}

impl Whose {
    pub(super) fn of(session: Option<&str>, principal: &Principal) -> Self {
        match session {
            Some(session) => Self::Session(session.into()),
            None => Self::Principal(principal.clone()),
        }
    }
}

/// Where a call is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(u64);

/// The calls of one server. What is forgotten is withheld later, never handed on in clear.
#[derive(Debug)]
pub(super) struct Calls<A = SealedAnswer>(Mutex<Table<A>>);

#[derive(Debug)]
struct Table<A> {
    /// In the order in which they were made.
    sealed: BTreeMap<u64, Sealed<A>>,
    /// The places of each one's calls in `sealed`, oldest first.
    of: HashMap<Whose, VecDeque<u64>>,
    next: u64,
    clear_tasks: HashSet<Box<str>>,
    task_order: VecDeque<Box<str>>,
}

#[derive(Debug)]
struct Sealed<A> {
    whose: Whose,
    id: Value,
    /// Does not keep the keys of a session that was ended.
    answer: A,
    answered: bool,
}

impl<A> Default for Calls<A> {
    fn default() -> Self {
        Self(Mutex::new(Table {
            sealed: BTreeMap::new(),
            of: HashMap::new(),
            next: 0,
            clear_tasks: HashSet::new(),
            task_order: VecDeque::new(),
        }))
    }
}

impl<A: Clone> Calls<A> {
    /// Remembers a call with sealed fields, and says where.
    pub(super) fn note(&self, whose: &Whose, id: &RequestId, answer: &A) -> Place {
        // It has been read as JSON before.
        let id = serde_json::from_str(id.as_json()).unwrap_or_default();
        let mut table = self.table();
        if table.of.get(whose).is_some_and(|own| own.len() >= CALLS_OF_ONE) {
            let oldest = table.of.get(whose).and_then(VecDeque::front).copied();
            table.forget(oldest);
        }
        if table.sealed.len() >= CALLS {
            let oldest = table.sealed.first_key_value().map(|(place, _)| *place);
            table.forget(oldest);
        }
        let place = table.next;
        table.next = place.saturating_add(1);
        let call = Sealed {
            whose: whose.clone(),
            id,
            answer: answer.clone(),
            answered: false,
        };
        table.sealed.insert(place, call);
        table.of.entry(whose.clone()).or_default().push_back(place);
        Place(place)
    }

    /// Its answer has come.
    pub(super) fn answered(&self, place: Place) {
        if let Some(call) = self.table().sealed.get_mut(&place.0) {
            call.answered = true;
        }
    }

    /// Whether what comes as the answer to another request of this id could be that to such a call, since a server may find
    /// the one by the other. In a session an id is of one request (MCP); without one, as long as the call is not answered.
    pub(super) fn claims(&self, whose: &Whose, id: &Value) -> bool {
        let table = self.table();
        let mut own = table.of.get(whose).into_iter().flatten();
        let in_session = matches!(whose, Whose::Session(_));
        own.any(|place| {
            let call = table.sealed.get(place);
            call.is_some_and(|call| call.id == *id && (in_session || !call.answered))
        })
    }

    /// What seals the result of the last such call of this id.
    pub(super) fn find(&self, whose: &Whose, id: &Value) -> Option<A> {
        let table = self.table();
        let own = table.of.get(whose)?;
        let mut calls = own.iter().rev().filter_map(|place| table.sealed.get(place));
        calls.find(|call| call.id == *id).map(|call| call.answer.clone())
    }

    /// Forgets the calls of a session that ended.
    pub(super) fn end(&self, session: &str) {
        let mut table = self.table();
        let own = table.of.remove(&Whose::Session(session.into()));
        for place in own.unwrap_or_default() {
            drop(table.sealed.remove(&place));
        }
    }

    /// Remembers that a task is of a tool whose results are not sealed: its own answer said so.
    pub(super) fn note_clear_task(&self, task: &str) {
        let mut table = self.table();
        if !table.clear_tasks.insert(task.into()) {
            return;
        }
        table.task_order.push_back(task.into());
        if table.clear_tasks.len() > TASKS
            && let Some(oldest) = table.task_order.pop_front()
        {
            table.clear_tasks.remove(&oldest);
        }
    }

    /// Whether it is known that a task is of a tool whose results are not sealed.
    pub(super) fn is_clear_task(&self, task: &str) -> bool {
        self.table().clear_tasks.contains(task)
    }

    fn table(&self) -> MutexGuard<'_, Table<A>> {
        // A panic between two steps leaves a call that is not found: its result is withheld.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> Table<A> {
    fn forget(&mut self, place: Option<u64>) {
        let Some(call) = place.and_then(|place| self.sealed.remove(&place)) else {
            return;
        };
        if let Some(own) = self.of.get_mut(&call.whose) {
            // Both orders are the same, so it is the first of its own too.
            own.pop_front();
            if own.is_empty() {
                self.of.remove(&call.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use portcullis_core::ids::{ClientId, Issuer, Subject};
    use portcullis_core::wire::Call;
    use serde_json::json;

    use super::*;

    fn id(id: &Value) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        let ping = json!({"jsonrpc": "2.0", "id": id, "method": "ping"}).to_string();
        Call::parse(&headers, ping.into()).unwrap().id().unwrap().clone()
    }

    fn session(name: &str) -> Whose {
        Whose::Session(name.into())
    }

    #[test]
    fn a_call_is_known_to_whom_it_is_of_by_the_id_that_it_has() {
        let principal = Principal {
            issuer: Issuer::parse("https://as.example").unwrap(),
            subject: Subject::parse("alice").unwrap(),
            client: ClientId::parse("agent").unwrap(),
        };
        let calls = Calls::<u32>::default();
        let _place = calls.note(&Whose::of(Some("s"), &principal), &id(&json!(7)), &1);
        let _place = calls.note(&Whose::of(None, &principal), &id(&json!(7)), &2);
        let _place = calls.note(&session("s"), &id(&json!("7")), &3);
        assert_eq!(calls.find(&session("s"), &json!(7)), Some(1));
        assert_eq!(calls.find(&session("s"), &json!("7")), Some(3));
        assert_eq!(calls.find(&Whose::Principal(principal), &json!(7)), Some(2));
        assert_eq!(calls.find(&session("t"), &json!(7)), None);
        assert_eq!(calls.find(&session("s"), &json!(7.0)), None);
        // Of two with the same id, the last.
        let _place = calls.note(&session("s"), &id(&json!(7)), &4);
        assert_eq!(calls.find(&session("s"), &json!(7)), Some(4));
    }

    #[test]
    fn an_id_is_of_one_call_in_a_session_and_elsewhere_until_it_is_answered() {
        let principal = Principal {
            issuer: Issuer::parse("https://as.example").unwrap(),
            subject: Subject::parse("alice").unwrap(),
            client: ClientId::parse("agent").unwrap(),
        };
        for (whose, stays) in [(session("s"), true), (Whose::Principal(principal), false)] {
            let calls = Calls::<u32>::default();
            assert!(!calls.claims(&whose, &json!(7)));
            let place = calls.note(&whose, &id(&json!(7)), &1);
            assert!(calls.claims(&whose, &json!(7)) && !calls.claims(&whose, &json!(8)));
            calls.answered(place);
            assert_eq!(calls.claims(&whose, &json!(7)), stays);
            assert_eq!(calls.find(&whose, &json!(7)), Some(1));
        }
    }

    #[test]
    fn an_ended_session_leaves_nothing() {
        let calls = Calls::<u32>::default();
        for name in ["s", "t"] {
            let _place = calls.note(&session(name), &id(&json!(1)), &1);
        }
        calls.end("s");
        assert_eq!(calls.find(&session("s"), &json!(1)), None);
        assert_eq!(calls.find(&session("t"), &json!(1)), Some(1));
        calls.end("t");
        let table = calls.table();
        assert!(table.sealed.is_empty() && table.of.is_empty());
    }

    #[test]
    fn the_oldest_makes_room_among_ones_own_and_among_all() {
        let calls = Calls::<usize>::default();
        let ids: Vec<RequestId> = (0..=CALLS_OF_ONE).map(|i| id(&json!(i))).collect();
        for (place, id) in ids.iter().enumerate() {
            let _place = calls.note(&session("s"), id, &place);
        }
        assert_eq!(calls.find(&session("s"), &json!(0)), None);
        assert_eq!(calls.find(&session("s"), &json!(1)), Some(1));
        assert_eq!(calls.table().sealed.len(), CALLS_OF_ONE);
        for other in CALLS_OF_ONE..CALLS {
            let _place = calls.note(&session(&format!("t{other}")), &ids[0], &other);
        }
        assert_eq!(calls.find(&session("s"), &json!(1)), Some(1), "at the limit");
        let _place = calls.note(&session("u"), &ids[0], &0);
        assert_eq!(calls.find(&session("s"), &json!(1)), None, "one past it");
        assert_eq!(calls.find(&session("s"), &json!(2)), Some(2));
        assert_eq!(calls.table().sealed.len(), CALLS);
    }

    #[test]
    fn clear_tasks_are_known_up_to_the_limit() {
        let calls = Calls::<u32>::default();
        for task in 0..TASKS {
            calls.note_clear_task(&task.to_string());
            calls.note_clear_task(&task.to_string());
        }
        assert!(calls.is_clear_task("0") && !calls.is_clear_task("x"));
        calls.note_clear_task("x");
        assert!(!calls.is_clear_task("0") && calls.is_clear_task("1") && calls.is_clear_task("x"));
    }
}
