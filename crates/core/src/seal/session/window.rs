//! Which counters were here (the idea is that of RFC 6479).

use super::super::error::Error;

/// How far behind the highest counter a field may arrive.
pub const WINDOW: u64 = 1024;
const WORDS: usize = 16;

/// The counters received so far, as far back as [`WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Window {
    /// One more than the highest counter received.
    next: u64,
    bits: [u64; WORDS],
}

impl Window {
    /// Whether this counter would be accepted now.
    pub(super) fn verdict(&self, counter: u64) -> Result<(), Error> {
        if counter >= self.next {
            return Ok(());
        }
        if self.next - counter > WINDOW {
            return Err(Error::CounterTooOld);
        }
        let (word, bit) = slot(counter);
        match self.bits.get(word) {
            Some(bits) if bits & bit == 0 => Ok(()),
            Some(_) | None => Err(Error::Replayed),
        }
    }

    /// Takes a counter in whose field was authentic.
    pub(super) fn mark(&mut self, counter: u64) -> Result<(), Error> {
        self.verdict(counter)?;
        if counter >= self.next {
            if counter - self.next >= WINDOW {
                self.bits = [0; WORDS];
            } else {
                for passed in self.next..=counter {
                    let (word, bit) = slot(passed);
                    if let Some(bits) = self.bits.get_mut(word) {
                        *bits &= !bit;
                    }
                }
            }
            self.next = counter.saturating_add(1);
        }
        let (word, bit) = slot(counter);
        if let Some(bits) = self.bits.get_mut(word) {
            *bits |= bit;
        }
        Ok(())
    }
}

fn slot(counter: u64) -> (usize, u64) {
    let place = counter % WINDOW;
    // Below 16, so it fits wherever there is a usize.
    (usize::try_from(place / 64).unwrap_or(0), 1 << (place % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_window_at_its_edge_and_one_past_it() {
        let mut window = Window::default();
        assert_eq!(window.mark(WINDOW), Ok(()));
        // The highest is 1024: 1 is the last in the window, 0 is past it.
        assert_eq!(window.verdict(1), Ok(()));
        assert_eq!(window.verdict(0), Err(Error::CounterTooOld));
        assert_eq!(window.mark(1), Ok(()));
        assert_eq!(window.mark(1), Err(Error::Replayed));
        assert_eq!(window.mark(WINDOW), Err(Error::Replayed));
        assert_eq!(window.mark(WINDOW + 1), Ok(()));
        assert_eq!(window.mark(1), Err(Error::CounterTooOld));
    }

    proptest! {
        #[test]
        fn it_says_what_a_set_of_all_counters_says(
            steps in prop::collection::vec(prop_oneof![
                (0_u64..40).prop_map(|back| (false, back)),
                (0_u64..2100).prop_map(|back| (false, back)),
                (0_u64..3).prop_map(|ahead| (true, ahead)),
                (1000_u64..1050).prop_map(|ahead| (true, ahead)),
            ], 0..400)
        ) {
            let mut window = Window::default();
            let mut all = BTreeSet::new();
            for (ahead, by) in steps {
                let next = all.last().map_or(0, |last| last + 1);
                let counter = if ahead { next + by } else { u64::saturating_sub(next, by) };
                let expected = if next.saturating_sub(counter) > WINDOW {
                    Err(Error::CounterTooOld)
                } else if all.contains(&counter) {
                    Err(Error::Replayed)
                } else {
                    Ok(())
                };
                prop_assert_eq!(window.verdict(counter), expected.clone());
                prop_assert_eq!(window.mark(counter), expected.clone());
                if expected.is_ok() {
                    all.insert(counter);
                }
            }
        }
    }
}
