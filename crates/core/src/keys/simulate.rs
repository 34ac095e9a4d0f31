//! The planner, run through years in a moment. Nothing here knows a clock: time is counted.

use super::Use;
use super::plan::{NotApplicable, Transition, next_due, plan};
use super::policy::RotationPolicy;
use super::state::{Birth, KeyView, State};
use crate::ids::KeyId;
use crate::time::{Lifetime, UnixTime};

/// Most events of one simulation: hundreds of years with 90 days, and an end for a policy of minutes.
pub const MOST_EVENTS: usize = 100_000;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// When it begins.
    pub start: UnixTime,
    /// For how long.
    pub length: Lifetime,
    /// How long nobody looks between two plans. Zero: every plan is carried out the moment it is due.
    pub between_ticks: Lifetime,
    /// When keys change.
    pub policy: RotationPolicy,
    /// The keys that there are at the start.
    pub keys: Vec<KeyView>,
}

/// Something that happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: UnixTime,
    /// To which key.
    pub kid: KeyId,
    /// What the key is for.
    pub purpose: Use,
    /// What it became.
    pub became: State,
    /// Until when its certificate is valid.
    pub not_after: UnixTime,
    /// The states of all keys of this purpose afterwards, in the order of [`State`]: staged, enabled, disabled.
    pub counts: [usize; 3],
}

/// A simulation's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// Where it ended: later than asked for never, earlier after [`MOST_EVENTS`].
    pub end: UnixTime,
    /// What each purpose saw, for signing and for encryption.
    pub summaries: [Summary; 2],
}

/// One purpose's years in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What for.
    pub purpose: Use,
    /// How often another key became the primary.
    pub rotations: usize,
    /// The fewest keys at a time after the first key retired, and the most ever: staged, enabled and disabled together.
    pub fewest: usize,
    /// The most.
    pub most: usize,
    /// The longest time for which there was no primary with a valid certificate.
    pub without_primary: Lifetime,
    /// The longest time between two rotations.
    pub longest_between_rotations: Lifetime,
    /// How often a key had to become the primary before every verifier could know it.
    pub too_early: usize,
}

impl Simulation {
    /// Runs it.
    ///
    /// # Errors
    /// [`NotApplicable`]: the keys at the start have one name twice.
    pub fn run(&self) -> Result<Timeline, NotApplicable> {
        let mut keys = self.keys.clone();
        let mut events = Vec::new();
        let mut made = [0_usize; 2];
        let mut now = self.start;
        let end = self.start.plus(self.length);
        let mut early = Vec::new();
        while now <= end && events.len() < MOST_EVENTS {
            for transition in plan(now, &self.policy, &keys) {
                let before = keys.clone();
                let new = transition
                    .birth()
                    .and_then(|(purpose, birth)| self.make(now, purpose, birth, &mut made));
                transition.apply(now, &mut keys, new)?;
                self.note(now, &transition, &before, &keys, &mut events, &mut early);
                keys.retain(|key| key.state != State::Deleted);
            }
            now = self.next_tick(now, &keys);
        }
        let end = if events.len() < MOST_EVENTS {
            end
        } else {
            now.min(end)
        };
        let summaries =
            [Use::Signature, Use::Encryption].map(|purpose| self.summarise(purpose, &events, &early, end));
        Ok(Timeline {
            events,
            end,
            summaries,
        })
    }

    fn make(&self, now: UnixTime, purpose: Use, birth: Birth, made: &mut [usize; 2]) -> Option<KeyView> {
        let [signing, sealing] = made;
        let (prefix, number) = match purpose {
            Use::Signature => ("sig", signing),
            Use::Encryption => ("enc", sealing),
        };
        *number += 1;
        let kid = KeyId::parse(&format!("{prefix}-new-{number:04}")).ok()?;
        let not_after = now.plus(self.policy.timing().validity);
        Some(KeyView::made(kid, purpose, birth, now, not_after))
    }

    /// The next moment at which somebody looks: at the end of the pause in which something is due.
    fn next_tick(&self, now: UnixTime, keys: &[KeyView]) -> UnixTime {
        let Some(due) = next_due(now, &self.policy, keys) else {
            return UnixTime::from_millis(i64::MAX);
        };
        let pause = self.between_ticks.as_secs();
        if pause == 0 {
            return due;
        }
        let wait = u64::try_from(due.as_secs().saturating_sub(self.start.as_secs())).unwrap_or(0);
        self.start
            .plus(Lifetime::from_secs(wait.div_ceil(pause).saturating_mul(pause)))
            .max(now.plus(Lifetime::from_secs(1)))
    }

    fn note(
        &self,
        now: UnixTime,
        transition: &Transition,
        before: &[KeyView],
        after: &[KeyView],
        events: &mut Vec<Event>,
        early: &mut Vec<Use>,
    ) {
        let mut changed: Vec<&KeyView> = after
            .iter()
            .filter(|key| {
                before
                    .iter()
                    .find(|old| old.kid == key.kid)
                    .is_none_or(|old| old.state != key.state)
            })
            .collect();
        // Who retires is told before who takes over.
        changed.sort_by_key(|key| key.state != State::Disabled);
        for key in changed {
            let count = |state: State| {
                after
                    .iter()
                    .filter(|other| other.purpose == key.purpose && other.state == state)
                    .count()
            };
            if key.state == State::Enabled
                && before.iter().any(|old| old.purpose == key.purpose)
                && (transition.birth().is_some() || now < key.staged.plus(self.policy.maturity()))
            {
                early.push(key.purpose);
            }
            events.push(Event {
                at: now,
                kid: key.kid.clone(),
                purpose: key.purpose,
                became: key.state,
                not_after: key.not_after,
                counts: [State::Staged, State::Enabled, State::Disabled].map(count),
            });
        }
    }

    fn summarise(&self, purpose: Use, events: &[Event], early: &[Use], end: UnixTime) -> Summary {
        let mut summary = Summary {
            purpose,
            rotations: 0,
            fewest: usize::MAX,
            most: 0,
            without_primary: Lifetime::from_secs(0),
            longest_between_rotations: Lifetime::from_secs(0),
            too_early: early.iter().filter(|other| **other == purpose).count(),
        };
        let at_start = |state| {
            self.keys
                .iter()
                .find(move |key| key.purpose == purpose && key.state == state)
        };
        let mut primary = at_start(State::Enabled).map(|key| (self.start, key.not_after));
        let mut settled = at_start(State::Disabled).is_some();
        let mut own = events.iter().filter(|event| event.purpose == purpose).peekable();
        while let Some(event) = own.next() {
            if event.became == State::Enabled {
                if let Some((since, until)) = primary {
                    summary.rotations += 1;
                    summary.longest_between_rotations =
                        summary.longest_between_rotations.max(between(since, event.at));
                    summary.without_primary = summary.without_primary.max(between(until, event.at));
                }
                primary = Some((event.at, event.not_after));
            }
            settled |= event.became == State::Disabled;
            // What is written in one moment is counted after the last of it.
            if own.peek().is_none_or(|next| next.at != event.at) {
                let count = event.counts.iter().sum();
                summary.most = summary.most.max(count);
                if settled {
                    summary.fewest = summary.fewest.min(count);
                }
            }
        }
        if let Some((_, until)) = primary {
            summary.without_primary = summary.without_primary.max(between(until, end));
        }
        summary.fewest = summary.fewest.min(summary.most);
        summary
    }
}

fn between(from: UnixTime, to: UnixTime) -> Lifetime {
    Lifetime::from_secs(u64::try_from(to.as_secs().saturating_sub(from.as_secs())).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulate(years: u64, between_ticks: Lifetime) -> Timeline {
        Simulation {
            start: UnixTime::from_secs(1_800_000_000),
            length: Lifetime::from_days(years * 365),
            between_ticks,
            policy: RotationPolicy::default(),
            keys: Vec::new(),
        }
        .run()
        .unwrap()
    }

    #[test]
    fn ten_years_with_the_defaults_are_three_certificates_all_the_time() {
        for ticks in [Lifetime::from_secs(0), Lifetime::from_days(1)] {
            let timeline = simulate(10, ticks);
            for summary in timeline.summaries {
                assert_eq!((summary.fewest, summary.most), (3, 3), "{summary:?}");
                assert_eq!(summary.rotations, 242, "{summary:?}");
                assert_eq!(summary.without_primary, Lifetime::from_secs(0));
                assert_eq!(summary.too_early, 0);
                assert_eq!(summary.longest_between_rotations, Lifetime::from_days(30));
            }
        }
    }

    #[test]
    fn pauses_longer_than_the_policy_bears_are_seen_in_the_summary() {
        let longest = RotationPolicy::default().longest_gap();
        assert!(
            simulate(10, longest)
                .summaries
                .iter()
                .all(|summary| summary.too_early == 0)
        );
        let far = simulate(10, Lifetime::from_days(200));
        assert!(far.summaries.iter().all(|summary| summary.too_early > 0));
        assert!(
            far.summaries
                .iter()
                .all(|summary| summary.without_primary > Lifetime::from_days(100))
        );
    }

    #[test]
    fn it_goes_on_from_the_keys_that_there_are() {
        let first = simulate(1, Lifetime::from_secs(0));
        let kid = KeyId::parse("sig-2026-11-0badcafe").unwrap();
        let start = first.end;
        let end = start.plus(Lifetime::from_days(80));
        let key = KeyView::made(kid.clone(), Use::Signature, Birth::Enabled, start, end);
        let timeline = Simulation {
            start,
            length: Lifetime::from_days(30),
            between_ticks: Lifetime::from_secs(0),
            policy: RotationPolicy::default(),
            keys: vec![key],
        }
        .run()
        .unwrap();
        let own: Vec<(i64, State)> = timeline
            .events
            .iter()
            .filter(|event| event.purpose == Use::Signature)
            .map(|event| ((event.at.as_secs() - start.as_secs()) / 86_400, event.became))
            .collect();
        assert_eq!(
            own,
            [
                (5, State::Staged),
                (20, State::Disabled),
                (20, State::Enabled),
                (20, State::Staged)
            ]
        );
    }
}
