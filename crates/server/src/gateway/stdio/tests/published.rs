//! A published server, when it is on the machine.

use super::*;

#[tokio::test]
async fn the_time_server_of_pypi_answers_in_the_modern_era() {
    let path = std::env::var_os("PATH").unwrap();
    if !std::env::split_paths(&path).any(|dir| dir.join("mcp-server-time").is_file()) {
        println!("not run: `mcp-server-time` is not on the PATH (pip install mcp-server-time==2026.10.19)");
        return;
    }
    let server = started(words("mcp-server-time --local-timezone UTC").unwrap(), |_| {});
    let who = principal("one");
    let listed = modern(&server, &who, &request(json!("l"), "tools/list", json!({}), None))
        .await
        .unwrap();
    let (status, answer) = whole(listed).await;
    assert_eq!((status, &answer["id"]), (200, &json!("l")));
    assert!(
        answer["result"]["tools"]
            .as_array()
            .unwrap()
            .iter()
            .any(|tool| tool["name"] == "get_current_time"),
        "{answer}"
    );
    let now = request(
        json!(2),
        "tools/call",
        json!({"name": "get_current_time", "arguments": {"timezone": "UTC"}}),
        None,
    );
    let (_, answer) = whole(modern(&server, &who, &now).await.unwrap()).await;
    assert!(
        answer["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("UTC"),
        "{answer}"
    );
    server.shutdown().await;
}
