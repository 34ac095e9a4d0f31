//! The issuers of a configuration, for the guard.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::identity::IssuerTrust;
use portcullis_core::secret::Secret;
use portcullis_guard::{Opaque, TrustedIssuer};
use portcullis_net::discovery::{IssuerKeys, KeysFrom};
use portcullis_net::fetch::{Fetcher, Reach};
use portcullis_net::introspection::Introspection;
use portcullis_server::config::{Config, IntrospectionConfig, IssuerConfig};
use url::{Url, form_urlencoded};

use crate::failure::Failure;
use crate::files::read_private_key;
use crate::join::{World, cannot};

/// The issuers of a configuration, as it has them and as the guard has them.
pub(crate) struct Issuers(Vec<(IssuerConfig, TrustedIssuer)>);

impl Issuers {
    /// Those of `config`. One whose keys come from where they came `before` keeps the keys that it has: it may be away now.
    pub(crate) fn of(config: &Config, before: Option<&Self>, world: &World) -> Result<Self, Failure> {
        let all = config.issuers.iter().map(|issuer| {
            let held = before.and_then(|before| before.keys_of(issuer));
            Ok((issuer.clone(), trusted(issuer, held, world)?))
        });
        Ok(Self(all.collect::<Result<_, Failure>>()?))
    }

    pub(crate) fn trusted(&self) -> Vec<TrustedIssuer> {
        self.0.iter().map(|(_, issuer)| issuer.clone()).collect()
    }

    /// Certificates are read when connections are made ready, so that keys which need them are made anew.
    fn keys_of(&self, issuer: &IssuerConfig) -> Option<Arc<IssuerKeys>> {
        let from = |issuer: &IssuerConfig| {
            (
                issuer.issuer.clone(),
                issuer.jwks_uri.clone(),
                issuer.jwks_file.clone(),
                issuer.ca_file.clone(),
            )
        };
        let (_, held) = self.0.iter().find(|(held, _)| from(held) == from(issuer))?;
        issuer.ca_file.is_none().then(|| Arc::clone(&held.keys))
    }
}

/// One issuer, with keys of its own.
fn trusted(
    issuer: &IssuerConfig,
    held: Option<Arc<IssuerKeys>>,
    world: &World,
) -> Result<TrustedIssuer, Failure> {
    let from = match (&issuer.jwks_uri, &issuer.jwks_file) {
        (_, Some(file)) => KeysFrom::File(file.clone()),
        (Some(uri), None) => KeysFrom::Url(parsed(uri)?),
        (None, None) => KeysFrom::Metadata,
    };
    let fetcher = match &issuer.ca_file {
        Some(file) => Fetcher::trusting(Reach::Configured, file),
        None => Fetcher::new(Reach::Configured),
    };
    let fetcher = fetcher.map_err(cannot("start the HTTP client"))?;
    let opaque = match &issuer.introspection {
        Some(introspection) => Some(opaque(issuer, introspection, &fetcher, world)?),
        None => None,
    };
    let keys = held.unwrap_or_else(|| {
        let clock = Arc::clone(&world.clock);
        Arc::new(IssuerKeys::new(issuer.issuer.clone(), from, fetcher, clock))
    });
    Ok(TrustedIssuer {
        serves: issuer.serves.clone(),
        opaque,
        calls: issuer.calls,
        ..TrustedIssuer::new(trust(issuer), keys)
    })
}

/// What is held true about it.
pub(crate) fn trust(issuer: &IssuerConfig) -> IssuerTrust {
    IssuerTrust {
        issuer: issuer.issuer.clone(),
        algorithms: issuer.algorithms.clone(),
        max_token_lifetime: issuer.max_token_lifetime,
        skew: issuer.clock_skew,
        tokens: issuer.tokens.clone(),
    }
}

fn opaque(
    issuer: &IssuerConfig,
    introspection: &IntrospectionConfig,
    fetcher: &Fetcher,
    world: &World,
) -> Result<Opaque, Failure> {
    let secret = own_secret(&introspection.client_secret_file)?;
    let ask = Introspection::new(
        issuer.issuer.clone(),
        parsed(&introspection.url)?,
        &basic(introspection.client_id.as_str(), &secret),
        fetcher.clone(),
        Arc::clone(&world.clock),
    );
    Ok(Opaque {
        ask: Arc::new(ask.map_err(cannot("use the credential for introspection"))?),
        answers: introspection.answers.clone(),
        kept: introspection.cache,
    })
}

/// Our secret at the issuer: whoever has it can ask about tokens as we do. One line end after it is not part of it.
fn own_secret(file: &Path) -> Result<Secret, Failure> {
    let bytes = read_private_key(file)?;
    let text = std::str::from_utf8(&bytes).map(|text| text.trim_end_matches(['\r', '\n']));
    match text {
        Ok(text) if !text.is_empty() => Ok(Secret::new(text)),
        Ok(_) | Err(_) => Err(Failure::usage(format!("{} has no secret in it", file.display()))),
    }
}

/// `client_secret_basic` (RFC 6749 §2.3.1): both are form-urlencoded before they are joined.
fn basic(client_id: &str, secret: &Secret) -> Secret {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let joined = Secret::new(format!("{}:{}", encoded(client_id), encoded(secret.reveal())));
    Secret::new(format!("Basic {}", STANDARD.encode(joined.reveal())))
}

fn parsed(url: &str) -> Result<Url, Failure> {
    url.parse()
        .map_err(|error| Failure::usage(format!("`{url}` is not a URL: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = std::env::temp_dir().join(format!("portcullis-issuer-secret-{}", std::process::id()));
        let readable_by = |mode: u32, text: &str| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            own_secret(&file).map(|secret| secret.reveal().to_owned())
        };
        assert_eq!(readable_by(0o600, "s3cr3t\n").ok().as_deref(), Some("s3cr3t"));
        assert!(readable_by(0o640, "s3cr3t\n").is_err());
        assert!(readable_by(0o600, "\n").is_err());
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn the_credential_is_encoded_twice() {
        // RFC 6749 §2.3.1 and RFC 7617 §2.
        let basic = basic("gate:way", &Secret::new("s3 cr%t"));
        assert_eq!(basic.reveal(), "Basic Z2F0ZSUzQXdheTpzMytjciUyNXQ=");
    }
}
