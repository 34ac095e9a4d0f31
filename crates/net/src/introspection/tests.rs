//! Against a real HTTP server on loopback, with a clock that the test moves.

use std::sync::atomic::{AtomicI64, AtomicU16, AtomicUsize, Ordering};

use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portcullis_core::wire::Presented;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::*;
use crate::fetch::Reach;

struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> UnixTime {
        UnixTime::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// An issuer that answers with one body and what it was sent.
struct Desk {
    url: Url,
    status: AtomicU16,
    asked: AtomicUsize,
    last: Mutex<(HeaderMap, String)>,
    /// Answers wait for a permit.
    open: Semaphore,
}

impl Desk {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let desk = Arc::new(Self {
            url: Url::parse(&format!("http://{}/introspect", listener.local_addr().unwrap())).unwrap(),
            status: AtomicU16::new(200),
            asked: AtomicUsize::new(0),
            last: Mutex::default(),
            open: Semaphore::new(Semaphore::MAX_PERMITS),
        });
        let served = Arc::clone(&desk);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let desk = Arc::clone(&served);
                let service = service_fn(move |request| {
                    let desk = Arc::clone(&desk);
                    async move { Ok::<_, std::convert::Infallible>(desk.answer(request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        desk
    }

    async fn answer(&self, request: http::Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        *self.last.lock().unwrap() = (head.headers, String::from_utf8(body.to_vec()).unwrap());
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.open.acquire().await.unwrap().forget();
        Response::builder()
            .status(self.status.load(Ordering::SeqCst))
            .body(Full::new(Bytes::from_static(b"said")))
            .unwrap()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn scene() -> (Arc<Desk>, Arc<Hand>, Arc<Introspection>) {
    let desk = Desk::start().await;
    let clock = Arc::new(Hand(AtomicI64::new(1_800_000_000_000)));
    let introspection = Introspection::new(
        Issuer::parse("https://as.example").unwrap(),
        desk.url.clone(),
        &Secret::new("Basic Z3c6czNjcjN0"),
        Fetcher::new(Reach::LoopbackToo).unwrap(),
        Arc::<Hand>::clone(&clock),
    );
    (desk, clock, Arc::new(introspection.unwrap()))
}

fn token(text: &str) -> AccessToken {
    let headers = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {text}").parse().unwrap())]);
    match Presented::parse(&headers, None).unwrap() {
        Presented::Bearer(token) => token,
        Presented::Absent | Presented::Dpop { .. } => panic!("no token"),
    }
}

#[tokio::test]
async fn the_question_is_the_form_of_rfc_7662_with_our_credential() {
    let (desk, _, introspection) = scene().await;
    assert_eq!(introspection.ask(&token("a+b/c=")).await.unwrap(), "said");
    let (headers, body) = desk.last.lock().unwrap().clone();
    assert_eq!(body, "token=a%2Bb%2Fc%3D&token_type_hint=access_token");
    assert_eq!(headers["authorization"], "Basic Z3c6czNjcjN0");
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(headers["accept"], "application/json");
    let shown = format!("{introspection:?}");
    assert!(!shown.contains("Z3c6czNjcjN0"), "{shown}");
}

/// RS-32.
#[tokio::test]
async fn whatever_is_no_answer_is_an_error() {
    let (desk, _, introspection) = scene().await;
    for (status, code) in [
        (401, "issuer.introspection-refuses-us"),
        (403, "issuer.introspection-refuses-us"),
        (204, "issuer.introspection-unavailable"),
        (302, "issuer.introspection-unavailable"),
        (404, "issuer.introspection-unavailable"),
        (500, "issuer.introspection-unavailable"),
    ] {
        desk.status.store(status, Ordering::SeqCst);
        let error = introspection.ask(&token("t")).await.unwrap_err();
        assert_eq!(error.code(), code, "{status}");
    }
    // What went wrong once is asked again.
    desk.status.store(200, Ordering::SeqCst);
    assert!(introspection.ask(&token("t")).await.is_ok());
    assert_eq!(desk.asked(), 7);
    let nobody = Introspection::new(
        Issuer::parse("https://as.example").unwrap(),
        Url::parse("http://127.0.0.1:1/").unwrap(),
        &Secret::new("Basic x"),
        Fetcher::new(Reach::LoopbackToo).unwrap(),
        Arc::new(Hand(AtomicI64::new(0))),
    );
    let error = nobody.unwrap().ask(&token("t")).await.unwrap_err();
    assert_eq!(error.code(), "issuer.introspection-unavailable");
}

#[tokio::test]
async fn those_who_ask_about_one_token_share_one_question() {
    let (desk, _, introspection) = scene().await;
    desk.open.forget_permits(Semaphore::MAX_PERMITS);
    let ask = |text: &'static str| {
        let introspection = Arc::clone(&introspection);
        tokio::spawn(async move { introspection.ask(&token(text)).await })
    };
    let waiting: Vec<_> = (0..20).map(|_| ask("same")).collect();
    let other = ask("other");
    while desk.asked() < 2 {
        tokio::task::yield_now().await;
    }
    desk.open.add_permits(2);
    for one in waiting {
        assert_eq!(one.await.unwrap().unwrap(), "said");
    }
    assert!(other.await.unwrap().is_ok());
    assert_eq!(desk.asked(), 2);
    assert!(introspection.asking().is_empty());
}

#[tokio::test]
async fn whoever_goes_away_leaves_the_question_to_the_others_and_nothing_behind() {
    let (desk, _, introspection) = scene().await;
    desk.open.forget_permits(Semaphore::MAX_PERMITS);
    let ask = || {
        let introspection = Arc::clone(&introspection);
        tokio::spawn(async move { introspection.ask(&token("t")).await })
    };
    let first = ask();
    while desk.asked() < 1 {
        tokio::task::yield_now().await;
    }
    let second = ask();
    while introspection
        .asking()
        .values()
        .all(|question| question.strong_count() < 2)
    {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    desk.open.add_permits(2);
    assert!(second.await.unwrap().is_ok());
    assert!(introspection.asking().is_empty());
}

/// DOS-08.
#[tokio::test]
async fn a_flood_of_unknown_tokens_is_asked_about_so_often_and_no_more() {
    let (desk, clock, introspection) = scene().await;
    let flood = async |name: &str| {
        let mut busy = 0;
        for n in 0..BURST + 50 {
            match introspection.ask(&token(&format!("{name}{n}"))).await {
                Ok(_) => {}
                Err(IntrospectionUnavailable::Busy { .. }) => busy += 1,
                Err(error) => panic!("{error}"),
            }
        }
        busy
    };
    let burst = usize::try_from(BURST).unwrap();
    assert_eq!(flood("a").await, 50);
    assert_eq!(desk.asked(), burst);
    clock.0.fetch_add(1000, Ordering::SeqCst);
    assert_eq!(flood("b").await, BURST);
    assert_eq!(desk.asked(), burst + 50);
    clock.0.fetch_sub(3_600_000, Ordering::SeqCst);
    assert_eq!(flood("c").await, BURST + 50);
    clock.0.fetch_add(3_600_000, Ordering::SeqCst);
    assert_eq!(flood("d").await, 50, "never more than a burst at once");
}
