use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// An answer that is known at once: the log in this process never waits.
fn ask(log: &LocalReplayLog, id: ReplayId, until: i64, now: i64) -> Result<Use, ReplayUnavailable> {
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};
    let mut answer = log.first_use(id, UnixTime::from_millis(until), UnixTime::from_millis(now));
    match std::pin::Pin::new(&mut answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

fn log(capacity: usize) -> LocalReplayLog {
    LocalReplayLog::new(capacity, UnixTime::from_millis(0))
}

fn id(number: u64, sender: u64) -> ReplayId {
    let mut name = [7; 32];
    name[..8].copy_from_slice(&number.to_be_bytes());
    ReplayId {
        name,
        sender: sender.to_be_bytes(),
    }
}

fn forget_all(log: &LocalReplayLog, now: i64) {
    for _ in 0..PARTS {
        log.forget_some(UnixTime::from_millis(now));
    }
}

proptest! {
    /// In milliseconds, against a map that forgets nothing; `forget` says when the log may.
    #[test]
    fn it_answers_like_a_map_while_the_clock_goes_on(
        steps in proptest::collection::vec((0_u64..12, 0_i64..9_000, 0_i64..2_500, any::<bool>()), 0..200)
    ) {
        let log = log(1_000);
        let (mut model, mut now) = (HashMap::<u64, i64>::new(), 0);
        for (number, lives, passes, forget) in steps {
            now += passes;
            if forget {
                forget_all(&log, now);
            }
            let until = now + lives;
            let answer = ask(&log, id(number, number), until, now);
            let first = until > now && model.get(&number).is_none_or(|known| *known <= now);
            if first {
                // Kept up to one second longer: times are whole seconds in the log.
                if answer != Ok(Use::First) {
                    let known = model.get(&number).copied();
                    prop_assert!(known.is_some_and(|known| known > now - 1_999), "{answer:?} for {number}");
                    continue;
                }
                model.insert(number, until);
            } else {
                prop_assert_eq!(answer, Ok(Use::Again));
            }
        }
    }

    /// Whatever the clock does, the same thing (with the same end) is used once.
    #[test]
    fn nothing_is_used_twice_however_the_clock_jumps(
        steps in proptest::collection::vec((0_i64..40_000, 0_i64..40_000, any::<bool>()), 0..200)
    ) {
        let log = log(1_000);
        let mut used = HashMap::<i64, usize>::new();
        for (until, now, forget) in steps {
            if forget {
                forget_all(&log, now);
            }
            // One id for each end, so that ids come again.
            let until = until / 1_000 * 1_000 + 500;
            if ask(&log, id(until.unsigned_abs(), 0), until, now) == Ok(Use::First) {
                *used.entry(until).or_default() += 1;
            }
        }
        prop_assert!(used.values().all(|times| *times == 1), "{used:?}");
    }
}

#[test]
fn once_until_its_end_and_not_a_millisecond_less() {
    let log = log(10);
    assert_eq!(ask(&log, id(1, 1), 10_001, 0), Ok(Use::First));
    assert_eq!(ask(&log, id(1, 1), 10_001, 10_000), Ok(Use::Again));
    forget_all(&log, 10_000);
    assert_eq!(log.len(), 1, "it is still accepted at that instant");
    assert_eq!(ask(&log, id(1, 1), 20_000, 10_000), Ok(Use::Again));
    assert_eq!(
        ask(&log, id(2, 1), 10_000, 10_000),
        Ok(Use::Again),
        "its time is over"
    );
    forget_all(&log, 11_000);
    assert!(log.is_empty());
    assert_eq!(log.bytes(), 0, "and the memory is given back");
}

/// CLM-24 of the attack catalogue: used proofs stay used.
#[test]
fn a_clock_that_goes_back_brings_nothing_back() {
    let log = log(10);
    assert_eq!(ask(&log, id(1, 1), 60_000, 0), Ok(Use::First));
    forget_all(&log, 3_600_000);
    assert_eq!(
        ask(&log, id(1, 1), 60_000, 0),
        Err(ReplayUnavailable::ClockWentBack)
    );
    // What lives longer than all that was forgotten cannot have been here.
    assert_eq!(ask(&log, id(1, 1), 61_000, 0), Ok(Use::First));
}

#[test]
fn a_full_log_refuses_and_forgets_nothing_that_lives() {
    let log = log(100);
    for number in 0..100 {
        assert_eq!(
            ask(
                &log,
                id(number, number),
                10_000 + 1_000 * i64::from(number >= 50),
                0
            ),
            Ok(Use::First)
        );
    }
    assert_eq!(ask(&log, id(100, 100), 10_000, 0), Err(ReplayUnavailable::Full));
    assert_eq!(log.ready(), Err(ReplayUnavailable::Full));
    for number in 0..100 {
        assert_eq!(
            ask(&log, id(number, number), 10_000, 9_000),
            Ok(Use::Again),
            "{number}"
        );
    }
    // Fifty expire, and fifty places come back with nobody tending the log.
    for number in 100..150 {
        assert_eq!(
            ask(&log, id(number, number), 90_000, 10_000),
            Ok(Use::First),
            "{number}"
        );
    }
    assert_eq!(
        ask(&log, id(150, 150), 90_000, 10_000),
        Err(ReplayUnavailable::Full)
    );
    assert_eq!(log.len(), 100);
}

/// DPOP-16 and DOS-05 of the attack catalogue.
#[test]
fn a_sender_gets_no_more_than_is_left() {
    let log = log(1_000);
    let flood = |sender: u64, now: i64| {
        (0..1_000)
            .map(|number| ask(&log, id(sender * 1_000 + number, sender), now + 10_000, now))
            .take_while(|answer| *answer == Ok(Use::First))
            .count()
    };
    assert_eq!(flood(1, 0), 500);
    assert_eq!(flood(2, 0), 250);
    assert_eq!(flood(3, 0), 125);
    assert_eq!(flood(1, 0), 0);
    assert_eq!(
        ask(&log, id(9_999_999, 1), 10_000, 0),
        Err(ReplayUnavailable::SenderFull)
    );
    assert_eq!(
        ask(&log, id(9_999_999, 4), 10_000, 0),
        Ok(Use::First),
        "a newcomer finds room"
    );
    assert_eq!(log.ready(), Ok(()));
    // What they sent expires, and it may send as much again.
    assert_eq!(flood(1, 10_000), 500);
}

#[test]
fn of_many_threads_exactly_one_is_first() {
    const IDS: u64 = 20_000;
    let log = log(100_000);
    let firsts: usize = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..8)
            .map(|thread| {
                let log = &log;
                scope.spawn(move || {
                    (0..IDS)
                        .map(|number| (number * 7 + thread * 131) % IDS)
                        .filter(|number| {
                            if number % 64 == 0 {
                                log.forget_some(UnixTime::from_millis(0));
                            }
                            ask(log, id(*number, *number % 50), 10_000, 0) == Ok(Use::First)
                        })
                        .count()
                })
            })
            .collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).sum()
    });
    assert_eq!(firsts, 20_000);
    assert_eq!(log.len(), 20_000);
}

#[test]
fn memory_follows_what_lives() {
    const IDS: u64 = 200_000;
    let log = log(1_000_000);
    assert_eq!(log.bytes(), 0);
    for number in 0..IDS {
        let until = 10_000 + 10_000 * i64::from(number % 10 == 0);
        assert_eq!(ask(&log, id(number, number), until, 0), Ok(Use::First));
        if number % 1_000 == 999 {
            let each = log.bytes() as u64 / (number + 1);
            assert!(number < 20_000 || each < 40, "{each} bytes for each of {number}");
        }
    }
    forget_all(&log, 10_000);
    assert_eq!(log.len(), 20_000);
    assert!(log.bytes() < 20_000 * 40, "{}", log.bytes());
    for number in (0..IDS).step_by(10) {
        assert_eq!(
            ask(&log, id(number, number), 20_000, 10_000),
            Ok(Use::Again),
            "{number}"
        );
    }
}
