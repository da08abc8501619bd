//! The report for people: the verdict and its fix, the facts that the token states about itself,
//! and the checks.

use std::fmt::Write as _;
use std::iter::once;

use anstyle::{AnsiColor, Style};
use entra_jwt_core::{
    explain::{Finding, Outcome, Report, Verdict},
    integration::Escaped,
};
use textwrap::WrapAlgorithm;
use textwrap::core::{Word, break_words, display_width};

use crate::claims::Fact;

const FAILED: Style = AnsiColor::Red.on_default().bold();
const PASSED: Style = AnsiColor::Green.on_default();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Maximum number of columns of a line.
const WIDTH: usize = 80;

/// Columns of the labels in front of values: `LABEL` for the verdict and the facts, `CHECK` for the
/// checks.
const LABEL: usize = 11;
const CHECK: usize = 28;

pub(crate) fn of(report: &Report, fix: Option<&str>, facts: &[Fact], notes: &[&str]) -> String {
    let mut text = String::new();
    for note in notes {
        text.push_str(&wrapped(note));
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    write_verdict(&mut text, report, fix);
    if !facts.is_empty() {
        let _ = writeln!(text, "\n{BOLD}the token says{BOLD:#}");
        for fact in facts {
            let value = Escaped(&fact.value).to_string();
            let value = match fact.remark {
                Some(remark) => format!("{value} ({remark})"),
                None => value,
            };
            write_labelled(&mut text, 2, LABEL, &fact.name.replace('_', " "), &value);
        }
    }
    let _ = writeln!(text, "\n{BOLD}the checks{BOLD:#}");
    let cause = report.cause().map(|cause| cause.check);
    let mut unreached = Vec::new();
    for finding in report.findings() {
        match finding.outcome {
            Outcome::NotReached => unreached.push(name_of(finding)),
            _ => write_finding(&mut text, finding, cause == Some(finding.check)),
        }
    }
    if !unreached.is_empty() {
        write_labelled(&mut text, 2, 13, "not reached", &unreached.join(", "));
    }
    text
}

fn name_of(finding: &Finding) -> String {
    finding.check.name().replace('_', " ")
}

/// Returns the text in lines of at most `WIDTH` columns. Continuation lines are indented.
pub(crate) fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        let indent = " ".repeat(2 + line.len() - line.trim_start().len());
        for line in lines_of(line, WIDTH, &indent) {
            let _ = writeln!(lines, "{line}");
        }
    }
    lines
}

fn write_verdict(text: &mut String, report: &Report, fix: Option<&str>) {
    let (style, words) = match report.verdict() {
        Verdict::Accepted => (PASSED.bold(), "accepted".to_owned()),
        Verdict::InvalidToken(rejection) => {
            (FAILED, format!("refused: {} (401)", rejection.code()))
        }
        Verdict::PermissionDenied(denied) => (FAILED, format!("refused: {} (403)", denied.code())),
        _ => (
            BOLD,
            "not verified: the signature was not checked; add --live or --keys FILE".to_owned(),
        ),
    };
    let _ = writeln!(text, "{style}{words}{style:#}");
    let Some(cause) = report.cause() else { return };
    write_labelled(text, 2, LABEL, "fix", fix.unwrap_or_default());
    write_found_and_expected(text, 2, LABEL, cause);
}

fn write_finding(text: &mut String, finding: &Finding, is_cause: bool) {
    let (mark, style, status) = match finding.outcome {
        Outcome::Passed => (' ', PASSED, "pass"),
        Outcome::InvalidToken(_) | Outcome::PermissionDenied(_) => ('✗', FAILED, "fail"),
        _ => (' ', DIM, "not checked"),
    };
    let name = name_of(finding);
    let head = format!("{style}{mark}{style:#} {name:<12} {style}{status}{style:#}");
    let code = finding.code();
    let Some(words) = code.or(finding.found.as_deref()) else {
        let _ = writeln!(text, "{head}");
        return;
    };
    let gap = 13_usize.saturating_sub(status.len());
    let _ = write!(text, "{head}{:gap$}", "");
    write_hanging(text, CHECK, &Escaped(words).to_string());
    if code.is_some() && !is_cause {
        write_found_and_expected(text, 15, CHECK - 15, finding);
    }
}

fn write_found_and_expected(text: &mut String, indent: usize, label: usize, finding: &Finding) {
    for (name, value) in [("found", &finding.found), ("expected", &finding.expected)] {
        if let Some(value) = value {
            write_labelled(text, indent, label, name, &Escaped(value).to_string());
        }
    }
}

fn write_labelled(text: &mut String, indent: usize, width: usize, label: &str, words: &str) {
    let _ = write!(text, "{:indent$}{DIM}{label:<width$}{DIM:#}", "");
    write_hanging(text, indent + width, words);
}

/// Writes words after the given number of filled columns, and indents the next lines to that
/// column.
fn write_hanging(text: &mut String, column: usize, words: &str) {
    let mut indent = 0;
    for line in lines_of(words, WIDTH - column, "") {
        let _ = writeln!(text, "{:indent$}{line}", "");
        indent = column;
    }
}

/// Returns the text in lines of at most this width. All lines but the first begin with `indent`.
fn lines_of(text: &str, width: usize, indent: &str) -> Vec<String> {
    let room = width - indent.len();
    let words = text.split_inclusive(' ');
    let words = words.flat_map(|word| parts_of(word, room)).map(Word::from);
    let words = break_words(words, room);
    let widths = [width, room];
    let lines = WrapAlgorithm::FirstFit.wrap(&words, &widths);
    let lines = lines.into_iter().enumerate().map(|(number, words)| {
        let indent = if number == 0 { "" } else { indent };
        let words = words.iter().flat_map(|word| [word.word, word.whitespace]);
        let line: String = once(indent).chain(words).collect();
        line.trim_end_matches(' ').to_owned()
    });
    lines.collect()
}

/// Returns the parts of a word between which a line may end.
///
/// A word that fits into a line of its own has one part, so that a scope or a URL can be copied. A
/// longer one ends behind each `/` and `?`, but not within its `https://`.
fn parts_of(word: &str, width: usize) -> impl Iterator<Item = &str> {
    let fits = display_width(word.trim_end()) <= width;
    let ends: &[char] = if fits { &[] } else { &['/', '?'] };
    let scheme = word.find("://").map_or(0, |at| at + "://".len());
    let first = word[scheme..].find(ends);
    let (first, rest) = word.split_at(first.map_or(word.len(), |at| scheme + at + 1));
    once(first).chain(rest.split_inclusive(ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_broken_only_if_it_does_not_fit_into_a_line() {
        let scope = "api://6e74172b/Reports.Read";
        for (width, lines) in [
            (44, &["request api://6e74172b/Reports.Read; then go"][..]),
            (43, &["request api://6e74172b/Reports.Read; then", "go"]),
            (28, &["request", "api://6e74172b/Reports.Read;", "then go"]),
            (27, &["request api://6e74172b/", "Reports.Read; then go"]),
            (
                15,
                &["request", "api://6e74172b/", "Reports.Read;", "then go"],
            ),
            (
                10,
                &[
                    "request",
                    "api://6e74",
                    "172b/",
                    "Reports.Re",
                    "ad; then",
                    "go",
                ],
            ),
        ] {
            let text = format!("request {scope}; then go");
            assert_eq!(lines_of(&text, width, ""), lines, "{width}");
        }
        let url = "https://login.example/t?x=1/2";
        assert_eq!(lines_of(url, 29, ""), [url]);
        assert_eq!(lines_of(url, 22, ""), ["https://login.example/", "t?x=1/2"]);
        // Only the lines behind the first are indented.
        assert_eq!(lines_of(scope, 28, " "), [scope]);
        assert_eq!(
            lines_of(scope, 26, " "),
            ["api://6e74172b/", " Reports.Read"]
        );
        assert_eq!(lines_of("a b", 2, " "), ["a", " b"]);
        assert_eq!(lines_of("", 10, ""), [""]);
    }
}
