//! Our side, as a user of the library has it.

use portcullis_core::ids::KeyId;
use portcullis_core::jose::jwe::{
    self, ContentEncryption, KeyManagement, PayloadOpener as _, Protected, SharedKey, Unopened,
    encrypt as encrypt_compact, encrypt_shared,
};
use portcullis_core::jose::jwk::{
    DecryptionKey, DecryptionKind, EncryptionKey, KeySet, PublicJwk, SigningKey, VerificationKey,
};
use portcullis_core::jose::jws::json::{Required, UnverifiedJson, sign_flattened, sign_general};
use portcullis_core::jose::jws::{self, TokenSigner as _, Unverified};
use portcullis_core::jose::{SignatureAlgorithm, base64url, nested};
use portcullis_core::random::SecureRandom as _;
use portcullis_net::random::System;
use portcullis_testkit::{Failure, Outcome};
use serde_json::{Map, Value, json};

/// `typ` of every token.
pub(super) const TYP: &str = "at+jwt";

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

fn kid(text: &str) -> Outcome<KeyId> {
    KeyId::parse(text).map_err(failed)
}

/// RFC 7515 §7 and RFC 7516 §7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Compact,
    Flattened,
    General,
}

impl Form {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Flattened => "flattened",
            Self::General => "general",
        }
    }
}

pub(super) fn signing_key(algorithm: SignatureAlgorithm, name: &str) -> Outcome<SigningKey> {
    let (key, _) = SigningKey::generate(kid(name)?, algorithm).map_err(failed)?;
    Ok(key)
}

/// The same with these members.
pub(super) fn with(jwk: &Value, members: &[(&str, &str)]) -> Value {
    let mut jwk = jwk.as_object().cloned().unwrap_or_default();
    jwk.extend(
        members
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into())),
    );
    jwk.into()
}

/// The private JWK of a peer, for this algorithm and of that name.
pub(super) fn imported(jwk: &Value, alg: &str) -> Outcome<SigningKey> {
    let jwk = with(jwk, &[("alg", alg), ("kid", alg)]);
    SigningKey::from_jwk(jwk.to_string().as_bytes()).map_err(failed)
}

pub(super) fn thumbprint(key: &SigningKey) -> String {
    key.public().thumbprint().to_string()
}

/// As in our JWK Set.
pub(super) fn published(key: &SigningKey) -> Value {
    let jwk = PublicJwk {
        key: key.public().clone(),
        algorithm: key.algorithm().into(),
        kid: key.kid().clone(),
        chain: Vec::new(),
    };
    jwk.to_json().into()
}

pub(super) fn sign(key: &SigningKey, claims: &Map<String, Value>, form: Form) -> Outcome<Value> {
    let payload = serde_json::to_vec(claims)?;
    Ok(match form {
        Form::Compact => jws::sign(key, TYP, claims).map_err(failed)?.into(),
        Form::Flattened => sign_flattened(key, Some(TYP), &payload).map_err(failed)?.into(),
        Form::General => sign_general(&[key], Some(TYP), &payload).map_err(failed)?.into(),
    })
}

pub(super) fn verification_key(jwk: &Value) -> Outcome<VerificationKey> {
    VerificationKey::parse(jwk.to_string().as_bytes()).map_err(failed)
}

/// The payload of a token in any serialisation, by the set that holds this key alone.
pub(super) fn verify(token: &Value, jwk: &Value) -> Outcome<Vec<u8>> {
    let set = json!({ "keys": [jwk] });
    let set = KeySet::parse(set.to_string().as_bytes()).map_err(failed)?;
    if let Some(compact) = token.as_str() {
        let token = Unverified::parse(compact).map_err(failed)?;
        let key = set
            .find(token.kid(), token.algorithm())
            .ok_or_else(|| Failure::new("no such key"))?;
        let verified = token.verify(key).map_err(failed)?;
        assert_eq!(verified.typ(), Some(TYP));
        return Ok(verified.payload().to_vec());
    }
    let token = UnverifiedJson::parse(token.to_string().as_bytes()).map_err(failed)?;
    let verified = token.verify(&set, Required::All).map_err(failed)?;
    assert_eq!(verified.signers().len(), 1);
    Ok(verified.payload().to_vec())
}

/// One kind of encryption: the algorithm and, where one is needed, the curve; or the length of a shared key.
#[derive(Clone, Copy)]
pub(super) struct Encryption {
    algorithm: KeyManagement,
    crv: Option<&'static str>,
    shared: Option<ContentEncryption>,
    /// In how many kinds the algorithm is tried.
    kinds: usize,
}

pub(super) fn encryptions() -> Vec<Encryption> {
    let of = |algorithm, crv, shared, kinds| Encryption {
        algorithm,
        crv,
        shared,
        kinds,
    };
    let mut all = vec![of(KeyManagement::RsaOaep256, None, None, 1)];
    for algorithm in KeyManagement::ALL
        .into_iter()
        .filter(|algorithm| algorithm.agrees())
    {
        for crv in ["P-256", "P-384", "X25519"] {
            all.push(of(algorithm, Some(crv), None, 3));
        }
    }
    all.extend(
        ContentEncryption::ALL
            .into_iter()
            .map(|enc| of(KeyManagement::Dir, None, Some(enc), 2)),
    );
    all
}

impl Encryption {
    /// What nested tokens are encrypted with.
    pub(super) fn nested() -> Self {
        Self {
            algorithm: KeyManagement::EcdhEs,
            crv: Some("P-256"),
            shared: None,
            kinds: 1,
        }
    }

    pub(super) fn alg(self) -> &'static str {
        self.algorithm.name()
    }

    pub(super) fn crv(self) -> Option<&'static str> {
        self.crv
    }

    /// What both sides call the key.
    pub(super) fn key(self) -> String {
        let detail = self.crv.or_else(|| self.shared.map(ContentEncryption::name));
        detail.map_or_else(
            || self.alg().to_owned(),
            |detail| format!("{}-{detail}", self.alg()),
        )
    }

    /// Its part of what the algorithm is tried with.
    pub(super) fn share(self, count: usize) -> usize {
        count.div_ceil(self.kinds)
    }

    /// The serialisations and how many of each: its part of them. A shared key is for compact messages.
    pub(super) fn forms(self, forms: &[(Form, usize)]) -> Vec<(Form, usize)> {
        forms
            .iter()
            .filter(|(form, _)| self.shared.is_none() || *form == Form::Compact)
            .map(|(form, count)| (*form, self.share(*count)))
            .collect()
    }

    /// A new one, where both sides hold the same.
    pub(super) fn shared_key(self) -> Outcome<Option<OwnKey>> {
        self.shared.map(|_| self.own_key()).transpose()
    }

    /// One and the other, in turn; a shared key is for one.
    pub(super) fn enc(self, index: usize) -> ContentEncryption {
        self.shared.unwrap_or(if index.is_multiple_of(2) {
            ContentEncryption::A128Gcm
        } else {
            ContentEncryption::A256Gcm
        })
    }

    /// A new key of ours.
    pub(super) fn own_key(self) -> Outcome<OwnKey> {
        let name = kid(&self.key())?;
        if let Some(enc) = self.shared {
            return OwnKey::shared(name, enc);
        }
        let kind = match self.crv {
            None => DecryptionKind::Rsa2048,
            Some("P-256") => DecryptionKind::P256,
            Some("P-384") => DecryptionKind::P384,
            Some("X25519") => DecryptionKind::X25519,
            Some(other) => return Err(Failure::new(format!("curve {other}"))),
        };
        let key = DecryptionKey::generate(name, self.algorithm, kind, &System).map_err(failed)?;
        Ok(OwnKey::Pair(Box::new(key), self.algorithm))
    }
}

/// What we open with.
pub(super) enum OwnKey {
    Pair(Box<DecryptionKey>, KeyManagement),
    Shared(Box<SharedKey>, Value),
}

impl OwnKey {
    fn shared(name: KeyId, enc: ContentEncryption) -> Outcome<Self> {
        let mut bytes = vec![0; enc.key_bytes()];
        System.fill(&mut bytes).map_err(failed)?;
        let jwk = json!({ "kty": "oct", "k": base64url::encode(&bytes), "alg": "dir", "kid": name });
        let key = SharedKey::parse(jwk.to_string().as_bytes()).map_err(failed)?;
        Ok(Self::Shared(Box::new(key), jwk))
    }

    /// What the peer gets: the public half as we publish it, or the shared key.
    pub(super) fn jwk(&self) -> Outcome<Value> {
        Ok(match self {
            Self::Pair(key, algorithm) => {
                let jwk = PublicJwk {
                    key: key.public().clone(),
                    algorithm: (*algorithm).into(),
                    kid: key.kid().clone(),
                    chain: Vec::new(),
                };
                jwk.to_json().into()
            }
            Self::Shared(_, jwk) => jwk.clone(),
        })
    }

    /// `None` for a shared key: it is a secret, and has none here.
    pub(super) fn thumbprint(&self) -> Option<String> {
        match self {
            Self::Pair(key, _) => Some(key.public().thumbprint().to_string()),
            Self::Shared(..) => None,
        }
    }

    /// The payload of a nested JWT whose signer has this public JWK.
    pub(super) fn open_nested(&self, token: &str, signer: &Value) -> Outcome<Vec<u8>> {
        let Self::Pair(key, _) = self else {
            return Err(Failure::new("a shared key opens no nested JWT"));
        };
        let opened = nested::Unopened::parse(token)
            .and_then(|read| read.open(&**key))
            .map_err(failed)?;
        let verified = opened.verify(&verification_key(signer)?).map_err(failed)?;
        assert_eq!(verified.typ(), Some(TYP));
        Ok(verified.payload().to_vec())
    }

    /// A message in any serialisation.
    pub(super) fn open(&self, token: &Value) -> Outcome<Vec<u8>> {
        match (self, token.as_str()) {
            (Self::Pair(key, _), Some(compact)) => {
                let opened = Unopened::parse(compact).and_then(|read| read.open(&**key));
                Ok(opened.map_err(failed)?.plaintext().to_vec())
            }
            (Self::Pair(key, _), None) => {
                let text = token.to_string();
                let opened = jwe::json::Unopened::parse(text.as_bytes()).and_then(|read| read.open(&**key));
                Ok(opened.map_err(failed)?.message.plaintext().to_vec())
            }
            (Self::Shared(key, _), Some(compact)) => {
                let opened = Unopened::parse(compact).and_then(|read| read.open_shared(key));
                Ok(opened.map_err(failed)?.plaintext().to_vec())
            }
            (Self::Shared(..), None) => Err(Failure::new("a shared key opens no JSON")),
        }
    }
}

/// What we encrypt to.
pub(super) enum Recipient {
    Pair(Box<EncryptionKey>),
    Shared(Box<SharedKey>),
}

impl Recipient {
    pub(super) fn thumbprint(&self) -> Option<String> {
        match self {
            Self::Pair(key) => Some(key.thumbprint().to_string()),
            Self::Shared(_) => None,
        }
    }
}

/// Signed, then encrypted.
pub(super) fn nest(
    signer: &SigningKey,
    recipient: &Recipient,
    enc: ContentEncryption,
    claims: &Map<String, Value>,
) -> Outcome<String> {
    let Recipient::Pair(key) = recipient else {
        return Err(Failure::new("a shared key makes no nested JWT"));
    };
    nested::seal(signer, key, enc, TYP, claims, &System).map_err(failed)
}

pub(super) fn recipient(jwk: &Value) -> Outcome<Recipient> {
    let text = jwk.to_string();
    Ok(if jwk.get("kty").is_some_and(|kty| kty == "oct") {
        Recipient::Shared(Box::new(SharedKey::parse(text.as_bytes()).map_err(failed)?))
    } else {
        Recipient::Pair(Box::new(EncryptionKey::parse(text.as_bytes()).map_err(failed)?))
    })
}

pub(super) fn encrypt(
    recipient: &Recipient,
    enc: ContentEncryption,
    plaintext: &[u8],
    form: Form,
) -> Outcome<Value> {
    let protected = Protected::new(enc);
    let besides = jwe::json::Besides::default();
    let text = match (recipient, form) {
        (Recipient::Pair(key), Form::Compact) => {
            return Ok(encrypt_compact(key, &protected, plaintext, &System)
                .map_err(failed)?
                .into());
        }
        (Recipient::Shared(key), Form::Compact) => {
            return Ok(encrypt_shared(key, &protected, plaintext, &System)
                .map_err(failed)?
                .into());
        }
        (Recipient::Pair(key), Form::Flattened) => {
            jwe::json::flattened(key, &protected, besides, plaintext, &System).map_err(failed)?
        }
        (Recipient::Pair(key), Form::General) => {
            jwe::json::general(&[key], &protected, besides, plaintext, &System).map_err(failed)?
        }
        (Recipient::Shared(_), Form::Flattened | Form::General) => {
            return Err(Failure::new("a shared key makes no JSON"));
        }
    };
    Ok(serde_json::from_str(&text)?)
}
