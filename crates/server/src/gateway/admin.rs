//! What the operator's machinery asks: is it alive, is it ready, how often did it decide what?

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use portcullis_guard::Reason;

use super::{Shared, refused};
use crate::custody::{self, Keyring};
use crate::sink::AuditLog;

/// What calls need beyond the gateway itself, for `/readyz`.
pub trait Readiness: std::fmt::Debug + Send + Sync {
    /// Whether calls can be answered now.
    ///
    /// # Errors
    /// Why not: the stable code that calls are refused with meanwhile, such as `audit.unavailable`.
    fn ready(&self) -> Result<(), &'static str>;
}

/// No record, no call.
impl Readiness for AuditLog {
    fn ready(&self) -> Result<(), &'static str> {
        match self.unavailable() {
            None => Ok(()),
            Some(why) => Err(Reason::RecorderUnavailable(why).code()),
        }
    }
}

/// The admin listener's routes.
pub(super) fn routes(shared: &Arc<Shared>, keyring: Arc<Keyring>) -> Router {
    let (ready, metrics) = (Arc::clone(shared), Arc::clone(shared));
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route(
            "/readyz",
            get(async move || match state(&ready) {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            }),
        )
        .route(
            "/metrics",
            get(async move || {
                (
                    [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
                    text(&metrics, &keyring),
                )
            }),
        )
        .fallback(async || refused(&Reason::NotFound))
        .method_not_allowed_fallback(async || refused(&Reason::MethodNotAllowed { allow: "GET, HEAD" }))
}

fn state(shared: &Shared) -> Result<(), &'static str> {
    if shared.stop.is_cancelled() {
        return Err("stopping");
    }
    shared.readiness.ready()
}

/// The Prometheus text format. Reasons are slugs, so nothing needs escaping.
fn text(shared: &Shared, keyring: &Keyring) -> String {
    let mut text = String::from(
        "# HELP portcullis_decisions_total Calls judged, by reason; `ok` is for those allowed.\n# TYPE portcullis_decisions_total counter\n",
    );
    for (reason, count) in shared.guard.tally().read() {
        text.push_str(&format!(
            "portcullis_decisions_total{{reason=\"{reason}\"}} {count}\n"
        ));
    }
    text.push_str(&shared.jwks.metrics());
    text.push_str(&custody::metrics([(keyring.role(), keyring.uses())]));
    text
}
