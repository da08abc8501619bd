//! Tests that the guide shows the code of this example.

const GUIDE: &str = include_str!("../../../crates/tower-entra-auth/docs/tasks.md");
const EXAMPLE: &str = include_str!("../src/main.rs");

#[test]
fn the_guide_shows_the_tools_of_this_example() {
    let (_, section) = GUIDE
        .split_once("\n## Require a scope for an MCP tool\n")
        .unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = section.split("```rust,ignore\n").skip(1);
    let mut blocks = blocks.map(|rest| rest.split_once("```").unwrap().0);
    let shown = blocks.find(|code| code.contains("async fn write_note("));
    assert!(EXAMPLE.contains(shown.unwrap()));
}
