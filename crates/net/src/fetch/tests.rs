use super::*;

use std::net::SocketAddr;

use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const LIMITS: Limits = Limits {
    body: 10,
    time: Duration::from_secs(20),
};

/// Answers each connection with fixed bytes after it has read a head, and keeps it open.
async fn answering(bytes: &'static [u8]) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, streams) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            stream.write_all(bytes).await.unwrap();
            sender.send(stream).unwrap();
        }
    });
    (address, streams)
}

fn get(url: impl AsRef<str>) -> Request<Bytes> {
    Request::get(url.as_ref()).body(Bytes::new()).unwrap()
}

#[tokio::test]
async fn a_body_at_the_limit_is_read_and_one_byte_more_is_not() {
    let (at, _streams) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789").await;
    let fetcher = Fetcher::new(Reach::LoopbackToo).unwrap();
    let answer = fetcher.send(get(format!("http://{at}/x")), LIMITS).await.unwrap();
    assert_eq!(answer.body(), "0123456789");

    for more in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n01234567890"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\n012345\r\n5\r\n67890\r\n",
    ] {
        let (at, _streams) = answering(more).await;
        let error = fetcher
            .send(get(format!("http://{at}/x")), LIMITS)
            .await
            .unwrap_err();
        assert_eq!(
            error,
            Error::TooLarge {
                host: at.to_string(),
                limit: 10
            }
        );
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let (at, _streams) =
        answering(b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n")
            .await;
    let answer = Fetcher::new(Reach::LoopbackToo)
        .unwrap()
        .send(get(format!("http://{at}/")), LIMITS)
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn what_never_ends_is_cut() {
    let fetcher = Fetcher::new(Reach::LoopbackToo).unwrap();
    let short = Limits {
        time: Duration::from_millis(20),
        ..LIMITS
    };
    let timed_out = |at: SocketAddr| Error::TimedOut { host: at.to_string() };
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n0",
    ] {
        let (at, _streams) = answering(bytes).await;
        assert_eq!(
            fetcher
                .send(get(format!("http://{at}/")), short)
                .await
                .unwrap_err(),
            timed_out(at)
        );
    }
    let (at, _streams) = answering(b"").await;
    let request = Request::get(format!("http://{at}/"))
        .body(full(Bytes::new()))
        .unwrap();
    assert_eq!(
        fetcher.open(request, short.time).await.unwrap_err(),
        timed_out(at)
    );
}

#[tokio::test]
async fn a_stream_arrives_piece_by_piece_and_dropping_it_closes_the_connection() {
    let (at, mut streams) =
        answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
    let request = Request::get(format!("http://{at}/"))
        .body(full(Bytes::new()))
        .unwrap();
    let fetcher = Fetcher::new(Reach::LoopbackToo).unwrap();
    let mut body = fetcher.open(request, LIMITS.time).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");

    let mut stream = streams.recv().await.unwrap();
    stream.write_all(b"3\r\ntwo\r\n").await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two");

    drop(body);
    assert_eq!(
        stream.read(&mut [0; 8]).await.unwrap(),
        0,
        "the other side saw the end"
    );
}

#[tokio::test]
async fn an_answer_nobody_waits_for_any_more_is_cancelled() {
    let (at, mut streams) = answering(b"").await;
    let request = Request::get(format!("http://{at}/"))
        .body(full(Bytes::new()))
        .unwrap();
    let fetcher = Fetcher::new(Reach::LoopbackToo).unwrap();
    let open = tokio::spawn(async move { fetcher.open(request, LIMITS.time).await.map(|_| ()) });
    let mut stream = streams.recv().await.unwrap();
    open.abort();
    assert_eq!(
        stream.read(&mut [0; 8]).await.unwrap(),
        0,
        "the other side saw the end"
    );
}

#[tokio::test]
async fn the_guard_refuses_before_anything_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let public = Fetcher::new(Reach::PublicOnly).unwrap();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
    ] {
        let error = public
            .send(get(format!("https://{host}:{port}/")), LIMITS)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{host}: {error}");
    }
    let error = public
        .send(get(format!("http://127.0.0.1:{port}/")), LIMITS)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Refused {
                reason: "http is not encrypted",
                ..
            }
        ),
        "{error}"
    );

    let loopback = Fetcher::new(Reach::LoopbackToo).unwrap();
    // The third and fourth are other spellings of 10.0.0.1, which only the resolver understands.
    for url in [
        "http://10.0.0.1/",
        "http://8.8.8.8/",
        "http://0x0a.1/",
        "http://167772161/",
        "https://10.0.0.1/",
        "https://169.254.169.254/",
    ] {
        let error = loopback.send(get(url), LIMITS).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{url}: {error}");
    }
    // Nobody connected: the only connection in the queue is the one made here.
    let own = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().1, own.local_addr().unwrap());
}

#[tokio::test]
async fn a_name_that_resolves_to_loopback_is_reached_where_loopback_is() {
    let (at, _streams) = answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let url = format!("http://localhost:{}/", at.port());
    let answer = Fetcher::new(Reach::LoopbackToo)
        .unwrap()
        .send(get(&url), LIMITS)
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let error = Fetcher::new(Reach::Configured)
        .unwrap()
        .send(get(format!("http://{at}/")), LIMITS)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Unreachable { detail, .. } if detail.contains("refused")),
        "{error}"
    );
}
