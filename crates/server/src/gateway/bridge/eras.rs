//! Which eras a server speaks, found out by asking it (MCP 2026-07-28, Versioning, "Backward compatibility").
//!
//! What is found out is remembered for a time. A refusal of us, an error of the server's and silence say nothing about its era, and
//! nothing is remembered of them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use portcullis_core::bridge::{Found, Incoming, Stamp, discover};
use portcullis_core::wire::Method;
use tokio::time::{Instant, timeout};

use super::line::{Line, MediaType, answered, media_type};
use super::reply::number;
use crate::gateway::upstream::UpstreamError;

/// How long it is remembered that a server speaks an era.
const YES: Duration = Duration::from_secs(10 * 60);
/// How long that it does not: a server that was replaced by a newer one is found out after this.
const NO: Duration = Duration::from_secs(2 * 60);
/// Longest wait for an answer that says which era it is.
const PROBE: Duration = Duration::from_secs(20);

/// What is known of one server.
#[derive(Debug, Default)]
pub(super) struct Eras {
    known: Mutex<Known>,
    /// One probe at a time.
    probing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    modern: Option<(Speaks, Instant)>,
    legacy: Option<(Speaks, Instant)>,
}

/// Whether a server speaks an era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Yes,
    No,
}

impl Speaks {
    fn lasts(self) -> Duration {
        match self {
            Self::Yes => YES,
            Self::No => NO,
        }
    }
}

impl Eras {
    /// Whether it speaks the modern one. Asks if that is not known; `None` when the answer says nothing.
    pub(super) async fn modern(&self, line: &Line) -> Option<Speaks> {
        if let Some(known) = self.known_modern() {
            return Some(known);
        }
        let _one_at_a_time = self.probing.lock().await;
        if let Some(known) = self.known_modern() {
            return Some(known);
        }
        let speaks = match probed(line).await {
            Probed::Modern => Speaks::Yes,
            Probed::Other => Speaks::No,
            Probed::Nothing => return None,
        };
        tracing::info!(?speaks, "asked a server whether it speaks 2026-07-28");
        self.note_modern(speaks);
        Some(speaks)
    }

    fn known_modern(&self) -> Option<Speaks> {
        fresh(self.known().modern)
    }

    /// What is known of the legacy one.
    pub(super) fn legacy(&self) -> Option<Speaks> {
        fresh(self.known().legacy)
    }

    pub(super) fn note_modern(&self, speaks: Speaks) {
        self.known().modern = Some((speaks, Instant::now()));
    }

    pub(super) fn note_legacy(&self, speaks: Speaks) {
        self.known().legacy = Some((speaks, Instant::now()));
    }

    /// A server that speaks the era did not answer as it should: it is asked again.
    pub(super) fn doubt_modern(&self) {
        self.known().modern = None;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change is one assignment: what a panic left behind is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fresh(known: Option<(Speaks, Instant)>) -> Option<Speaks> {
    let (speaks, since) = known?;
    (since.elapsed() < speaks.lasts()).then_some(speaks)
}

/// What an answer to `server/discover` says.
enum Probed {
    Modern,
    Other,
    Nothing,
}

async fn probed(line: &Line) -> Probed {
    match timeout(PROBE, asked(line)).await {
        Ok(Ok(probed)) => probed,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a server did not say which era it speaks");
            Probed::Nothing
        }
        Err(_) => Probed::Nothing,
    }
}

async fn asked(line: &Line) -> Result<Probed, UpstreamError> {
    let unsaid = || UpstreamError::BadAnswer {
        detail: "no question could be made for it",
    };
    let stamp = Stamp::of(None, Some(&super::this_client())).map_err(|_| unsaid())?;
    let body = discover(&number(0), &stamp).map_err(|_| unsaid())?;
    let (outbound, info) = line.modern(&Method::Discover, Vec::new(), body);
    let response = line.upstream.probe(&line.principal, outbound, &info).await?;
    let status = response.status();
    if status.is_server_error() || is_about_us(status) {
        return Ok(Probed::Nothing);
    }
    if media_type(response.headers()).is_none() {
        return Ok(Probed::Other);
    }
    let said = match media_type(response.headers()) {
        Some(MediaType::Json | MediaType::EventStream) => answered(response).await.ok().flatten(),
        None => None,
    };
    Ok(match said {
        Some(Incoming::Result { result, .. }) if Found::read(&result).is_ok() => Probed::Modern,
        // Only a server of 2026-07-28 and later says these.
        Some(Incoming::Error { error, .. }) if matches!(error.code, -32022..=-32020) => Probed::Modern,
        Some(Incoming::Error { error, .. }) if error.code == -32601 && status == StatusCode::NOT_FOUND => {
            Probed::Modern
        }
        Some(
            Incoming::Result { .. }
            | Incoming::Error { .. }
            | Incoming::Request { .. }
            | Incoming::Notification { .. },
        )
        | None => Probed::Other,
    })
}

/// Statuses that speak of us, or of now.
pub(super) fn is_about_us(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
    ) || status.is_redirection()
        || status.is_informational()
}
