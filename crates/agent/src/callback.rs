//! The loopback listener to which the browser returns (RFC 8252 §7.3): open only while a login waits.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use portcullis_core::oauth::client::{Code, Pending, RedirectRefused, process_redirect};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::error::Error;
use crate::page::Page;

const PATH: &str = "/callback";
/// Most connections at one time. A browser opens a few, some of them only to be ready.
const CONNECTIONS: usize = 32;
/// Longest wait for the head of a request.
const HEAD: Duration = Duration::from_secs(10);
/// Longest wait for the browser to take the page.
const FLUSH: Duration = Duration::from_secs(5);

/// A listener on 127.0.0.1.
#[derive(Debug)]
pub(crate) struct Callback {
    listener: TcpListener,
    port: u16,
}

/// What the browser brought, and the browser, which waits for a page.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) outcome: Result<Code, RedirectRefused>,
    reply: oneshot::Sender<Page>,
    serving: JoinSet<Carried>,
}

/// What a connection was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    /// The login's return.
    Login,
    /// Anything else, or nothing.
    Other,
}

impl Callback {
    /// Listens on this port, or on a free one for 0.
    pub(crate) async fn listen(port: u16) -> Result<Self, Error> {
        let listen = async {
            let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
            let port = listener.local_addr()?.port();
            Ok(Self { listener, port })
        };
        listen.await.map_err(|source| Error::Callback { port, source })
    }

    /// Where the authorization server shall send the browser.
    pub(crate) fn redirect_uri(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// The same by name, for authorization servers that take no address.
    pub(crate) fn redirect_uri_by_name(&self) -> String {
        format!("http://localhost:{}{PATH}", self.port)
    }

    /// Waits for the redirect of this login. Whatever does not carry its `state` is answered and otherwise ignored, so
    /// that no other page in the browser can end the login.
    pub(crate) async fn wait(self, pending: Pending, patience: Duration) -> Result<Arrival, Error> {
        timeout(patience, self.serve(Arc::new(pending)))
            .await
            .unwrap_or(Err(Error::LoginTimedOut { after: patience }))
    }

    async fn serve(self, pending: Arc<Pending>) -> Result<Arrival, Error> {
        let (arrived, mut arrivals) = mpsc::channel(1);
        let mut serving = JoinSet::new();
        loop {
            tokio::select! {
                Some((outcome, reply)) = arrivals.recv() => return Ok(Arrival { outcome, reply, serving }),
                Some(_ended) = serving.join_next() => {}
                accepted = self.listener.accept(), if serving.len() < CONNECTIONS => match accepted {
                    Ok((stream, _peer)) => {
                        let _task = serving.spawn(connection(stream, Arc::clone(&pending), arrived.clone()));
                    }
                    Err(source) => return Err(Error::Callback { port: self.port, source }),
                },
            }
        }
    }
}

impl Arrival {
    /// Shows the page, and returns when the browser has it.
    pub(crate) async fn show(mut self, page: Page) {
        let taken = async {
            while let Some(ended) = self.serving.join_next().await {
                if matches!(ended, Ok(Carried::Login)) {
                    return;
                }
            }
        };
        if self.reply.send(page).is_ok() && timeout(FLUSH, taken).await.is_err() {
            tracing::debug!("the browser did not take the page");
        }
    }
}

type Arrived = mpsc::Sender<(Result<Code, RedirectRefused>, oneshot::Sender<Page>)>;

async fn connection(stream: TcpStream, pending: Arc<Pending>, arrived: Arrived) -> Carried {
    let login = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&login);
    let service = service_fn(move |request| {
        let (pending, arrived, seen) = (Arc::clone(&pending), arrived.clone(), Arc::clone(&seen));
        async move { Ok::<_, Infallible>(response(&answer(&request, &pending, &arrived, &seen).await)) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection to the callback address broke");
    }
    if login.load(Ordering::Relaxed) {
        Carried::Login
    } else {
        Carried::Other
    }
}

async fn answer<B>(request: &Request<B>, pending: &Pending, arrived: &Arrived, login: &AtomicBool) -> Page {
    if request.method() != Method::GET || request.uri().path() != PATH {
        return Page::not_found();
    }
    let outcome = process_redirect(pending, request.uri().query().unwrap_or_default());
    if matches!(outcome, Err(RedirectRefused::NotOurs)) {
        return Page::not_ours();
    }
    let (reply, page) = oneshot::channel();
    // One shot: the first arrival is the login, and nobody listens to another.
    if arrived.send((outcome, reply)).await.is_err() {
        return Page::not_ours();
    }
    login.store(true, Ordering::Relaxed);
    page.await.unwrap_or_else(|_| Page::not_ours())
}

fn response(page: &Page) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(page.html())));
    *response.status_mut() = page.status();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
        (CONNECTION, "close"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
