//! Redirect URIs: which may be registered, and which request matches which registration.

use url::{Host, Url, form_urlencoded};

/// Longest redirect URI, in bytes.
pub const REDIRECT_URI_BYTES: usize = 2048;
/// Most redirect URIs of one client.
pub const REDIRECT_URIS: usize = 16;

/// A redirect URI of a client: https anywhere, or http on this machine. Kept as the text it is.
#[derive(Clone, PartialEq, Eq)]
pub struct RedirectUri {
    text: String,
    host: String,
    loopback: bool,
}

impl RedirectUri {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it. MCP, Communication Security: `localhost` or https. RFC 6749 §3.1.2: absolute, no fragment.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > REDIRECT_URI_BYTES {
            return Err("it is too long");
        }
        // Readers of URLs disagree about `\`, spaces and the like: no such text names one place.
        let plain = |b: u8| {
            b.is_ascii_graphic()
                && !matches!(b, b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
        };
        if !text.bytes().all(plain) {
            return Err("it has a character that no URL has");
        }
        if text.contains('#') {
            return Err("it has a fragment");
        }
        let url = Url::parse(text).map_err(|_| "it is not an absolute URL")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it carries a user name or password");
        }
        let loopback = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => return Err("it has no host"),
        };
        // The prefix is checked on the text too: `HTTPS:x` is an https URL to some readers only.
        let https = url.scheme() == "https" && text.starts_with("https://");
        let http = url.scheme() == "http" && text.starts_with("http://");
        if !(https || http && loopback) {
            return Err("it is neither https nor http on this machine");
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        spells_its_place(text, &url, &host)?;
        Ok(Self {
            text: text.to_owned(),
            host,
            loopback,
        })
    }

    /// The text, byte for byte.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, as a browser will understand it: what a person is shown.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it leads to the machine of whoever follows it, where any program can listen.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// The requested URI, if it matches this registered one: the same text (RFC 9700 §2.1), or, for http on a
    /// loopback IP address, the same but for the port (RFC 8252 §7.3).
    #[must_use]
    pub fn matching(&self, requested: &str) -> Option<Self> {
        let same = self.text == requested;
        let same_but_for_port = || {
            let registered = without_port(&self.text)?;
            (without_port(requested)? == registered).then_some(())
        };
        if same || same_but_for_port().is_some() {
            Self::parse(requested).ok()
        } else {
            None
        }
    }

    /// The URI with these added to its query (RFC 6749 §4.1.2).
    #[must_use]
    pub fn with<'p>(&self, parameters: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
        let mut location = self.text.clone();
        location.push(if location.contains('?') { '&' } else { '?' });
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parameters)
            .finish();
        location.push_str(&query);
        location
    }
}

impl std::fmt::Debug for RedirectUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedirectUri({:?})", self.text)
    }
}

/// An http URL on a loopback IP address, as its address and what follows the port.
fn without_port(text: &str) -> Option<(&'static str, &str)> {
    let after = text.strip_prefix("http://")?;
    let (host, rest) = ["127.0.0.1", "[::1]"]
        .into_iter()
        .find_map(|host| Some((host, after.strip_prefix(host)?)))?;
    let rest = match rest.strip_prefix(':') {
        Some(port) => {
            let rest = port.trim_start_matches(|c: char| c.is_ascii_digit());
            port.strip_suffix(rest)?.parse::<u16>().ok()?;
            rest
        }
        None => rest,
    };
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest))
}

/// The text names host and port as every reader would write them: `http://127.1/`, `https://@host/` and `https:///host` are places to
/// some readers and other places, or none, to others.
fn spells_its_place(text: &str, url: &Url, host: &str) -> Result<(), &'static str> {
    let after_scheme = text.split_once("://").map(|(_, rest)| rest);
    let rest = after_scheme
        .and_then(|rest| rest.strip_prefix(host))
        .ok_or("its host is spelled oddly")?;
    let port = match rest.strip_prefix(':') {
        Some(rest) => rest.split(['/', '?']).next().unwrap_or_default(),
        None if rest.is_empty() || rest.starts_with(['/', '?']) => return Ok(()),
        None => return Err("its host is spelled oddly"),
    };
    match url.port_or_known_default() {
        Some(number) if number > 0 && number.to_string() == port => Ok(()),
        Some(_) | None => Err("its port is spelled oddly"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_anywhere_and_http_on_this_machine() {
        for good in [
            "https://client.example/callback",
            "https://client.example/callback?a=b",
            "http://localhost:3000/callback",
            "http://127.0.0.1/",
            "http://127.0.0.1:49152/callback",
            "http://[::1]:3000/cb",
            "https://client.example:443/cb",
            "https://client.example?a=b",
        ] {
            assert!(RedirectUri::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/callback",
            "http://client.example/callback",
            "http://localhost.evil.example/",
            "http://127.0.0.1.evil.example/",
            "https://client.example/#fragment",
            "https://user@client.example/",
            "https://client.example\\@evil.example/",
            "https:client.example",
            "HTTPS://client.example/",
            "https://client.example/a b",
            "https://client.example/\n",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "com.example.app:/callback",
            "https://",
            "https:///evil.example",
            "https://@evil.example/",
            "http://127.1/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://LOCALHOST/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:00080/",
            "http://127.0.0.1:/",
        ] {
            assert!(RedirectUri::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn length_at_the_limit_and_one_past_it() {
        let long = |n: usize| format!("https://c.example/{}", "x".repeat(n - "https://c.example/".len()));
        assert!(RedirectUri::parse(&long(REDIRECT_URI_BYTES)).is_ok());
        assert!(RedirectUri::parse(&long(REDIRECT_URI_BYTES + 1)).is_err());
    }

    #[test]
    fn only_the_port_of_a_loopback_address_may_differ() {
        // Registered, requested, whether it matches.
        for (registered, requested, matches) in [
            ("https://c.example/cb", "https://c.example/cb", true),
            ("https://c.example/cb", "https://c.example/cb/", false),
            ("https://c.example/cb", "https://c.example/cb?x=1", false),
            ("https://c.example/cb", "https://c.example:443/cb", false),
            ("https://c.example/cb", "https://C.example/cb", false),
            ("https://c.example/", "https://c.example.evil/", false),
            ("https://c.example/cb", "https://c.example/cb/../x", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:5000/cb", true),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:65535/cb", true),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", true),
            ("http://[::1]:1/cb", "http://[::1]:2/cb", true),
            ("http://127.0.0.1:1", "http://127.0.0.1:2", true),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:65536/cb", false),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:/cb", false),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:2/other", false),
            ("http://127.0.0.1:1/cb", "http://[::1]:1/cb", false),
            (
                "http://127.0.0.1:1/cb",
                "http://127.0.0.1:2@evil.example/cb",
                false,
            ),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1.evil.example/cb", false),
            ("http://127.0.0.1:1/cb", "https://127.0.0.1:2/cb", false),
            ("http://localhost:1/cb", "http://localhost:2/cb", false),
            ("http://localhost:1/cb", "http://127.0.0.1:1/cb", false),
            ("https://127.0.0.1:1/cb", "https://127.0.0.1:2/cb", false),
        ] {
            let registered = RedirectUri::parse(registered).unwrap();
            assert_eq!(
                registered.matching(requested).is_some(),
                matches,
                "{registered:?} {requested}"
            );
        }
    }

    #[test]
    fn parameters_join_an_existing_query() {
        let with = |text: &str| {
            RedirectUri::parse(text)
                .unwrap()
                .with([("code", "a b"), ("iss", "https://x")])
        };
        assert_eq!(
            with("https://c.example/cb"),
            "https://c.example/cb?code=a+b&iss=https%3A%2F%2Fx"
        );
        assert_eq!(
            with("https://c.example/?q=1"),
            "https://c.example/?q=1&code=a+b&iss=https%3A%2F%2Fx"
        );
    }
}
