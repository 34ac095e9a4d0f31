//! What a simulated time was like: how many certificates there were at each moment, and which promise was broken.

use super::super::Use;
use super::super::policy::RotationPolicy;
use super::super::state::{KeyView, State};
use super::{Broken, Event, Summary, Violation};
use crate::ids::KeyId;
use crate::time::{Lifetime, UnixTime};

/// As many keys of a purpose as the planner promises not to exceed, and as there are where the timing is the customary one.
const THREE: usize = 3;

/// All keys of one purpose at a moment, and what was seen of them so far.
pub(super) struct Measure<'p> {
    policy: &'p RotationPolicy,
    keys: Vec<KeyView>,
    summary: Summary,
    violations: Vec<Violation>,
    /// Since when there is no primary with a valid certificate.
    missing: Option<UnixTime>,
    /// Whether there are too many keys, which is told once.
    crowded: bool,
    /// When the last one became the primary.
    rotated: Option<UnixTime>,
}

impl<'p> Measure<'p> {
    pub(super) fn new(policy: &'p RotationPolicy, purpose: Use, keys: &[KeyView]) -> Self {
        let own = |key: &&KeyView| key.purpose == purpose && key.state != State::Deleted;
        let keys: Vec<KeyView> = keys.iter().filter(own).cloned().collect();
        let primary = keys.iter().find(|key| key.state == State::Enabled);
        Self {
            policy,
            rotated: primary.map(|key| key.enabled.unwrap_or(key.staged)),
            keys,
            summary: Summary::empty(purpose),
            violations: Vec::new(),
            missing: None,
            crowded: false,
        }
    }

    /// Goes through the time from `start` to `end`. The events are those of this purpose, in order.
    pub(super) fn run(
        mut self,
        start: UnixTime,
        end: UnixTime,
        events: &[&Event],
    ) -> (Summary, Vec<Violation>) {
        let mut ends: Vec<UnixTime> = self.keys.iter().map(|key| key.not_after).collect();
        ends.extend(events.iter().map(|event| event.not_after));
        let mut moments: Vec<UnixTime> = events.iter().map(|event| event.at).collect();
        moments.extend(ends.into_iter().filter(|at| start < *at && *at < end));
        moments.extend([start, end]);
        moments.sort_unstable();
        moments.dedup();
        let mut events = events.iter().peekable();
        for (index, at) in moments.iter().copied().enumerate() {
            while let Some(event) = events.next_if(|event| event.at <= at) {
                self.happened(event);
            }
            let next = moments.get(index + 1).copied().unwrap_or(end);
            self.seen(at, between(at, next));
        }
        self.primary_is_there(end);
        self.summary.fewest = self.summary.fewest.min(self.summary.most);
        (self.summary, self.violations)
    }

    fn happened(&mut self, event: &Event) {
        match event.became {
            State::Enabled => {
                if let Some(since) = self.rotated.replace(event.at) {
                    self.summary.rotations += 1;
                    self.summary.longest_between_rotations = self
                        .summary
                        .longest_between_rotations
                        .max(between(since, event.at));
                }
                if event.unknown {
                    self.summary.too_early += 1;
                    self.broken(event.at, Broken::TooEarly(event.kid.clone()));
                }
            }
            State::Disabled => {
                self.steady(event.at);
                let last_use = event.at.min(event.not_after);
                self.outlived(&event.kid, last_use, event.not_after);
            }
            State::Deleted => {
                let retired = self.keys.iter().find(|key| key.kid == event.kid);
                if let Some(at) = retired.and_then(|key| key.disabled)
                    && event.at < event.not_after
                {
                    self.outlived(&event.kid, at, event.at);
                }
            }
            State::Staged => {}
        }
        let kept = self.keys.iter_mut().find(|key| key.kid == event.kid);
        match (kept, event.became) {
            (Some(_), State::Deleted) => self.keys.retain(|key| key.kid != event.kid),
            (Some(key), state) => {
                key.state = state;
                if state == State::Disabled {
                    key.disabled = Some(event.at);
                }
            }
            (None, state) => self.keys.push(KeyView {
                kid: event.kid.clone(),
                purpose: event.purpose,
                state,
                staged: event.at,
                enabled: None,
                disabled: None,
                not_after: event.not_after,
                hastened: false,
            }),
        }
    }

    /// From the first key that retired on, there is one of each state in a steady rotation.
    fn steady(&mut self, at: UnixTime) {
        if self.summary.steady_since.is_none() {
            self.summary.steady_since = Some(at);
            self.summary.fewest = usize::MAX;
        }
    }

    /// Looks at the keys as they are from `at` on, for so long.
    fn seen(&mut self, at: UnixTime, time: Lifetime) {
        let count = |state: State| {
            let valid = |key: &&KeyView| key.state == state && at < key.not_after;
            self.keys.iter().filter(valid).count()
        };
        let [staged, enabled, disabled] = [State::Staged, State::Enabled, State::Disabled].map(count);
        if disabled > 0 {
            self.steady(at);
        }
        let crowded = self.keys.len() > THREE;
        if crowded && !self.crowded {
            self.broken(at, Broken::TooMany(self.keys.len()));
        }
        self.crowded = crowded;
        if enabled == 0 {
            self.missing.get_or_insert(at);
        } else {
            self.primary_is_there(at);
        }
        let all = staged + enabled + disabled;
        if time.as_secs() == 0 {
            return;
        }
        self.summary.most = self.summary.most.max(all);
        self.summary.fewest = self.summary.fewest.min(all);
        if self.summary.steady_since.is_none() {
            return;
        }
        let add = |sum: &mut Lifetime| *sum = Lifetime::from_secs(sum.as_secs() + time.as_secs());
        if all < THREE {
            add(&mut self.summary.below_three);
            if staged == 0 {
                add(&mut self.summary.without_next);
            }
            if disabled == 0 {
                add(&mut self.summary.without_last);
            }
        }
    }

    fn primary_is_there(&mut self, at: UnixTime) {
        if let Some(since) = self.missing.take().filter(|since| *since < at) {
            self.summary.without_primary = self.summary.without_primary.max(between(since, at));
            self.broken(since, Broken::NoPrimary { until: at });
        }
    }

    /// What was made in the last moment must be verified as long as it is valid.
    fn outlived(&mut self, kid: &KeyId, last_use: UnixTime, gone: UnixTime) {
        if gone < last_use.plus(self.policy.shortest_grace()) {
            self.broken(gone, Broken::Outlived(kid.clone()));
        }
    }

    fn broken(&mut self, at: UnixTime, what: Broken) {
        let purpose = self.summary.purpose;
        self.violations.push(Violation { at, purpose, what });
    }
}

fn between(from: UnixTime, to: UnixTime) -> Lifetime {
    Lifetime::from_secs(u64::try_from(to.as_secs().saturating_sub(from.as_secs())).unwrap_or(0))
}
