//! The certificate that a listener shows, and its key.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::TlsError;
use super::files::{Contents, Followed, Readers};

/// Most certificates in the chain that is shown.
const LONGEST_CHAIN: usize = 10;

/// Reads both files, and again when one of them changes. The two are used together or not at all.
pub(super) fn open(
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
) -> Result<Followed<CertifiedKey>, TlsError> {
    Followed::open(
        vec![(certificate, Readers::Anyone), (key, Readers::Owner)],
        Box::new(move |contents| match contents {
            [certificate, key] => pair(certificate, key, &provider),
            // There are two files.
            _ => Err(TlsError::Library("there are not two files".to_owned())),
        }),
    )
}

fn pair(certificate: &Contents, key: &Contents, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate)?;
    if chain.len() > LONGEST_CHAIN {
        return Err(TlsError::Malformed {
            path: certificate.path.clone(),
            wanted: "a certificate and at most nine above it, in PEM",
        });
    }
    let one_key = || TlsError::Malformed {
        path: key.path.clone(),
        wanted: "one private key in PEM that is not encrypted",
    };
    let mut keys = PrivateKeyDer::pem_slice_iter(&key.bytes);
    let (Some(Ok(private)), None) = (keys.next(), keys.next()) else {
        return Err(one_key());
    };
    CertifiedKey::from_der(chain, private, provider).map_err(|error| {
        if error == Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
            TlsError::OtherKey {
                certificate: certificate.path.clone(),
                key: key.path.clone(),
            }
        } else if matches!(error, Error::InvalidCertificate(_)) {
            TlsError::Malformed {
                path: certificate.path.clone(),
                wanted: "a certificate (X.509 version 3) in PEM",
            }
        } else {
            one_key()
        }
    })
}

/// All certificates of a file, one at least.
pub(super) fn certificates(file: &Contents) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(TlsError::Malformed {
            path: file.path.clone(),
            wanted: "certificates in PEM",
        }),
    }
}
