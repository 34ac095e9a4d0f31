//! Ten years of rotation under random policies, with everything going wrong that may.
//!
//! The journal is one list of keys with a generation; a write is a compare-and-set on it. Replicas read it late, plan
//! on what they read, and crash between any two writes of a plan. Each reading of a clock is off by up to half the
//! skew, another amount every time, so that two readings are off by the skew: this is the bound that the promises hold
//! for, because a waiting time that begins on one clock and ends on another is that much shorter than it seems.
//!
//! The verifier is worked out, not sampled: of each key the model knows from when until when it was published and from
//! when until when it signed, in true time, and from that the worst token and the worst copy of the JWK Set.

use proptest::prelude::*;

use super::*;

const DAY: u64 = 86_400;
const TEN_YEARS: u64 = 3653 * DAY;

/// What really happened to a key, in true seconds.
#[derive(Clone, Debug)]
struct Life {
    staged: u64,
    enabled: Option<u64>,
    disabled: Option<u64>,
    /// It had to be the primary before everybody knew it: the first key, a replacement for a revoked one.
    forced: bool,
    revoked: bool,
}

struct World {
    policy: RotationPolicy,
    /// The journal, and how often it was written.
    keys: Vec<KeyView>,
    generation: u64,
    lives: std::collections::BTreeMap<String, Life>,
    now: u64,
    made: usize,
    most: usize,
    /// Whether plans are carried out often enough, and clocks are right enough, for every promise.
    bounded: bool,
}

/// One replica's try: how it goes wrong is in the numbers.
#[derive(Clone, Copy, Debug)]
struct Try {
    /// 0..=1000: of the longest gap, how late.
    late: u64,
    /// 0..=1000: the clock's error, 500 is right.
    clock: u64,
    /// The plan is one of an older generation.
    stale: bool,
    /// The crash comes after this many writes.
    writes: usize,
    /// What an operator does before it.
    operator: u8,
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let late = prop_oneof![Just(0_u64), Just(1000), 0..=1000_u64];
    let clock = prop_oneof![Just(0_u64), Just(1000), 0..=1000_u64];
    let writes = prop_oneof![2 => Just(usize::MAX), 1 => 0..4_usize];
    let one = (late, clock, prop::bool::weighted(0.2), writes, 0..100_u8).prop_map(
        |(late, clock, stale, writes, operator)| Try {
            late,
            clock,
            stale,
            writes,
            operator,
        },
    );
    prop::collection::vec(one, 50..200)
}

fn policies() -> impl Strategy<Value = RotationPolicy> {
    let parts = (
        30..=398_u64,
        prop_oneof![Just(0_u64), Just(300), 0..=DAY],
        prop_oneof![Just(0_u64), Just(60), 0..=3600_u64],
        prop_oneof![Just(60_u64), Just(3600), 60..=DAY],
        0..=1000_u64,
        0..=1000_u64,
        0..=1000_u64,
    );
    parts.prop_filter_map("keeps no promise", |(days, age, skew, token, a, b, c)| {
        let secs = Lifetime::from_secs;
        let validity = days * DAY;
        let part = |least: u64, most: u64, of: u64| least + most.saturating_sub(least) * of / 1000;
        let maturity = age + skew + NOTICE.as_secs();
        let floor = token + age + 2 * skew + NOTICE.as_secs();
        let promote_after = part(maturity, validity / 3, a);
        let stage_before = part(floor + promote_after.max(floor), validity, b);
        let period = promote_after.max(validity - stage_before.min(validity));
        RotationPolicy::new(Timing {
            validity: secs(validity),
            stage_before: secs(stage_before),
            promote_after: secs(promote_after),
            jwks_max_age: secs(age),
            clock_skew: secs(skew),
            longest_token: secs(token),
            grace: secs(part(floor, period, c)),
        })
        .ok()
    })
}

impl World {
    fn new(policy: RotationPolicy, bounded: bool) -> Self {
        Self {
            policy,
            keys: Vec::new(),
            generation: 0,
            lives: std::collections::BTreeMap::new(),
            now: 1_800_000_000,
            made: 0,
            most: 0,
            bounded,
        }
    }

    fn skew(&self) -> u64 {
        self.policy.timing().clock_skew.as_secs()
    }

    /// What a clock says: off by half the skew at most, or by years where nothing is bounded.
    fn reading(&self, clock: u64) -> UnixTime {
        let spread = if self.bounded { self.skew() } else { 2000 * DAY };
        let error = i64::try_from(spread * clock / 1000).unwrap() - i64::try_from(spread / 2).unwrap();
        UnixTime::from_secs(i64::try_from(self.now).unwrap() + error)
    }

    /// Compare-and-set: nothing happens when somebody else wrote since.
    fn write(&mut self, planned_on: u64, now: UnixTime, transition: &Transition) -> bool {
        if planned_on != self.generation {
            return false;
        }
        let last = self.policy.last_use_before_end();
        let usable = |key: &KeyView| now < key.not_after.minus(last);
        let new = transition.birth().map(|(purpose, birth)| {
            self.made += 1;
            let kid = KeyId::parse(&format!("k{}", self.made)).unwrap();
            KeyView::made(kid, purpose, birth, now, now.plus(self.policy.timing().validity))
        });
        let before = self.keys.clone();
        transition.apply(now, &mut self.keys, new).unwrap();
        self.generation += 1;
        for key in &self.keys.clone() {
            let old = before.iter().find(|old| old.kid == key.kid);
            if old.map(|old| old.state) != Some(key.state) {
                let forced = !before.iter().any(|other| {
                    other.purpose == key.purpose && other.state == State::Enabled && usable(other)
                });
                let revoking = matches!(transition, Transition::Revoke { .. });
                self.changed(old.map(|old| old.state), key, forced, revoking);
            }
        }
        self.keys.retain(|key| key.state != State::Deleted);
        for purpose in [Use::Signature, Use::Encryption] {
            let count = |state: State| {
                self.keys
                    .iter()
                    .filter(|key| key.purpose == purpose && key.state == state)
                    .count()
            };
            assert!(count(State::Enabled) <= 1, "two primaries after {transition:?}");
            let had = before
                .iter()
                .any(|key| key.purpose == purpose && key.state == State::Enabled);
            assert!(
                !had || count(State::Enabled) == 1,
                "no primary after {transition:?}"
            );
            self.most = self
                .most
                .max(self.keys.iter().filter(|key| key.purpose == purpose).count());
        }
        true
    }

    fn changed(&mut self, from: Option<State>, key: &KeyView, forced: bool, revoking: bool) {
        let now = self.now;
        let timing = *self.policy.timing();
        let (notice, age) = (NOTICE.as_secs(), timing.jwks_max_age.as_secs());
        let skew = timing.clock_skew.as_secs();
        let life = self.lives.entry(key.kid.to_string()).or_insert(Life {
            staged: now,
            enabled: None,
            disabled: None,
            forced: false,
            revoked: false,
        });
        let not_after = u64::try_from(key.not_after.as_secs()).unwrap();
        match key.state {
            State::Staged => {}
            State::Enabled => {
                life.enabled = Some(now);
                life.forced = forced || revoking;
                if self.bounded && !life.forced {
                    // Every copy in use was fetched after the last replica published the key.
                    assert!(
                        life.staged + notice + age <= now,
                        "{}: staged {} s before it signed",
                        key.kid,
                        now - life.staged
                    );
                    assert!(from == Some(State::Staged));
                }
                assert!(
                    life.forced || from == Some(State::Staged),
                    "made although there was another"
                );
            }
            State::Disabled => {
                life.disabled = Some(now);
                if self.bounded {
                    // The last replica to notice has signed by now; on its clock the certificate was valid.
                    assert!(
                        now + notice <= not_after,
                        "{} signed past its certificate",
                        key.kid
                    );
                }
            }
            State::Deleted => {
                life.revoked = revoking;
                if let Some(disabled) = life.disabled
                    && self.bounded
                    && !revoking
                {
                    // The last token is made by the last replica to notice, with a clock ahead, and verified on a clock
                    // behind. The last message is sealed with an old copy.
                    let copy = if key.purpose == Use::Encryption { age } else { 0 };
                    let until = disabled + notice + copy + timing.longest_token.as_secs() + skew;
                    let shown = now.min(not_after - skew / 2);
                    assert!(
                        until <= shown,
                        "{}: wanted until {until}, gone at {shown}",
                        key.kid
                    );
                }
            }
        }
    }

    /// Exactly one primary of each purpose at every moment since the first plan, its certificate valid.
    fn has_signers(&self) {
        for purpose in [Use::Signature, Use::Encryption] {
            let at = UnixTime::from_secs(i64::try_from(self.now).unwrap());
            assert!(
                primary(at, &self.keys, purpose).is_some(),
                "nobody signs at {}",
                self.now
            );
        }
    }

    fn carry_out(&mut self, now: UnixTime, one: Try) {
        let planned_on = if one.stale {
            self.generation.wrapping_sub(1)
        } else {
            self.generation
        };
        let transitions = plan(now, &self.policy, &self.keys);
        for (done, transition) in transitions.iter().enumerate() {
            if done >= one.writes || !self.write(planned_on + done as u64, now, transition) {
                return;
            }
        }
        assert_eq!(
            plan(now, &self.policy, &self.keys),
            [],
            "planned twice at one moment"
        );
    }

    fn operate(&mut self, now: UnixTime, one: Try) {
        let purpose = if one.operator & 1 == 0 {
            Use::Signature
        } else {
            Use::Encryption
        };
        let asked = match one.operator {
            0..=7 => rotate_now(now, &self.policy, &self.keys, purpose).ok().flatten(),
            8..=11 => {
                let index = one.clock as usize % self.keys.len().max(1);
                // Whoever revokes one staged key after the other leaves none that anybody could know.
                let revocable = |key: &&KeyView| !self.bounded || key.state != State::Staged;
                let kid = self.keys.get(index).filter(revocable).map(|key| key.kid.clone());
                kid.and_then(|kid| revoke(now, &self.policy, &self.keys, &kid).ok())
            }
            _ => None,
        };
        if let Some(transition) = asked {
            self.write(self.generation, now, &transition);
        }
    }
}

/// Ten years; the tries come round again and again.
fn live(policy: RotationPolicy, tries: &[Try], bounded: bool) -> World {
    let mut world = World::new(policy, bounded);
    let gap = if bounded {
        policy.longest_gap().as_secs()
    } else {
        500 * DAY
    };
    let whole = Try {
        late: 0,
        clock: 500,
        stale: false,
        writes: usize::MAX,
        operator: 99,
    };
    world.carry_out(world.reading(500), whole);
    let end = world.now + TEN_YEARS;
    for one in tries.iter().cycle() {
        if world.now >= end {
            break;
        }
        // Between two moments with something to do every plan is empty.
        let clock = world.reading(one.clock);
        let due = next_due(clock, &policy, &world.keys).unwrap();
        let wait = u64::try_from(due.as_secs() - clock.as_secs()).unwrap();
        // An operator comes at any time in between; crashes and stale plans come before the late one that is whole.
        let early = wait * one.late / 1000;
        world.now += early;
        if bounded {
            world.has_signers();
        }
        world.operate(world.reading(one.clock), *one);
        let clock = world.reading(one.clock);
        let due = next_due(clock, &policy, &world.keys).unwrap();
        world.now += u64::try_from(due.as_secs() - clock.as_secs()).unwrap();
        let late = gap * one.late / 1000;
        if one.stale || one.writes != usize::MAX {
            world.now += late / 2;
            world.carry_out(world.reading(1000 - one.clock), *one);
            world.now += late - late / 2;
        } else {
            world.now += late;
        }
        if bounded {
            world.has_signers();
        }
        world.carry_out(world.reading(one.clock), whole);
        let now = world.reading(one.clock);
        for purpose in [Use::Signature, Use::Encryption] {
            assert!(primary(now, &world.keys, purpose).is_some());
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_promise_is_kept(policy in policies(), tries in tries()) {
        let world = live(policy, &tries, true);
        prop_assert!(world.most <= MOST_KEYS + 1, "{} keys", world.most);
        prop_assert!(world.made > 10);
    }

    #[test]
    fn without_an_operator_there_are_three_at_most_and_nothing_is_forced(policy in policies(), tries in tries()) {
        let tries: Vec<Try> = tries.into_iter().map(|one| Try { operator: 99, ..one }).collect();
        let world = live(policy, &tries, true);
        prop_assert!(world.most <= 3, "{} keys", world.most);
        let forced: Vec<_> = world.lives.iter().filter(|(_, life)| life.forced).collect();
        prop_assert!(forced.len() == 2, "more than the first two: {forced:?} gap {}", policy.longest_gap());
    }

    #[test]
    fn whatever_clocks_and_silences_do_there_is_one_primary(policy in policies(), tries in tries()) {
        let world = live(policy, &tries, false);
        prop_assert!(world.most <= MOST_KEYS + 1, "{} keys", world.most);
    }
}
