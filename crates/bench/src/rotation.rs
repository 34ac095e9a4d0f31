//! Rotation under load: a ring that rotates on a clock that runs fast, and verifiers that know its keys only through its
//! JWK Set over HTTP, cached as its headers say.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portcullis_core::identity::{Candidate, IssuerTrust, Profile, TokenProfile, verify};
use portcullis_core::ids::{Issuer, KeyId, ResourceUri};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::KeyManagement;
use portcullis_core::jose::jws;
use portcullis_core::keys::{RotationPolicy, Timing};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_core::wire::{AccessToken, Presented};
use portcullis_net::clock::Clock;
use portcullis_net::discovery::{IssuerKeys, KeysFrom};
use portcullis_net::fetch::{Fetcher, Reach};
use portcullis_net::random::System;
use portcullis_server::custody::backend::FileBackend;
use portcullis_server::custody::shelf::Folder;
use portcullis_server::custody::{Keyring, MasterKey, RingSettings};

use crate::load::Failure;
use crate::validation::{ISSUER, RESOURCE};

const ROTATIONS: usize = 100;
const VALIDATIONS: u64 = 1_000_000;
const VERIFIERS: usize = 2;
const VALIDATIONS_PER_TURN: u64 = 8;
const TOKEN: Lifetime = Lifetime::from_minutes(5);
/// How far the clock is moved at once.
const STEP: Lifetime = Lifetime::from_secs(30);
/// From one rotation to the next.
const PERIOD: Lifetime = Lifetime::from_minutes(30);

/// A clock that is moved.
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// What the signing side and the verifiers share.
struct Scene {
    clock: Arc<Hand>,
    tokens: Mutex<VecDeque<(Arc<AccessToken>, UnixTime)>>,
    validated: AtomicU64,
    failed: AtomicU64,
    fetched: AtomicU64,
    over: AtomicBool,
}

/// The section of the page.
pub(crate) fn section(runtime: &tokio::runtime::Runtime) -> Result<String, Failure> {
    let folder = std::env::temp_dir().join(format!("portcullis-bench-keys-{}", std::process::id()));
    let measured = runtime.block_on(measure(&folder));
    std::fs::remove_dir_all(&folder)?;
    let (rotations, scene, seconds) = measured?;
    let validated = scene.validated.load(Ordering::SeqCst);
    let failed = scene.failed.load(Ordering::SeqCst);
    let mut text = String::new();
    writeln!(
        text,
        "## Rotation under load\n\nA ring of keys on disk rotates every {PERIOD} of a clock that runs fast; tokens of {TOKEN} are signed with the primary of the moment. {VERIFIERS} verifiers validate tokens of any age \
         (signature, `typ`, `iss`, `aud`, times, claims), and know the keys only through the JWK Set over HTTP, kept for its `max-age` of 300 s. \
         In practice verifiers refetch at an unknown `kid` too; that they need it is a failure of the rotation, and is counted as one here.\n\n\
         | | measured | goal |\n|---|---|---|\n| rotations | {rotations} | {ROTATIONS} |\n| validations | {validated} | {VALIDATIONS} |\n| failures | **{failed}** | 0 |\n\
         | fetches of the JWK Set | {} | |\n| validations per second, while it rotated | {:.0} | |\n",
        scene.fetched.load(Ordering::SeqCst),
        validated as f64 / seconds
    )?;
    Ok(text)
}

async fn measure(folder: &std::path::Path) -> Result<(usize, Arc<Scene>, f64), Failure> {
    let scene = Arc::new(Scene {
        clock: Arc::new(Hand(AtomicI64::new(1_800_000_000))),
        tokens: Mutex::default(),
        validated: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        fetched: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let keyring = ring(folder, scene.clock.now())?;
    let jwks_uri = serve(Arc::clone(&keyring), Arc::clone(&scene)).await?;
    let started = Instant::now();
    let mut verifiers = Vec::new();
    for number in 0..VERIFIERS {
        let keys = Arc::new(IssuerKeys::new(
            Issuer::parse(ISSUER)?,
            KeysFrom::Url(jwks_uri.parse()?),
            Fetcher::new(Reach::LoopbackToo)?,
            Arc::clone(&scene.clock) as Arc<dyn Clock>,
        ));
        let scene = Arc::clone(&scene);
        verifiers.push(tokio::spawn(async move {
            validate(&scene, &keys, number)
                .await
                .map_err(|error| error.to_string())
        }));
    }
    let rotations = rotate(&scene, &keyring).await;
    scene.over.store(true, Ordering::SeqCst);
    for verifier in verifiers {
        verifier.await??;
    }
    Ok((rotations?, scene, started.elapsed().as_secs_f64()))
}

fn ring(folder: &std::path::Path, now: UnixTime) -> Result<Arc<Keyring>, Failure> {
    std::fs::create_dir_all(folder)?;
    let master = Arc::new(MasterKey::open(&folder.join("master.key"), &System)?);
    let validity = Lifetime::from_secs(PERIOD.as_secs() * 6);
    let policy = RotationPolicy::new(Timing {
        longest_token: TOKEN,
        ..Timing::of(validity)
    })?;
    Ok(Keyring::start(
        RingSettings {
            role: "bench".to_owned(),
            identity: ISSUER.to_owned(),
            shelf: Arc::new(Folder::open(&folder.join("bench"))?),
            ca: Arc::new(Folder::open(&folder.join("ca"))?),
            backends: vec![Arc::new(FileBackend::new(Arc::clone(&master), Arc::new(System)))],
            master,
            signing: SignatureAlgorithm::Es256,
            encryption: KeyManagement::EcdhEs,
            policy,
            ledger: Arc::default(),
        },
        now,
        &System,
    )?)
}

/// The JWK Set as the servers publish it.
async fn serve(keyring: Arc<Keyring>, scene: Arc<Scene>) -> Result<String, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (keyring, scene) = (Arc::clone(&keyring), Arc::clone(&scene));
            let service = service_fn(move |_: Request<Incoming>| {
                scene.fetched.fetch_add(1, Ordering::SeqCst);
                let answer = Response::builder()
                    .header(header::CACHE_CONTROL, "public, max-age=300")
                    .header(header::CONTENT_TYPE, "application/jwk-set+json")
                    .body(Full::<Bytes>::from(keyring.jwks().bytes()));
                async move { answer }
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A verifier that is done closes its connection.
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    Ok(format!("http://{address}/jwks"))
}

/// Moves the clock, does what is due, signs; until there were enough rotations and validations.
async fn rotate(scene: &Scene, keyring: &Arc<Keyring>) -> Result<usize, Failure> {
    let (mut rotations, mut primary) = (0, keyring.signer().kid().clone());
    let steps = ROTATIONS as u64 * PERIOD.as_secs() / STEP.as_secs();
    let per_step = VALIDATIONS / steps + 1;
    while rotations < ROTATIONS || scene.validated.load(Ordering::SeqCst) < VALIDATIONS {
        let now = scene.clock.now().plus(STEP);
        scene.clock.0.store(now.as_secs(), Ordering::SeqCst);
        // Making keys waits for the disk.
        tokio::task::block_in_place(|| keyring.advance(now, &System))?;
        let signer = keyring.signer();
        if *signer.kid() != primary {
            primary = signer.kid().clone();
            rotations += 1;
        }
        let token = token(&*signer, now)?;
        {
            let mut tokens = scene.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            tokens.push_back(token);
            // No verifier is asked about a token that ends while it looks.
            tokens.retain(|(_, expires)| now.plus(STEP) < *expires);
        }
        let enough = scene.validated.load(Ordering::SeqCst) + per_step;
        while scene.validated.load(Ordering::SeqCst) < enough {
            tokio::time::sleep(std::time::Duration::from_micros(500)).await;
        }
    }
    Ok(rotations)
}

fn token(signer: &dyn jws::TokenSigner, now: UnixTime) -> Result<(Arc<AccessToken>, UnixTime), Failure> {
    let expires = now.plus(TOKEN);
    let claims = serde_json::json!({
        "iss": ISSUER, "sub": "user-7f3a", "aud": RESOURCE, "client_id": "client-19c2", "scope": "notes:read",
        "iat": now.as_secs(), "exp": expires.as_secs(), "jti": format!("{}-{}", signer.kid(), now.as_secs()),
    });
    let text = jws::sign(signer, "at+jwt", claims.as_object().ok_or("claims")?)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {text}").parse()?);
    match Presented::parse(&headers, None)? {
        Presented::Bearer(token) => Ok((Arc::new(token), expires)),
        Presented::Absent | Presented::Dpop { .. } => Err("no token".into()),
    }
}

/// Validates whatever tokens there are, old and new in turn.
async fn validate(scene: &Scene, keys: &Arc<IssuerKeys>, number: usize) -> Result<(), Failure> {
    let trust = IssuerTrust {
        issuer: Issuer::parse(ISSUER)?,
        algorithms: [SignatureAlgorithm::Es256].into(),
        max_token_lifetime: Lifetime::from_hours(1),
        skew: Lifetime::from_secs(30),
        tokens: TokenProfile::of(Profile::Rfc9068),
    };
    let resource = ResourceUri::parse(RESOURCE)?;
    let mut index = number;
    while !scene.over.load(Ordering::SeqCst) {
        index = index.wrapping_add(7);
        let picked = {
            let tokens = scene.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            tokens
                .get(index % tokens.len().max(1))
                .map(|(token, _)| Arc::clone(token))
        };
        let Some(token) = picked else {
            tokio::task::yield_now().await;
            continue;
        };
        let candidate = Candidate::parse(&token)?;
        let now = scene.clock.now();
        // Before asking for the key by name, which would fetch again: is it known already, as it has to be?
        let known = |kid: &KeyId| keys.cached().is_none_or(|set| set.names(kid));
        let was_known = candidate.kid().is_some_and(known);
        let set = keys.for_kid(candidate.kid()).await?;
        let holds = verify(&candidate, &trust, &set, &resource, now).is_ok();
        if !holds || !was_known {
            scene.failed.fetch_add(1, Ordering::SeqCst);
        }
        let validated = scene.validated.fetch_add(1, Ordering::SeqCst);
        // With a fresh set nothing here ever waits, and the clock and the server of the set need a turn too.
        if validated.is_multiple_of(VALIDATIONS_PER_TURN) {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
