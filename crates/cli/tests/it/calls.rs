//! With a token: what is allowed, what is refused, and how a client gets from one to the other.

use portcullis_testkit::{Outcome, login, mcp};
use serde_json::json;

use crate::{audit, demo, script_token, text, tool_names};

#[tokio::test]
async fn a_login_opens_the_tools_of_its_scope_and_a_step_up_opens_the_next() -> Outcome {
    let running = demo().await?;
    let url = &running.ready().mcp_url;

    let reader = login(&running, "notes:read").await?;
    let listed = mcp::modern(url, "tools/list", json!({}))
        .bearer(&reader.access_token)
        .send()
        .await?;
    assert_eq!(
        (listed.status, tool_names(&listed.json()?)),
        (200, vec!["list_notes".to_owned()])
    );
    let read = mcp::call(url, "list_notes", &json!({}))
        .bearer(&reader.access_token)
        .send()
        .await?;
    assert_eq!(read.status, 200, "{}", read.text());

    let refused = mcp::call(url, "add_note", &json!({"text": "water the plants"}))
        .bearer(&reader.access_token)
        .send()
        .await?;
    assert_eq!(refused.status, 403);
    let challenge = refused.header("www-authenticate").to_owned();
    assert_eq!(
        login::challenge_parameter(&challenge, "error").as_deref(),
        Some("insufficient_scope")
    );
    assert_eq!(
        login::challenge_parameter(&challenge, "scope").as_deref(),
        Some("notes:write")
    );
    assert!(
        login::challenge_parameter(&challenge, "resource_metadata")
            .is_some_and(|url| url.contains("oauth-protected-resource"))
    );

    let writer = login(&running, "notes:read notes:write").await?;
    let added = mcp::call(url, "add_note", &json!({"text": "water the plants"}))
        .bearer(&writer.access_token)
        .send()
        .await?;
    assert_eq!(added.status, 200, "{}", added.text());
    let read = mcp::call(url, "list_notes", &json!({}))
        .bearer(&writer.access_token)
        .send()
        .await?;
    assert!(read.text().contains("water the plants"), "{}", read.text());

    let denied = audit(&running, &["--denied", "--kind", "decision"])?;
    assert!(
        denied
            .iter()
            .any(|record| text(record, "/target") == "add_note"
                && text(record, "/scopes_needed") == "notes:write"),
        "{denied:#?}"
    );
    Ok(())
}

#[tokio::test]
async fn the_broader_scope_opens_what_the_narrower_does() -> Outcome {
    let running = demo().await?;
    let url = &running.ready().mcp_url;
    let all = login(&running, "notes:irreversible").await?;
    let listed = mcp::modern(url, "tools/list", json!({}))
        .bearer(&all.access_token)
        .send()
        .await?;
    let mut names = tool_names(&listed.json()?);
    names.sort();
    assert_eq!(names, ["add_note", "delete_all_notes", "list_notes"]);
    for (tool, arguments) in [
        ("add_note", json!({"text": "x"})),
        ("list_notes", json!({})),
        ("delete_all_notes", json!({})),
    ] {
        let answer = mcp::call(url, tool, &arguments)
            .bearer(&all.access_token)
            .send()
            .await?;
        assert_eq!(answer.status, 200, "{tool}: {}", answer.text());
    }
    Ok(())
}

#[tokio::test]
async fn the_script_client_reads_and_writes_and_cannot_do_what_cannot_be_undone() -> Outcome {
    let running = demo().await?;
    let url = &running.ready().mcp_url;
    let token = script_token(&running, "notes:read notes:write").await?;
    for tool in ["list_notes", "add_note"] {
        let answer = mcp::call(url, tool, &json!({"text": "from a script"}))
            .bearer(&token)
            .send()
            .await?;
        assert_eq!(answer.status, 200, "{tool}: {}", answer.text());
    }
    let refused = mcp::call(url, "delete_all_notes", &json!({}))
        .bearer(&token)
        .send()
        .await?;
    assert_eq!(refused.status, 403);
    assert_eq!(
        login::challenge_parameter(refused.header("www-authenticate"), "scope").as_deref(),
        Some("notes:irreversible")
    );
    Ok(())
}

#[tokio::test]
async fn a_refused_call_never_reaches_the_upstream_and_a_permitted_one_arrives_without_the_callers_token()
-> Outcome {
    let mut upstream = portcullis_testkit::Upstream::start().await?;
    let running = crate::portcullis()
        .arg("--upstream")
        .arg(upstream.url())
        .up()
        .await?;
    let url = running.ready().mcp_url.clone();

    let reader = script_token(&running, "upstream:read").await?;
    let refused = mcp::call(&url, "wipe", &json!({})).bearer(&reader).send().await?;
    assert_eq!(refused.status, 403, "a tool nobody listed is irreversible");
    assert_eq!(
        login::challenge_parameter(refused.header("www-authenticate"), "scope").as_deref(),
        Some("upstream:irreversible")
    );
    assert!(
        upstream.pending().is_none(),
        "the upstream heard of a refused call"
    );

    let all = login(&running, "upstream:irreversible").await?.access_token;
    let asked = mcp::call(&url, "wipe", &json!({"all": true}))
        .bearer(&all)
        .header("cookie", "session=1")
        .header("x-forwarded-user", "admin")
        .header("x_mcp_subject", "admin");
    let call = tokio::spawn(asked.send());
    let heard = upstream.next().await?;
    for name in [
        "authorization",
        "cookie",
        "x-forwarded-user",
        "x_mcp_subject",
        "origin",
    ] {
        assert!(heard.headers.get(name).is_none(), "{name} went upstream");
    }
    assert!(!format!("{:?}", heard.headers).contains(&all));
    assert_eq!(heard.json()?.pointer("/params/arguments/all"), Some(&json!(true)));
    heard.result(&json!({"content": [], "resultType": "complete"}))?;
    assert_eq!(call.await??.status, 200);
    Ok(())
}

#[tokio::test]
async fn the_operator_may_say_what_unlisted_tools_do() -> Outcome {
    let mut upstream = portcullis_testkit::Upstream::start().await?;
    let running = crate::portcullis()
        .arg("--upstream")
        .arg(upstream.url())
        .arg("--unlisted")
        .arg("read")
        .up()
        .await?;
    let token = script_token(&running, "upstream:read").await?;
    let call = tokio::spawn(
        mcp::call(&running.ready().mcp_url, "anything", &json!({}))
            .bearer(&token)
            .send(),
    );
    upstream
        .next()
        .await?
        .result(&json!({"content": [], "resultType": "complete"}))?;
    assert_eq!(call.await??.status, 200);
    Ok(())
}

#[tokio::test]
async fn forged_and_foreign_tokens_are_refused() -> Outcome {
    let running = demo().await?;
    let url = &running.ready().mcp_url;
    let good = script_token(&running, "notes:read").await?;
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else {
        panic!("not a compact JWS")
    };
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{payload}.");
    for (what, token) in [
        ("no signature", format!("{header}.{payload}.")),
        ("alg none", none),
        (
            "another payload",
            format!("{header}.{}.{signature}", payload.replace('A', "B")),
        ),
        ("not a token", "abc".to_owned()),
        ("an extra part", format!("{good}.x")),
    ] {
        let answer = mcp::call(url, "list_notes", &json!({}))
            .bearer(&token)
            .send()
            .await?;
        assert_eq!(answer.status, 401, "{what}");
        assert!(
            answer
                .header("www-authenticate")
                .contains("error=\"invalid_token\""),
            "{what}"
        );
    }
    // A control: the good one still passes, so nothing above locked it out.
    assert_eq!(
        mcp::call(url, "list_notes", &json!({}))
            .bearer(&good)
            .send()
            .await?
            .status,
        200
    );
    Ok(())
}
