//! The planner, case by case. Years of it are in `years`.

use super::super::policy::{NOTICE, PolicyFlaw, Timing};
use super::*;

mod years;

const START: UnixTime = UnixTime::from_secs(1_800_000_000);

/// One ring whose keys are named in the order in which they are made.
struct Ring {
    policy: RotationPolicy,
    keys: Vec<KeyView>,
    made: usize,
}

impl Ring {
    fn new() -> Self {
        Self {
            policy: RotationPolicy::default(),
            keys: Vec::new(),
            made: 0,
        }
    }

    fn apply(&mut self, now: UnixTime, transition: &Transition) {
        let new = transition.birth().map(|(purpose, birth)| {
            self.made += 1;
            let name = match purpose {
                Use::Signature => format!("sig-{}", self.made),
                Use::Encryption => format!("enc-{}", self.made),
            };
            let not_after = now.plus(self.policy.timing().validity);
            KeyView::made(KeyId::parse(&name).unwrap(), purpose, birth, now, not_after)
        });
        transition.apply(now, &mut self.keys, new).unwrap();
    }

    fn tick(&mut self, now: UnixTime) -> Vec<Transition> {
        let transitions = plan(now, &self.policy, &self.keys);
        for transition in &transitions {
            self.apply(now, transition);
        }
        assert_eq!(
            plan(now, &self.policy, &self.keys),
            [],
            "planned twice at one moment"
        );
        transitions
    }

    /// The signing keys that there are: `e1 s2` is key 1 enabled and key 2 staged.
    fn signing(&self) -> String {
        let mut names: Vec<String> = present(&self.keys, Use::Signature)
            .map(|key| {
                let state = key.state.as_str().chars().next().unwrap();
                format!("{state}{}", key.kid.as_str().strip_prefix("sig-").unwrap())
            })
            .collect();
        names.sort();
        names.join(" ")
    }

    fn key(&mut self, kid: &str) -> &mut KeyView {
        self.keys.iter_mut().find(|key| key.kid.as_str() == kid).unwrap()
    }

    fn rotate(&mut self, now: UnixTime) -> Result<(), NotPossible> {
        if let Some(transition) = rotate_now(now, &self.policy, &self.keys, Use::Signature)? {
            self.apply(now, &transition);
        }
        self.tick(now);
        Ok(())
    }

    fn revoke(&mut self, now: UnixTime, kid: &str) {
        let kid = KeyId::parse(kid).unwrap();
        let transition = revoke(now, &self.policy, &self.keys, &kid).unwrap();
        self.apply(now, &transition);
    }
}

fn day(days: u64) -> UnixTime {
    START.plus(Lifetime::from_days(days))
}

#[test]
fn the_life_of_keys_with_the_defaults() {
    let mut ring = Ring::new();
    let mut seen = Vec::new();
    for today in 0..=75 {
        if !ring.tick(day(today)).is_empty() {
            seen.push(format!("{today}: {}", ring.signing()));
        }
    }
    assert_eq!(
        seen,
        [
            "0: e1",
            "15: e1 s3",
            "30: d1 e3 s5",
            "45: d3 e5 s7",
            "60: d5 e7 s9",
            "75: d7 e9 s11",
        ]
    );
    for today in 76..=1000 {
        ring.tick(day(today));
        for purpose in [Use::Signature, Use::Encryption] {
            let mut states: Vec<State> = present(&ring.keys, purpose).map(|key| key.state).collect();
            states.sort();
            assert_eq!(
                states,
                [State::Staged, State::Enabled, State::Disabled],
                "day {today}"
            );
        }
    }
}

#[test]
fn a_long_silence_is_made_good_with_one_plan() {
    for silence in [20, 60, 80, 89, 90, 91, 1000] {
        let mut ring = Ring::new();
        for today in 0..=30 {
            ring.tick(day(today));
        }
        let later = day(30 + silence);
        ring.tick(later);
        for purpose in [Use::Signature, Use::Encryption] {
            let primary = primary(later, &ring.keys, purpose).unwrap();
            assert!(later < primary.not_after, "after {silence} days");
        }
        assert!(present(&ring.keys, Use::Signature).all(|key| later < key.not_after));
    }
}

#[test]
fn an_asked_for_rotation_waits_until_verifiers_know_the_key() {
    let mut ring = Ring::new();
    ring.tick(START);
    let at = |secs: u64| day(3).plus(Lifetime::from_secs(secs));
    ring.rotate(at(0)).unwrap();
    assert_eq!(ring.signing(), "e1 s3");
    // 300 s of max-age, 60 s of skew, 10 s until the last replica publishes it.
    ring.tick(at(369));
    assert_eq!(ring.signing(), "e1 s3");
    // Asked again, it is the same rotation.
    ring.rotate(at(369)).unwrap();
    assert_eq!(ring.signing(), "e1 s3");
    ring.tick(at(370));
    assert_eq!(ring.signing(), "d1 e3");

    // With a key that everybody knows it is at once; the next one is staged when its time comes.
    let mut ring = Ring::new();
    for today in 0..=40 {
        ring.tick(day(today));
    }
    assert_eq!(ring.signing(), "d1 e3 s5");
    ring.rotate(day(40)).unwrap();
    assert_eq!(ring.signing(), "d1 d3 e5");
}

#[test]
fn rotations_in_a_row_do_not_pile_up_keys() {
    let mut ring = Ring::new();
    ring.tick(START);
    let mut refused = 0;
    let mut most = 0;
    for minute in 0..2000 {
        let now = START.plus(Lifetime::from_minutes(minute));
        match ring.rotate(now) {
            Ok(()) => {}
            Err(NotPossible::TooMany(count)) => {
                assert_eq!(count, MOST_KEYS);
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
        ring.tick(now);
        most = most.max(present(&ring.keys, Use::Signature).count());
    }
    assert!(refused > 0 && most == MOST_KEYS, "{refused} {most}");
    assert!(ring.made > 100, "and yet it goes on: {}", ring.made);
}

#[test]
fn rotations_in_a_row_do_not_pile_up_keys_where_the_next_is_staged_at_once() {
    let days = Lifetime::from_days;
    let mut ring = Ring::new();
    ring.policy = RotationPolicy::new(Timing {
        stage_before: days(90),
        longest_token: days(1),
        ..Timing::of(days(90))
    })
    .unwrap();
    ring.tick(START);
    assert_eq!(
        present(&ring.keys, Use::Signature).count(),
        2,
        "one is staged at once"
    );
    let mut refused = 0;
    let mut most = 0;
    for minute in 0..3 * 24 * 60 {
        let now = START.plus(Lifetime::from_minutes(minute));
        match ring.rotate(now) {
            Ok(()) => {}
            Err(NotPossible::TooMany(count)) => {
                assert!(count >= MOST_KEYS);
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
        ring.tick(now);
        most = most.max(present(&ring.keys, Use::Signature).count());
    }
    assert!(refused > 0 && most == MOST_KEYS, "{refused} {most}");
    assert!(ring.made > 10, "and yet it goes on: {}", ring.made);
}

#[test]
fn a_new_key_is_exactly_what_the_transition_says() {
    let key = |birth, change: fn(&mut KeyView)| {
        let kid = KeyId::parse("new").unwrap();
        let mut key = KeyView::made(kid, Use::Signature, birth, START, day(90));
        change(&mut key);
        Some(key)
    };
    for birth in [Birth::Staged, Birth::Hastened, Birth::Enabled] {
        let make = Transition::Make {
            purpose: Use::Signature,
            birth,
        };
        let apply = |new| make.apply(START, &mut Vec::new(), new);
        assert_eq!(apply(key(birth, |_| {})), Ok(()));
        for other in [
            key(birth, |key| key.state = State::Disabled),
            key(birth, |key| key.state = State::Deleted),
            key(birth, |key| key.hastened = !key.hastened),
            key(birth, |key| key.purpose = Use::Encryption),
            None,
        ] {
            assert_eq!(
                apply(other.clone()),
                Err(NotApplicable::New),
                "{birth:?} {other:?}"
            );
        }
    }
}

#[test]
fn a_revoked_key_is_gone_at_once_and_replaced_in_the_same_write() {
    let mut ring = Ring::new();
    for today in 0..=40 {
        ring.tick(day(today));
    }
    assert_eq!(ring.signing(), "d1 e3 s5");
    ring.revoke(day(40), "sig-3");
    assert_eq!(ring.signing(), "d1 e5");
    ring.revoke(day(40), "sig-1");
    assert_eq!(ring.signing(), "e5");
    // No staged key: a new one, in the same write.
    ring.revoke(day(40), "sig-5");
    assert!(
        ring.signing().starts_with('e') && ring.signing().len() <= 4,
        "{}",
        ring.signing()
    );
    // A staged one: the next plan makes another.
    ring.tick(day(55));
    let staged = staged(day(55), &ring.policy, &ring.keys, Use::Signature)
        .next()
        .unwrap()
        .kid
        .clone();
    ring.revoke(day(55), staged.as_str());
    assert!(matches!(
        ring.tick(day(55)).as_slice(),
        [Transition::Make {
            purpose: Use::Signature,
            birth: Birth::Staged
        }]
    ));
    let gone = KeyId::parse("sig-3").unwrap();
    assert_eq!(
        revoke(day(55), &ring.policy, &ring.keys, &gone),
        Err(NotPossible::Unknown(gone))
    );
}

#[test]
fn a_key_not_known_to_all_is_promoted_only_when_there_is_no_other() {
    let mut ring = Ring::new();
    ring.tick(START);
    ring.tick(day(15));
    let soon = day(15).plus(Lifetime::from_secs(1));
    // While the primary can go on, the other one waits.
    let end = soon.plus(ring.policy.last_use_before_end());
    ring.key("sig-1").not_after = end.plus(Lifetime::from_secs(1));
    assert_eq!(ring.tick(soon), []);
    ring.key("sig-1").not_after = end;
    assert_eq!(
        plan(soon, &ring.policy, &ring.keys).first(),
        Some(&Transition::Enable {
            kid: KeyId::parse("sig-3").unwrap()
        })
    );
}

#[test]
fn two_primaries_that_something_else_left_become_one() {
    let mut ring = Ring::new();
    ring.tick(START);
    let mut other = ring.key("sig-1").clone();
    other.kid = KeyId::parse("sig-imported").unwrap();
    other.enabled = Some(day(1));
    ring.keys.push(other);
    assert_eq!(
        primary(day(2), &ring.keys, Use::Signature).unwrap().kid.as_str(),
        "sig-imported"
    );
    assert_eq!(
        ring.tick(day(2)),
        [Transition::Disable {
            kid: KeyId::parse("sig-1").unwrap()
        }]
    );
}

#[test]
fn imported_keys_take_their_turn() {
    let mut ring = Ring::new();
    ring.tick(START);
    let kid = |name: &str| KeyId::parse(name).unwrap();
    // Good for a year: it takes over after its time as a staged key, and nothing is staged until 75 days before its end.
    let end = day(370);
    let year = KeyView::made(kid("sig-year"), Use::Signature, Birth::Staged, day(5), end);
    // Good for an hour: it could not sign a single token that is verified before its end.
    let hour = day(5).plus(Lifetime::from_hours(1));
    let hour = KeyView::made(kid("sig-hour"), Use::Signature, Birth::Staged, day(5), hour);
    ring.keys.extend([year, hour]);
    assert_eq!(ring.tick(day(5)), [Transition::Delete { kid: kid("sig-hour") }]);
    let mut promoted = None;
    let mut next = None;
    for today in 6..=300 {
        for transition in ring.tick(day(today)) {
            if matches!(&transition, Transition::Enable { kid } if kid.as_str() == "sig-year") {
                promoted = Some(today);
            }
            if next.is_none()
                && transition
                    .birth()
                    .is_some_and(|(purpose, _)| purpose == Use::Signature)
            {
                next = Some(today);
            }
        }
    }
    assert_eq!((promoted, next), (Some(20), Some(295)));
}

#[test]
fn the_key_that_is_known_for_longest_comes_first() {
    let mut ring = Ring::new();
    ring.tick(START);
    for (name, staged) in [("a", day(2)), ("b", day(1))] {
        let kid = KeyId::parse(name).unwrap();
        ring.keys
            .push(KeyView::made(kid, Use::Signature, Birth::Staged, staged, day(80)));
    }
    let first = |ring: &Ring, now| {
        let mut transitions = plan(now, &ring.policy, &ring.keys).into_iter();
        transitions.find_map(|transition| {
            if let Transition::Enable { kid } = transition {
                Some(kid.to_string())
            } else {
                None
            }
        })
    };
    assert_eq!(first(&ring, day(16)).as_deref(), Some("b"));
    let revoked = KeyId::parse("sig-1").unwrap();
    let Ok(Transition::Revoke { replacement, .. }) = revoke(day(3), &ring.policy, &ring.keys, &revoked)
    else {
        panic!("not revoked");
    };
    assert_eq!(replacement, Replacement::Staged(KeyId::parse("b").unwrap()));
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut ring = Ring::new();
    ring.tick(START);
    let before = ring.keys.clone();
    let kid = KeyId::parse("sig-1").unwrap();
    let new = KeyView::made(
        KeyId::parse("new").unwrap(),
        Use::Encryption,
        Birth::Staged,
        START,
        day(90),
    );
    let same_name = KeyView {
        kid: kid.clone(),
        purpose: Use::Signature,
        ..new.clone()
    };
    let make = Transition::Make {
        purpose: Use::Signature,
        birth: Birth::Staged,
    };
    let rows = [
        (Transition::Enable { kid: kid.clone() }, None),
        (Transition::Hasten { kid: kid.clone() }, None),
        (
            Transition::Delete {
                kid: KeyId::parse("nobody").unwrap(),
            },
            None,
        ),
        (Transition::Delete { kid: kid.clone() }, Some(new.clone())),
        (make.clone(), None),
        (make.clone(), Some(new)),
        (make, Some(same_name)),
        (
            Transition::Revoke {
                kid: kid.clone(),
                replacement: Replacement::Staged(kid),
            },
            None,
        ),
    ];
    for (transition, new) in rows {
        assert!(
            transition.apply(START, &mut ring.keys, new).is_err(),
            "{transition:?}"
        );
        assert_eq!(ring.keys, before);
    }
}

#[test]
fn timings_that_cannot_keep_the_promises_are_refused_with_what_to_change() {
    let base = Timing::default();
    assert_eq!(RotationPolicy::new(base), Ok(RotationPolicy::default()));
    assert!(RotationPolicy::default().longest_gap() > Lifetime::from_days(19));
    let secs = Lifetime::from_secs;
    let days = Lifetime::from_days;
    let rows: [(Timing, Timing, &str); 6] = [
        (
            Timing {
                promote_after: secs(369),
                grace: days(15),
                ..base
            },
            Timing {
                promote_after: secs(370),
                grace: days(15),
                ..base
            },
            "promote_after is 369 s",
        ),
        (
            Timing {
                stage_before: secs(90 * 86_400 + 1),
                ..base
            },
            Timing {
                stage_before: days(90),
                ..base
            },
            "stage_before is 7776001 s",
        ),
        (
            Timing {
                grace: secs(3600 + 300 + 120 + 9),
                ..base
            },
            Timing {
                grace: secs(3600 + 300 + 120 + 10),
                ..base
            },
            "grace is 4029 s",
        ),
        (
            Timing {
                grace: secs(15 * 86_400 + 1),
                ..base
            },
            Timing {
                grace: days(15),
                ..base
            },
            "grace is 1296001 s",
        ),
        (
            Timing {
                validity: secs(398 * 86_400 + 1),
                ..base
            },
            Timing {
                validity: days(398),
                ..base
            },
            "a validity of 34387201 s is too long",
        ),
        (
            // 15 days, the token's 4090 s, and twice what a replica may take to notice.
            Timing {
                stage_before: secs(15 * 86_400 + 4090 + 141),
                ..base
            },
            Timing {
                stage_before: secs(15 * 86_400 + 4090 + 142),
                ..base
            },
            "stage_before is 1300231 s",
        ),
    ];
    for (bad, good, says) in rows {
        let message = RotationPolicy::new(bad).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
        assert!(message.contains(": set it to "), "{message}");
        assert!(RotationPolicy::new(good).is_ok(), "{good:?}");
    }
    let least = 2 * 15 * 86_400 + 4090 + 213;
    let of = |validity| Timing {
        validity: secs(validity),
        stage_before: secs(validity),
        ..base
    };
    assert!(matches!(
        RotationPolicy::new(of(least - 1)),
        Err(PolicyFlaw::TooShort { .. })
    ));
    let tight = RotationPolicy::new(of(least)).unwrap();
    assert_eq!(tight.longest_gap(), NOTICE);
    for days in [7, 30, 45, 90, 180, 398] {
        assert!(
            RotationPolicy::new(Timing::of(Lifetime::from_days(days))).is_ok(),
            "{days}"
        );
    }
}
