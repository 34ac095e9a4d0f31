//! Private keys in an HSM, a smart card or a TPM, behind a PKCS #11 module (v2.40 and later).
//!
//! Keys are made in the token, `CKA_SENSITIVE` and not `CKA_EXTRACTABLE`, and found again by their `CKA_ID`, which is
//! what the handle names. A new key is tried once before it is given out: what a token offers and what it does are two
//! things. When the token, the module or the device goes away, each use says so at once, and the next one after it is
//! back works: sessions are opened again, the PIN is shown again, a module that died is started again.

mod keys;
mod module;
mod pool;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use cryptoki::mechanism::MechanismType;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::{KeyManagement, OpeningFailed, PayloadOpener, Wrapped};
use portcullis_core::jose::jwk::{EcCurve, PublicKey, Use};
use portcullis_core::jose::jws::{SigningUnavailable, TokenSigner};
use portcullis_core::random::SecureRandom;
use zeroize::Zeroizing;

use super::secret::SecretSource;
use super::{BackendError, KeyBackend, NewKey, trial};
use keys::{Hash, Kind, Signing};
use module::Module;
use pool::{MAKE, Place, Pool, Token, Trouble, USE};

/// How a handle begins: it is a PKCS #11 URI (RFC 7512), which people can read and other programs understand.
const SCHEME: &str = "pkcs11:id=";

/// `[keys.pkcs11]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkcs11Settings {
    /// The HSM's library.
    pub module: PathBuf,
    /// Label or serial number of the token.
    pub token: String,
    /// Where the user's PIN is.
    pub pin: SecretSource,
    /// How many sessions to use at the same time.
    pub sessions: usize,
    /// Length of new RSA keys, in bits.
    pub rsa_bits: u32,
}

/// One token.
pub struct Pkcs11Backend {
    pool: Arc<Pool>,
    settings: Pkcs11Settings,
    random: Arc<dyn SecureRandom>,
}

impl Pkcs11Backend {
    /// Loads the module. The token is not looked for yet, because it may come later.
    ///
    /// # Errors
    /// [`BackendError::Configuration`] for a path that is no PKCS #11 module.
    pub fn open(settings: Pkcs11Settings, random: Arc<dyn SecureRandom>) -> Result<Self, BackendError> {
        let token = Token {
            name: settings.token.clone(),
            pin: settings.pin.clone(),
        };
        let pool = Pool::start(Module::load(&settings.module)?, token, settings.sessions)?;
        Ok(Self {
            pool: Arc::new(pool),
            settings,
            random,
        })
    }

    fn make(
        &self,
        kind: Kind,
        needed: Vec<MechanismType>,
        purpose: Use,
        label: &str,
    ) -> Result<(Vec<u8>, PublicKey), BackendError> {
        let mut id = vec![0; keys::ID];
        self.random
            .fill(&mut id)
            .map_err(|_| BackendError::Crypto("make randomness"))?;
        let label = label.to_owned();
        let wanted = id.clone();
        let asked = Arc::new(AtomicBool::new(false));
        let asking = Arc::clone(&asked);
        let made = self.run(MAKE, move |session, place| {
            let offered = place.inside.library().get_mechanism_list(place.slot)?;
            for mechanism in &needed {
                if !offered.contains(mechanism) {
                    return Err(keys::refused(&format!(
                        "the token does not offer {mechanism}, which such keys need"
                    )));
                }
            }
            // A second try after a lost session: what the first one left is not used.
            keys::destroy(session, &wanted)?;
            asking.store(true, Ordering::SeqCst);
            keys::generate(session, &offered, kind, purpose, &wanted, &label)?;
            let key = keys::find(session, &wanted)?.ok_or_else(|| {
                keys::refused("the token made a key and does not find it: it does not keep CKA_ID")
            })?;
            keys::facts(session, key)?.fit(purpose)?;
            keys::public(session, &wanted)
        });
        match made {
            Ok(public) => Ok((id, public)),
            Err(error) => {
                // A token that was not reached, or that refused before, has nothing of it.
                if asked.load(Ordering::SeqCst) {
                    self.abandon(&id);
                }
                Err(error)
            }
        }
    }

    /// Destroys what an attempt to make a key may have left.
    fn abandon(&self, id: &[u8]) {
        let left = id.to_vec();
        if let Err(error) = self.run(USE, move |session, _| keys::destroy(session, &left)) {
            tracing::warn!(
                %error,
                id = super::hex(id),
                "an attempt to make a key failed, and the token does not say whether it left one: nothing will use it"
            );
        }
    }

    fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl Fn(&Session, &Place<'_>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, BackendError> {
        self.pool.run(patience, work).map_err(in_words)
    }

    /// Finds the key and reads its public half.
    fn look(&self, id: &[u8], purpose: Use) -> Result<PublicKey, BackendError> {
        let id = id.to_vec();
        self.run(USE, move |session, _| {
            let key = there(session, &id)?;
            keys::facts(session, key)?.fit(purpose)?;
            keys::public(session, &id)
        })
    }

    fn signing(&self, kid: KeyId, algorithm: SignatureAlgorithm, id: Vec<u8>, how: Signing) -> Signer {
        Signer {
            pool: Arc::clone(&self.pool),
            kid,
            algorithm,
            how,
            id,
        }
    }

    fn opening(&self, kid: KeyId, algorithm: KeyManagement, id: Vec<u8>, public: PublicKey) -> Opener {
        Opener {
            pool: Arc::clone(&self.pool),
            kid,
            algorithm,
            id,
            public,
        }
    }
}

impl KeyBackend for Pkcs11Backend {
    fn name(&self) -> &'static str {
        "pkcs11"
    }

    fn make_signing(&self, algorithm: SignatureAlgorithm, label: &str) -> Result<NewKey, BackendError> {
        let (kind, how) = signing_kind(algorithm, self.settings.rsa_bits)?;
        let (id, public) = self.make(kind, vec![how.needs()], Use::Signature, label)?;
        let signer = self.signing(trial::kid()?, algorithm, id.clone(), how);
        if let Err(error) = trial::sign(&signer, &public) {
            self.abandon(&id);
            return Err(error);
        }
        Ok(NewKey {
            handle: handle(&id, Use::Signature),
            public,
        })
    }

    fn make_sealing(&self, algorithm: KeyManagement, label: &str) -> Result<NewKey, BackendError> {
        let (kind, needed) = match algorithm {
            KeyManagement::EcdhEs | KeyManagement::EcdhEsA128Kw | KeyManagement::EcdhEsA256Kw => {
                (Kind::Ec(EcCurve::P256), MechanismType::ECDH1_DERIVE)
            }
            KeyManagement::RsaOaep256 => (
                Kind::Rsa {
                    bits: self.settings.rsa_bits,
                },
                MechanismType::RSA_PKCS_OAEP,
            ),
            KeyManagement::Dir => return Err(trial::no_public_key()),
        };
        let (id, public) = self.make(kind, vec![needed], Use::Encryption, label)?;
        let opener = self.opening(trial::kid()?, algorithm, id.clone(), public.clone());
        if let Err(error) = trial::open(&opener, algorithm) {
            self.abandon(&id);
            return Err(error);
        }
        Ok(NewKey {
            handle: handle(&id, Use::Encryption),
            public,
        })
    }

    fn signer(
        &self,
        kid: &KeyId,
        algorithm: SignatureAlgorithm,
        handle: &[u8],
    ) -> Result<Arc<dyn TokenSigner>, BackendError> {
        let id = id_of(handle, Use::Signature)?;
        let (_, how) = signing_kind(algorithm, self.settings.rsa_bits)?;
        trial::fits(&self.look(&id, Use::Signature)?, algorithm)?;
        Ok(Arc::new(self.signing(kid.clone(), algorithm, id, how)))
    }

    fn opener(
        &self,
        kid: &KeyId,
        algorithm: KeyManagement,
        handle: &[u8],
    ) -> Result<Arc<dyn PayloadOpener>, BackendError> {
        let id = id_of(handle, Use::Encryption)?;
        let public = self.look(&id, Use::Encryption)?;
        trial::opens(&public, algorithm)?;
        Ok(Arc::new(self.opening(kid.clone(), algorithm, id, public)))
    }

    fn forget(&self, handle: &[u8]) -> Result<(), BackendError> {
        let id = id_of(handle, Use::Signature).or_else(|_| id_of(handle, Use::Encryption))?;
        self.run(USE, move |session, _| keys::destroy(session, &id))
    }
}

impl std::fmt::Debug for Pkcs11Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pkcs11Backend")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Signs in the token.
struct Signer {
    pool: Arc<Pool>,
    kid: KeyId,
    algorithm: SignatureAlgorithm,
    how: Signing,
    id: Vec<u8>,
}

impl TokenSigner for Signer {
    fn kid(&self) -> &KeyId {
        &self.kid
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningUnavailable> {
        // ECDSA is done over a digest of ours; few tokens hash for it.
        let data = match self.algorithm {
            SignatureAlgorithm::Es256 => digest(&SHA256, message).as_ref().to_vec(),
            SignatureAlgorithm::Es384 => digest(&SHA384, message).as_ref().to_vec(),
            SignatureAlgorithm::Es512 => digest(&SHA512, message).as_ref().to_vec(),
            SignatureAlgorithm::EdDsa
            | SignatureAlgorithm::Rs256
            | SignatureAlgorithm::Rs384
            | SignatureAlgorithm::Rs512
            | SignatureAlgorithm::Ps256
            | SignatureAlgorithm::Ps384
            | SignatureAlgorithm::Ps512
            | SignatureAlgorithm::MlDsa65 => message.to_vec(),
        };
        let (id, how) = (self.id.clone(), self.how);
        self.pool
            .run(USE, move |session, _| {
                let key = there(session, &id)?;
                keys::sign(session, key, how, &data)
            })
            .map_err(|trouble| SigningUnavailable(in_words(trouble).to_string()))
    }

    fn is_quick(&self) -> bool {
        false
    }
}

/// Opens in the token.
struct Opener {
    pool: Arc<Pool>,
    kid: KeyId,
    algorithm: KeyManagement,
    id: Vec<u8>,
    public: PublicKey,
}

impl PayloadOpener for Opener {
    fn kid(&self) -> &KeyId {
        &self.kid
    }

    fn key(&self) -> &PublicKey {
        &self.public
    }

    fn algorithm(&self) -> Option<KeyManagement> {
        Some(self.algorithm)
    }

    fn recover(&self, wrapped: Wrapped<'_>) -> Result<Zeroizing<Vec<u8>>, OpeningFailed> {
        let id = self.id.clone();
        let opened = match wrapped {
            Wrapped::Agreed { peer } => {
                let PublicKey::Ec { curve, .. } = peer else {
                    return Err(OpeningFailed::Invalid);
                };
                if !matches!(&self.public, PublicKey::Ec { curve: own, .. } if own == curve) {
                    return Err(OpeningFailed::Invalid);
                }
                let length = curve.bytes();
                let point = peer.uncompressed().ok_or(OpeningFailed::Invalid)?;
                self.pool.run(USE, move |session, _| {
                    let key = there(session, &id)?;
                    keys::agree(session, key, &point, length)
                })
            }
            Wrapped::RsaOaep256 { encrypted_key } => {
                if !matches!(self.public, PublicKey::Rsa { .. }) {
                    return Err(OpeningFailed::Invalid);
                }
                let encrypted = encrypted_key.to_vec();
                self.pool.run(USE, move |session, _| {
                    let key = there(session, &id)?;
                    keys::decrypt(session, key, &encrypted)
                })
            }
        };
        opened.map_err(|trouble| match trouble {
            Trouble::Invalid => OpeningFailed::Invalid,
            other @ (Trouble::Token(_) | Trouble::Input(_) | Trouble::Ours(_)) => {
                OpeningFailed::Unavailable(in_words(other).to_string())
            }
        })
    }
}

fn there(session: &Session, id: &[u8]) -> Result<ObjectHandle, Trouble> {
    keys::find(session, id)?
        .ok_or_else(|| Trouble::Ours(BackendError::Missing(format!("{SCHEME}{}", escaped(id)))))
}

fn in_words(trouble: Trouble) -> BackendError {
    match trouble {
        Trouble::Ours(error) => error,
        Trouble::Token(error) | Trouble::Input(error) => BackendError::Unavailable(module::short(&error)),
        Trouble::Invalid => BackendError::Refused("what was to be opened is not for this key".to_owned()),
    }
}

fn signing_kind(algorithm: SignatureAlgorithm, bits: u32) -> Result<(Kind, Signing), BackendError> {
    Ok(match algorithm {
        SignatureAlgorithm::Es256 => (Kind::Ec(EcCurve::P256), Signing::Ecdsa),
        SignatureAlgorithm::Es384 => (Kind::Ec(EcCurve::P384), Signing::Ecdsa),
        SignatureAlgorithm::Es512 => (Kind::Ec(EcCurve::P521), Signing::Ecdsa),
        SignatureAlgorithm::EdDsa => (Kind::Ed25519, Signing::Eddsa),
        SignatureAlgorithm::Rs256 => (Kind::Rsa { bits }, Signing::Rsa(Hash::Sha256)),
        SignatureAlgorithm::Rs384 => (Kind::Rsa { bits }, Signing::Rsa(Hash::Sha384)),
        SignatureAlgorithm::Rs512 => (Kind::Rsa { bits }, Signing::Rsa(Hash::Sha512)),
        SignatureAlgorithm::Ps256 => (Kind::Rsa { bits }, Signing::RsaPss(Hash::Sha256)),
        SignatureAlgorithm::Ps384 => (Kind::Rsa { bits }, Signing::RsaPss(Hash::Sha384)),
        SignatureAlgorithm::Ps512 => (Kind::Rsa { bits }, Signing::RsaPss(Hash::Sha512)),
        SignatureAlgorithm::MlDsa65 => {
            return Err(BackendError::Refused(
                "keys for ML-DSA-65 cannot be made through PKCS #11 yet; use ES256".to_owned(),
            ));
        }
    })
}

/// `pkcs11:id=%01…;type=private?x-use=sig`: RFC 7512 §2.3, with a vendor attribute that names the purpose.
fn handle(id: &[u8], purpose: Use) -> Vec<u8> {
    format!("{SCHEME}{}{}", escaped(id), suffix(purpose)).into_bytes()
}

const fn suffix(purpose: Use) -> &'static str {
    match purpose {
        Use::Signature => ";type=private?x-use=sig",
        Use::Encryption => ";type=private?x-use=enc",
    }
}

fn escaped(id: &[u8]) -> String {
    use std::fmt::Write as _;
    id.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02x}");
        text
    })
}

fn id_of(handle: &[u8], purpose: Use) -> Result<Vec<u8>, BackendError> {
    let wrong = || {
        let shown: String = String::from_utf8_lossy(handle).chars().take(80).collect();
        BackendError::Damaged(format!(
            "`{}` is not one of a PKCS #11 key for this purpose; was `custody` in [keys] changed? A key stays where it was \
             made",
            shown.escape_debug()
        ))
    };
    let text = std::str::from_utf8(handle).map_err(|_| wrong())?;
    let digits = text
        .strip_prefix(SCHEME)
        .and_then(|text| text.strip_suffix(suffix(purpose)))
        .ok_or_else(wrong)?;
    let mut id = Vec::new();
    for pair in digits.strip_prefix('%').ok_or_else(wrong)?.split('%') {
        if pair.len() != 2 {
            return Err(wrong());
        }
        id.push(u8::from_str_radix(pair, 16).map_err(|_| wrong())?);
    }
    if id.len() == keys::ID {
        Ok(id)
    } else {
        Err(wrong())
    }
}
