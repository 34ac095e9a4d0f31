//! What a configuration asks of those who send tokens, for the guard.

use std::sync::Arc;

use portcullis_guard::{NonceKey, ProofNonce, SenderConstraint, SenderRules, Senders};
use portcullis_server::config::{Config, DpopNonce, DpopRequired, DpopRule};

use crate::failure::Failure;
use crate::join::{World, cannot};

/// `[dpop]`, and what servers say of their own. The key of nonces is derived from the master key: replicas have the same.
pub(crate) fn senders(config: &Config, world: &World) -> Result<Senders, Failure> {
    let nonce_key = world
        .master
        .derive("dpop nonce v1")
        .map_err(cannot("derive a key"))?;
    Ok(Senders {
        usual: rules(config.dpop.rule),
        servers: config
            .servers
            .iter()
            .map(|server| (server.name.clone(), rules(server.dpop)))
            .collect(),
        window: config.dpop.window,
        nonce_key: NonceKey::new(&nonce_key),
        replays: Arc::clone(&world.replays),
    })
}

/// Those of one server, or of all.
pub(crate) fn rules(rule: DpopRule) -> SenderRules {
    SenderRules {
        constraint: match rule.required {
            DpopRequired::BoundTokens => SenderConstraint::None,
            DpopRequired::Always => SenderConstraint::Dpop,
        },
        nonce: match rule.nonce {
            DpopNonce::Never => ProofNonce::Off,
            DpopNonce::Always => ProofNonce::Required,
        },
    }
}
