//! Names of workloads (SPIFFE-ID specification, version 1.0).

use std::fmt;
use std::sync::Arc;

use super::{ClientId, InvalidId, Issuer, Subject};
use crate::limits;

/// Longest name of a trust domain (SPIFFE-ID §2.4).
const DOMAIN_BYTES: usize = 255;
const SCHEME: &str = "spiffe://";

/// The name of a trust domain: whose workloads one authority vouches for (SPIFFE-ID §2.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Lower-case letters, digits, dots, dashes and underscores, without the scheme.
    ///
    /// # Errors
    /// [`InvalidId`].
    pub fn parse(name: &str) -> Result<Self, InvalidId> {
        let wrong = |reason| InvalidId {
            kind: "trust domain",
            reason,
        };
        if name.is_empty() {
            return Err(wrong("it is empty"));
        }
        if name.len() > DOMAIN_BYTES {
            return Err(wrong("it is longer than 255 bytes"));
        }
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b);
        if name.bytes().all(allowed) {
            Ok(Self(Arc::from(name)))
        } else {
            Err(wrong(
                "only lower-case letters, digits, `.`, `-` and `_` are allowed",
            ))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain as the one that vouches: `spiffe://{name}` (SPIFFE-ID §2.3). No authorization server has such an
    /// identifier, since those are http and https URLs.
    #[must_use]
    pub fn issuer(&self) -> Issuer {
        Issuer(Arc::from(format!("{SCHEME}{}", self.0)))
    }

    /// The domain that vouches under this name; none, for an authorization server.
    #[must_use]
    pub fn of(issuer: &Issuer) -> Option<Self> {
        Self::parse(issuer.as_str().strip_prefix(SCHEME)?).ok()
    }
}

impl Issuer {
    /// Whoever can vouch for somebody: an authorization server, or a trust domain by [`TrustDomain::issuer`]. For naming who
    /// is believed already, and not for believing them.
    ///
    /// # Errors
    /// [`InvalidId`].
    pub fn parse_any(text: &str) -> Result<Self, InvalidId> {
        match text.strip_prefix(SCHEME) {
            Some(name) => TrustDomain::parse(name).map(|domain| domain.issuer()),
            None => Self::parse(text),
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of one workload: `spiffe://{trust domain}/{path}`, compared as a string (SPIFFE-ID §2).
///
/// The one spelling that there is of it: no upper case in the domain, no percent-encoding, port, user, query or fragment,
/// no empty segment, no `.` and no `..`. A name without a path is the domain's own and no workload's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    domain: TrustDomain,
}

impl SpiffeId {
    /// Takes the text as it is, of at most [`limits::NAME_BYTES`].
    ///
    /// # Errors
    /// [`InvalidId`].
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let wrong = |reason| InvalidId {
            kind: "SPIFFE ID",
            reason,
        };
        if text.len() > limits::NAME_BYTES {
            return Err(wrong("it is too long"));
        }
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| wrong("it does not begin with `spiffe://`"))?;
        let (domain, path) = rest.split_once('/').ok_or_else(|| wrong("it has no path"))?;
        for segment in path.split('/') {
            if matches!(segment, "" | "." | "..") {
                return Err(wrong("a segment of its path is empty, `.` or `..`"));
            }
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
            if !segment.bytes().all(allowed) {
                return Err(wrong(
                    "only letters, digits, `.`, `-` and `_` are allowed in its path",
                ));
            }
        }
        Ok(Self {
            text: Arc::from(text),
            domain: TrustDomain::parse(domain)?,
        })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whose workload it is.
    #[must_use]
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The path, with the `/` at its beginning.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text
            .get(SCHEME.len() + self.domain.0.len()..)
            .unwrap_or_default()
    }

    /// The workload as whom something is done for.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject(Arc::clone(&self.text))
    }

    /// The workload as the client that acts.
    #[must_use]
    pub fn client(&self) -> ClientId {
        ClientId(Arc::clone(&self.text))
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_has_one_spelling() {
        for good in [
            "spiffe://prod.example/a",
            "spiffe://prod.example/ns/sales/sa/report",
            "spiffe://1.2.3.4/A-b_c.d",
            "spiffe://a/...",
        ] {
            let id = SpiffeId::parse(good).unwrap();
            assert_eq!(id.as_str(), good);
            assert_eq!(format!("spiffe://{}{}", id.domain(), id.path()), good);
            assert_eq!((id.subject().as_str(), id.client().as_str()), (good, good));
            // What the other types would take as well.
            assert_eq!(Subject::parse(good).unwrap(), id.subject());
            assert_eq!(ClientId::parse(good).unwrap(), id.client());
        }
        for bad in [
            "",
            "spiffe://",
            "spiffe:///a",
            "spiffe://prod.example",
            "spiffe://prod.example/",
            "spiffe://prod.example/a/",
            "spiffe://prod.example//a",
            "spiffe://prod.example/./a",
            "spiffe://prod.example/a/..",
            "SPIFFE://prod.example/a",
            "spiffe://Prod.example/a",
            "spiffe://prod.example:443/a",
            "spiffe://u@prod.example/a",
            "spiffe://prod.example/a?b",
            "spiffe://prod.example/a#b",
            "spiffe://prod.example/a%2fb",
            "spiffe://prod.example/ä",
            "spiffe://prod.example/a b",
            "spiffe://prod.example/a\0",
            "https://prod.example/a",
            " spiffe://prod.example/a",
        ] {
            assert!(SpiffeId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lengths_at_the_limits_and_one_past_them() {
        let id = |n: usize| format!("spiffe://a/{}", "x".repeat(n - "spiffe://a/".len()));
        assert!(SpiffeId::parse(&id(limits::NAME_BYTES)).is_ok());
        assert!(SpiffeId::parse(&id(limits::NAME_BYTES + 1)).is_err());
        assert!(TrustDomain::parse(&"a".repeat(DOMAIN_BYTES)).is_ok());
        assert!(TrustDomain::parse(&"a".repeat(DOMAIN_BYTES + 1)).is_err());
    }

    #[test]
    fn a_domain_is_no_authorization_server() {
        let issuer = TrustDomain::parse("prod.example").unwrap().issuer();
        assert_eq!(issuer.as_str(), "spiffe://prod.example");
        assert!(Issuer::parse(issuer.as_str()).is_err());
        assert_eq!(
            TrustDomain::of(&issuer).map(|domain| domain.issuer()),
            Some(issuer.clone())
        );
        assert_eq!(Issuer::parse_any(issuer.as_str()), Ok(issuer));
        assert!(Issuer::parse_any("https://as.example").is_ok());
        for bad in [
            "spiffe://",
            "spiffe://Prod.example",
            "spiffe://prod.example/a",
            "prod.example",
        ] {
            assert!(Issuer::parse_any(bad).is_err(), "{bad:?}");
        }
    }
}
