//! What the operator's machinery asks: is it alive, is it ready, how often did it decide what?

use std::sync::Arc;

use axum::Router;
use portcullis_guard::Reason;

use super::{Shared, refused};
use crate::custody::{self, Keyring};
use crate::http::{self, Endpoints, JwksCounts, Readiness};
use crate::sink::AuditLog;

/// No record, no call.
impl Readiness for AuditLog {
    fn ready(&self) -> Result<(), &'static str> {
        match self.unavailable() {
            None => Ok(()),
            Some(why) => Err(Reason::RecorderUnavailable(why).code()),
        }
    }
}

/// A ring whose counters are on the page: the gateway's own, and that of an authority in the same process.
#[derive(Debug)]
pub struct Counted {
    /// The keys.
    pub keyring: Arc<Keyring>,
    /// The page that publishes them.
    pub jwks: JwksCounts,
}

struct Admin {
    shared: Arc<Shared>,
    rings: Vec<Counted>,
}

/// The admin listener's routes.
pub(super) fn routes(shared: &Arc<Shared>, rings: Vec<Counted>) -> Router {
    let admin = Admin {
        shared: Arc::clone(shared),
        rings,
    };
    http::admin(Arc::new(admin))
        .fallback(async || refused(&Reason::NotFound))
        .method_not_allowed_fallback(async || refused(&Reason::MethodNotAllowed { allow: "GET, HEAD" }))
}

impl Endpoints for Admin {
    fn ready(&self) -> Result<(), &'static str> {
        if self.shared.stop.is_cancelled() {
            return Err("stopping");
        }
        self.shared.readiness.ready()?;
        self.rings.iter().try_for_each(|ring| ring.keyring.is_followed())
    }

    /// Reasons are slugs, so nothing needs escaping.
    fn metrics(&self) -> String {
        let mut text = String::from(
            "# HELP portcullis_decisions_total Calls judged, by reason; `ok` is for those allowed.\n# TYPE portcullis_decisions_total counter\n",
        );
        for (reason, count) in self.shared.guard.tally().read() {
            text.push_str(&format!(
                "portcullis_decisions_total{{reason=\"{reason}\"}} {count}\n"
            ));
        }
        let rings = || self.rings.iter();
        text.push_str(&JwksCounts::metrics(
            rings().map(|ring| (ring.keyring.role(), &ring.jwks)),
        ));
        text.push_str(&custody::metrics(
            rings().map(|ring| (ring.keyring.role(), ring.keyring.uses())),
        ));
        text
    }
}
