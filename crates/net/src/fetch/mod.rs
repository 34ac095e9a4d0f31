//! Outbound HTTP with an address guard: the address that was checked is the address that is connected to.
//!
//! Takes: a request, limits. Gives: its answer, whole within limits or streaming. May use: the network, the
//! trust roots. Never: follows a redirect, uses a proxy from the environment, connects to an address that its
//! [`Reach`] leaves out.
//!
//! A URL that a stranger named (a client's metadata document, an issuer's key set) must not make us speak to
//! what only we can reach. Checking a name first and connecting to it afterwards checks another answer of the
//! name server than the one connected to (DNS rebinding), so the check sits in the resolver, between the
//! answer and the connection; literal addresses, which no resolver sees, are checked before.

mod address;
mod connect;

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::Scheme;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tokio::time::timeout;

use address::Rule;
use connect::{PlainClient, Refusal, TlsClient};

/// Which addresses may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Public addresses over https only: for URLs that a stranger named.
    PublicOnly,
    /// Also loopback, and http there: for a developer's machine and for addresses from configuration.
    LoopbackToo,
    /// Any address from the operator's own configuration (upstreams, issuers), http only on loopback and
    /// private ranges.
    Configured,
}

/// Bounds of one fetch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest body, in bytes.
    pub body: usize,
    /// Longest wait for the whole answer.
    pub time: Duration,
}

/// A body in either direction.
pub type Body = BoxBody<Bytes, Box<dyn StdError + Send + Sync>>;

/// Why nothing (usable) came back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address guard refused; nothing was sent.
    #[error("the address guard refused `{host}`: {reason}")]
    Refused {
        /// The host of the URL, and its port where it has one.
        host: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No connection, or it broke.
    #[error("`{host}` could not be reached: {detail}")]
    Unreachable {
        /// The host of the URL, and its port where it has one.
        host: String,
        /// What the network or TLS said.
        detail: String,
    },
    /// Took too long.
    #[error("`{host}` did not answer in time")]
    TimedOut {
        /// The host of the URL, and its port where it has one.
        host: String,
    },
    /// Answer larger than the limit.
    #[error("the answer of `{host}` is larger than {limit} bytes")]
    TooLarge {
        /// The host of the URL, and its port where it has one.
        host: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The TLS library gave no client configuration.
    #[error("TLS cannot be used: {detail}")]
    Tls {
        /// What it said.
        detail: String,
    },
}

/// An HTTP client with pooled connections and the operating system's trust roots. Follows no redirects.
/// Cloning shares the pool.
#[derive(Clone, Debug)]
pub struct Fetcher {
    reach: Reach,
    clients: Arc<Clients>,
}

/// One client for each scheme, because the schemes may reach different addresses.
#[derive(Debug)]
struct Clients {
    /// `None` where http is refused whatever the address.
    plain: Option<PlainClient>,
    tls: TlsClient,
}

impl Fetcher {
    /// A client for one kind of destination. Where the operating system has no trust roots, every https
    /// connection fails.
    ///
    /// # Errors
    /// [`Error::Tls`].
    pub fn new(reach: Reach) -> Result<Self, Error> {
        Self::with(reach, connect::trust_roots())
    }

    /// As [`Self::new`], and trusts the certificates of a PEM file besides: for a service with a private CA.
    ///
    /// # Errors
    /// [`Error::Tls`], also for a file without certificates.
    pub fn trusting(reach: Reach, file: &Path) -> Result<Self, Error> {
        Self::with(reach, connect::trust_roots_and(file))
    }

    fn with(reach: Reach, tls: Result<rustls::ClientConfig, String>) -> Result<Self, Error> {
        let tls = tls.map_err(|detail| Error::Tls { detail })?;
        let plain = match reach {
            Reach::PublicOnly => None,
            Reach::LoopbackToo | Reach::Configured => Some(connect::plain(Rule::plain(reach))),
        };
        let tls = connect::tls(Rule::tls(reach), tls);
        Ok(Self {
            reach,
            clients: Arc::new(Clients { plain, tls }),
        })
    }

    /// Sends, and reads the whole answer within the limits. Redirects are returned, not followed.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn send(
        &self,
        request: http::Request<Bytes>,
        limits: Limits,
    ) -> Result<http::Response<Bytes>, Error> {
        let uri = request.uri().clone();
        let whole = async {
            let (head, body) = self.exchange(&uri, request.map(full)).await?.into_parts();
            match Limited::new(body, limits.body).collect().await {
                Ok(body) => Ok(http::Response::from_parts(head, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => Err(Error::TooLarge {
                    host: host(&uri),
                    limit: limits.body,
                }),
                Err(error) => Err(Error::Unreachable {
                    host: host(&uri),
                    detail: words(&*error),
                }),
            }
        };
        match timeout(limits.time, whole).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::TimedOut { host: host(&uri) }),
        }
    }

    /// Sends, and returns the answer's head with its body still streaming. Dropping the future or the body
    /// cancels the request: the connection (HTTP/1) or the stream (HTTP/2) is closed.
    ///
    /// # Errors
    /// [`Error`]; `head_time` bounds the wait for the head only.
    pub async fn open(
        &self,
        request: http::Request<Body>,
        head_time: Duration,
    ) -> Result<http::Response<Body>, Error> {
        let uri = request.uri().clone();
        let answer = match timeout(head_time, self.exchange(&uri, request)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(Error::TimedOut { host: host(&uri) }),
        };
        Ok(answer.map(|body| body.map_err(Into::into).boxed()))
    }

    async fn exchange(
        &self,
        uri: &Uri,
        request: http::Request<Body>,
    ) -> Result<http::Response<hyper::body::Incoming>, Error> {
        let refused = |reason| Error::Refused {
            host: host(uri),
            reason,
        };
        let literal = uri.host().unwrap_or_default();
        let answer = if uri.scheme() == Some(&Scheme::HTTPS) {
            Rule::tls(self.reach).literal(literal).map_err(refused)?;
            self.clients.tls.request(request)
        } else if uri.scheme() == Some(&Scheme::HTTP) {
            let client = self
                .clients
                .plain
                .as_ref()
                .ok_or_else(|| refused("http is not encrypted"))?;
            Rule::plain(self.reach).literal(literal).map_err(refused)?;
            client.request(request)
        } else {
            return Err(refused("its scheme is neither https nor http"));
        };
        answer.await.map_err(
            |error| match causes(&error).find_map(|cause| cause.downcast_ref::<Refusal>()) {
                Some(Refusal(reason)) => refused(reason),
                None => Error::Unreachable {
                    host: host(uri),
                    detail: words(&error),
                },
            },
        )
    }
}

/// A whole body.
#[must_use]
pub fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// Host and, where the URL has one, port: for messages. Never a user name or password.
fn host(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    uri.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// An error and its causes, the outermost first.
fn causes<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn StdError + 'static)| {
        (*error).source()
    })
}

/// What went wrong in words: the outermost of hyper's errors says only that something did.
fn words(error: &(dyn StdError + 'static)) -> String {
    causes(error)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests;
