//! Parameters of a query or form (RFC 6749 §3.1, §3.2, appendix B).

use url::form_urlencoded;

use super::Refusal;

/// Most parameters in one request.
pub const PARAMETERS: usize = 64;

/// Names that a refusal may repeat. Others are the caller's text, which no answer repeats.
const KNOWN: [&str; 20] = [
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "grant_type",
    "redirect_uri",
    "refresh_token",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
    "token",
    "token_type_hint",
    "prompt",
];

/// The parameters of one request, in order.
#[derive(Clone)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads `application/x-www-form-urlencoded` text.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when it is not UTF-8 or there are more than [`PARAMETERS`].
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let mut pairs = Vec::new();
        for (name, value) in form_urlencoded::parse(text) {
            // The decoder writes U+FFFD for what is not UTF-8: two such texts would become equal.
            if pairs.len() >= PARAMETERS || name.contains('\u{fffd}') || value.contains('\u{fffd}') {
                return Err(Refusal::Malformed("request"));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter that may come once. RFC 6749 §3.1: one without a value counts as absent.
    ///
    /// # Errors
    /// [`Refusal::Repeated`].
    pub fn once(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Refusal::Repeated(name));
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    /// The value of a parameter that must come once.
    ///
    /// # Errors
    /// [`Refusal::Repeated`] and [`Refusal::Missing`].
    pub fn required(&self, name: &'static str) -> Result<&str, Refusal> {
        self.once(name)?.ok_or(Refusal::Missing(name))
    }

    /// The values of a parameter that may come more than once: `resource` (RFC 8707 §2).
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// Checks that nothing but `resource` comes twice.
    ///
    /// # Errors
    /// [`Refusal::Repeated`].
    pub fn refuse_repeats(&self) -> Result<(), Refusal> {
        for (index, (name, _)) in self.0.iter().enumerate() {
            if name != "resource" && self.0.iter().skip(index + 1).any(|(later, _)| later == name) {
                let known = KNOWN.into_iter().find(|known| known == name);
                return Err(Refusal::Repeated(known.unwrap_or("a parameter")));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parameters(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_resource_comes_twice() {
        let parse = |text: &str| Parameters::parse(text.as_bytes()).unwrap();
        assert_eq!(
            parse("scope=a&scope=a").refuse_repeats(),
            Err(Refusal::Repeated("scope"))
        );
        assert_eq!(
            parse("scope=a&sco%70e=b").once("scope"),
            Err(Refusal::Repeated("scope"))
        );
        assert_eq!(
            parse("state=&state=x").once("state"),
            Err(Refusal::Repeated("state"))
        );
        assert_eq!(
            parse("<b>=1&<b>=2").refuse_repeats(),
            Err(Refusal::Repeated("a parameter"))
        );
        assert_eq!(parse("resource=a&resource=b&scope=c").refuse_repeats(), Ok(()));
    }

    #[test]
    fn an_empty_value_is_an_absent_one() {
        let parameters = Parameters::parse(b"state=&scope=a+b").unwrap();
        assert_eq!(parameters.once("state"), Ok(None));
        assert_eq!(parameters.required("state"), Err(Refusal::Missing("state")));
        assert_eq!(parameters.required("scope"), Ok("a b"));
    }

    #[test]
    fn only_utf_8() {
        assert!(Parameters::parse(b"state=%ff").is_err());
        assert!(Parameters::parse(b"%c3%28=x").is_err());
        assert!(Parameters::parse("state=%C3%A4".as_bytes()).is_ok());
    }

    #[test]
    fn at_the_limit_and_one_past_it() {
        let many = |n: usize| (0..n).map(|i| format!("p{i}=1")).collect::<Vec<_>>().join("&");
        assert!(Parameters::parse(many(PARAMETERS).as_bytes()).is_ok());
        assert!(Parameters::parse(many(PARAMETERS + 1).as_bytes()).is_err());
    }
}
