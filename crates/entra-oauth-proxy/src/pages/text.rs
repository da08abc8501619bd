//! Text of others, as it may stand on a page.

/// Text as it may stand in HTML, in an attribute too.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The longest name, in characters.
const MOST_NAME: usize = 60;

/// A name that somebody gave: without what cannot be seen, or turns the text around it, and short.
pub(crate) fn plain_text(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(
                c,
                '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                    | '\u{e0000}'..='\u{e007f}'
            )
    };
    let seen: String = text
        .chars()
        .map(|c| if is_hidden(c) { ' ' } else { c })
        .collect();
    let words: Vec<&str> = seen.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(MOST_NAME) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        assert_eq!(plain_text(" Claude\n Code "), "Claude Code");
        assert_eq!(plain_text("ab\u{202e}cd\u{200b}e\u{7}f"), "ab cd e f");
        assert_eq!(plain_text(&"é".repeat(100)), format!("{}…", "é".repeat(60)));
        assert_eq!(plain_text("\u{2066}\u{feff}"), "");
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(
            escaped("<b a='x' b=\"&\">"),
            "&lt;b a=&#39;x&#39; b=&quot;&amp;&quot;&gt;"
        );
    }
}
