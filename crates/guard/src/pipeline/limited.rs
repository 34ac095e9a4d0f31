//! What a guard refuses for want of a quota, and how that comes on record.

use std::sync::Arc;
use std::time::Duration;

use portcullis_core::audit::{Event, Refusals};
use portcullis_net::clock::Clock;

use crate::limits::{Counted, Noted};
use crate::reason::Reason;
use crate::recorder::{Durability, Recorder};

/// How often is looked for numbers that are to go on record.
const LOOKS: Duration = Duration::from_secs(5);

/// Refusals that are counted, on their way to the record.
pub(super) struct Floods {
    counted: Counted,
    recorder: Arc<dyn Recorder>,
    clock: Arc<dyn Clock>,
}

impl Floods {
    /// Starts the task that puts numbers on record, on the current runtime. It ends with what is given back.
    pub(super) fn start(recorder: Arc<dyn Recorder>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let floods = Arc::new(Self {
            counted: Counted::default(),
            recorder,
            clock,
        });
        let held = Arc::downgrade(&floods);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOKS).await;
                let Some(floods) = held.upgrade() else { break };
                floods.record_due().await;
            }
        });
        floods
    }

    /// Whether a refusal is counted, and gets no record of its own.
    pub(super) fn counts(&self, reason: &Reason) -> bool {
        let Reason::Limited(limited) = reason else {
            return false;
        };
        self.counted.note(&limited.whose, self.clock.now()) == Noted::Counted
    }

    /// Puts on record what was counted for long enough.
    pub(super) async fn record_due(&self) {
        self.record(self.counted.due(self.clock.now())).await;
    }

    /// Puts on record all that was counted.
    pub(super) async fn record_all(&self) {
        self.record(self.counted.all(self.clock.now())).await;
    }

    async fn record(&self, due: Vec<Refusals>) {
        for refusals in due {
            let (reason, count) = (refusals.reason, refusals.count);
            let recorded = self
                .recorder
                .record(Event::from(refusals), Durability::Queued)
                .await;
            if let Err(error) = recorded {
                tracing::error!(reason, count, %error, "the number of these refusals is not on record");
            }
        }
    }
}
