//! The other side: its published keys, and sessions with it.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

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
use tokio::time::{Instant, sleep, sleep_until};

use super::keys::OwnKeys;
use super::{Patience, SealTrouble};
use crate::agent::Inner;
use crate::error::Error;

/// Published keys are read again after this.
const FRESH: Lifetime = Lifetime::from_minutes(5);
/// And no sooner than this after the last time, however often something names a key that is not among them.
const PAUSE: Duration = Duration::from_secs(1);
/// How often sessions whose time is over are looked for.
pub(crate) const SWEEP: Duration = Duration::from_secs(30);
/// A session is not used in its last moments.
const MARGIN: Lifetime = Lifetime::from_minutes(2);
const SKEW: Lifetime = Lifetime::from_secs(30);
const LIMITS: Limits = Limits {
    body: 64 * 1024,
    time: Duration::from_secs(20),
};

/// What the gateway publishes.
#[derive(Debug)]
pub(crate) struct GatewayKeys {
    pub(crate) signatures: KeySet,
    pub(crate) recipient: EncryptionKey,
    read: UnixTime,
}

/// Keys and session of one server. Dropping it wipes the session's keys, once no call uses them any more.
#[derive(Default)]
pub(crate) struct Known {
    keys: Option<Arc<GatewayKeys>>,
    session: Option<Agreed>,
    /// Held by the one who reads the keys; when that was begun the last time.
    reading: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

/// A session, and whose it is.
struct Agreed {
    parties: Parties,
    session: Arc<Session>,
}

impl Inner {
    /// The gateway's keys, as they were published minutes ago at most. `but` are some among which one was missing: a gateway
    /// can get other keys at any time, so what is published is read again then.
    ///
    /// One reads, and whoever else waits for it takes what it read.
    pub(crate) async fn gateway_keys(
        &self,
        server: &ServerUrl,
        but: Option<&Arc<GatewayKeys>>,
    ) -> Result<Arc<GatewayKeys>, Error> {
        if let Some(keys) = self.fresh_keys(server, but) {
            return Ok(keys);
        }
        let reading = Arc::clone(
            &self
                .known()
                .entry(server.as_str().to_owned())
                .or_default()
                .reading,
        );
        let mut begun = reading.lock().await;
        if let Some(keys) = self.fresh_keys(server, but) {
            return Ok(keys);
        }
        if let Some(last) = *begun {
            sleep_until(last + PAUSE).await;
        }
        *begun = Some(Instant::now());
        let keys = Arc::new(self.published_keys(server).await?);
        self.known().entry(server.as_str().to_owned()).or_default().keys = Some(Arc::clone(&keys));
        Ok(keys)
    }

    fn fresh_keys(&self, server: &ServerUrl, but: Option<&Arc<GatewayKeys>>) -> Option<Arc<GatewayKeys>> {
        let keys = self.known().get(server.as_str())?.keys.clone()?;
        let lacking = but.is_some_and(|but| Arc::ptr_eq(but, &keys));
        (!lacking && self.clock.now() < keys.read.plus(FRESH)).then_some(keys)
    }

    /// From the JWK Set that the metadata of its resource names (RFC 9728 §2).
    async fn published_keys(&self, server: &ServerUrl) -> Result<GatewayKeys, Error> {
        let now = self.clock.now();
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
        // Whoever could change the keys on their way could read what is sealed for them: as strict as for a server.
        let _confidential = ServerUrl::parse(&jwks_uri).map_err(|error| trouble(error.to_string()))?;
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
        Ok(GatewayKeys {
            signatures: KeySet::parse(answer.body()).map_err(|error| trouble(error.to_string()))?,
            recipient: recipient_of(answer.body(), None, None).map_err(|error| trouble(error.to_string()))?,
            read: now,
        })
    }

    /// A session with the gateway: the one there is, or a new one.
    pub(crate) async fn seal_session(
        &self,
        server: &ServerUrl,
        token: &Secret,
        parties: &Parties,
        keys: &OwnKeys,
        gateway: &Arc<GatewayKeys>,
    ) -> Result<Arc<Session>, Error> {
        self.drop_ended_sessions();
        if let Some(session) = self.seal_session_of(server, parties) {
            return Ok(session);
        }
        let mut session = self.agreed(server, token, parties, keys, gateway).await?;
        if let Err(seal::Error::SenderKey) = session {
            // The offer is spent: a new one, and its answer by the keys that are published now.
            let gateway = self.gateway_keys(server, Some(gateway)).await?;
            session = self.agreed(server, token, parties, keys, &gateway).await?;
        }
        let session = session.map_err(|error| Error::sealing(server.as_str(), &error.into()))?;
        let session = Arc::new(session);
        let agreed = Agreed {
            parties: parties.clone(),
            session: Arc::clone(&session),
        };
        self.known()
            .entry(server.as_str().to_owned())
            .or_default()
            .session = Some(agreed);
        Ok(session)
    }

    /// A session that the gateway agrees to, by one of these keys of its.
    async fn agreed(
        &self,
        server: &ServerUrl,
        token: &Secret,
        parties: &Parties,
        keys: &OwnKeys,
        gateway: &GatewayKeys,
    ) -> Result<Result<Session, seal::Error>, Error> {
        let mut patience = Patience::default();
        let (offer, text) = loop {
            let trouble = match self.offered(server, token, parties, keys).await? {
                Ok(answered) => break answered,
                Err(trouble) => trouble,
            };
            match patience.with(&trouble) {
                Some(wait) => sleep(wait).await,
                None => return Err(Error::sealing(server.as_str(), &trouble)),
            }
        };
        let now = self.clock.now();
        let moment = Moment { now, skew: SKEW };
        let gateway = SenderKeys::Set(&gateway.signatures);
        Ok(offer.accept(&text, gateway, now.plus(SESSION_LIFETIME), moment))
    }

    /// An offer, and what the gateway answers to it.
    async fn offered(
        &self,
        server: &ServerUrl,
        token: &Secret,
        parties: &Parties,
        keys: &OwnKeys,
    ) -> Result<Result<(Offer, String), SealTrouble>, Error> {
        let trouble = |error: seal::Error| Error::sealing(server.as_str(), &error.into());
        let offering = Offering {
            curve: Curve::X25519,
            ciphers: Cipher::ALL.to_vec(),
        };
        let now = self.clock.now();
        let offer = Offer::new(parties.clone(), offering, &keys.signing, now, &random::System);
        let offer = offer.map_err(trouble)?;
        let body = json!({ "offer": offer.text(), "keys": keys.public() });
        let request = seal_request(server, Method::POST, token, body.to_string());
        let request = request.ok_or_else(|| trouble(seal::Error::Bug))?;
        let answer = self.fetchers.typed().send(request, LIMITS).await?;
        let said: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        if !answer.status().is_success() {
            let status = answer.status().as_u16();
            let trouble = match said.get("error") {
                Some(error) => SealTrouble::of_error(error),
                None => SealTrouble::Keys(format!("it answered HTTP {status} to the offer of a session")),
            };
            return Ok(Err(trouble));
        }
        let text = said.get("answer").and_then(Value::as_str).unwrap_or_default();
        Ok(Ok((offer, text.to_owned())))
    }

    /// The session of these parties, and of nobody else.
    fn seal_session_of(&self, server: &ServerUrl, parties: &Parties) -> Option<Arc<Session>> {
        let known = self.known();
        let agreed = known.get(server.as_str())?.session.as_ref()?;
        let usable = agreed.parties == *parties && self.clock.now() < agreed.session.until().minus(MARGIN);
        usable.then(|| Arc::clone(&agreed.session))
    }

    /// Ends all sessions of this login at the gateway, if it can be told. They end by themselves too.
    pub(crate) async fn end_seal_sessions(&self, server: &ServerUrl, token: &Secret) {
        if let Some(request) = seal_request(server, Method::DELETE, token, String::new()) {
            let _told = self.fetchers.typed().send(request, LIMITS).await;
        }
    }

    /// What was known is asked for again. Gives whether there was a session.
    pub(crate) fn forget_gateway(&self, server: &ServerUrl) -> bool {
        let mut known = self.known();
        let Some(known) = known.get_mut(server.as_str()) else {
            return false;
        };
        known.keys = None;
        known.session.take().is_some()
    }

    /// A call that was sealed so was refused: its session is agreed on anew, unless somebody did that already.
    pub(crate) fn forget_session(&self, server: &ServerUrl, session: &Arc<Session>) {
        if let Some(known) = self.known().get_mut(server.as_str())
            && let Some(agreed) = &known.session
            && Arc::ptr_eq(&agreed.session, session)
        {
            known.session = None;
        }
    }

    /// Looks for sessions whose time is over from now on, whether anything is called or not, for as long as there is the
    /// agent.
    pub(crate) fn sweep_sessions(self: &Arc<Self>, every: Duration) {
        let swept = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                sleep(every).await;
                let Some(inner) = swept.upgrade() else { return };
                inner.drop_ended_sessions();
            }
        });
    }

    fn drop_ended_sessions(&self) {
        let now = self.clock.now();
        for known in self.known().values_mut() {
            if known
                .session
                .as_ref()
                .is_some_and(|agreed| agreed.session.until() <= now)
            {
                known.session = None;
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.gateways.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::sync::atomic::{AtomicI64, Ordering};

    use portcullis_core::ids::{ClientId, Issuer, KeyId, Principal, ResourceUri, ServerName, Subject};
    use portcullis_core::jose::SignatureAlgorithm;
    use portcullis_core::jose::jwk::{PublicJwk, SigningKey, VerificationKey};
    use portcullis_core::seal::Seen;
    use portcullis_core::seal::session::{Answering, respond};
    use portcullis_net::clock::Clock;
    use portcullis_testkit::Scratch;

    use super::*;
    use crate::agent::{Agent, Presenter, Settings};

    const START: i64 = 1_795_262_400;

    struct Nobody;

    impl Presenter for Nobody {
        fn authorize(&self, _url: &str) {}
    }

    struct At(AtomicI64);

    impl Clock for At {
        fn now(&self) -> UnixTime {
            UnixTime::from_secs(self.0.load(Ordering::Relaxed))
        }
    }

    fn parties(subject: &str) -> Parties {
        Parties {
            principal: Principal {
                issuer: Issuer::parse("https://as.example").unwrap(),
                subject: Subject::parse(subject).unwrap(),
                client: ClientId::parse("agent-1").unwrap(),
            },
            gateway: Issuer::parse("https://gw.example").unwrap(),
            resource: ResourceUri::parse("https://gw.example/mcp").unwrap(),
            server: ServerName::parse("notes").unwrap(),
        }
    }

    fn session(parties: &Parties, lifetime: Lifetime) -> Session {
        let (now, random) = (UnixTime::from_secs(START), &random::System);
        let moment = Moment { now, skew: SKEW };
        let kid = KeyId::parse("sig").unwrap();
        let (key, _) = SigningKey::generate(kid.clone(), SignatureAlgorithm::Es256).unwrap();
        let jwk = PublicJwk {
            key: key.public().clone(),
            algorithm: SignatureAlgorithm::Es256.into(),
            kid,
            chain: Vec::new(),
        };
        let public = VerificationKey::parse(Value::Object(jwk.to_json()).to_string().as_bytes()).unwrap();
        let offering = Offering {
            curve: Curve::X25519,
            ciphers: Cipher::ALL.to_vec(),
        };
        let offer = Offer::new(parties.clone(), offering, &key, now, random).unwrap();
        let answering = Answering {
            ciphers: Cipher::ALL.to_vec(),
            curves: Curve::ALL.to_vec(),
            ends: now.plus(lifetime),
        };
        let (sender, seen) = (SenderKeys::One(&public), Seen::new(9, 9));
        let answer = respond(
            offer.text(),
            parties,
            sender,
            &answering,
            &key,
            &seen,
            moment,
            random,
        )
        .unwrap();
        offer
            .accept(&answer.text, sender, now.plus(lifetime), moment)
            .unwrap()
    }

    struct Held {
        inner: Arc<Inner>,
        clock: Arc<At>,
        server: ServerUrl,
        session: Weak<Session>,
        _folder: Scratch,
    }

    /// An agent that holds ada's session, of ten minutes.
    async fn held() -> Held {
        let folder = Scratch::new("sessions").unwrap();
        let clock = Arc::new(At(AtomicI64::new(START)));
        let mut settings = Settings::new(folder.path(), Arc::new(Nobody));
        settings.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let Agent(inner) = Agent::open(settings).await.unwrap();
        let server = ServerUrl::parse("https://gw.example/mcp").unwrap();
        let session = Arc::new(session(&parties("ada"), Lifetime::from_minutes(10)));
        let weak = Arc::downgrade(&session);
        let agreed = Agreed {
            parties: parties("ada"),
            session,
        };
        let known = Known {
            session: Some(agreed),
            ..Known::default()
        };
        inner.known().insert(server.as_str().to_owned(), known);
        Held {
            inner,
            clock,
            server,
            session: weak,
            _folder: folder,
        }
    }

    #[tokio::test]
    async fn a_session_is_of_its_parties_alone_and_not_used_in_its_last_moments() {
        let held = held().await;
        let of = |subject| held.inner.seal_session_of(&held.server, &parties(subject));
        assert!(of("ada").is_some());
        assert!(of("eve").is_none());
        held.clock.0.store(START + 479, Ordering::Relaxed);
        assert!(of("ada").is_some());
        held.clock.0.store(START + 480, Ordering::Relaxed);
        assert!(of("ada").is_none());
    }

    #[tokio::test]
    async fn the_keys_are_dropped_at_the_end_though_nothing_is_called() {
        let held = held().await;
        held.clock.0.store(START + 599, Ordering::Relaxed);
        held.inner.drop_ended_sessions();
        assert!(held.session.upgrade().is_some());
        held.clock.0.store(START + 600, Ordering::Relaxed);
        held.inner.sweep_sessions(Duration::from_millis(1));
        for _ in 0..10_000 {
            if held.session.upgrade().is_none() {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
        panic!("the keys are still there");
    }

    #[tokio::test]
    async fn the_keys_are_dropped_with_a_logout_and_with_the_agent() {
        let one = held().await;
        Agent(Arc::clone(&one.inner))
            .logout("https://gw.example/mcp")
            .await
            .unwrap();
        assert!(one.session.upgrade().is_none());

        let two = held().await;
        two.inner.sweep_sessions(Duration::from_millis(1));
        let session = two.session.clone();
        // The sweeper may be at work for a moment.
        drop(two);
        for _ in 0..10_000 {
            if session.upgrade().is_none() {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
        panic!("the keys outlive the agent");
    }
}
