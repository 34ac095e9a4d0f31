//! Certificates for keys: what may be in them, and the check that it is so before the CA sees them.
//!
//! The CA signs a [`Linted`] and nothing else, and a [`Linted`] comes from [`Request::lint`] alone. The lint reads the
//! finished parameters and compares them with the profile and the request, so that a mistake in building them is caught
//! too. One thing is put in later, because it needs the key: the key usage, which is compared with the profile again.

mod chain;
mod names;
mod subject_key;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SigningKey,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

pub use self::chain::{
    ChainFlaw, ChainProblem, Checked, LONGEST_CERTIFICATE, LONGEST_CHAIN, authority_permits, check_chain,
};
pub use self::subject_key::SubjectKey;
use super::policy::LONGEST_VALIDITY;
use crate::jose::jwk::Use;
use crate::time::{Lifetime, UnixTime};

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// A key of a server, for one use.
    Leaf(Use),
    /// The built-in CA: signs leaves, and no other CA.
    Authority,
}

impl Profile {
    /// Longest validity. A leaf's is the policy's, 90 days if nothing else is said, and a little for clocks that are
    /// behind.
    #[must_use]
    pub const fn longest(self) -> Lifetime {
        match self {
            Self::Leaf(_) => Lifetime::from_secs(LONGEST_VALIDITY.as_secs() + 3600),
            Self::Authority => Lifetime::from_days(3650),
        }
    }

    /// Those of an EC key; [`Linted`] puts in what fits the key when it comes.
    fn key_usages(self) -> Vec<KeyUsagePurpose> {
        match self {
            Self::Leaf(Use::Signature) => vec![KeyUsagePurpose::DigitalSignature],
            Self::Leaf(Use::Encryption) => vec![KeyUsagePurpose::KeyAgreement],
            Self::Authority => vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
        }
    }

    /// Whether the key usages are these, or those of another kind of key for the same purpose.
    fn has_usages(self, usages: &[KeyUsagePurpose]) -> bool {
        usages == self.key_usages()
            || (self == Self::Leaf(Use::Encryption) && usages == [KeyUsagePurpose::KeyEncipherment])
    }

    /// No certificate here is for TLS, code or mail, so that no TLS stack takes it: the purposes of RFC 9509 §3, which
    /// were made for 5G cores and fit (sign a JWT, sign an access token, encrypt content of HTTP messages).
    fn extended_key_usages(self) -> Vec<ExtendedKeyUsagePurpose> {
        let id_kp = |number| ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, number]);
        match self {
            Self::Leaf(Use::Signature) => vec![id_kp(37), id_kp(39)],
            Self::Leaf(Use::Encryption) => vec![id_kp(38)],
            Self::Authority => vec![],
        }
    }

    fn is_ca(self) -> IsCa {
        match self {
            Self::Leaf(_) => IsCa::ExplicitNoCa,
            Self::Authority => IsCa::Ca(BasicConstraints::Constrained(0)),
        }
    }
}

/// A wish for a certificate.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it is for.
    pub profile: Profile,
    /// The subject's common name, for people.
    pub name: String,
    /// The server's identity, a URI: the one subject alternative name of a leaf, and what a CA is constrained to
    /// (RFC 5280 §4.2.1.10). Empty for a CA that may certify any server.
    pub identity: String,
    /// Unpredictable, and never used twice by one CA (RFC 5280 §4.1.2.2).
    pub serial: [u8; 16],
    /// From when.
    pub not_before: UnixTime,
    /// For how long.
    pub lifetime: Lifetime,
}

/// Why a certificate must not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// Too long, or not a lifetime at all.
    #[error("its validity of {0} is longer than its profile allows, or empty")]
    Validity(Lifetime),
    /// The instant is not one that a certificate can state.
    #[error("its dates are out of range")]
    Dates,
    /// CA where it must not be, or the reverse.
    #[error("its basic constraints are not those of its profile")]
    BasicConstraints,
    /// Key usage or extended key usage.
    #[error("its key usages are not those of its profile")]
    Usages,
    /// Not exactly one URI, or not the server's.
    #[error("its subject alternative name is not exactly the server's identity")]
    Identity,
    /// No name, or too long a one (RFC 5280 appendix A: 64 characters).
    #[error("its subject is not acceptable")]
    Subject,
    /// Fewer than 64 random bits (CA/Browser Forum Baseline Requirements §7.1), or negative.
    #[error("its serial number is not acceptable")]
    Serial,
    /// One that its profile does not have, or without the name constraints that it has.
    #[error("its extensions are not those of its profile")]
    Extensions,
}

/// Certificate parameters that hold to their profile. Made by [`Request::lint`] and nowhere else.
#[derive(Debug)]
pub struct Linted {
    params: CertificateParams,
    profile: Profile,
}

impl Request {
    /// Builds the certificate's contents and checks them against the profile.
    ///
    /// # Errors
    /// [`Flaw`].
    pub fn lint(&self) -> Result<Linted, Flaw> {
        let params = self.build()?;
        self.check(&params)?;
        Ok(Linted {
            params,
            profile: self.profile,
        })
    }

    fn build(&self) -> Result<CertificateParams, Flaw> {
        let mut params = CertificateParams::default();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + since_epoch(self.not_before)?;
        params.not_after = epoch + since_epoch(self.not_before.plus(self.lifetime))?;
        // RFC 5280 §4.1.2.2: positive, at most 20 octets.
        let mut serial = self.serial;
        serial[0] &= 0x7f;
        serial[0] |= 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Portcullis");
        params
            .distinguished_name
            .push(DnType::CommonName, self.name.as_str());
        params.subject_alt_names = match self.profile {
            Profile::Leaf(_) => vec![SanType::URI(
                self.identity.as_str().try_into().map_err(|_| Flaw::Identity)?,
            )],
            Profile::Authority => vec![],
        };
        params.is_ca = self.profile.is_ca();
        params.key_usages = self.profile.key_usages();
        params.extended_key_usages = self.profile.extended_key_usages();
        params.use_authority_key_identifier_extension = matches!(self.profile, Profile::Leaf(_));
        if self.profile == Profile::Authority && !self.identity.is_empty() {
            let constraints = names::for_identity(&self.identity).ok_or(Flaw::Identity)?;
            let mut extension = CustomExtension::from_oid_content(names::OID, constraints);
            extension.set_criticality(true);
            params.custom_extensions = vec![extension];
        }
        Ok(params)
    }

    fn check(&self, params: &CertificateParams) -> Result<(), Flaw> {
        let (begins, ends) = (
            params.not_before.unix_timestamp(),
            params.not_after.unix_timestamp(),
        );
        let lasts = ends.checked_sub(begins).and_then(|secs| u64::try_from(secs).ok());
        let lasts = Lifetime::from_secs(lasts.ok_or(Flaw::Dates)?);
        if lasts.as_secs() == 0 || lasts > self.profile.longest() {
            return Err(Flaw::Validity(lasts));
        }
        if begins != self.not_before.as_secs() || lasts != self.lifetime {
            return Err(Flaw::Dates);
        }
        let ca = matches!(params.is_ca, IsCa::Ca(BasicConstraints::Constrained(0)));
        let leaf = matches!(params.is_ca, IsCa::ExplicitNoCa);
        if !(if self.profile == Profile::Authority {
            ca
        } else {
            leaf
        }) {
            return Err(Flaw::BasicConstraints);
        }
        if !self.profile.has_usages(&params.key_usages)
            || params.extended_key_usages != self.profile.extended_key_usages()
        {
            return Err(Flaw::Usages);
        }
        match (self.profile, params.subject_alt_names.as_slice()) {
            (Profile::Authority, []) => {}
            (Profile::Leaf(_), [SanType::URI(uri)])
                if uri.as_str() == self.identity && url::Url::parse(uri.as_str()).is_ok() => {}
            (Profile::Authority | Profile::Leaf(_), _) => return Err(Flaw::Identity),
        }
        let subject: Vec<_> = params.distinguished_name.iter().collect();
        match subject.as_slice() {
            [
                (DnType::OrganizationName, DnValue::Utf8String(_)),
                (DnType::CommonName, DnValue::Utf8String(name)),
            ] if *name == self.name
                && (1..=64).contains(&name.chars().count())
                && !name.chars().any(char::is_control) => {}
            _ => return Err(Flaw::Subject),
        }
        match params.serial_number.as_ref().map(AsRef::<[u8]>::as_ref) {
            // RFC 5280 §4.1.2.2: positive, at most 20 octets. All bytes equal is what a source of randomness gives that
            // gives none; the first is not random as a whole.
            Some([1..0x80, random @ ..])
                if (8..20).contains(&random.len())
                    && random.iter().any(|byte| Some(byte) != random.first()) => {}
            Some(_) | None => return Err(Flaw::Serial),
        }
        self.check_extensions(params)
    }

    /// Besides those that have a field of their own: name constraints, for a CA that is for one server.
    fn check_extensions(&self, params: &CertificateParams) -> Result<(), Flaw> {
        let constrained = self.profile == Profile::Authority && !self.identity.is_empty();
        let fits = match params.custom_extensions.as_slice() {
            [] => !constrained,
            [one] => {
                constrained
                    && one.criticality()
                    && one.oid_components().eq(names::OID.iter().copied())
                    && names::for_identity(&self.identity).as_deref() == Some(one.content())
            }
            [_, _, ..] => false,
        };
        if fits && params.name_constraints.is_none() && params.crl_distribution_points.is_empty() {
            Ok(())
        } else {
            Err(Flaw::Extensions)
        }
    }
}

/// The library's error for a key or an act that the profile is not for; it has none that says more.
const NOT_OF_THE_PROFILE: rcgen::Error = rcgen::Error::UnsupportedSignatureAlgorithm;

impl Linted {
    /// The certificate in DER, signed by the CA.
    ///
    /// # Errors
    /// When the CA's key refuses, or the subject's cannot be used for the purpose; for another CA, which this one may
    /// not certify.
    pub fn signed_by(
        self,
        subject_key: &impl PublicKeyData,
        authority: &rcgen::Issuer<'_, impl SigningKey>,
    ) -> Result<Vec<u8>, rcgen::Error> {
        let params = self.fitting(subject_key)?;
        Ok(params.signed_by(subject_key, authority)?.der().to_vec())
    }

    /// The CA's own certificate in DER, signed with its own key.
    ///
    /// # Errors
    /// When the key refuses; for a leaf, which its own key would say nothing about.
    pub fn self_signed(self, key: &impl SigningKey) -> Result<Vec<u8>, rcgen::Error> {
        if self.profile != Profile::Authority || !self.profile.has_usages(&self.params.key_usages) {
            return Err(NOT_OF_THE_PROFILE);
        }
        Ok(self.params.self_signed(key)?.der().to_vec())
    }

    /// A request to an outside CA in DER (PKCS#10, RFC 2986) for a certificate of this profile. Signed with the key
    /// itself, which proves that it is there; an encryption key signs this once and nothing else (NIST SP 800-57
    /// part 1 §5.2 allows it). Serial number and dates are the CA's to choose.
    ///
    /// # Errors
    /// When the key refuses, or cannot be used for the purpose; for a CA, which nobody else certifies.
    pub fn request(self, key: &impl SigningKey) -> Result<Vec<u8>, rcgen::Error> {
        let mut params = self.fitting(key)?;
        params.serial_number = None;
        params.use_authority_key_identifier_extension = false;
        Ok(params.serialize_request(key)?.der().to_vec())
    }

    /// With the key usage that fits the key.
    fn fitting(self, key: &impl PublicKeyData) -> Result<CertificateParams, rcgen::Error> {
        let mut params = self.params;
        let Profile::Leaf(purpose) = self.profile else {
            return Err(NOT_OF_THE_PROFILE);
        };
        params.key_usages = subject_key::usages(key.algorithm(), purpose).ok_or(NOT_OF_THE_PROFILE)?;
        if !self.profile.has_usages(&params.key_usages) {
            return Err(NOT_OF_THE_PROFILE);
        }
        Ok(params)
    }
}

/// What a certificate says, for people and for deciding whether it must be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject, as text.
    pub subject: String,
    /// The issuer, as text.
    pub issuer: String,
    /// The serial number in hexadecimal, bytes divided by colons.
    pub serial: String,
    /// From when it is valid.
    pub not_before: UnixTime,
    /// Until when it is valid.
    pub not_after: UnixTime,
    /// The URIs in its subject alternative names.
    pub identities: Vec<String>,
    /// The public key: for an EC key, the encoded point.
    pub public_key: Vec<u8>,
}

/// Bytes that are not exactly one certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate: {0}")]
pub struct UnreadableCertificate(String);

impl CertificateFacts {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// [`UnreadableCertificate`], also for bytes after it.
    pub fn parse(der: &[u8]) -> Result<Self, UnreadableCertificate> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|error| UnreadableCertificate(error.to_string()))?;
        if !rest.is_empty() {
            return Err(UnreadableCertificate("bytes follow it".to_owned()));
        }
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| UnreadableCertificate(error.to_string()))?
            .map(|extension| extension.value.general_names.as_slice())
            .unwrap_or_default();
        let identities = names
            .iter()
            .filter_map(|name| {
                if let GeneralName::URI(uri) = name {
                    Some((*uri).to_owned())
                } else {
                    None
                }
            })
            .collect();
        Ok(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            serial: certificate.raw_serial_as_string(),
            not_before: UnixTime::from_secs(certificate.validity().not_before.timestamp()),
            not_after: UnixTime::from_secs(certificate.validity().not_after.timestamp()),
            identities,
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
        })
    }
}

/// Certificates count in whole seconds, and RFC 5280 §4.1.2.5 gives the year four digits.
fn since_epoch(at: UnixTime) -> Result<std::time::Duration, Flaw> {
    const YEAR_10000: u64 = 253_402_300_800;
    match u64::try_from(at.as_secs()) {
        Ok(secs) if secs < YEAR_10000 => Ok(std::time::Duration::from_secs(secs)),
        Ok(_) | Err(_) => Err(Flaw::Dates),
    }
}

#[cfg(test)]
mod tests;
