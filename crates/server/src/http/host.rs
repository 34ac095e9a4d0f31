//! The rule of whom a listener answers as.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::middleware::{Next, from_fn};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Request, Response, StatusCode};
use portcullis_guard::{PublicHost, Reason};

/// The router, for requests that name its own host. Any other is answered with 421 (RFC 9110 §15.5.20), or with 400 when it
/// names none (RFC 9112 §3.2): a page whose name was made to resolve to this machine (DNS rebinding) reads nothing here. Pages'
/// origins are the router's own affair.
pub fn guard_host(router: Router, rule: PublicHost) -> Router {
    let rule = Arc::new(rule);
    router.layer(from_fn(move |request: Request<Body>, next: Next| {
        let checked = rule.check_host(request.uri(), request.headers());
        async move {
            match checked {
                Ok(()) => next.run(request).await,
                Err(Reason::HostMalformed) => refused(
                    StatusCode::BAD_REQUEST,
                    "a request names the host it is for once, in `Host`\n",
                ),
                Err(_) => misdirected(),
            }
        }
    }))
}

/// RFC 9110 §15.5.20.
pub(super) fn misdirected() -> Response<Body> {
    refused(
        StatusCode::MISDIRECTED_REQUEST,
        "this server does not answer under that `Host`; use its public address\n",
    )
}

fn refused(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
