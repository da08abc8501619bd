//! Text from outside, escaped and cut for logs and responses.

use std::fmt;

/// Text from outside, displayed with control and invisible characters escaped, and cut at 200
/// characters.
///
/// It is for logs and responses, so that a token cannot write lines of its own into them.
#[derive(Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "made by its constructor")]
pub struct Escaped<'a>(pub &'a str);

impl Escaped<'_> {
    const LIMIT: usize = 200;

    /// Returns the text up to one character more than is displayed.
    ///
    /// The extra character makes `Display` show that the text was cut.
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

/// A URL, or a text that was configured in place of one, displayed without its query and fragment.
///
/// A text with `@` or `%40` may contain a user name or password, and is not displayed at all. Any
/// other text is escaped and cut as in [`Escaped`].
#[expect(clippy::exhaustive_structs, reason = "made by its constructor")]
pub struct EscapedUrl<'a>(pub &'a str);

impl fmt::Display for EscapedUrl<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // At any position: in a text that is not a URL, nothing shows which part is the password.
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
