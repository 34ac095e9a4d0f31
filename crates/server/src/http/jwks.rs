//! A JWK Set as anyone may read it (RFC 7517 §5): cacheable, cheap to ask again for, and not to be hammered.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use portcullis_core::keys::JwksDocument;
use portcullis_core::time::{Lifetime, UnixTime};

use super::{Network, Throttle};

/// RFC 7517 §8.5.2.
const JWK_SET: HeaderValue = HeaderValue::from_static("application/jwk-set+json");
/// Long enough to spare fetches, and what a key is published ahead of its use is many times that.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");
/// A verifier that caches asks a few times an hour; a proxy in front of many of them is one network.
const REQUESTS: u32 = 3_000;
const WITHIN: Lifetime = Lifetime::from_minutes(1);

/// The page, with its counts.
pub(crate) struct JwksPage {
    asked: Throttle<Network>,
    whole: AtomicU64,
    unchanged: AtomicU64,
    refused: AtomicU64,
}

impl JwksPage {
    pub(crate) fn new() -> Self {
        Self {
            asked: Throttle::new(WITHIN),
            whole: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// The answer to GET or HEAD: the set, `304` to those who have it (RFC 9110 §13.1.2), `429` to those who ask more
    /// often than any verifier needs to.
    pub(crate) fn answer(
        &self,
        document: &JwksDocument,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        now: UnixTime,
    ) -> Response<Body> {
        if let Err(wait) = self.asked.attempt(&Network::of(peer), REQUESTS, now) {
            return self.too_many(wait);
        }
        let known = is_known(headers, document.etag());
        let (body, count) = if known {
            (Body::empty(), &self.unchanged)
        } else {
            (Body::from(document.bytes()), &self.whole)
        };
        count.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::new(body);
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, JWK_SET);
        headers.insert(CACHE_CONTROL, CACHED);
        if let Ok(etag) = HeaderValue::from_str(document.etag()) {
            headers.insert(ETAG, etag);
        }
        response
    }

    fn too_many(&self, wait: Lifetime) -> Response<Body> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::new(Body::from(
            "{\"error\":\"too_many_requests\",\"error_description\":\"this JWK Set may be cached for five minutes: keep it\"}\n",
        ));
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        response
    }

    /// How often it was answered with each status, in the Prometheus text format.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::from(
            "# HELP portcullis_jwks_requests_total Answers of the JWK Set endpoint, by status.\n# TYPE portcullis_jwks_requests_total counter\n",
        );
        for (status, count) in [
            (StatusCode::OK, &self.whole),
            (StatusCode::NOT_MODIFIED, &self.unchanged),
            (StatusCode::TOO_MANY_REQUESTS, &self.refused),
        ] {
            text.push_str(&format!(
                "portcullis_jwks_requests_total{{status=\"{}\"}} {}\n",
                status.as_u16(),
                count.load(Ordering::Relaxed)
            ));
        }
        text
    }
}

impl std::fmt::Debug for JwksPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwksPage").finish_non_exhaustive()
    }
}

/// RFC 9110 §13.1.2: a list of validators, or `*`, with the weak comparison that it wants.
fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|validator| validator == "*" || validator.strip_prefix("W/").unwrap_or(validator) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_795_255_200);

    fn ask(page: &JwksPage, if_none_match: Option<&str>, peer: [u8; 4]) -> Response<Body> {
        let mut headers = HeaderMap::new();
        if let Some(validator) = if_none_match {
            headers.insert(IF_NONE_MATCH, validator.parse().unwrap());
        }
        page.answer(&JwksDocument::new(Vec::new()), &headers, Some(peer.into()), NOW)
    }

    #[test]
    fn whoever_has_the_set_is_not_sent_it_again() {
        let page = JwksPage::new();
        let first = ask(&page, None, [192, 0, 2, 1]);
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[CACHE_CONTROL], "public, max-age=300");
        assert_eq!(first.headers()[CONTENT_TYPE], "application/jwk-set+json");
        let etag = first.headers()[ETAG].to_str().unwrap().to_owned();
        for known in [
            etag.clone(),
            format!("W/{etag}"),
            format!("\"x\", {etag}"),
            "*".to_owned(),
        ] {
            let again = ask(&page, Some(&known), [192, 0, 2, 1]);
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(again.headers()[ETAG].to_str().unwrap(), etag);
        }
        assert_eq!(ask(&page, Some("\"x\""), [192, 0, 2, 1]).status(), StatusCode::OK);
        let metrics = page.metrics();
        assert!(
            metrics.contains("{status=\"200\"} 2\n") && metrics.contains("{status=\"304\"} 4\n"),
            "{metrics}"
        );
    }

    #[test]
    fn one_network_that_hammers_is_told_to_wait_and_others_are_not() {
        let page = JwksPage::new();
        for _ in 0..REQUESTS {
            assert_eq!(ask(&page, None, [192, 0, 2, 1]).status(), StatusCode::OK);
        }
        let refused = ask(&page, None, [192, 0, 2, 1]);
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()[RETRY_AFTER], "60");
        assert_eq!(refused.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(ask(&page, None, [192, 0, 2, 2]).status(), StatusCode::OK);
        assert!(page.metrics().contains("{status=\"429\"} 1\n"));
    }
}
