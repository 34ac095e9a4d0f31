//! So many in so long: the arithmetic, without a clock and without a table.
//!
//! The generic cell rate algorithm: of each bucket one number is kept, the time at which it is full again. What is taken moves that
//! time on, and nothing is taken that would move it further than a whole quota away. It is a token bucket that nobody has to
//! fill.

use portcullis_core::time::{Lifetime, UnixTime};

/// The longest period, and a second for what rounding adds.
const LONGEST: Lifetime = Lifetime::from_secs(60 * 60 + 1);
/// Most in one period. One more could not be told from none at all.
pub const RATE_COUNT: u32 = 1_000_000;

/// A quota that comes back evenly: all of it at once when nothing was taken for a period, and in no time `T` more than the
/// quota and what comes back in `T`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// At least one.
    count: u32,
    per: Lifetime,
}

/// A text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a rate such as `600/min`, of 1 to {RATE_COUNT} in a second (`s`), a minute (`min`) or an hour (`h`)"
)]
pub struct InvalidRate;

/// The time at which a bucket is full again, in nanoseconds since 1970. What is past, or was never written, is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FullAt(i64);

impl Rate {
    /// Reads `"20/s"`, `"600/min"` or `"5000/h"`.
    ///
    /// # Errors
    /// [`InvalidRate`].
    pub fn parse(text: &str) -> Result<Self, InvalidRate> {
        let (count, unit) = text.split_once('/').ok_or(InvalidRate)?;
        let per = match unit {
            "s" => Lifetime::from_secs(1),
            "min" => Lifetime::from_minutes(1),
            "h" => Lifetime::from_hours(1),
            _ => return Err(InvalidRate),
        };
        if !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidRate);
        }
        match count.parse() {
            Ok(count @ 1..=RATE_COUNT) => Ok(Self { count, per }),
            Ok(_) | Err(_) => Err(InvalidRate),
        }
    }

    /// How many in one period.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// The period.
    #[must_use]
    pub const fn per(self) -> Lifetime {
        self.per
    }

    /// Takes one, if there is one. A clock that was set back leaves a bucket empty, and nobody locked out for longer than a period:
    /// a refusal as well leaves nothing behind that is later than that.
    ///
    /// # Errors
    /// How long until there is one to take: at least a second.
    pub(super) fn take(self, bucket: &mut FullAt, now: UnixTime) -> Result<(), Lifetime> {
        let (now, whole) = (nanos(now), self.whole());
        let latest = now.saturating_add(whole);
        let held = bucket.0.clamp(now, latest);
        let full = held.saturating_add(self.interval());
        match full.saturating_sub(latest) {
            ..=0 => {
                *bucket = FullAt(full);
                Ok(())
            }
            early => {
                *bucket = FullAt(held);
                Err(seconds_up(early))
            }
        }
    }

    /// Puts back one that was taken.
    pub(super) fn give_back(self, bucket: FullAt) -> FullAt {
        FullAt(bucket.0.saturating_sub(self.interval()))
    }

    /// From one to the next, rounded up, so that rounding never gives more.
    fn interval(self) -> i64 {
        let per = self.per.as_secs().saturating_mul(1_000_000_000);
        i64::try_from(per.div_ceil(u64::from(self.count.max(1)))).unwrap_or(i64::MAX)
    }

    fn whole(self) -> i64 {
        self.interval().saturating_mul(i64::from(self.count))
    }
}

impl FullAt {
    /// The same, and full after the longest period at the latest: later than that is what a clock left behind that was set back.
    pub(super) fn no_later(self, now: UnixTime) -> Self {
        Self(self.0.min(nanos(now.plus(LONGEST))))
    }

    /// Whether forgetting the bucket forgives nothing.
    pub(super) fn is_full(self, now: UnixTime) -> bool {
        self.0 <= nanos(now)
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "min",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

fn nanos(time: UnixTime) -> i64 {
    time.as_millis().saturating_mul(1_000_000)
}

fn seconds_up(nanos: i64) -> Lifetime {
    let nanos = u64::try_from(nanos).unwrap_or(0);
    Lifetime::from_secs(nanos.div_ceil(1_000_000_000).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: UnixTime = UnixTime::from_secs(1_800_000_000);

    #[test]
    fn rates_are_read_strictly_and_written_as_they_are_read() {
        for text in ["1/s", "600/min", "1000000/h"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "",
            "600",
            "/min",
            "0/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            " 1/s",
            "1/m",
            "1/d",
            "1000001/h",
            "1/s/s",
        ] {
            assert_eq!(Rate::parse(bad), Err(InvalidRate), "{bad}");
        }
    }

    #[test]
    fn the_whole_quota_at_once_then_one_at_a_time() {
        let rate = Rate::parse("60/min").unwrap();
        let mut bucket = FullAt::default();
        for _ in 0..60 {
            rate.take(&mut bucket, START).unwrap();
        }
        assert_eq!(rate.take(&mut bucket, START), Err(Lifetime::from_secs(1)));
        let later = START.plus(Lifetime::from_secs(1));
        rate.take(&mut bucket, later).unwrap();
        assert_eq!(rate.take(&mut bucket, later), Err(Lifetime::from_secs(1)));
        assert!(!bucket.is_full(later.plus(Lifetime::from_secs(59))));
        assert!(bucket.is_full(later.plus(Lifetime::from_secs(60))));
        bucket = rate.give_back(bucket);
        assert!(rate.take(&mut bucket, later).is_ok());
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out_for_longer_than_a_period() {
        let rate = Rate::parse("10/min").unwrap();
        let mut bucket = FullAt::default();
        for _ in 0..10 {
            rate.take(&mut bucket, START).unwrap();
        }
        let before = START.minus(Lifetime::from_days(30));
        assert_eq!(rate.take(&mut bucket, before), Err(Lifetime::from_secs(6)));
        // Who waits as long as told is let through, and the whole quota is back after a period.
        let then = before.plus(Lifetime::from_secs(6));
        assert_eq!(rate.take(&mut bucket, then), Ok(()));
        assert_eq!(rate.take(&mut bucket, then), Err(Lifetime::from_secs(6)));
        assert!(bucket.is_full(then.plus(Lifetime::from_minutes(1))));
    }

    proptest! {
        /// Whenever requests come, in no stretch of time are more let through than the quota and what came back meanwhile.
        #[test]
        fn never_more_than_the_quota_and_what_comes_back(
            count in 1..50_u32,
            unit in prop::sample::select(vec!["s", "min"]),
            gaps in prop::collection::vec(0..3_000_i64, 1..300),
        ) {
            let rate = Rate::parse(&format!("{count}/{unit}")).unwrap();
            let (mut now, mut bucket, mut taken) = (START.as_millis(), FullAt::default(), Vec::new());
            for gap in gaps {
                // Half of them come at once with the one before.
                now += gap.saturating_sub(1_500).max(0);
                match rate.take(&mut bucket, UnixTime::from_millis(now)) {
                    Ok(()) => taken.push(now),
                    // Who waits as long as told is let through.
                    Err(wait) => {
                        let then = UnixTime::from_millis(now).plus(wait);
                        prop_assert!(rate.take(&mut bucket.clone(), then).is_ok());
                    }
                }
            }
            let per = i64::try_from(rate.per().as_secs()).unwrap() * 1000;
            for (first, from) in taken.iter().enumerate() {
                for (last, until) in taken.iter().enumerate().skip(first) {
                    let came_back = (until - from) * i64::from(count) / per;
                    prop_assert!(i64::try_from(last - first).unwrap() < i64::from(count) + came_back);
                }
            }
        }

        /// Whoever keeps to the rate is never refused.
        #[test]
        fn who_keeps_to_the_rate_is_never_refused(count in 1..1_000_u32) {
            let rate = Rate::parse(&format!("{count}/s")).unwrap();
            let mut bucket = FullAt::default();
            for number in 0..2_000_i64 {
                let at = START.as_millis() + (number * 1_000).div_euclid(i64::from(count)) + 1;
                rate.take(&mut bucket, UnixTime::from_millis(at)).unwrap();
            }
        }
    }
}
