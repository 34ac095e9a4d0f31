//! A JWK Set as anyone may read it (RFC 7517 §5): cacheable, cheap to ask again for, and not to be hammered.

use std::net::IpAddr;
use std::sync::Arc;
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
/// What a place for private keys may need to come back, in seconds.
const SOON: u64 = 5;
const WITHIN: Lifetime = Lifetime::from_minutes(1);

/// The page, with its counts.
pub(crate) struct JwksPage {
    asked: Throttle<Network>,
    whole: AtomicU64,
    unchanged: AtomicU64,
    refused: AtomicU64,
    absent: AtomicU64,
}

impl JwksPage {
    pub(crate) fn new() -> Self {
        Self {
            asked: Throttle::new(WITHIN),
            whole: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            absent: AtomicU64::new(0),
        }
    }

    /// The answer to GET or HEAD: the set, `304` to those who have it (RFC 9110 §13.1.2), `429` to those who ask more
    /// often than any verifier needs to, and `503` while there is no key: a verifier that kept an empty set would refuse
    /// everybody for as long as it may be cached.
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
        if document.is_empty() {
            self.absent.fetch_add(1, Ordering::Relaxed);
            return later(
                StatusCode::SERVICE_UNAVAILABLE,
                Lifetime::from_secs(SOON),
                "{\"error\":\"temporarily_unavailable\",\"error_description\":\"there is no key yet: try again in some seconds\"}\n",
            );
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
        later(
            StatusCode::TOO_MANY_REQUESTS,
            wait,
            "{\"error\":\"too_many_requests\",\"error_description\":\"this JWK Set may be cached for five minutes: keep it\"}\n",
        )
    }
}

/// An answer that nobody keeps, and when to ask again.
fn later(status: StatusCode, wait: Lifetime, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    response
}

/// The counts of a JWK Set page, for a metrics page that may be another listener's.
#[derive(Clone, Debug)]
pub struct JwksCounts(Arc<JwksPage>);

impl JwksCounts {
    /// Of this page.
    pub(crate) fn of(page: &Arc<JwksPage>) -> Self {
        Self(Arc::clone(page))
    }

    /// How often each page was answered with each status, in the Prometheus text format.
    pub(crate) fn metrics<'a>(pages: impl IntoIterator<Item = (&'a str, &'a Self)>) -> String {
        let mut text = String::from(
            "# HELP portcullis_jwks_requests_total Answers of the JWK Set endpoint, by status.\n# TYPE portcullis_jwks_requests_total counter\n",
        );
        for (role, Self(page)) in pages {
            for (status, count) in [
                (StatusCode::OK, &page.whole),
                (StatusCode::NOT_MODIFIED, &page.unchanged),
                (StatusCode::TOO_MANY_REQUESTS, &page.refused),
                (StatusCode::SERVICE_UNAVAILABLE, &page.absent),
            ] {
                text.push_str(&format!(
                    "portcullis_jwks_requests_total{{role=\"{role}\",status=\"{}\"}} {}\n",
                    status.as_u16(),
                    count.load(Ordering::Relaxed)
                ));
            }
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
    use portcullis_core::ids::KeyId;
    use portcullis_core::jose::jwk::{EcCurve, PublicJwk, PublicKey};
    use portcullis_core::jose::{SignatureAlgorithm, base64url};

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_795_255_200);

    fn one_key() -> JwksDocument {
        // RFC 7515 appendix A.3.
        let [x, y] = [
            "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        ]
        .map(|coordinate| base64url::decode(coordinate).unwrap());
        JwksDocument::new(vec![PublicJwk {
            key: PublicKey::from_uncompressed(EcCurve::P256, &[&[4][..], &x, &y].concat()).unwrap(),
            algorithm: SignatureAlgorithm::Es256.into(),
            kid: KeyId::parse("sig-1").unwrap(),
            chain: Vec::new(),
        }])
    }

    fn ask(page: &JwksPage, if_none_match: Option<&str>, peer: [u8; 4]) -> Response<Body> {
        let mut headers = HeaderMap::new();
        if let Some(validator) = if_none_match {
            headers.insert(IF_NONE_MATCH, validator.parse().unwrap());
        }
        page.answer(&one_key(), &headers, Some(peer.into()), NOW)
    }

    #[test]
    fn whoever_has_the_set_is_not_sent_it_again() {
        let page = Arc::new(JwksPage::new());
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
        let counts = JwksCounts::of(&page);
        let metrics = JwksCounts::metrics([("gateway", &counts), ("authority", &counts)]);
        for line in [
            "{role=\"gateway\",status=\"200\"} 2\n",
            "{role=\"gateway\",status=\"304\"} 4\n",
            "{role=\"authority\",status=\"200\"} 2\n",
        ] {
            assert!(metrics.contains(line), "{metrics}");
        }
        assert_eq!(metrics.matches("# TYPE").count(), 1, "{metrics}");
    }

    #[test]
    fn a_set_without_keys_is_nothing_to_keep() {
        let page = JwksPage::new();
        for validator in [None, Some("*")] {
            let mut headers = HeaderMap::new();
            if let Some(validator) = validator {
                headers.insert(IF_NONE_MATCH, validator.parse().unwrap());
            }
            let answer = page.answer(&JwksDocument::new(Vec::new()), &headers, None, NOW);
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.headers()[RETRY_AFTER], "5");
            assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        }
    }

    #[test]
    fn one_network_that_hammers_is_told_to_wait_and_others_are_not() {
        let page = Arc::new(JwksPage::new());
        for _ in 0..REQUESTS {
            assert_eq!(ask(&page, None, [192, 0, 2, 1]).status(), StatusCode::OK);
        }
        let refused = ask(&page, None, [192, 0, 2, 1]);
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()[RETRY_AFTER], "60");
        assert_eq!(refused.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(ask(&page, None, [192, 0, 2, 2]).status(), StatusCode::OK);
        let metrics = JwksCounts::metrics([("gateway", &JwksCounts::of(&page))]);
        assert!(metrics.contains("status=\"429\"} 1\n"), "{metrics}");
    }
}
