//! Time as data: an instant is an argument, never a call.

use std::fmt;

/// An instant, in milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(i64);

impl UnixTime {
    /// From whole seconds, the unit of `NumericDate` (RFC 7519 §2). Saturates at the ends of the range.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// From milliseconds.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Whole seconds, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant moved later. Saturates.
    #[must_use]
    pub const fn plus(self, by: Lifetime) -> Self {
        Self(self.0.saturating_add_unsigned(by.0.saturating_mul(1000)))
    }

    /// This instant moved earlier. Saturates.
    #[must_use]
    pub const fn minus(self, by: Lifetime) -> Self {
        Self(self.0.saturating_sub_unsigned(by.0.saturating_mul(1000)))
    }
}

/// A length of time in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(u64);

impl Lifetime {
    /// From whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs)
    }

    /// From minutes.
    #[must_use]
    pub const fn from_minutes(minutes: u64) -> Self {
        Self(minutes.saturating_mul(60))
    }

    /// From hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self::from_minutes(hours.saturating_mul(60))
    }

    /// From days of 24 hours.
    #[must_use]
    pub const fn from_days(days: u64) -> Self {
        Self::from_hours(days.saturating_mul(24))
    }

    /// Whole seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_round_down_before_the_epoch_too() {
        assert_eq!(UnixTime::from_millis(-1).as_secs(), -1);
        assert_eq!(UnixTime::from_millis(1999).as_secs(), 1);
    }

    #[test]
    fn the_ends_saturate() {
        assert_eq!(
            UnixTime::from_millis(i64::MAX).plus(Lifetime::from_days(1)),
            UnixTime::from_millis(i64::MAX)
        );
        assert_eq!(
            UnixTime::from_millis(i64::MIN).minus(Lifetime::from_days(1)),
            UnixTime::from_millis(i64::MIN)
        );
        assert_eq!(UnixTime::from_secs(i64::MAX), UnixTime::from_millis(i64::MAX));
    }
}
