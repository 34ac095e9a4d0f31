//! What a configuration names on this machine: is it there, and is it what it should be? Looks, and changes nothing: no
//! file is made, no PKCS #11 module is loaded, no PIN or credential is used.

use std::fs;
use std::io::Read as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use portcullis_server::config::{Config, CustodyConfig, KeptIn, KeysConfig, SecretFrom, TlsConfig};
use portcullis_server::custody::MasterKeySource;
use portcullis_server::tls::TlsError;

use crate::{join, rings, senders, serve};

/// Longest wait for a database to accept a connection.
const PATIENCE: Duration = Duration::from_secs(3);
/// Largest file that is looked into, in bytes.
const LOOKED_AT: u64 = 64 * 1024;

/// Something that keeps a server from starting or from working.
pub(super) struct Finding {
    /// The key that names it, such as `keys.pkcs11.module`.
    pub(super) path: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
}

/// All that was seen.
#[derive(Default)]
pub(super) struct Named {
    pub(super) findings: Vec<Finding>,
    /// What cannot be known from here, or may come later.
    pub(super) notes: Vec<String>,
}

impl Named {
    /// By this configuration, whose paths are absolute or relative to the working folder.
    pub(super) fn look(config: &Config) -> Self {
        let mut named = Self::default();
        if let Err(failure) = join::policy(config) {
            named.wrong(
                "policy",
                failure.message().to_owned(),
                "correct the policy, or the rules of the tools",
            );
        }
        for missing in config.files().into_iter().filter(|file| !file.exists()) {
            named
                .notes
                .push(format!("to be there before it starts: {}", missing.display()));
        }
        let gateway = config.gateway.as_ref().and_then(|gateway| gateway.tls.as_ref());
        let authority = config
            .authority
            .as_ref()
            .and_then(|authority| authority.tls.as_ref());
        for (path, tls) in [("gateway.tls", gateway), ("authority.tls", authority)] {
            named.tls(path, tls);
        }
        if let Err(error) = senders::clients(config)
            && !matches!(error, TlsError::Unreadable { .. })
        {
            named.wrong("mtls", error.to_string(), error.hint());
        }
        if let Some(audit) = &config.audit {
            named.folder("audit.dir", &audit.dir);
        }
        if let Some(store) = &config.store {
            named.store(&store.url);
        }
        if let Some(keys) = &config.keys {
            named.keys(keys);
            if let Err(failure) = rings::policy(config) {
                let hint = "change the times of `[keys]`, or the lifetime of tokens";
                named.wrong("keys", failure.message().to_owned(), hint);
            }
        }
        named
    }

    fn wrong(&mut self, path: &'static str, message: String, hint: impl Into<String>) {
        let hint = hint.into();
        self.findings.push(Finding { path, message, hint });
    }

    /// Whether certificate and key are what a listener needs, once both are there.
    fn tls(&mut self, path: &'static str, tls: Option<&TlsConfig>) {
        let there = |tls: &&TlsConfig| tls.certificate_file.exists() && tls.key_file.exists();
        if let Some(Err(error)) = tls.filter(there).map(|tls| serve::open_tls(tls, None)) {
            self.wrong(path, error.to_string(), error.hint());
        }
    }

    fn keys(&mut self, keys: &KeysConfig) {
        if keys.kept_in == KeptIn::Folder {
            self.folder("keys.dir", &keys.dir);
        }
        match &keys.master_key {
            MasterKeySource::File(file) if file.exists() => self.private("keys.master_key_file", file),
            MasterKeySource::File(file) => {
                let made = fs::read_dir(&keys.dir).is_ok_and(|mut entries| entries.next().is_some());
                if made {
                    let message = format!(
                        "there are keys in {} and no {}",
                        keys.dir.display(),
                        file.display()
                    );
                    let hint = "put the master key back: nothing else opens those keys";
                    self.wrong("keys.master_key_file", message, hint);
                } else {
                    self.notes
                        .push(format!("made at the first start: {}", file.display()));
                }
            }
            MasterKeySource::Env(name) => self.variable(name),
            MasterKeySource::Credential(name) => {
                self.notes
                    .push(format!("from systemd when it starts: the credential {name}"));
            }
        }
        match &keys.custody {
            CustodyConfig::File => {}
            CustodyConfig::Pkcs11 { module, pin, .. } => {
                self.module(module);
                match pin {
                    SecretFrom::File(file) => self.private("keys.pkcs11.pin_file", file),
                    SecretFrom::Env(name) => self.variable(name),
                    SecretFrom::Held(_) => {}
                }
            }
            CustodyConfig::AwsKms {
                ca_file, credentials, ..
            } => {
                if let Some(file) = ca_file {
                    self.content("keys.external.ca_file", file, "-----BEGIN CERTIFICATE-----");
                }
                match credentials {
                    Some((file, profile)) => {
                        self.private("keys.external.credentials_file", file);
                        if file.exists() {
                            self.content("keys.external.credentials_file", file, &format!("[{profile}]"));
                        }
                    }
                    None => ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
                        .into_iter()
                        .for_each(|name| self.variable(name)),
                }
            }
        }
    }

    /// A folder that is made when it is not there.
    fn folder(&mut self, path: &'static str, dir: &Path) {
        if dir.exists() {
            if let Err(error) = fs::read_dir(dir) {
                let message = format!("the folder {} cannot be read: {error}", dir.display());
                self.wrong(
                    path,
                    message,
                    "name a folder that belongs to the user who runs the server",
                );
            }
            return;
        }
        let above = dir.ancestors().skip(1).find(|above| above.exists());
        if let Some(above) = above.filter(|above| !above.is_dir()) {
            let message = format!(
                "the folder {} cannot be made: {} is no folder",
                dir.display(),
                above.display()
            );
            self.wrong(path, message, "name another folder");
        }
    }

    fn store(&mut self, url: &str) {
        if let Some(file) = url.strip_prefix("sqlite:").map(Path::new) {
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                let message = format!("the folder {} of the database is not there", folder.display());
                self.wrong("store.url", message, format!("mkdir -p {}", folder.display()));
            } else if file.exists() {
                // SQLite's own first bytes; a new database is empty until it is used.
                let begins = start_of(file, 16);
                if !begins
                    .as_ref()
                    .is_ok_and(|bytes| bytes.is_empty() || bytes == b"SQLite format 3\0")
                {
                    let message = match begins {
                        Ok(_) => format!("{} is no SQLite database", file.display()),
                        Err(error) => format!("{} cannot be read: {error}", file.display()),
                    };
                    self.wrong(
                        "store.url",
                        message,
                        "name another file, or make this one readable",
                    );
                }
            }
            return;
        }
        let Ok(url) = url::Url::parse(url) else { return };
        let (Some(host), port) = (url.host_str(), url.port().unwrap_or(5432)) else {
            self.notes
                .push("not looked at: a database that is not reached by TCP".to_owned());
            return;
        };
        let addresses = (host, port).to_socket_addrs();
        let reached = addresses.is_ok_and(|mut addresses| {
            addresses.any(|address| TcpStream::connect_timeout(&address, PATIENCE).is_ok())
        });
        if !reached {
            let message = format!("nothing answers at {host}:{port}");
            self.wrong(
                "store.url",
                message,
                "start the database, or correct host and port",
            );
        }
    }

    /// A PKCS #11 library. It is not loaded: that runs its code.
    fn module(&mut self, file: &Path) {
        let (message, hint) = match start_of(file, 4) {
            Ok(begins) if begins == b"\x7fELF" || !cfg!(target_os = "linux") => return,
            Ok(_) => (
                format!("{} is no shared library", file.display()),
                "name the `.so` file of the HSM's PKCS #11 module",
            ),
            Err(error) => (
                format!("the module {} cannot be read: {error}", file.display()),
                "install the HSM's PKCS #11 module (`apt-get install softhsm2` has one for trying it out), or correct the path",
            ),
        };
        self.wrong("keys.pkcs11.module", message, hint);
    }

    /// A file with a secret: there, not empty, and its owner's alone.
    fn private(&mut self, path: &'static str, file: &Path) {
        let (message, hint) = match fs::metadata(file) {
            Err(error) => (
                format!("{} cannot be read: {error}", file.display()),
                "write the secret into this file, and chmod 600 it".to_owned(),
            ),
            Ok(found) if found.permissions().mode() & 0o077 != 0 => (
                format!("{} can be read or written by other users", file.display()),
                format!("chmod 600 {}", file.display()),
            ),
            Ok(found) if found.len() == 0 => (
                format!("{} is empty", file.display()),
                "write the secret into this file".to_owned(),
            ),
            Ok(_) => return,
        };
        self.wrong(path, message, hint);
    }

    fn content(&mut self, path: &'static str, file: &Path, expected: &str) {
        let (message, hint) = match start_of(file, LOOKED_AT) {
            Ok(bytes)
                if bytes
                    .windows(expected.len())
                    .any(|part| part == expected.as_bytes()) =>
            {
                return;
            }
            Ok(_) => (
                format!("{} has no `{expected}`", file.display()),
                "name another file, or add what is missing",
            ),
            Err(error) => (
                format!("{} cannot be read: {error}", file.display()),
                "put the file there, or correct the path",
            ),
        };
        self.wrong(path, message, hint);
    }

    fn variable(&mut self, name: &str) {
        if std::env::var_os(name).is_none() {
            self.notes.push(format!(
                "not set here, and needed where the server runs: the environment variable {name}"
            ));
        }
    }
}

fn start_of(file: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
