//! Which client certificates are taken, and whom they name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_core::identity::{Bundle, ClientCertificate, InvalidCertificate, VouchedBy, claimed_domains};
use portcullis_core::ids::TrustDomain;
use portcullis_core::jose::jwk::KeySet;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::TlsError;
use super::files::{Contents, Followed, Readers};
use super::own::certificates;

/// Most certificates that a client may show.
const LONGEST_CHAIN: usize = 10;
/// The certificate of an open connection is looked at again after this: it may have ended, or the list of what was revoked.
const AGAIN: Duration = Duration::from_secs(60);

/// Whether certificates are taken that nobody vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfSigned {
    /// No.
    Refuse,
    /// For tokens that are bound to them, which need nobody else's word (RFC 8705 §2.2 and §3).
    Bind,
}

/// What client certificates are judged by.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Files with the certificates of authorities whose clients are taken.
    pub authority_files: Vec<PathBuf>,
    /// Files with lists of what these authorities revoked. With one, a certificate whose authority has none, or an old one, is
    /// not taken.
    pub revocation_files: Vec<PathBuf>,
    /// Others.
    pub self_signed: SelfSigned,
    /// Trust domains, each with the file of its bundle.
    pub domains: Vec<(TrustDomain, PathBuf)>,
}

/// Judges client certificates, by the files as they are now. Nothing is ever fetched.
#[derive(Debug)]
pub struct Clients(Arc<Followed<Trust>>);

impl Clients {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(settings: ClientSettings) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let all = settings.authority_files.iter().chain(&settings.revocation_files);
        let all = all.chain(settings.domains.iter().map(|(_, file)| file));
        let files = all.map(|file| (file.clone(), Readers::Anyone)).collect();
        let make = move |contents: &[Contents]| Trust::of(&settings, contents, &provider);
        Ok(Arc::new(Self(Arc::new(Followed::open(files, Box::new(make))?))))
    }

    /// Follows the files until `stop`, on the current runtime.
    pub fn follow(&self, stop: CancellationToken) {
        Arc::clone(&self.0).follow(stop);
    }

    /// The keys of a trust domain that sign JWT-SVIDs, as its bundle is now.
    #[must_use]
    pub fn token_keys(&self, domain: &TrustDomain) -> Option<Arc<KeySet>> {
        let trust = self.0.current();
        trust.domains.get(domain).map(|domain| Arc::clone(&domain.keys))
    }

    pub(super) fn trust(&self) -> Arc<Trust> {
        self.0.current()
    }
}

/// What the files say.
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    self_signed: SelfSigned,
    domains: BTreeMap<TrustDomain, Domain>,
}

struct Domain {
    authorities: Option<Arc<dyn ClientCertVerifier>>,
    keys: Arc<KeySet>,
}

impl Trust {
    fn of(
        settings: &ClientSettings,
        contents: &[Contents],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let (authorities, rest) = contents
            .split_at_checked(settings.authority_files.len())
            .unwrap_or_default();
        let (revoked, bundles) = rest
            .split_at_checked(settings.revocation_files.len())
            .unwrap_or_default();
        let mut roots = RootCertStore::empty();
        for file in authorities {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|_| not_an_authority(file))?;
            }
        }
        let mut lists = Vec::new();
        for file in revoked {
            lists.extend(revocations(file)?);
        }
        let mut domains = BTreeMap::new();
        for ((domain, _), file) in settings.domains.iter().zip(bundles) {
            domains.insert(domain.clone(), Domain::of(file, provider)?);
        }
        Ok(Self {
            provider: Arc::clone(provider),
            authorities: verifier(roots, lists, provider)?,
            self_signed: settings.self_signed,
            domains,
        })
    }

    /// Finds out who vouches for a certificate, and whether that counts here and now.
    ///
    /// One that names a trust domain that is known here is that domain's affair alone: no other authority makes a workload
    /// of it, or a client.
    fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<ClientCertificate, Error> {
        let (own, above) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        if above.len() >= LONGEST_CHAIN {
            return Err(CertificateError::BadEncoding.into());
        }
        let claimed = claimed_domains(own).map_err(refused)?;
        let known = claimed.iter().find_map(|name| self.domains.get_key_value(name));
        if let Some((name, domain)) = known {
            let authorities = domain.authorities.as_ref().ok_or(UNKNOWN)?;
            authorities.verify_client_cert(own, above, now)?;
            return ClientCertificate::assertion(own, VouchedBy::Domain(name)).map_err(refused);
        }
        let by_authority = match &self.authorities {
            None => Err(UNKNOWN),
            Some(authorities) => authorities.verify_client_cert(own, above, now),
        };
        match by_authority {
            Ok(_) => ClientCertificate::assertion(own, VouchedBy::Authority).map_err(refused),
            // Only what no authority has to do with: a certificate that one of them issued and that does not hold is refused.
            Err(error) if error == UNKNOWN && above.is_empty() && self.self_signed == SelfSigned::Bind => {
                self.judge_alone(own, now)
            }
            Err(error) => Err(error),
        }
    }

    /// A certificate that is its own authority: its signature, dates and purposes are checked as any other's.
    fn judge_alone(&self, own: &CertificateDer<'_>, now: UnixTime) -> Result<ClientCertificate, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(own.clone().into_owned())?;
        let itself = verifier(roots, Vec::new(), &self.provider).ok().flatten();
        itself.ok_or(UNKNOWN)?.verify_client_cert(own, &[], now)?;
        ClientCertificate::assertion(own, VouchedBy::Itself).map_err(refused)
    }
}

const UNKNOWN: Error = Error::InvalidCertificate(CertificateError::UnknownIssuer);

fn refused(why: InvalidCertificate) -> Error {
    match why {
        InvalidCertificate::TooLong | InvalidCertificate::Unreadable => CertificateError::BadEncoding.into(),
        InvalidCertificate::NotOneWorkload
        | InvalidCertificate::OtherDomain
        | InvalidCertificate::NotALeaf => CertificateError::ApplicationVerificationFailure.into(),
    }
}

impl Domain {
    fn of(file: &Contents, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let bundle = Bundle::parse(&file.bytes).map_err(|error| TlsError::Bundle {
            path: file.path.clone(),
            error,
        })?;
        let mut roots = RootCertStore::empty();
        for authority in bundle.authorities() {
            let certificate = CertificateDer::from(authority.clone());
            roots.add(certificate).map_err(|_| not_an_authority(file))?;
        }
        Ok(Self {
            authorities: verifier(roots, Vec::new(), provider)?,
            keys: Arc::new(bundle.into_keys()),
        })
    }
}

/// A verifier of what these authorities vouch for; none, without any.
fn verifier(
    roots: RootCertStore,
    lists: Vec<CertificateRevocationListDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if roots.is_empty() {
        return Ok(None);
    }
    // With a list, the whole chain is looked up, and what no list speaks of is not taken.
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .with_crls(lists)
        .enforce_revocation_expiration()
        .build()
        .map(Some)
        .map_err(|error| TlsError::Library(error.to_string()))
}

/// The lists of a file, in PEM, or one in DER.
fn revocations(file: &Contents) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let wrong = || TlsError::Malformed {
        path: file.path.clone(),
        wanted: "certificate revocation lists in PEM, or one in DER",
    };
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&file.bytes).collect();
    let mut found = found.map_err(|_| wrong())?;
    if found.is_empty() {
        found.push(CertificateRevocationListDer::from(file.bytes.to_vec()));
    }
    for list in &found {
        let (rest, _) = CertificateRevocationList::from_der(list).map_err(|_| wrong())?;
        if !rest.is_empty() {
            return Err(wrong());
        }
    }
    Ok(found)
}

fn not_an_authority(file: &Contents) -> TlsError {
    TlsError::Malformed {
        path: file.path.clone(),
        wanted: "certificates of authorities",
    }
}

/// Asks clients for a certificate, and takes whoever has none as well: whether one is needed, each server says for itself.
/// Which authorities are trusted is told to nobody (RFC 8446 §4.2.4 leaves that out).
pub(super) struct Asking(pub(super) Arc<Trust>);

impl ClientCertVerifier for Asking {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(end_entity)
            .chain(intermediates)
            .cloned()
            .collect();
        self.0.judge(&chain, now).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0
            .provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asking")
    }
}

/// The client certificate of one connection, whose key the client proved in the handshake or in the one that is resumed.
pub(crate) struct Sender {
    clients: Arc<Clients>,
    chain: Vec<CertificateDer<'static>>,
    judged: Mutex<Judged>,
}

/// What was found, by which trust, and when.
struct Judged {
    certificate: Arc<ClientCertificate>,
    trust: Arc<Trust>,
    at: Instant,
}

impl Sender {
    /// Judges what was shown: that a session was resumed says nothing about its certificate now.
    pub(crate) fn new(clients: &Arc<Clients>, chain: &[CertificateDer<'_>]) -> Result<Self, Error> {
        let chain: Vec<_> = chain
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        let judged = Judged::now(clients, &chain)?;
        Ok(Self {
            clients: Arc::clone(clients),
            chain,
            judged: Mutex::new(judged),
        })
    }

    /// The certificate, as long as it is taken: looked at again when the trust changed, and each minute.
    ///
    /// # Errors
    /// Why it is not taken any more.
    pub(crate) fn certificate(&self) -> Result<Arc<ClientCertificate>, Error> {
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&judged.trust, &self.clients.trust()) || judged.at.elapsed() >= AGAIN {
            *judged = Judged::now(&self.clients, &self.chain)?;
        }
        Ok(Arc::clone(&judged.certificate))
    }
}

impl Judged {
    fn now(clients: &Clients, chain: &[CertificateDer<'_>]) -> Result<Self, Error> {
        let trust = clients.trust();
        Ok(Self {
            certificate: Arc::new(trust.judge(chain, UnixTime::now())?),
            trust,
            at: Instant::now(),
        })
    }
}
