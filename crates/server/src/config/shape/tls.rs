//! `[gateway.tls]` and `[authority.tls]`: the certificate that callers see.

use super::{Kind, Need, Section, key, once};

/// Of a listener.
pub(super) const OF_LISTENER: Section = once(
    "tls",
    "TLS at the listener itself: versions 1.2 and 1.3, HTTP/1.1 and HTTP/2. Without it the listener speaks in clear, for loopback or a proxy that has TLS.",
    &[
        key(
            "certificate_file",
            Kind::Path,
            Need::Required,
            "The listener's certificate and those above it (PEM). A renewed file is in use within seconds, without a restart.",
        ),
        key(
            "key_file",
            Kind::Path,
            Need::Required,
            "Its private key (PEM, not encrypted), readable by its owner alone.",
        ),
    ],
    &[],
);
