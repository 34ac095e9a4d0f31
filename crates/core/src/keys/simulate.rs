//! The planner, run through years in a moment. Nothing here knows a clock: time is counted.

mod measure;

use self::measure::Measure;
use super::Use;
use super::plan::{NotApplicable, next_due, plan};
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
    /// How late every plan is carried out: what comes of keys that somebody looks at so seldom, when each look comes as
    /// late as it may. Zero: every plan is carried out the moment it is due.
    pub late_by: Lifetime,
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
    /// What it waited for.
    pub why: Why,
    /// It became the primary before every verifier could know it.
    pub unknown: bool,
    /// Until when its certificate is valid.
    pub not_after: UnixTime,
    /// The states of all keys of this purpose afterwards, in the order of [`State`]: staged, enabled, disabled.
    pub counts: [usize; 3],
}

/// What a step waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no other key that could be used.
    NoOther,
    /// The primary's certificate ends at this moment, `stage_before` from now.
    BeforeEnd {
        /// The primary.
        primary: KeyId,
        /// The end of its certificate.
        ends: UnixTime,
    },
    /// It was staged at this moment, `promote_after` ago.
    Staged(UnixTime),
    /// It was staged at this moment, and somebody asked for it to be used as soon as every verifier knows it.
    Hastened(UnixTime),
    /// The primary's certificate ends too soon for what the primary would make.
    PrimaryEnds,
    /// This key takes its place.
    Succeeded(KeyId),
    /// It retired at this moment, and what was made with it is in use no more.
    Retired(UnixTime),
    /// Its certificate ends, or is too short for it to become the primary.
    CertificateEnds,
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
    /// Every promise that was broken, in order.
    pub violations: Vec<Violation>,
}

/// One purpose's years in numbers. A certificate counts while it is valid and its key staged, enabled or disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What for.
    pub purpose: Use,
    /// How often another key became the primary.
    pub rotations: usize,
    /// When the first key retired: from then on there can be one certificate of each state.
    pub steady_since: Option<UnixTime>,
    /// The fewest certificates at a time since then; ever, if no key retired.
    pub fewest: usize,
    /// The most ever.
    pub most: usize,
    /// For how long altogether there were fewer than three since the first key retired.
    pub below_three: Lifetime,
    /// How much of that without a staged key.
    pub without_next: Lifetime,
    /// How much of that without a retired key.
    pub without_last: Lifetime,
    /// The longest time for which there was no primary with a valid certificate.
    pub without_primary: Lifetime,
    /// The longest time between two rotations.
    pub longest_between_rotations: Lifetime,
    /// How often a key had to become the primary before every verifier could know it.
    pub too_early: usize,
}

impl Summary {
    fn empty(purpose: Use) -> Self {
        let none = Lifetime::from_secs(0);
        Self {
            purpose,
            rotations: 0,
            steady_since: None,
            fewest: usize::MAX,
            most: 0,
            below_three: none,
            without_next: none,
            without_last: none,
            without_primary: none,
            longest_between_rotations: none,
            too_early: 0,
        }
    }
}

/// A promise of the [planner](super::plan()) that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// From when.
    pub at: UnixTime,
    /// For which purpose.
    pub purpose: Use,
    /// Which one.
    pub what: Broken,
}

/// A promise, broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// There is no primary with a valid certificate.
    NoPrimary {
        /// Until when.
        until: UnixTime,
    },
    /// This key is used before every verifier can know it.
    TooEarly(KeyId),
    /// This key is gone, or its certificate ended, while what was made with it may be in use.
    Outlived(KeyId),
    /// There are so many keys, and not three at most.
    TooMany(usize),
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
        while now <= end && events.len() < MOST_EVENTS {
            for transition in plan(now, &self.policy, &keys) {
                let before = keys.clone();
                let new = transition
                    .birth()
                    .and_then(|(purpose, birth)| self.make(now, purpose, birth, &mut made));
                transition.apply(now, &mut keys, new)?;
                self.note(now, &before, &keys, &mut events);
                keys.retain(|key| key.state != State::Deleted);
            }
            let due = next_due(now, &self.policy, &keys);
            now = due.map_or(UnixTime::from_millis(i64::MAX), |due| due.plus(self.late_by));
        }
        let end = if events.len() < MOST_EVENTS {
            end
        } else {
            now.min(end)
        };
        let measured = [Use::Signature, Use::Encryption].map(|purpose| {
            let own: Vec<&Event> = events.iter().filter(|event| event.purpose == purpose).collect();
            Measure::new(&self.policy, purpose, &self.keys).run(self.start, end, &own)
        });
        let [(signing, mut violations), (sealing, others)] = measured;
        violations.extend(others);
        violations.sort_by_key(|violation| violation.at);
        Ok(Timeline {
            events,
            end,
            summaries: [signing, sealing],
            violations,
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

    fn note(&self, now: UnixTime, before: &[KeyView], after: &[KeyView], events: &mut Vec<Event>) {
        let mut changed: Vec<(Option<&KeyView>, &KeyView)> = after
            .iter()
            .map(|key| (before.iter().find(|old| old.kid == key.kid), key))
            .filter(|(old, key)| old.is_none_or(|old| old.state != key.state))
            .collect();
        // Who retires is told before who takes over.
        changed.sort_by_key(|(_, key)| key.state != State::Disabled);
        for (old, key) in changed {
            let own = |other: &&KeyView| other.purpose == key.purpose;
            let count = |state: State| {
                after
                    .iter()
                    .filter(own)
                    .filter(|other| other.state == state)
                    .count()
            };
            let known = old.is_some() && now >= key.staged.plus(self.policy.maturity());
            events.push(Event {
                at: now,
                kid: key.kid.clone(),
                purpose: key.purpose,
                became: key.state,
                why: self.why(now, old, key, after),
                unknown: key.state == State::Enabled && before.iter().any(|old| own(&old)) && !known,
                not_after: key.not_after,
                counts: [State::Staged, State::Enabled, State::Disabled].map(count),
            });
        }
    }

    /// What the planner compared `now` with, for this step of this key.
    fn why(&self, now: UnixTime, old: Option<&KeyView>, key: &KeyView, after: &[KeyView]) -> Why {
        let primary = after
            .iter()
            .filter(|other| other.purpose == key.purpose && other.state == State::Enabled)
            .max_by(|a, b| (a.enabled, &a.kid).cmp(&(b.enabled, &b.kid)));
        match (key.state, old, primary) {
            (State::Staged, _, Some(primary)) => Why::BeforeEnd {
                primary: primary.kid.clone(),
                ends: primary.not_after,
            },
            (State::Enabled, Some(old), _) => {
                let waited = now >= key.staged.plus(self.policy.timing().promote_after);
                let known = now >= key.staged.plus(self.policy.maturity());
                match (waited, known && old.hastened) {
                    (true, _) => Why::Staged(key.staged),
                    (false, true) => Why::Hastened(key.staged),
                    (false, false) => Why::PrimaryEnds,
                }
            }
            (State::Disabled, _, Some(primary)) => Why::Succeeded(primary.kid.clone()),
            (State::Deleted, Some(old), _) => match old.disabled {
                Some(since) if now < key.not_after.minus(self.policy.timing().clock_skew) => {
                    Why::Retired(since)
                }
                Some(_) | None => Why::CertificateEnds,
            },
            (State::Staged | State::Disabled, _, None) | (State::Enabled | State::Deleted, None, _) => {
                Why::NoOther
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn simulate(years: u64, late_by: Lifetime) -> Timeline {
        Simulation {
            start: UnixTime::from_secs(1_800_000_000),
            length: Lifetime::from_days(years * 365),
            late_by,
            policy: RotationPolicy::default(),
            keys: Vec::new(),
        }
        .run()
        .unwrap()
    }

    #[test]
    fn ten_years_with_the_defaults_are_three_certificates_from_the_first_retired_key_on() {
        let none = Lifetime::from_secs(0);
        for (late_by, rotations, apart) in [(none, 242, 30), (Lifetime::from_days(1), 227, 32)] {
            let timeline = simulate(10, late_by);
            assert_eq!(timeline.violations, []);
            for summary in timeline.summaries {
                assert_eq!((summary.fewest, summary.most), (3, 3), "{summary:?}");
                assert_eq!(summary.below_three, none, "{summary:?}");
                assert_eq!(summary.rotations, rotations, "{summary:?}");
                assert_eq!(summary.without_primary, none);
                assert_eq!(summary.too_early, 0);
                assert_eq!(summary.longest_between_rotations, Lifetime::from_days(apart));
                let start = UnixTime::from_secs(1_800_000_000);
                assert_eq!(summary.steady_since, Some(start.plus(Lifetime::from_days(apart))));
            }
        }
    }

    #[test]
    fn every_promise_is_kept_up_to_the_longest_gap_and_broken_far_beyond_it() {
        let longest = RotationPolicy::default().longest_gap();
        assert_eq!(simulate(10, longest).violations, []);
        for (days, expected) in [(40, 20), (200, 125)] {
            let far = simulate(10, Lifetime::from_days(days));
            for summary in far.summaries {
                assert_eq!(summary.without_primary, Lifetime::from_days(expected), "{days}");
                let own = |violation: &&Violation| violation.purpose == summary.purpose;
                let first = far.violations.iter().find(own).unwrap();
                assert_eq!(
                    first.at,
                    UnixTime::from_secs(1_800_000_000).plus(Lifetime::from_days(90))
                );
                assert!(summary.fewest < 3 && summary.below_three > Lifetime::from_days(100));
            }
        }
        // what is made in the last moment of a certificate cannot be verified afterwards
        let far = simulate(1, Lifetime::from_days(40));
        let outlived = |violation: &Violation| matches!(violation.what, Broken::Outlived(_));
        assert!(far.violations.iter().any(outlived), "{:?}", far.violations);
    }

    #[test]
    fn fewer_than_three_are_counted_with_what_is_missing() {
        let policy = RotationPolicy::new(super::super::Timing {
            stage_before: Lifetime::from_days(60),
            promote_after: Lifetime::from_days(5),
            grace: Lifetime::from_days(5),
            ..super::super::Timing::default()
        })
        .unwrap();
        let timeline = Simulation {
            start: UnixTime::from_secs(1_800_000_000),
            length: Lifetime::from_days(365),
            late_by: Lifetime::from_secs(0),
            policy,
            keys: Vec::new(),
        }
        .run()
        .unwrap();
        assert_eq!(timeline.violations, []);
        let [signing, _] = timeline.summaries;
        assert_eq!((signing.fewest, signing.most), (2, 3), "{signing:?}");
        assert_eq!(signing.below_three, signing.without_next);
        assert!(signing.below_three > Lifetime::from_days(200), "{signing:?}");
        assert_eq!(signing.without_last, Lifetime::from_secs(0));
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
            late_by: Lifetime::from_secs(0),
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
        let why = |at: usize| {
            timeline
                .events
                .iter()
                .filter(|event| event.purpose == Use::Signature)
                .nth(at)
        };
        let told: Vec<&Why> = (0..3).filter_map(|at| why(at).map(|event| &event.why)).collect();
        let next = KeyId::parse("sig-new-0001").unwrap();
        let staged = start.plus(Lifetime::from_days(5));
        assert_eq!(
            told,
            [
                &Why::BeforeEnd {
                    primary: kid,
                    ends: end
                },
                &Why::Succeeded(next),
                &Why::Staged(staged)
            ]
        );
    }
}
