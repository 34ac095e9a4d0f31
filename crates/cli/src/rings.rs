//! From the configuration to key rings: where their records are, where their private keys, and when they change.

use std::path::Path;
use std::sync::Arc;

use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::KeyManagement;
use portcullis_core::keys::{RotationPolicy, Timing};
use portcullis_net::clock::Clock;
use portcullis_net::random;
use portcullis_server::config::{
    AuditConfig, Config, CustodyConfig, DpopConfig, EphemeralConfig, KeptIn, KeysConfig, LimitsConfig,
    PolicyConfig, SecretFrom,
};
use portcullis_server::custody::backend::{
    self, AwsCredentials, AwsKmsSettings, Custody, FileBackend, KeyBackend, Pkcs11Settings, SecretSource,
};
use portcullis_server::custody::shelf::{Database, Folder, Shelf, Table};
use portcullis_server::custody::{Ledger, MasterKey, MasterKeySource, RingSettings};

use crate::failure::Failure;
use crate::home::Home;
use crate::join::cannot;

/// The ring of the built-in CA, beside those of the roles.
pub(crate) const CA: &str = "ca";
/// Sessions with an HSM at the same time.
const SESSIONS: usize = 4;

/// `[keys]`, which every role has.
pub(crate) fn keys(config: &Config) -> Result<&KeysConfig, Failure> {
    config
        .keys
        .as_ref()
        .ok_or_else(|| Failure::usage("`[keys]` is missing"))
}

/// What `portcullis up` keeps its keys by.
pub(crate) fn keys_of(home: &Home) -> KeysConfig {
    KeysConfig {
        dir: home.keys(),
        master_key: MasterKeySource::File(home.master_key()),
        kept_in: KeptIn::Folder,
        custody: CustodyConfig::File,
        signing_algorithm: SignatureAlgorithm::Es256,
        encryption_algorithm: KeyManagement::EcdhEs,
        timing: Timing::default(),
    }
}

/// As much of what a configuration file would say of a data folder as its keys need.
pub(crate) fn of_home(home: &Home) -> Config {
    Config {
        gateway: None,
        issuers: Vec::new(),
        signals: Vec::new(),
        servers: Vec::new(),
        policy: PolicyConfig::default(),
        limits: LimitsConfig::default(),
        audit: Some(AuditConfig { dir: home.audit() }),
        keys: Some(keys_of(home)),
        store: None,
        ephemeral: EphemeralConfig::default(),
        dpop: DpopConfig::default(),
        mtls: None,
        trust_domains: Vec::new(),
        authority: None,
    }
}

/// The master key that the configuration names. It is not made where there are keys already: a new one would open
/// nothing, and would look like the one that is missing.
pub(crate) fn master(keys: &KeysConfig) -> Result<MasterKey, Failure> {
    if let MasterKeySource::File(file) = &keys.master_key {
        let keys_are_there = std::fs::read_dir(&keys.dir).is_ok_and(|mut entries| entries.next().is_some());
        if keys_are_there && !file.exists() {
            let message = format!(
                "there are keys in {} but no master key at {}",
                keys.dir.display(),
                file.display()
            );
            return Err(Failure::usage(message).hint(
                "put the master key back; without it the keys are lost, and removing them makes new ones",
            ));
        }
    }
    MasterKey::from_source(&keys.master_key, &random::System).map_err(cannot("open the master key"))
}

/// Where the records of these rings are, in their order. In a folder they are made when they are not there.
pub(crate) fn shelves<const N: usize>(
    config: &Config,
    rings: [&str; N],
) -> Result<[Arc<dyn Shelf>; N], Failure> {
    let keys = keys(config)?;
    let database = match (keys.kept_in, &config.store) {
        (KeptIn::Folder, _) => None,
        (KeptIn::Store, Some(store)) => {
            Some(Database::open(&store.url, "portcullis_").map_err(cannot("open the store of the keys"))?)
        }
        (KeptIn::Store, None) => return Err(Failure::usage("`[store]` is missing")),
    };
    let mut shelves = Vec::new();
    for ring in rings {
        let shelf: Arc<dyn Shelf> = match &database {
            Some(database) => Arc::new(Table::new(Arc::clone(database), ring)),
            None => Arc::new(folder(&keys.dir, ring)?),
        };
        shelves.push(shelf);
    }
    shelves
        .try_into()
        .map_err(|_| Failure::usage("the rings could not be opened"))
}

fn folder(dir: &Path, ring: &str) -> Result<Folder, Failure> {
    Folder::open(&dir.join(ring)).map_err(cannot("open the keys"))
}

/// As [`shelves`], and makes nothing.
pub(crate) fn existing<const N: usize>(
    config: &Config,
    rings: [&str; N],
) -> Result<[Arc<dyn Shelf>; N], Failure> {
    let keys = keys(config)?;
    match keys.kept_in {
        KeptIn::Store => shelves(config, rings),
        KeptIn::Folder => {
            Ok(rings.map(|ring| Arc::new(Folder::existing(&keys.dir.join(ring))) as Arc<dyn Shelf>))
        }
    }
}

/// Whether a ring was ever made. One in a database is there as soon as the database is.
pub(crate) fn is_there(config: &Config, ring: &str) -> Result<bool, Failure> {
    let keys = keys(config)?;
    Ok(keys.kept_in == KeptIn::Store || keys.dir.join(ring).is_dir())
}

/// Everything that the ring of a role needs. `identity` is the server's public URL.
pub(crate) fn settings(
    config: &Config,
    role: &str,
    identity: &str,
    master: &Arc<MasterKey>,
    clock: &Arc<dyn Clock>,
) -> Result<RingSettings, Failure> {
    let keys = keys(config)?;
    let [shelf, ca] = shelves(config, [role, CA])?;
    Ok(RingSettings {
        role: role.to_owned(),
        identity: identity.to_owned(),
        shelf,
        ca,
        master: Arc::clone(master),
        backends: backends(keys, master, clock)?,
        signing: keys.signing_algorithm,
        encryption: keys.encryption_algorithm,
        policy: policy(config)?,
        ledger: Arc::new(ledger(config, role)?),
    })
}

/// What is known of the ring of a role beside the audit log, away from its shelf.
pub(crate) fn ledger(config: &Config, role: &str) -> Result<Ledger, Failure> {
    match &config.audit {
        Some(audit) => Ledger::open(&audit.dir, role).map_err(cannot("read what is on record of keys")),
        None => Ok(Ledger::default()),
    }
}

/// When keys change: with the longest token that this configuration's authority makes.
pub(crate) fn policy(config: &Config) -> Result<RotationPolicy, Failure> {
    let usual = keys(config)?.timing;
    let longest = config
        .authority
        .as_ref()
        .map(|authority| authority.access_token_lifetime)
        .into_iter()
        .fold(usual.longest_token, Ord::max);
    RotationPolicy::new(Timing {
        longest_token: longest,
        ..usual
    })
    .map_err(cannot("plan the rotation of keys"))
}

/// The place for new private keys, and the files for those that were made before there was another.
fn backends(
    keys: &KeysConfig,
    master: &Arc<MasterKey>,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Arc<dyn KeyBackend>>, Failure> {
    let custody = custody(&keys.custody);
    let files: Arc<dyn KeyBackend> = Arc::new(FileBackend::new(Arc::clone(master), Arc::new(random::System)));
    if custody == Custody::File {
        return Ok(vec![files]);
    }
    let making = backend::open(
        &custody,
        Arc::clone(master),
        Arc::new(random::System),
        Arc::clone(clock),
    )
    .map_err(cannot("use the place for private keys"))?;
    Ok(vec![making, files])
}

fn custody(config: &CustodyConfig) -> Custody {
    match config {
        CustodyConfig::File => Custody::File,
        CustodyConfig::Pkcs11 {
            module,
            token,
            pin,
            rsa_bits,
        } => Custody::Pkcs11(Pkcs11Settings {
            module: module.clone(),
            token: token.clone(),
            pin: secret(pin),
            sessions: SESSIONS,
            rsa_bits: *rsa_bits,
        }),
        CustodyConfig::AwsKms {
            region,
            endpoint,
            ca_file,
            credentials,
            rsa_bits,
        } => Custody::AwsKms(AwsKmsSettings {
            region: region.clone(),
            endpoint: endpoint.clone(),
            ca_file: ca_file.clone(),
            credentials: match credentials {
                Some((path, profile)) => AwsCredentials::File {
                    path: path.clone(),
                    profile: profile.clone(),
                },
                None => AwsCredentials::Environment,
            },
            rsa_bits: *rsa_bits,
        }),
    }
}

pub(crate) fn secret(from: &SecretFrom) -> SecretSource {
    match from {
        SecretFrom::File(path) => SecretSource::File(path.clone()),
        SecretFrom::Env(name) => SecretSource::Env(name.clone()),
        // No configuration file says this, and no backend takes it: the variable of no name is not set.
        SecretFrom::Held(_) => SecretSource::Env(String::new()),
    }
}
