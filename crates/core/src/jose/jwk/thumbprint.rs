//! RFC 7638 thumbprints and their URIs (RFC 9278).

use std::fmt;

use aws_lc_rs::digest;

use crate::jose::base64url;

/// What a thumbprint URI begins with: RFC 9278 §3 and the name of SHA-256 in the registry of RFC 6920 §9.4.
const URI: &str = "urn:ietf:params:oauth:jwk-thumbprint:sha-256:";

/// The SHA-256 thumbprint of a public key (RFC 7638 §3): the same for every spelling of the same key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Over the required members in lexicographic order (RFC 7638 §3.2, RFC 8037 §2). Names and values must need no
    /// JSON escape, which holds for registered curve names and base64url text.
    pub(super) fn over(members: &[(&str, &str)]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for (index, (name, value)) in members.iter().enumerate() {
            context.update(if index == 0 { b"{\"" } else { b",\"" });
            context.update(name.as_bytes());
            context.update(b"\":\"");
            context.update(value.as_bytes());
            context.update(b"\"");
        }
        context.update(b"}");
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The thumbprint as a URI (RFC 9278 §3).
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{URI}{self}")
    }

    /// From a thumbprint URI (RFC 9278 §3). `None` for another hash or another spelling.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::parse(uri.strip_prefix(URI)?)
    }

    /// From its base64url text, as claims such as `jkt` carry it (RFC 9449 §6.1).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = base64url::decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// The first eight hexadecimal digits, for names that people read.
    #[must_use]
    pub fn short(&self) -> String {
        let [a, b, c, d, ..] = self.0;
        format!("{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url::encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}
