//! Checks that the figures of the page are those of its snippets, and that each snippet is compiled.

const PAGE: &str = include_str!("../README.md");

const PROGRAMS: &str = include_str!("programs.rs");

/// Returns the snippets of each section of the page that has some, by its anchor.
fn snippets() -> Vec<(String, Vec<&'static str>)> {
    let sections = PAGE.split("\n## ").skip(1);
    let anchored = sections.map(|section| {
        let heading = section.lines().next().unwrap();
        let plain = |letter: &char| letter.is_ascii_alphanumeric() || *letter == ' ';
        let heading: String = heading.to_lowercase().chars().filter(plain).collect();
        let blocks = section.split("```").skip(1).step_by(2);
        let code = blocks.map(|block| block.split_once('\n').unwrap().1);
        (heading.replace(' ', "-"), code.collect())
    });
    anchored
        .filter(|(_, code): &(_, Vec<_>)| !code.is_empty())
        .collect()
}

/// Returns the number of lines of the first snippet under a heading.
fn lines_of(anchor: &str) -> usize {
    let sections = snippets();
    let (_, code) = sections.iter().find(|(of, _)| of == anchor).unwrap();
    let lines = code[0].lines();
    lines.filter(|line| !line.is_empty()).count()
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

#[test]
fn each_snippet_is_in_the_program_of_its_name() {
    let sections = snippets();
    assert_eq!(sections.len(), 11);
    for (anchor, code) in sections {
        let start = format!("\nmod {} {{", anchor.replace('-', "_"));
        let (_, module) = PROGRAMS.split_once(&start).expect(&anchor);
        let mut rest = without_space(module.split("\nmod ").next().unwrap());
        // What is in several places of a program has an empty line between.
        for part in code.iter().flat_map(|code| code.trim().split("\n\n")) {
            let (_, after) = rest.split_once(&without_space(part)).expect(part);
            rest = after.to_owned();
        }
    }
}

/// Returns a text without white space, so that the formatter does not matter.
fn without_space(text: &str) -> String {
    text.split_whitespace().collect()
}
