//! What the operator's machinery asks of any server: is it alive, is it ready, what did it count?

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

/// What a server needs beyond itself, for `/readyz`.
pub trait Readiness: std::fmt::Debug + Send + Sync {
    /// Whether requests can be answered now.
    ///
    /// # Errors
    /// Why not: the stable code that requests are refused with meanwhile, such as `audit.unavailable`.
    fn ready(&self) -> Result<(), &'static str>;
}

/// What an admin listener tells of a server.
pub(crate) trait Endpoints: Send + Sync + 'static {
    /// Why requests cannot be answered now, as a stable code.
    fn ready(&self) -> Result<(), &'static str>;

    /// The counters, in the Prometheus text format.
    fn metrics(&self) -> String;
}

/// `/healthz`, `/readyz` and `/metrics`. What else there is to say, the caller adds.
pub(crate) fn admin<E: Endpoints>(endpoints: std::sync::Arc<E>) -> Router {
    let counted = std::sync::Arc::clone(&endpoints);
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route(
            "/readyz",
            get(async move || match endpoints.ready() {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            }),
        )
        .route(
            "/metrics",
            get(async move || {
                (
                    [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
                    counted.metrics(),
                )
            }),
        )
}
