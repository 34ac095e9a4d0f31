//! The proof that a credential was checked.

use std::sync::Arc;

use super::{AccessTokenHash, CertificateThumbprint, ClientCertificate, Failed, Names, ProofHeld};
use crate::ids::{ClientId, GrantId, Issuer, Principal, ResourceUri, ScopeSet, SpiffeId, Subject, TokenId};
use crate::jose::jwk::{ClientKeys, Thumbprint};
use crate::time::UnixTime;

/// How the sender of the token was shown to be whom it was issued to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Not at all: the token is not bound, and whoever holds it may use it.
    Bearer,
    /// By a proof of the key with this thumbprint (RFC 9449).
    Dpop(Thumbprint),
    /// By the certificate of the connection, with this thumbprint (RFC 8705 §3).
    Certificate(CertificateThumbprint),
    /// By both.
    DpopAndCertificate(Thumbprint, CertificateThumbprint),
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
/// instant; or, of an opaque token, issuer, audience, time and required claims of its issuer's answer; or a trust domain
/// vouches for a workload. Not an identity: whether the sender is whom the token was issued to is for [`Self::confirm`] to
/// say. Made by [`super::verify`], [`super::introspected()`], [`super::x509_svid`] and [`super::WorkloadToken::verify`], and
/// nowhere else.
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
    pub(super) workload: Option<SpiffeId>,
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

    /// Whether the token is bound to a certificate, so that it is worth nothing on a connection without it.
    #[must_use]
    pub fn needs_certificate(&self) -> bool {
        self.bound.x5t.is_some()
    }

    /// The identity of the sender, who gave this proof and has this certificate. Everything that the token is bound to has
    /// to hold, and a proof that it is not bound to is refused too: its sender takes the token for something else than it is
    /// (RFC 9449 §7.1). A certificate beside a token that is not bound to it says nothing, but for this: the token of one
    /// workload does not come from another.
    ///
    /// # Errors
    /// [`Failed::SenderConstrained`], [`Failed::OtherKey`], [`Failed::NotBound`], [`Failed::CertificateMissing`],
    /// [`Failed::OtherCertificate`], [`Failed::OtherWorkload`].
    pub fn confirm(
        self: &Arc<Self>,
        proof: Option<&ProofHeld>,
        certificate: Option<&ClientCertificate>,
    ) -> Result<VerifiedIdentity, Failed> {
        let shown = certificate.and_then(ClientCertificate::workload);
        if let (Some(ours), Some(shown)) = (&self.workload, shown)
            && ours != shown
        {
            return Err(Failed::OtherWorkload);
        }
        // RFC 8705 §3.
        let certificate = match (&self.bound.x5t, certificate.map(ClientCertificate::thumbprint)) {
            (None, _) => None,
            (Some(_), None) => return Err(Failed::CertificateMissing),
            (Some(bound), Some(shown)) if bound == shown => Some(*bound),
            (Some(_), Some(_)) => return Err(Failed::OtherCertificate),
        };
        let key = match (&self.bound.jkt, proof) {
            (None, None) => None,
            (Some((jkt, token)), Some(proof)) => {
                if proof.key() != jkt || proof.token() != Some(token) {
                    return Err(Failed::OtherKey);
                }
                Some(*jkt)
            }
            (Some(_), None) => return Err(Failed::SenderConstrained),
            (None, Some(_)) => return Err(Failed::NotBound),
        };
        Ok(VerifiedIdentity {
            token: Arc::clone(self),
            confirmation: match (key, certificate) {
                (None, None) => Confirmation::Bearer,
                (Some(key), None) => Confirmation::Dpop(key),
                (None, Some(certificate)) => Confirmation::Certificate(certificate),
                (Some(key), Some(certificate)) => Confirmation::DpopAndCertificate(key, certificate),
            },
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

    /// The workload that calls, where a trust domain vouches for one.
    #[must_use]
    pub fn workload(&self) -> Option<&SpiffeId> {
        self.token.workload.as_ref()
    }

    /// RFC 9068 §2.2: `sub` equals `client_id` when no resource owner is involved.
    #[must_use]
    pub fn is_client_itself(&self) -> bool {
        self.subject().as_str() == self.client().as_str()
    }
}
