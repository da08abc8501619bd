//! Pages for people: without scripts, images or anything from elsewhere.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http_body_util::Full;

use crate::answer::{Answer, of_status, set};
use crate::keys::random_text;

/// The buttons wait a second: whoever is made to click twice does not agree with the second click.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:1rem}\
main{max-width:34rem;margin:2rem auto}\
h1{font-size:1.4rem;line-height:1.3}\
dt{font-weight:600;margin-top:.75rem}\
dd{margin:0;overflow-wrap:anywhere}\
.host{font-size:1.2rem;font-weight:600}\
.warning{border-left:.25rem solid #b45309;padding-left:.75rem}\
form{display:flex;flex-wrap:wrap;gap:.75rem;margin-top:1.5rem}\
button{font:inherit;padding:.6rem 1.2rem;animation:ready 1s steps(1)}\
@keyframes ready{from{pointer-events:none}}\
small{color:GrayText}";

/// A page, with what keeps others from framing it, running anything in it or learning of it.
///
/// `form_action` is where its form may lead, redirects included.
pub(crate) fn page(status: StatusCode, title: &str, body: &str, form_action: &str) -> Answer {
    let style_hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let title = escaped(title);
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    );
    let mut answer = of_status(status);
    *answer.body_mut() = Full::new(text.into());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style_hash}'; form-action {form_action}; \
         frame-ancestors 'none'; base-uri 'none'"
    );
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, &policy),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        set(&mut answer, name, value);
    }
    answer
}

/// What a person is told who cannot go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Obstacle {
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    pub(crate) what_to_do: &'static str,
}

/// A page that says what went wrong and what to do, with a reference that is in the log.
pub(crate) fn error_page(obstacle: &Obstacle) -> Answer {
    let Obstacle {
        status,
        title,
        what_to_do,
    } = *obstacle;
    let reference = random_text::<6>();
    tracing::info!(
        status = status.as_u16(),
        reference,
        title,
        "a page told a person of an error"
    );
    let body = format!(
        "<h1>{}</h1>\n<p>{}</p>\n<p><small>Reference: {reference}</small></p>\n",
        escaped(title),
        escaped(what_to_do)
    );
    page(status, title, &body, "'none'")
}

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
