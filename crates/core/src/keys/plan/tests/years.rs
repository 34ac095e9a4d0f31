//! Ten years of rotation under random policies, with everything going wrong that may.
//!
//! The journal is one list of keys with a generation; a write takes the place of all of it, and is a compare-and-set on
//! the generation. Each of two replicas has a view of its own, read at times of its own and up to [`NOTICE`] old: it
//! publishes, signs and opens by it, and plans on it. Plans race, write by write, and crash between any two writes. Each
//! reading of a clock is off by up to half the skew, another amount every time, so that two readings are off by the skew:
//! this is the bound that the promises hold for, because a waiting time that begins on one clock and ends on another is
//! that much shorter than it seems.
//!
//! Verifiers and senders are worked out, not sampled: of each key and replica the model knows since when it is published
//! and opened there, and from when until when it signs or is sealed for, in true time, and from that the worst token, the
//! worst copy of the JWK Set and the worst replica to have it from.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const DAY: u64 = 86_400;
const TEN_YEARS: u64 = 3653 * DAY;
const REPLICAS: usize = 2;
const PURPOSES: [Use; 2] = [Use::Signature, Use::Encryption];

fn index(purpose: Use) -> usize {
    usize::from(purpose == Use::Encryption)
}

/// What one replica did with a key, in true seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Duty {
    /// It publishes a signing key, or opens with an encryption key, since then.
    known: Option<u64>,
    /// It signs with it, or publishes it for senders, since then.
    used: Option<u64>,
    /// Until then.
    left: Option<u64>,
}

/// What really happened to a key.
#[derive(Clone, Debug)]
struct Life {
    at: [Duty; REPLICAS],
    /// It had to be the primary before everybody could know it: the first key, or after a revocation.
    forced: bool,
}

/// One server.
#[derive(Clone, Debug, Default)]
struct Replica {
    /// What it read, and of which generation that was.
    keys: Vec<KeyView>,
    generation: u64,
    /// When it reads again, because something changed.
    notices: Option<u64>,
}

/// Whether clocks are right enough, and plans carried out often enough, for every promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// As the planner asks for.
    Bounded,
    /// Clocks that jump by years, silence for longer than a certificate is valid.
    Unbounded,
}

struct World {
    policy: RotationPolicy,
    /// The journal, and how often it was written.
    keys: Vec<KeyView>,
    generation: u64,
    replicas: [Replica; REPLICAS],
    lives: BTreeMap<KeyId, Life>,
    revoked: BTreeSet<KeyId>,
    /// For each purpose, until when a key may have to be used early, because one was revoked.
    shaken: [u64; PURPOSES.len()],
    now: u64,
    made: usize,
    most: usize,
    trouble: Trouble,
    /// How long each replica takes to notice, 0..=1000 of [`NOTICE`].
    lags: [u64; REPLICAS],
}

/// One try at keeping the keys: how it goes wrong is in the numbers.
#[derive(Clone, Copy, Debug)]
struct Try {
    /// 0..=1000: of the longest gap, how late.
    late: u64,
    /// 0..=1000: the clock's error, 500 is right.
    clock: u64,
    /// 0..=1000: of [`NOTICE`], how long each replica takes to notice.
    lags: [u64; REPLICAS],
    /// Both replicas plan, this one on a view that may be old, and write in turns.
    race: Option<usize>,
    /// The crash comes after this many writes.
    writes: usize,
    /// What an operator does before it.
    operator: u8,
}

const NOBODY: u8 = 99;

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let part = || prop_oneof![Just(0_u64), Just(1000), 0..=1000_u64];
    let race = prop_oneof![3 => Just(None), 1 => (0..REPLICAS).prop_map(Some)];
    let writes = prop_oneof![2 => Just(usize::MAX), 1 => 0..4_usize];
    let one = (part(), part(), [part(), part()], race, writes, 0..100_u8).prop_map(
        |(late, clock, lags, race, writes, operator)| Try {
            late,
            clock,
            lags,
            race,
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
    fn new(policy: RotationPolicy, trouble: Trouble) -> Self {
        Self {
            policy,
            keys: Vec::new(),
            generation: 0,
            replicas: Default::default(),
            lives: BTreeMap::new(),
            revoked: BTreeSet::new(),
            shaken: [0; PURPOSES.len()],
            now: 1_800_000_000,
            made: 0,
            most: 0,
            trouble,
            lags: [0; REPLICAS],
        }
    }

    fn is_bounded(&self) -> bool {
        self.trouble == Trouble::Bounded
    }

    fn skew(&self) -> u64 {
        self.policy.timing().clock_skew.as_secs()
    }

    fn true_time(&self) -> UnixTime {
        UnixTime::from_secs(i64::try_from(self.now).unwrap())
    }

    /// What a clock says: off by half the skew at most, or by years where nothing is bounded.
    fn reading(&self, clock: u64) -> UnixTime {
        let spread = if self.is_bounded() {
            self.skew()
        } else {
            2000 * DAY
        };
        let error = i64::try_from(spread * clock / 1000).unwrap() - i64::try_from(spread / 2).unwrap();
        UnixTime::from_secs(i64::try_from(self.now).unwrap() + error)
    }

    /// The longest silence of all planners at this moment. After a revocation there is none: servers run.
    fn gap(&self) -> u64 {
        let is_shaken = self.shaken.iter().any(|until| self.now <= *until);
        match (self.trouble, is_shaken) {
            (Trouble::Unbounded, _) => 500 * DAY,
            (Trouble::Bounded, false) => self.policy.longest_gap().as_secs(),
            (Trouble::Bounded, true) => 0,
        }
    }

    /// Time passes, and each replica reads when it notices.
    fn pass(&mut self, until: u64) {
        while let Some((at, replica)) = (0..REPLICAS)
            .filter_map(|replica| Some((self.replicas[replica].notices?, replica)))
            .min()
            .filter(|(at, _)| *at <= until)
        {
            self.now = self.now.max(at);
            self.read(replica);
        }
        self.now = until;
        if self.is_bounded() {
            self.has_signers();
        }
    }

    /// Exactly one primary of each purpose at every moment since the first plan, its certificate valid, whoever is asked.
    fn has_signers(&self) {
        let at = self.true_time();
        for purpose in PURPOSES {
            assert!(
                primary(at, &self.keys, purpose).is_some(),
                "nobody signs at {}",
                self.now
            );
            for replica in &self.replicas {
                let signer = primary(at, &replica.keys, purpose);
                assert!(signer.is_some(), "a replica has no key at {}", self.now);
            }
        }
    }

    fn read(&mut self, replica: usize) {
        let (keys, generation) = (self.keys.clone(), self.generation);
        self.sees(replica, keys, generation);
    }

    /// A replica goes by these keys from now on.
    fn sees(&mut self, replica: usize, keys: Vec<KeyView>, generation: u64) {
        let next = Replica {
            keys,
            generation,
            notices: None,
        };
        let before = std::mem::replace(&mut self.replicas[replica], next);
        let now = self.now;
        let duty = |lives: &mut BTreeMap<KeyId, Life>, kid: &KeyId, change: &dyn Fn(&mut Duty)| {
            change(&mut lives.get_mut(kid).unwrap().at[replica]);
        };
        let after = self.replicas[replica].keys.clone();
        for key in &after {
            duty(&mut self.lives, &key.kid, &|duty| {
                duty.known.get_or_insert(now);
            });
        }
        for old in &before.keys {
            let new = after.iter().find(|key| key.kid == old.kid);
            if old.state == State::Enabled && new.is_none_or(|new| new.state != State::Enabled) {
                duty(&mut self.lives, &old.kid, &|duty| duty.left = Some(now));
                self.left_in_time(old);
            }
            if new.is_none() {
                self.was_needed_no_more(old);
            }
        }
        for key in after.iter().filter(|key| key.state == State::Enabled) {
            if !before
                .keys
                .iter()
                .any(|old| old.kid == key.kid && old.state == State::Enabled)
            {
                duty(&mut self.lives, &key.kid, &|duty| duty.used = Some(now));
                self.is_known_to_all(key);
            }
        }
    }

    /// A verifier may have asked the last replica to notice right before it did, and uses that copy for its `max-age`. A
    /// sender may have the key from the first replica to publish it, and send to any.
    fn is_known_to_all(&self, key: &KeyView) {
        let life = &self.lives[&key.kid];
        if !self.is_bounded() || life.forced {
            return;
        }
        let copies = match key.purpose {
            Use::Signature => self.policy.timing().jwks_max_age.as_secs(),
            Use::Encryption => 0,
        };
        for duty in &life.at {
            let all = duty.known.is_some_and(|known| known + copies <= self.now);
            assert!(
                all,
                "{} is used at {} before all know it: {life:?}",
                key.kid, self.now
            );
        }
    }

    fn left_in_time(&self, key: &KeyView) {
        if self.is_bounded() && !self.revoked.contains(&key.kid) {
            let not_after = u64::try_from(key.not_after.as_secs()).unwrap();
            assert!(
                self.now + self.skew() / 2 <= not_after,
                "{} signed past its certificate",
                key.kid
            );
        }
    }

    /// The last token is made by the last replica to notice, with a clock ahead, and verified on a clock behind with what
    /// the first replica to notice publishes. The last message is sealed with an old copy.
    fn was_needed_no_more(&self, key: &KeyView) {
        if !self.is_bounded() || self.revoked.contains(&key.kid) {
            return;
        }
        let (timing, skew) = (self.policy.timing(), self.skew());
        let copy = match key.purpose {
            Use::Signature => 0,
            Use::Encryption => timing.jwks_max_age.as_secs(),
        };
        // A certificate that ends takes the key out of the JWK Set by itself.
        let shown = self
            .now
            .min(u64::try_from(key.not_after.as_secs()).unwrap() - skew / 2);
        for duty in &self.lives[&key.kid].at {
            if duty.used.is_some() {
                let left = duty
                    .left
                    .unwrap_or_else(|| panic!("{} is gone and still used", key.kid));
                let until = left + copy + timing.longest_token.as_secs() + skew;
                assert!(
                    until <= shown,
                    "{}: wanted until {until}, gone at {shown}",
                    key.kid
                );
            }
        }
    }

    /// Compare-and-set of the whole journal, from the view of this replica or, without one, from the journal as it is.
    /// Nothing happens when somebody else wrote since.
    fn write(&mut self, by: Option<usize>, now: UnixTime, transition: &Transition) -> bool {
        let (mut after, planned_on) = match by {
            Some(replica) => (
                self.replicas[replica].keys.clone(),
                self.replicas[replica].generation,
            ),
            None => (self.keys.clone(), self.generation),
        };
        if planned_on != self.generation {
            return false;
        }
        let new = transition.birth().map(|(purpose, birth)| {
            self.made += 1;
            let kid = KeyId::parse(&format!("k{}", self.made)).unwrap();
            KeyView::made(kid, purpose, birth, now, now.plus(self.policy.timing().validity))
        });
        transition.apply(now, &mut after, new).unwrap();
        let before = std::mem::replace(&mut self.keys, after);
        self.generation += 1;
        if let Transition::Revoke { kid, .. } = transition {
            self.is_revoked(kid);
        }
        self.follows(&before, now, transition);
        self.keys.retain(|key| key.state != State::Deleted);
        for replica in 0..REPLICAS {
            if by == Some(replica) {
                self.read(replica);
            } else {
                let notices = self.now + NOTICE.as_secs() * self.lags[replica] / 1000;
                let already = self.replicas[replica].notices;
                self.replicas[replica].notices = Some(already.unwrap_or(notices).min(notices));
            }
        }
        true
    }

    fn is_revoked(&mut self, kid: &KeyId) {
        self.revoked.insert(kid.clone());
        let purpose = self.keys.iter().find(|key| key.kid == *kid).unwrap().purpose;
        // Until another was staged, and has waited for its time, with plans as late as they may be.
        let turn = self.policy.timing().promote_after.as_secs() + 3 * NOTICE.as_secs() + 2 * self.skew() + 2;
        self.shaken[index(purpose)] = self.now + turn;
    }

    /// What holds of every single write.
    fn follows(&mut self, before: &[KeyView], now: UnixTime, transition: &Transition) {
        for old in before {
            let kept = self.keys.iter().any(|key| key.kid == old.kid);
            assert!(kept, "{} was lost by {transition:?}", old.kid);
        }
        for purpose in PURPOSES {
            let of = |keys: &[KeyView], state: State| {
                keys.iter()
                    .filter(|key| key.purpose == purpose && key.state == state)
                    .count()
            };
            assert!(
                of(&self.keys, State::Enabled) <= 1,
                "two primaries after {transition:?}"
            );
            assert!(
                of(before, State::Enabled) == 0 || of(&self.keys, State::Enabled) == 1,
                "no primary after {transition:?}"
            );
            let present = |key: &&KeyView| key.purpose == purpose && key.state != State::Deleted;
            self.most = self.most.max(self.keys.iter().filter(present).count());
        }
        let last = self.policy.last_use_before_end();
        for key in self.keys.clone() {
            let old = before.iter().find(|old| old.kid == key.kid).map(|old| old.state);
            let life = self.lives.entry(key.kid.clone()).or_insert(Life {
                at: Default::default(),
                forced: false,
            });
            if key.state != State::Enabled || old == Some(State::Enabled) {
                continue;
            }
            let others = || before.iter().filter(|other| other.purpose == key.purpose);
            let could_go_on =
                others().any(|other| other.state == State::Enabled && now < other.not_after.minus(last));
            let revoking = matches!(transition, Transition::Revoke { .. });
            let is_shaken = self.now <= self.shaken[index(key.purpose)];
            life.forced = revoking || others().next().is_none() || (is_shaken && !could_go_on);
            assert!(
                life.forced || self.trouble == Trouble::Unbounded || old == Some(State::Staged),
                "{} was made and used at once by {transition:?}",
                key.kid
            );
            assert!(revoking || !could_go_on || old == Some(State::Staged));
        }
    }

    /// One replica does all that is due, by what it reads now.
    fn carry_out(&mut self, replica: usize, now: UnixTime) {
        self.read(replica);
        for transition in plan(now, &self.policy, &self.keys) {
            assert!(self.write(Some(replica), now, &transition));
        }
        assert_eq!(
            plan(now, &self.policy, &self.keys),
            [],
            "planned twice at one moment"
        );
        // Who asks this replica for its JWK Set now, with its clock, verifies what it signs now.
        for purpose in PURPOSES {
            let signs = primary(now, &self.replicas[replica].keys, purpose).unwrap();
            assert!(
                signs.is_published(now),
                "{} signs and is not published",
                signs.kid
            );
        }
    }

    /// Two plan, the one by what it knows and the other by what it reads, and write in turns until a crash, or until
    /// another came first.
    fn race(&mut self, late: usize, one: Try) {
        let early = REPLICAS - 1 - late;
        self.read(early);
        let clocks = [one.clock, 1000 - one.clock].map(|clock| self.reading(clock));
        let plans: Vec<_> = (0..REPLICAS)
            .map(|replica| plan(clocks[replica], &self.policy, &self.replicas[replica].keys))
            .collect();
        let mut racing = [true; REPLICAS];
        for turn in 0..one.writes.min(LONGEST_PLAN) {
            for replica in [early, late] {
                racing[replica] = racing[replica]
                    && plans[replica]
                        .get(turn)
                        .is_some_and(|transition| self.write(Some(replica), clocks[replica], transition));
            }
        }
    }

    fn operate(&mut self, one: Try) {
        let now = self.reading(one.clock);
        let purpose = PURPOSES[usize::from(one.operator & 1)];
        let asked = match one.operator {
            0..=7 => rotate_now(now, &self.policy, &self.keys, purpose).ok().flatten(),
            8..=13 => {
                let index = (one.clock + one.late) as usize % self.keys.len().max(1);
                let kid = self.keys.get(index).map(|key| key.kid.clone());
                kid.and_then(|kid| revoke(now, &self.policy, &self.keys, &kid).ok())
            }
            _ => None,
        };
        if let Some(transition) = asked {
            assert!(self.write(None, now, &transition));
        }
    }

    /// How long by this clock until there is something to do.
    fn until_due(&self, clock: u64) -> u64 {
        let now = self.reading(clock);
        let due = next_due(now, &self.policy, &self.keys).unwrap();
        u64::try_from(due.as_secs() - now.as_secs()).unwrap()
    }
}

/// Ten years; the tries come round again and again.
fn live(policy: RotationPolicy, tries: &[Try], trouble: Trouble) -> World {
    let mut world = World::new(policy, trouble);
    world.carry_out(0, world.reading(500));
    world.read(1);
    let end = world.now + TEN_YEARS;
    for (round, one) in tries.iter().cycle().enumerate() {
        if world.now >= end {
            break;
        }
        world.lags = one.lags;
        // Between two moments with something to do every plan is empty. An operator comes at any time in between; crashes
        // and races come before the late plan that is whole.
        world.pass(world.now + world.until_due(one.clock) * one.late / 1000);
        world.operate(*one);
        world.pass(world.now + world.until_due(one.clock));
        let late = world.gap() * one.late / 1000;
        let half = if one.race.is_some() || one.writes != usize::MAX {
            late / 2
        } else {
            late
        };
        world.pass(world.now + half);
        if half != late || late == 0 {
            match one.race {
                Some(replica) => world.race(replica, *one),
                None if one.writes != usize::MAX => crash(&mut world, *one),
                None => {}
            }
            world.pass(world.now + late - half);
        }
        world.carry_out(round % REPLICAS, world.reading(one.clock));
    }
    world
}

/// One replica plans by what it knows, and dies after some writes.
fn crash(world: &mut World, one: Try) {
    let now = world.reading(1000 - one.clock);
    let transitions = plan(now, &world.policy, &world.replicas[0].keys);
    for transition in transitions.iter().take(one.writes) {
        if !world.write(Some(0), now, transition) {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_promise_is_kept(policy in policies(), tries in tries()) {
        let world = live(policy, &tries, Trouble::Bounded);
        prop_assert!(world.most <= MOST_KEYS + 1, "{} keys", world.most);
        prop_assert!(world.made > 10);
    }

    #[test]
    fn without_an_operator_there_are_three_at_most_and_nothing_is_forced(policy in policies(), tries in tries()) {
        let tries: Vec<Try> = tries.into_iter().map(|one| Try { operator: NOBODY, ..one }).collect();
        let world = live(policy, &tries, Trouble::Bounded);
        prop_assert!(world.most <= 3, "{} keys", world.most);
        let forced: Vec<_> = world.lives.iter().filter(|(_, life)| life.forced).collect();
        prop_assert!(forced.len() == 2, "more than the first two: {forced:?} gap {}", policy.longest_gap());
    }

    #[test]
    fn whatever_clocks_and_silences_do_there_is_one_primary_that_its_signer_publishes(
        policy in policies(), tries in tries()
    ) {
        let world = live(policy, &tries, Trouble::Unbounded);
        prop_assert!(world.most <= MOST_KEYS + 1, "{} keys", world.most);
    }
}
