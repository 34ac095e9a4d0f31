//! Requests that wait for their answers: what each is called on the wire, and what opens its result.
//!
//! rmcp counts its requests from 0 on every connection. On the wire each has a name of 128 random bits instead, so that
//! nobody on the way knows before how a call will be called, and no two calls of an agent are called the same, whichever
//! process makes them. A name has one spelling and takes one answer. What answers anything else answers nothing, whatever
//! rmcp would make of it (to which `"2"` is `2`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_core::jose::base64url;
use portcullis_core::random::{RandomUnavailable, SecureRandom as _};
use portcullis_core::seal::BoundCall;
use portcullis_net::random;
use serde_json::{Value, json};

use crate::sealing::exchange::Exchange;

/// The requests of one connection. Only this side adds to them.
#[derive(Default)]
pub(crate) struct Pending(Mutex<HashMap<String, Waiting>>);

/// A request that has no answer yet.
pub(crate) struct Waiting {
    /// What rmcp calls it.
    pub(crate) id: Value,
    /// What opens its result.
    pub(crate) sealed: Option<(Arc<Exchange>, BoundCall)>,
}

/// A request that was given its name, and does not wait yet.
pub(crate) struct Named {
    name: String,
    id: Value,
}

impl Pending {
    /// Puts names into a message that is about to go: its own, if it is a request, and that of the request it takes back.
    /// Ids of requests that the server made stay as they are.
    pub(crate) fn name(&self, message: &mut Value) -> Result<Option<Named>, RandomUnavailable> {
        let method = message.get("method").and_then(Value::as_str);
        if method == Some("notifications/cancelled") {
            if let Some(id) = message.pointer_mut("/params/requestId")
                && let Some(name) = self.name_of(id)
            {
                *id = json!(name);
            }
            return Ok(None);
        }
        let is_request = method.is_some();
        let Some(id) = message.get_mut("id").filter(|_| is_request) else {
            return Ok(None);
        };
        let mut bytes = [0; 16];
        random::System.fill(&mut bytes)?;
        let name = base64url::encode(bytes);
        let id = std::mem::replace(id, json!(name));
        Ok(Some(Named { name, id }))
    }

    /// From now on its answer is taken. Gives its name.
    pub(crate) fn expect(&self, named: Named, sealed: Option<(Arc<Exchange>, BoundCall)>) -> String {
        let Named { name, id } = named;
        self.waiting().insert(name.clone(), Waiting { id, sealed });
        name
    }

    /// The request of this name, which waits no more.
    pub(crate) fn take(&self, name: &str) -> Option<Waiting> {
        self.waiting().remove(name)
    }

    fn name_of(&self, id: &Value) -> Option<String> {
        let waiting = self.waiting();
        let found = waiting.iter().find(|(_, waiting)| waiting.id == *id);
        found.map(|(name, _)| name.clone())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(pending: &Pending, id: i64) -> String {
        let mut message = json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
        let named = pending.name(&mut message).unwrap().unwrap();
        let name = pending.expect(named, None);
        assert_eq!(message["id"], json!(name));
        name
    }

    #[test]
    fn a_request_has_a_name_that_nobody_can_tell_before_and_one_answer() {
        let (one, two) = (Pending::default(), Pending::default());
        let names = [expected(&one, 0), expected(&one, 1), expected(&two, 0)];
        assert!(names.iter().all(|name| name.len() == 22), "{names:?}");
        assert!(names[0] != names[1] && names[0] != names[2], "{names:?}");
        for other in ["0", "", &names[2], &format!("{} ", names[0])] {
            assert!(one.take(other).is_none(), "{other}");
        }
        assert_eq!(one.take(&names[0]).unwrap().id, json!(0));
        assert!(one.take(&names[0]).is_none(), "a second answer was taken");
    }

    #[test]
    fn what_is_taken_back_is_called_by_its_name_and_what_the_server_asked_by_the_servers() {
        let pending = Pending::default();
        let name = expected(&pending, 7);
        let mut cancelled =
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
        assert!(pending.name(&mut cancelled).unwrap().is_none());
        assert_eq!(cancelled["params"]["requestId"], json!(name));
        let mut answer = json!({"jsonrpc": "2.0", "id": 7, "result": {}});
        assert!(pending.name(&mut answer).unwrap().is_none());
        assert_eq!(answer["id"], json!(7));
    }
}
