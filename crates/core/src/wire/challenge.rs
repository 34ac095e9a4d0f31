//! `WWW-Authenticate` (RFC 9110 §11.6.1, RFC 6750 §3, RFC 9728 §5.1): written by the gateway, read by the agent.

use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use super::presented::{Scheme, is_tchar, is_token68};

/// Longest `WWW-Authenticate` read, over all its header lines, in bytes.
pub const CHALLENGE_BYTES: usize = 8 * 1024;
/// Most challenges read from one response.
pub const CHALLENGES: usize = 16;
/// Most parameters read of one challenge.
pub const CHALLENGE_PARAMS: usize = 32;

/// What a server wants to see: a scheme and its parameters, no parameter twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    scheme: Box<str>,
    params: Vec<Param>,
}

/// A parameter's name and its value, unquoted.
type Param = (Box<str>, Box<str>);

/// A `WWW-Authenticate` that cannot be read with one meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChallenge {
    /// Longer than [`CHALLENGE_BYTES`], more than [`CHALLENGES`], or more than [`CHALLENGE_PARAMS`] in one.
    #[error("the `WWW-Authenticate` header is too large")]
    TooLarge,
    /// Not the grammar of RFC 9110 §11.6.1.
    #[error("the `WWW-Authenticate` header is malformed")]
    Malformed,
    /// A parameter twice in one challenge (RFC 9110 §11.2 forbids it).
    #[error("the `WWW-Authenticate` header has a parameter twice")]
    Duplicate,
}

impl Challenge {
    /// A `Bearer` challenge without parameters (RFC 6750 §3).
    #[must_use]
    pub fn bearer() -> Self {
        Self::of(Scheme::Bearer)
    }

    /// A challenge of this scheme without parameters (RFC 6750 §3, RFC 9449 §7.1).
    #[must_use]
    pub fn of(scheme: Scheme) -> Self {
        Self {
            scheme: scheme.name().into(),
            params: Vec::new(),
        }
    }

    /// With one more parameter, after the others. A parameter that is there already keeps its first value.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        if self.param(name).is_none() {
            self.params.push((name.into(), value.into()));
        }
        self
    }

    /// The header's value. Quotes and backslashes in parameters are escaped; a character that no quoted string
    /// may hold (a control character, anything outside ASCII) becomes `?`, so that nothing can end the header or
    /// the string early.
    #[must_use]
    pub fn to_header_value(&self) -> HeaderValue {
        Self::join(std::slice::from_ref(self))
    }

    /// One header value with all of these, in this order (RFC 9110 §11.6.1, RFC 9449 §7.2). Written as
    /// [`Self::to_header_value`] writes one.
    #[must_use]
    pub fn join(challenges: &[Self]) -> HeaderValue {
        let mut text = String::new();
        for (index, challenge) in challenges.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            challenge.write(&mut text);
        }
        // The fallback is never needed: the text is visible ASCII and spaces.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    }

    fn write(&self, text: &mut String) {
        text.push_str(&self.scheme);
        for (index, (name, value)) in self.params.iter().enumerate() {
            text.push_str(if index == 0 { " " } else { ", " });
            text.push_str(name);
            text.push_str("=\"");
            for c in value.chars() {
                match c {
                    '"' | '\\' => text.extend(['\\', c]),
                    ' '..='~' => text.push(c),
                    _ => text.push('?'),
                }
            }
            text.push('"');
        }
    }

    /// All challenges of a response, in order, over all header lines.
    ///
    /// More tolerant than the grammar in one thing, since servers do it: a value that should have been quoted may
    /// go on to the next space or comma.
    ///
    /// # Errors
    /// [`InvalidChallenge`].
    pub fn parse_all(headers: &HeaderMap) -> Result<Vec<Self>, InvalidChallenge> {
        let values = headers.get_all(WWW_AUTHENTICATE);
        let total = values
            .iter()
            .fold(0_usize, |sum, value| sum.saturating_add(value.len()));
        if total > CHALLENGE_BYTES {
            return Err(InvalidChallenge::TooLarge);
        }
        let mut found = Vec::new();
        for value in values {
            let text = std::str::from_utf8(value.as_bytes()).map_err(|_| InvalidChallenge::Malformed)?;
            Reader { rest: text }.challenges(&mut found)?;
        }
        Ok(found)
    }

    /// The scheme as it was spelled; compare without regard to case, or ask [`Self::is`].
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Whether the scheme is this one (RFC 9110 §11.1: case-insensitive).
    #[must_use]
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// A parameter's value, unquoted. Names are case-insensitive (RFC 9110 §11.2).
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
    }
}

/// What is left of a header's value. Each method takes what it reads off the front.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// `#challenge`, where a comma separates challenges as well as parameters: what follows it is a parameter if
    /// it is a token and `=`, and a new scheme otherwise.
    fn challenges(mut self, found: &mut Vec<Challenge>) -> Result<(), InvalidChallenge> {
        let mut open = false;
        loop {
            self.blanks();
            if self.rest.is_empty() {
                return Ok(());
            }
            if self.take(',') {
                continue;
            }
            match self.param()? {
                Some(param) => match found.last_mut() {
                    Some(challenge) if open => challenge.push(param)?,
                    Some(_) | None => return Err(InvalidChallenge::Malformed),
                },
                None => {
                    if found.len() >= CHALLENGES {
                        return Err(InvalidChallenge::TooLarge);
                    }
                    found.push(self.challenge()?);
                    open = true;
                }
            }
            self.blanks();
            if !self.rest.is_empty() && !self.take(',') {
                return Err(InvalidChallenge::Malformed);
            }
        }
    }

    /// A scheme, and its token68 or first parameter.
    fn challenge(&mut self) -> Result<Challenge, InvalidChallenge> {
        let mut challenge = Challenge {
            scheme: self.token()?.into(),
            params: Vec::new(),
        };
        if !self.rest.starts_with(' ') {
            return Ok(challenge);
        }
        self.blanks();
        if let Some(param) = self.param()? {
            challenge.push(param)?;
            return Ok(challenge);
        }
        // RFC 9110 §11.3: `Negotiate YII=`. We take none of the schemes that have it, but read past it.
        let blob = self.until(|c| matches!(c, ' ' | '\t' | ','));
        if blob.is_empty() || is_token68(blob) {
            Ok(challenge)
        } else {
            Err(InvalidChallenge::Malformed)
        }
    }

    /// `token BWS "=" BWS ( token / quoted-string )`, or nothing read if it is none.
    fn param(&mut self) -> Result<Option<Param>, InvalidChallenge> {
        let mut ahead = Reader { rest: self.rest };
        let Ok(name) = ahead.token() else { return Ok(None) };
        ahead.blanks();
        if !ahead.take('=') {
            return Ok(None);
        }
        ahead.blanks();
        let value = if ahead.take('"') {
            ahead.quoted()?
        } else {
            let value = ahead.until(|c| matches!(c, ' ' | '\t' | ','));
            // `abc==` and `abc=` are token68.
            if value.is_empty() || value.starts_with('=') {
                return Ok(None);
            }
            if !value
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
            {
                return Err(InvalidChallenge::Malformed);
            }
            value.into()
        };
        self.rest = ahead.rest;
        Ok(Some((name.into(), value)))
    }

    /// The rest of a quoted string whose opening quote was taken (RFC 9110 §5.6.4).
    fn quoted(&mut self) -> Result<Box<str>, InvalidChallenge> {
        let mut value = String::new();
        let mut chars = self.rest.chars();
        loop {
            let c = match chars.next().ok_or(InvalidChallenge::Malformed)? {
                '"' => break,
                '\\' => chars.next().ok_or(InvalidChallenge::Malformed)?,
                c => c,
            };
            if c.is_control() && c != '\t' {
                return Err(InvalidChallenge::Malformed);
            }
            value.push(c);
        }
        self.rest = chars.as_str();
        Ok(value.into())
    }

    fn token(&mut self) -> Result<&'a str, InvalidChallenge> {
        let token = self.until(|c| !u8::try_from(c).is_ok_and(is_tchar));
        if token.is_empty() {
            Err(InvalidChallenge::Malformed)
        } else {
            Ok(token)
        }
    }

    fn until(&mut self, end: impl Fn(char) -> bool) -> &'a str {
        let (taken, rest) = self.rest.split_at(self.rest.find(end).unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn take(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }
}

impl Challenge {
    fn push(&mut self, (name, value): Param) -> Result<(), InvalidChallenge> {
        if self.params.len() >= CHALLENGE_PARAMS {
            return Err(InvalidChallenge::TooLarge);
        }
        if self.param(&name).is_some() {
            return Err(InvalidChallenge::Duplicate);
        }
        self.params.push((name, value));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
