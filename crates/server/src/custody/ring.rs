//! What an operator does to a ring: from the command line, while servers run on the same shelf or not. Running servers
//! notice within a second.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::ids::KeyId;
use portcullis_core::jose::jwk::{KeyAlgorithm, PublicKey, Use};
use portcullis_core::keys::{
    Birth, Checked, JwksDocument, KeyView, LONGEST_CHAIN, MOST_KEYS, NotPossible, RotationPolicy, State,
    Transition, check_chain, next_due, plan, revoke, rotate_now,
};
use portcullis_core::random::{self, SecureRandom};
use portcullis_core::time::UnixTime;
use portcullis_net::random::System;

use super::Error;
use super::change::{KeyChange, changes_since, states_of};
use super::emergency::{earlier, outcome, stated, void};
use super::list::{KeyDescription, list_shelf};
use super::maker::{Maker, RingSettings, checked, jwks_of, views_of};
use super::shelf::{Cause, KeyRecord, Shelf, Shelved};
use super::signer::RequestSigner;
use super::transition::{Editor, NO_EDIT, NO_PLAN, Planner, Urgency, Wanted};
use super::uses::Uses;

pub use super::emergency::{Alone, Revoked, revoke_alone};

/// Something that will happen to a ring if nobody does anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When, or a little later.
    pub at: UnixTime,
    /// What.
    pub what: Transition,
}

/// What will happen next, and what is due already. Needs no private key.
///
/// # Errors
/// [`Error`]: the shelf cannot be read.
pub fn planned(shelf: &dyn Shelf, policy: &RotationPolicy, now: UnixTime) -> Result<Vec<Planned>, Error> {
    let views = views_of(&shelf.read()?.records, &shelf.place())?;
    let at = next_due(now, policy, &views).unwrap_or(now);
    Ok(plan(at, policy, &views)
        .into_iter()
        .map(|what| Planned { at, what })
        .collect())
}

/// What the planner sees of a ring. Needs no private key.
///
/// # Errors
/// [`Error`]: the shelf cannot be read, or a record on it is damaged.
pub fn views(shelf: &dyn Shelf) -> Result<Vec<KeyView>, Error> {
    views_of(&shelf.read()?.records, &shelf.place())
}

/// The JWK Set of a ring, as its servers publish it at this moment. Needs no private key.
///
/// # Errors
/// [`Error`]: the shelf cannot be read, or a record on it is damaged.
pub fn jwks(shelf: &dyn Shelf, now: UnixTime) -> Result<JwksDocument, Error> {
    jwks_of(&shelf.read()?.records, &shelf.place(), now)
}

/// Writes the JWK Set of a ring into `dir` as `jwks.json`, for a web server or CDN: whole at any moment, readable by all.
///
/// # Errors
/// As [`jwks`], and the disk.
pub fn publish(shelf: &dyn Shelf, dir: &Path, now: UnixTime) -> Result<PathBuf, Error> {
    let document = jwks(shelf, now)?;
    fs::create_dir_all(dir).map_err(Error::io("create the folder", dir))?;
    let path = dir.join("jwks.json");
    let suffix = random::token::<12>(&System).map_err(|_| Error::Crypto("make randomness"))?;
    let beside = dir.join(format!(".jwks-{suffix}"));
    fs::write(&beside, document.bytes()).map_err(Error::io("write", &beside))?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o644))
        .map_err(Error::io("open to all", &beside))?;
    fs::File::open(&beside)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("sync", &beside))?;
    fs::rename(&beside, &path).map_err(Error::io("rename a file to", &path))?;
    Ok(path)
}

/// A ring in an operator's hands.
pub struct Operator {
    maker: Maker,
    elsewhere: Vec<Arc<dyn Shelf>>,
    unrecorded: Mutex<Vec<KeyChange>>,
}

/// Opens a ring for an operator. Makes no key of the ring.
///
/// # Errors
/// [`Error`]: the shelf, or the CA's key.
pub fn open_for_operator(
    settings: RingSettings,
    now: UnixTime,
    random: &dyn SecureRandom,
) -> Result<Operator, Error> {
    Ok(Operator {
        maker: Maker::open(settings, now, random, &Uses::default())?,
        elsewhere: Vec::new(),
        unrecorded: Mutex::default(),
    })
}

/// Which key a certificate request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestFor {
    /// One that is there.
    Key(KeyId),
    /// A new one, which is staged under a certificate of the built-in CA until the other comes.
    New(Use),
}

/// What is taken in.
#[derive(Clone, Copy)]
pub enum Import<'a> {
    /// The chain for a key that is there.
    ChainFor(&'a KeyId),
    /// A private key (PKCS#8, PEM or DER) with its chain.
    PrivateKey {
        /// What it is for, from now on and for good.
        purpose: Use,
        /// The key.
        pkcs8: &'a [u8],
    },
}

impl Operator {
    /// With the rings of other roles: a key that is on one of them is not taken in here, for whatever purpose.
    #[must_use]
    pub fn beside(self, elsewhere: Vec<Arc<dyn Shelf>>) -> Self {
        Self { elsewhere, ..self }
    }

    /// Takes what was changed and is not on record yet, also by a call that failed later.
    #[must_use]
    pub fn take_changes(&self) -> Vec<KeyChange> {
        std::mem::take(&mut *self.lock_unrecorded())
    }

    /// All keys.
    ///
    /// # Errors
    /// [`Error`]: the shelf cannot be read.
    pub fn list(&self) -> Result<Vec<KeyDescription>, Error> {
        list_shelf(self.maker.shelf())
    }

    /// What will happen next. See [`planned`].
    ///
    /// # Errors
    /// As [`planned`].
    pub fn plan(&self, now: UnixTime) -> Result<Vec<Planned>, Error> {
        planned(self.maker.shelf(), &self.maker.settings.policy, now)
    }

    /// Begins a rotation: the staged key becomes the primary as soon as every verifier knows it. Returns what changed
    /// at once: nothing, when a rotation is under way already.
    ///
    /// # Errors
    /// [`Error`]: too many keys, or the shelf or the place for private keys.
    pub fn rotate(
        &self,
        purpose: Use,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<Vec<KeyChange>, Error> {
        let policy = self.maker.settings.policy;
        let rotation = |keys: &[KeyView]| {
            let mut transitions: Vec<Transition> = rotate_now(now, &policy, keys, purpose)
                .map_err(|error| Error::Refused(error.to_string()))?
                .into_iter()
                .collect();
            // What is known to all by now takes over in the same write.
            let mut after = keys.to_vec();
            if let [hasten @ Transition::Hasten { .. }] = transitions.as_slice()
                && hasten.apply(now, &mut after, None).is_ok()
            {
                let due = plan(now, &policy, &after);
                transitions.extend(
                    due.into_iter()
                        .filter(|step| matches!(step, Transition::Enable { .. })),
                );
            }
            Ok(transitions)
        };
        self.change(Cause::Operator, None, &rotation, NO_EDIT, now, random)
    }

    /// Revokes a key: from now on what it signed is void, and another takes its place in the same moment.
    ///
    /// Where no replacement can be made, whatever the reason, the key is revoked all the same, and the servers make the
    /// replacement when they can.
    ///
    /// # Errors
    /// [`Error`]: no such key, no reason, or the shelf.
    pub fn revoke(
        &self,
        kid: &KeyId,
        reason: &str,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<Revoked, Error> {
        let reason = stated(reason)?;
        let RingSettings {
            policy, role, ledger, ..
        } = &self.maker.settings;
        let shelf = self.maker.shelf();
        let before = shelf.read()?;
        if let Some(revocation) = earlier(&before, kid)? {
            return Ok(Revoked::Before(revocation));
        }
        let revocation = |keys: &[KeyView]| {
            revoke(now, policy, keys, kid)
                .map(|step| vec![step])
                .map_err(|error| Error::Refused(error.to_string()))
        };
        let cause = Cause::Emergency;
        match self.change(cause, Some(reason), &revocation, NO_EDIT, now, random) {
            Ok(changes) => Ok(Revoked::Now {
                changes,
                unreplaced: None,
            }),
            Err(error @ Error::Refused(_)) => Err(error),
            Err(error) => {
                tracing::error!(%kid, "revoking a key without making another: {error}");
                let after = void(shelf, policy, kid, reason, now)?;
                ledger.remember(&after.records);
                let why = error.to_string();
                let revoked = outcome(role, &states_of(&before.records), &after, kid, &why);
                if let Revoked::Now { changes, .. } = &revoked {
                    self.lock_unrecorded().extend(changes.iter().cloned());
                }
                Ok(revoked)
            }
        }
    }

    /// A request for a certificate (PKCS#10, RFC 2986) in PEM, signed by the key itself, and the key's name.
    ///
    /// # Errors
    /// [`Error::Refused`] for an encryption key: it cannot sign, not even this. Also as [`Self::rotate`].
    pub fn csr(
        &self,
        of: &RequestFor,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<(KeyId, String), Error> {
        let kid = match of {
            RequestFor::Key(kid) => kid.clone(),
            RequestFor::New(Use::Signature) => self.stage(Use::Signature, now, random)?,
            RequestFor::New(Use::Encryption) => return Err(cannot_sign()),
        };
        let shelved = self.maker.shelf().read()?;
        let record = find(&shelved, &kid)?;
        let KeyAlgorithm::Signature(algorithm) = record.algorithm else {
            return Err(cannot_sign());
        };
        let signer = self
            .maker
            .backend_of(record)?
            .signer(&record.kid, algorithm, &record.handle)
            .map_err(|source| Error::Backend {
                kid: kid.to_string(),
                source,
            })?;
        let key = checked(record, &self.maker.place())?;
        let no_request = || {
            Error::Refused(format!(
                "no certificate request can be made for a key for {}; make the key for another algorithm",
                record.algorithm.name()
            ))
        };
        let request_signer = RequestSigner::new(&*signer, &key).ok_or_else(no_request)?;
        let not_after = now.plus(self.maker.settings.policy.timing().validity);
        let request = self
            .maker
            .request(Use::Signature, &kid, now, not_after, random)?
            .request(&request_signer)
            .map_err(|error| {
                Error::Refused(format!("the key `{kid}` could not sign its request: {error}"))
            })?;
        let request = request_signer.named(request).ok_or_else(no_request)?;
        let request = pem("CERTIFICATE REQUEST", &request);
        Ok((kid, request))
    }

    /// Takes in a chain from an outside CA, or a private key with one. A private key is staged.
    ///
    /// # Errors
    /// [`Error::Refused`] when the chain is not one for this key, purpose and server, or the key is known already.
    pub fn import(
        &self,
        what: Import<'_>,
        chain_pem: &[u8],
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<KeyId, Error> {
        let chain = certificates(chain_pem)?;
        // With no anchors of ours, the chain has its root in it, and ends with the earliest end in it.
        let accepted = |key: &PublicKey, purpose: Use| -> Result<Checked, Error> {
            check_chain(&chain, &[], key, purpose, &self.maker.settings.identity, now)
                .map_err(|flaw| Error::Refused(flaw.to_string()))
        };
        match what {
            Import::ChainFor(kid) => {
                let replace = |records: &mut Vec<KeyRecord>| {
                    let record = records
                        .iter_mut()
                        .find(|record| record.kid == *kid && record.state != State::Deleted)
                        .ok_or_else(|| unknown(kid))?;
                    let key = PublicKey::from_spki(&record.public).ok_or_else(|| unknown(kid))?;
                    record.chain = accepted(&key, record.algorithm.purpose())?.chain().to_vec();
                    record.outside_chain = true;
                    Ok(())
                };
                self.change(Cause::Operator, None, NO_PLAN, &replace, now, random)?;
                Ok(kid.clone())
            }
            Import::PrivateKey { purpose, pkcs8 } => {
                let algorithm: KeyAlgorithm = match purpose {
                    Use::Signature => self.maker.settings.signing.into(),
                    Use::Encryption => self.maker.settings.encryption.into(),
                };
                let der = pkcs8_der(pkcs8, purpose)?;
                // Before the private key goes anywhere: whose is the chain, and is it for this purpose?
                let own = chain
                    .first()
                    .and_then(|own| super::maker::spki_of(own))
                    .and_then(|own| PublicKey::from_spki(&own))
                    .ok_or_else(|| {
                        Error::Refused(
                            "the first certificate has no public key that is usable here".to_owned(),
                        )
                    })?;
                let accepted = accepted(&own, purpose)?;
                let own = own.to_spki();
                self.refuse_known(&self.maker.shelf().read()?, &own)?;
                for shelf in &self.elsewhere {
                    self.refuse_known(&shelf.read()?, &own)?;
                }
                let mut record = self.maker.import(algorithm, &der, now, random)?;
                if record.public != own {
                    self.maker.forget_made(&record.handle);
                    return Err(Error::Refused(
                        "the first certificate is for another key".to_owned(),
                    ));
                }
                record.chain = accepted.chain().to_vec();
                record.outside_chain = true;
                record.cause = Cause::Operator;
                let add = |records: &mut Vec<KeyRecord>| {
                    self.refuse_known(
                        &Shelved {
                            generation: 0,
                            records: records.clone(),
                        },
                        &record.public,
                    )?;
                    let present = records
                        .iter()
                        .filter(|other| other.purpose == record.purpose && other.state != State::Deleted)
                        .count();
                    room_for_one_more(present)?;
                    records.push(record.clone());
                    records.sort_by(|a, b| a.kid.cmp(&b.kid));
                    Ok(())
                };
                let outcome = self.change(Cause::Operator, None, NO_PLAN, &add, now, random);
                if outcome.is_err() {
                    self.maker.forget_made(&record.handle);
                }
                outcome.map(|_| record.kid)
            }
        }
    }

    /// Writes the JWK Set for a web server. See [`publish`].
    ///
    /// # Errors
    /// As [`publish`].
    pub fn publish(&self, dir: &Path, now: UnixTime) -> Result<PathBuf, Error> {
        publish(self.maker.shelf(), dir, now)
    }

    /// A key that was here, for whatever purpose and however it ended, does not come in a second time.
    fn refuse_known(&self, shelved: &Shelved, public: &[u8]) -> Result<(), Error> {
        let thumbprint = PublicKey::from_spki(public).map(|key| key.thumbprint().short());
        let known = shelved.records.iter().find(|record| {
            record.public == public
                || thumbprint
                    .as_ref()
                    .is_some_and(|end| record.kid.as_str().ends_with(end.as_str()))
        });
        match known {
            None => Ok(()),
            Some(record) if record.revoked.is_some() => Err(Error::Refused(format!(
                "this key is `{}`, which was revoked; a revoked key never comes back",
                record.kid
            ))),
            Some(record) => Err(Error::Refused(format!(
                "this key is here already, as `{}` for {}; a key has one purpose and one name",
                record.kid,
                record.purpose.name()
            ))),
        }
    }

    fn stage(&self, purpose: Use, now: UnixTime, random: &dyn SecureRandom) -> Result<KeyId, Error> {
        let staging = |keys: &[KeyView]| {
            let present = keys
                .iter()
                .filter(|key| key.purpose == purpose && key.state != State::Deleted)
                .count();
            room_for_one_more(present)?;
            Ok(vec![Transition::Make {
                purpose,
                birth: Birth::Staged,
            }])
        };
        self.change(Cause::Operator, None, &staging, NO_EDIT, now, random)?
            .into_iter()
            .find(|change| change.from.is_none() && change.purpose.jwk_use() == Some(purpose))
            .map(|change| change.kid)
            .ok_or_else(|| Error::Busy(self.maker.place()))
    }

    fn lock_unrecorded(&self) -> MutexGuard<'_, Vec<KeyChange>> {
        self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(
        &self,
        cause: Cause,
        reason: Option<&str>,
        plan: &Planner<'_>,
        edit: &Editor<'_>,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<Vec<KeyChange>, Error> {
        let before = self.maker.shelf().read()?;
        let wanted = Wanted {
            cause,
            reason,
            urgency: Urgency::Now,
            plan,
            edit,
        };
        let (after, _) = self.maker.carry_out(wanted, now, random)?;
        let RingSettings { role, ledger, .. } = &self.maker.settings;
        ledger.remember(&after.records);
        let changes = changes_since(role, &states_of(&before.records), &after.records);
        self.lock_unrecorded().extend(changes.iter().cloned());
        Ok(changes)
    }
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator")
            .field("settings", &self.maker.settings)
            .finish_non_exhaustive()
    }
}

/// Every published key is one more that each verifier keeps: nobody, not an operator either, has many of a purpose.
fn room_for_one_more(present: usize) -> Result<(), Error> {
    if present < MOST_KEYS {
        Ok(())
    } else {
        Err(Error::Refused(NotPossible::TooMany(present).to_string()))
    }
}

fn find<'a>(shelved: &'a Shelved, kid: &KeyId) -> Result<&'a KeyRecord, Error> {
    shelved
        .records
        .iter()
        .find(|record| record.kid == *kid && record.state != State::Deleted)
        .ok_or_else(|| unknown(kid))
}

fn unknown(kid: &KeyId) -> Error {
    Error::Refused(format!(
        "there is no key `{kid}`: `keys list` names those that there are"
    ))
}

fn cannot_sign() -> Error {
    Error::Refused(
        "an encryption key cannot sign, not even a request for its own certificate, because a key has one purpose; the \
         built-in CA certifies it without one, or have another CA certify the public key as it stands in the JWK Set \
         and take the chain in with `keys import --kid KID --chain FILE`"
            .to_owned(),
    )
}

/// The certificates in a text (PEM, RFC 7468 §5).
fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let mut chain = Vec::new();
    for block in x509_parser::pem::Pem::iter_from_buffer(pem).take(LONGEST_CHAIN + 1) {
        let block = block.map_err(|error| Error::Refused(format!("the chain is not PEM: {error}")))?;
        if block.label != "CERTIFICATE" {
            return Err(Error::Refused(format!(
                "the chain has a `{}` in it; only certificates belong there",
                block.label
            )));
        }
        chain.push(block.contents);
    }
    Ok(chain)
}

/// RFC 7468 §2.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            out.push('\n');
        }
        out.push(character);
    }
    out.push_str(&format!("\n-----END {label}-----\n"));
    out
}

/// The DER form of a private key.
fn pkcs8_der(text: &[u8], purpose: Use) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
    if text.trim_ascii_start().first() == Some(&b'{') {
        let jwk: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
        let says = jwk.get("use").and_then(serde_json::Value::as_str);
        let hint = match says {
            Some(other) if other != purpose.name() => {
                format!(
                    "this is a JWK for `{other}`, and a key has one purpose: it is no key for `{}`",
                    purpose.name()
                )
            }
            Some(_) | None => "this is a JWK; a private key comes in as PKCS#8".to_owned(),
        };
        return Err(Error::Refused(hint));
    }
    if !text.trim_ascii_start().starts_with(b"-----BEGIN") {
        return Ok(zeroize::Zeroizing::new(text.to_vec()));
    }
    match x509_parser::pem::Pem::iter_from_buffer(text).next() {
        Some(Ok(block)) if block.label == "PRIVATE KEY" => Ok(zeroize::Zeroizing::new(block.contents)),
        Some(Ok(block)) => Err(Error::Refused(format!(
            "a `{}` is not a private key in PKCS#8; convert it: openssl pkcs8 -topk8 -nocrypt",
            block.label
        ))),
        Some(Err(_)) | None => Err(Error::Refused("the private key is not PEM".to_owned())),
    }
}
