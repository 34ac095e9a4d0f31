//! Where the work on a message is done.

use portcullis_core::limits;
use portcullis_net::offload;

use super::refused::SealProblem;

/// How long a message holds up the thread that works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Not long: on this thread.
    Light,
    /// Long, or until a key that is somewhere else answers: with the slow work, which is bounded.
    Heavy,
}

impl Weight {
    /// Of a message of this many bytes, for which a session's keys are at hand.
    pub(super) fn of(bytes: usize) -> Self {
        if bytes <= limits::SEAL_INLINE_BYTES {
            Self::Light
        } else {
            Self::Heavy
        }
    }

    /// Does the work.
    ///
    /// # Errors
    /// [`SealProblem::Lost`].
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SealProblem> {
        match self {
            Self::Light => Ok(work()),
            Self::Heavy => offload::run(work).await.map_err(|_| SealProblem::Lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_message_for_this_thread_and_one_byte_more() {
        assert_eq!(Weight::of(limits::SEAL_INLINE_BYTES), Weight::Light);
        assert_eq!(Weight::of(limits::SEAL_INLINE_BYTES + 1), Weight::Heavy);
    }
}
