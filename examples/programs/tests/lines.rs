//! Tests that the line counts in the README's table match its programs.

const PAGE: &str = include_str!("../README.md");

/// Returns the number of visible lines of the first program under a heading.
fn lines_of(anchor: &str) -> usize {
    let sections = PAGE.split("\n## ").skip(1);
    let anchored = |heading: &str| {
        let plain = |letter: &char| letter.is_ascii_alphanumeric() || *letter == ' ';
        let heading: String = heading.to_lowercase().chars().filter(plain).collect();
        heading.replace(' ', "-")
    };
    let mut section = sections.filter(|text| anchored(text.lines().next().unwrap()) == anchor);
    let program = section.next().unwrap().split("```").nth(1).unwrap();
    let lines = program.lines().skip(1);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
        .count()
}

#[test]
fn each_program_has_as_many_lines_as_the_table_says_and_more_than_a_peer_for_a_reason() {
    let rows = PAGE.lines().filter(|line| line.starts_with("| ["));
    let mut programs = 0;
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, lines, peer, lines_of_peer, left_open, _] = cells[..] else {
            panic!("{row}");
        };
        let anchor = name.split(['#', ')']).nth(1).unwrap();
        let lines: usize = lines.parse().unwrap();
        assert_eq!(lines, lines_of(anchor), "{name}");
        assert!(!peer.is_empty());
        let is_longer = lines > lines_of_peer.parse().unwrap();
        assert!(!is_longer || !left_open.is_empty(), "{name}");
        programs += 1;
    }
    assert_eq!(programs, 11);
}
