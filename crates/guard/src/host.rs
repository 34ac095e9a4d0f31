//! Which `Host` and `Origin` a request may name.
//!
//! A web page can make a browser send requests here: to a name of its own that resolves to our address (DNS
//! rebinding), or to our name from its own origin. MCP (Streamable HTTP, Security) requires that both be
//! checked.

use http::header::{HOST, ORIGIN};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Uri};

use crate::reason::Reason;

/// The rule for one public URL.
#[derive(Clone, Debug)]
pub struct PublicHost {
    /// `None`: this machine only, under any of its names, at any port.
    exact: Option<Exact>,
    /// Further origins, compared as strings.
    origins: Vec<String>,
}

#[derive(Clone, Debug)]
struct Exact {
    host: String,
    /// `None`: the scheme's own.
    port: Option<u16>,
    default_port: u16,
    origin: String,
}

/// A public URL that is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the http or https URL of a host")]
pub struct InvalidPublicUrl(String);

impl PublicHost {
    /// The rule for a public URL (scheme, host and perhaps a port). With a loopback URL, this machine's names
    /// at any port are allowed; with another, exactly its host. `origins` are further pages that may send
    /// requests, as `Origin` spells them.
    ///
    /// # Errors
    /// [`InvalidPublicUrl`].
    pub fn of(public_url: &str, origins: Vec<String>) -> Result<Self, InvalidPublicUrl> {
        let invalid = || InvalidPublicUrl(public_url.to_owned());
        let uri: Uri = public_url.parse().map_err(|_| invalid())?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(invalid());
        };
        let default_port = match scheme {
            scheme if *scheme == Scheme::HTTPS => 443,
            scheme if *scheme == Scheme::HTTP => 80,
            _ => return Err(invalid()),
        };
        if names_this_machine(authority.host()) {
            return Ok(Self { exact: None, origins });
        }
        let host = authority.host().to_ascii_lowercase();
        let port = authority.port_u16().filter(|port| *port != default_port);
        let origin = match port {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        };
        Ok(Self {
            exact: Some(Exact {
                host,
                port,
                default_port,
                origin,
            }),
            origins,
        })
    }

    /// Whether it is this machine, by one of the names that stay on it.
    pub(crate) fn is_loopback(authority: &Authority) -> bool {
        names_this_machine(authority.host())
    }

    /// Checks that a request names our host, in the request target too, and nothing else. For listeners that
    /// pages of any origin may read from; an MCP endpoint checks `Origin` as well.
    ///
    /// # Errors
    /// [`Reason::HostMalformed`] for none, two, or what names no host; [`Reason::HostRefused`] for another's.
    pub fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Reason> {
        let mut hosts = headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => {
                let host = Authority::try_from(host.as_bytes()).map_err(|_| Reason::HostMalformed)?;
                self.check_name(&host)?;
            }
            // HTTP/2 has `:authority` instead.
            (None, None) if uri.authority().is_some() => {}
            // RFC 9112 §3.2.
            (None, _) | (Some(_), Some(_)) => return Err(Reason::HostMalformed),
        }
        // A request target in absolute form names a host too (RFC 9112 §3.2.2).
        match uri.authority() {
            Some(authority) => self.check_name(authority),
            None => Ok(()),
        }
    }

    /// Checks `Host` and `Origin` of one request.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Reason> {
        self.check_host(uri, headers)?;
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Ok(()),
            (Some(origin), None) => {
                let origin = origin.to_str().map_err(|_| Reason::OriginRefused)?;
                if self.names_allowed_origin(origin) {
                    Ok(())
                } else {
                    Err(Reason::OriginRefused)
                }
            }
            (Some(_), Some(_)) => Err(Reason::OriginRefused),
        }
    }

    fn check_name(&self, host: &Authority) -> Result<(), Reason> {
        // RFC 9110 §7.2: no user. `gw.example:` and `gw.example:x` have a colon and no port.
        let plain = !host.as_str().contains('@');
        let whole = host.port().is_some() || host.as_str() == host.host();
        if !plain || !whole {
            return Err(Reason::HostMalformed);
        }
        let allowed = match &self.exact {
            None => names_this_machine(host.host()),
            Some(exact) => {
                host.host().eq_ignore_ascii_case(&exact.host)
                    && host.port_u16().filter(|port| *port != exact.default_port) == exact.port
            }
        };
        if allowed { Ok(()) } else { Err(Reason::HostRefused) }
    }

    fn names_allowed_origin(&self, origin: &str) -> bool {
        if self.origins.iter().any(|allowed| allowed == origin) {
            return true;
        }
        match &self.exact {
            Some(exact) => origin == exact.origin,
            None => origin
                .strip_prefix("http://")
                .or_else(|| origin.strip_prefix("https://"))
                .and_then(|authority| authority.parse::<Authority>().ok())
                .is_some_and(|authority| self.check_name(&authority).is_ok()),
        }
    }
}

fn names_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "[::1]"
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn answer(rule: &PublicHost, host: &str, origin: Option<&str>) -> Result<(), Reason> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        rule.check(&Uri::from_static("/mcp"), &headers)
    }

    #[test]
    fn on_loopback_this_machine_under_any_name_and_port() {
        let rule = PublicHost::of(
            "http://127.0.0.1:8420",
            vec!["https://inspector.example".to_owned()],
        )
        .unwrap();
        for host in ["127.0.0.1:8420", "localhost", "LOCALHOST:1", "[::1]:9", "[::1]"] {
            assert!(answer(&rule, host, None).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil",
            "localhost.evil",
            "127.0.0.2",
            "[::2]",
        ] {
            assert_eq!(answer(&rule, host, None), Err(Reason::HostRefused), "{host}");
        }
        for host in [
            "evil@localhost",
            "localhost:",
            "localhost:x",
            "localhost/",
            "[::1",
            "",
        ] {
            assert_eq!(answer(&rule, host, None), Err(Reason::HostMalformed), "{host}");
        }
        for origin in [
            "http://localhost:3000",
            "https://127.0.0.1",
            "http://[::1]:5",
            "https://inspector.example",
        ] {
            assert!(answer(&rule, "localhost", Some(origin)).is_ok(), "{origin}");
        }
        for origin in [
            "http://evil.example",
            "null",
            "",
            "http://localhost.evil",
            "http://localhost:evil@x",
            "http://x@localhost",
            "http://localhost/",
            "ftp://localhost",
            "localhost",
            "https://inspector.example:443",
            "https://inspector.example.evil",
        ] {
            assert!(
                matches!(
                    answer(&rule, "localhost", Some(origin)),
                    Err(Reason::OriginRefused)
                ),
                "{origin}"
            );
        }
    }

    #[test]
    fn elsewhere_exactly_the_public_host() {
        let rule = PublicHost::of("https://gw.example", Vec::new()).unwrap();
        for host in ["gw.example", "GW.example", "gw.example:443"] {
            assert!(answer(&rule, host, Some("https://gw.example")).is_ok(), "{host}");
        }
        for host in ["gw.example:8443", "gw.example.evil", "localhost", "127.0.0.1"] {
            assert_eq!(answer(&rule, host, None), Err(Reason::HostRefused), "{host}");
        }
        for host in ["gw@evil", "evil@gw.example", "gw.example:"] {
            assert_eq!(answer(&rule, host, None), Err(Reason::HostMalformed), "{host}");
        }
        for origin in [
            "http://gw.example",
            "https://gw.example:8443",
            "https://localhost",
            "null",
        ] {
            assert!(
                matches!(
                    answer(&rule, "gw.example", Some(origin)),
                    Err(Reason::OriginRefused)
                ),
                "{origin}"
            );
        }
        let rule = PublicHost::of("https://gw.example:8443", Vec::new()).unwrap();
        assert!(answer(&rule, "gw.example:8443", Some("https://gw.example:8443")).is_ok());
        assert!(answer(&rule, "gw.example", None).is_err());
    }

    #[test]
    fn two_hosts_or_none_are_refused_and_the_request_target_counts() {
        let rule = PublicHost::of("http://localhost:1", Vec::new()).unwrap();
        let mut headers = HeaderMap::new();
        let malformed = Err(Reason::HostMalformed);
        assert_eq!(rule.check(&Uri::from_static("/mcp"), &headers), malformed);
        assert!(
            rule.check(&Uri::from_static("http://localhost/mcp"), &headers)
                .is_ok()
        );
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert_eq!(
            rule.check(&Uri::from_static("http://evil.example/mcp"), &headers),
            Err(Reason::HostRefused)
        );
        headers.append(HOST, HeaderValue::from_static("localhost"));
        assert_eq!(rule.check(&Uri::from_static("/mcp"), &headers), malformed);
    }

    #[test]
    fn a_public_url_has_a_host() {
        for url in ["gw.example", "/x", "ftp://gw.example", ""] {
            assert!(PublicHost::of(url, Vec::new()).is_err(), "{url}");
        }
    }
}
