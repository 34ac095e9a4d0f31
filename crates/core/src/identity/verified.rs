//! The proof that a credential was checked.

use std::sync::Arc;

use super::{AccessTokenHash, Failed, Names, ProofHeld};
use crate::ids::{ClientId, GrantId, Issuer, Principal, ResourceUri, ScopeSet, Subject, TokenId};
use crate::jose::base64url;
use crate::jose::jwk::{ClientKeys, Thumbprint};
use crate::time::UnixTime;

/// How the sender of the token was shown to be whom it was issued to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Not at all: the token is not bound, and whoever holds it may use it.
    Bearer,
    /// By a proof of the key with this thumbprint (RFC 9449).
    Dpop(Thumbprint),
}

/// The SHA-256 thumbprint of a certificate (RFC 8705 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CertificateThumbprint([u8; 32]);

impl CertificateThumbprint {
    /// From its base64url text, as `x5t#S256` has it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        (base64url::decode_into(text, &mut bytes).ok()?.len() == 32).then_some(Self(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What `cnf` asks of the sender; nothing for a bearer token.
#[derive(Debug, Default)]
pub(super) struct Bound {
    /// A proof of this key, for the token with this hash.
    pub(super) jkt: Option<(Thumbprint, AccessTokenHash)>,
    /// This certificate.
    pub(super) x5t: Option<CertificateThumbprint>,
}

/// What an issuer vouches for: signature, issuer, audience, time and required claims of an access token all held at one
/// instant; or, of an opaque token, issuer, audience, time and required claims of its issuer's answer. Not an identity:
/// whether the sender is whom the token was issued to is for [`Self::confirm`] to say. Made by [`super::verify`] and
/// [`super::introspected()`] and nowhere else.
#[derive(Debug)]
pub struct Vouched {
    pub(super) principal: Principal,
    pub(super) scopes: ScopeSet,
    pub(super) audience: ResourceUri,
    pub(super) token_id: TokenId,
    pub(super) issued: UnixTime,
    pub(super) expires: UnixTime,
    pub(super) client_keys: Option<ClientKeys>,
    pub(super) groups: Names,
    pub(super) roles: Names,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) grant: Option<GrantId>,
    pub(super) bound: Bound,
}

impl Vouched {
    /// The issuer that vouches.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.principal.issuer
    }

    /// `jti`.
    #[must_use]
    pub fn token_id(&self) -> &TokenId {
        &self.token_id
    }

    /// When its issuer says that it was made.
    #[must_use]
    pub fn issued(&self) -> UnixTime {
        self.issued
    }

    /// `exp`, as [`VerifiedIdentity::expires`].
    #[must_use]
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// In whose name, as far as the token alone says: who sent it may be another.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The grant that the token is of, where its issuer says.
    #[must_use]
    pub fn grant(&self) -> Option<&GrantId> {
        self.grant.as_ref()
    }

    /// The hash of the token, for which a proof has to be (RFC 9449 §4.2, `ath`), where the token is bound to a key.
    #[must_use]
    pub fn proven_by(&self) -> Option<&AccessTokenHash> {
        self.bound.jkt.as_ref().map(|(_, token)| token)
    }

    /// The identity of the sender. Everything that the token is bound to has to hold, and a proof that it is not bound to
    /// is refused too: its sender takes the token for something else than it is (RFC 9449 §7.1).
    ///
    /// # Errors
    /// [`Failed::SenderConstrained`], [`Failed::OtherKey`], [`Failed::NotBound`], [`Failed::CertificateMissing`].
    pub fn confirm(self: &Arc<Self>, proof: Option<&ProofHeld>) -> Result<VerifiedIdentity, Failed> {
        // RFC 8705 §3: no connection here has a certificate.
        if self.bound.x5t.is_some() {
            return Err(Failed::CertificateMissing);
        }
        let confirmation = match (&self.bound.jkt, proof) {
            (None, None) => Confirmation::Bearer,
            (Some((jkt, token)), Some(proof)) => {
                if proof.key() != jkt || proof.token() != Some(token) {
                    return Err(Failed::OtherKey);
                }
                Confirmation::Dpop(*jkt)
            }
            (Some(_), None) => return Err(Failed::SenderConstrained),
            (None, Some(_)) => return Err(Failed::NotBound),
        };
        Ok(VerifiedIdentity {
            token: Arc::clone(self),
            confirmation,
        })
    }
}

/// Who calls: an access token held, and its sender is whom it was issued to, as far as the token says.
/// Made by [`Vouched::confirm`] and nowhere else.
#[derive(Debug)]
pub struct VerifiedIdentity {
    token: Arc<Vouched>,
    confirmation: Confirmation,
}

impl VerifiedIdentity {
    /// In whose name: what sessions, streams and sealed fields belong to.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.token.principal
    }

    /// The issuer that vouches.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.principal().issuer
    }

    /// The user, or the client itself when [`Self::is_client_itself`].
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.principal().subject
    }

    /// The client (agent) that acts.
    #[must_use]
    pub fn client(&self) -> &ClientId {
        &self.principal().client
    }

    /// Scopes granted, as issued.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.token.scopes
    }

    /// What was verified of the token.
    #[must_use]
    pub fn vouched(&self) -> &Vouched {
        &self.token
    }

    /// The resource the token was accepted for.
    #[must_use]
    pub fn audience(&self) -> &ResourceUri {
        &self.token.audience
    }

    /// `jti`.
    #[must_use]
    pub fn token_id(&self) -> &TokenId {
        &self.token.token_id
    }

    /// `iat`.
    #[must_use]
    pub fn issued(&self) -> UnixTime {
        self.token.issued
    }

    /// `exp`, without the accepted difference of clocks: a kept value is not used at or after it, the token is
    /// verified again instead.
    #[must_use]
    pub fn expires(&self) -> UnixTime {
        self.token.expires
    }

    /// Sender constraint.
    #[must_use]
    pub fn confirmation(&self) -> Confirmation {
        self.confirmation
    }

    /// The client's own keys, where its issuer vouches for them (claim `client_keys`).
    #[must_use]
    pub fn client_keys(&self) -> Option<&ClientKeys> {
        self.token.client_keys.as_ref()
    }

    /// Groups of the subject, where configuration says in which claim its issuer has them. A name means something within its
    /// issuer only.
    #[must_use]
    pub fn groups(&self) -> &Names {
        &self.token.groups
    }

    /// Roles of the subject, as [`Self::groups`].
    #[must_use]
    pub fn roles(&self) -> &Names {
        &self.token.roles
    }

    /// The tenant of the subject, as [`Self::groups`].
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.token.tenant.as_deref()
    }

    /// RFC 9068 §2.2: `sub` equals `client_id` when no resource owner is involved.
    #[must_use]
    pub fn is_client_itself(&self) -> bool {
        self.subject().as_str() == self.client().as_str()
    }
}
