//! Text from outside, before it is printed.

/// With control and invisible characters escaped, cut at 200 characters, so that it cannot write
/// lines of its own into a log.
pub(crate) fn printable(text: &str) -> String {
    const LIMIT: usize = 200;

    let mut printable = String::new();
    let mut characters = text.chars();
    for character in characters.by_ref().take(LIMIT) {
        match character {
            '"' | '\'' => printable.push(character),
            _ => printable.extend(character.escape_debug()),
        }
    }
    if characters.next().is_some() {
        printable.push('…');
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_escaped_and_cut() {
        assert_eq!(printable("a\nb\u{202e}\"c"), "a\\nb\\u{202e}\"c");
        assert_eq!(printable(&"x".repeat(200)), "x".repeat(200));
        assert_eq!(printable(&"x".repeat(201)), format!("{}…", "x".repeat(200)));
    }
}
