//! Client metadata documents: fetched through the address guard, kept as long as their host says, within bounds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use bytes::Bytes;
use portcullis_core::audit::{RegisteredBy, Registration};
use portcullis_core::ids::ClientId;
use portcullis_core::jose::jwk::ClientKeys;
use portcullis_core::limits;
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::client::Client;
use portcullis_core::oauth::server::document::{DocumentUrl, Hosts};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::fetch::{Fetcher, Limits};
use tokio::sync::Semaphore;

use super::Authority;
use super::refusal::Failure;
use crate::http::{Network, Throttle};

/// Most documents kept.
const KEPT: usize = 1000;
/// How long one is kept when its host does not say.
const USUAL: Lifetime = Lifetime::from_minutes(5);
/// The longest that one is kept, whatever its host says.
const LONGEST: Lifetime = Lifetime::from_hours(24);
/// How long one that cannot be used is not fetched again.
const FAILED: Lifetime = Lifetime::from_minutes(1);
/// Most fetches at one time: anyone can make us fetch.
const FETCHES: usize = 8;
/// Most fetches for one address within [`FETCHES_WITHIN`].
pub(super) const FETCHES_PER_ADDRESS: u32 = 30;
/// The window of these.
const FETCHES_WITHIN: Lifetime = Lifetime::from_minutes(1);

const LIMITS: Limits = Limits {
    body: limits::CLIENT_METADATA_BYTES,
    time: Duration::from_secs(5),
};

pub(super) struct Documents {
    fetcher: Fetcher,
    hosts: Hosts,
    clients: Kept<Client>,
    failures: Kept<Refusal>,
    turns: Semaphore,
    fetches: Throttle<Network>,
}

/// What came of fetching, until it is over.
struct Kept<V>(Mutex<HashMap<ClientId, (V, UnixTime)>>);

impl Documents {
    pub(super) fn new(fetcher: Fetcher, hosts: Hosts) -> Self {
        Self {
            fetcher,
            hosts,
            clients: Kept::new(),
            failures: Kept::new(),
            turns: Semaphore::new(FETCHES),
            fetches: Throttle::new(FETCHES_WITHIN),
        }
    }

    async fn fetch(
        &self,
        url: &DocumentUrl,
        from: Network,
        now: UnixTime,
    ) -> Result<(Client, Lifetime), Refusal> {
        let refused = |why: String| Refusal::ClientDocument(why);
        self.fetches
            .attempt(&from, FETCHES_PER_ADDRESS, now)
            .map_err(|_| Refusal::DocumentQuota)?;
        let _turn = self
            .turns
            .acquire()
            .await
            .map_err(|_| refused("the server is stopping".to_owned()))?;
        let request = Request::get(url.url().as_str())
            .header(header::ACCEPT, "application/json")
            .body(Bytes::new());
        let request = request.map_err(|error| refused(error.to_string()))?;
        let answer = self
            .fetcher
            .send(request, LIMITS)
            .await
            .map_err(|error| refused(error.to_string()))?;
        // Draft §4: no redirects; anything but 200 is an error.
        if answer.status() != StatusCode::OK {
            return Err(refused(format!("its host answered {}", answer.status().as_u16())));
        }
        if !is_json(&answer) {
            return Err(refused("its media type is not JSON".to_owned()));
        }
        Ok((url.read(answer.body())?, lifetime(answer.headers())))
    }
}

impl<V: Clone> Kept<V> {
    fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn fresh(&self, id: &ClientId, now: UnixTime) -> Option<V> {
        let kept = self.kept();
        let (value, until) = kept.get(id)?;
        (*until > now).then(|| value.clone())
    }

    fn keep(&self, id: &ClientId, value: &V, until: UnixTime, now: UnixTime) {
        let mut kept = self.kept();
        if kept.len() >= KEPT {
            kept.retain(|_, (_, until)| *until > now);
        }
        // A full table keeps what it has: whoever floods it fetches their own documents again.
        if kept.len() < KEPT || kept.contains_key(id) {
            kept.insert(id.clone(), (value.clone(), until));
        }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<ClientId, (V, UnixTime)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authority {
    /// The keys in a client's metadata document, if that was read lately.
    pub(super) fn kept_document_keys(&self, id: &ClientId) -> Option<ClientKeys> {
        self.documents.clients.fresh(id, self.now())?.keys
    }

    /// The client of a metadata document.
    pub(super) async fn document_client(&self, id: &ClientId, from: Network) -> Result<Client, Failure> {
        let now = self.now();
        if let Some(client) = self.documents.clients.fresh(id, now) {
            return Ok(client);
        }
        if let Some(refusal) = self.documents.failures.fresh(id, now) {
            return Err(refusal.into());
        }
        let url = DocumentUrl::parse(id, self.documents.hosts)?;
        let fetched = self.documents.fetch(&url, from, now).await;
        if let Err(refusal @ Refusal::ClientDocument(why)) = &fetched {
            // For the operator alone: whoever asked could be looking for what answers where.
            tracing::info!(
                client = id.as_str(),
                why,
                "a client's metadata document cannot be used"
            );
            self.documents.failures.keep(id, refusal, now.plus(FAILED), now);
        }
        let read = fetched.as_ref().ok().map(|(client, _)| client);
        self.record(Registration {
            client: Some(id.to_string()),
            how: RegisteredBy::Cimd,
            client_name: read.map(|client| client.name.as_str().to_owned()),
            redirect_hosts: read.map(hosts).unwrap_or_default(),
            result: fetched.as_ref().map_or_else(Refusal::code, |_| "ok"),
        })
        .await?;
        let (client, lifetime) = fetched?;
        self.documents.clients.keep(id, &client, now.plus(lifetime), now);
        Ok(client)
    }
}

/// The hosts of a client's redirect URIs, for records.
pub(super) fn hosts(client: &Client) -> Vec<String> {
    let hosts: std::collections::BTreeSet<&str> =
        client.redirects.iter().map(|redirect| redirect.host()).collect();
    hosts.into_iter().map(str::to_owned).collect()
}

fn is_json(answer: &Response<Bytes>) -> bool {
    let given = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = given
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// RFC 9111 §5.2.2, as far as it matters here.
fn lifetime(headers: &HeaderMap) -> Lifetime {
    let values = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut lifetime = USUAL;
    for directive in values.flat_map(|value| value.split(',')) {
        let directive = directive.trim().to_ascii_lowercase();
        if directive == "no-store" || directive == "no-cache" {
            return Lifetime::from_secs(0);
        }
        if let Some(secs) = directive
            .strip_prefix("max-age=")
            .and_then(|secs| secs.trim_matches('"').parse().ok())
        {
            lifetime = Lifetime::from_secs(secs).min(LONGEST);
        }
    }
    lifetime
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn documents_are_kept_as_their_host_says_within_bounds() {
        for (given, kept) in [
            (None, USUAL),
            (Some("max-age=60"), Lifetime::from_secs(60)),
            (Some("public, MAX-AGE=60"), Lifetime::from_secs(60)),
            (Some("max-age=86400"), LONGEST),
            (Some("max-age=86401"), LONGEST),
            (Some("max-age=0"), Lifetime::from_secs(0)),
            (Some("max-age=60, no-store"), Lifetime::from_secs(0)),
            (Some("no-cache"), Lifetime::from_secs(0)),
            (Some("max-age=x"), USUAL),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(given));
            }
            assert_eq!(lifetime(&headers), kept, "{given:?}");
        }
    }

    #[test]
    fn only_json_is_a_document() {
        let json = |media_type: &str| {
            is_json(
                &Response::builder()
                    .header(header::CONTENT_TYPE, media_type)
                    .body(Bytes::new())
                    .unwrap(),
            )
        };
        assert!(
            json("application/json")
                && json("Application/JSON; charset=utf-8")
                && json("application/cimd+json")
        );
        assert!(!json("text/html") && !json("text/json") && !json("") && !json("application/jsonp"));
    }
}
