//! The report for people: the verdict and its fix, the facts that the token states about itself,
//! and the checks.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use entra_jwt_core::{
    explain::{Finding, Outcome, Report, Verdict},
    integration::Escaped,
};
use textwrap::{Options, WordSeparator, WordSplitter, core::Word};

use crate::claims::Fact;

const FAILED: Style = AnsiColor::Red.on_default().bold();
const PASSED: Style = AnsiColor::Green.on_default();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Maximum number of columns of a line.
const WIDTH: usize = 80;

/// Maximum length of a word that fits behind the labels. A longer word, such as a URL, is broken.
const LONGEST_WORD: usize = 50;

/// Columns of the labels in front of values: `LABEL` for the verdict and the facts, `CHECK` for the
/// checks.
const LABEL: usize = 11;
const CHECK: usize = 28;

pub(crate) fn of(report: &Report, facts: &[Fact], notes: &[&str]) -> String {
    let mut text = String::new();
    for note in notes {
        text.push_str(&wrapped(note));
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    write_verdict(&mut text, report);
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
        for line in textwrap::wrap(line, options(WIDTH).subsequent_indent(&indent)) {
            let _ = writeln!(lines, "{line}");
        }
    }
    lines
}

fn write_verdict(text: &mut String, report: &Report) {
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
    write_labelled(text, 2, LABEL, "fix", cause.remedy().unwrap_or_default());
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
    for line in textwrap::wrap(words, options(WIDTH - column)) {
        let _ = writeln!(text, "{:indent$}{line}", "");
        indent = column;
    }
}

/// Returns options by which words end at spaces. Words longer than `LONGEST_WORD` also end behind
/// `/` and `?`.
fn options<'a>(width: usize) -> Options<'a> {
    Options::new(width)
        .word_separator(WordSeparator::Custom(|line| {
            Box::new(line.split_inclusive(' ').flat_map(|word| {
                let ends: &[char] = if word.len() > LONGEST_WORD {
                    &['/', '?']
                } else {
                    &[]
                };
                word.split_inclusive(ends).map(Word::from)
            }))
        }))
        .word_splitter(WordSplitter::NoHyphenation)
}
