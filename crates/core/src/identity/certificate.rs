//! Client certificates: of which of them the sender of a request was shown to hold the key (RFC 8705 §3), and what they say
//! of a workload (X.509-SVID).

use aws_lc_rs::digest;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::ids::{SpiffeId, TrustDomain};
use crate::jose::base64url;
use crate::limits;
use crate::time::UnixTime;

/// The SHA-256 thumbprint of a certificate (RFC 8705 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CertificateThumbprint([u8; 32]);

impl CertificateThumbprint {
    /// Of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Self(bytes)
    }

    /// From its base64url text, as `x5t#S256` has it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        (base64url::decode_into(text, &mut bytes).ok()?.len() == 32).then_some(Self(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for CertificateThumbprint {
    /// As `x5t#S256` has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&base64url::encode(self.0))
    }
}

/// Who vouches for a certificate. Found out by whoever checked its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VouchedBy<'d> {
    /// Nobody but itself. It is good for tokens that are bound to it, and for nothing else.
    Itself,
    /// A certification authority that configuration trusts for clients.
    Authority,
    /// The bundle of this trust domain.
    Domain(&'d TrustDomain),
}

/// A certificate of which the sender of a request was shown to hold the private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    thumbprint: CertificateThumbprint,
    not_before: UnixTime,
    not_after: UnixTime,
    dns_names: Box<[Box<str>]>,
    workload: Option<SpiffeId>,
}

impl ClientCertificate {
    /// The one maker. It cannot look itself: whoever calls it asserts that the key was proven (in the handshake of the
    /// request's connection, or to the proxy that configuration trusts to say so), and that the chain was checked up to
    /// `vouched_by`.
    ///
    /// # Errors
    /// [`InvalidCertificate`]: it cannot be read, or is no X.509-SVID where a trust domain is to vouch for a workload.
    pub fn assertion(der: &[u8], vouched_by: VouchedBy<'_>) -> Result<Self, InvalidCertificate> {
        if der.len() > limits::CERTIFICATE_BYTES {
            return Err(InvalidCertificate::TooLong);
        }
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| InvalidCertificate::Unreadable)?;
        if !rest.is_empty() {
            return Err(InvalidCertificate::Unreadable);
        }
        let (workload, dns_names) = match vouched_by {
            // What it says of itself names nobody.
            VouchedBy::Itself => (None, Box::default()),
            VouchedBy::Authority => (None, dns_names(&certificate)?),
            VouchedBy::Domain(domain) => (Some(workload(&certificate, domain)?), Box::default()),
        };
        let validity = certificate.validity();
        Ok(Self {
            thumbprint: CertificateThumbprint::of(der),
            not_before: UnixTime::from_secs(validity.not_before.timestamp()),
            not_after: UnixTime::from_secs(validity.not_after.timestamp()),
            dns_names,
            workload,
        })
    }

    /// Its thumbprint.
    #[must_use]
    pub fn thumbprint(&self) -> &CertificateThumbprint {
        &self.thumbprint
    }

    /// From when it is valid.
    #[must_use]
    pub fn not_before(&self) -> UnixTime {
        self.not_before
    }

    /// Until when it is valid.
    #[must_use]
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// The DNS names that an authority gave it; none, where nobody or a trust domain vouches for it.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        self.dns_names.iter().map(|name| &**name)
    }

    /// The workload that it names, where a trust domain vouches for it.
    #[must_use]
    pub fn workload(&self) -> Option<&SpiffeId> {
        self.workload.as_ref()
    }
}

/// Why a certificate is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// Longer than [`limits::CERTIFICATE_BYTES`].
    #[error("the certificate is too long")]
    TooLong,
    /// Not exactly one certificate in DER.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// X.509-SVID §2: not exactly one URI among its names, or one that is no SPIFFE ID.
    #[error("the certificate has not exactly one SPIFFE ID")]
    NotOneWorkload,
    /// X.509-SVID §5.2: the SPIFFE ID is of another trust domain than the one that vouches.
    #[error("the certificate's SPIFFE ID is of another trust domain")]
    OtherDomain,
    /// X.509-SVID §4.1 and §4.3: a certificate that signs others, or that says nothing of signatures.
    #[error("the certificate is not one of a workload: its constraints or key usage are others")]
    NotALeaf,
}

/// X.509-SVID §4 and §5.2, but for the chain.
fn workload(certificate: &X509Certificate<'_>, domain: &TrustDomain) -> Result<SpiffeId, InvalidCertificate> {
    let id = spiffe_id(certificate)?;
    if id.domain() != domain {
        return Err(InvalidCertificate::OtherDomain);
    }
    let not_a_leaf = |_| InvalidCertificate::NotALeaf;
    let constraints = certificate.basic_constraints().map_err(not_a_leaf)?;
    if constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(InvalidCertificate::NotALeaf);
    }
    match certificate.key_usage().map_err(not_a_leaf)? {
        Some(usage)
            if usage.critical
                && usage.value.digital_signature()
                && !usage.value.key_cert_sign()
                && !usage.value.crl_sign() =>
        {
            Ok(id)
        }
        Some(_) | None => Err(InvalidCertificate::NotALeaf),
    }
}

fn dns_names(certificate: &X509Certificate<'_>) -> Result<Box<[Box<str>]>, InvalidCertificate> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| InvalidCertificate::Unreadable)?;
    let names = names.iter().flat_map(|names| &names.value.general_names);
    Ok(names
        .filter_map(|name| {
            if let GeneralName::DNSName(name) = name {
                Some(Box::from(*name))
            } else {
                None
            }
        })
        .collect())
}

/// The one URI among the names. A `spiffe://` in a DNS name, an address or the subject names nobody.
fn spiffe_id(certificate: &X509Certificate<'_>) -> Result<SpiffeId, InvalidCertificate> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| InvalidCertificate::NotOneWorkload)?;
    let mut uris = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| {
            if let GeneralName::URI(uri) = name {
                Some(*uri)
            } else {
                None
            }
        });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => SpiffeId::parse(uri).map_err(|_| InvalidCertificate::NotOneWorkload),
        (None | Some(_), _) => Err(InvalidCertificate::NotOneWorkload),
    }
}

/// The trust domains that the URIs of a certificate name, whether or not they are its own to name: for finding out whose
/// bundle it has to be checked with, before it is believed.
///
/// # Errors
/// [`InvalidCertificate`].
pub fn claimed_domains(der: &[u8]) -> Result<Vec<TrustDomain>, InvalidCertificate> {
    if der.len() > limits::CERTIFICATE_BYTES {
        return Err(InvalidCertificate::TooLong);
    }
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| InvalidCertificate::Unreadable)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| InvalidCertificate::Unreadable)?;
    let mut domains: Vec<TrustDomain> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| {
            if let GeneralName::URI(uri) = name {
                let rest = uri
                    .get(..9)
                    .filter(|scheme| scheme.eq_ignore_ascii_case("spiffe://"));
                let rest = rest.and_then(|_| uri.get(9..))?;
                let domain = rest.split(['/', '?', '#', ':']).next().unwrap_or_default();
                TrustDomain::parse(&domain.to_ascii_lowercase()).ok()
            } else {
                None
            }
        })
        .collect();
    domains.sort();
    domains.dedup();
    Ok(domains)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, IsCa, KeyPair, KeyUsagePurpose, SanType,
    };

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![uri("spiffe://prod.example/a")];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn of_prod(der: &[u8]) -> Result<ClientCertificate, InvalidCertificate> {
        let domain = TrustDomain::parse("prod.example").unwrap();
        ClientCertificate::assertion(der, VouchedBy::Domain(&domain))
    }

    #[test]
    fn a_certificate_is_known_by_its_thumbprint_and_names_only_what_was_vouched_for() {
        let der = certificate(|params| {
            params
                .subject_alt_names
                .push(SanType::DnsName("edge.internal".try_into().unwrap()));
        });
        let names = |certificate: &ClientCertificate| {
            let workload = certificate.workload().map(ToString::to_string);
            let names: Vec<String> = certificate.dns_names().map(str::to_owned).collect();
            (workload, names)
        };
        let itself = ClientCertificate::assertion(&der, VouchedBy::Itself).unwrap();
        let authority = ClientCertificate::assertion(&der, VouchedBy::Authority).unwrap();
        assert_eq!(names(&itself), (None, Vec::new()));
        assert_eq!(names(&authority), (None, vec!["edge.internal".to_owned()]));
        let workload = Some("spiffe://prod.example/a".to_owned());
        assert_eq!(names(&of_prod(&der).unwrap()), (workload, Vec::new()));
        let text = itself.thumbprint().to_string();
        assert_eq!(CertificateThumbprint::parse(&text), Some(*itself.thumbprint()));
        assert_eq!(text.len(), 43);
        assert_eq!(CertificateThumbprint::parse(text.get(1..).unwrap()), None);
    }

    #[test]
    fn a_workload_has_one_name_of_its_domain_and_signs_for_itself_alone() {
        type Change = Box<dyn FnOnce(&mut CertificateParams)>;
        let usages =
            |usages: Vec<KeyUsagePurpose>| -> Change { Box::new(|params| params.key_usages = usages) };
        let names = |names: Vec<SanType>| -> Change { Box::new(|params| params.subject_alt_names = names) };
        use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign, KeyEncipherment};
        let rows: Vec<(Change, InvalidCertificate)> = vec![
            (names(Vec::new()), InvalidCertificate::NotOneWorkload),
            (
                names(vec![
                    uri("spiffe://prod.example/a"),
                    uri("spiffe://prod.example/a"),
                ]),
                InvalidCertificate::NotOneWorkload,
            ),
            (
                names(vec![uri("https://prod.example/a")]),
                InvalidCertificate::NotOneWorkload,
            ),
            (
                names(vec![uri("spiffe://prod.example/")]),
                InvalidCertificate::NotOneWorkload,
            ),
            (
                names(vec![uri("spiffe://test.example/a")]),
                InvalidCertificate::OtherDomain,
            ),
            (usages(Vec::new()), InvalidCertificate::NotALeaf),
            (usages(vec![KeyEncipherment]), InvalidCertificate::NotALeaf),
            (
                usages(vec![DigitalSignature, KeyCertSign]),
                InvalidCertificate::NotALeaf,
            ),
            (
                usages(vec![DigitalSignature, CrlSign]),
                InvalidCertificate::NotALeaf,
            ),
            (
                Box::new(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
                InvalidCertificate::NotALeaf,
            ),
        ];
        for (change, expected) in rows {
            assert_eq!(of_prod(&certificate(change)).unwrap_err(), expected);
        }
        assert!(of_prod(&certificate(usages(vec![DigitalSignature, KeyEncipherment]))).is_ok());
    }

    #[test]
    fn a_domain_is_claimed_in_any_spelling() {
        let claimed = |name: &str| {
            let der = certificate(|params| params.subject_alt_names = vec![uri(name)]);
            let domains = claimed_domains(&der).unwrap().into_iter();
            domains.map(|domain| domain.to_string()).collect::<Vec<_>>()
        };
        for name in [
            "spiffe://prod.example",
            "SPIFFE://Prod.Example/a",
            "spiffe://prod.example:1/a",
            "spiffe://prod.example?a",
        ] {
            assert_eq!(claimed(name), ["prod.example"], "{name}");
        }
        assert!(claimed("https://prod.example/a").is_empty());
    }

    #[test]
    fn one_certificate_whole_at_the_limit_and_one_past_it() {
        let padded = |content: usize| {
            let extension =
                CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55_555, 1], vec![4; content]);
            certificate(|params| params.custom_extensions = vec![extension])
        };
        // Signatures differ in length by a byte or two.
        let of_length = |length: usize| {
            let near = length - 600;
            (0..200)
                .map(|_| padded(near + (length - padded(near).len())))
                .find(|der| der.len() == length)
                .unwrap()
        };
        let (at, past) = (
            of_length(limits::CERTIFICATE_BYTES),
            of_length(limits::CERTIFICATE_BYTES + 1),
        );
        let taken = |der: &[u8]| ClientCertificate::assertion(der, VouchedBy::Itself).map(drop);
        assert_eq!(taken(&at), Ok(()));
        assert_eq!(taken(&past), Err(InvalidCertificate::TooLong));
        assert_eq!(claimed_domains(&past), Err(InvalidCertificate::TooLong));
        let mut followed = certificate(|_| ());
        followed.push(0);
        assert_eq!(taken(&followed), Err(InvalidCertificate::Unreadable));
        assert_eq!(taken(b"x"), Err(InvalidCertificate::Unreadable));
    }
}
