//! Whose tokens count.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_core::identity::{IssuerTrust, Profile, TokenProfile};
use portcullis_core::ids::Issuer;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::time::Lifetime;
use portcullis_net::clock::Clock;
use portcullis_net::discovery::{IssuerKeys, KeysFrom};
use portcullis_net::fetch::{Fetcher, Reach};

use crate::trust::TrustedIssuer;

/// Algorithms accepted unless said otherwise: those with which today's authorization servers sign access tokens. Which one a token has
/// to have is the key's to say.
const ALGORITHMS: [SignatureAlgorithm; 4] = [
    SignatureAlgorithm::Rs256,
    SignatureAlgorithm::Ps256,
    SignatureAlgorithm::Es256,
    SignatureAlgorithm::EdDsa,
];

/// An authorization server whose access tokens (RFC 9068) are taken, and which is named in the resource's metadata.
///
/// Its keys are where its own metadata says (RFC 8414), unless [`Self::keys_at`] or [`Self::keys_in`] says otherwise. Tokens that live for
/// more than an hour are refused.
#[derive(Clone, Debug)]
pub struct AuthorizationServer {
    issuer: String,
    keys: Keys,
    algorithms: BTreeSet<SignatureAlgorithm>,
    max_token_lifetime: Lifetime,
    skew: Lifetime,
    profile: Profile,
}

#[derive(Clone, Debug)]
enum Keys {
    Metadata,
    Url(String),
    File(PathBuf),
}

impl AuthorizationServer {
    /// By its issuer identifier, byte for byte as its tokens have it.
    #[must_use]
    pub fn at(issuer: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            keys: Keys::Metadata,
            algorithms: ALGORITHMS.into(),
            max_token_lifetime: Lifetime::from_hours(1),
            skew: Lifetime::from_secs(30),
            profile: Profile::Rfc9068,
        }
    }

    /// Its JWK Set is at this URL.
    #[must_use]
    pub fn keys_at(self, url: &str) -> Self {
        Self {
            keys: Keys::Url(url.to_owned()),
            ..self
        }
    }

    /// Its JWK Set is in this file, which is read again every minute.
    #[must_use]
    pub fn keys_in(self, file: impl Into<PathBuf>) -> Self {
        Self {
            keys: Keys::File(file.into()),
            ..self
        }
    }

    /// Its tokens look like this, and not like those of RFC 9068.
    #[must_use]
    pub fn profile(self, profile: Profile) -> Self {
        Self { profile, ..self }
    }

    /// Takes these algorithms, and no others.
    #[must_use]
    pub fn algorithms(self, algorithms: impl IntoIterator<Item = SignatureAlgorithm>) -> Self {
        Self {
            algorithms: algorithms.into_iter().collect(),
            ..self
        }
    }

    /// Refuses tokens that live longer (`exp` - `iat`).
    #[must_use]
    pub fn max_token_lifetime(self, max_token_lifetime: Lifetime) -> Self {
        Self {
            max_token_lifetime,
            ..self
        }
    }

    /// Accepts this much difference between its clock and ours: 30 seconds, unless it is said.
    #[must_use]
    pub fn clock_skew(self, skew: Lifetime) -> Self {
        Self { skew, ..self }
    }

    /// With what is wrong, in words.
    pub(super) fn trusted(&self, clock: &Arc<dyn Clock>) -> Result<TrustedIssuer, String> {
        let of = |what: &dyn std::fmt::Display| format!("issuer `{}`: {what}", self.issuer);
        let issuer = Issuer::parse(&self.issuer).map_err(|error| of(&error))?;
        if self.algorithms.is_empty() {
            return Err(of(&"no algorithm is accepted, so no token could be"));
        }
        let from = match &self.keys {
            Keys::Metadata => KeysFrom::Metadata,
            Keys::Url(url) => KeysFrom::Url(
                url.parse()
                    .map_err(|error| of(&format!("`{url}` is not a URL: {error}")))?,
            ),
            Keys::File(file) => KeysFrom::File(file.clone()),
        };
        let fetcher = Fetcher::new(Reach::Configured).map_err(|error| of(&error))?;
        let trust = IssuerTrust {
            issuer: issuer.clone(),
            algorithms: self.algorithms.clone(),
            max_token_lifetime: self.max_token_lifetime,
            skew: self.skew,
            tokens: TokenProfile::of(self.profile),
        };
        let keys = IssuerKeys::new(issuer, from, fetcher, Arc::clone(clock));
        Ok(TrustedIssuer::new(trust, Arc::new(keys)))
    }
}
