//! Access tokens as JWTs (RFC 9068).

use serde_json::json;

use crate::ids::{ClientId, GrantId, Issuer, ResourceUri, ScopeSet, TokenId};
use crate::jose::jwk::ClientKeys;
use crate::jose::jws::{self, SigningUnavailable, TokenSigner};
use crate::random::{self, RandomUnavailable, SecureRandom};
use crate::secret::Secret;
use crate::time::{Lifetime, UnixTime};

/// RFC 9068 §2.1.
pub const TYPE: &str = "at+jwt";

/// What a token is to say.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'c> {
    /// `iss`
    pub issuer: &'c Issuer,
    /// `sub`: the user, or the client itself where there is none (RFC 9068 §2.2).
    pub subject: &'c str,
    /// `client_id`
    pub client: &'c ClientId,
    /// `aud`: exactly one resource, as a string.
    pub resource: &'c ResourceUri,
    /// `scope`
    pub scopes: &'c ScopeSet,
    /// From `iat` to `exp`.
    pub lifetime: Lifetime,
    /// `grant_id`, as Grant Management for OAuth 2.0 (§3.1) names it: all tokens of one consent or login have the same, and can be
    /// revoked by it. A token that a client got for itself has none.
    pub grant: Option<&'c GrantId>,
    /// `client_keys`: those the client published, for sealed fields.
    pub client_keys: Option<ClientKeys>,
}

/// No token could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotIssued {
    /// No randomness for its identifier.
    #[error(transparent)]
    Random(#[from] RandomUnavailable),
    /// No signature.
    #[error(transparent)]
    Signing(#[from] SigningUnavailable),
    /// Its identifier is none: a bug.
    #[error("the token identifier is malformed")]
    Identifier,
}

/// A signed token.
#[derive(Debug)]
pub struct AccessToken {
    /// The token.
    pub text: Secret,
    /// Its `jti`, under which it is recorded.
    pub id: TokenId,
}

impl Claims<'_> {
    /// Signs a token of these claims.
    ///
    /// # Errors
    /// [`NotIssued`].
    pub fn issue(
        &self,
        signer: &dyn TokenSigner,
        random: &dyn SecureRandom,
        now: UnixTime,
    ) -> Result<AccessToken, NotIssued> {
        let id = TokenId::parse(&random::token::<16>(random)?).map_err(|_| NotIssued::Identifier)?;
        let claims = [
            ("iss", json!(self.issuer)),
            ("sub", json!(self.subject)),
            ("aud", json!(self.resource)),
            ("client_id", json!(self.client)),
            ("scope", json!(self.scopes)),
            ("iat", json!(now.as_secs())),
            ("exp", json!(now.plus(self.lifetime).as_secs())),
            ("jti", json!(id)),
        ];
        let keys = self.client_keys.map(|keys| ("client_keys", keys.claim()));
        let grant = self.grant.map(|grant| ("grant_id", json!(grant)));
        let claims = claims
            .into_iter()
            .chain(grant)
            .chain(keys)
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let text = Secret::new(jws::sign(signer, TYPE, &claims)?);
        Ok(AccessToken { text, id })
    }
}
