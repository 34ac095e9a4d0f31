//! The transmitters of a configuration, for the gateway.

use std::sync::Arc;

use axum::Router;
use portcullis_core::secret::Secret;
use portcullis_core::signals::Transmitter;
use portcullis_core::time::Lifetime;
use portcullis_net::discovery::{IssuerKeys, KeysFrom};
use portcullis_net::fetch::{Fetcher, Reach};
use portcullis_server::config::{Config, IssuerConfig, SecretFrom, SignalsConfig};
use portcullis_server::revocation::Follower;
use portcullis_server::signals::{Receiver, Source, routes};

use crate::failure::Failure;
use crate::files::read_private_key;
use crate::join::{World, cannot};

/// The addresses that transmitters deliver to.
pub(crate) fn router(config: &Config, world: &World, follower: &Arc<Follower>) -> Result<Router, Failure> {
    let sources = config
        .signals
        .iter()
        .map(|signals| source(config, signals, world));
    let receiver = Receiver {
        follower: Arc::clone(follower),
        recorder: world.audit.clone(),
        clock: Arc::clone(&world.clock),
    };
    Ok(routes(receiver, sources.collect::<Result<_, _>>()?))
}

fn source(config: &Config, signals: &SignalsConfig, world: &World) -> Result<Source, Failure> {
    let from = match (&signals.jwks_uri, &signals.jwks_file) {
        (_, Some(file)) => KeysFrom::File(file.clone()),
        (Some(uri), None) => KeysFrom::Url(
            uri.parse()
                .map_err(|error| Failure::usage(format!("`{uri}` is not a URL: {error}")))?,
        ),
        (None, None) => return Err(Failure::usage("nothing says where the transmitter's keys are")),
    };
    let fetcher = Fetcher::new(Reach::Configured).map_err(cannot("start the HTTP client"))?;
    let keys = IssuerKeys::new(signals.issuer.clone(), from, fetcher, Arc::clone(&world.clock));
    // A transmitter may try again for long; what is older than a day and than any token concerns none that is accepted.
    let oldest = config
        .issuers
        .iter()
        .filter(|issuer| signals.issuers.contains(&issuer.issuer))
        .map(longest)
        .fold(Lifetime::from_days(1), Ord::max);
    let skew = signals.clock_skew.as_secs().saturating_mul(2);
    Ok(Source {
        name: signals.name.to_string(),
        transmitter: Transmitter {
            issuer: signals.issuer.clone(),
            audience: signals.audience.as_str().into(),
            algorithms: signals.algorithms.clone(),
            speaks_for: signals.issuers.clone(),
            sessions: signals.sessions,
            skew: signals.clock_skew,
            oldest,
        },
        keys: Arc::new(keys),
        bearer: bearer(signals)?,
        kept: Lifetime::from_secs(oldest.as_secs().saturating_add(skew)),
    })
}

/// The longest that a token of an issuer can be accepted.
fn longest(issuer: &IssuerConfig) -> Lifetime {
    let skew = issuer.clock_skew.as_secs().saturating_mul(2);
    Lifetime::from_secs(issuer.max_token_lifetime.as_secs().saturating_add(skew))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command line may read the environment"
)]
fn bearer(signals: &SignalsConfig) -> Result<Secret, Failure> {
    let text = match &signals.bearer {
        SecretFrom::Held(secret) => return Ok(secret.clone()),
        SecretFrom::File(file) => {
            let bytes = read_private_key(file)?;
            String::from_utf8(bytes.to_vec())
                .map_err(|_| Failure::usage(format!("{} is no text", file.display())))?
        }
        SecretFrom::Env(variable) => std::env::var(variable).map_err(|_| {
            Failure::usage(format!(
                "the environment variable {variable} with the credential of `{}` is not set",
                signals.name
            ))
        })?,
    };
    let text = text.trim();
    // A credential that can be guessed is none (RFC 6750 §5.3).
    if text.len() < 16 {
        return Err(Failure::usage(format!(
            "the credential of the transmitter `{}` has fewer than 16 characters",
            signals.name
        )));
    }
    Ok(Secret::new(text))
}
