//! Names and identifiers, one type each, so that none is ever passed where another belongs.
//!
//! Identities are compared as the strings they are: no case folding, no URL normalisation (RFC 9207 §2.4, RFC 8414 §3.3).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;

mod spiffe;

pub use spiffe::{SpiffeId, TrustDomain};

/// A text that is not a valid identifier of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: {reason}")]
pub struct InvalidId {
    kind: &'static str,
    reason: &'static str,
}

impl InvalidId {
    /// What kind of identifier was wanted, such as "issuer".
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// What is wrong with the text.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is, byte for byte.
            ///
            /// # Errors
            /// [`InvalidId`] saying what is wrong with it.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                match $check(text) {
                    Ok(()) => Ok(Self(Arc::from(text))),
                    Err(reason) => Err(InvalidId { kind: $kind, reason }),
                }
            }

            /// The text, byte for byte as it was parsed.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// So that a map keyed by it can be asked with a text that was never parsed. Hash and order are those of the text.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &*self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

identifier! {
    /// The issuer identifier of an authorization server (RFC 8414 §2), compared as a string.
    Issuer, "issuer", absolute_uri
}
identifier! {
    /// The resource indicator of an MCP endpoint (RFC 8707 §2, RFC 9728 §1.2), compared as a string.
    ResourceUri, "resource", absolute_uri
}
identifier! {
    /// A `client_id` (RFC 6749 §2.2), or the URL of a client's metadata document.
    ClientId, "client id", visible_ascii
}
identifier! {
    /// A `sub` claim: whom a token is about, unique within its issuer (RFC 7519 §4.1.2).
    Subject, "subject", text
}
identifier! {
    /// A `jti`: the identifier of one token (RFC 7519 §4.1.7).
    TokenId, "token id", text
}
identifier! {
    /// The identifier of a grant within its issuer: all tokens that come from one consent or login have it.
    GrantId, "grant id", text
}
identifier! {
    /// The name of one entry in the log of revocations.
    RevocationId, "revocation id", text
}
identifier! {
    /// A `kid`: the identifier of a key within its issuer's set (RFC 7517 §4.5).
    KeyId, "key id", text
}
identifier! {
    /// The operator's name for a guarded MCP server: lower-case letters, digits, `-` and `_`.
    ServerName, "server name", slug
}
identifier! {
    /// A tool's name as its server spells it, compared byte for byte.
    ToolName, "tool name", text
}
identifier! {
    /// One scope token (RFC 6749 §3.3).
    Scope, "scope", scope_token
}

fn text(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > limits::NAME_BYTES {
        return Err("it is too long");
    }
    if text.chars().any(char::is_control) {
        return Err("it has a control character");
    }
    Ok(())
}

fn visible_ascii(value: &str) -> Result<(), &'static str> {
    text(value)?;
    if value.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
        Ok(())
    } else {
        Err("it has a character outside ASCII")
    }
}

fn absolute_uri(value: &str) -> Result<(), &'static str> {
    visible_ascii(value)?;
    if value.contains('#') {
        return Err("it has a fragment");
    }
    let parsed = url::Url::parse(value).map_err(|_| "it is not an absolute URL")?;
    if parsed.scheme() != "https" && parsed.scheme() != "http" {
        return Err("its scheme is neither https nor http");
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("it carries a user name or password");
    }
    Ok(())
}

fn slug(value: &str) -> Result<(), &'static str> {
    text(value)?;
    if value.len() > 64 {
        return Err("it is longer than 64 characters");
    }
    if value
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    {
        Ok(())
    } else {
        Err("only lower-case letters, digits, `-` and `_` are allowed")
    }
}

fn scope_token(value: &str) -> Result<(), &'static str> {
    if value.is_empty() {
        return Err("it is empty");
    }
    if value.len() > limits::SCOPE_BYTES {
        return Err("it is too long");
    }
    // RFC 6749 §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
    if value
        .bytes()
        .all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    {
        Ok(())
    } else {
        Err("only visible ASCII without `\"` and `\\` is allowed")
    }
}

/// In whose name a call is made, and whose a session is: not the token, which changes at each refresh, but whom it is
/// about. Two are the same when all three members are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The issuer that vouches.
    pub issuer: Issuer,
    /// The user, unique within the issuer, or the client itself.
    pub subject: Subject,
    /// The client (agent) that acts: two agents of one user are two principals.
    pub client: ClientId,
}

/// A set of scopes, kept in order so that every challenge and record spells it the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeSet(BTreeSet<Scope>);

impl ScopeSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a space-delimited `scope` parameter or claim (RFC 6749 §3.3). Repeated scopes count once.
    ///
    /// # Errors
    /// [`InvalidId`] when a scope token is malformed or there are more than [`limits::SCOPES`].
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let mut set = BTreeSet::new();
        for token in text.split(' ').filter(|token| !token.is_empty()) {
            if set.len() >= limits::SCOPES {
                return Err(InvalidId {
                    kind: "scope",
                    reason: "there are too many",
                });
            }
            set.insert(Scope::parse(token)?);
        }
        Ok(Self(set))
    }

    /// Whether the scope is in the set, as a string: implication between scopes is policy's business.
    #[must_use]
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.contains(scope)
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts one in.
    pub fn insert(&mut self, scope: Scope) {
        self.0.insert(scope);
    }

    /// Those in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// Those in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// Those in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    /// Whether all of these are in the other set.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_compared_as_strings() {
        let plain = Issuer::parse("https://as.example").unwrap();
        for near in [
            "https://as.example/",
            "https://AS.example",
            "https://as.example:443",
        ] {
            assert_ne!(plain, Issuer::parse(near).unwrap());
        }
    }

    #[test]
    fn fragments_credentials_and_odd_schemes_are_no_identity() {
        for bad in [
            "",
            "as.example",
            "ftp://as.example",
            "https://as.example/#x",
            "https://u:p@as.example",
            "https://as.example/\n",
        ] {
            assert!(Issuer::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn scopes_follow_rfc_6749_section_3_3() {
        assert_eq!(ScopeSet::parse("b a  a").unwrap().to_string(), "a b");
        assert!(ScopeSet::parse("a\"b").is_err());
        assert!(Scope::parse("a b").is_err());
        assert!(Scope::parse(&"x".repeat(limits::SCOPE_BYTES)).is_ok());
        assert!(Scope::parse(&"x".repeat(limits::SCOPE_BYTES + 1)).is_err());
        let many = |n: usize| (0..n).map(|i| format!("s{i}")).collect::<Vec<_>>().join(" ");
        assert!(ScopeSet::parse(&many(limits::SCOPES)).is_ok());
        assert!(ScopeSet::parse(&many(limits::SCOPES + 1)).is_err());
    }
}
