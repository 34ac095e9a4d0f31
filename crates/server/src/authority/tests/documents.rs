use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;

use axum::routing::get;
use tokio::net::TcpListener;

use super::super::documents::FETCHES_PER_ADDRESS;
use super::*;

/// A host of one document, which counts how often it is asked.
struct Host {
    id: String,
    asked: Arc<AtomicUsize>,
}

impl Host {
    async fn new(
        status: StatusCode,
        headers: &[(&'static str, &'static str)],
        document: impl Fn(&str) -> String,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let id = format!("http://{}/client.json", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let mut answer = axum::http::HeaderMap::new();
        answer.insert("content-type", "application/json".parse().unwrap());
        for (name, value) in headers {
            answer.insert(*name, value.parse().unwrap());
        }
        let body = document(&id);
        let counter = Arc::clone(&asked);
        let handler = move || {
            counter.fetch_add(1, Ordering::SeqCst);
            async move { (status, answer, body) }
        };
        let router = axum::Router::new().route("/client.json", get(handler));
        tokio::spawn(crate::http::serve(
            listener,
            router,
            crate::http::Limits::USUAL,
            std::future::pending(),
        ));
        Self { id, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn good(id: &str) -> String {
    json!({ "client_id": id, "client_name": "Documented", "redirect_uris": [REDIRECT, "https://c.example/cb"],
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none" })
    .to_string()
}

#[tokio::test]
async fn a_client_is_known_by_its_document() {
    let stage = Stage::new().await;
    let host = Host::new(StatusCode::OK, &[("cache-control", "max-age=120")], good).await;
    let mut visitor = Visitor::new(&stage);
    let page = visitor.open(&authorization(&host.id, &[])).await;
    // AS-34
    assert!(
        page.body.contains("Documented")
            && page.body.contains(&host.id)
            && page.body.contains("Did you just start this")
    );
    let code = visitor.decide(&page, "approve").await.sent("code").unwrap();
    let tokens = stage.redeem(&host.id, &code, &[]).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    let refresh = tokens.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(stage.refresh(&host.id, &refresh).await.status, StatusCode::OK);
    assert_eq!(host.asked(), 1);
    assert_eq!(stage.recorded("registration").len(), 1);
    assert_eq!(stage.recorded("registration")[0]["how"], "cimd");
    // Anyone can listen on this computer under that name: asked again. Over https it is remembered.
    assert!(
        visitor
            .get(&authorization(&host.id, &[]))
            .await
            .body
            .contains("Approve")
    );
    let hosted = authorization(&host.id, &[("redirect_uri", "https://c.example/cb")]);
    assert!(visitor.get(&hosted).await.sent("code").is_some());

    stage.later(Lifetime::from_secs(120));
    visitor.get(&hosted).await;
    assert_eq!(host.asked(), 2);
    let evil = authorization(&host.id, &[("redirect_uri", "https://evil.example/cb")]);
    assert_eq!(visitor.get(&evil).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_is_no_document_is_refused_and_not_asked_for_again_at_once() {
    // AS-30
    let stage = Stage::new().await;
    let html = [("content-type", "text/html")];
    let moved = [("location", "/other.json")];
    let hosts = [
        Host::new(StatusCode::NOT_FOUND, &[], good).await,
        Host::new(StatusCode::MOVED_PERMANENTLY, &moved, good).await,
        Host::new(StatusCode::OK, &html, good).await,
        Host::new(StatusCode::OK, &[], |_| good("http://127.0.0.1/other.json")).await,
        Host::new(StatusCode::OK, &[], |_| "<html>".to_owned()).await,
        Host::new(StatusCode::OK, &[], |id| {
            format!("{}{}", good(id), " ".repeat(5 * 1024))
        })
        .await,
    ];
    let mut pages = BTreeSet::new();
    for asked in [1, 2] {
        for (index, host) in hosts.iter().enumerate() {
            for _ in 0..2 {
                let answer = stage.get(&authorization(&host.id, &[])).await;
                assert_eq!(
                    (answer.status, answer.header("location")),
                    (StatusCode::BAD_REQUEST, ""),
                    "{index}"
                );
                pages.insert(answer.body);
            }
            assert_eq!(host.asked(), asked, "{index}");
        }
        stage.later(Lifetime::from_minutes(1));
    }
    // Where nothing listens.
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let id = format!("http://{closed}/client.json");
    pages.insert(stage.get(&authorization(&id, &[])).await.body);
    assert_eq!(pages.len(), 1, "the page does not say what was met");
    assert!(
        stage
            .recorded("registration")
            .iter()
            .all(|event| event["result"] == "client.document")
    );
}

#[tokio::test]
async fn nobody_makes_us_fetch_without_end() {
    let stage = Stage::new().await;
    // Never kept, so that each request is a fetch.
    let host = Host::new(StatusCode::OK, &[("cache-control", "no-store")], good).await;
    let path = authorization(&host.id, &[]);
    for _ in 0..FETCHES_PER_ADDRESS {
        assert_eq!(stage.get(&path).await.status, StatusCode::OK);
    }
    let refused = stage.get(&path).await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, "60")
    );
    assert_eq!(host.asked(), FETCHES_PER_ADDRESS as usize);
    let last = stage.recorded("registration").pop().unwrap();
    assert_eq!(last["result"], "client.document-quota");
    // Others are not held up, and the refusal is not kept as the document's.
    let mut other = Visitor::at(&stage, [192, 0, 2, 2]);
    assert_eq!(other.get(&path).await.status, StatusCode::OK);
    stage.later(Lifetime::from_minutes(1));
    assert_eq!(stage.get(&path).await.status, StatusCode::OK);
}

#[tokio::test]
async fn nothing_inside_is_reached_by_a_client_id() {
    // AS-29, AS-31
    let stage = Stage::with(|_| {}, Reach::PublicOnly).await;
    let host = Host::new(StatusCode::OK, &[], good).await;
    let port = host.id.trim_start_matches("http://127.0.0.1:");
    for id in [
        host.id.clone(),
        format!("https://127.0.0.1:{port}"),
        "https://127.0.0.1/c.json".to_owned(),
        "https://[::1]/c.json".to_owned(),
        "https://[::ffff:127.0.0.1]/c.json".to_owned(),
        "https://2130706433/c.json".to_owned(),
        "https://0x7f.1/c.json".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://10.0.0.1/c.json".to_owned(),
        "https://localhost/c.json".to_owned(),
    ] {
        let answer = stage.get(&authorization(&id, &[])).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (StatusCode::BAD_REQUEST, ""),
            "{id}"
        );
    }
    assert_eq!(host.asked(), 0);
}

#[tokio::test]
async fn a_documented_client_has_no_secret() {
    // AS-32
    let stage = Stage::new().await;
    let body = form(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", "x"),
        ("client_id", "https://c.example/c.json"),
        ("client_secret", "x"),
    ]);
    assert_eq!(
        stage.post("/token", body).await.error(),
        (401, "invalid_client".to_owned())
    );
}
