//! What a caller of a guarded server sees, what the server sees, and what is on record.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use portcullis_guard::exchange::Body;
use portcullis_guard::layer::{AuthorizationServer, GuardLayer, Judged, Peer, ToolRules};
use portcullis_guard::recorder::Durability;
use portcullis_guard::{Effect, SenderConstraint, SenderRules, VerifiedIdentity};
use serde_json::{Value, json};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::house::{House, call, header, json_of, post, result_of};

const URL: &str = "https://notes.example/mcp";

fn initialize() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" },
    } })
}

/// A session of this token's, ready for calls.
async fn session(house: &House, url: &str, token: &str) -> String {
    let response = house.send(post(url, token, &initialize())).await;
    assert_eq!(result_of(&response)["result"]["protocolVersion"], "2025-11-25");
    let session = header(&response, "mcp-session-id").to_owned();
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let response = house.send(in_session(post(url, token, &ready), &session)).await;
    assert_eq!(response.status(), 202);
    session
}

fn in_session(mut request: Request<Bytes>, session: &str) -> Request<Bytes> {
    let headers = request.headers_mut();
    headers.insert("mcp-session-id", session.parse().unwrap());
    headers.insert("mcp-protocol-version", "2025-11-25".parse().unwrap());
    request
}

#[tokio::test]
async fn without_a_token_there_is_a_challenge_and_a_document_to_read() {
    let house = House::new();
    let (url, _guard) = house.serve().await;
    let mut request = post(&url, "x", &call("list_notes", &json!({})));
    request.headers_mut().remove("authorization");
    let response = house.send(request).await;
    assert_eq!(response.status(), 401);
    let origin = url.strip_suffix("/mcp").unwrap();
    let metadata_url = format!("{origin}/.well-known/oauth-protected-resource/mcp");
    let challenge = header(&response, "www-authenticate");
    assert!(
        challenge.starts_with(&format!("Bearer resource_metadata=\"{metadata_url}\"")),
        "{challenge}"
    );
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    assert_eq!(json_of(&response)["error"]["data"]["reason"], "token.missing");

    let root = format!("{origin}/.well-known/oauth-protected-resource");
    for at in [&metadata_url, &root] {
        let response = house.send(Request::get(at).body(Bytes::new()).unwrap()).await;
        assert_eq!(header(&response, "access-control-allow-origin"), "*");
        let document = json_of(&response);
        assert_eq!(document["resource"], url);
        assert_eq!(document["authorization_servers"], json!(["https://as.example"]));
        assert_eq!(document["scopes_supported"], json!(["notes:read"]));
        assert_eq!(
            document.get("jwks_uri"),
            None,
            "the server has no keys of its own"
        );
        let asked = Request::options(at).body(Bytes::new()).unwrap();
        assert_eq!(
            header(&house.send(asked).await, "access-control-allow-methods"),
            "GET, HEAD"
        );
    }
}

#[tokio::test]
async fn each_tool_asks_for_its_own_scope_and_every_decision_is_on_record() {
    let house = House::new();
    let (url, _guard) = house.serve().await;
    let reads = house.token("alice", &url, "notes:read");
    let own = session(&house, &url, &reads).await;
    let ask = async |token: &str, session: &str, message: &Value| {
        house.send(in_session(post(&url, token, message), session)).await
    };

    // A stream of events arrives as it was sent, and its outcome is that it came to its end.
    let response = ask(&reads, &own, &call("list_notes", &json!({}))).await;
    assert_eq!(
        result_of(&response)["result"]["content"][0],
        json!({ "type": "text", "text": "" })
    );
    let request = header(&response, "x-request-id");
    let (event, durability) = house
        .memory
        .event(&[("target", "list_notes"), ("verdict", "allowed")])
        .await;
    assert_eq!(
        (&event["request"], &event["user"], durability),
        (&json!(request), &json!("alice"), Durability::Queued)
    );
    let (outcome, _) = house
        .memory
        .event(&[("kind", "outcome"), ("request", request)])
        .await;
    assert_eq!(
        (&outcome["result"], &outcome["bytes_out"]),
        (&json!("completed"), &json!(response.body().len()))
    );

    // More is needed to write, and the tool does not run.
    let note = call("add_note", &json!({ "text": "water the plants" }));
    let response = ask(&reads, &own, &note).await;
    assert_eq!(response.status(), 403);
    let challenge = header(&response, "www-authenticate");
    assert!(
        challenge.contains("error=\"insufficient_scope\", scope=\"notes:write\""),
        "{challenge}"
    );
    let (event, _) = house.memory.event(&[("target", "add_note")]).await;
    assert_eq!(event["reason"], "policy.insufficient-scope");

    // With it, the tool knows for whom. The record is on disk before.
    let writes = house.token("alice", &url, "notes:write");
    let response = ask(&writes, &own, &note).await;
    assert_eq!(
        result_of(&response)["result"]["content"][0]["text"],
        "alice: water the plants"
    );
    let (_, durability) = house
        .memory
        .event(&[("target", "add_note"), ("verdict", "allowed")])
        .await;
    assert_eq!(durability, Durability::Synced);

    // What nobody named is irreversible.
    let delete = call("delete_all_notes", &json!({}));
    assert_eq!(ask(&writes, &own, &delete).await.status(), 403);
    let all = house.token("alice", &url, "notes:irreversible");
    let response = ask(&all, &own, &delete).await;
    assert_eq!(
        result_of(&response)["result"]["content"][0]["text"],
        "1 notes deleted"
    );

    // A session is its owner's.
    let bobs = house.token("bob", &url, "notes:irreversible");
    assert_eq!(ask(&bobs, &own, &delete).await.status(), 404);
}

#[tokio::test]
async fn a_list_has_the_tools_that_its_caller_may_call() {
    let house = House::new();
    let (url, _guard) = house.serve().await;
    for (scope, tools) in [
        ("notes:read", &["list_notes"][..]),
        ("notes:write", &["add_note", "list_notes"]),
        (
            "notes:irreversible",
            &["add_note", "delete_all_notes", "list_notes"],
        ),
    ] {
        let token = house.token("alice", &url, scope);
        let own = session(&house, &url, &token).await;
        let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
        let response = house.send(in_session(post(&url, &token, &list), &own)).await;
        let listed = result_of(&response);
        let listed = listed["result"]["tools"].as_array().unwrap().iter();
        let mut names: Vec<_> = listed.map(|tool| tool["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, tools, "{scope}");
    }
}

#[tokio::test]
async fn a_stateless_call_goes_through_as_well() {
    let house = House::new();
    let (url, _guard) = house.serve().await;
    let token = house.token("alice", &url, "notes:read");
    let mut message = call("list_notes", &json!({}));
    message["params"]["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut request = post(&url, &token, &message);
    for (name, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "list_notes"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = house.send(request).await;
    assert_eq!(response.status(), 200, "{:?}", response.body());
    house
        .memory
        .event(&[
            ("era", "modern"),
            ("target", "list_notes"),
            ("verdict", "allowed"),
        ])
        .await;
}

#[tokio::test]
async fn a_stream_ends_with_the_guard_and_a_caller_who_goes_away_is_on_record() {
    let house = House::new();
    let (url, guard) = house.serve().await;
    let token = house.token("alice", &url, "notes:read");
    let own = session(&house, &url, &token).await;
    let listen = || {
        let mut request = in_session(post(&url, &token, &json!({})), &own);
        *request.method_mut() = Method::GET;
        *request.body_mut() = Bytes::new();
        request
    };
    let left = house.open(listen()).await;
    assert_eq!(left.status(), 200);
    let request = header(&left, "x-request-id").to_owned();
    drop(left);
    let (outcome, _) = house
        .memory
        .event(&[("kind", "outcome"), ("request", &request)])
        .await;
    assert_eq!(outcome["result"], "cancelled");

    let token = house.token("bob", &url, "notes:read");
    let own = session(&house, &url, &token).await;
    let mut request = in_session(post(&url, &token, &json!({})), &own);
    *request.method_mut() = Method::GET;
    let stays = house.open(request).await;
    let request = header(&stays, "x-request-id").to_owned();
    guard.stop();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), stays.into_body().collect());
    ended.await.expect("the stream ends").unwrap();
    let (outcome, _) = house
        .memory
        .event(&[("kind", "outcome"), ("request", &request)])
        .await;
    assert_eq!(outcome["result"], "abandoned");
    guard.finished().await;
}

/// What the inner service was given.
type Seen = Arc<Mutex<Vec<Request<Judged>>>>;

/// A service that keeps what it is given, and answers so.
fn answering(
    seen: &Seen,
    answer: impl Fn() -> Response<Body> + Clone + Send + 'static,
) -> impl Service<Request<Judged>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let seen = Arc::clone(seen);
    service_fn(move |request| {
        seen.lock().unwrap().push(request);
        let response = answer();
        async move { Ok(response) }
    })
}

fn whole(body: &'static str) -> Body {
    Full::from(body).map_err(|never| match never {}).boxed_unsync()
}

fn pong() -> Response<Body> {
    let body = whole(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#);
    Response::builder()
        .header("content-type", "application/json")
        .header("set-cookie", "a=b")
        .body(body)
        .unwrap()
}

/// A call of `list_notes` that names the host of `URL`.
fn request(token: &str) -> Request<Full<Bytes>> {
    let mut request = post("/mcp", token, &call("list_notes", &json!({})));
    request
        .headers_mut()
        .insert("host", "notes.example".parse().unwrap());
    request.map(Full::new)
}

async fn answer_of<S>(service: S, request: Request<Full<Bytes>>) -> Response<Bytes>
where
    S: Service<Request<Full<Bytes>>, Response = Response<Body>, Error = Infallible>,
{
    let (head, body) = service.oneshot(request).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn the_server_gets_what_was_judged_and_no_credential() {
    let house = House::new();
    let guard = house.builder(URL).build().unwrap();
    let seen = Seen::default();
    let mut asked = request(&house.token("alice", URL, "notes:read"));
    *asked.uri_mut() = "/mcp?a=b".parse().unwrap();
    for (name, value) in [
        ("cookie", "secret=1"),
        ("x-forwarded-user", "root"),
        ("traceparent", "t"),
    ] {
        asked.headers_mut().insert(name, value.parse().unwrap());
    }
    asked.extensions_mut().insert(Peer([10, 1, 2, 3].into()));
    let sent = asked.body().clone().collect().await.unwrap().to_bytes();
    let response = answer_of(guard.layer(answering(&seen, pong)), asked).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers().get("set-cookie"), None);

    let seen = seen.lock().unwrap().pop().unwrap();
    let mut names: Vec<_> = seen.headers().keys().map(ToString::to_string).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "content-type", "host", "traceparent"]);
    assert_eq!(seen.headers()["host"], "notes.example");
    assert_eq!(
        (seen.method(), seen.uri().to_string().as_str()),
        (&Method::POST, "/mcp")
    );
    let who = seen.extensions().get::<Arc<VerifiedIdentity>>().unwrap();
    assert_eq!(who.subject().as_str(), "alice");
    assert_eq!(seen.into_body().collect().await.unwrap().to_bytes(), sent);
    let (event, _) = house.memory.event(&[("verdict", "allowed")]).await;
    assert_eq!(event["peer"], "10.1.2.3");
}

#[tokio::test]
async fn what_is_refused_never_reaches_the_server() {
    let house = House::new();
    let guard = house.builder(URL).body_bytes(1000).build().unwrap();
    let token = house.token("alice", URL, "notes:read");
    let elsewhere = house.token("alice", "https://other.example/mcp", "notes:read");
    let seen = Seen::default();
    let with = |change: &dyn Fn(&mut Request<Full<Bytes>>)| {
        let mut request = request(&token);
        change(&mut request);
        request
    };
    let rows = [
        (
            with(&|asked| *asked.uri_mut() = "/".parse().unwrap()),
            404,
            "http.not-found",
        ),
        (
            with(&|asked| *asked.uri_mut() = "/mcp/".parse().unwrap()),
            404,
            "http.not-found",
        ),
        (
            with(&|asked| *asked.uri_mut() = "/mcp/more".parse().unwrap()),
            404,
            "http.not-found",
        ),
        (
            with(&|asked| *asked.method_mut() = Method::OPTIONS),
            405,
            "http.method-not-allowed",
        ),
        (
            with(&|asked| {
                *asked.method_mut() = Method::DELETE;
                *asked.uri_mut() = "/.well-known/oauth-protected-resource/mcp".parse().unwrap();
            }),
            405,
            "http.method-not-allowed",
        ),
        (
            with(&|asked| {
                drop(
                    asked
                        .headers_mut()
                        .insert("host", "evil.example".parse().unwrap()),
                )
            }),
            403,
            "http.host-refused",
        ),
        (
            with(&|asked| {
                drop(
                    asked
                        .headers_mut()
                        .insert("origin", "https://evil.example".parse().unwrap()),
                )
            }),
            403,
            "http.origin-refused",
        ),
        (
            with(&|asked| *asked.uri_mut() = "/mcp?access_token=x".parse().unwrap()),
            400,
            "request.token-in-query",
        ),
        (request(&elsewhere), 401, "token.invalid"),
        (
            with(&|asked| *asked.body_mut() = Full::from(vec![b' '; 1001])),
            413,
            "http.body-too-large",
        ),
        (
            with(&|asked| *asked.body_mut() = Full::from("{")),
            400,
            "request.not-json",
        ),
    ];
    for (asked, status, reason) in rows {
        let response = answer_of(guard.layer(answering(&seen, pong)), asked).await;
        assert_eq!(response.status(), status, "{reason}");
        assert_eq!(json_of(&response)["error"]["data"]["reason"], reason);
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_body_is_not_asked_for_before_the_token_held() {
    let house = House::new();
    let guard = house.builder(URL).build().unwrap();
    let never = StreamBody::new(futures_util::stream::poll_fn(|_| {
        panic!("somebody reads the body")
    }));
    let body: Body = never.map_err(|never: Infallible| match never {}).boxed_unsync();
    let asked = request("no-token").map(|_| body);
    let response = guard
        .layer(answering(&Seen::default(), pong))
        .oneshot(asked)
        .await
        .unwrap();
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn a_server_that_fails_is_not_taken_at_its_word() {
    let house = House::new();
    let guard = house.builder(URL).build().unwrap();
    let token = house.token("alice", URL, "notes:read");
    let refuses = || {
        let mut response = pong();
        *response.status_mut() = http::StatusCode::UNAUTHORIZED;
        response
    };
    let service = guard.layer(answering(&Seen::default(), refuses));
    let response = answer_of(service, request(&token)).await;
    assert_eq!(response.status(), 502);
    assert_eq!(response.headers().get("www-authenticate"), None);
    house.memory.event(&[("result", "upstream_failed")]).await;

    let fails = service_fn(async |_: Request<Judged>| Err::<Response<Body>, _>("it is not well"));
    let response = answer_of(guard.layer(fails), request(&token)).await;
    assert_eq!(response.status(), 502);
    assert!(!response.body().windows(8).any(|part| part == b"not well"));
    house.memory.event(&[("result", "upstream_failed")]).await;

    // An answer that breaks off is not one that came to its end.
    let breaks = || {
        let pieces = futures_util::stream::iter([Ok("data: 1\n\n"), Err("broken")]);
        let frames = pieces.map(|piece| {
            piece
                .map(|data| http_body::Frame::data(Bytes::from(data)))
                .map_err(Into::into)
        });
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(StreamBody::new(frames).boxed_unsync())
            .unwrap()
    };
    let service = guard.layer(answering(&Seen::default(), breaks));
    let response = service.oneshot(request(&token)).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    house.memory.event(&[("result", "upstream_failed")]).await;
}

#[tokio::test]
async fn a_server_that_asks_for_proofs_says_so() {
    let house = House::new();
    let rules = SenderRules {
        constraint: SenderConstraint::Dpop,
        nonce: portcullis_guard::ProofNonce::Required,
    };
    let guard = house.builder(URL).senders(rules).build().unwrap();
    let service = guard.layer(answering(&Seen::default(), pong));
    let response = answer_of(service.clone(), request(&house.token("alice", URL, "notes:read"))).await;
    assert_eq!(response.status(), 401);
    assert!(header(&response, "www-authenticate").starts_with("DPoP "));
    assert!(!header(&response, "dpop-nonce").is_empty());
    let mut asked = request("");
    *asked.method_mut() = Method::GET;
    *asked.uri_mut() = "/.well-known/oauth-protected-resource".parse().unwrap();
    let document = json_of(&answer_of(service, asked).await);
    assert_eq!(document["dpop_bound_access_tokens_required"], true);
}

#[tokio::test]
async fn cedar_rules_count_as_they_do_in_the_gateway() {
    let house = House::new();
    let rule = r#"@id("no-reading") forbid (principal, action, resource == Tool::"notes/list_notes");"#;
    let guard = house.builder(URL).cedar("rules.cedar", rule).build().unwrap();
    let seen = Seen::default();
    let token = house.token("alice", URL, "notes:irreversible");
    let response = answer_of(guard.layer(answering(&seen, pong)), request(&token)).await;
    assert_eq!(json_of(&response)["error"]["data"]["reason"], "policy.forbidden");
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once() {
    let house = House::new();
    let recorder = || Arc::clone(&house.memory);
    let issuer = || AuthorizationServer::at("https://as.example");
    let error = GuardLayer::builder(
        "No Name",
        "http://notes.example",
        AuthorizationServer::at("as"),
        recorder(),
    )
    .build()
    .unwrap_err();
    assert_eq!(
        (error.code(), error.problems().len()),
        ("guard.invalid", 3),
        "{error}"
    );
    let error = GuardLayer::builder("notes", URL, issuer(), recorder())
        .also_trusting(issuer())
        .also_trusting(AuthorizationServer::at("https://b.example").algorithms([]))
        .tool_with_scopes("list_notes", portcullis_guard::Effect::Read, "\"")
        .implies("\"", "notes:read")
        .cedar_file("/nowhere.cedar")
        .build()
        .unwrap_err();
    assert_eq!(error.problems().len(), 5, "{error}");
    for (url, problem) in [
        ("https://notes.example", "needs a path"),
        ("https://notes.example/", "needs a path"),
        ("https://notes.example/mcp?a", "no query"),
        ("https://notes.example/mcp#a", "fragment"),
        ("http://notes.example/mcp", "unencrypted"),
        ("ftp://notes.example/mcp", "neither https nor http"),
    ] {
        let error = GuardLayer::builder("notes", url, issuer(), recorder())
            .build()
            .unwrap_err();
        assert!(error.to_string().contains(problem), "{url}: {error}");
    }
    GuardLayer::builder("notes", "http://localhost/mcp", issuer(), recorder())
        .build()
        .unwrap();
    let error = GuardLayer::builder("notes", URL, issuer(), recorder())
        .cedar("rules.cedar", "permit (")
        .build()
        .unwrap_err();
    assert!(error.to_string().contains("rules.cedar: "), "{error}");
}

#[tokio::test]
async fn rules_are_replaced_while_the_server_runs_and_bad_ones_are_not_taken() {
    let house = House::new();
    let (url, guard) = house.serve().await;
    let reads = house.token("alice", &url, "notes:read");
    let own = session(&house, &url, &reads).await;
    let list = async || {
        let request = in_session(post(&url, &reads, &call("list_notes", &json!({}))), &own);
        house.send(request).await.status()
    };
    assert_eq!(list().await, 200);
    let bad = ToolRules::new()
        .cedar("bad", "permit (")
        .cedar_file("/nowhere.cedar");
    let problems = guard.replace_rules(&bad).unwrap_err();
    assert!(problems.to_string().contains("/nowhere.cedar"), "{problems}");
    assert_eq!(list().await, 200, "those of before go on");
    guard
        .replace_rules(&ToolRules::new().tool("list_notes", Effect::Write))
        .unwrap();
    assert_eq!(list().await, 403);
    guard
        .replace_rules(&ToolRules::new().tool("list_notes", Effect::Read))
        .unwrap();
    assert_eq!(list().await, 200);
}

#[tokio::test]
async fn nobody_has_no_quota_unless_it_is_said() {
    let rates = portcullis_guard::Rates::usual();
    assert!(rates.per_client.is_some() && rates.per_user.is_some());
    let house = House::new();
    let url = "http://127.0.0.1:1/mcp";
    let guard = house.builder(url).build().unwrap();
    let token = house.token("alice", url, "notes:read");
    let inner =
        service_fn(async |_: Request<Judged>| Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))));
    let service = guard.layer(inner);
    let per_client = rates.per_client.unwrap().count();
    // Some come back meanwhile.
    for _ in 0..per_client * 10 {
        // Refused for its body, and counted before that.
        let request = post(url, &token, &json!([])).map(Full::new);
        let response = service.clone().oneshot(request).await.unwrap();
        if response.status() == 429 {
            return;
        }
    }
    panic!("no quota of {per_client}");
}
