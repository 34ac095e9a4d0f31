//! The credential a request carries, unverified.

use http::header::AUTHORIZATION;
use url::form_urlencoded;

use super::Error;
use crate::limits;
use crate::secret::Secret;

/// What the caller presented. Absent is an answer of its own, never "anonymous".
#[derive(Debug)]
pub enum Presented {
    /// No credential at all, or one of a scheme that is not taken here.
    Absent,
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    Bearer(BearerToken),
}

/// A bearer token as sent: token68 characters, at most [`crate::limits::AUTHORIZATION_BYTES`].
#[derive(Debug)]
pub struct BearerToken(Secret);

impl BearerToken {
    /// The token text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

impl Presented {
    /// Reads the credential from the headers and the raw query of a request.
    ///
    /// # Errors
    /// [`Error::TokenInQuery`], [`Error::TwoAuthorizationHeaders`], [`Error::AuthorizationTooLong`],
    /// [`Error::MalformedAuthorization`].
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
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Self::Absent);
        }
        if !is_token68(token) {
            return Err(Error::MalformedAuthorization);
        }
        Ok(Self::Bearer(BearerToken(Secret::new(token))))
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
    }
}
