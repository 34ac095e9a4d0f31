//! One MCP message: header lines, an empty line, the body. What is accepted must mean the same to serde_json.
#![no_main]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use portcullis_core::wire::{Call, Kind, Target};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let end = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = end.map_or((&[][..], data), |end| (&data[..end], &data[end + 2..]));
    let headers = headers(head);
    drop((Call::open_stream(&headers), Call::end_session(&headers)));

    let body = Bytes::copy_from_slice(body);
    let Ok(call) = Call::parse(&headers, body.clone()) else {
        return;
    };
    assert_eq!(call.body(), &body);
    let other: Value = serde_json::from_slice(&body).expect("what is accepted is JSON");
    if call.kind() != Kind::Response {
        assert_eq!(other["method"], call.method().as_str());
    }
    let id = call
        .id()
        .map(|id| serde_json::from_str::<Value>(id.as_json()).expect("an id is JSON"));
    assert_eq!(other.get("id"), id.as_ref());
    let params = &other["params"];
    match call.target() {
        Some(Target::Tool(name)) => assert_eq!(params["name"], name.as_str()),
        Some(Target::Prompt(name)) => assert_eq!(params["name"], **name),
        Some(Target::Resource(uri)) => assert_eq!(params["uri"], **uri),
        Some(Target::Task(id)) => assert_eq!(params["taskId"], **id),
        None => {}
    }
    let arguments = call
        .arguments()
        .map(|text| serde_json::from_str::<Value>(text).expect("arguments are JSON"));
    assert_eq!(params.get("arguments"), arguments.as_ref());
});

fn headers(head: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in head.split(|b| *b == b'\n') {
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}
