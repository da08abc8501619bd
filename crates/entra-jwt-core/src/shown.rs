//! Text from outside, made fit for logs and answers.

use std::fmt;

/// Displays text from outside: control and invisible characters escaped, cut at 200 characters.
///
/// For logs and answers, so that a token cannot write lines of its own into them.
#[derive(Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "made by its constructor")]
pub struct Escaped<'a>(pub &'a str);

impl Escaped<'_> {
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

impl fmt::Display for Escaped<'_> {
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

impl fmt::Debug for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A URL, or what was set in place of one, as it may be displayed: without its query and fragment,
/// and not at all if it has a user name or password. Otherwise as [`Escaped`].
#[expect(clippy::exhaustive_structs, reason = "made by its constructor")]
pub struct EscapedUrl<'a>(pub &'a str);

impl fmt::Display for EscapedUrl<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Wherever it is: what is no URL cannot be told to be without a password.
        if self.0.contains('@') || self.0.contains("%40") {
            return formatter.write_str("(not shown: it has a user name or password)");
        }
        let shown = self.0.split(['?', '#']).next().unwrap_or_default();
        fmt::Display::fmt(&Escaped(shown), formatter)
    }
}

impl fmt::Debug for EscapedUrl<'_> {
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
                let cut = Escaped::cut(&text);
                assert_eq!(Escaped(&cut).to_string(), Escaped(&text).to_string());
                assert!(cut.chars().count() <= 201);
            }
        }
    }

    #[test]
    fn text_from_outside_is_escaped_and_cut() {
        assert_eq!(Escaped("a\nb\u{202e}c").to_string(), "a\\nb\\u{202e}c");
        assert_eq!(Escaped(&"x".repeat(200)).to_string(), "x".repeat(200));
        assert_eq!(
            Escaped(&"x".repeat(201)).to_string(),
            format!("{}…", "x".repeat(200))
        );
    }

    #[test]
    fn a_url_is_displayed_without_what_may_be_secret() {
        assert_eq!(
            EscapedUrl("https://host/path?sig=hunter2#hunter2").to_string(),
            "https://host/path"
        );
        assert_eq!(EscapedUrl("a\nb").to_string(), "a\\nb");
        for url in [
            "https://user:hunter2@host/",
            "https://user:hunter2%40host/",
            "//hunter2@host",
            "user:hunter2@host",
            "https:\\\\user:hunter2@host",
        ] {
            let shown = format!("{0} {0:?}", EscapedUrl(url));
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
