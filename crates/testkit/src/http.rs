//! A small HTTP/1.1 client for loopback, in clear or in TLS: one connection per request, headers exactly as given (also twice, also a
//! `Host` that lies), bodies whole or event by event. [`raw`] sends bytes that no library would.

use std::pin::Pin;
use std::time::Duration;

use ::http::HeaderMap;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::Url;

use crate::tls::Client;
use crate::{Failure, Outcome};

const PATIENCE: Duration = Duration::from_secs(30);
/// More than any answer in a test is.
const MAX_ANSWER: usize = 64 << 20;

/// A request, built by hand.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    via: Option<Client>,
}

impl Request {
    /// `method` to `url`, with no header and no body.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            via: None,
        }
    }

    /// A GET.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A POST.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// One more header. A name given twice is sent twice; `Host` replaces the one made from the URL.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same request without any header of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(given, _)| !given.eq_ignore_ascii_case(name));
        self
    }

    /// The values of the headers of this name.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = self
            .headers
            .iter()
            .filter(|(given, _)| given.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// `Authorization: Bearer token`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// In TLS, as this client speaks it.
    #[must_use]
    pub fn via(mut self, client: &Client) -> Self {
        self.via = Some(client.clone());
        self
    }

    /// The bytes of the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// A JSON body with its content type.
    #[must_use]
    pub fn json(self, value: &serde_json::Value) -> Self {
        self.header("content-type", "application/json")
            .body(value.to_string())
    }

    /// A form body with its content type.
    #[must_use]
    pub fn form<K: AsRef<str>, V: AsRef<str>>(self, fields: impl IntoIterator<Item = (K, V)>) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Errors
    /// When nothing listens, the answer is not HTTP, or it takes longer than 30 seconds. Every status is an answer.
    pub async fn send(self) -> Outcome<Answer> {
        let what = format!("{} {}", self.method, self.url);
        let whole = async {
            let Open {
                status,
                headers,
                body,
                connection,
            } = self.connect().await?;
            let body = http_body_util::Limited::new(body, MAX_ANSWER).collect().await;
            drop(connection);
            let body = body
                .map_err(|error| Failure::new(format!("body: {error}")))?
                .to_bytes();
            Ok(Answer {
                status,
                headers,
                body,
            })
        };
        match timeout(PATIENCE, whole).await {
            Ok(answer) => answer.map_err(|failure: Failure| failure.during(what)),
            Err(_) => Err(Failure::new(format!("{what}: no answer in {PATIENCE:?}"))),
        }
    }

    /// Sends it and gives the answer as a stream of server-sent events. Dropping the stream closes the connection.
    ///
    /// # Errors
    /// As [`Request::send`].
    pub async fn stream(self) -> Outcome<EventStream> {
        let what = format!("{} {}", self.method, self.url);
        match timeout(PATIENCE, self.connect()).await {
            Ok(Ok(Open {
                status,
                headers,
                body,
                connection,
            })) => Ok(EventStream {
                status,
                headers,
                body,
                buffer: BytesMut::new(),
                connection,
            }),
            Ok(Err(failure)) => Err(failure.during(what)),
            Err(_) => Err(Failure::new(format!("{what}: no answer in {PATIENCE:?}"))),
        }
    }

    async fn connect(self) -> Outcome<Open> {
        let url = Url::parse(&self.url)?;
        let authority = match self.via {
            Some(_) => authority(&url, "https")?,
            None => authority(&url, "http")?,
        };
        let stream = TcpStream::connect(loopback(&authority)).await?;
        stream.set_nodelay(true)?;
        let stream: Pin<Box<dyn Stream>> = match &self.via {
            Some(client) => Box::pin(client.connect(stream, url.host_str().unwrap_or_default()).await?),
            None => Box::pin(stream),
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = Connection(tokio::spawn(async move {
            // Its error reaches the caller through the sender or the body.
            drop(connection.await);
        }));
        let path = url.query().map_or_else(
            || url.path().to_owned(),
            |query| format!("{}?{query}", url.path()),
        );
        let mut request = hyper::Request::builder().method(self.method.as_str()).uri(path);
        if !self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            request = request.header("host", authority);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = sender.send_request(request.body(Full::new(self.body))?).await?;
        let (head, body) = response.into_parts();
        Ok(Open {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            connection,
        })
    }
}

/// The task that drives one connection: it ends when nobody reads any more.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Open {
    status: u16,
    headers: HeaderMap,
    body: Incoming,
    connection: Connection,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Every header.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The first header of this name, or an empty string.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; of an event stream, the data of its last event.
    ///
    /// # Errors
    /// When it is not JSON; the message shows the status and the body.
    pub fn json(&self) -> Outcome<serde_json::Value> {
        let text = self.text();
        let data = if self.header("content-type").starts_with("text/event-stream") {
            text.lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .next_back()
                .unwrap_or_default()
                .trim()
        } else {
            text.as_str()
        };
        serde_json::from_str(data)
            .map_err(|error| Failure::new(format!("{error} in {} `{text}`", self.status)))
    }
}

/// One server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// `id:`
    pub id: Option<String>,
    /// `event:`
    pub name: Option<String>,
    /// `data:` lines, joined by line feeds.
    pub data: String,
    /// Lines that begin with a colon, as they came.
    pub comments: Vec<String>,
}

impl Event {
    fn parse(block: &str) -> Self {
        let mut event = Self::default();
        let mut data = Vec::new();
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => event.comments.push(value.to_owned()),
                "id" => event.id = Some(value.to_owned()),
                "event" => event.name = Some(value.to_owned()),
                "data" => data.push(value),
                _ => {}
            }
        }
        event.data = data.join("\n");
        event
    }

    /// The data as JSON.
    ///
    /// # Errors
    /// When it is not.
    pub fn json(&self) -> Outcome<serde_json::Value> {
        serde_json::from_str(&self.data)
            .map_err(|error| Failure::new(format!("{error} in event `{}`", self.data)))
    }
}

/// An answer that is still coming.
pub struct EventStream {
    /// The status.
    pub status: u16,
    /// Every header.
    pub headers: HeaderMap,
    body: Incoming,
    buffer: BytesMut,
    connection: Connection,
}

impl EventStream {
    /// The next event, or `None` at the end of the stream.
    ///
    /// # Errors
    /// When nothing comes for 30 seconds, or the stream breaks.
    pub async fn next(&mut self) -> Outcome<Option<Event>> {
        loop {
            if let Some(block) = self.block() {
                return Ok(Some(Event::parse(&block)));
            }
            match timeout(PATIENCE, self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => {
                    let rest = self.buffer.split();
                    return Ok(Some(Event::parse(&String::from_utf8_lossy(&rest))));
                }
                Err(_) => return Err(Failure::new(format!("no event in {PATIENCE:?}"))),
            }
        }
    }

    /// Goes away in the middle, as a client that was closed does.
    pub fn abandon(self) {
        drop(self.connection);
    }

    /// Up to and without the next empty line.
    fn block(&mut self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.buffer);
        let (at, mark) = ["\n\n", "\r\n\r\n"]
            .into_iter()
            .filter_map(|mark| text.find(mark).map(|at| (at, mark)))
            .min_by_key(|(at, _)| *at)?;
        let block = self.buffer.split_to(at + mark.len());
        Some(String::from_utf8_lossy(&block).trim_end().to_owned())
    }
}

/// Sends `bytes` as they are to the host of `url` and gives everything that comes back until the other side closes, or
/// says nothing for two seconds: for framing that an HTTP library would not let out.
///
/// # Errors
/// When nothing listens.
pub async fn raw(url: &str, bytes: &[u8]) -> Outcome<String> {
    let mut stream = TcpStream::connect(loopback(&authority(&Url::parse(url)?, "http")?)).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(Ok(read)) = timeout(Duration::from_secs(2), stream.read(&mut chunk)).await {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What HTTP is spoken over.
trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// `host:port` of a URL with this scheme.
fn authority(url: &Url, scheme: &str) -> Outcome<String> {
    match (url.host_str(), url.port_or_known_default()) {
        (Some(host), Some(port)) if url.scheme() == scheme => Ok(format!("{host}:{port}")),
        _ => Err(Failure::new(format!("`{url}` is no URL with {scheme}"))),
    }
}

/// The listeners under test bind 127.0.0.1, whatever `localhost` resolves to first.
fn loopback(authority: &str) -> String {
    authority
        .strip_prefix("localhost:")
        .map_or_else(|| authority.to_owned(), |port| format!("127.0.0.1:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_keeps_its_fields_and_joins_its_data() {
        let event = Event::parse("id: 7\nevent: message\n: keep\ndata: a\ndata:b");
        let expected = Event {
            id: Some("7".into()),
            name: Some("message".into()),
            data: "a\nb".into(),
            comments: vec!["keep".into()],
        };
        assert_eq!(event, expected);
    }

    #[test]
    fn only_what_was_said_is_spoken() {
        assert!(authority(&Url::parse("https://localhost/").unwrap(), "http").is_err());
        assert!(authority(&Url::parse("http://localhost/").unwrap(), "https").is_err());
        assert_eq!(
            authority(&Url::parse("http://localhost/").unwrap(), "http").unwrap(),
            "localhost:80"
        );
        assert_eq!(loopback("localhost:81"), "127.0.0.1:81");
    }
}
