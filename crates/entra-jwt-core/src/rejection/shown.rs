//! Text from outside, made fit for logs and answers.

use std::fmt;

/// Displays text from outside: control and invisible characters escaped, cut at 200 characters.
///
/// For logs and answers, so that a token cannot write lines of its own into them.
#[derive(Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LIMIT: usize = 200;

        let mut characters = self.0.chars();
        for character in characters.by_ref().take(LIMIT) {
            match character {
                '"' | '\'' => fmt::Write::write_char(formatter, character)?,
                _ => write!(formatter, "{}", character.escape_debug())?,
            }
        }
        if characters.next().is_some() {
            formatter.write_str("…")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_escaped_and_cut() {
        assert_eq!(Shown("a\nb\u{202e}c").to_string(), "a\\nb\\u{202e}c");
        assert_eq!(Shown(&"x".repeat(200)).to_string(), "x".repeat(200));
        assert_eq!(
            Shown(&"x".repeat(201)).to_string(),
            format!("{}…", "x".repeat(200))
        );
    }
}
