//! Portcullis between parts that are not ours: published MCP clients log in with a real browser, call tools of published
//! MCP servers, are refused, and step up.
//!
//! Each test starts its own `portcullis up`. Screenshots of every page go to `target/screens/`.

mod crosscheck;
mod eras;
mod parts;
mod play;

use parts::{Language, Parts};
use play::{Line, Played, Scene, Step};
use portcullis_testkit::{Failure, Outcome, Portcullis};
use serde_json::json;

fn portcullis() -> Portcullis {
    Portcullis::new(env!("CARGO_BIN_EXE_portcullis"))
}

/// In front of a server nobody described: its tools are hidden and refused until the person allows the scope for
/// irreversible ones.
fn undescribed(tool: &str, arguments: &serde_json::Value) -> Vec<Step> {
    vec![Step::List, Step::call(tool, arguments), Step::List]
}

fn check_undescribed(played: &Played, tool: &str, text: &str) -> Outcome {
    let [
        Line::Login(first),
        Line::Protocol(_),
        Line::Tools(before),
        Line::Login(second),
        Line::Called(called),
        Line::Tools(after),
    ] = played.lines()
    else {
        return Err(Failure::new(format!("other lines: {played:?}")));
    };
    assert_eq!(first.asked, "upstream:read");
    assert!(before.is_empty(), "{before:?}");
    assert!(
        second
            .asked
            .split(' ')
            .any(|scope| scope == "upstream:irreversible"),
        "{}",
        second.asked
    );
    assert!(
        second.asked.split(' ').any(|scope| scope == "upstream:read"),
        "{}",
        second.asked
    );
    assert!(!called.error && called.text.contains(text), "{called:?}");
    assert!(after.iter().any(|name| name == tool), "{after:?}");
    // Content security policy, mixed content, a script that fails: a browser says so.
    assert_eq!(
        [&first.complaints, &second.complaints],
        [&Vec::<String>::new(), &Vec::new()]
    );
    Ok(())
}

async fn over_http(name: &str, language: Language, era: &str, protocol: &str) -> Outcome {
    let Some(parts) = Parts::find()? else {
        return Ok(());
    };
    let upstream = parts.serve("server.mjs").await?;
    let running = portcullis().arg("--upstream").arg(upstream.url()).up().await?;
    let steps = undescribed("test_simple_text", &json!({}));
    let played = Scene {
        name,
        language,
        era,
        steps,
    }
    .play(&parts, &running)
    .await?;
    check_undescribed(
        &played,
        "test_simple_text",
        "This is a simple text response for testing.",
    )?;
    assert_eq!(played.protocol(), Some(protocol));
    play::check_records(&portcullis(), &running)
}

async fn over_stdio(name: &str, language: Language, era: &str, protocol: &str) -> Outcome {
    let Some(parts) = Parts::find()? else {
        return Ok(());
    };
    let command = format!("{} --local-timezone UTC", parts.time_server());
    let running = portcullis().arg("--stdio").arg(command).up().await?;
    let steps = undescribed("get_current_time", &json!({"timezone": "UTC"}));
    let played = Scene {
        name,
        language,
        era,
        steps,
    }
    .play(&parts, &running)
    .await?;
    check_undescribed(&played, "get_current_time", "UTC")?;
    assert_eq!(played.protocol(), Some(protocol));
    play::check_records(&portcullis(), &running)
}

async fn before_the_demo(name: &str, language: Language) -> Outcome {
    let Some(parts) = Parts::find()? else {
        return Ok(());
    };
    let running = portcullis().up().await?;
    let note = format!("written by {name}");
    let steps = vec![
        Step::List,
        Step::call("list_notes", &json!({})),
        Step::call("add_note", &json!({"text": note})),
        Step::List,
        Step::call("list_notes", &json!({})),
    ];
    let played = Scene {
        name,
        language,
        era: "auto",
        steps,
    }
    .play(&parts, &running)
    .await?;
    let [
        Line::Login(first),
        Line::Protocol(_),
        Line::Tools(before),
        Line::Called(empty),
        Line::Login(second),
        Line::Called(added),
        Line::Tools(after),
        Line::Called(listed),
    ] = played.lines()
    else {
        return Err(Failure::new(format!("other lines: {played:?}")));
    };
    assert_eq!(first.asked, "notes:read");
    assert_eq!(before, &["list_notes"]);
    assert!(!empty.error && !empty.text.contains(&note), "{empty:?}");
    assert!(
        second.asked.split(' ').any(|scope| scope == "notes:write"),
        "{}",
        second.asked
    );
    assert!(!second.asked.contains("irreversible"), "{}", second.asked);
    assert!(!added.error, "{added:?}");
    assert!(after.iter().any(|name| name == "add_note"), "{after:?}");
    assert!(after.iter().all(|name| name != "delete_all_notes"), "{after:?}");
    assert!(listed.text.contains(&note), "{listed:?}");
    assert_eq!(
        [&first.complaints, &second.complaints],
        [&Vec::<String>::new(), &Vec::new()]
    );
    play::check_records(&portcullis(), &running)
}

#[tokio::test(flavor = "multi_thread")]
async fn real_client_typescript_over_http_modern() -> Outcome {
    over_http(
        "typescript-http-modern",
        Language::TypeScript,
        "auto",
        "2026-07-28",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn real_client_typescript_over_http_legacy() -> Outcome {
    over_http(
        "typescript-http-legacy",
        Language::TypeScript,
        "legacy",
        "2025-11-25",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn real_client_python_over_http_modern() -> Outcome {
    over_http("python-http-modern", Language::Python, "auto", "2026-07-28").await
}

#[tokio::test(flavor = "multi_thread")]
async fn real_client_python_over_http_legacy() -> Outcome {
    over_http("python-http-legacy", Language::Python, "legacy", "2025-11-25").await
}

#[tokio::test(flavor = "multi_thread")]
async fn real_client_typescript_over_stdio() -> Outcome {
    over_stdio("typescript-stdio", Language::TypeScript, "auto", "2026-07-28").await
}

#[tokio::test(flavor = "multi_thread")]
async fn real_client_python_over_stdio() -> Outcome {
    over_stdio("python-stdio", Language::Python, "auto", "2026-07-28").await
}

#[tokio::test(flavor = "multi_thread")]
async fn real_client_python_over_stdio_legacy() -> Outcome {
    over_stdio("python-stdio-legacy", Language::Python, "legacy", "2025-11-25").await
}

#[tokio::test(flavor = "multi_thread")]
async fn real_client_typescript_before_the_demo_server() -> Outcome {
    before_the_demo("typescript-demo", Language::TypeScript).await
}

#[tokio::test(flavor = "multi_thread")]
async fn real_client_python_before_the_demo_server() -> Outcome {
    before_the_demo("python-demo", Language::Python).await
}
