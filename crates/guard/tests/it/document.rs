//! The page that newcomers read shows the example that is tested.

use std::fs;

#[test]
fn the_code_of_the_page_is_the_example() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let page = fs::read_to_string(format!("{root}/docs/guard.md")).unwrap();
    let example = fs::read_to_string(format!("{root}/crates/guard/examples/rmcp_server.rs")).unwrap();
    let blocks: Vec<&str> = page
        .split("```rust\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(blocks, [example]);
}
