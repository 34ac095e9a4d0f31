//! The built-in demo server: real, so that what a newcomer sees guarded is what will guard their own.
//!
//! Takes: a folder, the gateway's credential. Gives: the URL of an MCP server that keeps notes. May use: rmcp, the disk, loopback.
//! Never: answers whoever lacks the credential: everything else on this machine has to go through the gateway.

mod book;
mod notes;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::serve::ListenerExt as _;
use http::header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use portcullis_core::secret::Secret;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

use book::Book;
use notes::Notes;

/// Why the demo server does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Its notes cannot be read.
    #[error("the notes in {} cannot be read: {source}", path.display())]
    Notes {
        /// Their file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Loopback has no port for it.
    #[error("the demo server has no port: {0}")]
    Port(#[source] io::Error),
    /// The port has no URL.
    #[error("the demo server has no address: {0}")]
    Address(#[from] url::ParseError),
}

/// Serves on a free port of loopback until `shutdown`, and returns the URL of the MCP endpoint. The notes are in `dir`, which is made
/// when it is not there. Only requests with `Authorization: Bearer` and the credential are answered.
///
/// # Errors
/// [`Error`].
pub(crate) async fn start(
    dir: &Path,
    credential: &Secret,
    shutdown: CancellationToken,
) -> Result<Url, Error> {
    let book = Book::open(dir).map_err(|source| Error::Notes {
        path: dir.to_owned(),
        source,
    })?;
    let notes = Notes::new(book);
    // Both eras: rmcp serves 2026-07-28 requests without a session whatever this says. An empty list of origins refuses
    // all of them: no browser has business here.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(true)
        .enforce_origin_validation()
        .with_cancellation_token(shutdown.clone());
    let service = StreamableHttpService::new(
        move || Ok(notes.clone()),
        Arc::<LocalSessionManager>::default(),
        config,
    );
    let router = axum::Router::new()
        .route_service("/mcp", service)
        .layer(middleware::from_fn_with_state(
            credential.clone(),
            only_the_gateway,
        ));

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(Error::Port)?;
    let port = listener.local_addr().map_err(Error::Port)?.port();
    // Small answers that are waited for: without the option each costs the other side's delayed acknowledgement (40 ms).
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
    });
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the demo server stopped");
        }
    });
    Ok(Url::parse(&format!("http://127.0.0.1:{port}/mcp"))?)
}

async fn only_the_gateway(State(credential): State<Secret>, request: Request, next: Next) -> Response {
    match bearer(request.headers()) {
        Some(shown) if shown == credential => next.run(request).await,
        Some(_) | None => {
            let challenge = [(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
            (StatusCode::UNAUTHORIZED, challenge).into_response()
        }
    }
}

/// The one bearer token (RFC 6750 §2.1), whose equality takes the same time wherever two differ.
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(token))
}

#[cfg(test)]
mod tests;
