//! Tests of the README: its length, and the figures that a benchmark wrote.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const README: &str = include_str!("../../../README.md");
const RESULTS: &str = include_str!("../../../benches/results/table.txt");

/// The rows of the README's table, each with the row of the benchmark.
const ROWS: [(&str, &str); 3] = [
    ("the RSA signature check alone", "bare signature check"),
    ("the Layer, token not cached", "token cache off"),
    ("the Layer, token cached", "cached, the hottest"),
];

#[test]
fn the_readme_has_at_most_7_kb() {
    assert!(README.len() <= 7_000, "{} bytes", README.len());
}

#[test]
fn the_readme_has_the_figures_of_the_benchmark() {
    let (_, table) = README.split_once("\n## Speed\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let listed = table.lines().filter(|line| line.starts_with("| the "));
    assert_eq!(listed.count(), ROWS.len());
    for (shown, measured) in ROWS {
        let row = format!("| {shown} | ");
        let cells = table.lines().find_map(|line| line.strip_prefix(&row));
        let (time, ratio) = cells
            .unwrap()
            .trim_end_matches(" |")
            .split_once(" | ")
            .unwrap();

        let row = RESULTS.lines().find_map(|line| line.strip_prefix(measured));
        let mut words = row.unwrap().split_whitespace();
        let mut next = || words.next().unwrap().trim_end_matches('x');
        assert_is_rounded(time, next());
        assert_eq!(next(), "us");
        assert_is_rounded(ratio, next());
    }
}

#[test]
fn the_page_of_examples_has_each_program_and_no_other() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(examples.join("README.md")).unwrap();
    // In the table, or at the beginning of a paragraph about it.
    let starts = ["| `", "[`"];
    let rows = page
        .lines()
        .filter_map(|line| starts.iter().find_map(|start| line.strip_prefix(start)));
    let listed: BTreeSet<String> = rows
        .filter_map(|row| Some(row.split_once('`')?.0.to_owned()))
        .filter(|name| name != "entra-dev-tenant" && name != "cargo run -p …")
        .collect();
    let programs: BTreeSet<String> = fs::read_dir(examples)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("src/main.rs").exists())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, programs);
}

/// Asserts that `shown` is `measured`, rounded to the digits that `shown` has.
#[track_caller]
fn assert_is_rounded(shown: &str, measured: &str) {
    let digits = shown.split_once('.').map_or(0, |(_, digits)| digits.len());
    let measured: f64 = measured.parse().unwrap();
    assert_eq!(shown, format!("{measured:.digits$}"));
}
