//! Sealed fields against a gateway that may lie, and against whoever is between.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use portcullis_agent::{Agent, Called, Error, Login, Network, SealMode};
use serde_json::{Map, Value, json};

use crate::gateway::{ANSWER, EXTENSION, Gateway, Heard, answered, events, refused};
use crate::parties::look;
use crate::stage::Stage;

const SECRET: &str = "the-garden-gate-code-is-4711";

/// A gateway with sealed fields, and ada at the keyboard.
async fn set() -> (Stage, Arc<Mutex<Gateway>>) {
    let (stage, gateway) = (Stage::set().await, Gateway::new());
    look(&stage.parties.authority).subject = Some("ada");
    let mut resource = look(&stage.parties.resource);
    resource.wants = "notes:read";
    resource.sealing = Some(Arc::clone(&gateway));
    drop(resource);
    (stage, gateway)
}

fn arguments() -> Map<String, Value> {
    let value = json!({"text": SECRET, "card": {"number": "4929", "holder": {"vip": true}}, "n": 1});
    value.as_object().unwrap().clone()
}

async fn call(agent: &Agent, stage: &Stage) -> Result<Called, Error> {
    agent.call(&stage.parties.url(), "add_note", arguments()).await
}

async fn sessions(stage: &Stage) -> Agent {
    let mut settings = stage.settings();
    settings.seal = SealMode::Session;
    Agent::open(settings).await.unwrap()
}

fn text(called: &Called) -> &str {
    called.content[0]["text"].as_str().unwrap()
}

/// The code of the error of one call, whose answer is what `step` makes of it.
async fn code_after(step: impl FnOnce(Heard) -> axum::response::Response + Send + 'static) -> String {
    let (stage, gateway) = set().await;
    look(&gateway).then(step);
    let error = call(&stage.agent().await, &stage).await.unwrap_err();
    assert_eq!(look(&gateway).calls.len(), 1, "it was repeated: {error}");
    error.code().to_owned()
}

#[tokio::test]
async fn calls_are_sealed_under_ids_that_nobody_can_tell_before() {
    let (stage, gateway) = set().await;
    for legacy in [false, true] {
        look(&stage.parties.resource).legacy = legacy;
        // Each is another process of the same agent.
        for agent in [stage.agent().await, stage.agent().await, sessions(&stage).await] {
            for _ in 0..2 {
                assert_eq!(text(&call(&agent, &stage).await.unwrap()), ANSWER);
            }
        }
    }
    let gateway = look(&gateway);
    assert_eq!(gateway.calls, vec![Value::Object(arguments()); 12]);
    assert!(gateway.said.iter().all(|said| !said.is_null()));
    let mut ids: Vec<&str> = gateway.ids.iter().map(|id| id.as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 12, "{ids:?}");
    // 128 bits.
    assert!(ids.iter().all(|id| id.len() == 22), "{ids:?}");
}

#[tokio::test]
async fn a_refusal_of_the_gateway_is_a_reason_to_repeat_once_a_write_too() {
    for (status, code) in [(400, -31_460), (400, -31_461), (503, -31_460)] {
        let (stage, gateway) = set().await;
        let refuse = move |heard: Heard| {
            let data = json!({"reason": "seal.expired", "extension": EXTENSION, "sealed": heard.told});
            refused(status, &heard.id, code, data)
        };
        look(&gateway).then(refuse);
        let agent = stage.agent().await;
        assert_eq!(
            text(&call(&agent, &stage).await.unwrap()),
            ANSWER,
            "{status} {code}"
        );
        assert_eq!(look(&gateway).calls.len(), 2);

        look(&gateway).then(refuse);
        look(&gateway).then(refuse);
        let error = call(&agent, &stage).await.unwrap_err();
        assert_eq!(error.code(), "agent.seal-refused");
        assert_eq!(look(&gateway).calls.len(), 4, "once, and not again");
    }
}

#[tokio::test]
async fn what_may_come_from_the_server_behind_is_no_reason_to_repeat() {
    let with = |status: u16, code: i64, extension: Value| {
        move |heard: Heard| {
            let data = json!({"reason": "seal.expired", "extension": extension, "sealed": heard.told});
            refused(status, &heard.id, code, data)
        }
    };
    for (status, code, extension) in [
        (200, -31_460, json!(EXTENSION)),
        (200, -31_461, json!(EXTENSION)),
        (400, -31_460, Value::Null),
        (400, -31_462, json!(EXTENSION)),
        (500, -31_460, json!(EXTENSION)),
        (502, -31_460, json!(EXTENSION)),
        // Nor is that headers are missing, which only the status says before the tool is called.
        (200, -32_020, Value::Null),
    ] {
        let found = code_after(with(status, code, extension)).await;
        assert_eq!(found, "agent.server", "{status} {code}");
    }
    // In a stream, which has begun with 200.
    let streamed = |heard: Heard| {
        let data = json!({"reason": "seal.expired", "extension": EXTENSION, "sealed": heard.told});
        let error = json!({"code": -31_460, "message": "no", "data": data});
        events(&[json!({"jsonrpc": "2.0", "id": heard.id, "error": error}).to_string()])
    };
    assert_eq!(code_after(streamed).await, "agent.server");
}

#[tokio::test]
async fn a_later_round_of_a_call_is_not_begun_again_from_the_first() {
    let (stage, gateway) = set().await;
    look(&gateway).then(|heard| {
        let result = json!({"resultType": "input_required", "inputRequests": {}, "requestState": "half way"});
        answered(&heard.id, &result)
    });
    look(&gateway).then(|heard| {
        let data = json!({"reason": "seal.session-over", "extension": EXTENSION, "sealed": heard.told});
        refused(400, &heard.id, -31_461, data)
    });
    let error = call(&stage.agent().await, &stage).await.unwrap_err();
    assert_eq!(error.code(), "agent.seal-refused");
    assert_eq!(look(&gateway).calls.len(), 2);
}

#[tokio::test]
async fn what_was_told_once_is_remembered_before_anything_is_sent() {
    // Whoever makes the first call come to nothing, and takes the fields out of the definition afterwards.
    for before in ["its keys", "the call"] {
        let (stage, gateway) = set().await;
        if before == "its keys" {
            look(&gateway).hides_keys = true;
        } else {
            look(&gateway).then(|_| StatusCode::BAD_GATEWAY.into_response());
        }
        let first = stage.agent().await;
        call(&first, &stage).await.unwrap_err();
        let heard = look(&gateway).calls.len();
        drop(first);
        look(&gateway).hides_keys = false;
        look(&gateway).says = Some(Value::Null);
        let error = call(&stage.agent().await, &stage).await.unwrap_err();
        assert_eq!(error.code(), "agent.seal-told-less", "{before}");
        assert_eq!(look(&gateway).calls.len(), heard, "{before}: something was sent");
    }
}

#[tokio::test]
async fn less_than_was_told_is_not_believed_whoever_says_it() {
    let less = |told: &Value| {
        let mut less = told.clone();
        less["arguments"] = json!(["/text"]);
        less
    };
    // A refusal, after a definition that said more.
    let code = code_after(move |heard| {
        let data = json!({"reason": "seal.form", "extension": EXTENSION, "sealed": less(&heard.told)});
        refused(400, &heard.id, -31_460, data)
    })
    .await;
    assert_eq!(code, "agent.seal-told-less");
    // A definition, after one that said more.
    let (stage, gateway) = set().await;
    let agent = stage.agent().await;
    call(&agent, &stage).await.unwrap();
    let told = look(&gateway).told(stage.parties.url().trim_end_matches("/mcp"));
    look(&gateway).says = Some(less(&told));
    let error = call(&agent, &stage).await.unwrap_err();
    assert_eq!(error.code(), "agent.seal-told-less");
    assert_eq!(look(&gateway).calls.len(), 1);
}

#[tokio::test]
async fn a_result_that_is_not_sealed_for_this_call_is_not_used() {
    for clear in ["refuse", "allow"] {
        let (stage, gateway) = set().await;
        let mut told = look(&gateway).told(stage.parties.url().trim_end_matches("/mcp"));
        told["clear"] = json!(clear);
        look(&gateway).says = Some(told);
        look(&gateway).then(|heard| answered(&heard.id, &heard.clear));
        let error = call(&stage.agent().await, &stage).await.unwrap_err();
        assert_eq!(error.code(), "seal.in-clear", "{clear}");
    }
    let task = |heard: Heard| {
        answered(
            &heard.id,
            &json!({"resultType": "task", "taskId": "t", "status": "working", "createdAt": "2026-07-28T00:00:00Z", "lastUpdatedAt": "2026-07-28T00:00:00Z", "ttlMs": 1}),
        )
    };
    assert_eq!(code_after(task).await, "agent.seal-task");
    let task = |heard: Heard| answered(&heard.id, &json!({"task": {"taskId": "t"}, "content": []}));
    assert_eq!(code_after(task).await, "agent.seal-task");
}

#[tokio::test]
async fn a_result_of_another_call_is_not_used() {
    for mode in [SealMode::EachField, SealMode::Session] {
        let (stage, gateway) = set().await;
        let agent = match mode {
            SealMode::EachField => stage.agent().await,
            SealMode::Session => sessions(&stage).await,
        };
        let kept = Arc::new(Mutex::new(Value::Null));
        let keep = Arc::clone(&kept);
        look(&gateway).then(move |heard| {
            *look(&keep) = heard.result;
            StatusCode::BAD_GATEWAY.into_response()
        });
        call(&agent, &stage).await.unwrap_err();
        look(&gateway).then(move |heard| answered(&heard.id, &look(&kept)));
        let error = call(&agent, &stage).await.unwrap_err();
        let expected = match mode {
            // The first of the members of `call` that differ.
            SealMode::EachField => "seal.request-id",
            SealMode::Session => "seal.undecipherable",
        };
        assert_eq!(error.code(), expected);
    }
}

#[tokio::test]
async fn an_answer_counts_under_the_id_of_its_call_and_no_other() {
    // `true`: the same id, spelled with escapes.
    for (is_same, spell) in [
        (false, (|_| "0".to_owned()) as fn(&str) -> String),
        (false, |_| "1".to_owned()),
        (false, |_| "2".to_owned()),
        (false, |_| "2.0".to_owned()),
        (false, |_| "\"2\"".to_owned()),
        (false, |_| "null".to_owned()),
        (false, |name| format!("[\"{name}\"]")),
        (false, |name| format!("\"{name} \"")),
        (false, |name| {
            format!("\"{}\"", name.to_lowercase().to_uppercase())
        }),
        (true, |name| {
            let escaped: String = name.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
            format!("\"{escaped}\"")
        }),
    ] {
        let (stage, gateway) = set().await;
        look(&gateway).then(move |heard| {
            let name = heard.id.as_str().unwrap();
            let spelled = spell(name);
            let first = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{spelled},\"result\":{}}}",
                heard.clear
            );
            let then = json!({"jsonrpc": "2.0", "id": name, "result": heard.result}).to_string();
            events(&[first, then])
        });
        let called = call(&stage.agent().await, &stage).await;
        if is_same {
            // It is the answer, and in clear.
            assert_eq!(called.unwrap_err().code(), "seal.in-clear");
        } else {
            // It is nobody's, and the answer that comes after it is opened.
            assert_eq!(text(&called.unwrap()), ANSWER, "{}", spell("name"));
        }
    }
    // As the only answer.
    let other = |heard: Heard| answered(&json!(2), &heard.clear);
    assert_eq!(code_after(other).await, "agent.server");
}

#[tokio::test]
async fn a_result_on_a_stream_that_was_open_before_is_opened_too() {
    let (stage, gateway) = set().await;
    look(&stage.parties.resource).legacy = true;
    look(&gateway).then(Heard::elsewhere);
    let called = call(&stage.agent().await, &stage).await.unwrap();
    assert_eq!(text(&called), ANSWER);
    assert!(!look(&gateway).said[0].is_null());
}

#[tokio::test]
async fn a_sealed_argument_goes_into_no_header_however_deep_it_is() {
    for arguments in [
        json!({"card": {"number": "4929"}}),
        json!({"card": {"holder": {"vip": true}}}),
        json!({"card": {"number": "49 29 ä"}}),
    ] {
        let (stage, gateway) = set().await;
        look(&gateway).wants_header = true;
        let agent = stage.agent().await;
        let arguments = arguments.as_object().unwrap().clone();
        let error = agent
            .call(&stage.parties.url(), "add_note", arguments)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "agent.seal-header");
        assert!(look(&gateway).calls.is_empty());
    }
}

#[tokio::test]
async fn keys_that_whoever_is_between_could_change_are_not_taken() {
    let (stage, gateway) = set().await;
    look(&gateway).jwks_uri = Some("http://10.0.0.1/jwks.json");
    let mut settings = stage.settings();
    settings.network = Network::Private;
    let error = call(&Agent::open(settings).await.unwrap(), &stage)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "agent.seal-keys");
}

#[tokio::test]
async fn a_session_is_used_until_its_end_and_ended_by_a_logout() {
    let (stage, gateway) = set().await;
    look(&gateway).session_lifetime = 300;
    let agent = sessions(&stage).await;
    for _ in 0..2 {
        call(&agent, &stage).await.unwrap();
    }
    assert_eq!(look(&gateway).agreed, 1);
    stage.pass(250);
    look(&gateway).ahead = 250;
    call(&agent, &stage).await.unwrap();
    assert_eq!(look(&gateway).agreed, 2, "it was used in its last moments");
    // The gateway forgets it.
    look(&gateway).sessions.clear();
    call(&agent, &stage).await.unwrap();
    assert_eq!(look(&gateway).agreed, 3);
    assert_eq!(look(&gateway).ended, 0);

    // A logout ends it, in whichever process it is asked for.
    stage.agent().await.logout(&stage.parties.url()).await.unwrap();
    assert_eq!(look(&gateway).ended, 1);
}

#[tokio::test]
async fn whoever_logs_in_next_has_nothing_of_the_first() {
    let (stage, gateway) = set().await;
    let (agent, url) = (sessions(&stage).await, stage.parties.url());
    call(&agent, &stage).await.unwrap();
    // With another login at the same authorization server, whose registration stays in use.
    let by_name = url.replace("127.0.0.1", "localhost");
    look(&stage.parties.resource).claims = Some(by_name.clone());
    agent.login(&by_name, &Login::default()).await.unwrap();
    look(&stage.parties.resource).claims = None;
    agent.logout(&url).await.unwrap();

    look(&stage.parties.authority).subject = Some("eve");
    agent.login(&url, &Login::default()).await.unwrap();
    call(&agent, &stage).await.unwrap();
    assert_eq!(look(&gateway).agreed, 2, "a session of the first was used");
    let keys_of = |said: &Value| said["keys"].clone();
    for user in ["ada", "eve"] {
        look(&stage.parties.authority).subject = Some(user);
        agent.logout(&url).await.unwrap();
        agent.login(&url, &Login::default()).await.unwrap();
        call(&stage.agent().await, &stage).await.unwrap();
    }
    let gateway = look(&gateway);
    let [.., ada, eve] = gateway.said.as_slice() else {
        panic!("{:?}", gateway.said)
    };
    assert!(keys_of(ada).is_array());
    assert_ne!(keys_of(ada), keys_of(eve), "keys of the first were used");
}

#[tokio::test]
async fn somebody_else_at_the_same_server_is_bound_by_nothing_that_the_first_was_told() {
    let (stage, gateway) = set().await;
    let (agent, url) = (sessions(&stage).await, stage.parties.url());
    call(&agent, &stage).await.unwrap();
    look(&gateway).says = Some(Value::Null);
    // The same person again, without a logout.
    agent.login(&url, &Login::default()).await.unwrap();
    let error = call(&agent, &stage).await.unwrap_err();
    assert_eq!(error.code(), "agent.seal-told-less");

    look(&stage.parties.authority).subject = Some("eve");
    agent.login(&url, &Login::default()).await.unwrap();
    call(&agent, &stage).await.unwrap();
    assert_eq!(look(&gateway).said.last(), Some(&Value::Null));
    // With what eve is told, a session of her own.
    look(&gateway).says = None;
    call(&agent, &stage).await.unwrap();
    assert_eq!(look(&gateway).agreed, 2);
}

/// How many calls came, and how often the keys were read.
fn calls_and_reads(gateway: &Arc<Mutex<Gateway>>) -> (usize, usize) {
    let gateway = look(gateway);
    (gateway.calls.len(), gateway.reads)
}

#[tokio::test]
async fn keys_of_the_gateway_that_changed_cost_no_result_and_no_call() {
    let (stage, gateway) = set().await;
    let agent = stage.agent().await;
    call(&agent, &stage).await.unwrap();
    // The tool has done its work when its result comes, by a key that the agent does not know.
    look(&gateway).signs_with("gw-sig-2");
    assert_eq!(text(&call(&agent, &stage).await.unwrap()), ANSWER);
    assert_eq!(
        calls_and_reads(&gateway),
        (2, 2),
        "it was repeated, or the keys were read more than once"
    );
    // And this one could not be opened.
    look(&gateway).opens_with("gw-enc-2");
    assert_eq!(text(&call(&agent, &stage).await.unwrap()), ANSWER);
    assert_eq!(calls_and_reads(&gateway), (3, 3));
    // A session goes on whatever becomes of these keys, and a new one is agreed on with the new ones.
    let agent = sessions(&stage).await;
    call(&agent, &stage).await.unwrap();
    look(&gateway).signs_with("gw-sig-3");
    look(&gateway).opens_with("gw-enc-3");
    call(&agent, &stage).await.unwrap();
    assert_eq!(look(&gateway).agreed, 1);
    look(&gateway).sessions.clear();
    assert_eq!(text(&call(&agent, &stage).await.unwrap()), ANSWER);
    let gateway = look(&gateway);
    assert_eq!((gateway.calls.len(), gateway.agreed, gateway.reads), (6, 3, 5));
}

#[tokio::test]
async fn calls_at_the_same_time_read_changed_keys_once() {
    let (stage, gateway) = set().await;
    let agent = stage.agent().await;
    call(&agent, &stage).await.unwrap();
    look(&gateway).signs_with("gw-sig-2");
    let calls = futures_util::future::join_all((0..8).map(|_| call(&agent, &stage))).await;
    assert!(calls.iter().all(Result::is_ok), "{calls:?}");
    assert_eq!(calls_and_reads(&gateway), (9, 2));
}

#[tokio::test]
async fn a_key_that_the_gateway_does_not_publish_is_looked_for_once() {
    let (stage, gateway) = set().await;
    let agent = stage.agent().await;
    call(&agent, &stage).await.unwrap();
    look(&gateway).signs_with("gw-sig-2");
    look(&gateway).publishes = Some("gw-sig-3");
    let error = call(&agent, &stage).await.unwrap_err();
    assert_eq!(error.code(), "seal.sender-key");
    assert_eq!(calls_and_reads(&gateway), (2, 2));
}

#[tokio::test]
async fn a_gateway_that_has_just_started_is_waited_for_more_than_once() {
    let (stage, gateway) = set().await;
    let started = |heard: Heard| {
        let data =
            json!({"reason": "seal.before-start", "extension": EXTENSION, "sealed": heard.told, "wait": 1});
        refused(503, &heard.id, -31_461, data)
    };
    let agent = stage.agent().await;
    look(&gateway).then(started);
    look(&gateway).then(started);
    assert_eq!(text(&call(&agent, &stage).await.unwrap()), ANSWER);
    assert_eq!(look(&gateway).calls.len(), 3);
}
