//! Private keys at somebody else's key service. One is spoken to: AWS KMS, and what has its interface.
//!
//! Another service is another [`KeyBackend`] beside this one: the trait is the interface. Requests are signed
//! (Signature Version 4) with credentials from the environment or a credentials file; instance roles and single sign-on
//! are not asked for credentials. Each use of a key is a request, so each use can take seconds and can fail.

mod credentials;
mod line;
mod sigv4;

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, Uri, header};
use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::{KeyManagement, OpeningFailed, PayloadOpener, Wrapped};
use portcullis_core::jose::jwk::{PublicKey, Use};
use portcullis_core::jose::jws::{SigningUnavailable, TokenSigner};
use portcullis_net::clock::Clock;
use portcullis_net::fetch::{Fetcher, Reach};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{BackendError, KeyBackend, NewKey, der, trial};
pub use credentials::AwsCredentials;
use line::Line;
use sigv4::Scope;

/// Days until a forgotten key is gone for good: the least that the service takes. It is unusable at once.
const DELETION_DAYS: u8 = 7;
/// Longest message that the service hashes itself. Of a longer one it gets the digest.
const RAW_BYTES: usize = 4096;
/// How a handle begins.
const SCHEME: &str = "aws-kms:";

/// `[keys.external]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKmsSettings {
    /// Such as `eu-central-1`.
    pub region: String,
    /// The service's URL where it is not the region's own.
    pub endpoint: Option<String>,
    /// Certificates (PEM) that are trusted besides the operating system's.
    pub ca_file: Option<PathBuf>,
    /// Where the credentials are.
    pub credentials: AwsCredentials,
    /// Length of new RSA keys, in bits.
    pub rsa_bits: u32,
}

/// Keys at AWS KMS.
pub struct AwsKms {
    service: Arc<Service>,
}

struct Service {
    settings: AwsKmsSettings,
    endpoint: Uri,
    host: String,
    line: Line,
    clock: Arc<dyn Clock>,
}

/// What a call came to besides an answer.
enum Trouble {
    Ours(BackendError),
    /// The service says that the ciphertext or the peer's key is none for this key.
    Invalid,
}

impl AwsKms {
    /// Reads the credentials, so that what is wrong with them is said now. Nothing is sent yet.
    ///
    /// # Errors
    /// [`BackendError::Configuration`].
    pub fn open(settings: AwsKmsSettings, clock: Arc<dyn Clock>) -> Result<Self, BackendError> {
        let wrong = |detail: String| BackendError::Configuration(format!("[keys.external]: {detail}"));
        let text = settings
            .endpoint
            .clone()
            .unwrap_or_else(|| format!("https://kms.{}.amazonaws.com/", settings.region));
        let endpoint: Uri = text
            .parse()
            .map_err(|error| wrong(format!("`{text}` is not a URL: {error}")))?;
        let Some(authority) = endpoint.authority() else {
            return Err(wrong(format!("`{text}` is not a URL: it has no host")));
        };
        if !matches!(endpoint.path(), "" | "/") || endpoint.query().is_some() {
            return Err(wrong(format!("`{text}` has a path, and the service has none")));
        }
        let host = authority.as_str().to_owned();
        settings.credentials.read()?;
        let fetcher = match &settings.ca_file {
            None => Fetcher::new(Reach::Configured),
            Some(path) => Fetcher::trusting(Reach::Configured, path),
        }
        .map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            service: Arc::new(Service {
                line: Line::open(fetcher)?,
                settings,
                endpoint,
                host,
                clock,
            }),
        })
    }

    fn make(&self, spec: &str, usage: &str, label: &str) -> Result<(String, PublicKey), BackendError> {
        let asked = json!({
            "KeySpec": spec,
            "KeyUsage": usage,
            "Description": label,
            "Tags": [{ "TagKey": "made-by", "TagValue": "portcullis" }],
        });
        let answer = self.service.call("CreateKey", &asked).map_err(in_words)?;
        let name = member(&answer, &["KeyMetadata", "KeyId"])?.to_owned();
        match self.public(&name) {
            Ok(public) => Ok((name, public)),
            Err(error) => {
                self.abandon(&name);
                Err(error)
            }
        }
    }

    fn abandon(&self, name: &str) {
        if let Err(error) = self.service.forget(name) {
            tracing::warn!(%error, key = name, "a key that cannot be used stays at the key service");
        }
    }

    fn public(&self, name: &str) -> Result<PublicKey, BackendError> {
        let answer = self
            .service
            .call("GetPublicKey", &json!({ "KeyId": name }))
            .map_err(in_words)?;
        let der = bytes_of(&answer, "PublicKey")?;
        PublicKey::from_spki(&der).ok_or_else(|| {
            BackendError::Refused("the key service gave a public key of an unknown kind".to_owned())
        })
    }

    /// The public half of a key that exists for this purpose.
    fn look(&self, name: &str, purpose: Use) -> Result<PublicKey, BackendError> {
        let answer = self
            .service
            .call("DescribeKey", &json!({ "KeyId": name }))
            .map_err(in_words)?;
        let usage = member(&answer, &["KeyMetadata", "KeyUsage"])?;
        let fits = match purpose {
            Use::Signature => usage == "SIGN_VERIFY",
            Use::Encryption => matches!(usage, "ENCRYPT_DECRYPT" | "KEY_AGREEMENT"),
        };
        if !fits {
            return Err(BackendError::Damaged(format!("key `{name}` is for {usage}")));
        }
        match member(&answer, &["KeyMetadata", "KeyState"])? {
            "PendingDeletion" | "PendingReplicaDeletion" => Err(BackendError::Missing(name.to_owned())),
            "Enabled" => self.public(name),
            other => Err(BackendError::Unavailable(format!(
                "key `{name}` is in state {other} at the key service"
            ))),
        }
    }

    fn signing(&self, kid: KeyId, algorithm: SignatureAlgorithm, name: String) -> Signer {
        Signer {
            service: Arc::clone(&self.service),
            kid,
            algorithm,
            name,
        }
    }

    fn opening(&self, kid: KeyId, algorithm: KeyManagement, name: String, public: PublicKey) -> Opener {
        Opener {
            service: Arc::clone(&self.service),
            kid,
            algorithm,
            name,
            public,
        }
    }
}

impl KeyBackend for AwsKms {
    fn name(&self) -> &'static str {
        "external"
    }

    fn make_signing(&self, algorithm: SignatureAlgorithm, label: &str) -> Result<NewKey, BackendError> {
        let spec = match algorithm {
            SignatureAlgorithm::Es256 => "ECC_NIST_P256".to_owned(),
            SignatureAlgorithm::Es384 => "ECC_NIST_P384".to_owned(),
            SignatureAlgorithm::Es512 => "ECC_NIST_P521".to_owned(),
            SignatureAlgorithm::EdDsa => "ECC_NIST_EDWARDS25519".to_owned(),
            SignatureAlgorithm::Rs256
            | SignatureAlgorithm::Rs384
            | SignatureAlgorithm::Rs512
            | SignatureAlgorithm::Ps256
            | SignatureAlgorithm::Ps384
            | SignatureAlgorithm::Ps512 => format!("RSA_{}", self.service.settings.rsa_bits),
            SignatureAlgorithm::MlDsa65 => {
                return Err(BackendError::Refused(
                    "keys for ML-DSA-65 cannot be made at the key service yet; use ES256".to_owned(),
                ));
            }
        };
        let (name, public) = self.make(&spec, "SIGN_VERIFY", label)?;
        let signer = self.signing(trial::kid()?, algorithm, name.clone());
        if let Err(error) = trial::sign(&signer, &public) {
            self.abandon(&name);
            return Err(error);
        }
        Ok(NewKey {
            handle: handle(&name, Use::Signature),
            public,
        })
    }

    fn make_sealing(&self, algorithm: KeyManagement, label: &str) -> Result<NewKey, BackendError> {
        let (spec, usage) = match algorithm {
            KeyManagement::RsaOaep256 => (
                format!("RSA_{}", self.service.settings.rsa_bits),
                "ENCRYPT_DECRYPT",
            ),
            KeyManagement::EcdhEs | KeyManagement::EcdhEsA128Kw | KeyManagement::EcdhEsA256Kw => {
                ("ECC_NIST_P256".to_owned(), "KEY_AGREEMENT")
            }
            KeyManagement::Dir => return Err(trial::no_public_key()),
        };
        let (name, public) = self.make(&spec, usage, label)?;
        let opener = self.opening(trial::kid()?, algorithm, name.clone(), public.clone());
        if let Err(error) = trial::open(&opener, algorithm) {
            self.abandon(&name);
            return Err(error);
        }
        Ok(NewKey {
            handle: handle(&name, Use::Encryption),
            public,
        })
    }

    fn signer(
        &self,
        kid: &KeyId,
        algorithm: SignatureAlgorithm,
        handle: &[u8],
    ) -> Result<Arc<dyn TokenSigner>, BackendError> {
        let name = name_of(handle, Use::Signature)?;
        trial::fits(&self.look(name, Use::Signature)?, algorithm)?;
        Ok(Arc::new(self.signing(kid.clone(), algorithm, name.to_owned())))
    }

    fn opener(
        &self,
        kid: &KeyId,
        algorithm: KeyManagement,
        handle: &[u8],
    ) -> Result<Arc<dyn PayloadOpener>, BackendError> {
        let name = name_of(handle, Use::Encryption)?;
        let public = self.look(name, Use::Encryption)?;
        trial::opens(&public, algorithm)?;
        Ok(Arc::new(self.opening(
            kid.clone(),
            algorithm,
            name.to_owned(),
            public,
        )))
    }

    fn forget(&self, handle: &[u8]) -> Result<(), BackendError> {
        let name = name_of(handle, Use::Signature).or_else(|_| name_of(handle, Use::Encryption))?;
        self.service.forget(name)
    }
}

impl std::fmt::Debug for AwsKms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwsKms")
            .field("settings", &self.service.settings)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Makes the key unusable now and has it deleted. One that is gone is gone.
    fn forget(&self, name: &str) -> Result<(), BackendError> {
        let asked = json!({ "KeyId": name, "PendingWindowInDays": DELETION_DAYS });
        match self.call("ScheduleKeyDeletion", &asked).map_err(in_words) {
            Ok(_) | Err(BackendError::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn call(&self, operation: &str, asked: &Value) -> Result<Value, Trouble> {
        let body = Bytes::from(asked.to_string());
        let request = self.request(operation, &body).map_err(Trouble::Ours)?;
        let response = self.line.send(request).map_err(Trouble::Ours)?;
        let status = response.status();
        let answer = serde_json::from_slice::<Value>(response.body());
        if status == StatusCode::OK {
            return answer.map_err(|error| {
                Trouble::Ours(BackendError::Unavailable(format!(
                    "the key service answered {operation} with no JSON: {error}"
                )))
            });
        }
        let answer = answer.unwrap_or_default();
        Err(refusal(operation, status, &answer, asked))
    }

    fn request(&self, operation: &str, body: &Bytes) -> Result<http::Request<Bytes>, BackendError> {
        let credentials = self.settings.credentials.read()?;
        let target = format!("TrentService.{operation}");
        let kind = "application/x-amz-json-1.1";
        let mut signed = vec![
            ("content-type", kind),
            ("host", self.host.as_str()),
            ("x-amz-target", &target),
        ];
        if let Some(session) = &credentials.session {
            signed.push(("x-amz-security-token", session));
        }
        let scope = Scope {
            region: &self.settings.region,
            service: "kms",
        };
        let signature = sigv4::sign(&credentials, &scope, self.clock.now(), &signed, body)?;
        let odd = |_| {
            BackendError::Configuration("the credentials have characters that no header can have".to_owned())
        };
        let mut authorization = HeaderValue::try_from(signature.authorization).map_err(odd)?;
        authorization.set_sensitive(true);
        let mut request = http::Request::post(self.endpoint.clone())
            .header(header::CONTENT_TYPE, kind)
            .header("x-amz-target", target.as_str())
            .header("x-amz-date", signature.date)
            .header(header::AUTHORIZATION, authorization)
            .body(body.clone())
            .map_err(|_| BackendError::Crypto("make a request"))?;
        if let Some(session) = &credentials.session {
            let mut value = HeaderValue::try_from(session.as_str()).map_err(odd)?;
            value.set_sensitive(true);
            request.headers_mut().insert("x-amz-security-token", value);
        }
        Ok(request)
    }
}

/// What the service's error means for us.
fn refusal(operation: &str, status: StatusCode, answer: &Value, asked: &Value) -> Trouble {
    let kind = answer.get("__type").and_then(Value::as_str).unwrap_or_default();
    let kind = kind.rsplit_once('#').map_or(kind, |(_, kind)| kind);
    let said = answer
        .get("message")
        .or_else(|| answer.get("Message"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    // Of a stranger's length and characters.
    let said: String = said.chars().take(300).filter(|c| !c.is_control()).collect();
    let detail = format!("the key service refuses {operation} ({status}, {kind}): {said}");
    Trouble::Ours(match kind {
        "InvalidCiphertextException" | "IncorrectKeyException" => return Trouble::Invalid,
        "NotFoundException" => BackendError::Missing(key_of(asked)),
        // Pending deletion, most of all.
        "KMSInvalidStateException" => BackendError::Missing(format!("{} ({said})", key_of(asked))),
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "ExpiredTokenException" => BackendError::Configuration(format!(
            "{detail}; check the credentials and what their policy allows"
        )),
        "ThrottlingException"
        | "KMSInternalException"
        | "DependencyTimeoutException"
        | "KeyUnavailableException"
        | "DisabledException"
        | "LimitExceededException" => BackendError::Unavailable(detail),
        _ if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            BackendError::Configuration(format!(
                "{detail}; check the credentials and what their policy allows"
            ))
        }
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            BackendError::Unavailable(detail)
        }
        _ => BackendError::Refused(detail),
    })
}

fn key_of(asked: &Value) -> String {
    asked
        .get("KeyId")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn in_words(trouble: Trouble) -> BackendError {
    match trouble {
        Trouble::Ours(error) => error,
        Trouble::Invalid => BackendError::Refused("what was to be opened is not for this key".to_owned()),
    }
}

fn member<'v>(answer: &'v Value, path: &[&str]) -> Result<&'v str, BackendError> {
    path.iter()
        .try_fold(answer, |value, name| value.get(name))
        .and_then(Value::as_str)
        .ok_or_else(|| {
            BackendError::Unavailable(format!("the key service's answer has no `{}`", path.join(".")))
        })
}

fn bytes_of(answer: &Value, name: &str) -> Result<Zeroizing<Vec<u8>>, BackendError> {
    STANDARD
        .decode(member(answer, &[name])?)
        .map(Zeroizing::new)
        .map_err(|_| BackendError::Unavailable(format!("the key service's `{name}` is not base64")))
}

/// Signs at the service.
struct Signer {
    service: Arc<Service>,
    kid: KeyId,
    algorithm: SignatureAlgorithm,
    name: String,
}

impl Signer {
    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, BackendError> {
        let (algorithm, hash, length) = match self.algorithm {
            SignatureAlgorithm::Es256 => ("ECDSA_SHA_256", Some(&SHA256), Some(32)),
            SignatureAlgorithm::Es384 => ("ECDSA_SHA_384", Some(&SHA384), Some(48)),
            SignatureAlgorithm::Es512 => ("ECDSA_SHA_512", Some(&SHA512), Some(66)),
            SignatureAlgorithm::EdDsa => ("ED25519_SHA_512", None, None),
            SignatureAlgorithm::Rs256 => ("RSASSA_PKCS1_V1_5_SHA_256", Some(&SHA256), None),
            SignatureAlgorithm::Rs384 => ("RSASSA_PKCS1_V1_5_SHA_384", Some(&SHA384), None),
            SignatureAlgorithm::Rs512 => ("RSASSA_PKCS1_V1_5_SHA_512", Some(&SHA512), None),
            SignatureAlgorithm::Ps256 => ("RSASSA_PSS_SHA_256", Some(&SHA256), None),
            SignatureAlgorithm::Ps384 => ("RSASSA_PSS_SHA_384", Some(&SHA384), None),
            SignatureAlgorithm::Ps512 => ("RSASSA_PSS_SHA_512", Some(&SHA512), None),
            SignatureAlgorithm::MlDsa65 => return Err(BackendError::Crypto("sign with ML-DSA-65")),
        };
        let (text, kind) = match hash {
            Some(hash) if message.len() > RAW_BYTES => (STANDARD.encode(digest(hash, message)), "DIGEST"),
            Some(_) | None => (STANDARD.encode(message), "RAW"),
        };
        let asked = json!({
            "KeyId": self.name, "Message": text, "MessageType": kind, "SigningAlgorithm": algorithm,
        });
        let answer = self.service.call("Sign", &asked).map_err(in_words)?;
        let signature = bytes_of(&answer, "Signature")?;
        match length {
            None => Ok(signature.to_vec()),
            // RFC 7518 §3.4: not DER.
            Some(length) => der::signature(&signature, length)
                .ok_or_else(|| BackendError::Unavailable("the key service's signature is none".to_owned())),
        }
    }
}

impl TokenSigner for Signer {
    fn kid(&self) -> &KeyId {
        &self.kid
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningUnavailable> {
        self.signature(message)
            .map_err(|error| SigningUnavailable(error.to_string()))
    }

    fn is_quick(&self) -> bool {
        false
    }
}

/// Opens at the service.
struct Opener {
    service: Arc<Service>,
    kid: KeyId,
    algorithm: KeyManagement,
    name: String,
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
        let (operation, asked, gives) = match (wrapped, &self.public) {
            (Wrapped::Agreed { peer }, PublicKey::Ec { curve, .. }) if matches!(peer, PublicKey::Ec { curve: other, .. } if other == curve) =>
            {
                let asked = json!({
                    "KeyId": self.name,
                    "KeyAgreementAlgorithm": "ECDH",
                    "PublicKey": STANDARD.encode(peer.to_spki()),
                });
                ("DeriveSharedSecret", asked, "SharedSecret")
            }
            (Wrapped::RsaOaep256 { encrypted_key }, PublicKey::Rsa { .. }) => {
                let asked = json!({
                    "KeyId": self.name,
                    "EncryptionAlgorithm": "RSAES_OAEP_SHA_256",
                    "CiphertextBlob": STANDARD.encode(encrypted_key),
                });
                ("Decrypt", asked, "Plaintext")
            }
            _ => return Err(OpeningFailed::Invalid),
        };
        let answer = self
            .service
            .call(operation, &asked)
            .map_err(|trouble| match trouble {
                Trouble::Invalid => OpeningFailed::Invalid,
                Trouble::Ours(error) => OpeningFailed::Unavailable(error.to_string()),
            })?;
        bytes_of(&answer, gives).map_err(|error| OpeningFailed::Unavailable(error.to_string()))
    }
}

/// `aws-kms:sig:KEY-ID`
fn handle(name: &str, purpose: Use) -> Vec<u8> {
    format!("{SCHEME}{}:{name}", short(purpose)).into_bytes()
}

const fn short(purpose: Use) -> &'static str {
    match purpose {
        Use::Signature => "sig",
        Use::Encryption => "enc",
    }
}

fn name_of(handle: &[u8], purpose: Use) -> Result<&str, BackendError> {
    std::str::from_utf8(handle)
        .ok()
        .and_then(|text| text.strip_prefix(SCHEME)?.strip_prefix(short(purpose))?.strip_prefix(':'))
        .filter(|name| !name.is_empty())
        .ok_or_else(|| {
            BackendError::Damaged(
                "it is not one of a key at AWS KMS for this purpose; was `custody` in [keys] changed? A key stays where it \
                 was made"
                    .to_owned(),
            )
        })
}
