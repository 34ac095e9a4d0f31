//! The one table of signature algorithms.

/// A JWS signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9964 §3). The key has one; a token only names it.
///
/// There is no `none` and no HMAC: a verifier that shares its secret with the issuer can forge what it verifies.
///
/// `ML-DSA-65` is in the table and off ([`Self::is_off_unless_named`]): a verifier takes from an issuer only what its configuration
/// names (`algorithms` of `[[issuers]]`), and nothing names it by itself. Keys of clients, for which there is no such list, are for
/// any of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SignatureAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512: the number is the hash's, not the curve's.
    Es512,
    /// Ed25519 (RFC 8037).
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits or more.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384, 2048 bits or more.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512, 2048 bits or more.
    Rs512,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes, 2048 bits or more.
    Ps256,
    /// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes, 2048 bits or more.
    Ps384,
    /// RSASSA-PSS with SHA-512, MGF1 with SHA-512 and a salt of 64 bytes, 2048 bits or more.
    Ps512,
    /// ML-DSA-65 (FIPS 204) with an empty context (RFC 9964).
    MlDsa65,
}

impl SignatureAlgorithm {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::MlDsa65,
    ];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::MlDsa65 => "ML-DSA-65",
        }
    }

    /// Whether nothing is verified with it unless a configuration names it.
    #[must_use]
    pub const fn is_off_unless_named(self) -> bool {
        matches!(self, Self::MlDsa65)
    }

    /// The algorithm of this registered name, compared byte for byte (RFC 7515 §4.1.1: case-sensitive).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        for algorithm in SignatureAlgorithm::ALL {
            assert_eq!(SignatureAlgorithm::from_name(algorithm.name()), Some(algorithm));
        }
        for other in [
            "",
            "none",
            "None",
            "es256",
            "HS256",
            "HS384",
            "HS512",
            "ES256K",
            "Ed25519",
            "FOO256",
            "RS256\0",
            "RS1",
            "ML-DSA-44",
            "ML-DSA-87",
            "PBES2-HS256+A128KW",
            "dir",
        ] {
            assert_eq!(SignatureAlgorithm::from_name(other), None, "{other:?}");
        }
    }
}
