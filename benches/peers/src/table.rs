//! Formats the table as plain text.

use std::fmt::Write as _;

use crate::material::Case;
use crate::rounds::Medians;

/// Returns one line per row, with times in µs and their ratio to ours.
pub(crate) fn text(rows: &[Medians], ours: usize) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut text = format!("{:width$}", "");
    for case in Case::ALL {
        let _ = write!(text, "  {:>16}", title(case));
    }
    let _ = write!(text, "\n{:width$}", "");
    for _ in Case::ALL {
        let _ = write!(text, "  {:>8} {:>7}", "µs", "of ours");
    }
    text.push('\n');
    for row in rows {
        let _ = write!(text, "{:width$}", row.name);
        for (time, ours) in row.nanoseconds.iter().zip(rows[ours].nanoseconds) {
            let _ = match (time, ours) {
                (Some(time), Some(ours)) => {
                    write!(text, "  {:8.2} {:7.2}", time / 1_000.0, time / ours)
                }
                _ => write!(text, "  {:>8} {:>7}", "-", "-"),
            };
        }
        text.push('\n');
    }
    text
}

fn title(case: Case) -> &'static str {
    match case {
        Case::OneToken => "the same token",
        Case::ManyTokens => "1 000 tokens",
        Case::Garbage => "garbage",
        Case::NoToken => "no token",
    }
}
