//! TLS of listeners: the certificate that is shown, those that clients show, and handshakes.
//!
//! Takes: files in PEM, revocation lists, SPIFFE bundles, accepted sockets. Gives: a connection of which the handshake held,
//! what was agreed in it, and the client certificate of whose key it was shown that the client holds it. May use: the file
//! system, the TLS library. Never: speaks HTTP, fetches what a certificate names, goes on with a half of a renewed pair.
//!
//! TLS 1.2 with extended master secrets, and TLS 1.3 (RFC 9325); the cipher suites are the library's, all of them with
//! forward secrecy.

mod clients;
mod files;
mod own;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_core::fault::Fault;
use portcullis_core::identity::InvalidBundle;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use clients::{Asking, Trust};
use files::Followed;

pub(crate) use clients::Sender;
pub use clients::{ClientSettings, Clients, SelfSigned};

/// Sessions that can be resumed at one time. Each may hold its client's chain, of at most 64 KiB.
const SESSIONS: usize = 1_024;
/// RFC 9113 §3.1, RFC 7301 §6.
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// What a listener needs for TLS.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The certificate, and those above it but for the root.
    pub certificate_file: PathBuf,
    /// Its private key, readable by its owner alone.
    pub key_file: PathBuf,
    /// What judges client certificates. Without it, clients are not asked for one.
    pub clients: Option<Arc<Clients>>,
}

/// Makes handshakes, always with the files as they are now: a renewed certificate is in use within seconds.
pub struct Tls {
    provider: Arc<CryptoProvider>,
    own: Arc<Followed<CertifiedKey>>,
    clients: Option<Arc<Clients>>,
    built: ArcSwap<Built>,
}

/// A configuration of the TLS library, and what it was built of. Its memory of sessions goes with it: nothing is resumed
/// that was agreed on under other files.
struct Built {
    own: Arc<CertifiedKey>,
    trust: Option<Arc<Trust>>,
    config: Arc<ServerConfig>,
}

/// Which HTTP was agreed on (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1, also when the client named none.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A connection of which the handshake held.
pub(crate) struct Secured<S> {
    /// What is said in it.
    pub(crate) stream: TlsStream<S>,
    /// What it speaks.
    pub(crate) protocol: Protocol,
    /// The name that the client asked for (RFC 6066 §3), in lower case.
    pub(crate) server_name: Option<Box<str>>,
    /// The certificate that the client showed.
    pub(crate) sender: Option<Sender>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`]: nothing can be served with these files.
    pub fn open(settings: Settings) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let own = own::open(
            settings.certificate_file,
            settings.key_file,
            Arc::clone(&provider),
        )?;
        let trust = settings.clients.as_deref().map(Clients::trust);
        let built = Built::new(own.current(), trust, &provider)?;
        Ok(Arc::new(Self {
            clients: settings.clients,
            built: ArcSwap::from_pointee(built),
            own: Arc::new(own),
            provider,
        }))
    }

    /// Follows the files of the listener's own certificate until `stop`, on the current runtime. Ones that cannot be used are
    /// told of in the log, and what was read before stays in use.
    pub fn follow(&self, stop: CancellationToken) {
        Arc::clone(&self.own).follow(stop);
    }

    /// The handshake. It takes as long as the client lets it: bounding that is the caller's.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<Secured<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config().map_err(io::Error::other)?;
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let (_, session) = stream.get_ref();
        let protocol = match session.alpn_protocol() {
            Some(H2) => Protocol::Http2,
            Some(_) | None => Protocol::Http1,
        };
        let server_name = session
            .server_name()
            .map(|name| name.trim_end_matches('.').to_ascii_lowercase().into());
        let sender = match (&self.clients, session.peer_certificates()) {
            (Some(clients), Some(chain)) => Some(Sender::new(clients, chain).map_err(io::Error::other)?),
            (None, _) | (_, None) => None,
        };
        Ok(Secured {
            sender,
            stream,
            protocol,
            server_name,
        })
    }

    fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let (built, own) = (self.built.load(), self.own.current());
        let trust = self.clients.as_deref().map(Clients::trust);
        let same_trust = match (&built.trust, &trust) {
            (None, None) => true,
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if same_trust && Arc::ptr_eq(&built.own, &own) {
            return Ok(Arc::clone(&built.config));
        }
        let built = Built::new(own, trust, &self.provider)?;
        let config = Arc::clone(&built.config);
        self.built.store(Arc::new(built));
        Ok(config)
    }
}

impl Built {
    fn new(
        own: Arc<CertifiedKey>,
        trust: Option<Arc<Trust>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let library = |error: rustls::Error| TlsError::Library(error.to_string());
        let config = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(library)?;
        let config = match &trust {
            None => config.with_no_client_auth(),
            Some(trust) => config.with_client_cert_verifier(Arc::new(Asking(Arc::clone(trust)))),
        };
        let shown = SingleCertAndKey::from(CertifiedKey::clone(&own));
        let mut config = config.with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        // RFC 7627, RFC 9325 §3.5.
        config.require_ems = true;
        Ok(Self {
            own,
            trust,
            config: Arc::new(config),
        })
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or not ours to read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A private key that others can read, or replace.
    #[error("{} can be read or written by other users, which a file with a private key must not be", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
    },
    /// Larger than any such file is.
    #[error("{} is larger than {} bytes", path.display(), files::FILE_BYTES)]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// Not what was wanted.
    #[error("{} does not hold {wanted}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What.
        wanted: &'static str,
    },
    /// The two do not belong together.
    #[error("the private key in {} is not that of the certificate in {}", key.display(), certificate.display())]
    OtherKey {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Not a trust domain's bundle.
    #[error("{}: {error}", path.display())]
    Bundle {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        error: InvalidBundle,
    },
    /// The TLS library refuses, for a reason that no file explains.
    #[error("the TLS library refuses: {0}")]
    Library(String),
}

impl TlsError {
    /// Whose fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unreadable { .. }
            | Self::Exposed { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::OtherKey { .. }
            | Self::Bundle { .. } => Fault::Operator,
            Self::Library(_) => Fault::Bug,
        }
    }

    /// What would help.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => "put the file there, or correct the path".to_owned(),
            Self::Exposed { path } => format!("chmod 600 {}", path.display()),
            Self::TooLarge { .. } => "name the right file".to_owned(),
            Self::Malformed { wanted, .. } => format!("write {wanted} into this file"),
            Self::OtherKey { .. } => {
                "name the two files that belong together: the certificate file begins with the server's own certificate"
                    .to_owned()
            }
            Self::Bundle { .. } => {
                "write the domain's bundle into this file, as `spire-server bundle show -format spiffe` prints it"
                    .to_owned()
            }
            Self::Library(_) => "report this".to_owned(),
        }
    }
}
