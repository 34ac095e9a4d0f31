//! Section F, where bytes are not as a library would write them: control bytes, framing, HTTP/2, and connections.

use portcullis_testkit::{Outcome, mcp};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::expect::{HOST, ir_malformed, no, refused};
use super::http2::{Connection, Ended};
use super::range::Range;

fn raw(lines: &str) -> Vec<u8> {
    Range::bytes("/mcp", &format!("Host: {HOST}\r\n{lines}"))
}

/// The rows that need bytes of their own.
pub(super) async fn shown(range: &mut Range) -> Outcome {
    bytes(range).await?;
    framing(range).await?;
    http2(range).await?;
    connections(range).await
}

async fn bytes(range: &mut Range) -> Outcome {
    let good = range.good();

    range.row("RS-11").await?;
    for (what, between) in [
        ("NUL", "\0"),
        ("DEL", "\x7f"),
        ("a lone CR", "\r"),
        ("ESC", "\x1b"),
    ] {
        let lines = format!("Authorization: Bearer {good}{between}x\r\n");
        range.refuses_unread(what, &raw(&lines), &[400]).await?;
    }
    for (what, lines) in [
        ("folded", format!("Authorization: Bearer\r\n {good}\r\n")),
        (
            "folded, by a tab",
            format!("X: y\r\n\tz\r\nAuthorization: Bearer {good}\r\n"),
        ),
        ("NUL in a name", format!("Autho\0rization: Bearer {good}\r\n")),
    ] {
        range.refuses_unread(what, &raw(&lines), &[400]).await?;
    }
    let encoded = format!("Authorization: Bearer {good}%0d%0aX-MCP-Subject: root\r\n");
    range
        .refuses_as_bytes("an encoded line end", &raw(&encoded), ir_malformed())
        .await?;
    // A line end is one, and what follows is a header that means nothing.
    let split = format!("Authorization: Bearer {good}\r\nX-MCP-Subject: root\r\n");
    let answer = portcullis_testkit::http::raw(&range.origin, &raw(&split)).await?;
    range.same("a header more", answer.starts_with("HTTP/1.1 200 "), true);
    let heard = range.behind.last().map(|asked| asked.headers).unwrap_or_default();
    range.same("what went on of it", heard.contains_key("x-mcp-subject"), false);

    range.row("RS-12").await?;
    for what in ["\u{e4}", "\u{1f600}", "Bear\u{e9}r"] {
        let lines = format!("Authorization: Bearer {what}\r\n");
        range
            .refuses_as_bytes("UTF-8", &raw(&lines), ir_malformed())
            .await?;
    }
    let mut latin = raw("Authorization: Bearer @@\r\n");
    for byte in &mut latin {
        if *byte == b'@' {
            *byte = 0xe4;
        }
    }
    range.refuses_as_bytes("Latin-1", &latin, ir_malformed()).await
}

async fn framing(range: &mut Range) -> Outcome {
    let good = range.good();
    let smuggled = "POST /mcp HTTP/1.1\r\nHost: gw.example\r\n\r\n";
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {good}\r\nContent-Type: application/json\r\n"
    );

    range.row("RS-13").await?;
    for (what, rest) in [
        (
            "two lengths",
            "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x".to_owned(),
        ),
        ("a list of lengths", "Content-Length: 2, 3\r\n\r\n{}x".to_owned()),
        ("a signed length", "Content-Length: +2\r\n\r\n{}".to_owned()),
        (
            "a length in hexadecimal",
            "Content-Length: 0x2\r\n\r\n{}".to_owned(),
        ),
        (
            "a length of too many digits",
            "Content-Length: 99999999999999999999\r\n\r\n{}".to_owned(),
        ),
        (
            "chunked, identity",
            "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "xchunked",
            "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        ("identity", "Transfer-Encoding: identity\r\n\r\n{}".to_owned()),
        (
            "a space before the colon",
            "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a space before the colon of the length",
            "Content-Length : 2\r\n\r\n{}".to_owned(),
        ),
        ("no colon", "Transfer-Encoding\r\n\r\n0\r\n\r\n".to_owned()),
    ] {
        range
            .refuses_unread(what, format!("{head}{rest}").as_bytes(), &[400])
            .await?;
    }
    // RFC 9112 §6.3: the coding counts, and the connection ends with the answer, so that what follows is nobody's request.
    let size = format!("{:x}", smuggled.len());
    for (what, rest) in [
        (
            "CL.TE",
            format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "TE.CL",
            format!(
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{size}\r\n{smuggled}\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "chunked twice",
            format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "gzip, chunked",
            format!("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
    ] {
        let not_json = refused(400, "request.not-json").with_code(-32_700);
        range
            .refuses_as_bytes(what, format!("{head}{rest}").as_bytes(), not_json)
            .await?;
    }
    // What is wrong with a chunk is found when the body is read.
    for chunk in [
        "xyz\r\n{}\r\n",
        "ffffffffffffffffff\r\n{}\r\n",
        "1\r\n{}\r\n",
        "2\r\n{}x\r\n",
        "-1\r\n{}\r\n",
    ] {
        let bytes = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n");
        range
            .refuses_as_bytes(chunk, bytes.as_bytes(), refused(400, "http.body-broken"))
            .await?;
    }
    // RFC 9112 §2.2: a line may end with LF alone. It ends there for everybody, and no second request comes of it.
    let bare =
        String::from_utf8_lossy(&raw(&format!("Authorization: Bearer {good}\r\n"))).replace("\r\n", "\n");
    let before = range.behind.count();
    let answer = portcullis_testkit::http::raw(&range.origin, format!("{bare}{smuggled}").as_bytes()).await?;
    range.same("bare line feeds", answer.matches("HTTP/1.1 ").count(), 1);
    range.same("heard", range.behind.count() - before, 1);
    Ok(())
}

async fn http2(range: &mut Range) -> Outcome {
    let authorization = format!("Bearer {}", range.good());
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "find", "_meta": {
        "io.modelcontextprotocol/protocolVersion": mcp::MODERN, "io.modelcontextprotocol/clientCapabilities": {}}}});
    let body = body.to_string();
    let good = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/mcp"),
        (":authority", HOST),
        ("content-type", "application/json"),
        ("mcp-protocol-version", mcp::MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "find"),
        ("authorization", authorization.as_str()),
    ];
    let forged: &str = &format!("{authorization}A");
    let changed = |name, value| {
        good.map(|(given, was)| {
            if given == name {
                (given, value)
            } else {
                (given, was)
            }
        })
        .to_vec()
    };
    let and = |name: &'static str, value: &'static str| [&good[..], &[(name, value)]].concat();

    range.row("RS-14").await?;
    let mut connection = Connection::open(&range.origin).await?;
    range.same(
        "a request",
        connection.ask(&good, body.as_bytes()).await?,
        Ended::Answered(200),
    );
    for (what, fields) in [
        ("transfer-encoding", and("transfer-encoding", "chunked")),
        ("connection", and("connection", "close, authorization")),
        ("a length that is not the body's", and("content-length", "3")),
        ("a length of nothing", and("content-length", "0")),
        ("a line end in a value", and("x", "y\r\nx-mcp-subject: root")),
        ("NUL in a value", and("x", "y\0")),
        ("a line end in a name", and("x\r\ny", "z")),
        ("a name in capitals", and("X-Upper", "z")),
        ("a space in the path", changed(":path", "/mcp HTTP/1.1")),
        ("a line end in the path", changed(":path", "/mcp\r\nx: y")),
        (
            "no path",
            good.iter()
                .copied()
                .filter(|(name, _)| *name != ":path")
                .collect(),
        ),
        ("a second path", and(":path", "/other")),
        ("another host", and("host", "evil.example")),
        ("another authority", changed(":authority", "evil.example")),
        (
            "a user in the authority",
            changed(":authority", "gw.example@evil.example"),
        ),
    ] {
        let before = range.behind.count();
        let mut connection = Connection::open(&range.origin).await?;
        let ended = connection.ask(&fields, body.as_bytes()).await?;
        let stopped = matches!(ended, Ended::Cut | Ended::Answered(400 | 403));
        range.holds(
            what,
            if stopped {
                Ok(())
            } else {
                Err(format!("{ended:?}"))
            },
        );
        range.same(what, range.behind.count(), before);
    }

    // The second half is below: the same over HTTP/1.1.
    range.row("RS-24").await?;
    let nothing: Vec<_> = good
        .iter()
        .copied()
        .filter(|(name, _)| *name != "authorization")
        .collect();
    for (what, fields, status) in [
        ("with a token", good.to_vec(), 200),
        ("then without", nothing, 401),
        ("then with another", changed("authorization", forged), 401),
        ("then with it again", good.to_vec(), 200),
    ] {
        range.same(
            what,
            connection.ask(&fields, body.as_bytes()).await?,
            Ended::Answered(status),
        );
    }
    Ok(())
}

async fn connections(range: &mut Range) -> Outcome {
    // RS-24 over HTTP/1.1: one connection, and not all of its requests have a token.
    let good = range.good();
    let mut stream = TcpStream::connect(range.origin.trim_start_matches("http://")).await?;
    let bytes = |lines: &str| {
        let bytes = String::from_utf8_lossy(&raw(lines)).replace("Connection: close\r\n", "");
        bytes.into_bytes()
    };
    let with = bytes(&format!("Authorization: Bearer {good}\r\n"));
    for (what, request, status) in [
        ("with a token", &with, "200"),
        ("then without", &bytes(""), "401"),
        (
            "then with another",
            &bytes(&format!("Authorization: Bearer {good}A\r\n")),
            "401",
        ),
        ("then with it again", &with, "200"),
    ] {
        stream.write_all(request).await?;
        let said = answer(&mut stream).await?;
        range.same(what, said.get(9..12).unwrap_or_default(), status);
    }
    // Both at once.
    let before = range.behind.count();
    stream.write_all(&[with, bytes("")].concat()).await?;
    for status in ["200", "401"] {
        let said = answer(&mut stream).await?;
        range.same("one after the other", said.get(9..12).unwrap_or_default(), status);
    }
    range.same("heard", range.behind.count() - before, 1);

    range.row("RS-34").await?;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    );
    for rest in [
        "Content-Length: 1000000000\r\n\r\n{",
        "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    ] {
        range
            .refuses_as_bytes(
                "a body that never comes",
                format!("{head}{rest}").as_bytes(),
                no(),
            )
            .await?;
    }
    Ok(())
}

/// The next answer of a connection, by its `Content-Length`.
async fn answer(stream: &mut TcpStream) -> Outcome<String> {
    let mut text = String::new();
    let mut chunk = [0; 1];
    loop {
        stream.read_exact(&mut chunk).await?;
        text.push(char::from(chunk[0]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        if body.len() >= length {
            return Ok(text);
        }
    }
}
