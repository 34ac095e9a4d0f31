//! Who waits for what from one child: request ids, and the messages that belong to them.
//!
//! Clients choose their own ids, and two clients of one principal choose the same. A child sees ids of ours instead, and each client
//! sees its own come back as it wrote it. In the modern era the same goes for progress tokens, which clients choose as carelessly.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use portcullis_core::wire::Era;
use tokio::time::Instant;

use super::message::{Message, Notification, Response, canonical, renamed};
use super::outbox::{Broken, Event, Outbox, Reader};

/// The table of one child.
#[derive(Debug)]
pub(in crate::gateway) struct Exchange {
    era: Era,
    /// Most requests that wait at one time.
    most: usize,
    /// Most bytes that wait for one client.
    stream: usize,
    /// What belongs to no request, for the session's GET stream; legacy only.
    common: Arc<Outbox>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: bool,
    last_number: u64,
    pending: HashMap<u64, Pending>,
    used: Instant,
}

#[derive(Debug)]
struct Pending {
    /// The client's own id, as its JSON text.
    id: Box<str>,
    progress: Option<Token>,
    awaits: Awaits,
    stream: Arc<Outbox>,
}

/// A progress token.
#[derive(Debug)]
struct Token {
    /// What the child has, in its canonical spelling.
    sent: String,
    /// What the client gave, as its JSON text.
    own: Box<str>,
}

/// What a request is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Awaits {
    /// An answer.
    Answer,
    /// The notifications before it: `subscriptions/listen`.
    Events,
}

/// A request that may now be written to the child.
#[derive(Debug)]
pub(in crate::gateway) struct Begun {
    /// What the child knows it by.
    pub(in crate::gateway) number: u64,
    pub(in crate::gateway) line: Bytes,
    pub(in crate::gateway) events: Reader,
}

/// Why a request does not begin. The child has seen nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum NotBegun {
    /// The child is gone, or going.
    Closed,
    /// Too many wait already.
    Busy,
    /// The bytes are no request.
    NotARequest,
}

/// What became of a line of the child's.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Heard {
    /// Somebody has it.
    Delivered,
    /// It is to be answered with this, by us.
    Reply(Bytes),
    /// Whoever it was for does not read: the request is given up.
    GivenUp(u64),
    /// It is for nobody.
    Unclaimed,
    /// It is no JSON-RPC message.
    NotAMessage,
}

/// Whose a message is.
#[derive(Clone, Copy)]
enum Owner {
    Request(u64),
    Session,
    Nobody,
}

impl Exchange {
    pub(in crate::gateway) fn new(era: Era, most: usize, stream: usize) -> Self {
        let state = State {
            open: true,
            last_number: 0,
            pending: HashMap::new(),
            used: Instant::now(),
        };
        Self {
            era,
            most,
            stream,
            common: Outbox::new(stream),
            state: Mutex::new(state),
        }
    }

    /// Gives a request a number of its own.
    pub(in crate::gateway) fn begin(&self, body: &str, awaits: Awaits) -> Result<Begun, NotBegun> {
        let Some(Message::Request(request)) = Message::read(body) else {
            return Err(NotBegun::NotARequest);
        };
        let mut state = self.state();
        if !state.open {
            return Err(NotBegun::Closed);
        }
        if state.pending.len() >= self.most {
            return Err(NotBegun::Busy);
        }
        state.used = Instant::now();
        state.last_number = state.last_number.saturating_add(1);
        let number = state.last_number;
        let name = number.to_string();
        let token = |sent| {
            request.progress.map(|own| Token {
                sent,
                own: own.into(),
            })
        };
        let (line, progress) = match self.era {
            Era::Modern => (
                renamed(body, &[(Some(request.id), &name), (request.progress, &name)]),
                token(name),
            ),
            // A session has one client, and a token of its may outlive the request (2025-11-25, tasks): it stays.
            Era::Legacy => (
                renamed(body, &[(Some(request.id), &name)]),
                token(request.progress.map(canonical).unwrap_or_default()),
            ),
        };
        let stream = Outbox::new(self.stream);
        let events = stream.read();
        state.pending.insert(
            number,
            Pending {
                id: request.id.into(),
                progress,
                awaits,
                stream,
            },
        );
        Ok(Begun { number, line, events })
    }

    /// A client's notification or response as the child must see it; `None` when it is about nothing the child knows. A request
    /// that is cancelled waits no longer: its stream ends without an answer.
    pub(in crate::gateway) fn outgoing(&self, body: &str) -> Option<Bytes> {
        let mut state = self.state();
        state.used = Instant::now();
        match Message::read(body)? {
            Message::Notification(note) if note.method == "notifications/cancelled" => match self.era {
                // Over HTTP a modern client cancels by closing the response, and two clients may have given the same id.
                Era::Modern => None,
                Era::Legacy => {
                    let wanted = canonical(note.request?);
                    let number = *state
                        .pending
                        .iter()
                        .find(|(_, pending)| canonical(&pending.id) == wanted)?
                        .0;
                    // No answer need come any more (MCP 2025-11-25, Cancellation), and one that does is for nobody.
                    if let Some(pending) = state.pending.remove(&number) {
                        pending.stream.end(Ok(()));
                    }
                    Some(renamed(body, &[(note.request, &number.to_string())]))
                }
            },
            Message::Notification(_) | Message::Response(_) => Some(renamed(body, &[])),
            Message::Request(_) => None,
        }
    }

    /// Takes a line of the child's to whom it belongs.
    pub(in crate::gateway) fn receive(&self, line: &str) -> Heard {
        let message = Message::read(line);
        let mut state = self.state();
        match (message, self.era) {
            (None, _) => Heard::NotAMessage,
            (Some(Message::Response(response)), _) => state.answer(line, &response),
            (Some(Message::Notification(note)), era) => {
                let owner = match era {
                    Era::Modern => state.owner_by_name(&note),
                    Era::Legacy => state.owner_in_session(note.progress),
                };
                self.deliver(&mut state, owner, line, Some(&note))
            }
            (Some(Message::Request(_)), Era::Legacy) => {
                let owner = state.owner_in_session(None);
                self.deliver(&mut state, owner, line, None)
            }
            // MCP 2026-07-28: a server asks nothing by itself. Told so, it does not wait for an answer.
            (Some(Message::Request(request)), Era::Modern) => Heard::Reply(Bytes::from(format!(
                r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32601,"message":"a stateless client answers no requests"}}}}"#,
                request.id
            ))),
        }
    }

    fn deliver(&self, state: &mut State, owner: Owner, line: &str, note: Option<&Notification<'_>>) -> Heard {
        match owner {
            Owner::Nobody => Heard::Unclaimed,
            Owner::Session => match self.common.push(Event::Message(renamed(line, &[]))) {
                Ok(()) => Heard::Delivered,
                Err(_) => Heard::Unclaimed,
            },
            Owner::Request(number) => {
                let Some(pending) = state.pending.get(&number) else {
                    return Heard::Unclaimed;
                };
                let mut names: Vec<(Option<&str>, &str)> = Vec::new();
                if let Some(note) = note {
                    names.push((
                        note.subscription.filter(|_| pending.awaits == Awaits::Events),
                        &pending.id,
                    ));
                    names.extend(
                        pending
                            .progress
                            .as_ref()
                            .map(|token| (note.progress, &*token.own)),
                    );
                }
                let event = Event::Message(renamed(line, &names));
                if pending.stream.push(event).is_ok() {
                    return Heard::Delivered;
                }
                pending.stream.end(Err(Broken::NotRead));
                match self.era {
                    Era::Modern => {
                        state.pending.remove(&number);
                        Heard::GivenUp(number)
                    }
                    // Disconnecting is not cancelling there, and not reading is no more.
                    Era::Legacy => Heard::Unclaimed,
                }
            }
        }
    }

    /// Forgets a request, if it is still waiting.
    pub(in crate::gateway) fn forget(&self, number: u64) -> Forgot {
        match self.state().pending.remove(&number) {
            Some(_) => Forgot::Waiting,
            None => Forgot::Nothing,
        }
    }

    /// The era that the child is spoken to in.
    pub(in crate::gateway) fn era(&self) -> Era {
        self.era
    }

    /// Begins to read what belongs to no request. Whoever read it before gets no more.
    pub(in crate::gateway) fn common(&self) -> Reader {
        self.common.read()
    }

    /// When a client last used it.
    pub(in crate::gateway) fn used(&self) -> Instant {
        self.state().used
    }

    /// Whether requests may begin.
    pub(in crate::gateway) fn is_open(&self) -> bool {
        self.state().open
    }

    /// Whether a client waits for anything.
    pub(in crate::gateway) fn is_awaited(&self) -> bool {
        self.common.is_read()
            || self
                .state()
                .pending
                .values()
                .any(|pending| pending.stream.is_read())
    }

    /// Lets no more requests begin.
    pub(in crate::gateway) fn close(&self) {
        self.state().open = false;
    }

    /// Closes if no client waits, and none has for this long.
    pub(in crate::gateway) fn close_if_idle(&self, limit: Duration) -> bool {
        let common = self.common.is_read();
        let mut state = self.state();
        let idle = !common
            && state.used.elapsed() >= limit
            && !state.pending.values().any(|pending| pending.stream.is_read());
        state.open &= !idle;
        idle
    }

    /// Breaks every stream of a request.
    pub(in crate::gateway) fn fail(&self, why: &Broken) {
        for (_, pending) in self.state().pending.drain() {
            pending.stream.end(Err(why.clone()));
        }
    }

    /// Ends the common stream.
    pub(in crate::gateway) fn end(&self) {
        self.common.end(Ok(()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether there was anything to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Forgot {
    /// It was still waiting.
    Waiting,
    /// It had been answered.
    Nothing,
}

impl State {
    /// An answer goes to its request, once.
    fn answer(&mut self, line: &str, response: &Response<'_>) -> Heard {
        let number = response.id.parse().ok();
        let Some(pending) = number.and_then(|number: u64| self.pending.remove(&number)) else {
            return Heard::Unclaimed;
        };
        self.used = Instant::now();
        let subscription = response.subscription.filter(|_| pending.awaits == Awaits::Events);
        let json = renamed(
            line,
            &[(Some(response.id), &pending.id), (subscription, &pending.id)],
        );
        match pending.stream.push(Event::Answer {
            json,
            error: response.error,
        }) {
            Ok(()) => Heard::Delivered,
            Err(_) => Heard::Unclaimed,
        }
    }

    /// The modern era: notifications name what they belong to. A log message does not, and is told apart only when there is no doubt.
    fn owner_by_name(&self, note: &Notification<'_>) -> Owner {
        let found = if let Some(subscription) = note.subscription {
            let number = canonical(subscription).parse().ok();
            number.filter(|number| {
                self.pending
                    .get(number)
                    .is_some_and(|pending| pending.awaits == Awaits::Events)
            })
        } else if note.progress.is_some() {
            self.by_token(note.progress)
        } else if note.method == "notifications/message" {
            only(
                self.pending
                    .iter()
                    .filter(|(_, pending)| pending.awaits == Awaits::Answer),
            )
        } else {
            None
        };
        found.map_or(Owner::Nobody, Owner::Request)
    }

    /// The legacy era: to the request it names or to the only one there is, if its client is still there; else to the session.
    fn owner_in_session(&self, progress: Option<&str>) -> Owner {
        let reads = |number: &u64| {
            self.pending
                .get(number)
                .is_some_and(|pending| pending.stream.is_read())
        };
        let found = match progress {
            Some(_) => self.by_token(progress).filter(reads),
            None => only(
                self.pending
                    .iter()
                    .filter(|(_, pending)| pending.stream.is_read()),
            ),
        };
        found.map_or(Owner::Session, Owner::Request)
    }

    fn by_token(&self, progress: Option<&str>) -> Option<u64> {
        let sent = canonical(progress?);
        let known = |pending: &Pending| pending.progress.as_ref().is_some_and(|token| token.sent == sent);
        self.pending
            .iter()
            .find(|(_, pending)| known(pending))
            .map(|(number, _)| *number)
    }
}

/// The number of the only one, if there is exactly one.
fn only<'p>(mut pending: impl Iterator<Item = (&'p u64, &'p Pending)>) -> Option<u64> {
    match (pending.next(), pending.next()) {
        (Some((number, _)), None) => Some(*number),
        (None | Some(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: u64) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"t"}}}}"#)
    }

    fn cancelled(id: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#)
    }

    #[tokio::test]
    async fn requests_that_are_cancelled_leave_their_places_at_the_limit_and_one_past_it() {
        let exchange = Exchange::new(Era::Legacy, 2, 1_000);
        let mut first = exchange.begin(&call(1), Awaits::Answer).unwrap();
        drop(exchange.begin(&call(2), Awaits::Answer).unwrap().events);
        let third = || exchange.begin(&call(3), Awaits::Answer);
        assert_eq!(third().unwrap_err(), NotBegun::Busy);
        for (id, number) in [("1", first.number), ("2", 2)] {
            let told = exchange.outgoing(&cancelled(id)).unwrap();
            assert!(String::from_utf8_lossy(&told).contains(&format!(r#""requestId":{number}"#)));
        }
        assert_eq!(first.events.next().await, None, "its stream ends");
        assert_eq!(exchange.outgoing(&cancelled("1")), None, "once");
        assert_eq!(
            exchange.receive(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
            Heard::Unclaimed
        );
        third().unwrap();
        third().unwrap();
        assert_eq!(third().unwrap_err(), NotBegun::Busy);
    }
}
