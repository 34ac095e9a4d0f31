//! One stream of a server, and where it is spoken to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method as HttpMethod, Request, Uri};
use http_body_util::BodyExt as _;
use portcullis_core::forward::Outbound;
use portcullis_core::wire::Era;
use portcullis_guard::exchange::events::{Event, Splitter};
use portcullis_net::fetch::{self, Body, Fetcher};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use url::Url;

use super::failed;
use crate::gateway::stdio::exchange::{Awaits, Exchange, Heard};
use crate::gateway::stdio::outbox::{Broken, Reader};
use crate::gateway::upstream::{Principal, UpstreamError};

/// Longest wait for the stream, and for it to name the address.
const OPENING: Duration = Duration::from_secs(20);
/// Longest wait for a server to take a message.
const TAKING: Duration = Duration::from_secs(60);
/// Most requests that wait in one session, and most bytes that wait for one client.
const PENDING: usize = 256;
const STREAM_BYTES: usize = 16 * 1024 * 1024;
/// Longest address, in bytes.
const ADDRESS_BYTES: usize = 4 * 1024;

/// A session. Dropping it closes its stream, which is how it ends.
#[derive(Debug)]
pub(super) struct Session {
    of: Principal,
    fetcher: Fetcher,
    address: Uri,
    exchange: Arc<Exchange>,
    reader: AbortHandle,
}

impl Session {
    /// Opens a stream; `None` where there is none of this kind.
    pub(super) async fn open(
        fetcher: &Fetcher,
        url: &Uri,
        of: &Principal,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Self>>, UpstreamError> {
        let mut request = Request::new(fetch::full(Bytes::new()));
        *request.method_mut() = HttpMethod::GET;
        *request.uri_mut() = url.clone();
        *request.headers_mut() = headers.clone();
        let head = request.headers_mut();
        head.remove(CONTENT_TYPE);
        head.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let response = fetcher
            .open(request, OPENING)
            .await
            .map_err(|error| UpstreamError::Unreachable {
                detail: error.to_string(),
            })?;
        let is_stream = response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if !response.status().is_success() || !is_stream {
            return Ok(None);
        }
        let mut events = Events {
            body: response.into_body(),
            splitter: Splitter::default(),
        };
        let Ok(Some(first)) = timeout(OPENING, events.next()).await else {
            return Ok(None);
        };
        if first.field("event") != Some("endpoint") {
            return Ok(None);
        }
        let address = address(url, first.data.as_deref().unwrap_or_default())?;
        let exchange = Arc::new(Exchange::new(Era::Legacy, PENDING, STREAM_BYTES));
        let reader = tokio::spawn(read(events, Arc::clone(&exchange))).abort_handle();
        Ok(Some(Arc::new(Self {
            of: of.clone(),
            fetcher: fetcher.clone(),
            address,
            exchange,
            reader,
        })))
    }

    pub(super) fn is_of(&self, principal: &Principal) -> bool {
        self.of == *principal
    }

    pub(super) fn is_open(&self) -> bool {
        self.exchange.is_open()
    }

    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Sends a request, and gives what its answer comes from.
    pub(super) async fn request(&self, outbound: &Outbound) -> Result<(u64, Reader), UpstreamError> {
        let body = text(outbound)?;
        let begun = self.exchange.begin(body, Awaits::Answer).map_err(failed)?;
        if let Err(error) = self.post(&outbound.headers, begun.line).await {
            self.exchange.forget(begun.number);
            return Err(error);
        }
        Ok((begun.number, begun.events))
    }

    /// Sends a notification or a response.
    pub(super) async fn tell(&self, outbound: &Outbound) -> Result<(), UpstreamError> {
        match self.exchange.outgoing(text(outbound)?) {
            Some(line) => self.post(&outbound.headers, line).await,
            None => Ok(()),
        }
    }

    async fn post(&self, headers: &HeaderMap, body: Bytes) -> Result<(), UpstreamError> {
        let mut request = Request::new(fetch::full(body));
        *request.method_mut() = HttpMethod::POST;
        *request.uri_mut() = self.address.clone();
        *request.headers_mut() = headers.clone();
        for name in ["mcp-session-id", "mcp-protocol-version"] {
            request.headers_mut().remove(name);
        }
        let response = match self.fetcher.open(request, TAKING).await {
            Ok(response) => response,
            Err(fetch::Error::TimedOut { .. }) => return Err(UpstreamError::TimedOut),
            Err(error) => {
                return Err(UpstreamError::Unreachable {
                    detail: error.to_string(),
                });
            }
        };
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        if matches!(status.as_u16(), 401 | 403 | 407) {
            return Err(UpstreamError::RefusesUs {
                status: status.as_u16(),
            });
        }
        if status.as_u16() == 404 {
            // The session is gone there.
            self.exchange.close();
        }
        Err(UpstreamError::BadAnswer {
            detail: "it does not take a message of its session",
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
        self.exchange.close();
        self.exchange
            .fail(&Broken::Server("the session was ended".into()));
        self.exchange.end();
    }
}

fn text(outbound: &Outbound) -> Result<&str, UpstreamError> {
    std::str::from_utf8(&outbound.body)
        .map_err(|_| failed(crate::gateway::stdio::exchange::NotBegun::NotARequest))
}

/// The address that a server names, which has to be of its own origin: it is sent our credential and every call.
fn address(url: &Uri, named: &[u8]) -> Result<Uri, UpstreamError> {
    let bad = || UpstreamError::BadAnswer {
        detail: "it names an address to post to that is none, or is of another origin",
    };
    let named = std::str::from_utf8(named)
        .ok()
        .filter(|named| named.len() <= ADDRESS_BYTES)
        .ok_or_else(bad)?;
    let own = Url::parse(&url.to_string()).map_err(|_| bad())?;
    let address = own.join(named.trim()).map_err(|_| bad())?;
    let anonymous = address.username().is_empty() && address.password().is_none();
    if address.origin() != own.origin() || !anonymous {
        return Err(bad());
    }
    address.as_str().parse().map_err(|_| bad())
}

struct Events {
    body: Body,
    splitter: Splitter,
}

impl Events {
    /// The next event that says something; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(bytes) = self.splitter.event().ok()? {
                let event = Event::read(&bytes);
                if event.data.is_some() {
                    return Some(event);
                }
                continue;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(bytes) = frame.data_ref() {
                self.splitter.push(bytes);
            }
        }
    }
}

/// Takes what comes on the stream to whom it belongs, until it ends.
async fn read(mut events: Events, exchange: Arc<Exchange>) {
    while let Some(event) = events.next().await {
        let Some(data) = event
            .data
            .as_deref()
            .and_then(|data| std::str::from_utf8(data).ok())
        else {
            continue;
        };
        match exchange.receive(data) {
            Heard::Delivered => {}
            Heard::Unclaimed | Heard::GivenUp(_) | Heard::Reply(_) => {
                tracing::debug!("a server's message is for nobody");
            }
            Heard::NotAMessage => tracing::warn!("a server's event is no message"),
        }
    }
    exchange.close();
    exchange.fail(&Broken::Server("the server closed its stream".into()));
    exchange.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_servers_own_origin() {
        let url = Uri::from_static("http://127.0.0.1:7/a/sse");
        let found = |named: &str| address(&url, named.as_bytes()).ok().map(|uri| uri.to_string());
        for (named, expected) in [
            ("/messages?s=1", "http://127.0.0.1:7/messages?s=1"),
            ("messages", "http://127.0.0.1:7/a/messages"),
            ("http://127.0.0.1:7/x", "http://127.0.0.1:7/x"),
        ] {
            assert_eq!(found(named).as_deref(), Some(expected));
        }
        for wrong in [
            "http://127.0.0.1:8/x",
            "https://127.0.0.1:7/x",
            "//evil.example/x",
            "http://evil.example",
            "http://user@127.0.0.1:7/x",
            "file:///etc/passwd",
            "\u{0}",
        ] {
            if let Some(found) = found(wrong) {
                assert!(found.starts_with("http://127.0.0.1:7/"), "{wrong}: {found}");
                assert!(!wrong.contains("//"), "{wrong}: {found}");
            }
        }
        assert!(address(&url, &vec![b'a'; ADDRESS_BYTES]).is_ok());
        assert!(address(&url, &vec![b'a'; ADDRESS_BYTES + 1]).is_err());
    }
}
