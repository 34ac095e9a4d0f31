use super::*;

use std::net::SocketAddr;

use axum::Extension;
use axum::body::Body;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tower::Service as _;

const LIMITS: Limits = Limits {
    drain: Duration::from_millis(50),
    ..Limits::USUAL
};
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

async fn serving(router: Router, limits: Limits) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<Drained>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(serve(listener, router, limits, async {
        stopped.await.unwrap();
    }));
    (at, stop, serving)
}

/// Everything up to the end of the head and of a body of `length` bytes.
async fn answer(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    bytes.extend(body);
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn handlers_know_the_peer_and_idle_connections_end_at_once() {
    let router = Router::new().route(
        "/",
        get(async |Extension(Peer(peer)): Extension<Peer>| peer.to_string()),
    );
    let (at, stop, serving) = serving(
        router,
        Limits {
            drain: Duration::from_secs(60),
            ..LIMITS
        },
    )
    .await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(GET).await.unwrap();
    assert!(answer(&mut stream, 9).await.ends_with("127.0.0.1"));
    stop.send(()).unwrap();
    assert_eq!(serving.await.unwrap(), Drained::Clean);
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(TcpStream::connect(at).await.is_err());
}

#[tokio::test]
async fn a_running_request_is_answered_after_the_signal() {
    let (running, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (running, go_on) = (Arc::clone(&running), Arc::clone(&go_on));
        async move || {
            running.notify_one();
            go_on.notified().await;
            "done"
        }
    };
    let router = Router::new().route("/", get(handler));
    let (at, stop, serving) = serving(
        router,
        Limits {
            drain: Duration::from_secs(60),
            ..LIMITS
        },
    )
    .await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(GET).await.unwrap();
    running.notified().await;
    stop.send(()).unwrap();
    go_on.notify_one();
    assert!(answer(&mut stream, 4).await.ends_with("done"));
    assert_eq!(serving.await.unwrap(), Drained::Clean);
}

#[tokio::test]
async fn what_does_not_end_is_cut() {
    let running = Arc::new(Notify::new());
    let handler = {
        let running = Arc::clone(&running);
        async move || {
            running.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let (at, stop, serving) = serving(Router::new().route("/", get(handler)), LIMITS).await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(GET).await.unwrap();
    running.notified().await;
    stop.send(()).unwrap();
    assert_eq!(serving.await.unwrap(), Drained::Cut(1));
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn heads_are_bounded_in_size_and_time() {
    let router = || Router::new().route("/", get(async || "ok"));
    let limits = Limits {
        head_bytes: 8 * 1024,
        ..LIMITS
    };
    let (at, _stop, _serving) = serving(router(), limits).await;
    let head = |length: usize| format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(length));
    for (length, status) in [(7 * 1024, "200"), (9 * 1024, "431")] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(head(length).as_bytes()).await.unwrap();
        assert!(
            answer(&mut stream, 0)
                .await
                .starts_with(&format!("HTTP/1.1 {status} "))
        );
    }
    let (at, _stop, _serving) = serving(
        router(),
        Limits {
            first_bytes: Duration::from_millis(20),
            head_time: Duration::from_millis(20),
            ..LIMITS
        },
    )
    .await;
    // Nothing, the beginning of HTTP/2's preface, the beginnings of a head: closed, with or without words.
    for beginning in [
        &b""[..],
        b"PRI * HT",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nhost: x\r\nx: ",
    ] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        tokio::io::copy(&mut stream, &mut tokio::io::sink())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn one_connection_more_waits_for_room() {
    let router = Router::new().route("/", get(async || "ok"));
    let (at, _stop, _serving) = serving(
        router,
        Limits {
            connections: 1,
            ..LIMITS
        },
    )
    .await;
    let mut first = TcpStream::connect(at).await.unwrap();
    first.write_all(GET).await.unwrap();
    answer(&mut first, 2).await;
    let mut second = TcpStream::connect(at).await.unwrap();
    second.write_all(GET).await.unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(50), second.read_u8()).await;
    assert!(waits.is_err(), "there is no room");
    drop(first);
    assert!(answer(&mut second, 2).await.ends_with("ok"));
}

#[tokio::test]
async fn an_address_with_all_its_connections_is_closed_on_and_the_others_are_answered() {
    let router = Router::new().route("/", get(async || "ok"));
    let (at, _stop, _serving) = serving(
        router,
        Limits {
            connections_per_peer: 2,
            ..LIMITS
        },
    )
    .await;
    // The first says nothing. The second's answer shows that both were taken.
    let idle = TcpStream::connect(at).await.unwrap();
    let mut second = TcpStream::connect(at).await.unwrap();
    second.write_all(GET).await.unwrap();
    answer(&mut second, 2).await;
    let mut third = TcpStream::connect(at).await.unwrap();
    assert_eq!(third.read(&mut [0; 8]).await.unwrap(), 0, "closed at once");
    second.write_all(GET).await.unwrap();
    assert!(answer(&mut second, 2).await.ends_with("ok"));
    drop(idle);
    // Until the listener sees that the first is gone.
    loop {
        let mut next = TcpStream::connect(at).await.unwrap();
        let mut first = [0; 1];
        if next.write_all(GET).await.is_ok() && next.read_exact(&mut first).await.is_ok() {
            assert_eq!(&first, b"H");
            break;
        }
    }
}

#[test]
fn connections_leave_a_quarter_of_the_files_and_share_the_rest() {
    for (descriptors, listeners, connections, per_peer) in [
        (65_536, 3, 16_000, 4_000),
        (10_240, 3, 2_560, 640),
        (1_024, 3, 256, 256),
        (1_024, 1, 768, 256),
        (2_048, 1, 1_536, 384),
        (256, 3, 64, 64),
        (0, 3, 1, 1),
        (u64::MAX, 1, 16_000, 4_000),
    ] {
        let limits = Limits::sharing(descriptors, listeners);
        assert_eq!(
            (limits.connections, limits.connections_per_peer),
            (connections, per_peer),
            "{descriptors} for {listeners}"
        );
    }
}

#[test]
fn an_operator_may_have_fewer_connections_and_never_more() {
    let usual = Limits::sharing(65_536, 3);
    for (all, each, connections, per_peer) in [
        (None, None, 16_000, 4_000),
        (Some(16_000), None, 16_000, 4_000),
        (Some(4_000), None, 4_000, 1_000),
        (Some(100), None, 100, 100),
        (Some(100), Some(3), 100, 3),
        (None, Some(20_000), 16_000, 16_000),
        (Some(20_000), Some(1), 16_000, 1),
    ] {
        let limits = usual.at_most(all, each);
        assert_eq!(
            (limits.connections, limits.connections_per_peer),
            (connections, per_peer),
            "{all:?} {each:?}"
        );
    }
}

#[tokio::test]
async fn a_listener_answers_under_its_own_name_only() {
    let router = || Router::new().route("/", get(async || "ok"));
    for (public_url, host, status) in [
        ("http://127.0.0.1:1", "127.0.0.1:1", 200),
        ("http://127.0.0.1:1", "localhost:9", 200),
        ("http://127.0.0.1:1", "[::1]", 200),
        ("http://127.0.0.1:1", "evil.example", 421),
        ("http://127.0.0.1:1", "127.0.0.1.evil.example:1", 421),
        ("https://as.example/tenant", "as.example", 200),
        ("https://as.example/tenant", "as.example:443", 200),
        ("https://as.example/tenant", "127.0.0.1", 421),
    ] {
        let rule = portcullis_guard::PublicHost::of(public_url, Vec::new()).unwrap();
        for (path, found) in [("/", status), ("/other", if status == 200 { 404 } else { 421 })] {
            let request = http::Request::get(path)
                .header("host", host)
                .header("origin", "https://page.example")
                .body(Body::empty())
                .unwrap();
            let response = guard_host(router(), rule.clone()).call(request).await.unwrap();
            assert_eq!(response.status(), found, "{host} at {public_url}{path}");
        }
    }
}

/// TLS with a certificate of the test's own.
fn tls(name: &str) -> Arc<Tls> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = std::env::temp_dir().join(format!("portcullis-http-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate_file, key_file) = (folder.join("c.pem"), folder.join("k.pem"));
    std::fs::write(&certificate_file, pair.cert.pem()).unwrap();
    std::fs::write(&key_file, pair.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let tls = Tls::open(crate::tls::Settings {
        certificate_file,
        key_file,
        clients: None,
    });
    std::fs::remove_dir_all(&folder).unwrap();
    tls.unwrap()
}

#[tokio::test]
async fn handshakes_are_bounded_in_time_and_count_from_before_they_begin() {
    let limits = Limits {
        first_bytes: Duration::from_millis(20),
        handshake: Duration::from_millis(40),
        connections_per_peer: 1,
        drain: Duration::from_secs(60),
        ..LIMITS
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let router = Router::new().route("/", get(async || "ok"));
    let serving = tokio::spawn(serve(
        Listener::secured(listener, tls("bounds")),
        router,
        limits,
        async {
            stopped.await.unwrap();
        },
    ));
    // Nothing; the beginning of a ClientHello that says it is long; one that is no TLS.
    let beginning = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 60]].concat();
    for bytes in [&b""[..], &beginning, GET] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut other = TcpStream::connect(at).await.unwrap();
        assert_eq!(other.read(&mut [0; 8]).await.unwrap_or(0), 0, "it counts already");
        tokio::io::copy(&mut stream, &mut tokio::io::sink())
            .await
            .unwrap_or(0);
    }
    // Whoever is in the middle of one does not keep the listener from ending.
    let limits = Limits {
        handshake: Duration::from_secs(60),
        first_bytes: Duration::from_secs(60),
        ..limits
    };
    stop.send(()).unwrap();
    assert_eq!(serving.await.unwrap(), Drained::Clean);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let router = Router::new();
    let serving = tokio::spawn(serve(
        Listener::secured(listener, tls("end")),
        router,
        limits,
        async {
            stopped.await.unwrap();
        },
    ));
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(&beginning).await.unwrap();
    // It was taken: one more of this address is not.
    let mut other = TcpStream::connect(at).await.unwrap();
    assert_eq!(other.read(&mut [0; 8]).await.unwrap_or(0), 0);
    stop.send(()).unwrap();
    assert_eq!(serving.await.unwrap(), Drained::Clean);
}
