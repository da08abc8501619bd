//! The report for people: aligned, with what fails standing out.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use entra_jwt_core::{
    explain::{Finding, Outcome, Report, Verdict},
    integration::Escaped,
};
use textwrap::{Options, WordSplitter};

const FAILED: Style = AnsiColor::Red.on_default().bold();
const PASSED: Style = AnsiColor::Green.on_default();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// Columns of text behind the labels, so that a line has a hundred.
const WIDTH: usize = 72;

pub(crate) fn of(report: &Report) -> String {
    let mut text = String::new();
    for finding in report.findings() {
        write_finding(&mut text, finding);
    }
    write_verdict(&mut text, report.verdict());
    text
}

fn write_finding(text: &mut String, finding: &Finding) {
    let (mark, style, status) = match finding.outcome {
        Outcome::Passed => (' ', PASSED, "pass"),
        Outcome::InvalidToken(_) | Outcome::PermissionDenied(_) => ('✗', FAILED, "fail"),
        Outcome::NotReached => (' ', DIM, "not reached"),
        _ => (' ', DIM, "not checked"),
    };
    let name = finding.check.name().replace('_', " ");
    let _ = write!(
        text,
        "{style}{mark}{style:#} {name:<12} {style}{status}{style:#}"
    );
    let Some(remedy) = finding.remedy() else {
        if let Some(found) = &finding.found {
            let gap = 13_usize.saturating_sub(status.len());
            let _ = write!(text, "{:gap$}{}", "", Escaped(found));
        }
        text.push('\n');
        return;
    };
    let code = finding.code().unwrap_or_default();
    let _ = writeln!(text, "{:9}{BOLD}{code}{BOLD:#}", "");
    for (label, value) in [("found", &finding.found), ("expected", &finding.expected)] {
        if let Some(value) = value {
            write_labelled(text, label, &Escaped(value).to_string());
        }
    }
    write_labelled(text, "fix", remedy);
}

fn write_labelled(text: &mut String, label: &str, words: &str) {
    let options = Options::new(WIDTH)
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation);
    let mut label = label;
    for line in textwrap::wrap(words, options) {
        let _ = writeln!(text, "{:15}{DIM}{label:<11}{DIM:#}  {line}", "");
        label = "";
    }
}

fn write_verdict(text: &mut String, verdict: Verdict<'_>) {
    let (style, words) = match verdict {
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
    let _ = writeln!(
        text,
        "\n  {BOLD}verdict{BOLD:#}      {style}{words}{style:#}"
    );
}
