//! Sealed fields on the real binary: an agent, a wire that remembers everything, a gateway, and the server behind it.

mod stage;

use std::sync::Arc;

use portcullis_agent::{Agent, Presenter, SealMode, Settings};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::clock::{self, Clock};
use portcullis_testkit::{Answer, Failure, Outcome, Request, Scratch, mcp};
use serde_json::{Value, json};

use crate::text;
use stage::{BALANCE, CARD, REVERSED, SECRET, Stage, contains};

fn result_of(stdout: &str) -> Outcome<Value> {
    Ok(serde_json::from_str(stdout)?)
}

fn said(error: portcullis_agent::Error) -> Failure {
    Failure::new(error.to_string())
}

/// A clock that is behind.
struct Behind(Lifetime);

impl Clock for Behind {
    fn now(&self) -> UnixTime {
        clock::System.now().minus(self.0)
    }
}

/// An agent that stays, with the login in this folder.
async fn living(folder: &Scratch, seal: SealMode) -> Outcome<Agent> {
    living_behind(folder, seal, Lifetime::from_secs(0)).await
}

async fn living_behind(folder: &Scratch, seal: SealMode, behind: Lifetime) -> Outcome<Agent> {
    struct Nobody;
    impl Presenter for Nobody {
        // Who is logged in is not asked.
        fn authorize(&self, _url: &str) {}
    }
    let mut settings = Settings::new(folder.path(), Arc::new(Nobody));
    settings.seal = seal;
    settings.clock = Arc::new(Behind(behind));
    Agent::open(settings).await.map_err(said)
}

/// The call as the agent sent it, changed, sent by hand.
async fn sent(url: &str, token: &str, call: &Value) -> Outcome<Answer> {
    let name = text(call, "/params/name");
    mcp::post(url, call)
        .bearer(token)
        .header("mcp-protocol-version", mcp::MODERN)
        .header("mcp-method", "tools/call")
        .header("mcp-name", name)
        .send()
        .await
}

fn error_of(answer: &Answer) -> Outcome<(u16, i64, String)> {
    let body = answer.json()?;
    let code = body.pointer("/error/code").and_then(Value::as_i64);
    Ok((
        answer.status,
        code.unwrap_or_default(),
        text(&body, "/error/data/reason"),
    ))
}

// The wire and the server behind run while the test waits for processes.
#[tokio::test(flavor = "multi_thread")]
async fn only_agent_and_gateway_read_sealed_fields() -> Outcome {
    let stage = Stage::set().await?;
    let folder = stage.logged_in("ada", "bank").await?;
    for (tool, more) in [
        ("pay", &[][..]),
        ("stream", &[]),
        ("pay", &["--seal", "session"]),
        ("stream", &["--seal", "session"]),
    ] {
        let (code, stdout, stderr) = stage.call(&folder, tool, more)?;
        assert_eq!(code, Some(0), "{tool} {more:?}: {stderr}");
        let result = result_of(&stdout)?;
        assert_eq!(result["content"][0]["text"], REVERSED, "{tool} {more:?}");
        assert_eq!(result["content"][1]["text"], format!("again {REVERSED}"));
        assert_eq!(
            result["structuredContent"],
            json!({"balance": 8_031_977, "open": true})
        );
        assert!(
            !stage.behind.everything().contains("sealed"),
            "{}",
            stage.behind.everything()
        );
        let calls = stage.behind.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert_eq!(
            calls[0]["params"]["arguments"],
            json!({"text": SECRET, "card": {"number": CARD, "name": "ada"}, "amount": 1.50})
        );
    }
    for secret in [SECRET, REVERSED, CARD, BALANCE] {
        assert!(!stage.wire.contains(secret), "{secret} was on the wire");
    }
    // A control: what is not sealed is there to be read, and so is what is sealed.
    assert!(stage.wire.contains("\"name\":\"ada\""));
    assert!(stage.wire.contains("portcullis-sealed:1:") && stage.wire.contains("portcullis-sealed:s1:"));

    // Nor is it in anything that the gateway, the authority and the agent wrote.
    let mut files = 0;
    let mut folders = vec![stage.scratch.path().to_path_buf(), folder.path().to_path_buf()];
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at)?.flatten() {
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            files += 1;
            let bytes = std::fs::read(entry.path())?;
            for secret in [SECRET, REVERSED, CARD, BALANCE] {
                assert!(
                    !contains(&bytes, secret.as_bytes()),
                    "{secret} in {}",
                    entry.path().display()
                );
            }
        }
    }
    assert!(files > 10, "{files}");
    let records = stage.records()?;
    assert!(records.contains("\"seal/session\""), "{records}");
    // A gateway that started within the same second has the agent seal once more: that is on record too, as a refusal.
    let allowed = |record: &&str| record.contains("\"target\":\"pay\"") && record.contains("\"allowed\"");
    assert_eq!(records.lines().filter(allowed).count(), 2, "{records}");
    Ok(())
}

// The wire and the server behind run while the test waits for processes.
/// JWE-25 of the attack catalogue.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_extension_is_refused_or_served_in_clear_as_configured() -> Outcome {
    let stage = Stage::set().await?;
    let folder = stage.logged_in("ada", "bank").await?;
    let (token, url) = (stage.token(&folder, "bank")?, stage.url("bank"));
    let refused = mcp::call(&url, "pay", &json!({"text": SECRET}))
        .bearer(&token)
        .send()
        .await?;
    assert_eq!(error_of(&refused)?, (400, -31_460, "seal.needed".to_owned()));
    let data = refused.json()?["error"]["data"].clone();
    assert_eq!(data["extension"], "dev.portcullis/sealed-fields");
    assert_eq!(data["sealed"]["arguments"], json!(["/text", "/card/number"]));
    assert_eq!(
        data["sealed"]["jwks_uri"],
        format!("{}/.well-known/jwks.json", stage.gateway_url)
    );
    assert!(stage.behind.calls().is_empty(), "the server heard of it");

    let served = mcp::call(&url, "lenient", &json!({"text": SECRET}))
        .bearer(&token)
        .send()
        .await?;
    assert_eq!(text(&served.json()?, "/result/content/0/text"), REVERSED);
    // One that can seal must.
    let keys = json!({"message": "AAAAAAAAAAAAAAAAAAAAAA", "keys": stage_keys(&stage, &folder)?});
    let mut call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "lenient", "arguments": {"text": SECRET}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": mcp::MODERN, "io.modelcontextprotocol/clientCapabilities": {}}}});
    call["params"]["_meta"]["dev.portcullis/sealed-fields"] = keys;
    assert_eq!(
        error_of(&sent(&url, &token, &call).await?)?,
        (400, -31_460, "seal.in-clear".to_owned())
    );

    // The words of a server's error may repeat what was sealed.
    let (code, stdout, stderr) = stage.call(&folder, "complain", &[])?;
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stderr.contains("-32602") && !stderr.contains(SECRET), "{stderr}");
    Ok(())
}

/// The agent's public keys, as it shows them.
fn stage_keys(stage: &Stage, folder: &Scratch) -> Outcome<Value> {
    let (code, _, stderr) = stage.call(folder, "pay", &[])?;
    assert_eq!(code, Some(0), "{stderr}");
    let call = stage.wire.last_call()?;
    let keys = call.pointer("/params/_meta/dev.portcullis~1sealed-fields/keys");
    Ok(keys.cloned().unwrap_or_default())
}

// The wire and the server behind run while the test waits for processes.
/// JWE-21 and JWE-23 of the attack catalogue.
#[tokio::test(flavor = "multi_thread")]
async fn a_field_cut_from_one_call_opens_in_no_other() -> Outcome {
    let stage = Stage::set().await?;
    let folder = stage.logged_in("ada", "bank").await?;
    let (code, _, stderr) = stage.call(&folder, "pay", &[])?;
    assert_eq!(code, Some(0), "{stderr}");
    let alike = stage.wire.last_call()?;
    let (code, _, stderr) = stage.call(&folder, "pay", &[])?;
    assert_eq!(code, Some(0), "{stderr}");
    let call = stage.wire.last_call()?;
    let (token, url) = (stage.token(&folder, "bank")?, stage.url("bank"));
    drop(stage.behind.calls());
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = call.clone();
        change(&mut changed);
        changed
    };
    let swap = |call: &mut Value| {
        let text = call["params"]["arguments"]["text"].take();
        call["params"]["arguments"]["text"] = call["params"]["arguments"]["card"]["number"].take();
        call["params"]["arguments"]["card"]["number"] = text;
    };
    let cut = |call: &mut Value| {
        let text = text(call, "/params/arguments/text");
        let (head, tail) = text.split_at(text.len() - 8);
        let flipped = if tail.starts_with('A') { "B" } else { "A" };
        call["params"]["arguments"]["text"] =
            json!(format!("{head}{flipped}{}", tail.get(1..).unwrap_or_default()));
    };
    for (changed, reason) in [
        (with(&|call| call["id"] = json!(99)), "seal.request-id"),
        (
            with(&|call| call["params"]["name"] = json!("pay_too")),
            "seal.tool",
        ),
        (
            with(&|call| call["params"]["arguments"]["amount"] = json!(2)),
            "seal.arguments",
        ),
        (
            with(&|call| {
                call["params"]["arguments"]["card"]["name"] = call["params"]["arguments"]["text"].clone()
            }),
            "seal.unexpected",
        ),
        (
            with(&|call| call["params"]["name"] = json!("plain")),
            "seal.already-sealed",
        ),
        (with(&swap), "seal.pointer"),
        (with(&cut), "seal.undecipherable"),
        (
            with(&|call| call["params"]["_meta"]["dev.portcullis/sealed-fields"]["keys"] = json!([])),
            "seal.said",
        ),
        (
            with(&|call| call["params"]["_meta"]["dev.portcullis/sealed-fields"]["message"] = json!("AAAA")),
            "seal.said",
        ),
        // Under the name of the same agent's same call.
        (
            with(&|call| {
                call["params"]["_meta"]["dev.portcullis/sealed-fields"]["message"] =
                    alike["params"]["_meta"]["dev.portcullis/sealed-fields"]["message"].clone()
            }),
            "seal.message",
        ),
        (with(&|_| ()), "seal.replayed"),
    ] {
        let answer = sent(&url, &token, &changed).await?;
        assert_eq!(
            error_of(&answer)?,
            (400, -31_460, reason.to_owned()),
            "{}",
            answer.text()
        );
    }
    // At another server of the same gateway, with a token for it.
    stage.log_in(&folder, "ada", "shop").await?;
    let elsewhere = sent(&stage.url("shop"), &stage.token(&folder, "shop")?, &call).await?;
    assert_eq!(error_of(&elsewhere)?, (400, -31_460, "seal.audience".to_owned()));
    // Somebody else, with the keys of the first, and with their own.
    let eve = stage.logged_in("eve", "bank").await?;
    let eves = stage.token(&eve, "bank")?;
    assert_eq!(error_of(&sent(&url, &eves, &call).await?)?.2, "seal.other-keys");
    let keys = stage_keys(&stage, &eve)?;
    let posed = with(&|call| call["params"]["_meta"]["dev.portcullis/sealed-fields"]["keys"] = keys.clone());
    let answer = sent(&url, &eves, &posed).await?;
    assert!(
        matches!(
            error_of(&answer)?.2.as_str(),
            "seal.sender-key" | "seal.signature"
        ),
        "{}",
        answer.text()
    );
    // Another user of the very same agent.
    let both = Scratch::new("sealed-agent")?;
    stage.log_in(&both, "ada", "bank").await?;
    let (code, _, stderr) = stage.call(&both, "pay", &[])?;
    assert_eq!(code, Some(0), "{stderr}");
    let adas = stage.wire.last_call()?;
    stage.log_in(&both, "eve", "bank").await?;
    let answer = sent(&url, &stage.token(&both, "bank")?, &adas).await?;
    assert_eq!(error_of(&answer)?.2, "seal.principal");

    let calls = stage.behind.calls();
    assert_eq!(
        calls.len(),
        2,
        "only the calls of the agents themselves: {calls:?}"
    );
    let records = stage.records()?;
    for reason in [
        "seal.request-id",
        "seal.tool",
        "seal.message",
        "seal.replayed",
        "seal.principal",
        "seal.other-keys",
        "seal.audience",
    ] {
        assert!(records.contains(reason), "{reason} is not on record");
    }
    Ok(())
}

// The wire and the server behind run while the test waits for processes.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_agreed_on_anew_after_a_restart() -> Outcome {
    let mut stage = Stage::set().await?;
    let folder = stage.logged_in("ada", "bank").await?;
    let agent = living(&folder, SealMode::Session).await?;
    let url = stage.url("bank");
    let arguments = || json!({"text": SECRET}).as_object().cloned().unwrap_or_default();
    let session = |call: &Value| text(call, "/params/_meta/dev.portcullis~1sealed-fields/session");
    agent.call(&url, "pay", arguments()).await.map_err(said)?;
    let first = stage.wire.last_call()?;
    agent.call(&url, "pay", arguments()).await.map_err(said)?;
    let second = stage.wire.last_call()?;
    assert!(!session(&first).is_empty());
    assert_eq!(
        session(&first),
        session(&second),
        "one agreement serves many calls"
    );
    // A counter that was there before, and a field of the one call in the other.
    let token = stage.token(&folder, "bank")?;
    assert_eq!(
        error_of(&sent(&url, &token, &first).await?)?,
        (400, -31_460, "seal.replayed".to_owned())
    );
    let mut other = second.clone();
    other["id"] = json!(77);
    assert_eq!(error_of(&sent(&url, &token, &other).await?)?.0, 400);

    stage.restart().await?;
    assert_eq!(
        error_of(&sent(&url, &token, &second).await?)?,
        (400, -31_461, "seal.session-unknown".to_owned())
    );
    drop(stage.behind.calls());
    let called = agent.call(&url, "pay", arguments()).await.map_err(said)?;
    assert_eq!(text(&called.result, "/content/0/text"), REVERSED);
    assert_eq!(stage.behind.calls().len(), 1, "repeated once, and heard once");
    assert_ne!(session(&stage.wire.last_call()?), session(&first));

    // Another's session is unknown to everybody else, and a logout ends one's own.
    let eve = stage.logged_in("eve", "bank").await?;
    let last = stage.wire.last_call()?;
    let answer = sent(&url, &stage.token(&eve, "bank")?, &last).await?;
    assert_eq!(error_of(&answer)?.2, "seal.session-unknown");
    agent.logout(&url).await.map_err(said)?;
    let answer = sent(&url, &token, &last).await?;
    assert_eq!(error_of(&answer)?.2, "seal.session-unknown");
    assert!(!stage.wire.contains(SECRET) && !stage.wire.contains(REVERSED));
    Ok(())
}

// The wire and the server behind run while the test waits for processes.
#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_while_keys_of_the_gateway_are_revoked() -> Outcome {
    let stage = Stage::set().await?;
    let folder = stage.logged_in("ada", "bank").await?;
    let url = stage.url("bank");
    let arguments = || {
        json!({"text": SECRET, "card": {"number": CARD}})
            .as_object()
            .cloned()
            .unwrap_or_default()
    };
    for mode in [SealMode::EachField, SealMode::Session] {
        // It knows the gateway's keys from before, and has minutes to go until it would read them again.
        let agent = living(&folder, mode).await?;
        agent.call(&url, "pay", arguments()).await.map_err(said)?;
        for purpose in ["signing", "encryption"] {
            let kid = stage.revoke(purpose).await?;
            // A new session is agreed on by the new key.
            let ended = Request::new("DELETE", format!("{url}/seal"))
                .bearer(&stage.token(&folder, "bank")?)
                .send()
                .await?;
            assert!(ended.status < 300, "{}", ended.text());
            drop(stage.behind.calls());
            for tool in ["pay", "stream"] {
                let called = agent.call(&url, tool, arguments()).await;
                let called =
                    called.map_err(|error| said(error).during(format!("{mode:?}, {kid} revoked, {tool}")))?;
                assert_eq!(text(&called.result, "/content/0/text"), REVERSED);
            }
            assert_eq!(
                stage.behind.calls().len(),
                2,
                "each was done once: {mode:?} {purpose}"
            );
        }
    }
    for secret in [SECRET, REVERSED, CARD, BALANCE] {
        assert!(!stage.wire.contains(secret), "{secret} was on the wire");
    }
    let records = stage.records()?;
    assert!(records.contains("seal.recipient-key"), "{records}");
    Ok(())
}

// The wire and the server behind run while the test waits for processes.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_clock_is_behind_waits_for_a_gateway_that_has_just_started() -> Outcome {
    let mut stage = Stage::set().await?;
    let folder = stage.logged_in("ada", "bank").await?;
    for mode in [SealMode::EachField, SealMode::Session] {
        let agent = living_behind(&folder, mode, Lifetime::from_secs(4)).await?;
        stage.restart().await?;
        drop(stage.behind.calls());
        let arguments = json!({"text": SECRET}).as_object().cloned().unwrap_or_default();
        let called = agent
            .call(&stage.url("bank"), "pay", arguments)
            .await
            .map_err(said)?;
        assert_eq!(text(&called.result, "/content/0/text"), REVERSED);
        assert_eq!(stage.behind.calls().len(), 1, "{mode:?}");
    }
    let records = stage.records()?;
    assert!(records.contains("seal.before-start"), "{records}");
    Ok(())
}
