use std::time::Instant;

use super::*;

#[tokio::test]
async fn a_process_that_dies_is_a_clear_error_and_is_replaced() {
    let server = server(&[], |_| {});
    let who = principal("one");
    let before = result(&server, &who, "pid").await;
    for _ in 0..3 {
        let failed = modern(&server, &who, &tool("die", json!({}))).await.unwrap_err();
        assert!(
            matches!(&failed, UpstreamError::Unreachable { detail } if detail.contains("exit status: 3")),
            "{failed}"
        );
        assert_ne!(before, result(&server, &who, "pid").await);
    }
    let body = request(
        json!(1),
        "tools/call",
        json!({"name": "die-after-progress"}),
        Some(json!(1)),
    );
    let mut stream = events(modern(&server, &who, &body).await.unwrap());
    assert_eq!(
        next(&mut stream).await.unwrap()["method"],
        "notifications/progress"
    );
    let broken = stream.frame().await.unwrap().unwrap_err();
    assert!(
        broken.to_string().contains("exit status: 3"),
        "a stream breaks: {broken}"
    );
}

#[tokio::test]
async fn what_dies_at_once_is_not_started_again_and_again() {
    let server = server(&["stillborn"], |_| {});
    let who = principal("one");
    for _ in 0..2 {
        let failed = modern(&server, &who, &tool("pid", json!({}))).await.unwrap_err();
        assert!(failed.to_string().contains("exit status: 1"), "{failed}");
        // The place is given back after the strike is noted.
        while server.launcher.place().is_none() || server.pool.find(&who).is_some() {
            tokio::task::yield_now().await;
        }
    }
    let began = Instant::now();
    loop {
        let failed = modern(&server, &who, &tool("pid", json!({})))
            .await
            .unwrap_err()
            .to_string();
        if failed.contains("keeps ending before it answers") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{failed}");
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_named() {
    let server = started(vec!["portcullis-no-such-program".to_owned()], |_| {});
    let failed = modern(&server, &principal("one"), &tool("pid", json!({})))
        .await
        .unwrap_err();
    assert!(
        failed
            .to_string()
            .contains("`portcullis-no-such-program` could not be started"),
        "{failed}"
    );
}

#[tokio::test]
async fn the_process_gets_its_arguments_and_no_other_environment() {
    let server = server(&["$HOME", "a b", "; exit"], |_| {});
    let seen = result(&server, &principal("one"), "environment").await;
    assert_eq!(seen["arguments"], json!(["$HOME", "a b", "; exit"]), "no shell");
    assert_eq!(seen["environment"]["NAMED"], "by the configuration");
    // Cargo gives this one to the tests.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert_eq!(seen["environment"]["CARGO_MANIFEST_DIR"], Value::Null);
    assert_eq!(seen["environment"]["HOME"], Value::Null);
}

#[tokio::test]
async fn a_line_may_be_as_long_as_the_limit() {
    let server = server(&[], |limits| limits.line_bytes = 100_000);
    let who = principal("one");
    let long = |bytes: usize| tool("long", json!({"bytes": bytes}));
    let (_, answer) = whole(modern(&server, &who, &long(100_000)).await.unwrap()).await;
    assert!(answer["result"]["x"].is_string());
    let failed = modern(&server, &who, &long(100_001)).await.unwrap_err();
    assert!(failed.to_string().contains("a line that is too long"), "{failed}");
    assert!(result(&server, &who, "pid").await["pid"].is_u64(), "it goes on");
}

#[tokio::test]
async fn so_many_requests_wait_and_no_more() {
    let server = server(&[], |limits| limits.pending = 2);
    let who = principal("one");
    let hold = tool("hold", json!({}));
    {
        let (one, two) = (modern(&server, &who, &hold), modern(&server, &who, &hold));
        tokio::pin!(one, two);
        let third = async {
            loop {
                // Answered as long as one of the two is not there yet.
                match modern(&server, &who, &tool("pid", json!({}))).await {
                    Ok(_) => {}
                    Err(failed) => break failed,
                }
            }
        };
        tokio::select! {
            biased;
            _ = &mut one => panic!("nobody answers"),
            _ = &mut two => panic!("nobody answers"),
            failed = third => assert_eq!(failed, UpstreamError::Busy),
        }
    }
    result(&server, &who, "pid").await;
}

#[tokio::test]
async fn whoever_does_not_read_loses_the_stream_and_holds_up_nobody() {
    let server = server(&[], |limits| limits.stream_bytes = 64 * 1024);
    let who = principal("one");
    let body = request(
        json!(1),
        "tools/call",
        json!({"name": "progress", "arguments": {"count": 10_000}}),
        Some(json!(1)),
    );
    let mut stream = events(modern(&server, &who, &body).await.unwrap());
    // Answered after all that was written before it, so what this client did not read is given up by then.
    result(&server, &who, "pid").await;
    assert_eq!(
        result(&server, &who, "cancelled").await["cancelled"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let mut read = 0;
    let broken = loop {
        match stream.frame().await.unwrap() {
            Ok(_) => read += 1,
            Err(broken) => break broken,
        }
    };
    assert!(read < 1_000, "{read}");
    assert!(broken.to_string().contains("does not read"), "{broken}");
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let server = server(&[], |limits| limits.head_time = Duration::from_millis(300));
    let who = principal("one");
    // The first start may take longer than that.
    while modern(&server, &who, &tool("pid", json!({}))).await.is_err() {}
    let waited = modern(&server, &who, &tool("hold", json!({}))).await;
    assert_eq!(waited.unwrap_err(), UpstreamError::TimedOut);
    let told = result(&server, &who, "cancelled").await;
    assert_eq!(
        told["cancelled"].as_array().unwrap().last(),
        told["held"].as_array().unwrap().last(),
        "{told}"
    );
}

#[tokio::test]
async fn an_idle_process_makes_room_and_a_busy_one_does_not() {
    let server = server(&[], |limits| limits.children = 1);
    let (one, other) = (principal("one"), principal("other"));
    let mine = result(&server, &one, "pid").await;
    result(&server, &other, "pid").await;
    let listen = request(
        json!(1),
        "subscriptions/listen",
        json!({"notifications": {}}),
        None,
    );
    let stream = events(modern(&server, &one, &listen).await.unwrap());
    assert_ne!(mine, result(&server, &one, "pid").await);
    let refused = modern(&server, &other, &tool("pid", json!({})))
        .await
        .unwrap_err();
    assert_eq!(refused, UpstreamError::Busy);
    drop(stream);
    result(&server, &other, "pid").await;
}

#[tokio::test]
async fn what_is_not_used_is_ended() {
    let server = server(&[], |limits| limits.idle = Duration::from_millis(50));
    let who = principal("one");
    let before = result(&server, &who, "pid").await;
    while server.pool.find(&who).is_some() {
        tokio::task::yield_now().await;
    }
    assert_ne!(before, result(&server, &who, "pid").await);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn shutdown_ends_every_process_also_one_that_does_not_want_to() {
    let server = server(&[], |limits| limits.stop_time = Duration::from_millis(300));
    let willing = result(&server, &principal("one"), "pid").await;
    let stubborn = result(&server, &principal("other"), "stubborn").await;
    for answer in [&willing, &stubborn] {
        assert!(Path::new(&format!("/proc/{}", answer["pid"])).exists());
    }
    server.shutdown().await;
    for answer in [&willing, &stubborn] {
        assert!(
            !Path::new(&format!("/proc/{}", answer["pid"])).exists(),
            "{answer}"
        );
    }
    let after = modern(&server, &principal("one"), &tool("pid", json!({})))
        .await
        .unwrap_err();
    assert!(after.to_string().contains("stopping"), "{after}");
}
