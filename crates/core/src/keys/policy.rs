//! When keys change: the lengths of time, and which of them fit together.

use crate::fault::Fault;
use crate::time::Lifetime;

/// What another replica may take until it has noticed a change and serves, signs and opens by it.
pub const NOTICE: Lifetime = Lifetime::from_secs(10);

/// The longest validity of a key's certificate.
pub const LONGEST_VALIDITY: Lifetime = Lifetime::from_days(398);

/// The lengths of time of a rotation, not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a certificate is valid.
    pub validity: Lifetime,
    /// How long before the primary's certificate ends the next key is staged.
    pub stage_before: Lifetime,
    /// How long a key is staged before it becomes the primary.
    pub promote_after: Lifetime,
    /// `max-age` of the JWK Set: how old a copy anybody may still use.
    pub jwks_max_age: Lifetime,
    /// By how much any two of our clocks may differ, and by how much one may be set.
    pub clock_skew: Lifetime,
    /// How long the longest-lived token or sealed message is valid.
    pub longest_token: Lifetime,
    /// How long a retired key is kept at least, where its certificate allows it.
    pub grace: Lifetime,
}

impl Default for Timing {
    fn default() -> Self {
        Self::of(Lifetime::from_days(90))
    }
}

impl Timing {
    /// The customary timing for certificates of this validity. At 90 days the next key is staged 75 days before the
    /// end (60 to 75 are customary), promoted after 15 (5 to 15) and removed 15 after it retired; at other validities
    /// the same parts of it: 5/6, 1/6 and 1/6. With these there are three certificates at any time, no fewer and no
    /// more: the next key is staged at the moment at which the last one is promoted.
    #[must_use]
    pub const fn of(validity: Lifetime) -> Self {
        let sixth = Lifetime::from_secs(validity.as_secs() / 6);
        Self {
            validity,
            stage_before: Lifetime::from_secs(validity.as_secs().saturating_sub(sixth.as_secs())),
            promote_after: sixth,
            jwks_max_age: Lifetime::from_minutes(5),
            clock_skew: Lifetime::from_minutes(1),
            longest_token: Lifetime::from_hours(1),
            grace: sixth,
        }
    }
}

/// A timing with which the planner keeps its promises. Made by [`RotationPolicy::new`] and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationPolicy(Timing);

impl Default for RotationPolicy {
    /// The customary timing for 90 days; a test checks that [`RotationPolicy::new`] takes it.
    fn default() -> Self {
        Self(Timing::default())
    }
}

/// Why no rotation can keep its promises with these lengths of time. Each says what to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFlaw {
    /// Too long.
    #[error("a validity of {0} is too long: set it to {LONGEST_VALIDITY} or less")]
    Validity(Lifetime),
    /// Verifiers would meet a key they cannot know yet.
    #[error(
        "promote_after is {given}, but copies of the JWK Set without the new key may be in use for {least}: set it to {least} or more, or lower jwks_max_age"
    )]
    PromoteAfter {
        /// What was asked for.
        given: Lifetime,
        /// `jwks_max_age` + `clock_skew` + [`NOTICE`].
        least: Lifetime,
    },
    /// Before the certificate begins.
    #[error(
        "stage_before is {given}, longer than the certificate's validity of {validity}: set it to that or less"
    )]
    StageBefore {
        /// What was asked for.
        given: Lifetime,
        /// The longest it can be.
        validity: Lifetime,
    },
    /// Tokens would outlive the key that verifies them.
    #[error(
        "grace is {given}, but what was made with a retired key may be in use for {least}: set it to {least} or more, or lower longest_token"
    )]
    GraceTooShort {
        /// What was asked for.
        given: Lifetime,
        /// `longest_token` + `jwks_max_age` + twice `clock_skew` + [`NOTICE`].
        least: Lifetime,
    },
    /// More than three certificates: with at most one period, a retired key may go before the next but one is staged.
    #[error(
        "grace is {given}, longer than the {period} from one rotation to the next, so that retired keys would pile up: set it to that or less, or raise promote_after"
    )]
    GraceTooLong {
        /// What was asked for.
        given: Lifetime,
        /// The longer of `promote_after` and `validity` - `stage_before`.
        period: Lifetime,
    },
    /// The primary's certificate ends before the next key may be promoted.
    #[error(
        "stage_before is {given}, too late for the next key to take over before the certificate ends: set it to {least} or more, or lower promote_after"
    )]
    TooLate {
        /// What was asked for.
        given: Lifetime,
        /// The least that works.
        least: Lifetime,
    },
    /// A certificate ends before it was staged, primary and retired for long enough.
    #[error(
        "a validity of {given} is too short for a key to be staged, used and retired: set it to {least} or more, or lower promote_after and longest_token"
    )]
    TooShort {
        /// What was asked for.
        given: Lifetime,
        /// The least that works.
        least: Lifetime,
    },
}

impl PolicyFlaw {
    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Validity(_) => "validity_too_long",
            Self::PromoteAfter { .. } => "promote_after_too_short",
            Self::StageBefore { .. } => "stage_before_too_long",
            Self::GraceTooShort { .. } => "grace_too_short",
            Self::GraceTooLong { .. } => "grace_too_long",
            Self::TooLate { .. } => "stage_before_too_short",
            Self::TooShort { .. } => "validity_too_short",
        }
    }

    /// Whose fault it is: of whoever wrote the configuration.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Validity(_)
            | Self::PromoteAfter { .. }
            | Self::StageBefore { .. }
            | Self::GraceTooShort { .. }
            | Self::GraceTooLong { .. }
            | Self::TooLate { .. }
            | Self::TooShort { .. } => Fault::Operator,
        }
    }
}

impl RotationPolicy {
    /// Takes the timing if the planner can keep its promises with it.
    ///
    /// # Errors
    /// [`PolicyFlaw`].
    pub fn new(timing: Timing) -> Result<Self, PolicyFlaw> {
        let policy = Self(timing);
        let Timing {
            validity,
            stage_before,
            promote_after,
            grace,
            ..
        } = timing;
        if validity > LONGEST_VALIDITY {
            return Err(PolicyFlaw::Validity(validity));
        }
        if promote_after < policy.maturity() {
            return Err(PolicyFlaw::PromoteAfter {
                given: promote_after,
                least: policy.maturity(),
            });
        }
        if stage_before > validity {
            return Err(PolicyFlaw::StageBefore {
                given: stage_before,
                validity,
            });
        }
        if grace < policy.shortest_grace() {
            return Err(PolicyFlaw::GraceTooShort {
                given: grace,
                least: policy.shortest_grace(),
            });
        }
        if grace > policy.period() {
            return Err(PolicyFlaw::GraceTooLong {
                given: grace,
                period: policy.period(),
            });
        }
        let (stage_before_least, validity_least) = policy.leasts();
        if stage_before < stage_before_least {
            return Err(PolicyFlaw::TooLate {
                given: stage_before,
                least: stage_before_least,
            });
        }
        if validity < validity_least {
            return Err(PolicyFlaw::TooShort {
                given: validity,
                least: validity_least,
            });
        }
        Ok(policy)
    }

    /// The lengths of time.
    #[must_use]
    pub const fn timing(&self) -> &Timing {
        &self.0
    }

    /// How long after staging everybody knows a key: no copy of the JWK Set without it is in use any more.
    #[must_use]
    pub fn maturity(&self) -> Lifetime {
        sum(&[self.0.jwks_max_age, self.0.clock_skew, NOTICE])
    }

    /// How long after retiring something made with a key may still be in use. A token: made by a replica that had not
    /// noticed, on a clock that is ahead. A sealed message: made with an old copy of the JWK Set.
    #[must_use]
    pub fn shortest_grace(&self) -> Lifetime {
        sum(&[
            self.0.longest_token,
            self.0.jwks_max_age,
            self.0.clock_skew,
            self.0.clock_skew,
            NOTICE,
        ])
    }

    /// From one rotation to the next, when nothing goes wrong.
    #[must_use]
    pub fn period(&self) -> Lifetime {
        self.0
            .promote_after
            .max(minus(self.0.validity, self.0.stage_before))
    }

    /// How long before its certificate ends a key makes its last token: what it made must be verified while the
    /// certificate is valid.
    #[must_use]
    pub fn last_use_before_end(&self) -> Lifetime {
        sum(&[self.shortest_grace(), self.0.clock_skew])
    }

    /// The longest time between two plans that were carried out with which every promise is kept. After a longer one
    /// the planner still mends all that can be, but a key may have to be used that not every verifier knows yet.
    ///
    /// Let g be that time and P `promote_after`. A key staged at s is primary at s + P + g at the latest, its successor
    /// is staged at the later of s + P + 2 g and s + `validity` - `stage_before` + g, and takes over P + g later; its
    /// certificate must then be good for [`last_use_before_end`](Self::last_use_before_end).
    #[must_use]
    pub fn longest_gap(&self) -> Lifetime {
        let (stage_before_least, validity_least) = self.least_without_gaps();
        let by_staging = minus(self.0.stage_before, stage_before_least).as_secs() / 2;
        let by_validity = minus(self.0.validity, validity_least).as_secs() / 3;
        minus(Lifetime::from_secs(by_staging.min(by_validity)), self.clocks())
    }

    /// What is lost of a gap: it is measured on clocks that differ, and must end before the last second.
    fn clocks(&self) -> Lifetime {
        sum(&[self.0.clock_skew, Lifetime::from_secs(1)])
    }

    /// `stage_before` and `validity` at least, if plans were carried out all the time.
    fn least_without_gaps(&self) -> (Lifetime, Lifetime) {
        let turn = self.0.promote_after;
        let end = self.last_use_before_end();
        (sum(&[turn, end]), sum(&[turn, turn, end]))
    }

    /// The same, so that [`longest_gap`](Self::longest_gap) is what a replica may take to notice.
    fn leasts(&self) -> (Lifetime, Lifetime) {
        let (stage_before, validity) = self.least_without_gaps();
        let gap = sum(&[NOTICE, self.clocks()]);
        (sum(&[stage_before, gap, gap]), sum(&[validity, gap, gap, gap]))
    }
}

fn sum(parts: &[Lifetime]) -> Lifetime {
    let total = parts
        .iter()
        .fold(0_u64, |total, part| total.saturating_add(part.as_secs()));
    Lifetime::from_secs(total)
}

fn minus(a: Lifetime, b: Lifetime) -> Lifetime {
    Lifetime::from_secs(a.as_secs().saturating_sub(b.as_secs()))
}
