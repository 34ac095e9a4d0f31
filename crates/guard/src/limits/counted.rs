//! Refusals that are counted, so that a flood does not fill the log.
//!
//! The first refusal for want of a quota is on record like any other. What follows of the same quota within a minute is one record
//! with their number, made when the minute is over or the guard stops.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_core::audit::{Actor, Refusals};
use portcullis_core::ids::Issuer;
use portcullis_core::time::{Lifetime, UnixTime};

use super::{Whose, network_text};

/// How long refusals are counted before their number is on record.
const COUNTED_FOR: Lifetime = Lifetime::from_minutes(1);
/// Most quotas of which refusals are counted at one time. The refusals of further ones are counted together.
const QUOTAS: usize = 1_024;

/// What is counted now.
#[derive(Debug, Default)]
pub(crate) struct Counted(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    each: HashMap<Whose, Count>,
    /// By the code of the refusal.
    others: HashMap<&'static str, Count>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    since: UnixTime,
    refusals: u64,
}

/// What becomes of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It is the first for a while, and gets a record of its own.
    First,
    /// It is counted.
    Counted,
}

impl Counted {
    /// One more refusal for want of this quota.
    pub(crate) fn note(&self, whose: &Whose, now: UnixTime) -> Noted {
        let mut table = self.table();
        if let Some(count) = table.each.get_mut(whose) {
            count.refusals = count.refusals.saturating_add(1);
            return Noted::Counted;
        }
        if table.each.len() < QUOTAS {
            table.each.insert(whose.clone(), Count::none(now));
            return Noted::First;
        }
        let count = table.others.entry(whose.code()).or_insert(Count::none(now));
        count.refusals = count.refusals.saturating_add(1);
        Noted::Counted
    }

    /// Takes out what was counted for a minute.
    pub(crate) fn due(&self, now: UnixTime) -> Vec<Refusals> {
        self.take(now, |count| {
            count.since.plus(COUNTED_FOR) <= now || now < count.since
        })
    }

    /// Takes out all that was counted.
    pub(crate) fn all(&self, now: UnixTime) -> Vec<Refusals> {
        self.take(now, |_| true)
    }

    fn take(&self, now: UnixTime, is_due: impl Fn(&Count) -> bool) -> Vec<Refusals> {
        let mut table = self.table();
        let mut due = Vec::new();
        table.each.retain(|whose, count| {
            let over = is_due(count);
            if over && count.refusals > 0 {
                due.push(record(Some(whose), whose.code(), *count, now));
            }
            !over
        });
        table.others.retain(|code, count| {
            let over = is_due(count);
            if over {
                due.push(record(None, code, *count, now));
            }
            !over
        });
        due
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change is one operation on one entry: what a panic left behind is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    const fn none(since: UnixTime) -> Self {
        Self { since, refusals: 0 }
    }
}

fn record(whose: Option<&Whose>, reason: &'static str, count: Count, now: UnixTime) -> Refusals {
    let seconds = now.as_secs().saturating_sub(count.since.as_secs());
    let mut record = Refusals {
        reason,
        count: count.refusals,
        seconds: u64::try_from(seconds).unwrap_or(0),
        actor: None,
        server: None,
        target: None,
        peer: None,
    };
    let actor = |issuer: &Issuer| Actor {
        issuer: Some(issuer.as_str().to_owned()),
        ..Actor::default()
    };
    match whose {
        None | Some(Whose::Address(None)) => {}
        Some(Whose::Address(Some(network)) | Whose::Asking(network)) => {
            record.peer = Some(network_text(*network))
        }
        Some(Whose::Client(issuer, client)) => {
            record.actor = Some(Actor {
                agent: Some(client.as_str().to_owned()),
                ..actor(issuer)
            });
        }
        Some(Whose::User(issuer, user)) => {
            record.actor = Some(Actor {
                user: Some(user.as_str().to_owned()),
                ..actor(issuer)
            });
        }
        Some(Whose::Tool(server, tool)) => {
            record.server = Some(server.as_str().to_owned());
            record.target = Some(tool.as_str().to_owned());
        }
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn address(number: u32) -> Whose {
        Whose::Address(Some(std::net::Ipv4Addr::from(number).into()))
    }

    #[test]
    fn one_record_then_a_number() {
        let counted = Counted::default();
        assert_eq!(counted.note(&address(1), START), Noted::First);
        for _ in 0..500 {
            assert_eq!(counted.note(&address(1), START), Noted::Counted);
        }
        assert_eq!(counted.note(&address(2), START), Noted::First);
        let end = START.plus(COUNTED_FOR);
        let before = end.minus(Lifetime::from_secs(1));
        assert!(counted.due(before).is_empty());
        let due = counted.due(end);
        assert_eq!(
            due.len(),
            1,
            "what was refused once is on record already: {due:?}"
        );
        assert_eq!(
            (due[0].count, due[0].seconds, due[0].peer.as_deref()),
            (500, 60, Some("0.0.0.1"))
        );
        assert_eq!(counted.note(&address(1), end), Noted::First, "a new minute");
    }

    #[test]
    fn a_flood_from_everywhere_is_counted_in_bounded_room() {
        let counted = Counted::default();
        let quotas = u32::try_from(QUOTAS).unwrap();
        for number in 0..quotas {
            assert_eq!(counted.note(&address(number), START), Noted::First);
        }
        for number in quotas..quotas + 10_000 {
            assert_eq!(counted.note(&address(number), START), Noted::Counted);
        }
        assert_eq!(counted.table().each.len(), QUOTAS);
        let due = counted.all(START);
        assert_eq!(due.len(), 1);
        assert_eq!(
            (due[0].count, due[0].peer.as_deref(), due[0].reason),
            (10_000, None, "limits.address")
        );
    }
}
