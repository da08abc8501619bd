//! Tests of the quickstart's printed output.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

const QUICKSTART: &str = env!("CARGO_BIN_EXE_quickstart");

fn run(argument: &str) -> (bool, String, String) {
    let output = Command::new(QUICKSTART).arg(argument).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn assert_fits(line: &str) {
    assert!(line.chars().count() <= 100, "{line}");
}

#[test]
fn the_readme_shows_a_part_of_the_table_which_has_at_most_a_hundred_columns() {
    let (succeeded, table, log) = run("--once");
    assert!(succeeded && log.is_empty(), "{log}");
    table.lines().for_each(assert_fits);
    let readme = include_str!("../../../README.md");
    let (_, shown) = readme.split_once("```text\nsent  ").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    assert!(shown.lines().count() >= 5, "{shown}");
    let mut lines = table.lines();
    for line in shown.lines().skip(1) {
        assert!(
            lines.any(|printed| printed == line),
            "{line}\nis not in\n{table}"
        );
    }
}

#[test]
fn the_commands_behind_the_table_have_at_most_a_hundred_columns() {
    let mut child = Command::new(QUICKSTART)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = String::new();
    for line in lines.map(Result::unwrap) {
        printed.push_str(&line);
        printed.push('\n');
        if line.ends_with("Ctrl-C ends it; its log follows.") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    printed.lines().for_each(assert_fits);
    let (_, commands) = printed.split_once("Try it yourself;").unwrap();
    for part in [
        "TOKEN=$(curl -s http://127.0.0.1:",
        "/oauth2/v2.0/token \\\n  -d grant_type=client_credentials",
        "/me -H \"Authorization: Bearer $TOKEN\"\n",
        "/me -H \"Authorization: Bearer ${TOKEN}AA\"  # changed in transit\n",
    ] {
        assert!(commands.contains(part), "{part} in {commands}");
    }
    assert!(!commands.contains("eyJ"), "{commands}");
}

#[test]
fn the_log_of_the_table_is_printed_when_it_is_asked_for() {
    let output = Command::new(QUICKSTART)
        .args(["--once", "--log"])
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(
        log.contains(" WARN token refused code=\"bad_signature\""),
        "{log}"
    );
}

#[test]
fn version_and_help_are_printed_and_other_options_refused() {
    let version = format!("quickstart {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run("--version"), (true, version, String::new()));
    let (succeeded, help, _) = run("--help");
    assert!(succeeded && help.contains("usage: quickstart [--once] [--log]"));
    let (succeeded, _, error) = run("--onec");
    assert!(!succeeded && error.contains("--help lists the options"));
}
