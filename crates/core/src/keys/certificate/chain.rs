//! The check of a chain that comes from outside, before a key is published with it.
//!
//! Strict on purpose: these certificates say which server a key belongs to, to whoever chooses to trust their CA. A
//! certificate that is good for TLS too is refused, because its key would be used for two things; so is one that does
//! not say what its key is for. One without an extended key usage is good for everything (RFC 5280 §4.2.1.12): it is
//! taken only with no name that TLS, mail or anything else could look for.

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, NameConstraints, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use super::names;
use crate::fault::Fault;
use crate::jose::jwk::{EcCurve, OkpCurve, PublicKey, Use};
use crate::time::UnixTime;

/// Most certificates in a chain.
pub const LONGEST_CHAIN: usize = 6;
/// Longest certificate, in bytes. One with an ML-DSA-65 key and signature has about 6,000.
pub const LONGEST_CERTIFICATE: usize = 16 * 1024;

/// A chain that holds for one key, purpose and identity. Made by [`check_chain`] and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    chain: Vec<Vec<u8>>,
    not_after: UnixTime,
}

impl Checked {
    /// The certificates in DER, the key's own first.
    #[must_use]
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// Until when all of them are valid, and the trusted one that the chain leads to.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }
}

/// Why a chain is not taken: which certificate, counted from the key's own, which is 1; and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("certificate {number} of the chain {problem}")]
pub struct ChainFlaw {
    /// Which one.
    pub number: usize,
    /// What is wrong.
    pub problem: ChainProblem,
}

impl ChainFlaw {
    /// The stable name of what is wrong.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self.problem {
            ChainProblem::Missing => "chain_missing",
            ChainProblem::TooMany => "chain_too_long",
            ChainProblem::TooLong => "certificate_too_long",
            ChainProblem::Unreadable(_) => "certificate_unreadable",
            ChainProblem::OtherKey => "certificate_of_another_key",
            ChainProblem::WeakKey => "certificate_weak_key",
            ChainProblem::WeakSignature => "certificate_weak_signature",
            ChainProblem::NotYet => "certificate_not_yet_valid",
            ChainProblem::Ended => "certificate_ended",
            ChainProblem::Identity(_) => "certificate_identity",
            ChainProblem::Usage(_) => "certificate_usage",
            ChainProblem::IsAuthority => "certificate_of_a_ca",
            ChainProblem::NotAuthority => "chain_not_a_ca",
            ChainProblem::PathLength => "chain_path_length",
            ChainProblem::Order => "chain_order",
            ChainProblem::Signature => "chain_signature",
            ChainProblem::NameConstraints => "chain_name_constraints",
            ChainProblem::Critical(_) => "certificate_critical_extension",
            ChainProblem::Unanchored => "chain_unanchored",
        }
    }

    /// Whose fault it is: of whoever brought the chain.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        Fault::Operator
    }
}

/// What is wrong with a certificate of a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainProblem {
    /// No certificates at all.
    #[error("is missing: give the key's own first, then that of its CA, up to the root")]
    Missing,
    /// More than [`LONGEST_CHAIN`].
    #[error("is one too many: a chain has at most {LONGEST_CHAIN}")]
    TooMany,
    /// More than [`LONGEST_CERTIFICATE`].
    #[error("is longer than {LONGEST_CERTIFICATE} bytes")]
    TooLong,
    /// Not one X.509 certificate of version 3.
    #[error("is not readable: {0}")]
    Unreadable(&'static str),
    /// Made for another key.
    #[error("is for another key: make a request for this one with `keys csr`")]
    OtherKey,
    /// Too weak, or of a kind that is not known here.
    #[error(
        "has a weak or unknown public key: RSA of 2048 to 8192 bits, P-256, P-384, P-521, Ed25519 or ML-DSA-65 is needed"
    )]
    WeakKey,
    /// SHA-1 and the like.
    #[error(
        "is signed with a weak or unknown algorithm, or not one of its issuer's key: SHA-256 or better is needed"
    )]
    WeakSignature,
    /// Too early.
    #[error("is not valid yet")]
    NotYet,
    /// Too late.
    #[error("is not valid any more")]
    Ended,
    /// Not exactly one URI, or another one.
    #[error("does not name the server: its subject alternative names must have this URI and no other: {0}")]
    Identity(String),
    /// Key usage or extended key usage.
    #[error("is not for this purpose: {0}")]
    Usage(&'static str),
    /// The key's own is one of a CA.
    #[error("is that of a CA, and no key of a server may be one")]
    IsAuthority,
    /// A CA's is none of a CA.
    #[error("is not that of a CA that may sign certificates")]
    NotAuthority,
    /// More CAs below than it permits.
    #[error("permits fewer CAs below it than there are")]
    PathLength,
    /// Not the issuer of the one before.
    #[error("is not the issuer of the one before it: put them in order, the key's own first")]
    Order,
    /// The signature of the one before.
    #[error("did not sign the one before it")]
    Signature,
    /// What the CA may not certify.
    #[error("does not permit its CA to certify the names below it")]
    NameConstraints,
    /// An extension that must be understood.
    #[error("has a critical extension that is not known here: {0}")]
    Critical(String),
    /// No anchor.
    #[error("is the last, and leads to no trusted root: add the root, or the certificates up to it")]
    Unanchored,
}

/// Checks a chain (RFC 5280 §6.1, without policies and revocation) for a key, its purpose and the server's identity.
///
/// `anchors` are the certificates that are trusted; with none, the chain's last must be a root that signed itself.
///
/// # Errors
/// [`ChainFlaw`], the first that is found.
pub fn check_chain(
    chain: &[Vec<u8>],
    anchors: &[Vec<u8>],
    key: &PublicKey,
    purpose: Use,
    identity: &str,
    now: UnixTime,
) -> Result<Checked, ChainFlaw> {
    if chain.len() > LONGEST_CHAIN {
        return Err(at(LONGEST_CHAIN, ChainProblem::TooMany));
    }
    let parsed = chain
        .iter()
        .enumerate()
        .map(|(index, der)| Certificate::parse(der, index))
        .collect::<Result<Vec<_>, _>>()?;
    let own = parsed.first().ok_or(at(0, ChainProblem::Missing))?;
    if own.key != *key {
        return Err(at(0, ChainProblem::OtherKey));
    }
    own.is_for(purpose, key, identity)
        .map_err(|problem| at(0, problem))?;
    for (index, certificate) in parsed.iter().enumerate() {
        certificate.is_valid(now).map_err(|problem| at(index, problem))?;
    }
    for (index, pair) in parsed.windows(2).enumerate() {
        if let [below, above] = pair {
            let under = parsed.get(..=index).unwrap_or_default();
            above
                .issued(below, under)
                .map_err(|problem| at(index + 1, problem))?;
        }
    }
    let last = parsed.len() - 1;
    let top = parsed.last().ok_or(at(0, ChainProblem::Missing))?;
    let chain_ends = parsed.iter().map(Certificate::not_after).min().unwrap_or(now);
    let trusted = |certificate: &Certificate<'_>| anchors.iter().any(|anchor| anchor == certificate.der);
    let within = if anchors.is_empty() {
        last > 0 && top.is_issued_by_name(top) && top.has_signed(top)
    } else {
        parsed.iter().skip(1).any(trusted)
    };
    let not_after = if within {
        chain_ends
    } else {
        // Outside of the chain: of several the one that lasts longest, since it needs one only.
        let ends = anchors.iter().filter_map(|anchor| {
            let anchor = Certificate::parse(anchor, 0).ok()?;
            let holds = anchor.is_valid(now).is_ok() && anchor.issued(top, &parsed).is_ok();
            holds.then(|| anchor.not_after())
        });
        let anchor_ends = ends.max().ok_or(at(last, ChainProblem::Unanchored))?;
        chain_ends.min(anchor_ends)
    };
    Ok(Checked {
        chain: chain.to_vec(),
        not_after,
    })
}

/// Whether the constraints of this CA, in DER, permit a certificate for this identity. None if it is not readable.
#[must_use]
pub fn authority_permits(authority: &[u8], identity: &str) -> Option<bool> {
    let authority = Certificate::parse(authority, 0).ok()?;
    let name = GeneralName::URI(identity);
    Some(
        authority
            .constraints()
            .is_none_or(|constraints| names::permits(constraints, &name)),
    )
}

fn at(index: usize, problem: ChainProblem) -> ChainFlaw {
    ChainFlaw {
        number: index + 1,
        problem,
    }
}

/// Whether what is around the signed part is the one DER encoding of it (X.690 §10): the parser also takes other tags
/// and unused bits there, and no signature covers them.
fn is_framed(der: &[u8], certificate: &X509Certificate<'_>) -> bool {
    let signed = certificate.tbs_certificate.as_ref();
    let signature = [&[0], certificate.signature_value.data.as_ref()].concat();
    let Some(end) = names::tlv(0x03, &signature) else {
        return false;
    };
    // The algorithm is spelled as in the signed part (RFC 5280 §4.1.1.2).
    let algorithm = der
        .strip_suffix(end.as_slice())
        .and_then(|front| {
            let header = [2, 3, 4]
                .into_iter()
                .find(|at| der.get(*at..).is_some_and(|rest| rest.starts_with(signed)));
            front.get(header? + signed.len()..)
        })
        .unwrap_or_default();
    !algorithm.is_empty()
        && signed.windows(algorithm.len()).any(|part| part == algorithm)
        && names::tlv(0x30, &[signed, algorithm, &end].concat()).as_deref() == Some(der)
}

/// One certificate, read whole.
struct Certificate<'a> {
    der: &'a [u8],
    inner: X509Certificate<'a>,
    key: PublicKey,
}

impl<'a> Certificate<'a> {
    fn parse(der: &'a [u8], index: usize) -> Result<Self, ChainFlaw> {
        if der.len() > LONGEST_CERTIFICATE {
            return Err(at(index, ChainProblem::TooLong));
        }
        let unreadable = |why| at(index, ChainProblem::Unreadable(why));
        let (rest, inner) =
            X509Certificate::from_der(der).map_err(|_| unreadable("it is not DER of a certificate"))?;
        if !rest.is_empty() {
            return Err(unreadable("bytes follow it"));
        }
        if inner.version() != x509_parser::x509::X509Version::V3 {
            return Err(unreadable("its version is not 3"));
        }
        // RFC 5280 §4.2: no extension twice. §4.1.1.2: both places name one algorithm.
        if inner.extensions_map().is_err() {
            return Err(unreadable("an extension is there twice"));
        }
        if inner.signature_algorithm != inner.tbs_certificate.signature {
            return Err(unreadable("it names two signature algorithms"));
        }
        if !is_framed(der, &inner) {
            return Err(unreadable("it is not DER of a certificate"));
        }
        for extension in inner.extensions() {
            let parsed = extension.parsed_extension();
            if matches!(parsed, ParsedExtension::ParseError { .. }) {
                return Err(unreadable("an extension is malformed"));
            }
            let known = matches!(
                parsed,
                ParsedExtension::AuthorityKeyIdentifier(_)
                    | ParsedExtension::SubjectKeyIdentifier(_)
                    | ParsedExtension::KeyUsage(_)
                    | ParsedExtension::CertificatePolicies(_)
                    | ParsedExtension::SubjectAlternativeName(_)
                    | ParsedExtension::BasicConstraints(_)
                    | ParsedExtension::NameConstraints(_)
                    | ParsedExtension::ExtendedKeyUsage(_)
            );
            if extension.critical && !known {
                return Err(at(index, ChainProblem::Critical(extension.oid.to_id_string())));
            }
        }
        let key = PublicKey::from_spki(inner.public_key().raw).ok_or(at(index, ChainProblem::WeakKey))?;
        Ok(Self { der, inner, key })
    }

    fn names(&self) -> &[GeneralName<'a>] {
        self.inner
            .extensions()
            .iter()
            .find_map(|extension| {
                if let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() {
                    Some(names.general_names.as_slice())
                } else {
                    None
                }
            })
            .unwrap_or_default()
    }

    fn constraints(&self) -> Option<&NameConstraints<'a>> {
        self.inner.extensions().iter().find_map(|extension| {
            if let ParsedExtension::NameConstraints(constraints) = extension.parsed_extension() {
                Some(constraints)
            } else {
                None
            }
        })
    }

    fn not_after(&self) -> UnixTime {
        UnixTime::from_secs(self.inner.validity().not_after.timestamp())
    }

    fn is_valid(&self, now: UnixTime) -> Result<(), ChainProblem> {
        if now < UnixTime::from_secs(self.inner.validity().not_before.timestamp()) {
            return Err(ChainProblem::NotYet);
        }
        // RFC 5280 §4.1.2.5 includes the last second; we stop before it, like the planner.
        if now >= self.not_after() {
            return Err(ChainProblem::Ended);
        }
        Ok(())
    }

    /// Whether it is what the key's own certificate must be.
    fn is_for(&self, purpose: Use, key: &PublicKey, identity: &str) -> Result<(), ChainProblem> {
        if self.inner.is_ca() {
            return Err(ChainProblem::IsAuthority);
        }
        let mut uris = self.names().iter().filter_map(|name| {
            if let GeneralName::URI(uri) = name {
                Some(*uri)
            } else {
                None
            }
        });
        if uris.next() != Some(identity) || uris.next().is_some() {
            return Err(ChainProblem::Identity(identity.to_owned()));
        }
        let usage = self
            .key_usage()
            .ok_or(ChainProblem::Usage("it has no key usage"))?;
        const SIGNATURE: u16 = 1;
        const NON_REPUDIATION: u16 = 1 << 1;
        const KEY_ENCIPHERMENT: u16 = 1 << 2;
        const KEY_AGREEMENT: u16 = 1 << 4;
        let (needed, allowed, wrong) = match (purpose, key) {
            (
                Use::Signature,
                PublicKey::Okp {
                    curve: OkpCurve::X25519,
                    ..
                },
            ) => {
                return Err(ChainProblem::Usage("its key cannot sign"));
            }
            (Use::Signature, _) => (
                SIGNATURE,
                SIGNATURE | NON_REPUDIATION,
                "a signing key's key usage is digitalSignature and nothing that encrypts",
            ),
            (Use::Encryption, PublicKey::Rsa { .. }) => (
                KEY_ENCIPHERMENT,
                KEY_ENCIPHERMENT,
                "an RSA encryption key's key usage is keyEncipherment and nothing else",
            ),
            (
                Use::Encryption,
                PublicKey::Ec { .. }
                | PublicKey::Okp {
                    curve: OkpCurve::X25519,
                    ..
                },
            ) => (
                KEY_AGREEMENT,
                KEY_AGREEMENT,
                "an encryption key's key usage is keyAgreement and nothing else",
            ),
            (
                Use::Encryption,
                PublicKey::Okp {
                    curve: OkpCurve::Ed25519,
                    ..
                }
                | PublicKey::Akp { .. },
            ) => {
                return Err(ChainProblem::Usage("its key cannot be encrypted to"));
            }
        };
        if usage & needed != needed || usage & !allowed != 0 {
            return Err(ChainProblem::Usage(wrong));
        }
        self.extended_usage(purpose)
    }

    /// Of those of RFC 9509 §3 alone that fit the purpose; or absent, where the only name is the server's URI.
    fn extended_usage(&self, purpose: Use) -> Result<(), ChainProblem> {
        let Some(extended) = self.inner.extensions().iter().find_map(|extension| {
            if let ParsedExtension::ExtendedKeyUsage(usage) = extension.parsed_extension() {
                Some(usage)
            } else {
                None
            }
        }) else {
            if self.names().len() > 1 {
                return Err(ChainProblem::Usage(
                    "it has other names besides the server's URI and no extended key usage, so that it is good for TLS too: ask for a certificate without these names",
                ));
            }
            return Ok(());
        };
        let tls_and_others = extended.any
            || extended.server_auth
            || extended.client_auth
            || extended.code_signing
            || extended.email_protection
            || extended.time_stamping
            || extended.ocsp_signing;
        let allowed: &[&str] = match purpose {
            Use::Signature => &["1.3.6.1.5.5.7.3.37", "1.3.6.1.5.5.7.3.39"],
            Use::Encryption => &["1.3.6.1.5.5.7.3.38"],
        };
        let mut others = extended.other.iter().map(ToString::to_string);
        if tls_and_others
            || extended.other.is_empty()
            || !others.all(|other| allowed.contains(&other.as_str()))
        {
            return Err(ChainProblem::Usage(
                "its extended key usage has other purposes, such as TLS: this key is for tokens alone, so ask for a certificate without them",
            ));
        }
        Ok(())
    }

    fn key_usage(&self) -> Option<u16> {
        self.inner.extensions().iter().find_map(|extension| {
            if let ParsedExtension::KeyUsage(usage) = extension.parsed_extension() {
                Some(usage.flags)
            } else {
                None
            }
        })
    }

    fn is_issued_by_name(&self, above: &Self) -> bool {
        self.inner.issuer().as_raw() == above.inner.subject().as_raw()
    }

    /// Whether this CA issued that certificate, and may have with all that is `under` it, the key's own first.
    fn issued(&self, below: &Self, under: &[Self]) -> Result<(), ChainProblem> {
        if !below.is_issued_by_name(self) {
            return Err(ChainProblem::Order);
        }
        const KEY_CERT_SIGN: u16 = 1 << 5;
        let constraints = self.inner.extensions().iter().find_map(|extension| {
            if let ParsedExtension::BasicConstraints(constraints) = extension.parsed_extension() {
                Some(constraints)
            } else {
                None
            }
        });
        let constraints = constraints
            .filter(|constraints| constraints.ca)
            .ok_or(ChainProblem::NotAuthority)?;
        if self.key_usage().is_none_or(|usage| usage & KEY_CERT_SIGN == 0) {
            return Err(ChainProblem::NotAuthority);
        }
        // RFC 5280 §4.2.1.9: CAs between this one and the key's own certificate, those that changed their key only not
        // counted.
        let between = under
            .iter()
            .skip(1)
            .filter(|certificate| !certificate.is_issued_by_name(certificate))
            .count();
        if let Some(most) = constraints.path_len_constraint
            && usize::try_from(most).is_ok_and(|most| between > most)
        {
            return Err(ChainProblem::PathLength);
        }
        if let Some(constraints) = self.constraints() {
            let permitted = under.iter().all(|certificate| {
                let subject = GeneralName::DirectoryName(certificate.inner.subject().clone());
                let subject_permitted = certificate.inner.subject().iter_rdn().next().is_none()
                    || names::permits(constraints, &subject);
                subject_permitted
                    && certificate
                        .names()
                        .iter()
                        .all(|name| names::permits(constraints, name))
            });
            if !permitted {
                return Err(ChainProblem::NameConstraints);
            }
        }
        if below.verification(&self.key).is_none() {
            return Err(ChainProblem::WeakSignature);
        }
        if !self.has_signed(below) {
            return Err(ChainProblem::Signature);
        }
        Ok(())
    }

    fn has_signed(&self, below: &Self) -> bool {
        let Some(algorithm) = below.verification(&self.key) else {
            return false;
        };
        UnparsedPublicKey::new(algorithm, &self.inner.public_key().subject_public_key.data)
            .verify(
                below.inner.tbs_certificate.as_ref(),
                &below.inner.signature_value.data,
            )
            .is_ok()
    }

    /// How its signature is verified with a key of this kind.
    fn verification(&self, key: &PublicKey) -> Option<&'static dyn VerificationAlgorithm> {
        let oid = self.inner.signature_algorithm.algorithm.to_id_string();
        match (oid.as_str(), key) {
            ("1.2.840.113549.1.1.11", PublicKey::Rsa { .. }) => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            ("1.2.840.113549.1.1.12", PublicKey::Rsa { .. }) => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            ("1.2.840.113549.1.1.13", PublicKey::Rsa { .. }) => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            ("1.2.840.10045.4.3.2", PublicKey::Ec { curve, .. }) => match curve {
                EcCurve::P256 => Some(&signature::ECDSA_P256_SHA256_ASN1),
                EcCurve::P384 => Some(&signature::ECDSA_P384_SHA256_ASN1),
                EcCurve::P521 => Some(&signature::ECDSA_P521_SHA256_ASN1),
            },
            ("1.2.840.10045.4.3.3", PublicKey::Ec { curve, .. }) => match curve {
                EcCurve::P256 => Some(&signature::ECDSA_P256_SHA384_ASN1),
                EcCurve::P384 => Some(&signature::ECDSA_P384_SHA384_ASN1),
                EcCurve::P521 => Some(&signature::ECDSA_P521_SHA384_ASN1),
            },
            ("1.2.840.10045.4.3.4", PublicKey::Ec { curve, .. }) => match curve {
                EcCurve::P256 => Some(&signature::ECDSA_P256_SHA512_ASN1),
                EcCurve::P384 => Some(&signature::ECDSA_P384_SHA512_ASN1),
                EcCurve::P521 => Some(&signature::ECDSA_P521_SHA512_ASN1),
            },
            (
                "1.3.101.112",
                PublicKey::Okp {
                    curve: OkpCurve::Ed25519,
                    ..
                },
            ) => Some(&signature::ED25519),
            ("2.16.840.1.101.3.4.3.18", PublicKey::Akp { .. }) => Some(&signature::ML_DSA_65),
            _ => None,
        }
    }
}
