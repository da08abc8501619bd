//! The lines that the example prints.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

const OPENAPI: &str = env!("CARGO_BIN_EXE_openapi");

fn run(argument: &str) -> (bool, String, String) {
    let output = Command::new(OPENAPI).arg(argument).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn assert_fits(line: &str) {
    assert!(line.chars().count() <= 80, "{line}");
}

#[test]
fn it_signs_in_as_swagger_ui_does_and_calls_the_api() {
    let (succeeded, lines, error) = run("--once");
    assert!(succeeded && error.is_empty(), "{error}");
    lines.lines().for_each(assert_fits);
    assert!(lines.contains("GET /reports, Reports.Read "), "{lines}");
}

#[test]
fn what_to_open_is_printed_first() {
    let mut child = Command::new(OPENAPI)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = Vec::new();
    for line in lines.map(Result::unwrap) {
        assert_fits(&line);
        let is_last = line.ends_with("Ctrl-C ends it; its log follows.");
        printed.push(line);
        if is_last {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(printed[0].starts_with("Swagger UI  http://127.0.0.1:"));
    assert!(printed[0].ends_with("/swagger-ui/"));
}

#[test]
fn version_and_help_are_printed_and_other_options_refused() {
    let version = format!("openapi {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run("--version"), (true, version, String::new()));
    let (succeeded, help, _) = run("--help");
    assert!(succeeded && help.contains("usage: openapi [--once]"));
    help.lines().for_each(assert_fits);
    let (succeeded, _, error) = run("--onec");
    assert!(!succeeded && error.contains("--help shows those there are"));
}
