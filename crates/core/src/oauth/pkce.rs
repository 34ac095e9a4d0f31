//! PKCE (RFC 7636), S256 only: `plain` proves nothing to someone who saw the authorization request (RFC 9700 §2.1.1).

use aws_lc_rs::{constant_time, digest};

use crate::jose::base64url;
use crate::random::{self, RandomUnavailable, SecureRandom};
use crate::secret::Secret;

/// The one `code_challenge_method` there is here (RFC 7636 §4.3).
pub const METHOD: &str = "S256";

/// A text that is not a verifier or challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid PKCE {0}")]
pub struct InvalidPkce(&'static str);

/// A `code_verifier` (RFC 7636 §4.1): what the client keeps, and shows when it redeems the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier(Secret);

impl Verifier {
    /// A new one, of 256 random bits.
    ///
    /// # Errors
    /// [`RandomUnavailable`].
    pub fn generate(random: &dyn SecureRandom) -> Result<Self, RandomUnavailable> {
        random::token::<32>(random).map(|text| Self(Secret::new(text)))
    }

    /// Reads one as a client sent it: 43 to 128 unreserved characters (RFC 7636 §4.1).
    ///
    /// # Errors
    /// [`InvalidPkce`].
    pub fn parse(text: &str) -> Result<Self, InvalidPkce> {
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        if (43..=128).contains(&text.len()) && text.bytes().all(unreserved) {
            Ok(Self(Secret::new(text)))
        } else {
            Err(InvalidPkce("verifier"))
        }
    }

    /// The text, for the token request.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// Its challenge: BASE64URL(SHA256(ASCII(verifier))) (RFC 7636 §4.2).
    #[must_use]
    pub fn challenge(&self) -> Challenge {
        Challenge(base64url::encode(digest::digest(
            &digest::SHA256,
            self.reveal().as_bytes(),
        )))
    }
}

/// A `code_challenge` of method S256: what the authorization request carries.
#[derive(Clone, Debug)]
pub struct Challenge(String);

impl Challenge {
    /// Reads one as a client sent it: the base64url form of 32 bytes, without padding.
    ///
    /// # Errors
    /// [`InvalidPkce`].
    pub fn parse(text: &str) -> Result<Self, InvalidPkce> {
        match base64url::decode(text) {
            Ok(bytes) if bytes.len() == digest::SHA256_OUTPUT_LEN => Ok(Self(text.to_owned())),
            Ok(_) | Err(_) => Err(InvalidPkce("challenge")),
        }
    }

    /// The text, for the authorization request and for keeping.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the verifier's challenge; takes the same time wherever they differ.
    #[must_use]
    pub fn matches(&self, verifier: &Verifier) -> bool {
        let shown = verifier.challenge();
        constant_time::verify_slices_are_equal(self.0.as_bytes(), shown.0.as_bytes()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_example_of_appendix_b() {
        let verifier = Verifier::parse(VERIFIER).unwrap();
        assert_eq!(verifier.challenge().as_str(), CHALLENGE);
        assert!(Challenge::parse(CHALLENGE).unwrap().matches(&verifier));
    }

    #[test]
    fn another_verifier_does_not_match() {
        let other = Verifier::parse(&VERIFIER.replace('d', "e")).unwrap();
        assert!(!Challenge::parse(CHALLENGE).unwrap().matches(&other));
        // The verifier itself, which `plain` would accept.
        assert!(
            !Challenge::parse(VERIFIER)
                .unwrap()
                .matches(&Verifier::parse(VERIFIER).unwrap())
        );
    }

    #[test]
    fn verifiers_have_43_to_128_unreserved_characters() {
        for good in ["a".repeat(43), "~".repeat(128)] {
            assert!(Verifier::parse(&good).is_ok(), "{good}");
        }
        for bad in [
            "a".repeat(42),
            "a".repeat(129),
            format!("{}+", "a".repeat(43)),
            format!("{} ", "a".repeat(43)),
        ] {
            assert_eq!(Verifier::parse(&bad), Err(InvalidPkce("verifier")), "{bad}");
        }
    }

    #[test]
    fn challenges_are_base64url_of_32_bytes() {
        for bad in [
            String::new(),
            format!("{CHALLENGE}="),
            CHALLENGE.replace('-', "+"),
            "A".repeat(42),
            "A".repeat(44),
        ] {
            assert!(Challenge::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_verifier_is_shown() {
        assert!(!format!("{:?}", Verifier::parse(VERIFIER).unwrap()).contains(VERIFIER));
    }
}
