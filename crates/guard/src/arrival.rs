//! One HTTP request, by the name that record, log and caller know it by.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis_core::identity::ClientCertificate;
use portcullis_core::random::{RandomUnavailable, SecureRandom};

use crate::reason::CertificateRefused;
use crate::revocations::Generation;

/// Where a request comes from, as far as whoever accepted its connection knows.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// The address at its other end.
    pub peer: Option<IpAddr>,
    /// The client certificate that comes with the request.
    pub certificate: ShownCertificate,
}

/// Whether a client certificate comes with a request. One that is not accepted is not the same as none.
#[derive(Clone, Debug, Default)]
pub enum ShownCertificate {
    /// None does.
    #[default]
    Absent,
    /// This one does, and its sender holds the key.
    Held(Arc<ClientCertificate>),
    /// What is said to be one is not accepted.
    Refused(CertificateRefused),
}

impl From<Option<IpAddr>> for Connection {
    /// A connection without a certificate.
    fn from(peer: Option<IpAddr>) -> Self {
        Self {
            peer,
            certificate: ShownCertificate::Absent,
        }
    }
}

/// An HTTP request that came in.
#[derive(Clone, Debug)]
pub struct Arrival {
    request: Arc<str>,
    connection: Connection,
    /// What was known of revocations when it came.
    known: Generation,
}

impl Arrival {
    /// Our identifier of the request. Unique over restarts, and not secret.
    #[must_use]
    pub fn request(&self) -> &str {
        &self.request
    }

    /// The address it came from.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.connection.peer
    }

    /// The client certificate that comes with it.
    #[must_use]
    pub fn certificate(&self) -> &ShownCertificate {
        &self.connection.certificate
    }

    pub(crate) fn known(&self) -> Generation {
        self.known
    }

    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.request)
    }
}

/// Names requests: a random beginning for the process, then a count. Random names would cost more and could
/// not be put in order.
#[derive(Debug)]
pub(crate) struct Arrivals {
    process: u64,
    next: AtomicU64,
}

impl Arrivals {
    pub(crate) fn new(random: &dyn SecureRandom) -> Result<Self, RandomUnavailable> {
        let mut bytes = [0; 8];
        random.fill(&mut bytes)?;
        Ok(Self {
            process: u64::from_be_bytes(bytes),
            next: AtomicU64::new(1),
        })
    }

    pub(crate) fn next(&self, connection: Connection, known: Generation) -> Arrival {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        Arrival {
            request: format!("{:016x}-{count}", self.process).into(),
            connection,
            known,
        }
    }
}
