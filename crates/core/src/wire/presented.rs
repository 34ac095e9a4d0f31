//! The credential a request carries, unverified.

use http::header::{AUTHORIZATION, HeaderName};
use url::form_urlencoded;

use super::Error;
use crate::limits;
use crate::secret::Secret;

/// The header of a proof (RFC 9449 §4.1).
pub const DPOP: HeaderName = HeaderName::from_static("dpop");

/// What the caller presented. Absent is an answer of its own, never "anonymous".
#[derive(Debug)]
pub enum Presented {
    /// No credential at all, or one of a scheme that is not taken here.
    Absent,
    /// `Authorization: Bearer` (RFC 6750 §2.1). A `DPoP` header beside it is nothing: a client that makes proofs and was
    /// given a bearer token may send both, and a token that is bound is refused in this scheme.
    Bearer(AccessToken),
    /// `Authorization: DPoP`, with the one `DPoP` header that belongs to it (RFC 9449 §7.1).
    Dpop {
        /// The token.
        token: AccessToken,
        /// The proof.
        proof: Proof,
    },
}

/// An access token as sent: token68 characters, at most [`crate::limits::AUTHORIZATION_BYTES`].
#[derive(Debug)]
pub struct AccessToken(Secret);

impl AccessToken {
    /// The token text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

/// A DPoP proof as sent: characters of a compact JWS, at most [`crate::limits::PROOF_BYTES`]. Kept out of logs like the token: until it is
/// spent, whoever sees both can send them.
#[derive(Debug)]
pub struct Proof(Secret);

impl Proof {
    /// The proof's text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// The one `DPoP` header of a request (RFC 9449 §4.3, checks 1 and 2).
    ///
    /// # Errors
    /// [`Error::ProofMissing`], [`Error::TwoProofs`], [`Error::ProofTooLong`], [`Error::MalformedProof`].
    pub fn parse(headers: &http::HeaderMap) -> Result<Self, Error> {
        let mut values = headers.get_all(DPOP).iter();
        let value = values.next().ok_or(Error::ProofMissing)?;
        if values.next().is_some() {
            return Err(Error::TwoProofs);
        }
        if value.len() > limits::PROOF_BYTES {
            return Err(Error::ProofTooLong);
        }
        let text = value.to_str().map_err(|_| Error::MalformedProof)?;
        // A comma would be a second proof to a reader that joins header lines.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
        if text.is_empty() || !text.bytes().all(plain) {
            return Err(Error::MalformedProof);
        }
        Ok(Self(Secret::new(text)))
    }
}

/// How a token is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 6750 §2.1.
    Bearer,
    /// RFC 9449 §7.1.
    Dpop,
}

impl Presented {
    /// Reads the credential from the headers and the raw query of a request.
    ///
    /// # Errors
    /// [`Error::TokenInQuery`], [`Error::TwoAuthorizationHeaders`], [`Error::AuthorizationTooLong`],
    /// [`Error::MalformedAuthorization`]; with the scheme `DPoP` those of [`Proof::parse`].
    pub fn parse(headers: &http::HeaderMap, query: Option<&str>) -> Result<Self, Error> {
        if query.is_some_and(has_token) {
            return Err(Error::TokenInQuery);
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(Self::Absent);
        };
        // RFC 6750 §2: which of two would count depends on who reads.
        if values.next().is_some() {
            return Err(Error::TwoAuthorizationHeaders);
        }
        if value.len() > limits::AUTHORIZATION_BYTES {
            return Err(Error::AuthorizationTooLong);
        }
        let value = value.to_str().map_err(|_| Error::MalformedAuthorization)?;
        // RFC 9110 §11.4: credentials = auth-scheme [ 1*SP ( token68 / #auth-param ) ]
        let (scheme, token) = value.split_once(' ').map_or((value, ""), |(scheme, rest)| {
            (scheme, rest.trim_start_matches(' '))
        });
        if scheme.is_empty() || !scheme.bytes().all(is_tchar) {
            return Err(Error::MalformedAuthorization);
        }
        let Some(scheme) = Scheme::from_name(scheme) else {
            return Ok(Self::Absent);
        };
        if !is_token68(token) {
            return Err(Error::MalformedAuthorization);
        }
        let token = AccessToken(Secret::new(token));
        Ok(match scheme {
            Scheme::Bearer => Self::Bearer(token),
            Scheme::Dpop => Self::Dpop {
                token,
                proof: Proof::parse(headers)?,
            },
        })
    }
}

impl Scheme {
    /// Its name in `Authorization` and `WWW-Authenticate`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }

    /// The scheme that a request seems to use, for an answer in its terms. Of a request that [`Presented::parse`] refuses,
    /// too.
    #[must_use]
    pub fn used(headers: &http::HeaderMap) -> Option<Self> {
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        Self::from_name(value.split_once(' ').map_or(value, |(scheme, _)| scheme))
    }

    /// The scheme of this name (RFC 9110 §11.1: case-insensitive).
    fn from_name(name: &str) -> Option<Self> {
        [Self::Bearer, Self::Dpop]
            .into_iter()
            .find(|scheme| name.eq_ignore_ascii_case(scheme.name()))
    }
}

/// RFC 6750 §2.3 as a server might read it: any percent-encoding or case of the name, `;` for `&`.
fn has_token(query: &str) -> bool {
    query
        .split(['&', ';'])
        .flat_map(|pair| form_urlencoded::parse(pair.as_bytes()))
        .any(|(name, _)| name.eq_ignore_ascii_case("access_token"))
}

/// RFC 9110 §5.6.2.
pub(super) fn is_tchar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// RFC 9110 §11.2: 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
pub(super) fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty()
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};

    /// A token, `None` for absent, or the slug.
    type Answer<'a> = Result<Option<&'a str>, &'static str>;

    fn presented(values: &[&[u8]], query: Option<&str>) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        match Presented::parse(&headers, query) {
            Ok(Presented::Bearer(token)) => Ok(Some(token.reveal().to_owned())),
            Ok(Presented::Dpop { .. }) => panic!("there is no proof"),
            Ok(Presented::Absent) => Ok(None),
            Err(error) => Err(error.code()),
        }
    }

    #[test]
    fn one_header_with_one_token() {
        const MALFORMED: Answer<'_> = Err("request.malformed-authorization");
        let rows: &[(&[u8], Answer<'_>)] = &[
            // RFC 6750 §2.1; RFC 9110 §11.1: the scheme is case-insensitive, any number of spaces.
            (b"Bearer abc", Ok(Some("abc"))),
            (b"bearer abc", Ok(Some("abc"))),
            (b"BEARER abc", Ok(Some("abc"))),
            (b"Bearer   abc", Ok(Some("abc"))),
            (b"Bearer aZ09-._~+/==", Ok(Some("aZ09-._~+/=="))),
            // Other schemes are no credential here.
            (b"Basic dTpw", Ok(None)),
            (b"Negotiate", Ok(None)),
            (b"Token abc", Ok(None)),
            (b"Digest username=\"u\", realm=\"r\"", Ok(None)),
            (b"eyJhbGciOiJFUzI1NiJ9.e30.c2ln", Ok(None)),
            (b"Bearers abc", Ok(None)),
            // Malformed.
            (b"Bearer", MALFORMED),
            (b"Bearer ", MALFORMED),
            (b"Bearer =", MALFORMED),
            (b"Bearer:abc", MALFORMED),
            (b"Bearer\tabc", MALFORMED),
            (b"Bearer \tabc", MALFORMED),
            (b"Bearer abc ", MALFORMED),
            (b"Bearer a b", MALFORMED),
            (b"Bearer a=b", MALFORMED),
            (b"Bearer abc, Bearer evil", MALFORMED),
            (b"Bearer abc,", MALFORMED),
            (b"Bearer \"abc\"", MALFORMED),
            (b"Bearer a%20b", MALFORMED),
            (b"Bearer \xc3\xa4", MALFORMED),
            (b" Bearer abc", MALFORMED),
            (b"", MALFORMED),
        ];
        for (value, wanted) in rows {
            let wanted = wanted.map(|token| token.map(str::to_owned));
            assert_eq!(
                presented(&[value], None),
                wanted,
                "{}",
                String::from_utf8_lossy(value)
            );
        }
        assert_eq!(presented(&[], None), Ok(None));
    }

    #[test]
    fn never_two_headers() {
        for pair in [
            [b"Bearer a".as_slice(), b"Bearer a"],
            [b"Basic dTpw", b"Bearer a"],
            [b"Bearer a", b""],
        ] {
            assert_eq!(presented(&pair, None), Err("request.two-authorization-headers"));
        }
    }

    #[test]
    fn never_in_the_query() {
        for query in [
            "access_token=a",
            "access_token",
            "a=b&access_token=",
            "a=b;access_token=c",
            "access%5Ftoken=a",
            "%61ccess_token=a",
            "Access_Token=a",
        ] {
            assert_eq!(
                presented(&[], Some(query)),
                Err("request.token-in-query"),
                "{query}"
            );
            assert_eq!(
                presented(&[b"Bearer a"], Some(query)),
                Err("request.token-in-query"),
                "{query}"
            );
        }
        for query in [
            "",
            "a=access_token",
            "access_tokens=a",
            "access-token=a",
            "%",
            "&&;",
        ] {
            assert_eq!(presented(&[], Some(query)), Ok(None), "{query}");
        }
    }

    #[test]
    fn length_at_the_limit_and_one_past_it() {
        let value = |n: usize| format!("Bearer {}", "a".repeat(n - "Bearer ".len()));
        assert!(presented(&[value(limits::AUTHORIZATION_BYTES).as_bytes()], None).is_ok());
        let long = presented(&[value(limits::AUTHORIZATION_BYTES + 1).as_bytes()], None);
        assert_eq!(long, Err("request.authorization-too-long"));
    }

    #[test]
    fn debug_shows_no_token() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer hunter2"));
        assert!(!format!("{:?}", Presented::parse(&headers, None)).contains("hunter2"));
        headers.insert(AUTHORIZATION, HeaderValue::from_static("DPoP hunter2"));
        headers.insert(DPOP, HeaderValue::from_static("hunter3"));
        assert!(!format!("{:?}", Presented::parse(&headers, None)).contains("hunter"));
    }

    /// Token and proof, or the slug.
    fn proven(authorization: &[u8], proofs: &[&[u8]]) -> Result<(String, String), &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(authorization).unwrap());
        for proof in proofs {
            headers.append("DPoP", HeaderValue::from_bytes(proof).unwrap());
        }
        match Presented::parse(&headers, None) {
            Ok(Presented::Dpop { token, proof }) => {
                Ok((token.reveal().to_owned(), proof.reveal().to_owned()))
            }
            Ok(Presented::Bearer(_)) => Err("bearer"),
            Ok(Presented::Absent) => Err("absent"),
            Err(error) => Err(error.code()),
        }
    }

    #[test]
    fn the_scheme_dpop_has_one_proof() {
        let held = Ok(("abc".to_owned(), "a-Z_0.b.c".to_owned()));
        for scheme in [b"DPoP abc".as_slice(), b"dpop abc", b"DPOP  abc"] {
            assert_eq!(proven(scheme, &[b"a-Z_0.b.c"]), held);
        }
        // DPOP-03 and DPOP-04 of the attack catalogue
        assert_eq!(proven(b"DPoP abc", &[]), Err("dpop.missing"));
        for two in [[b"a.b.c".as_slice(), b"a.b.c"], [b"a.b.c", b"x"], [b"", b"a.b.c"]] {
            assert_eq!(proven(b"DPoP abc", &two), Err("dpop.two"));
        }
        for malformed in [
            b"a.b.c, a.b.c".as_slice(),
            b"a.b.c,d.e.f",
            b"",
            b"a.b.c ",
            b"a.b.c=",
            b"\"a.b.c\"",
            b"a.b.\xc3\xa4",
        ] {
            assert_eq!(proven(b"DPoP abc", &[malformed]), Err("dpop.malformed"));
        }
        for token in [b"DPoP".as_slice(), b"DPoP a b", b"DPoP a, DPoP b"] {
            assert_eq!(proven(token, &[b"a.b.c"]), Err("request.malformed-authorization"));
        }
        // A proof makes no scheme of another one.
        assert_eq!(proven(b"Bearer abc", &[b"a.b.c"]), Err("bearer"));
        assert_eq!(proven(b"DPoPs abc", &[b"a.b.c"]), Err("absent"));
    }

    #[test]
    fn proofs_at_the_limit_and_one_past_it() {
        assert!(proven(b"DPoP abc", &["a".repeat(limits::PROOF_BYTES).as_bytes()]).is_ok());
        let long = proven(b"DPoP abc", &["a".repeat(limits::PROOF_BYTES + 1).as_bytes()]);
        assert_eq!(long, Err("dpop.too-long"));
    }
}
