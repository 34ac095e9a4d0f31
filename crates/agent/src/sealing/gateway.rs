//! The other side: its published keys, and sessions with it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use portcullis_core::jose::jwe::recipient_of;
use portcullis_core::jose::jwk::{EncryptionKey, KeySet};
use portcullis_core::oauth::client::{self, Challenged, ServerUrl};
use portcullis_core::seal::session::{Cipher, Curve, Offer, Offering, SESSION_LIFETIME, Session};
use portcullis_core::seal::{self, Moment, Parties, SenderKeys};
use portcullis_core::secret::Secret;
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::fetch::Limits;
use portcullis_net::random;
use serde_json::{Value, json};

use super::SealTrouble;
use super::keys::OwnKeys;
use crate::agent::Inner;
use crate::error::Error;

/// Published keys are read again after this.
const FRESH: Lifetime = Lifetime::from_minutes(5);
/// A session is not used in its last moments.
const MARGIN: Lifetime = Lifetime::from_minutes(2);
const SKEW: Lifetime = Lifetime::from_secs(30);
const LIMITS: Limits = Limits {
    body: 64 * 1024,
    time: std::time::Duration::from_secs(20),
};

/// What the gateway publishes.
#[derive(Debug)]
pub(crate) struct GatewayKeys {
    pub(crate) signatures: KeySet,
    pub(crate) recipient: EncryptionKey,
    read: UnixTime,
}

/// Keys and sessions of one server.
#[derive(Clone, Default)]
pub(crate) struct Known {
    keys: Option<Arc<GatewayKeys>>,
    session: Option<Arc<Session>>,
}

impl Inner {
    /// The gateway's keys: from the JWK Set that the metadata of its resource names (RFC 9728 §2).
    pub(crate) async fn gateway_keys(&self, server: &ServerUrl) -> Result<Arc<GatewayKeys>, Error> {
        let now = self.clock.now();
        let known = self.known(server.as_str()).keys;
        if let Some(keys) = known.filter(|keys| now < keys.read.plus(FRESH)) {
            return Ok(keys);
        }
        let trouble = |why: String| Error::sealing(server.as_str(), &SealTrouble::Keys(why));
        let urls = client::protected_resource_urls(server, &Challenged::default())?;
        let Some((url, document)) = self.fetchers.document(server, &urls).await? else {
            return Err(Error::NoResourceMetadata {
                server: server.as_str().to_owned(),
                tried: urls,
            });
        };
        let metadata = client::process_protected_resource(server, &url, &document)?;
        let jwks_uri = metadata
            .jwks_uri
            .ok_or_else(|| trouble("the metadata of its resource names no `jwks_uri`".to_owned()))?;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = jwks_uri
            .parse()
            .map_err(|_| trouble(format!("`{jwks_uri}` is no address")))?;
        request
            .headers_mut()
            .insert(ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.fetchers.send(server, request).await?;
        if !answer.status().is_success() {
            return Err(Error::Status {
                url: jwks_uri,
                status: answer.status().as_u16(),
            });
        }
        let keys = Arc::new(GatewayKeys {
            signatures: KeySet::parse(answer.body()).map_err(|error| trouble(error.to_string()))?,
            recipient: recipient_of(answer.body(), None, None).map_err(|error| trouble(error.to_string()))?,
            read: now,
        });
        self.know(server.as_str(), |known| known.keys = Some(Arc::clone(&keys)));
        Ok(keys)
    }

    /// A session with the gateway: the one there is, or a new one.
    pub(crate) async fn seal_session(
        &self,
        server: &ServerUrl,
        token: &Secret,
        parties: &Parties,
        keys: &OwnKeys,
        gateway: &GatewayKeys,
    ) -> Result<Arc<Session>, Error> {
        let now = self.clock.now();
        let held = self.known(server.as_str()).session;
        if let Some(session) = held.filter(|session| now < session.until().minus(MARGIN)) {
            return Ok(session);
        }
        let trouble = |error: SealTrouble| Error::sealing(server.as_str(), &error);
        let offering = Offering {
            curve: Curve::X25519,
            ciphers: Cipher::ALL.to_vec(),
        };
        let offer = Offer::new(parties.clone(), offering, &keys.signing, now, &random::System);
        let offer = offer.map_err(|error| trouble(error.into()))?;
        let body = json!({ "offer": offer.text(), "keys": keys.public() });
        let request = seal_request(server, Method::POST, token, body.to_string());
        let request = request.ok_or_else(|| trouble(seal::Error::Bug.into()))?;
        let answer = self.fetchers.typed().send(request, LIMITS).await?;
        let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        if !answer.status().is_success() {
            return Err(trouble(SealTrouble::of_error(
                said.get("error").unwrap_or(&Value::Null),
            )));
        }
        let text = said.get("answer").and_then(Value::as_str).unwrap_or_default();
        let moment = Moment { now, skew: SKEW };
        let gateway = SenderKeys::Set(&gateway.signatures);
        let session = offer.accept(text, gateway, now.plus(SESSION_LIFETIME), moment);
        let session = Arc::new(session.map_err(|error| trouble(error.into()))?);
        self.know(server.as_str(), |known| {
            known.session = Some(Arc::clone(&session))
        });
        Ok(session)
    }

    /// Whether a session was agreed on, and is not over.
    pub(crate) fn has_seal_session(&self, server: &ServerUrl) -> bool {
        self.known(server.as_str()).session.is_some()
    }

    /// Ends the session here, and at the gateway if it can be told.
    pub(crate) async fn end_seal_session(&self, server: &ServerUrl, token: &Secret) {
        self.forget_gateway(server);
        if let Some(request) = seal_request(server, Method::DELETE, token, String::new()) {
            // It ends by itself too.
            let _told = self.fetchers.typed().send(request, LIMITS).await;
        }
    }

    /// What was known and did not hold is asked for again.
    pub(crate) fn forget_gateway(&self, server: &ServerUrl) {
        self.know(server.as_str(), |known| *known = Known::default());
    }

    fn known(&self, server: &str) -> Known {
        let known = self
            .gateways
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        known.get(server).cloned().unwrap_or_default()
    }

    fn know(&self, server: &str, change: impl FnOnce(&mut Known)) {
        let mut known = self
            .gateways
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        change(known.entry(server.to_owned()).or_default());
    }
}

/// A request to the address of sealed sessions, beside the server's own.
fn seal_request(server: &ServerUrl, method: Method, token: &Secret, body: String) -> Option<Request<Bytes>> {
    let mut url = server.url().clone();
    url.set_path(&format!("{}/seal", url.path()));
    url.set_query(None);
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = url.as_str().parse().ok()?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok()?;
    value.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, value);
    request
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Some(request)
}
