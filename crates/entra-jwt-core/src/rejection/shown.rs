//! Text from outside, made fit for logs and answers.

use std::fmt;

/// Displays text from outside: control and invisible characters escaped, cut at 200 characters.
///
/// For logs and answers, so that a token cannot write lines of its own into them.
#[derive(Clone, Copy)]
pub struct Shown<'a>(pub &'a str);

impl Shown<'_> {
    const LIMIT: usize = 200;

    /// Returns the text as far as it is ever displayed, and a character more, so that it shows that
    /// it was cut.
    pub(crate) fn cut(text: &str) -> String {
        match text.char_indices().nth(Self::LIMIT.saturating_add(1)) {
            Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
            None => text.to_owned(),
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(Self::LIMIT) {
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
    fn what_is_cut_to_be_kept_is_displayed_as_the_whole() {
        for length in [0, 1, 199, 200, 201, 202, 10_000] {
            for character in ["x", "é", "\u{202e}"] {
                let text = character.repeat(length);
                let cut = Shown::cut(&text);
                assert_eq!(Shown(&cut).to_string(), Shown(&text).to_string());
                assert!(cut.chars().count() <= 201);
            }
        }
    }

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
