//! Warm validation: a token that was validated before, through the guard's own front half (host, credential, cache).

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_core::audit::{DigestKey, Event};
use portcullis_core::identity::{IssuerTrust, Profile, TokenProfile};
use portcullis_core::ids::{Issuer, ResourceUri, ServerName};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::policy::{Effect, Policy, Rules, ServerRules};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_guard::recorder::{Durability, Recorder, RecorderUnavailable};
use portcullis_guard::{
    Endpoint, Guard, LocalReplayLog, NonceKey, ProofNonce, PublicHost, SenderConstraint, SenderRules,
    Senders, Sessions, Settings, TrustedIssuer,
};
use portcullis_net::clock::Clock;
use portcullis_net::discovery::{IssuerKeys, KeysFrom};
use portcullis_net::fetch::{Fetcher, Reach};

use crate::load::Failure;
use crate::validation::{ISSUER, NOW, RESOURCE, material};

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(NOW)
    }
}

/// Nothing is recorded for a credential that held, so nothing is lost here.
struct Nowhere;

impl Recorder for Nowhere {
    fn record<'a>(
        &'a self,
        _: Event,
        _: Durability,
    ) -> Pin<Box<dyn Future<Output = Result<u64, RecorderUnavailable>> + Send + 'a>> {
        Box::pin(async { Ok(0) })
    }
}

/// Median over rounds of the mean time of one warm `authenticate`.
pub(crate) async fn measure(rounds: usize, time: Duration) -> Result<Duration, Failure> {
    let material = material(SignatureAlgorithm::Es256)?;
    let file = std::env::temp_dir().join(format!("portcullis-bench-{}.jwks", std::process::id()));
    std::fs::write(&file, &material.jwks)?;
    let measured = with_keys(&material.token, &file, rounds, time).await;
    std::fs::remove_file(&file)?;
    measured
}

async fn with_keys(
    token: &str,
    file: &std::path::Path,
    rounds: usize,
    time: Duration,
) -> Result<Duration, Failure> {
    let issuer = Issuer::parse(ISSUER)?;
    let clock: Arc<dyn Clock> = Arc::new(Fixed);
    let keys = IssuerKeys::new(
        issuer.clone(),
        KeysFrom::File(file.to_owned()),
        Fetcher::new(Reach::PublicOnly)?,
        Arc::clone(&clock),
    );
    let trust = IssuerTrust {
        issuer,
        algorithms: BTreeSet::from([SignatureAlgorithm::Es256]),
        max_token_lifetime: Lifetime::from_hours(1),
        skew: Lifetime::from_secs(30),
        tokens: TokenProfile::of(Profile::Rfc9068),
    };
    let server = ServerName::parse("notes")?;
    let rules = Rules {
        servers: vec![ServerRules {
            name: server.clone(),
            unlisted: Effect::Read,
            tools: Vec::new(),
        }],
        ..Rules::default()
    };
    let policy = Policy::compile(&rules).map_err(|errors| format!("{errors:?}"))?;
    let guard = Guard::new(
        Settings {
            public_host: PublicHost::of("https://mcp.example.com", Vec::new())?,
            issuers: vec![TrustedIssuer::new(trust, Arc::new(keys))],
            policy: Arc::new(arc_swap::ArcSwap::from_pointee(policy)),
            recorder: Arc::new(Nowhere),
            clock,
            digest_key: DigestKey::new([7; 32]),
            senders: Senders {
                usual: SenderRules {
                    constraint: SenderConstraint::None,
                    nonce: ProofNonce::Off,
                },
                servers: HashMap::new(),
                window: Lifetime::from_secs(60),
                nonce_key: NonceKey::new(&[7; 32]),
                replays: Arc::new(LocalReplayLog::new(0, UnixTime::from_secs(NOW))),
            },
            rates: portcullis_guard::Rates::default(),
        },
        &portcullis_net::random::System,
    )?;
    let endpoint = Endpoint::new(
        server,
        ResourceUri::parse(RESOURCE)?,
        String::new(),
        Arc::new(Sessions::new()),
    );
    let (head, ()) = http::Request::post("/mcp")
        .header("host", "mcp.example.com")
        .header("authorization", format!("Bearer {token}"))
        .body(())?
        .into_parts();
    let arrival = guard.arrival(None);

    let mut times = Vec::new();
    for _ in 0..=rounds {
        let started = Instant::now();
        let mut calls = 0_u32;
        while started.elapsed() < time {
            for _ in 0..100 {
                let who = guard
                    .authenticate(&endpoint, &arrival, &head)
                    .await
                    .map_err(|_| "the token was refused")?;
                std::hint::black_box(&who);
            }
            calls += 100;
        }
        times.push(started.elapsed() / calls);
    }
    // The first round warms the cache and the branch predictor.
    times.remove(0);
    times.sort_unstable();
    times.get(rounds / 2).copied().ok_or_else(|| "no rounds".into())
}
