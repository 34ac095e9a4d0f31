//! A server that has a tool with sealed results: none of them reaches its caller in clear, by whichever way it comes.

use bytes::Bytes;
use http::{Method, Request, Response};
use portcullis_core::ids::KeyId;
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::{KeyManagement, PayloadOpener as _};
use portcullis_core::jose::jwk::{DecryptionKey, DecryptionKind, PublicJwk, PublicKey, SigningKey};
use portcullis_core::jose::jws::TokenSigner as _;
use portcullis_core::seal::{Clear, Pointers};
use portcullis_guard::ToolSeal;
use portcullis_net::random::System;
use serde_json::{Value, json};

use super::house::{House, call, json_of, json_response, message, piece, stream};

const SECRET: &str = "the-gate-code-is-4711";

/// An agent with its keys, before a gateway where the results of `list_notes` are sealed.
struct Stage {
    house: House,
    token: String,
    keys: Value,
}

impl Stage {
    async fn set() -> Self {
        let seal = ToolSeal {
            arguments: Pointers::default(),
            result: Pointers::parse(["/content/*/text"]).unwrap(),
            clear: Clear::Refuse,
        };
        let house = House::with_sealed(vec![("list_notes", seal)]).await;
        let kid = |name: &str| KeyId::parse(name).unwrap();
        let (signing, _) = SigningKey::generate(kid("sig"), SignatureAlgorithm::Es256).unwrap();
        let opening =
            DecryptionKey::generate(kid("enc"), KeyManagement::EcdhEs, DecryptionKind::X25519, &System)
                .unwrap();
        let jwk = |key: &PublicKey, algorithm, kid: &KeyId| {
            let jwk = PublicJwk {
                key: key.clone(),
                algorithm,
                kid: kid.clone(),
                chain: Vec::new(),
            };
            Value::Object(jwk.to_json())
        };
        let keys = json!([
            jwk(signing.public(), SignatureAlgorithm::Es256.into(), signing.kid()),
            jwk(opening.public(), KeyManagement::EcdhEs.into(), opening.kid()),
        ]);
        let vouched = json!({
            "sig": signing.public().thumbprint().to_string(),
            "enc": opening.public().thumbprint().to_string(),
        });
        let token = house.token_with("notes:write", |claims| {
            claims.insert("client_keys".to_owned(), vouched);
        });
        Self { house, token, keys }
    }

    /// Sends a message of a legacy client.
    async fn send(&self, session: Option<&str>, message: &Value) -> Response<Bytes> {
        self.house.send(self.request(session, message)).await
    }

    fn request(&self, session: Option<&str>, message: &Value) -> Request<Bytes> {
        let mut request = self.house.post(&self.token, message);
        if let Some(session) = session {
            request
                .headers_mut()
                .insert("mcp-session-id", session.parse().unwrap());
        }
        request
    }

    /// A call of the tool with sealed results.
    fn sealed_call(&self, id: &Value) -> Value {
        let said = json!({ "message": "AAAAAAAAAAAAAAAAAAAAAA", "keys": self.keys });
        let mut call = call("list_notes");
        call["id"] = id.clone();
        call["params"]["_meta"] = json!({ "dev.portcullis/sealed-fields": said });
        call
    }

    /// From now on the server answers every request with this result under this id.
    fn answers(&self, id: &Value, result: &Value) {
        let text = json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string();
        self.house.reply(move |_, _| json_response(text.clone()));
    }

    /// A session, or none at a server that has none.
    async fn begin(&self, session: Option<&'static str>) {
        self.house.reply(move |_, _| {
            let mut response = json_response(r#"{"jsonrpc":"2.0","id":1,"result":{"capabilities":{}}}"#);
            if let Some(session) = session {
                response
                    .headers_mut()
                    .insert("mcp-session-id", session.parse().unwrap());
            }
            response
        });
        let answer = json_of(&self.send(None, &message("initialize")).await);
        let told = &answer["result"]["capabilities"]["extensions"]["dev.portcullis/sealed-fields"];
        assert_eq!(told["server"], "notes", "{answer}");
    }

    async fn opens_stream(
        &self,
        session: Option<&str>,
    ) -> (
        tokio::sync::mpsc::Sender<&'static str>,
        portcullis_net::fetch::Body,
    ) {
        let (feed, response) = stream();
        let response = std::sync::Mutex::new(Some(response));
        self.house
            .reply(move |_, _| response.lock().unwrap().take().unwrap());
        let mut request = self.request(session, &json!({})).map(|_| Bytes::new());
        *request.method_mut() = Method::GET;
        request
            .headers_mut()
            .insert("last-event-id", "e-1".parse().unwrap());
        (feed, self.house.open(request).await.into_body())
    }
}

fn secret() -> Value {
    json!({ "content": [{ "type": "text", "text": SECRET }] })
}

/// The JSON of an event.
fn data(event: &str) -> Value {
    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
    serde_json::from_str(data.unwrap_or_else(|| panic!("no data: {event}"))).unwrap()
}

fn is_withheld(answer: &Value, id: &Value) {
    assert_eq!(answer["error"]["data"]["reason"], "upstream.withheld", "{answer}");
    assert_eq!(&answer["id"], id);
    assert!(
        answer.get("result").is_none() && !answer.to_string().contains(SECRET),
        "{answer}"
    );
}

fn is_sealed(answer: &Value) {
    let text = answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_default();
    assert!(text.starts_with("portcullis-sealed:1:"), "{answer}");
    assert!(!answer.to_string().contains(SECRET));
}

#[tokio::test]
async fn a_result_is_sealed_as_an_answer_and_on_a_stream_that_was_open_before_the_call() {
    for session in [None, Some("s-1")] {
        let stage = Stage::set().await;
        stage.begin(session).await;
        let (feed, mut body) = stage.opens_stream(session).await;
        stage.answers(&json!("a"), &secret());
        let answer = stage.send(session, &stage.sealed_call(&json!("a"))).await;
        assert_eq!(answer.status(), 200);
        is_sealed(&json_of(&answer));
        // What belongs on the stream passes as it is.
        let progress = "id: 7\ndata: {\"jsonrpc\":\"2.0\", \"method\":\"notifications/progress\"}\n\n";
        feed.send(progress).await.unwrap();
        assert_eq!(piece(&mut body).await.unwrap(), progress, "{session:?}");
        // The result again, in another spelling of its id.
        feed.send(concat!(
            r#"data: {"jsonrpc":"2.0","id":"\u0061","result":{"content":[{"type":"text","text":"the-gate-code-is-4711"}]}}"#,
            "\n\n"
        ))
        .await
        .unwrap();
        is_sealed(&data(&piece(&mut body).await.unwrap()));
        // The words of an error can repeat what is sealed.
        feed.send(concat!(
            r#"data: {"jsonrpc":"2.0","id":"a","error":{"code":-5,"message":"the-gate-code-is-4711"}}"#,
            "\n\n"
        ))
        .await
        .unwrap();
        let error = data(&piece(&mut body).await.unwrap());
        assert_eq!(error["error"]["code"], -5);
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
}

#[tokio::test]
async fn what_belongs_to_no_known_call_is_withheld_on_a_stream_and_that_is_on_record() {
    for session in [None, Some("s-1")] {
        let stage = Stage::set().await;
        stage.begin(session).await;
        let (feed, mut body) = stage.opens_stream(session).await;
        let decision = stage.house.event(2).await;
        assert_eq!(decision["method"], "GET");
        for (event, id) in [
            (
                concat!(
                    r#"data: {"jsonrpc":"2.0","id":9,"result":{"content":[{"type":"text","text":"the-gate-code-is-4711"}]}}"#,
                    "\n\n"
                ),
                json!(9),
            ),
            (
                concat!(
                    r#"data: {"jsonrpc":"2.0","id":9,"error":{"code":1,"message":"the-gate-code-is-4711"}}"#,
                    "\n\n"
                ),
                json!(9),
            ),
            (
                concat!(
                    r#"data: {"jsonrpc":"2.0","id":"x","result":{"tools":[],"_meta":{"x":"the-gate-code-is-4711"}}}"#,
                    "\n\n"
                ),
                json!("x"),
            ),
        ] {
            feed.send(event).await.unwrap();
            is_withheld(&data(&piece(&mut body).await.unwrap()), &id);
        }
        // How a task went can have its result. Only its place in the stream is told.
        feed.send(concat!(
            "id: e-9\n",
            r#"data: {"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"t","result":"the-gate-code-is-4711"}}"#,
            "\n\n"
        ))
        .await
        .unwrap();
        assert_eq!(piece(&mut body).await.unwrap(), "id: e-9\n\n");
        drop(feed);
        assert_eq!(piece(&mut body).await, None);
        let outcome = stage.house.event(3).await;
        assert_eq!(
            (&outcome["decision_seq"], &outcome["result"]),
            (&json!(3), &json!("withheld")),
            "{outcome}"
        );
    }
}

#[tokio::test]
async fn the_result_of_another_call_is_no_answer() {
    let stage = Stage::set().await;
    stage.begin(None).await;
    let mut plain = call("add_note");
    plain["id"] = json!(5);
    stage.answers(&json!(5), &secret());
    assert_eq!(json_of(&stage.send(None, &plain).await)["result"], secret());
    // Of nobody's.
    stage.answers(&json!(6), &secret());
    is_withheld(&json_of(&stage.send(None, &plain).await), &json!(6));
    // Of a sealed call's.
    stage.answers(&json!("a"), &secret());
    is_sealed(&json_of(&stage.send(None, &stage.sealed_call(&json!("a"))).await));
    is_sealed(&json_of(&stage.send(None, &plain).await));
    // As an event.
    stage.house.reply(|_, _| {
        let (feed, response) = stream();
        feed.try_send(concat!(
            r#"data: {"jsonrpc":"2.0","id":6,"result":{"content":[{"type":"text","text":"the-gate-code-is-4711"}]}}"#,
            "\n\n",
            r#"data: {"jsonrpc":"2.0","id":5,"result":{}}"#,
            "\n\n"
        ))
        .unwrap();
        response
    });
    let answer = stage.send(None, &plain).await;
    let text = String::from_utf8(answer.body().to_vec()).unwrap();
    let (first, second) = text.split_once("\n\n").unwrap();
    is_withheld(&data(first), &json!(6));
    assert_eq!(data(second)["result"], json!({}));
}

#[tokio::test]
async fn an_id_of_a_sealed_call_brings_its_result_to_no_other_call_in_clear() {
    for session in [None, Some("s-1")] {
        let stage = Stage::set().await;
        stage.begin(session).await;
        let mut plain = call("add_note");
        plain["id"] = json!("a");
        // The server loses the answer, and gives it to the next request of this id.
        stage.house.reply(|_, _| {
            Response::builder()
                .status(500)
                .body(axum::body::Body::empty())
                .unwrap()
        });
        assert_eq!(
            stage
                .send(session, &stage.sealed_call(&json!("a")))
                .await
                .status(),
            502
        );
        stage.answers(&json!("a"), &secret());
        is_sealed(&json_of(&stage.send(session, &plain).await));
        // Without sessions, ids of clients of one principal meet: an answered call claims nothing any more.
        is_sealed(&json_of(
            &stage.send(session, &stage.sealed_call(&json!("b"))).await,
        ));
        plain["id"] = json!("b");
        stage.answers(&json!("b"), &secret());
        let answer = json_of(&stage.send(session, &plain).await);
        match session {
            None => assert_eq!(answer["result"], secret()),
            Some(_) => is_sealed(&answer),
        }
    }
}

/// MCP-35 of the attack catalogue.
#[tokio::test]
async fn a_message_that_can_be_read_in_two_ways_is_not_handed_on() {
    let stage = Stage::set().await;
    stage.begin(None).await;
    let mut plain = call("add_note");
    plain["id"] = json!("a");
    let sealed = stage.sealed_call(&json!("a"));
    for text in [
        r#"{"jsonrpc":"2.0","id":"a","result":{},"error":{"code":1,"message":"the-gate-code-is-4711"}}"#,
        r#"{"jsonrpc":"2.0","id":"a"}"#,
        r#"{"jsonrpc":"2.0","id":"b","id":"a","result":{}}"#,
        r#"[{"jsonrpc":"2.0","id":"a","result":{}}]"#,
    ] {
        stage.house.reply(move |_, _| json_response(text));
        for call in [&plain, &sealed] {
            let answer = stage.send(None, call).await;
            assert_eq!(answer.status(), 502, "{text}");
            let answer = json_of(&answer);
            assert_eq!(answer["error"]["data"]["reason"], "upstream.bad-answer", "{text}");
            assert!(!answer.to_string().contains(SECRET));
        }
    }
}

#[tokio::test]
async fn the_result_of_a_task_is_handed_on_when_its_tool_has_none_sealed() {
    let stage = Stage::set().await;
    stage.begin(None).await;
    let get = |task: &str| json!({ "jsonrpc": "2.0", "id": 3, "method": "tasks/get", "params": { "taskId": task } });
    let done = json!({ "taskId": "t-1", "status": "completed", "result": secret() });
    stage.answers(&json!(3), &done);
    is_withheld(&json_of(&stage.send(None, &get("t-1")).await), &json!(3));
    // A sealed call that comes as a task is refused.
    let task = json!({ "task": { "taskId": "t-1", "status": "working" } });
    stage.answers(&json!("a"), &task);
    assert_eq!(
        stage.send(None, &stage.sealed_call(&json!("a"))).await.status(),
        502
    );
    stage.answers(&json!(3), &done);
    is_withheld(&json_of(&stage.send(None, &get("t-1")).await), &json!(3));
    // One of another tool passes, and so does its result then.
    let mut plain = call("add_note");
    plain["id"] = json!(4);
    stage.answers(&json!(4), &task);
    assert_eq!(json_of(&stage.send(None, &plain).await)["result"], task);
    stage.answers(&json!(3), &done);
    assert_eq!(json_of(&stage.send(None, &get("t-1")).await)["result"], done);
    is_withheld(&json_of(&stage.send(None, &get("t-2")).await), &json!(3));
    // The older method is none that is forwarded at all.
    let older = json!({ "jsonrpc": "2.0", "id": 3, "method": "tasks/result", "params": { "taskId": "t-1" } });
    let calls = stage.house.calls_upstream();
    assert_eq!(json_of(&stage.send(None, &older).await)["error"]["code"], -32_601);
    assert_eq!(stage.house.calls_upstream(), calls);
}

#[tokio::test]
async fn a_sealed_call_is_forgotten_with_its_session_and_by_the_newest_of_too_many() {
    let stage = Stage::set().await;
    stage.begin(Some("s-1")).await;
    let (feed, mut body) = stage.opens_stream(Some("s-1")).await;
    for id in 0..65 {
        stage.answers(&json!(id), &secret());
        is_sealed(&json_of(
            &stage.send(Some("s-1"), &stage.sealed_call(&json!(id))).await,
        ));
    }
    for (event, known) in [
        (
            concat!(
                r#"data: {"jsonrpc":"2.0","id":0,"result":{"content":[{"type":"text","text":"the-gate-code-is-4711"}]}}"#,
                "\n\n"
            ),
            false,
        ),
        (
            concat!(
                r#"data: {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"the-gate-code-is-4711"}]}}"#,
                "\n\n"
            ),
            true,
        ),
    ] {
        feed.send(event).await.unwrap();
        let answer = data(&piece(&mut body).await.unwrap());
        if known {
            is_sealed(&answer);
        } else {
            is_withheld(&answer, &json!(0));
        }
    }
    // The client ends the session; what is still on its stream then is of no known call.
    stage.house.reply(|_, _| {
        Response::builder()
            .status(204)
            .body(axum::body::Body::empty())
            .unwrap()
    });
    let mut end = stage.request(Some("s-1"), &json!({})).map(|_| Bytes::new());
    *end.method_mut() = Method::DELETE;
    assert_eq!(stage.house.send(end).await.status(), 204);
    feed.send(concat!(
        r#"data: {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"the-gate-code-is-4711"}]}}"#,
        "\n\n"
    ))
    .await
    .unwrap();
    is_withheld(&data(&piece(&mut body).await.unwrap()), &json!(1));
}
