//! Where a Redis is, as an operator writes it.

use std::fmt;

use ::redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};

/// `redis://[USER@]HOST[:PORT][/DATABASE]`, or `rediss://…` with TLS. It holds no password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

/// Not a URL of a Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedisUrl {
    /// The URL has a password in it.
    #[error("the password is written into the URL")]
    Password,
    /// It has parameters, of which none is known, or a fragment, which would turn the check of certificates off.
    #[error("parameters and fragments are not accepted")]
    Extra,
    /// Anything else.
    #[error("not the URL of a Redis")]
    Malformed,
}

impl RedisUrl {
    /// Reads it.
    ///
    /// # Errors
    /// [`InvalidRedisUrl`].
    pub fn parse(text: &str) -> Result<Self, InvalidRedisUrl> {
        let url = ::url::Url::parse(text).map_err(|_| InvalidRedisUrl::Malformed)?;
        if !matches!(url.scheme(), "redis" | "rediss") {
            return Err(InvalidRedisUrl::Malformed);
        }
        if url.password().is_some() {
            return Err(InvalidRedisUrl::Password);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidRedisUrl::Extra);
        }
        match text.into_connection_info() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(InvalidRedisUrl::Malformed),
        }
    }

    /// Whether the connection is encrypted and the server authenticated.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.info()
            .is_ok_and(|info| matches!(info.addr(), ConnectionAddr::TcpTls { .. }))
    }

    pub(super) fn info(&self) -> ::redis::RedisResult<ConnectionInfo> {
        self.0.as_str().into_connection_info()
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({:?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_where_and_nothing_more() {
        for good in [
            "redis://127.0.0.1",
            "redis://cache.example:6380/3",
            "redis://portcullis@cache.example",
            "redis://[::1]:6379/0",
        ] {
            let url = RedisUrl::parse(good).unwrap();
            assert!(!url.is_tls());
            assert_eq!(url.to_string(), good);
        }
        assert!(RedisUrl::parse("rediss://cache.example").unwrap().is_tls());
        for (bad, why) in [
            ("redis://:secret@cache.example", InvalidRedisUrl::Password),
            ("redis://user:secret@cache.example", InvalidRedisUrl::Password),
            // Turns the check of certificates off, in the library's own spelling.
            ("rediss://cache.example#insecure", InvalidRedisUrl::Extra),
            ("redis://cache.example?protocol=resp3", InvalidRedisUrl::Extra),
            ("redis://", InvalidRedisUrl::Malformed),
            ("redis://cache.example/x", InvalidRedisUrl::Malformed),
            ("http://cache.example", InvalidRedisUrl::Malformed),
            ("cache.example", InvalidRedisUrl::Malformed),
            ("unix:///run/redis.sock", InvalidRedisUrl::Malformed),
        ] {
            assert_eq!(RedisUrl::parse(bad), Err(why), "{bad}");
        }
    }
}
