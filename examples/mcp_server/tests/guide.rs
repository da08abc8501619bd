//! Tests that the guides show the code of this example.

const GUIDE: &str = include_str!("../../../crates/entra-oauth-proxy/docs/mcp-server.md");
const TASKS: &str = include_str!("../../../crates/tower-entra-auth/docs/tasks.md");
const MANIFEST: &str = include_str!("../Cargo.toml");
const SERVER: &str = include_str!("../src/lib.rs");
const PROGRAM: &str = include_str!("../src/main.rs");
const TEST: &str = include_str!("sign_in.rs");

fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fence = format!("```{language}\n");
    let blocks = page.split(&*fence).skip(1);
    blocks
        .map(|rest| rest.split_once("```").unwrap().0)
        .collect()
}

#[test]
fn the_guide_shows_the_three_files_of_this_example() {
    assert_eq!(blocks(GUIDE, "rust,ignore"), [SERVER, PROGRAM, TEST]);
}

#[test]
fn the_guide_names_the_crates_and_the_features_of_rmcp_of_this_example() {
    let [shown] = blocks(GUIDE, "toml")[..] else {
        panic!("one manifest");
    };
    let names = |manifest: &str| {
        let (_, dependencies) = manifest.split_once("[dependencies]\n").unwrap();
        let lines = dependencies.lines().take_while(|line| *line != "[lints]");
        let names = lines.filter_map(|line| line.split([' ', '.']).next());
        let mut names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        names.join(" ")
    };
    assert_eq!(names(shown), names(MANIFEST));
    let features = |manifest: &str| {
        let rmcp = manifest.lines().find(|line| line.starts_with("rmcp = "));
        let (_, features) = rmcp.unwrap().split_once(", features = ").unwrap();
        features.to_owned()
    };
    assert_eq!(features(shown), features(MANIFEST));
}

#[test]
fn the_tasks_show_how_this_example_checks_the_scope_of_a_tool() {
    let (_, section) = TASKS
        .split_once("\n## Require a scope for an MCP tool\n")
        .unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let shown = blocks(section, "rust,ignore");
    let shown = shown
        .iter()
        .find(|code| code.contains("async fn scope_of_tool("));
    assert!(SERVER.contains(shown.unwrap()));
}
