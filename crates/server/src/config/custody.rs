//! `[keys]`: where private keys are, and of which algorithms.

use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::KeyManagement;
use portcullis_core::keys::{RotationPolicy, Timing};

use super::build::Builder;
use super::document::Node;
use super::settings::{CustodyConfig, KeptIn, KeysConfig, SecretFrom};
use crate::custody::MasterKeySource;
use crate::custody::shelf::Database;

impl Builder<'_> {
    /// `[keys]`. The rest of the document says where a store is.
    pub(super) fn keys(&mut self, node: &Node, document: &Node) -> Option<KeysConfig> {
        let (master_key, kept_in) = (self.master_key(node), self.kept_in(node, document));
        let custody = self.custody(node);
        Some(KeysConfig {
            dir: node.path_value("dir")?,
            master_key: master_key?,
            kept_in: kept_in?,
            custody: custody?,
            signing_algorithm: signing(node),
            encryption_algorithm: encryption(node),
            timing: self.timing(node)?,
        })
    }

    /// When keys change. What cannot keep its promises is refused here, where the file is at hand.
    fn timing(&mut self, node: &Node) -> Option<Timing> {
        let usual = node.duration("validity").map_or_else(Timing::default, Timing::of);
        let timing = Timing {
            stage_before: node.duration("stage_before").unwrap_or(usual.stage_before),
            promote_after: node.duration("promote_after").unwrap_or(usual.promote_after),
            grace: node.duration("grace").unwrap_or(usual.grace),
            ..usual
        };
        match RotationPolicy::new(timing) {
            Ok(_) => Some(timing),
            Err(flaw) => {
                let hint = "try it with `portcullis keys simulate`".to_owned();
                self.report
                    .add(self.text, node.at(), "keys", flaw.to_string(), Some(hint));
                None
            }
        }
    }

    fn master_key(&mut self, node: &Node) -> Option<MasterKeySource> {
        let text = |name: &str| node.text(name).map(|found| found.value.to_owned());
        let sources: Vec<MasterKeySource> = [
            node.path_value("master_key_file").map(MasterKeySource::File),
            text("master_key_env").map(MasterKeySource::Env),
            text("master_key_credential").map(MasterKeySource::Credential),
        ]
        .into_iter()
        .flatten()
        .collect();
        if let [source] = sources.as_slice() {
            return Some(source.clone());
        }
        let message = match sources.as_slice() {
            [] => "`[keys]` does not say where the master key is",
            _ => "`[keys]` says more than once where the master key is",
        };
        let hint = "write exactly one of `master_key_file`, `master_key_env` and `master_key_credential`";
        self.report.add(
            self.text,
            node.at(),
            "keys.master_key_file",
            message.to_owned(),
            Some(hint.to_owned()),
        );
        None
    }

    fn kept_in(&mut self, node: &Node, document: &Node) -> Option<KeptIn> {
        let url = document.one("store").and_then(|store| store.text("url"));
        match node.text("kept_in") {
            Some(found) if found.value == "store" && url.is_none() => {
                self.report.add(
                    self.text,
                    &found.at,
                    &found.path,
                    "there is no `[store]` to keep keys in".to_owned(),
                    Some("add a `[store]` section, or write `folder`".to_owned()),
                );
                None
            }
            Some(found) if found.value == "store" => Some(KeptIn::Store),
            None if url.is_some_and(|url| Database::is_postgres(url.value)) => Some(KeptIn::Store),
            Some(_) | None => Some(KeptIn::Folder),
        }
    }

    /// `None` when something is wrong, which is then reported.
    fn custody(&mut self, keys: &Node) -> Option<CustodyConfig> {
        let chosen = keys.text("custody").map_or("file", |found| found.value);
        let mut right = true;
        for section in ["pkcs11", "external"] {
            let at = keys.one(section).map_or(keys.at(), Node::at);
            let (message, hint) = match (keys.one(section), chosen == section) {
                (Some(_), false) => (
                    format!("`[keys.{section}]` is given and `custody` is `{chosen}`"),
                    format!("set `custody = \"{section}\"`, or remove the section"),
                ),
                (None, true) => (
                    format!("`custody` is `{section}` and there is no `[keys.{section}]`"),
                    format!("add a `[keys.{section}]` section"),
                ),
                (Some(_), true) | (None, false) => continue,
            };
            self.report.add(self.text, at, "keys", message, Some(hint));
            right = false;
        }
        if !right {
            return None;
        }
        match chosen {
            "pkcs11" => self.pkcs11(keys.one("pkcs11")?),
            "external" => external(keys.one("external")?),
            _ => Some(CustodyConfig::File),
        }
    }

    fn pkcs11(&mut self, node: &Node) -> Option<CustodyConfig> {
        let pin = match (node.path_value("pin_file"), node.text("pin_env")) {
            (Some(file), None) => SecretFrom::File(file),
            (None, Some(variable)) => SecretFrom::Env(variable.value.to_owned()),
            (Some(_), Some(_)) | (None, None) => {
                let message = "`pin_file` or `pin_env`, one of them, says where the PIN is".to_owned();
                let hint = "the PIN itself is never written here".to_owned();
                self.report
                    .add(self.text, node.at(), node.path(), message, Some(hint));
                return None;
            }
        };
        Some(CustodyConfig::Pkcs11 {
            module: node.path_value("module")?,
            token: node.text("token")?.value.to_owned(),
            pin,
            rsa_bits: rsa_bits(node),
        })
    }
}

fn external(node: &Node) -> Option<CustodyConfig> {
    let profile = node.text("profile").map_or("default", |found| found.value);
    Some(CustodyConfig::AwsKms {
        region: node.text("region")?.value.to_owned(),
        endpoint: node.text("endpoint").map(|found| found.value.to_owned()),
        ca_file: node.path_value("ca_file"),
        credentials: node
            .path_value("credentials_file")
            .map(|file| (file, profile.to_owned())),
        rsa_bits: rsa_bits(node),
    })
}

fn rsa_bits(node: &Node) -> u32 {
    node.text("rsa_bits")
        .and_then(|found| found.value.parse().ok())
        .unwrap_or(2048)
}

fn signing(keys: &Node) -> SignatureAlgorithm {
    keys.text("signing_algorithm")
        .and_then(|found| SignatureAlgorithm::from_name(found.value))
        .unwrap_or(SignatureAlgorithm::Es256)
}

fn encryption(keys: &Node) -> KeyManagement {
    keys.text("encryption_algorithm")
        .and_then(|found| KeyManagement::from_name(found.value))
        .unwrap_or(KeyManagement::EcdhEs)
}
