//! Certificates of a test's own, also wrong ones, and a client that shows them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use rcgen;
pub use rcgen::CertificateParams;

use crate::{Failure, Outcome};

/// A certification authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// Its own certificate and those above it but for the root, in PEM.
    above: String,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Pair {
    /// In DER.
    pub certificate: CertificateDer<'static>,
    /// It and those above it but for the root, in PEM.
    pub chain_pem: String,
    /// In PEM.
    pub key_pem: String,
    serial: Option<SerialNumber>,
}

fn wrong(error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("certificate: {error}"))
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params
}

fn serial() -> Outcome<SerialNumber> {
    let mut bytes = [0; 16];
    #[expect(clippy::disallowed_methods, reason = "throw-away numbers of a test")]
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Failure::new("no randomness"))?;
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}

impl Ca {
    /// A root.
    ///
    /// # Errors
    /// When the crypto library fails.
    pub fn new(name: &str) -> Outcome<Self> {
        Self::with(name, |_| ())
    }

    /// A root that is changed before it is signed.
    ///
    /// # Errors
    /// As [`Ca::new`].
    pub fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Outcome<Self> {
        let params = authority(name, change);
        let key = KeyPair::generate().map_err(wrong)?;
        let certificate = params.self_signed(&key).map_err(wrong)?.der().clone();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
            above: String::new(),
        })
    }

    /// A CA below this one.
    ///
    /// # Errors
    /// As [`Ca::new`].
    pub fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Outcome<Self> {
        let params = authority(name, change);
        let key = KeyPair::generate().map_err(wrong)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(wrong)?;
        Ok(Self {
            above: certificate.pem() + &self.above,
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Its certificate, in DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    /// A certificate for TLS servers and clients, which is changed before it is signed.
    ///
    /// # Errors
    /// As [`Ca::new`].
    pub fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Outcome<Pair> {
        self.issue_for(name, &KeyPair::generate().map_err(wrong)?, change)
    }

    /// The same, for a key that is there.
    ///
    /// # Errors
    /// As [`Ca::new`].
    pub fn issue_for(
        &self,
        name: &str,
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Outcome<Pair> {
        let mut params = leaf(name)?;
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let certificate = params.signed_by(key, &self.issuer).map_err(wrong)?;
        Ok(Pair {
            chain_pem: certificate.pem() + &self.above,
            certificate: certificate.der().clone(),
            key_pem: key.serialize_pem(),
            serial: params.serial_number,
        })
    }

    /// A certificate for a server on this machine.
    ///
    /// # Errors
    /// As [`Ca::new`].
    pub fn server(&self) -> Outcome<Pair> {
        let name = "localhost".try_into().map_err(wrong)?;
        self.issue("localhost", |params| {
            params.subject_alt_names = vec![
                rcgen::SanType::DnsName(name),
                rcgen::SanType::IpAddress([127, 0, 0, 1].into()),
            ];
        })
    }

    /// The list of what was revoked, in PEM, good until a year.
    ///
    /// # Errors
    /// As [`Ca::new`].
    pub fn crl(&self, revoked: &[&Pair], until_year: i32) -> Outcome<String> {
        let revoked = revoked.iter().filter_map(|pair| {
            Some(RevokedCertParams {
                serial_number: pair.serial.clone()?,
                revocation_time: rcgen::date_time_ymd(2020, 2, 1),
                reason_code: None,
                invalidity_date: None,
            })
        });
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 2, 1),
            next_update: rcgen::date_time_ymd(until_year, 1, 1),
            crl_number: serial()?,
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).map_err(wrong)?.pem().map_err(wrong)
    }
}

fn authority(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    change(&mut params);
    params
}

fn leaf(name: &str) -> Outcome<CertificateParams> {
    let mut params = params(name);
    params.serial_number = Some(serial()?);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

impl Pair {
    /// A certificate that nobody vouches for but itself.
    ///
    /// # Errors
    /// As [`Ca::new`].
    pub fn self_signed(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Outcome<Self> {
        let mut params = leaf(name)?;
        change(&mut params);
        let key = KeyPair::generate().map_err(wrong)?;
        let certificate = params.self_signed(&key).map_err(wrong)?;
        Ok(Self {
            chain_pem: certificate.pem(),
            certificate: certificate.der().clone(),
            key_pem: key.serialize_pem(),
            serial: params.serial_number,
        })
    }

    /// Its thumbprint, as `x5t#S256` has it (RFC 8705 §3.1).
    #[must_use]
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, &self.certificate))
    }

    /// Writes both into a folder, the key for its owner alone, and gives their files.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Outcome<(PathBuf, PathBuf)> {
        let (certificate, key) = (
            folder.join(format!("{name}.pem")),
            folder.join(format!("{name}.key")),
        );
        fs::write(&certificate, &self.chain_pem)?;
        fs::write(&key, &self.key_pem)?;
        fs::set_permissions(&key, Permissions::from_mode(0o600))?;
        Ok((certificate, key))
    }
}

/// A TLS client. Its clones have the same memory of sessions.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    server_name: Option<String>,
}

impl Client {
    /// One that trusts this CA and shows no certificate.
    ///
    /// # Errors
    /// When the certificate is none.
    pub fn trusting(ca: &Ca) -> Outcome<Self> {
        Self::new(ca, None)
    }

    /// One that trusts this CA and shows this certificate, whatever the server asks for.
    ///
    /// # Errors
    /// When a certificate or the key is none.
    pub fn showing(ca: &Ca, pair: &Pair) -> Outcome<Self> {
        Self::new(ca, Some(pair))
    }

    fn new(ca: &Ca, pair: Option<&Pair>) -> Outcome<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.certificate.clone()).map_err(wrong)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .with_root_certificates(roots);
        let config = match pair {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let chain: Result<Vec<_>, _> =
                    CertificateDer::pem_slice_iter(pair.chain_pem.as_bytes()).collect();
                let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).map_err(wrong)?;
                let key = provider.key_provider.load_private_key(key).map_err(wrong)?;
                // Not asked for what it thinks of the certificate.
                let shown = SingleCertAndKey::from(CertifiedKey::new(chain.map_err(wrong)?, key));
                config.with_client_cert_resolver(Arc::new(shown))
            }
        };
        Ok(Self {
            config: Arc::new(config),
            server_name: None,
        })
    }

    /// The same, asking for a server of this name.
    #[must_use]
    pub fn asking_for(mut self, name: &str) -> Self {
        self.server_name = Some(name.to_owned());
        self
    }

    /// The handshake, with the server at `host`.
    ///
    /// # Errors
    /// When it fails. With TLS 1.3 the server's word on the client's certificate comes with the first answer.
    pub async fn connect(&self, stream: TcpStream, host: &str) -> Outcome<TlsStream<TcpStream>> {
        let name = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(wrong)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector
            .connect(name, stream)
            .await
            .map_err(|error| Failure::new(format!("tls: {error}")))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy);
    let lines: Vec<_> = lines.collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
