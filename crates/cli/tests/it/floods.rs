//! Floods on the real binary: whoever sends too much is told so, and nobody else notices.
//!
//! Floods come from other addresses of this machine than 127.0.0.1, which is that of the good callers.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use portcullis_testkit::http::Answer;
use portcullis_testkit::{Failure, Outcome, Request, Scratch, Upstream, mcp};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::apart::{Server, configure, serves};
use crate::text;

const FLOOD: [u8; 4] = [127, 0, 0, 2];
const OTHER: [u8; 4] = [127, 0, 0, 3];

/// A gateway and its authority with these limits, in a folder.
struct House {
    scratch: Scratch,
    gateway: Server,
    _authority: Server,
    gateway_url: String,
    authority_url: String,
    upstream: Upstream,
}

impl House {
    async fn with(limits: &str) -> Outcome<Self> {
        let upstream = Upstream::start().await?;
        let scratch = Scratch::new("floods")?;
        let (gateway_url, authority_url) = configure(scratch.path(), upstream.url())?;
        let file = scratch.path().join("gateway.toml");
        let written = fs::read_to_string(&file)?.replace(
            "scopes = [\"crm:merge\"]\n[policy]",
            "scopes = [\"crm:merge\"]\nrate = \"1/h\"\n[policy]",
        );
        fs::write(&file, format!("{written}\n[limits]\n{limits}"))?;
        let authority = Server::start("authority", scratch.path())?;
        let gateway = Server::start("gateway", scratch.path())?;
        serves(&authority_url).await?;
        serves(&gateway_url).await?;
        Ok(Self {
            scratch,
            gateway,
            _authority: authority,
            gateway_url,
            authority_url,
            upstream,
        })
    }

    fn mcp_url(&self) -> String {
        format!("{}/mcp", self.gateway_url)
    }

    async fn token(&self) -> Outcome<String> {
        let form = [
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", "report".to_owned()),
            ("client_secret", "a-secret-of-128-bits-or-more".to_owned()),
            ("scope", "crm:read crm:merge".to_owned()),
            ("resource", self.mcp_url()),
        ];
        let answer = Request::post(format!("{}/token", self.authority_url))
            .form(form)
            .send()
            .await?;
        Ok(text(&answer.json()?, "/access_token"))
    }

    /// Calls a tool, which the server behind answers if it hears of it.
    async fn call(&mut self, tool: &str, token: &str) -> Outcome<Answer> {
        let calling = tokio::spawn(mcp::call(&self.mcp_url(), tool, &json!({})).bearer(token).send());
        tokio::pin!(calling);
        tokio::select! {
            answer = &mut calling => answer?,
            heard = self.upstream.next() => {
                heard?.result(&json!({"content": [], "resultType": "complete"}))?;
                calling.await?
            }
        }
    }

    /// A connection from another address of this machine.
    async fn elsewhere(&self, from: [u8; 4]) -> Outcome<TcpStream> {
        let to = self.gateway_url.trim_start_matches("http://").parse();
        let to: SocketAddr = to.map_err(|error| Failure::new(format!("{error}")))?;
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        Ok(socket.connect(to).await?)
    }

    /// Sends this from there and reads to the end of the connection.
    async fn raw(&self, from: [u8; 4], bytes: &str) -> Outcome<String> {
        let mut stream = self.elsewhere(from).await?;
        // What is not read to its end may be answered all the same.
        drop(stream.write_all(bytes.as_bytes()).await);
        to_end(&mut stream).await
    }

    fn head(&self, token: &str, rest: &str) -> String {
        let host = self.gateway_url.trim_start_matches("http://");
        format!(
            "POST /mcp HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\n{rest}\r\n\r\n"
        )
    }

    /// The records of the gateway, once it ended in good order.
    fn records(mut self) -> Outcome<Vec<Value>> {
        self.gateway.stop()?;
        let mut records = Vec::new();
        for entry in fs::read_dir(self.scratch.path().join("audit"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                for line in fs::read_to_string(path)?.lines() {
                    records.push(serde_json::from_str(line)?);
                }
            }
        }
        Ok(records)
    }
}

async fn to_end(stream: &mut TcpStream) -> Outcome<String> {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
    // A reset is an end too; what came before it is there.
    drop(read.map_err(|_| Failure::new("the connection does not end"))?);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn with_reason<'r>(records: &'r [Value], kind: &str, reason: &str) -> Vec<&'r Value> {
    let wanted = |record: &&Value| text(record, "/kind") == kind && text(record, "/reason") == reason;
    records.iter().filter(wanted).collect()
}

/// DOS-06 of the attack catalogue.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_tokens_is_stopped_and_fills_no_log() -> Outcome {
    let mut house = House::with("per_address = \"5/h\"\n").await?;
    let token = house.token().await?;
    assert_eq!(house.call("find", &token).await?.status, 200);
    let mut statuses = Vec::new();
    for number in 0..60 {
        let answer = house
            .raw(
                FLOOD,
                &house.head(&format!("{token}{number}"), "Content-Length: 0"),
            )
            .await?;
        statuses.push(answer.get(9..12).unwrap_or_default().to_owned());
        if number == 59 {
            let answer = answer.to_ascii_lowercase();
            for part in [
                "retry-after: ",
                "ratelimit-policy: \"per_address\";q=5;w=3600",
                "ratelimit: \"per_address\";r=0;t=",
            ] {
                assert!(answer.contains(part), "no {part} in {answer}");
            }
        }
    }
    assert_eq!(
        statuses.iter().filter(|status| *status == "401").count(),
        5,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| *status == "429").count(),
        55,
        "{statuses:?}"
    );
    // Another address, and a token that is good: neither notices.
    let missing = mcp::call(&house.mcp_url(), "find", &json!({})).send().await?;
    assert_eq!(missing.status, 401);
    assert_eq!(house.call("find", &token).await?.status, 200);
    let records = house.records()?;
    assert_eq!(with_reason(&records, "decision", "limits.address").len(), 1);
    let counted = with_reason(&records, "refusals", "limits.address");
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert_eq!(
        counted
            .first()
            .map(|record| (record["count"].clone(), text(record, "/peer"))),
        Some((json!(54), "127.0.0.2".to_owned()))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_tools_have_their_rates_and_a_limited_write_is_not_on_record_as_allowed() -> Outcome {
    let mut house = House::with("per_client = \"4/h\"\n").await?;
    let token = house.token().await?;
    assert_eq!(house.call("merge", &token).await?.status, 200);
    let limited = house.call("merge", &token).await?;
    assert_eq!(
        (limited.status, text(&limited.json()?, "/error/data/reason")),
        (429, "limits.tool".to_owned())
    );
    assert_eq!(limited.header("ratelimit-policy"), "\"per_tool\";q=1;w=3600");
    for _ in 0..2 {
        assert_eq!(house.call("find", &token).await?.status, 200);
    }
    let limited = house.call("find", &token).await?;
    assert_eq!(
        (limited.status, text(&limited.json()?, "/error/data/reason")),
        (429, "limits.client".to_owned())
    );
    assert!(
        limited
            .header("retry-after")
            .parse::<u64>()
            .is_ok_and(|seconds| (1..=900).contains(&seconds))
    );
    assert!(
        house.upstream.pending().is_none(),
        "what is limited is not sent on"
    );
    let records = house.records()?;
    let merges: Vec<_> = records
        .iter()
        .filter(|record| text(record, "/target") == "merge" && text(record, "/kind") == "decision")
        .map(|record| text(record, "/verdict"))
        .collect();
    assert_eq!(merges, ["allowed", "denied"]);
    Ok(())
}

/// DOS-04 of the attack catalogue.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_little_or_too_much_leave_room_for_others() -> Outcome {
    let mut house = House::with("connections = 40\nconnections_per_address = 8\n").await?;
    let token = house.token().await?;
    let drops = house.head(&token, "Content-Length: 1000") + "{";
    let drops = house.raw(OTHER, &drops);
    let flood = async {
        // All that one address may have, half of them in the middle of a head.
        let (mut begun, mut silent) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let mut stream = house.elsewhere(FLOOD).await?;
            stream.write_all(b"POST /mcp HTTP/1.1\r\nHost: x\r\nX: ").await?;
            begun.push(stream);
            silent.push(house.elsewhere(FLOOD).await?);
        }
        let request = house.head(&token, "Content-Length: 0");
        for _ in 0..100 {
            assert_eq!(
                house.raw(FLOOD, &request).await?,
                "",
                "one more is closed, unread"
            );
        }
        // Others are served: that the token is refused for its scope takes the whole way.
        let url = house.mcp_url();
        let judged = mcp::call(&url, "unlisted", &json!({}))
            .bearer(&token)
            .send()
            .await?;
        assert_eq!(judged.status, 403);
        // Those end by themselves, and leave room.
        for stream in &mut silent {
            assert_eq!(to_end(stream).await?, "");
        }
        let bomb = format!("Content-Length: 0\r\nX-Bomb: {}", "x".repeat(100 * 1024));
        let answer = house.raw(FLOOD, &house.head(&token, &bomb)).await?;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        drop(begun);
        Ok::<_, Failure>(())
    };
    let (drops, flood) = tokio::join!(drops, flood);
    flood?;
    let drops = drops?;
    assert!(drops.starts_with("HTTP/1.1 408 "), "{drops}");
    assert!(drops.contains("http.body-too-slow"), "{drops}");
    assert_eq!(house.call("find", &token).await?.status, 200);
    Ok(())
}

/// DOS-10 of the attack catalogue.
#[tokio::test(flavor = "multi_thread")]
async fn streams_without_an_end_are_bounded_and_calls_go_on() -> Outcome {
    let mut house = House::with("streams = 2\n").await?;
    let token = house.token().await?;
    let url = house.mcp_url();
    let listen = || {
        Request::get(&url)
            .bearer(&token)
            .header("accept", "text/event-stream")
            .header("mcp-protocol-version", mcp::LEGACY)
    };
    let mut open = Vec::new();
    for _ in 0..2 {
        let opening = tokio::spawn(listen().stream());
        let feed = house.upstream.next().await?.stream(&[])?;
        let stream = opening.await??;
        assert_eq!(stream.status, 200);
        open.push((stream, feed));
    }
    let full = listen().send().await?;
    assert_eq!(
        (full.status, text(&full.json()?, "/error/data/reason")),
        (503, "http.streams-full".to_owned())
    );
    assert_eq!(full.header("retry-after"), "10");
    assert_eq!(house.call("find", &token).await?.status, 200);
    Ok(())
}
