//! The record of a decision, filled in as far as the call came.

use portcullis_core::audit::{Actor, Decision, DigestKey, TokenHash, Verdict};
use portcullis_core::identity::{Confirmation, VerifiedIdentity};
use portcullis_core::ids::{ScopeSet, TokenId};
use portcullis_core::policy::{Denial, Needs, Permit};
use portcullis_core::wire::{Call, Era, RequestId, Scheme, Target};

use crate::arrival::{Arrival, ShownCertificate};
use crate::endpoint::Endpoint;
use crate::reason::Reason;

/// A decision before it is made, and what the answer to a refusal must know of the call.
#[derive(Debug)]
pub(crate) struct Draft {
    decision: Decision,
    pub(crate) era: Option<Era>,
    pub(crate) id: Option<RequestId>,
    /// How the token came.
    pub(crate) scheme: Option<Scheme>,
}

impl Draft {
    /// Nothing is known but where it came from and where to.
    pub(crate) fn new(arrival: &Arrival, endpoint: &Endpoint) -> Self {
        let decision = Decision {
            request: arrival.request().to_owned(),
            actor: None,
            server: endpoint.server().as_str().to_owned(),
            method: None,
            target: None,
            target_kind: None,
            effect: None,
            scopes_held: ScopeSet::new(),
            scopes_needed: ScopeSet::new(),
            verdict: Verdict::Denied,
            reason: "",
            fault: None,
            rules: Vec::new(),
            token: None,
            arguments: None,
            confirmation: None,
            certificate: match arrival.certificate() {
                ShownCertificate::Held(certificate) => Some(certificate.thumbprint().to_string()),
                ShownCertificate::Absent | ShownCertificate::Refused(_) => None,
            },
            status: 0,
            era: None,
            peer: arrival.peer().map(|peer| peer.to_string()),
        };
        Self {
            decision,
            era: None,
            id: None,
            scheme: None,
        }
    }

    /// Nobody was identified. The record names the token that was shown, where its issuer vouches for it, and not its owner:
    /// they may not be who sent it.
    pub(crate) fn unidentified(mut self, scheme: Option<Scheme>, token: Option<&TokenId>) -> Self {
        self.scheme = scheme;
        self.decision.token = token.map(TokenHash::of);
        self
    }

    /// Who calls.
    pub(crate) fn by(mut self, who: &VerifiedIdentity) -> Self {
        self.decision.actor = Some(Actor {
            issuer: Some(who.issuer().as_str().to_owned()),
            agent: Some(who.client().as_str().to_owned()),
            user: (!who.is_client_itself()).then(|| who.subject().as_str().to_owned()),
        });
        self.decision.scopes_held = who.scopes().clone();
        self.decision.token = Some(TokenHash::of(who.token_id()));
        let (scheme, confirmation) = match who.confirmation() {
            Confirmation::Bearer => (Scheme::Bearer, "bearer"),
            Confirmation::Dpop(_) => (Scheme::Dpop, "dpop"),
            Confirmation::Certificate(_) => (Scheme::Bearer, "mtls"),
            Confirmation::DpopAndCertificate(..) => (Scheme::Dpop, "dpop+mtls"),
        };
        self.scheme = Some(scheme);
        self.decision.confirmation = Some(confirmation);
        self
    }

    /// What is called.
    pub(crate) fn calls(&mut self, call: &Call) {
        self.era = Some(call.era());
        self.id = call.id().cloned();
        self.decision.era = Some(match call.era() {
            Era::Modern => "modern",
            Era::Legacy => "legacy",
        });
        self.decision.method = Some(call.method().as_str().to_owned());
        if let Some(target) = call.target() {
            self.decision.target = Some(target.as_str().to_owned());
            self.decision.target_kind = Some(match target {
                Target::Tool(_) => "tool",
                Target::Prompt(_) => "prompt",
                Target::Resource(_) => "resource",
                Target::Task(_) => "task",
            });
        }
    }

    /// With which arguments. A digest under the log's own key, and of what is judged: of sealed fields too, in clear.
    pub(crate) fn argues(&mut self, call: &Call, key: &DigestKey) {
        self.decision.arguments = call.arguments().map(|arguments| key.digest(arguments.as_bytes()));
    }

    /// It is no call of the server's, but something asked of us.
    pub(crate) fn asks(&mut self, what: &str) {
        self.decision.method = Some(what.to_owned());
    }

    /// What was asked of us was done.
    pub(crate) fn agreed(mut self) -> Decision {
        self.decision.verdict = Verdict::Allowed;
        self.decision.reason = "ok";
        self.decision
    }

    /// What such a call does and needs, whoever makes it.
    pub(crate) fn needs(&mut self, needs: &Needs) {
        self.decision.effect = Some(needs.effect.as_str());
        self.decision.scopes_needed = needs.scopes.as_ref().clone();
    }

    /// It may happen.
    pub(crate) fn allowed(mut self, permit: &Permit) -> Decision {
        self.decision.verdict = Verdict::Allowed;
        self.decision.reason = "ok";
        self.decision.rules = permit.rules().to_vec();
        self.decision
    }

    /// It does not happen, and the caller is told with this status.
    pub(crate) fn refused(mut self, reason: &Reason, status: u16) -> Decision {
        self.decision.reason = reason.code();
        self.decision.fault = Some(reason.fault());
        self.decision.status = status;
        if let Reason::Denied(denial) = reason {
            match denial {
                Denial::Forbidden { rules, .. } => self.decision.rules.clone_from(rules),
                Denial::InsufficientScope { .. } | Denial::UnknownMethod | Denial::Fault { .. } => {}
            }
        }
        self.decision
    }
}
