//! An issuer with a real key, and a guard that trusts it.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use portcullis_core::audit::{DigestKey, Event};
use portcullis_core::identity::{IssuerTrust, Profile, TokenProfile, dpop};
use portcullis_core::ids::{Issuer, KeyId, ResourceUri, ServerName, ToolName};
use portcullis_core::jose::jwk::{EcCurve, PublicJwk, PublicKey};
use portcullis_core::jose::jws::{self, SigningUnavailable, TokenSigner};
use portcullis_core::jose::{SignatureAlgorithm, base64url};
use portcullis_core::keys::JwksDocument;
use portcullis_core::policy::{Effect, Policy, Rules, ServerRules, ToolRule};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::clock::Clock;
use portcullis_net::discovery::{IssuerKeys, KeysFrom};
use portcullis_net::fetch::{Fetcher, Reach};
use serde_json::{Map, Value, json};

use crate::recorder::{Durability, Recorder, RecorderUnavailable};
use crate::{
    Endpoint, Guard, LocalReplayLog, NonceKey, ProofNonce, PublicHost, Rates, ReplayLog, SenderConstraint,
    SenderRules, Senders, Sessions, Settings, TrustedIssuer,
};

pub(crate) const ISSUER: &str = "https://as.example";
pub(crate) const NOW: i64 = 1_800_000_000;

/// A P-256 key of an issuer.
pub(crate) struct Key(EcdsaKeyPair, KeyId);

impl Key {
    pub(crate) fn new(kid: &str) -> Self {
        Self(
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            KeyId::parse(kid).unwrap(),
        )
    }

    fn jwk(&self) -> PublicJwk {
        let key = PublicKey::from_uncompressed(EcCurve::P256, self.0.public_key().as_ref()).unwrap();
        PublicJwk {
            key,
            algorithm: SignatureAlgorithm::Es256.into(),
            kid: self.1.clone(),
            chain: Vec::new(),
        }
    }

    /// Its thumbprint, as `jkt` has it.
    pub(crate) fn jkt(&self) -> String {
        self.jwk().key.thumbprint().to_string()
    }

    /// A proof by this key for a call with this token; `change` may change its claims.
    pub(crate) fn proof(
        &self,
        htu: &str,
        token: &str,
        change: impl FnOnce(&mut Map<String, Value>),
    ) -> String {
        let jwk: Map<String, Value> = self
            .jwk()
            .key
            .members()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk });
        let ath = base64url::encode(digest::digest(&digest::SHA256, token.as_bytes()));
        let Value::Object(mut claims) =
            json!({ "jti": "p-1", "htm": "POST", "htu": htu, "iat": NOW, "ath": ath })
        else {
            panic!("not an object")
        };
        change(&mut claims);
        let input = format!(
            "{}.{}",
            base64url::encode(header.to_string()),
            base64url::encode(Value::Object(claims).to_string())
        );
        let signature = self.sign(input.as_bytes()).unwrap();
        format!("{input}.{}", base64url::encode(signature))
    }

    /// The key set that the issuer publishes with this key alone.
    pub(crate) fn published(&self) -> bytes::Bytes {
        JwksDocument::new(vec![self.jwk()]).bytes()
    }

    /// An access token for `resource` with these scopes; `change` may change its claims.
    pub(crate) fn token(
        &self,
        resource: &str,
        scope: &str,
        change: impl FnOnce(&mut Map<String, Value>),
    ) -> String {
        let Value::Object(mut claims) = json!({
            "iss": ISSUER, "sub": "alice", "client_id": "agent-1", "aud": resource, "scope": scope, "jti": "t-1",
            "iat": NOW, "exp": NOW + 300,
        }) else {
            panic!("not an object")
        };
        change(&mut claims);
        jws::sign(self, "at+jwt", &claims).unwrap()
    }
}

impl TokenSigner for Key {
    fn kid(&self) -> &KeyId {
        &self.1
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::Es256
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningUnavailable> {
        let digest = digest::digest(&digest::SHA256, message);
        Ok(self.0.sign_digest(&digest).unwrap().as_ref().to_vec())
    }
}

/// A clock that stands until it is moved.
pub(crate) struct Hand(AtomicI64);

impl Hand {
    pub(crate) fn forward(&self, secs: i64) {
        self.0.fetch_add(secs * 1000, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> UnixTime {
        UnixTime::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Keeps what it is given, or refuses.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) events: Mutex<Vec<(Event, Durability)>>,
    pub(crate) broken: Mutex<bool>,
}

impl Recorder for Memory {
    fn record<'a>(
        &'a self,
        event: Event,
        durability: Durability,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<u64, RecorderUnavailable>> + Send + 'a>> {
        Box::pin(async move {
            if *self.broken.lock().unwrap() {
                return Err(RecorderUnavailable("the disk is full".to_owned()));
            }
            let mut events = self.events.lock().unwrap();
            events.push((event, durability));
            Ok(events.len() as u64)
        })
    }
}

impl Memory {
    /// The events so far, as JSON, and how durable each was wanted.
    pub(crate) fn taken(&self) -> Vec<(Value, Durability)> {
        let events = std::mem::take(&mut *self.events.lock().unwrap());
        events
            .into_iter()
            .map(|(event, durability)| (serde_json::to_value(event).unwrap(), durability))
            .collect()
    }
}

/// A guard over the server `notes` at two addresses, and all that it works with.
pub(crate) struct House {
    pub(crate) guard: Guard,
    pub(crate) short: Endpoint,
    pub(crate) long: Endpoint,
    pub(crate) clock: Arc<Hand>,
    pub(crate) memory: Arc<Memory>,
    jwks: PathBuf,
}

/// What most tests ask of senders: nothing.
pub(crate) const ANYONE: SenderRules = SenderRules {
    constraint: SenderConstraint::None,
    nonce: ProofNonce::Off,
};

/// Rules for all servers, and a memory.
pub(crate) fn senders(usual: SenderRules, replays: Arc<dyn ReplayLog>) -> Senders {
    Senders {
        usual,
        servers: HashMap::new(),
        window: dpop::WINDOW,
        nonce_key: NonceKey::new(&[9; 32]),
        replays,
    }
}

impl House {
    pub(crate) fn new(keys: &[&Key]) -> Self {
        let replays = LocalReplayLog::new(1000, UnixTime::from_secs(NOW - 5));
        Self::asking(keys, senders(ANYONE, Arc::new(replays)))
    }

    /// With these quotas.
    pub(crate) fn limited(keys: &[&Key], rates: Rates) -> Self {
        let replays = LocalReplayLog::new(1000, UnixTime::from_secs(NOW - 5));
        Self::with(keys, senders(ANYONE, Arc::new(replays)), rates)
    }

    /// With these rules.
    pub(crate) fn asking(keys: &[&Key], senders: Senders) -> Self {
        Self::with(keys, senders, Rates::default())
    }

    fn with(keys: &[&Key], senders: Senders, rates: Rates) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "portcullis-guard-{}-{}.json",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::SeqCst)
        );
        let jwks = std::env::temp_dir().join(name);
        publish(&jwks, keys);
        let clock = Arc::new(Hand(AtomicI64::new(NOW * 1000)));
        let memory = Arc::new(Memory::default());
        let settings = Settings {
            public_host: PublicHost::of("https://gw.example", Vec::new()).unwrap(),
            issuers: vec![trusted(&jwks, &clock)],
            policy: Arc::new(ArcSwap::from_pointee(policy())),
            recorder: Arc::<Memory>::clone(&memory),
            clock: Arc::<Hand>::clone(&clock),
            digest_key: DigestKey::new([7; 32]),
            senders,
            rates,
        };
        let guard = Guard::new(settings, &portcullis_net::random::System).unwrap();
        let sessions = Arc::new(Sessions::new());
        let endpoint = |path: &str| {
            Endpoint::new(
                ServerName::parse("notes").unwrap(),
                ResourceUri::parse(&format!("https://gw.example{path}")).unwrap(),
                format!("https://gw.example/.well-known/oauth-protected-resource{path}"),
                Arc::clone(&sessions),
            )
        };
        let (short, long) = (endpoint("/mcp"), endpoint("/s/notes/mcp"));
        Self {
            guard,
            short,
            long,
            clock,
            memory,
            jwks,
        }
    }

    /// Its issuer, with keys that are read anew.
    pub(crate) fn trusted(&self) -> TrustedIssuer {
        trusted(&self.jwks, &self.clock)
    }

    /// The same house with a guard that trusts these issuers and no others.
    pub(crate) fn trust_only(&mut self, issuers: Vec<TrustedIssuer>) {
        let replays = LocalReplayLog::new(1000, UnixTime::from_secs(NOW - 5));
        let settings = Settings {
            public_host: PublicHost::of("https://gw.example", Vec::new()).unwrap(),
            issuers,
            policy: Arc::new(ArcSwap::from_pointee(policy())),
            recorder: Arc::<Memory>::clone(&self.memory),
            clock: Arc::<Hand>::clone(&self.clock),
            digest_key: DigestKey::new([7; 32]),
            senders: senders(ANYONE, Arc::new(replays)),
            rates: Rates::default(),
        };
        self.guard = Guard::new(settings, &portcullis_net::random::System).unwrap();
    }

    /// From now on the issuer publishes these keys.
    pub(crate) fn publish(&self, keys: &[&Key]) {
        publish(&self.jwks, keys);
    }
}

fn trusted(jwks: &Path, clock: &Arc<Hand>) -> TrustedIssuer {
    let keys = IssuerKeys::new(
        Issuer::parse(ISSUER).unwrap(),
        KeysFrom::File(jwks.to_owned()),
        Fetcher::new(Reach::LoopbackToo).unwrap(),
        Arc::<Hand>::clone(clock),
    );
    TrustedIssuer::new(trust(), Arc::new(keys))
}

impl Drop for House {
    fn drop(&mut self) {
        std::fs::remove_file(&self.jwks).unwrap();
    }
}

/// What is held true about the issuer.
pub(crate) fn trust() -> IssuerTrust {
    IssuerTrust {
        issuer: Issuer::parse(ISSUER).unwrap(),
        algorithms: BTreeSet::from([SignatureAlgorithm::Es256]),
        max_token_lifetime: Lifetime::from_hours(1),
        skew: Lifetime::from_secs(30),
        tokens: TokenProfile::of(Profile::Rfc9068),
    }
}

fn publish(file: &std::path::Path, keys: &[&Key]) {
    std::fs::write(
        file,
        JwksDocument::new(keys.iter().map(|key| key.jwk()).collect()).bytes(),
    )
    .unwrap();
}

pub(crate) fn policy() -> Policy {
    let tool = |name: &str, effect| ToolRule {
        name: ToolName::parse(name).unwrap(),
        effect,
        scopes: None,
    };
    let server = ServerRules {
        name: ServerName::parse("notes").unwrap(),
        unlisted: Effect::Irreversible,
        tools: vec![tool("list_notes", Effect::Read), tool("add_note", Effect::Write)],
    };
    Policy::compile(&Rules {
        servers: vec![server],
        ..Rules::default()
    })
    .unwrap()
}
