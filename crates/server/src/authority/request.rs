//! Bodies and headers of requests, within bounds.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Uri, header};
use bytes::Bytes;
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::parameters::Parameters;

use crate::http::Peer;

/// Largest form, in bytes: an authorization request inside another form fits.
pub(super) const FORM_BYTES: usize = 32 * 1024;
/// Largest query of an authorization request, in bytes.
pub(super) const QUERY_BYTES: usize = 8 * 1024;

/// Longest wait for a body.
const BODY_TIME: Duration = Duration::from_secs(20);

const FORM: &str = "application/x-www-form-urlencoded";

/// Reads a form.
pub(super) async fn form(headers: &HeaderMap, uri: &Uri, body: Body) -> Result<Parameters, Refusal> {
    media_type(headers, FORM)?;
    // Parameters in two places are parameters twice (RFC 6749 §3.2), and a query ends up in logs.
    if uri.query().is_some() {
        return Err(Refusal::ParametersInQuery);
    }
    Parameters::parse(&bytes(body, FORM_BYTES).await?)
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn bytes(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    let read = tokio::time::timeout(BODY_TIME, to_bytes(body, limit)).await;
    read.map_err(|_| Refusal::TooSlow)?.map_err(|_| Refusal::TooLarge)
}

/// Checks the media type of a body; parameters such as `charset` do not matter.
pub(super) fn media_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), Refusal> {
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let essence = given
        .next()
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    match (essence, given.next()) {
        (Some(essence), None) if essence.trim().eq_ignore_ascii_case(wanted) => Ok(()),
        (Some(_) | None, _) => Err(Refusal::MediaType(wanted)),
    }
}

/// The one `Authorization` header, if there is one.
pub(super) fn authorization(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => one.to_str().map(Some).map_err(|_| Refusal::ClientAuthentication),
        (Some(_), Some(_)) => Err(Refusal::ClientAuthenticationTwice),
    }
}

/// The address at the other end, as the listener saw it.
pub(super) fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0)
}
