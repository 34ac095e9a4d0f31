//! Which key rings a command is about: those of a data folder, or of a configuration.

use std::path::PathBuf;
use std::sync::Arc;

use portcullis_core::ids::KeyId;
use portcullis_core::keys::RotationPolicy;
use portcullis_core::time::UnixTime;
use portcullis_net::clock::{self, Clock};
use portcullis_net::random;
use portcullis_server::config::{AuditConfig, Config};
use portcullis_server::custody::ring::{self, Alone, Operator};
use portcullis_server::custody::shelf::Shelf;
use portcullis_server::custody::{KeyDescription, Ledger, list_shelf};

use crate::failure::Failure;
use crate::home::Home;
use crate::rings::{self, CA};

/// The roles that have rings, in the order in which people see them.
const ROLES: [&str; 2] = ["authority", "gateway"];

/// Where the rings are.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// The data folder that `portcullis up` made [default: the user's own]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    data: Option<PathBuf>,
    /// The configuration of a gateway or authority
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// All rings of one place.
pub(super) struct Rings {
    config: Config,
    place: String,
    clock: Arc<dyn Clock>,
}

/// One role's ring.
pub(super) struct Ring {
    pub(super) role: &'static str,
    pub(super) shelf: Arc<dyn Shelf>,
    pub(super) keys: Vec<KeyDescription>,
}

impl Where {
    pub(super) fn rings(&self) -> Result<Rings, Failure> {
        let (config, place) = match &self.config {
            Some(file) => (crate::config::load(file)?, file.display().to_string()),
            None => {
                let home = Home::find(self.data.as_deref())?;
                if !home.keys().is_dir() {
                    return Err(Failure::usage(format!("there are no keys in {}", home.keys().display()))
                        .hint("name the folder that `portcullis up` made with --data DIR, or a configuration with --config FILE"));
                }
                (rings::of_home(&home), home.path().display().to_string())
            }
        };
        let clock: Arc<dyn Clock> = Arc::new(clock::System);
        Ok(Rings { config, place, clock })
    }
}

impl Rings {
    pub(super) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    pub(super) fn policy(&self) -> Result<RotationPolicy, Failure> {
        rings::policy(&self.config)
    }

    pub(super) fn audit(&self) -> Option<&AuditConfig> {
        self.config.audit.as_ref()
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// The rings that have keys, or only the one of `role`.
    pub(super) fn of(&self, role: Option<&str>) -> Result<Vec<Ring>, Failure> {
        let mut found = self.rings(ROLES)?;
        found.retain(|ring| !ring.keys.is_empty() && role.is_none_or(|role| role == ring.role));
        match role {
            Some(role) if found.is_empty() => Err(Failure::usage(format!(
                "there is no ring of the {role} in {}",
                self.place
            ))
            .hint("`portcullis keys list` names the rings that there are")),
            None if found.is_empty() => Err(Failure::usage(format!("there are no keys in {}", self.place))
                .hint("keys are made when a server starts for the first time")),
            Some(_) | None => Ok(found),
        }
    }

    /// The ring that has this key. Rings that cannot be read are passed over, and told of: in an emergency a damaged file
    /// of another ring is no reason to wait.
    pub(super) fn with_key(&self, kid: &KeyId) -> Result<(Ring, Vec<String>), Failure> {
        let mut unreadable = Vec::new();
        for role in ROLES {
            match self.rings([role]).map(|mut found| found.pop()) {
                Ok(Some(ring)) if ring.keys.iter().any(|key| key.kid == *kid) => {
                    return Ok((ring, unreadable));
                }
                Ok(_) => {}
                Err(failure) => unreadable.push(format!(
                    "the ring of the {role} cannot be read: {}",
                    failure.message()
                )),
            }
        }
        if unreadable.is_empty() {
            return Err(Failure::usage(format!("there is no key `{kid}`"))
                .hint("`portcullis keys list` names those that there are"));
        }
        let unreadable = unreadable.join("; ");
        Err(Failure::refused(format!(
            "there is no key `{kid}` in a ring that can be read; {unreadable}"
        )))
    }

    /// As much of a ring as revoking needs: no private key, no other ring.
    pub(super) fn alone<'r>(&self, ring: &'r Ring, ledger: Option<&'r Ledger>) -> Result<Alone<'r>, Failure> {
        Ok(Alone {
            role: ring.role,
            shelf: &*ring.shelf,
            policy: self.policy()?,
            ledger,
        })
    }

    /// What is known of a ring beside its shelf, if that can be read.
    pub(super) fn ledger(&self, role: &str) -> Option<Ledger> {
        rings::ledger(&self.config, role).ok()
    }

    /// The ring of the certification authority.
    pub(super) fn ca(&self) -> Result<Ring, Failure> {
        let [ca] = self
            .rings([CA])?
            .try_into()
            .map_err(|_| Failure::refused("the CA's ring cannot be opened"))?;
        Ok(ca)
    }

    fn rings<const N: usize>(&self, roles: [&'static str; N]) -> Result<Vec<Ring>, Failure> {
        let mut found = Vec::new();
        for (role, shelf) in roles.into_iter().zip(rings::existing(&self.config, roles)?) {
            // An authority has no ring of a gateway, and the reverse.
            let keys = if rings::is_there(&self.config, role)? {
                list_shelf(&*shelf).map_err(refused)?
            } else {
                Vec::new()
            };
            found.push(Ring { role, shelf, keys });
        }
        Ok(found)
    }

    /// The ring with its private keys, to take keys in besides: none that another ring has.
    pub(super) fn operator(&self, ring: &Ring) -> Result<Operator, Failure> {
        let mut elsewhere = self.rings(ROLES)?;
        elsewhere.retain(|other| other.role != ring.role && !other.keys.is_empty());
        let elsewhere = elsewhere.into_iter().map(|other| other.shelf).collect();
        Ok(self.operator_of(ring)?.beside(elsewhere))
    }

    /// The ring with its private keys, and no look at others.
    pub(super) fn operator_of(&self, ring: &Ring) -> Result<Operator, Failure> {
        let master = Arc::new(rings::master(rings::keys(&self.config)?)?);
        let identity = self.identity(ring)?;
        let settings = rings::settings(&self.config, ring.role, &identity, &master, &self.clock)?;
        ring::open_for_operator(settings, self.now(), &random::System).map_err(refused)
    }

    /// The public URL of the server whose ring it is: what the configuration says, else what its certificates say.
    fn identity(&self, ring: &Ring) -> Result<String, Failure> {
        let configured = match ring.role {
            "gateway" => self
                .config
                .gateway
                .as_ref()
                .map(|gateway| gateway.public_url.clone()),
            _ => self
                .config
                .authority
                .as_ref()
                .map(|authority| authority.issuer.as_str().to_owned()),
        };
        let newest = ring.keys.iter().max_by_key(|key| key.not_after);
        configured
            .or_else(|| newest.and_then(|key| key.identities.first().cloned()))
            .ok_or_else(|| {
                Failure::refused(format!("nothing says whose keys those of the {} are", ring.role))
            })
    }
}

/// What the key room says, as it is: its messages are made for people.
pub(super) fn refused(error: portcullis_server::custody::Error) -> Failure {
    Failure::refused(error.to_string())
}
