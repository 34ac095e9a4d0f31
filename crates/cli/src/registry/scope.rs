//! Which store a command is about: that of a data folder, or of a configuration.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_core::ids::{Issuer, TrustDomain};
use portcullis_core::revocation::Entry;
use portcullis_core::time::Lifetime;
use portcullis_guard::recorder::{Durability, Recorder as _};
use portcullis_net::clock::{self, Clock};
use portcullis_net::random;
use portcullis_server::config::Config;
use portcullis_server::revocation::{Ledger, event};
use portcullis_server::sink::{self, AuditLog};
use portcullis_server::store::RevocationLog;

use crate::failure::Failure;
use crate::home::Home;
use crate::revocations::url;
use crate::rings;

/// Tokens are taken to last at least so long, whatever is configured here: what gateways accept is configured there.
const LONGEST: Lifetime = Lifetime::from_hours(1);
/// A certificate is good for as long as its authority likes: what is revoked of a trust domain's stays so for good.
const CERTIFICATES: Lifetime = Lifetime::from_hours(100 * 366 * 24);

#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// The data folder that `portcullis up` made [default: the user's own]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    data: Option<PathBuf>,
    /// The configuration of a gateway or authority
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The log of revocations of one place, and what is known around it.
pub(super) struct Registry {
    config: Config,
    pub(super) log: RevocationLog,
    /// Whose users and grants are in the same store.
    authority: Option<Issuer>,
}

/// What a revocation must know of an issuer.
pub(super) struct OfIssuer {
    pub(super) issuer: Issuer,
    /// The longest that a token of it can be accepted.
    pub(super) longest: Lifetime,
    /// How far its clock may be ahead of ours.
    pub(super) ahead: Lifetime,
}

impl Where {
    pub(super) fn registry(&self) -> Result<Registry, Failure> {
        let (config, url) = match &self.config {
            Some(file) => {
                let config = crate::config::load(file)?;
                let url = url(&config)?;
                (config, url)
            }
            None => {
                let home = Home::find(self.data.as_deref())?;
                let store = home.store();
                if !store.is_file() {
                    return Err(Failure::usage(format!("there is no store at {}", store.display()))
                        .hint("name the folder that `portcullis up` made with --data DIR, or a configuration with --config FILE"));
                }
                (rings::of_home(&home), format!("sqlite:{}", store.display()))
            }
        };
        let log = RevocationLog::open(&url).map_err(refused)?;
        let authority = log.authority().map_err(refused)?;
        Ok(Registry {
            config,
            log,
            authority,
        })
    }
}

impl Registry {
    /// The issuer that is named, or the only one there is.
    pub(super) fn issuer(&self, named: Option<&Issuer>) -> Result<OfIssuer, Failure> {
        let configured = self.config.issuers.iter().map(|issuer| issuer.issuer.clone());
        let own = self
            .config
            .authority
            .iter()
            .map(|authority| authority.issuer.clone());
        let domains = self
            .config
            .trust_domains
            .iter()
            .map(|domain| domain.trust.domain.issuer());
        let known: BTreeSet<Issuer> = configured
            .chain(own)
            .chain(domains)
            .chain(self.authority.clone())
            .collect();
        let names = || {
            let names: Vec<String> = known.iter().map(|issuer| format!("`{issuer}`")).collect();
            names.join(", ")
        };
        let issuer = match (named, known.len()) {
            (Some(named), 0) => named.clone(),
            (Some(named), _) if known.contains(named) => named.clone(),
            (Some(named), _) => {
                return Err(Failure::usage(format!("`{named}` is no issuer here"))
                    .hint(format!("those that are trusted: {}", names())));
            }
            (None, 1) => known.iter().next().cloned().ok_or_else(none)?,
            (None, 0) => return Err(none()),
            (None, _) => {
                return Err(Failure::usage("there are several issuers")
                    .hint(format!("say whose with --issuer: {}", names())));
            }
        };
        Ok(self.of(issuer))
    }

    fn of(&self, issuer: Issuer) -> OfIssuer {
        let domain = TrustDomain::of(&issuer);
        if domain.is_some() {
            let mut domains = self.config.trust_domains.iter();
            let known = domains.find(|known| Some(&known.trust.domain) == domain.as_ref());
            return OfIssuer {
                longest: CERTIFICATES,
                ahead: known.map_or(Lifetime::from_secs(0), |known| known.trust.skew),
                issuer,
            };
        }
        let configured = self.config.issuers.iter().find(|of| of.issuer == issuer);
        let skew = configured.map_or(0, |of| of.clock_skew.as_secs());
        let accepted = configured.map_or(LONGEST, |of| of.max_token_lifetime.max(LONGEST));
        let made = self.config.authority.iter().filter(|own| own.issuer == issuer);
        let longest = made.map(|own| own.access_token_lifetime).fold(accepted, Ord::max);
        // An authority beside the store has the clock of this machine, and its grants end in the same moment.
        let beside = self.authority.as_ref() == Some(&issuer);
        OfIssuer {
            longest: Lifetime::from_secs(longest.as_secs().saturating_add(skew.saturating_mul(2))),
            ahead: Lifetime::from_secs(if beside { 0 } else { skew }),
            issuer,
        }
    }

    /// Whether this is the name of a guarded server, as far as can be known.
    pub(super) fn knows_server(&self, name: &str) -> bool {
        let servers = &self.config.servers;
        servers.is_empty() || servers.iter().any(|server| server.name.as_str() == name)
    }

    /// Puts an entry on record, unless a server writes the log now: that server does it when it follows.
    pub(super) async fn record(&self, entry: &Entry) -> Result<(), Failure> {
        let Some(config) = &self.config.audit else {
            return Ok(());
        };
        let clock: Arc<dyn Clock> = Arc::new(clock::System);
        let log = match AuditLog::open(&config.dir, Arc::clone(&clock), &random::System) {
            Ok(log) => log,
            Err(sink::Error::InUse(_)) => return Ok(()),
            Err(error) => return Err(unrecorded(&error)),
        };
        let (ledger, _) = Ledger::open(&config.dir, clock.now()).map_err(|error| unrecorded(&error))?;
        log.record(event(entry), Durability::Synced)
            .await
            .map_err(|error| unrecorded(&error))?;
        // A server that starts later need not find out.
        ledger.note(entry).map_err(|error| unrecorded(&error))
    }
}

fn none() -> Failure {
    Failure::usage("nothing says which issuers there are").hint("say whose with --issuer")
}

fn unrecorded(error: &dyn std::fmt::Display) -> Failure {
    Failure::refused(format!("it is revoked, but that is not on record: {error}"))
}

/// What the store says, as it is: its messages are made for people.
pub(super) fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::refused(error.to_string())
}
