//! Once means once: what is for one use in a message is noted while it is opened, and used up before anything of it goes on.

use std::sync::{Mutex, PoisonError};

use portcullis_core::ids::Principal;
use portcullis_core::seal::{self, Once, ReplayMemory};
use portcullis_core::time::UnixTime;

use super::Sealing;
use super::refused::SealProblem;
use crate::replay::{ReplayId, Use};

/// The tokens of one message: they are noted here off the I/O threads, and the log, which may be elsewhere, is asked later.
#[derive(Debug, Default)]
pub(super) struct Noted(Mutex<Vec<Once>>);

/// What a message used, which is to be [spent](Sealing::spend) before the message is believed.
#[derive(Debug)]
#[must_use = "whether it was used before is not known yet"]
pub(super) struct Unspent(Vec<Once>);

impl Noted {
    pub(super) fn unspent(self) -> Unspent {
        Unspent(self.0.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ReplayMemory for Noted {
    fn once(&self, _sender: &str, tokens: &[Once], _now: UnixTime) -> Result<(), seal::Error> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.extend_from_slice(tokens);
        Ok(())
    }
}

impl Sealing {
    /// Uses the tokens up. Only if every one was unused does this say so; one after the other, so that of two gateways that have
    /// the same message at the same time one takes it.
    ///
    /// # Errors
    /// [`seal::Error::Replayed`], [`SealProblem::BeforeStart`], [`SealProblem::Unremembered`].
    pub(super) async fn spend(&self, unspent: Unspent, by: &Principal) -> Result<(), SealProblem> {
        let Unspent(tokens) = unspent;
        self.made_since_the_log_began(&tokens)?;
        let sender = format!("{}#{}", by.issuer, by.client);
        for token in &tokens {
            let id = ReplayId::sealed(&sender, &token.jti).sent_by(by);
            match self.replays.first_use(id, token.until, self.now()).await? {
                Use::First => {}
                Use::Again => return Err(seal::Error::Replayed.into()),
            }
        }
        // It may have been emptied while it was asked.
        self.made_since_the_log_began(&tokens)
    }

    /// What was made before may have been used without a trace in the log.
    fn made_since_the_log_began(&self, tokens: &[Once]) -> Result<(), SealProblem> {
        let since = self.replays.since();
        match tokens.iter().map(|token| token.issued).min() {
            Some(issued) if issued < since => {
                let behind = since.as_millis().saturating_sub(issued.as_millis());
                let wait = u64::try_from(behind).unwrap_or_default().div_ceil(1_000);
                Err(SealProblem::BeforeStart { wait })
            }
            Some(_) | None => Ok(()),
        }
    }
}
