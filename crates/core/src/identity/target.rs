//! The URL of an HTTP request as proofs name it.

use std::fmt;

/// An `http` or `https` URL without query and fragment, in the normal form of RFC 3986 §6.2.2 (case, percent-encoding, dot
/// segments) and §6.2.3 (default port, empty path): how RFC 9449 §4.3 (check 9) has `htu` compared. A text that is no such
/// URL is equal to itself alone.
///
/// For proofs only: identifiers of issuers and resources are compared as the strings they are.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpTarget(Box<str>);

impl HttpTarget {
    /// The normal form of this text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(normal(text).map_or_else(|| text.into(), String::into_boxed_str))
    }

    /// Whether the text names this URL.
    #[must_use]
    pub fn is_named_by(&self, text: &str) -> bool {
        // Nearly all senders write the normal form.
        *self.0 == *text || Self::of(text) == *self
    }

    /// The normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpTarget({:?})", &*self.0)
    }
}

fn normal(text: &str) -> Option<String> {
    let text = text.split(['?', '#']).next()?;
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at_checked(at)?,
        None => (rest, "/"),
    };
    let (host, port) = host_and_port(authority)?;
    let mut out = format!("{scheme}://{host}");
    if let Some(port) = port.filter(|port| *port != default_port) {
        out.push_str(&format!(":{port}"));
    }
    let path = percent_normal(path, |b| is_pchar(b) || b == b'/')?;
    without_dot_segments(&path, &mut out);
    Some(out)
}

/// The host in lower case. No user information: a URL that is called has none (RFC 9110 §4.2.4).
fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(literal) => {
            let (address, rest) = literal.split_once(']')?;
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            (format!("[{address}]"), rest)
        }
        None => {
            let at = authority.find(':').unwrap_or(authority.len());
            let (name, rest) = authority.split_at_checked(at)?;
            let name = percent_normal(name, |b| is_unreserved(b) || is_sub_delim(b))?;
            (name.to_ascii_lowercase(), rest)
        }
    };
    if host.is_empty() {
        return None;
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        None => return None,
        // RFC 3986 §6.2.3: an empty port is the default one.
        Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    Some((host, port))
}

/// RFC 3986 §6.2.2.1 and §6.2.2.2: what need not be encoded is not, and the rest is in upper case. `None` for a byte that
/// may not stand there, or a `%` without two digits.
fn percent_normal(text: &str, may_stand: impl Fn(u8) -> bool) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let encoded = u8::try_from(digit()? * 16 + digit()?).ok()?;
            if is_unreserved(encoded) {
                out.push(char::from(encoded));
            } else {
                out.push_str(&format!("%{encoded:02X}"));
            }
        } else if may_stand(byte) {
            out.push(char::from(byte));
        } else {
            return None;
        }
    }
    Some(out)
}

/// RFC 3986 §5.2.4, of a path that begins with a slash.
fn without_dot_segments(path: &str, out: &mut String) {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => {
                kept.push(segment);
                continue;
            }
        }
        // What a dot segment at the end leaves is a folder.
        if segments.peek().is_none() {
            kept.push("");
        }
    }
    for segment in kept {
        out.push('/');
        out.push_str(segment);
    }
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~".contains(&b)
}

fn is_sub_delim(b: u8) -> bool {
    b"!$&'()*+,;=".contains(&b)
}

fn is_pchar(b: u8) -> bool {
    is_unreserved(b) || is_sub_delim(b) || b == b':' || b == b'@'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: &str = "https://mcp.example/s/a-b/mcp";

    /// DPOP-10 of the attack catalogue.
    #[test]
    fn one_url_in_its_many_spellings() {
        let here = HttpTarget::of(HERE);
        assert_eq!(here.as_str(), HERE);
        for same in [
            HERE,
            "HTTPS://mcp.example/s/a-b/mcp",
            "https://MCP.Example/s/a-b/mcp",
            "https://mcp.example:443/s/a-b/mcp",
            "https://mcp.example:/s/a-b/mcp",
            "https://mcp.example:0443/s/a-b/mcp",
            "https://mcp.%65xample/s/a-b/mcp",
            "https://mcp.example/s/a%2Db/%6dcp",
            "https://mcp.example/s/a%2db/%6Dcp",
            "https://mcp.example/./s/x/../a-b/mcp",
            "https://mcp.example/../s/%2e%2E/s/a-b/./mcp",
            "https://mcp.example/s/a-b/mcp?query=1",
            "https://mcp.example/s/a-b/mcp#fragment",
            "https://mcp.example/s/a-b/mcp?a#b?c",
        ] {
            assert!(here.is_named_by(same), "{same}");
        }
        for other in [
            "http://mcp.example/s/a-b/mcp",
            "https://mcp.example:80/s/a-b/mcp",
            "https://mcp.example:8443/s/a-b/mcp",
            "https://mcp.example.evil/s/a-b/mcp",
            "https://evil.example/s/a-b/mcp",
            "https://mcp.example@evil.example/s/a-b/mcp",
            "https://user@mcp.example/s/a-b/mcp",
            "https://mcp.example/s/a-b/mcp/",
            "https://mcp.example/s/a-b/mcp/.",
            "https://mcp.example/s/a-b/MCP",
            "https://mcp.example//s/a-b/mcp",
            "https://mcp.example/s/a-b//mcp",
            "https://mcp.example/s/a-b/mcp/x",
            "https://mcp.example/s/a-b%2Fmcp",
            "https://mcp.example/s/a-b/mcp%00",
            "https://mcp.example/s/a-b/mcp%",
            "https://mcp.example/s/a-b/mcp%2",
            "https://mcp.example/s\\a-b\\mcp",
            "https:\\\\mcp.example/s/a-b/mcp",
            "https:/mcp.example/s/a-b/mcp",
            "//mcp.example/s/a-b/mcp",
            "/s/a-b/mcp",
            " https://mcp.example/s/a-b/mcp",
            "https://mcp.example/s/a-b/mcp ",
            "https://mcp.example/s/a-b/\tmcp",
            "https://mcp.ex\u{e4}mple/s/a-b/mcp",
            "https://mcp.example:65979/s/a-b/mcp",
            "https://mcp.example:443:443/s/a-b/mcp",
            "https://mcp.example:+443/s/a-b/mcp",
            "https:///s/a-b/mcp",
            "ftp://mcp.example/s/a-b/mcp",
            "",
        ] {
            assert!(!here.is_named_by(other), "{other}");
        }
    }

    #[test]
    fn empty_paths_folders_and_addresses() {
        for (text, normal) in [
            ("https://a", "https://a/"),
            ("https://a?x", "https://a/"),
            ("http://a:80", "http://a/"),
            ("http://a:443/", "http://a:443/"),
            ("https://a/b/..", "https://a/"),
            ("https://a/b/.", "https://a/b/"),
            ("https://a/..", "https://a/"),
            ("https://a/%c3%a4", "https://a/%C3%A4"),
            ("http://[::0001]:80/x", "http://[::1]/x"),
            ("http://[::1]:8420/x", "http://[::1]:8420/x"),
            ("http://127.0.0.1:8420/mcp", "http://127.0.0.1:8420/mcp"),
        ] {
            assert_eq!(HttpTarget::of(text).as_str(), normal, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_is_its_own(text in "https?://[a-zA-Z.%0-9]{0,9}(:[0-9]{0,5})?(/|[a-zA-Z./%0-9~?#]){0,20}") {
            let once = HttpTarget::of(&text);
            prop_assert_eq!(&HttpTarget::of(once.as_str()), &once);
            prop_assert!(once.is_named_by(&text));
        }

        #[test]
        fn any_text_is_read(text in ".*") {
            prop_assert!(HttpTarget::of(&text).is_named_by(&text));
        }
    }
}
