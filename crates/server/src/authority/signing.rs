//! Signatures on access tokens: off the I/O threads where the key is not in memory, and asked for before anything is
//! spent for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_core::ids::{ClientId, GrantId, ResourceUri, ScopeSet};
use portcullis_core::jose::jwk::ClientKeys;
use portcullis_core::oauth::server::access_token::{AccessToken, Claims};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::offload;

use super::Authority;
use super::refusal::Failure;

/// What is signed to see whether the key signs. No token: a signing input has a dot (RFC 7515 §5.1).
const TRIAL: &[u8] = b"does the key of this authority sign now?";
/// So long after a signature nobody asks whether the key signs.
const FRESH: Duration = Duration::from_secs(1);

/// When the key last signed.
#[derive(Debug, Default)]
pub(super) struct LastSigned(Mutex<Option<Instant>>);

impl LastSigned {
    fn note(&self, signed: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = signed.then(Instant::now);
    }

    fn is_fresh(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|at| at.elapsed() < FRESH)
    }
}

/// What a token says, of whom and for whom.
pub(super) struct Asked<'a> {
    pub(super) subject: &'a str,
    pub(super) client: &'a ClientId,
    pub(super) grant: Option<&'a GrantId>,
    pub(super) keys: Option<ClientKeys>,
    pub(super) resource: &'a ResourceUri,
    pub(super) scopes: &'a ScopeSet,
    pub(super) lifetime: Lifetime,
}

impl Authority {
    /// Makes sure that the key signs now, and that what is revoked is known, before a code or a refresh token is spent: a client that came back with a
    /// spent one after the outage would be taken for a thief and lose its grant.
    pub(super) async fn can_sign(&self) -> Result<(), Failure> {
        let known = self.deps.revocations.ready();
        known.map_err(|error| Failure::Unavailable(error.to_string()))?;
        let signer = self.deps.keyring.signer();
        if signer.is_quick() || self.signed.is_fresh() {
            return Ok(());
        }
        let tried = offload::run(move || signer.sign(TRIAL)).await?;
        self.signed.note(tried.is_ok());
        tried.map(drop).map_err(|error| Failure::Keys(error.to_string()))
    }

    /// Signs a token.
    pub(super) async fn sign(&self, asked: Asked<'_>, now: UnixTime) -> Result<AccessToken, Failure> {
        let signer = self.deps.keyring.signer();
        let random = Arc::clone(&self.deps.random);
        if signer.is_quick() {
            let claims = asked.claims(&self.settings.issuer);
            return Ok(claims.issue(&*signer, &*random, now)?);
        }
        let issuer = self.settings.issuer.clone();
        let (subject, client) = (asked.subject.to_owned(), asked.client.clone());
        let (resource, scopes) = (asked.resource.clone(), asked.scopes.clone());
        let (keys, lifetime) = (asked.keys, asked.lifetime);
        let grant = asked.grant.cloned();
        let issued = offload::run(move || {
            let asked = Asked {
                subject: &subject,
                client: &client,
                grant: grant.as_ref(),
                keys,
                resource: &resource,
                scopes: &scopes,
                lifetime,
            };
            asked.claims(&issuer).issue(&*signer, &*random, now)
        })
        .await?;
        self.signed.note(issued.is_ok());
        Ok(issued?)
    }
}

impl<'a> Asked<'a> {
    fn claims(self, issuer: &'a portcullis_core::ids::Issuer) -> Claims<'a> {
        Claims {
            issuer,
            subject: self.subject,
            client: self.client,
            grant: self.grant,
            resource: self.resource,
            scopes: self.scopes,
            lifetime: self.lifetime,
            client_keys: self.keys,
        }
    }
}
