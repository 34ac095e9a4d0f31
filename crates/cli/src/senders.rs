//! What a configuration asks of those who send tokens, for the guard.

use std::sync::Arc;

use portcullis_core::ids::TrustDomain;
use portcullis_core::jose::jwk::KeySet;
use portcullis_guard::{
    DomainKeys, NonceKey, ProofNonce, SenderConstraint, SenderRules, Senders, TrustedDomain,
};
use portcullis_server::config::{Config, DpopNonce, DpopRequired, DpopRule, MtlsRequired};

use portcullis_server::http::TrustedProxy;
use portcullis_server::tls::{ClientSettings, Clients, SelfSigned, TlsError};

use crate::failure::Failure;
use crate::join::{World, cannot};

/// What judges client certificates, if anybody is asked for one.
pub(crate) fn clients(config: &Config) -> Result<Option<Arc<Clients>>, TlsError> {
    if config.mtls.is_none() && config.trust_domains.is_empty() {
        return Ok(None);
    }
    let mtls = config.mtls.as_ref();
    let domains = config.trust_domains.iter();
    Clients::open(ClientSettings {
        authority_files: mtls.map(|mtls| mtls.client_ca_files.clone()).unwrap_or_default(),
        revocation_files: mtls.map(|mtls| mtls.crl_files.clone()).unwrap_or_default(),
        self_signed: mtls.map_or(SelfSigned::Refuse, |mtls| mtls.self_signed),
        domains: domains
            .map(|domain| (domain.trust.domain.clone(), domain.bundle_file.clone()))
            .collect(),
    })
    .map(Some)
}

/// Whether a request can come with a client certificate: in a handshake of ours, or through a proxy.
pub(crate) fn certificates_come(config: &Config) -> bool {
    let tls = config
        .gateway
        .as_ref()
        .is_some_and(|gateway| gateway.tls.is_some());
    let asked = config.mtls.is_some() || !config.trust_domains.is_empty();
    let proxy = config.mtls.as_ref().is_some_and(|mtls| mtls.proxy.is_some());
    (tls && asked) || proxy
}

/// The trust domains of a configuration, for the guard.
pub(crate) fn workloads(config: &Config, clients: Option<&Arc<Clients>>) -> Vec<TrustedDomain> {
    let Some(clients) = clients else {
        return Vec::new();
    };
    let domains = config.trust_domains.iter().map(|domain| TrustedDomain {
        trust: domain.trust.clone(),
        keys: Arc::new(OfBundle {
            clients: Arc::clone(clients),
            domain: domain.trust.domain.clone(),
        }),
        servers: domain.servers.clone(),
    });
    domains.collect()
}

/// The keys of one trust domain, in the bundle that is followed.
struct OfBundle {
    clients: Arc<Clients>,
    domain: TrustDomain,
}

impl DomainKeys for OfBundle {
    fn keys(&self) -> Option<Arc<KeySet>> {
        self.clients.token_keys(&self.domain)
    }
}

/// The proxy that hands on client certificates, if there is one.
pub(crate) fn proxy(config: &Config, clients: Option<&Arc<Clients>>) -> Option<Arc<TrustedProxy>> {
    let proxy = config.mtls.as_ref()?.proxy.as_ref()?;
    let (form, rule) = (proxy.form.clone(), proxy.rule.clone());
    Some(Arc::new(TrustedProxy::new(form, rule, Arc::clone(clients?))))
}

/// `[dpop]`, and what servers say of their own. The key of nonces is derived from the master key: replicas have the same.
pub(crate) fn senders(config: &Config, world: &World) -> Result<Senders, Failure> {
    let nonce_key = world
        .master
        .derive("dpop nonce v1")
        .map_err(cannot("derive a key"))?;
    Ok(Senders {
        usual: rules(config.dpop.rule, MtlsRequired::default()),
        servers: config
            .servers
            .iter()
            .map(|server| (server.name.clone(), rules(server.dpop, server.mtls)))
            .collect(),
        window: config.dpop.window,
        nonce_key: NonceKey::new(&nonce_key),
        replays: Arc::clone(&world.replays),
    })
}

/// Those of one server, or of all.
pub(crate) fn rules(rule: DpopRule, mtls: MtlsRequired) -> SenderRules {
    SenderRules {
        constraint: match (mtls, rule.required) {
            (MtlsRequired::BoundTokens, DpopRequired::BoundTokens) => SenderConstraint::None,
            (MtlsRequired::BoundTokens, DpopRequired::Always) => SenderConstraint::Dpop,
            // Of a configuration that says both, nothing is read.
            (MtlsRequired::Always, _) => SenderConstraint::Mtls,
            (MtlsRequired::Either, _) => SenderConstraint::Either,
        },
        nonce: match rule.nonce {
            DpopNonce::Never => ProofNonce::Off,
            DpopNonce::Always => ProofNonce::Required,
        },
    }
}
