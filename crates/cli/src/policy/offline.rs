//! A guard without a gateway: the same pipeline over a configuration, with keys from files and a clock that stands still.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use portcullis_core::audit::{Decision, DigestKey, Event};
use portcullis_core::time::UnixTime;
use portcullis_guard::recorder::{Durability, Recorder, Recording};
use portcullis_guard::{
    FirstUse, Guard, NonceKey, PublicHost, Rates, ReplayId, ReplayLog, ReplayUnavailable, Senders,
    TrustedIssuer, Use,
};
use portcullis_net::clock::Clock;
use portcullis_net::discovery::{IssuerKeys, KeysFrom};
use portcullis_net::fetch::{Fetcher, Reach};
use portcullis_net::random;
use portcullis_server::config::{Config, GatewayConfig, IssuerConfig, MtlsRequired};

use crate::failure::Failure;
use crate::join::{self, cannot};
use crate::{issuers, senders};

/// The guard, and what it would have put on record.
pub(super) struct Offline {
    pub(super) guard: Guard,
    kept: Arc<Kept>,
}

impl Offline {
    /// `jwks` has the keys of whichever issuer the token names, in place of those of the configuration.
    pub(super) fn new(
        config: &Config,
        gateway: &GatewayConfig,
        now: UnixTime,
        jwks: Option<&Path>,
    ) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(At(now));
        let kept = Arc::new(Kept(Mutex::new(None)));
        let issuers = config.issuers.iter().map(|issuer| trusted(issuer, jwks, &clock));
        let settings = portcullis_guard::Settings {
            public_host: PublicHost::of(&gateway.public_url, gateway.origins.clone())
                .map_err(cannot("use the public URL"))?,
            issuers: issuers.collect::<Result<_, _>>()?,
            policy: Arc::new(ArcSwap::from_pointee(join::policy(config)?)),
            recorder: Arc::<Kept>::clone(&kept),
            clock,
            digest_key: DigestKey::new([0; 32]),
            senders: Senders {
                usual: senders::rules(config.dpop.rule, MtlsRequired::default()),
                servers: config
                    .servers
                    .iter()
                    .map(|server| (server.name.clone(), senders::rules(server.dpop, server.mtls)))
                    .collect(),
                window: config.dpop.window,
                nonce_key: NonceKey::random(&random::System).map_err(cannot("make a key"))?,
                replays: Arc::new(NothingUsed),
            },
            rates: Rates::default(),
        };
        let clients = senders::clients(config).map_err(cannot("read whose client certificates count"))?;
        let guard = Guard::new(settings, &random::System)
            .map_err(cannot("start the guard"))?
            .with_workloads(senders::workloads(config, clients.as_ref()));
        Ok(Self { guard, kept })
    }

    /// The decision that was made last.
    pub(super) fn decision(&self) -> Option<Decision> {
        let mut kept = self.kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take()
    }
}

/// The issuer of the configuration. Nobody is asked for anything: keys that are in no file are not there.
fn trusted(
    issuer: &IssuerConfig,
    jwks: Option<&Path>,
    clock: &Arc<dyn Clock>,
) -> Result<TrustedIssuer, Failure> {
    let file = jwks.map(Path::to_owned).or_else(|| issuer.jwks_file.clone());
    let fetcher = Fetcher::new(Reach::PublicOnly).map_err(cannot("start the HTTP client"))?;
    let keys = IssuerKeys::new(
        issuer.issuer.clone(),
        KeysFrom::File(file.unwrap_or_default()),
        fetcher,
        Arc::clone(clock),
    );
    Ok(TrustedIssuer {
        serves: issuer.serves.clone(),
        calls: issuer.calls,
        ..TrustedIssuer::new(issuers::trust(issuer), Arc::new(keys))
    })
}

/// The one moment that is asked about.
struct At(UnixTime);

impl Clock for At {
    fn now(&self) -> UnixTime {
        self.0
    }
}

/// The last decision.
struct Kept(Mutex<Option<Decision>>);

impl Recorder for Kept {
    fn record<'a>(&'a self, event: Event, _: Durability) -> Recording<'a> {
        if let Event::Decision(decision) = event {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(*decision);
        }
        Box::pin(async { Ok(1) })
    }
}

/// Whether a proof was used before is for the gateway to know.
struct NothingUsed;

impl ReplayLog for NothingUsed {
    fn first_use(&self, _: ReplayId, _: UnixTime, _: UnixTime) -> FirstUse<'_> {
        FirstUse::known(Ok(Use::First))
    }

    fn since(&self) -> UnixTime {
        UnixTime::from_secs(0)
    }

    fn ready(&self) -> Result<(), ReplayUnavailable> {
        Ok(())
    }
}
