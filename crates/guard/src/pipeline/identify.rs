//! From the head of a request to whom it proves.

use std::sync::Arc;

use http::request::Parts;
use portcullis_core::identity::{ClientCertificate, Failed, VerifiedIdentity, dpop};
use portcullis_core::ids::TokenId;
use portcullis_core::time::UnixTime;
use portcullis_core::wire::{AccessToken, Presented, Proof};

use super::{Guard, Terms};
use crate::arrival::{Arrival, ShownCertificate};
use crate::cache::{Key, Remembered};
use crate::dpop::Senders;
use crate::endpoint::Endpoint;
use crate::reason::{CertificateRefused, Reason};

/// Why nobody was identified, and the token that was shown, where its issuer vouches for it.
pub(super) struct Unidentified {
    pub(super) reason: Reason,
    pub(super) token: Option<TokenId>,
}

/// A token of which nothing is known yet.
struct Shown {
    token: AccessToken,
    proof: Option<Proof>,
    /// The token at the resource that is called.
    key: Key,
}

impl From<Reason> for Unidentified {
    fn from(reason: Reason) -> Self {
        Self { reason, token: None }
    }
}

impl Guard {
    pub(super) async fn identify(
        &self,
        endpoint: &Endpoint,
        arrival: &Arrival,
        head: &Parts,
    ) -> Result<Arc<VerifiedIdentity>, Unidentified> {
        let now = self.clock.now();
        let terms = self.terms.load_full();
        let certificate = certificate(arrival, now);
        let shown = self.shown(endpoint, head, certificate.as_ref().err());
        // Before any signature is checked: what does not hold in the end stays counted.
        let token = shown.as_ref().ok().map(|shown| &shown.key);
        let attempt = terms
            .limits
            .attempt(arrival.peer(), token, now)
            .map_err(Reason::from)?;
        let Shown { token, proof, key } = match shown {
            // A workload needs no token where its certificate is enough.
            Err(Reason::NoCredential) => {
                let certificate = certificate.ok().flatten();
                let who = workload(&terms, endpoint, certificate, now)?;
                // Nothing of it is kept, so there is no generation to remember.
                self.judge_revoked(who.vouched(), endpoint.server())?;
                terms.limits.held(attempt);
                return Ok(who);
            }
            shown => shown?,
        };
        let held = terms
            .verifier
            .verify(key, &token, (endpoint, arrival.peer()), now)
            .await?;
        terms.limits.token_held(key, held.vouched.expires());
        self.unrevoked(endpoint, (&terms.verifier, &key), &held)?;
        let senders = &terms.senders;
        let certificate = certificate.ok().flatten();
        let who = match &proof {
            None => held.without_proof(certificate).map_err(Reason::from),
            Some(proof) => proven(senders, endpoint, head, &held, (proof, certificate), now).await,
        };
        let who = who.and_then(|who| {
            if senders
                .rules(endpoint.server())
                .constraint
                .takes(who.confirmation())
            {
                Ok(who)
            } else {
                Err(Failed::NotConstrained.into())
            }
        });
        // Last of all, when nothing else can go wrong.
        let who = match (who, terms.verifier.one_call(held.vouched.issuer())) {
            (Ok(who), Some(skew)) => {
                let spent = senders
                    .spend_token(&held.vouched, who.principal(), skew, now)
                    .await;
                spent.map(|()| who)
            }
            (who, _) => who,
        };
        match who {
            Ok(who) => {
                terms.limits.held(attempt);
                Ok(who)
            }
            Err(reason) => Err(Unidentified {
                reason,
                token: Some(held.vouched.token_id().clone()),
            }),
        }
    }

    /// What is presented, at an address of ours.
    fn shown(
        &self,
        endpoint: &Endpoint,
        head: &Parts,
        refused: Option<&CertificateRefused>,
    ) -> Result<Shown, Reason> {
        self.public_host.check(&head.uri, &head.headers)?;
        if let Some(refused) = refused {
            return Err((*refused).into());
        }
        let (token, proof) = match Presented::parse(&head.headers, head.uri.query())? {
            Presented::Absent => return Err(Reason::NoCredential),
            Presented::Bearer(token) => (token, None),
            Presented::Dpop { token, proof } => (token, Some(proof)),
        };
        Ok(Shown {
            key: Key::of(&token, endpoint.resource()),
            token,
            proof,
        })
    }
}

/// The workload that the certificate of the connection names (X.509-SVID), where it has something at the server.
fn workload(
    terms: &Terms,
    endpoint: &Endpoint,
    certificate: Option<&ClientCertificate>,
    now: UnixTime,
) -> Result<Arc<VerifiedIdentity>, Reason> {
    let certificate = certificate
        .filter(|certificate| certificate.workload().is_some())
        .ok_or(Reason::NoCredential)?;
    let vouched = terms.verifier.by_certificate(certificate, endpoint, now);
    let vouched = Arc::new(vouched.ok_or(Reason::WorkloadNotGranted)??);
    let who = vouched.confirm(None, Some(certificate))?;
    let constraint = terms.senders.rules(endpoint.server()).constraint;
    if constraint.takes(who.confirmation()) {
        Ok(Arc::new(who))
    } else {
        Err(Failed::NotConstrained.into())
    }
}

/// The sender of a token that is bound to a key, by a proof that was never seen before (RFC 9449 §4.3). The proof is
/// used up last, when nothing else can go wrong.
async fn proven(
    senders: &Senders,
    endpoint: &Endpoint,
    head: &Parts,
    held: &Remembered,
    (proof, certificate): (&Proof, Option<&ClientCertificate>),
    now: UnixTime,
) -> Result<Arc<VerifiedIdentity>, Reason> {
    // The token alone says whether a proof could help.
    let token = held.vouched.proven_by().ok_or(Failed::NotBound)?;
    let proof = dpop::Candidate::parse(proof)?;
    let key = proof.key(held.proof_key.get())?;
    let expected = dpop::Expected {
        method: head.method.as_str(),
        target: endpoint.target(),
        token: Some(token),
        window: senders.window,
        now,
    };
    let proof = proof.verify(&key, &expected)?;
    let who = held.vouched.confirm(Some(&proof), certificate)?;
    held.proof_key.get_or_init(|| key);
    senders.spend(&proof, who.principal(), endpoint, now).await?;
    Ok(Arc::new(who))
}

/// The certificate that comes with a request, if one does and it is one now.
fn certificate(arrival: &Arrival, now: UnixTime) -> Result<Option<&ClientCertificate>, CertificateRefused> {
    match arrival.certificate() {
        ShownCertificate::Absent => Ok(None),
        ShownCertificate::Held(certificate)
            if certificate.not_before() <= now && now < certificate.not_after() =>
        {
            Ok(Some(certificate))
        }
        ShownCertificate::Held(_) => Err(CertificateRefused::Untrusted),
        ShownCertificate::Refused(refused) => Err(*refused),
    }
}
