//! What the operator's machinery asks: is it alive, is it ready, how often did it decide what?

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use portcullis_guard::Reason;

use super::{Shared, refused};

/// The admin listener's routes.
pub(super) fn routes(shared: &Arc<Shared>) -> Router {
    let (ready, metrics) = (Arc::clone(shared), Arc::clone(shared));
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route(
            "/readyz",
            get(async move || {
                if ready.stop.is_cancelled() {
                    (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
                } else {
                    (StatusCode::OK, "ready\n")
                }
            }),
        )
        .route(
            "/metrics",
            get(async move || {
                (
                    [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
                    text(&metrics),
                )
            }),
        )
        .fallback(async || refused(&Reason::NotFound))
        .method_not_allowed_fallback(async || refused(&Reason::MethodNotAllowed { allow: "GET, HEAD" }))
}

/// The Prometheus text format. Reasons are slugs, so nothing needs escaping.
fn text(shared: &Shared) -> String {
    let mut text = String::from(
        "# HELP portcullis_decisions_total Calls judged, by reason; `ok` is for those allowed.\n# TYPE portcullis_decisions_total counter\n",
    );
    for (reason, count) in shared.guard.tally().read() {
        text.push_str(&format!(
            "portcullis_decisions_total{{reason=\"{reason}\"}} {count}\n"
        ));
    }
    text
}
