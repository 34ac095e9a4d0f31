//! What is done with one key in one session: made, found, looked at, used, destroyed.

use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use portcullis_core::jose::jwk::{EcCurve, OkpCurve, PublicKey, Use};
use zeroize::Zeroizing;

use super::super::{BackendError, der, hex};
use super::pool::Trouble;

/// Length of the `CKA_ID` that we give, in bytes.
pub(super) const ID: usize = 16;

/// What kind of key to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ec(EcCurve),
    Ed25519,
    Rsa { bits: u32 },
}

/// How to sign, with the digest made here or by the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signing {
    Ecdsa,
    Eddsa,
    Rsa(Hash),
    RsaPss(Hash),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Kind {
    fn generator(self) -> (Mechanism<'static>, MechanismType) {
        match self {
            Self::Ec(_) => (Mechanism::EccKeyPairGen, MechanismType::ECC_KEY_PAIR_GEN),
            Self::Ed25519 => (
                Mechanism::EccEdwardsKeyPairGen,
                MechanismType::ECC_EDWARDS_KEY_PAIR_GEN,
            ),
            Self::Rsa { .. } => (Mechanism::RsaPkcsKeyPairGen, MechanismType::RSA_PKCS_KEY_PAIR_GEN),
        }
    }
}

impl Signing {
    /// What the token must offer.
    pub(super) fn needs(self) -> MechanismType {
        match self {
            Self::Ecdsa => MechanismType::ECDSA,
            Self::Eddsa => MechanismType::EDDSA,
            Self::Rsa(Hash::Sha256) => MechanismType::SHA256_RSA_PKCS,
            Self::Rsa(Hash::Sha384) => MechanismType::SHA384_RSA_PKCS,
            Self::Rsa(Hash::Sha512) => MechanismType::SHA512_RSA_PKCS,
            Self::RsaPss(Hash::Sha256) => MechanismType::SHA256_RSA_PKCS_PSS,
            Self::RsaPss(Hash::Sha384) => MechanismType::SHA384_RSA_PKCS_PSS,
            Self::RsaPss(Hash::Sha512) => MechanismType::SHA512_RSA_PKCS_PSS,
        }
    }

    fn mechanism(self) -> Mechanism<'static> {
        // RFC 7518 §3.5: the salt is as long as the hash, and the mask is made with the same hash.
        let pss = |hash_alg, mgf, length: u64| PkcsPssParams {
            hash_alg,
            mgf,
            s_len: length.into(),
        };
        match self {
            Self::Ecdsa => Mechanism::Ecdsa,
            Self::Eddsa => Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)),
            Self::Rsa(Hash::Sha256) => Mechanism::Sha256RsaPkcs,
            Self::Rsa(Hash::Sha384) => Mechanism::Sha384RsaPkcs,
            Self::Rsa(Hash::Sha512) => Mechanism::Sha512RsaPkcs,
            Self::RsaPss(Hash::Sha256) => {
                Mechanism::Sha256RsaPkcsPss(pss(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32))
            }
            Self::RsaPss(Hash::Sha384) => {
                Mechanism::Sha384RsaPkcsPss(pss(MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48))
            }
            Self::RsaPss(Hash::Sha512) => {
                Mechanism::Sha512RsaPkcsPss(pss(MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64))
            }
        }
    }
}

/// Makes a key pair that stays in the token, for one purpose. The public half is there too: tokens without it cannot
/// tell it again.
pub(super) fn generate(
    session: &Session,
    offered: &[MechanismType],
    kind: Kind,
    purpose: Use,
    id: &[u8],
    label: &str,
) -> Result<(), Trouble> {
    let (mechanism, needed) = kind.generator();
    // tpm2-pkcs11 and others offer no mechanism for Edwards curves; SoftHSM does under this name.
    if !offered.contains(&needed) {
        return Err(refused(&format!(
            "the token makes no such keys: it does not offer {needed}"
        )));
    }
    let (signs, derives, decrypts) = match (purpose, kind) {
        (Use::Signature, _) => (true, false, false),
        (Use::Encryption, Kind::Rsa { .. }) => (false, false, true),
        (Use::Encryption, Kind::Ec(_) | Kind::Ed25519) => (false, true, false),
    };
    let common = || {
        vec![
            Attribute::Token(true),
            Attribute::Id(id.to_vec()),
            Attribute::Label(label.as_bytes().to_vec()),
        ]
    };
    let mut public = common();
    match kind {
        Kind::Ec(curve) => public.push(Attribute::EcParams(der::curve(curve).to_vec())),
        Kind::Ed25519 => public.push(Attribute::EcParams(der::ED25519_NAME.to_vec())),
        Kind::Rsa { bits } => {
            public.push(Attribute::ModulusBits(u64::from(bits).into()));
            public.push(Attribute::PublicExponent(vec![1, 0, 1]));
        }
    }
    let mut private = common();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(signs),
        Attribute::Decrypt(decrypts),
    ]);
    let mut public_whole = public.clone();
    public_whole.push(Attribute::Verify(signs));
    let mut private_whole = private.clone();
    // What is not an operation of such a key is left to the token; some know no other value than their own.
    match kind {
        Kind::Ec(_) => private_whole.push(Attribute::Derive(derives)),
        Kind::Rsa { .. } => {
            public_whole.push(Attribute::Encrypt(decrypts));
            private_whole.push(Attribute::Unwrap(false));
        }
        Kind::Ed25519 => {}
    }
    // tpm2-pkcs11 refuses values that it would have chosen otherwise. What comes of it is looked at afterwards.
    if let Err(error) = session.generate_key_pair(&mechanism, &public_whole, &private_whole)
        && (is_lost(&error) || session.generate_key_pair(&mechanism, &public, &private).is_err())
    {
        return Err(error.into());
    }
    Ok(())
}

/// What a private key says of itself.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) sensitive: Option<bool>,
    pub(super) extractable: Option<bool>,
    pub(super) signs: Option<bool>,
    pub(super) derives: Option<bool>,
    pub(super) decrypts: Option<bool>,
}

impl Facts {
    /// Whether it is one that cannot leave, and for this purpose alone.
    pub(super) fn fit(&self, purpose: Use) -> Result<(), BackendError> {
        let wrong = |detail: &str| Err(BackendError::Damaged(format!("the key in the token {detail}")));
        if self.sensitive == Some(false) || self.extractable == Some(true) {
            return wrong("can be taken out of it");
        }
        let opens = self.derives == Some(true) || self.decrypts == Some(true);
        match purpose {
            Use::Signature if self.signs == Some(false) => wrong("is not for signing"),
            Use::Encryption if self.signs == Some(true) && opens => wrong("is for signing too"),
            Use::Encryption if !opens => wrong("is not for opening"),
            Use::Signature | Use::Encryption => Ok(()),
        }
    }
}

pub(super) fn facts(session: &Session, key: ObjectHandle) -> Result<Facts, Trouble> {
    let mut facts = Facts::default();
    // One by one: some modules answer none when one of several is not known to them.
    for asked in [
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::Sign,
        AttributeType::Derive,
        AttributeType::Decrypt,
    ] {
        for attribute in session.get_attributes(key, &[asked])? {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "about a hundred attributes; five were asked for"
            )]
            match attribute {
                Attribute::Sensitive(value) => facts.sensitive = Some(value),
                Attribute::Extractable(value) => facts.extractable = Some(value),
                Attribute::Sign(value) => facts.signs = Some(value),
                Attribute::Derive(value) => facts.derives = Some(value),
                Attribute::Decrypt(value) => facts.decrypts = Some(value),
                _ => {}
            }
        }
    }
    Ok(facts)
}

/// The private key of this id.
pub(super) fn find(session: &Session, id: &[u8]) -> Result<Option<ObjectHandle>, Trouble> {
    of_class(session, ObjectClass::PRIVATE_KEY, id)
}

fn of_class(session: &Session, class: ObjectClass, id: &[u8]) -> Result<Option<ObjectHandle>, Trouble> {
    let found = session.find_objects(&[
        Attribute::Class(class),
        Attribute::Id(id.to_vec()),
        Attribute::Token(true),
    ])?;
    Ok(found.first().copied())
}

/// Destroys both halves.
pub(super) fn destroy(session: &Session, id: &[u8]) -> Result<(), Trouble> {
    for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
        while let Some(key) = of_class(session, class, id)? {
            session.destroy_object(key)?;
            if of_class(session, class, id)? == Some(key) {
                return Err(refused("the token keeps a key that it was told to destroy"));
            }
        }
    }
    Ok(())
}

/// The public half, read from the token.
pub(super) fn public(session: &Session, id: &[u8]) -> Result<PublicKey, Trouble> {
    let Some(key) = of_class(session, ObjectClass::PUBLIC_KEY, id)? else {
        return Err(Trouble::Ours(BackendError::Missing(format!(
            "{} (its public half)",
            hex(id)
        ))));
    };
    let mut kind = None;
    let (mut parameters, mut point, mut modulus, mut exponent) = (None, None, None, None);
    for attribute in session.get_attributes(key, &[AttributeType::KeyType])? {
        if let Attribute::KeyType(value) = attribute {
            kind = Some(value);
        }
    }
    let asked = if kind == Some(KeyType::RSA) {
        [AttributeType::Modulus, AttributeType::PublicExponent]
    } else {
        [AttributeType::EcParams, AttributeType::EcPoint]
    };
    for attribute in session.get_attributes(key, &asked)? {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "about a hundred attributes; two were asked for"
        )]
        match attribute {
            Attribute::EcParams(value) => parameters = Some(value),
            Attribute::EcPoint(value) => point = Some(value),
            Attribute::Modulus(value) => modulus = Some(value),
            Attribute::PublicExponent(value) => exponent = Some(value),
            _ => {}
        }
    }
    let public = match (parameters, point, modulus, exponent) {
        (Some(parameters), Some(point), _, _) => curve_key(&parameters, &point),
        (_, _, Some(modulus), Some(exponent)) => PublicKey::from_numbers(&modulus, &exponent),
        _ => None,
    };
    public.ok_or_else(|| refused("the token gave a public key that is none"))
}

fn curve_key(parameters: &[u8], point: &[u8]) -> Option<PublicKey> {
    // PKCS #11 v2.40 §2.3.3: the point is wrapped in an OCTET STRING; older modules give it bare.
    let bare = der::octet_string(point).unwrap_or(point);
    for curve in EcCurve::ALL {
        if parameters == der::curve(curve) {
            return PublicKey::from_uncompressed(curve, bare);
        }
    }
    // PKCS #11 v3.0 §2.3.1: named by OID (RFC 8410) or by a printable string.
    (parameters == der::ED25519_NAME || parameters == der::ED25519_OID)
        .then(|| PublicKey::from_raw(OkpCurve::Ed25519, bare))
        .flatten()
}

/// A signature in the form that the token gives, which for ECDSA is the one of JWS: r ‖ s.
pub(super) fn sign(
    session: &Session,
    key: ObjectHandle,
    how: Signing,
    data: &[u8],
) -> Result<Vec<u8>, Trouble> {
    Ok(session.sign(&how.mechanism(), key, data)?)
}

/// The shared secret with a peer's point.
pub(super) fn agree(
    session: &Session,
    key: ObjectHandle,
    point: &[u8],
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let wrapped;
    match agree_with(session, key, point, length) {
        Err(Trouble::Input(error)) if !is_lost(&error) => {
            // PKCS #11 v2.40 §2.3.12: a token may want the point in its DER form.
            wrapped = der::wrap_octet_string(point);
            agree_with(session, key, &wrapped, length).map_err(|_| Trouble::Input(error))
        }
        done => done,
    }
}

/// Errors that say more about the session than about the point.
fn is_lost(error: &cryptoki::error::Error) -> bool {
    use cryptoki::error::{Error, RvError};
    matches!(
        error,
        Error::Pkcs11(
            RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::UserNotLoggedIn
                | RvError::KeyHandleInvalid
                | RvError::ObjectHandleInvalid
                | RvError::CryptokiNotInitialized,
            _
        )
    )
}

fn agree_with(
    session: &Session,
    key: ObjectHandle,
    point: &[u8],
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let bytes = u64::try_from(length).unwrap_or(u64::MAX);
    let secret = session
        .derive_key(
            &Mechanism::Ecdh1Derive(Ecdh1DeriveParams::new(EcKdf::null(), point)),
            key,
            &[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::GENERIC_SECRET),
                Attribute::Token(false),
                // The shared secret of one message, which the sender has too. The private key stays.
                Attribute::Sensitive(false),
                Attribute::Extractable(true),
                Attribute::ValueLen(bytes.into()),
            ],
        )
        .map_err(Trouble::Input)?;
    let value = session.get_attributes(secret, &[AttributeType::Value]);
    session.destroy_object(secret)?;
    for attribute in value? {
        if let Attribute::Value(value) = attribute
            && value.len() == length
        {
            return Ok(Zeroizing::new(value));
        }
    }
    Err(refused(
        "the token agrees on a secret and does not give it: it cannot be used for ECDH-ES",
    ))
}

/// What was encrypted with RSA-OAEP-256 (RFC 7518 §4.3).
pub(super) fn decrypt(
    session: &Session,
    key: ObjectHandle,
    encrypted: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let oaep = PkcsOaepParams::new(
        MechanismType::SHA256,
        PkcsMgfType::MGF1_SHA256,
        PkcsOaepSource::empty(),
    );
    session
        .decrypt(&Mechanism::RsaPkcsOaep(oaep), key, encrypted)
        .map(Zeroizing::new)
        .map_err(Trouble::Input)
}

pub(super) fn refused(detail: &str) -> Trouble {
    Trouble::Ours(BackendError::Refused(detail.to_owned()))
}
