//! Pages: escaped, without scripts, and without anything from elsewhere.

use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What every page looks like. Line ends are as browsers have them, however the file came here: the
/// policy has a hash of it.
static STYLE: LazyLock<String> = LazyLock::new(|| {
    let lines: Vec<&str> = include_str!("style.css").lines().collect();
    format!("\n{}\n", lines.join("\n"))
});

/// For text and for the values of attributes in double quotes.
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

/// A form's field that nobody sees.
pub(crate) fn hidden(name: &str, value: &str) -> String {
    let (name, value) = (escaped(name), escaped(value));
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">\n")
}

/// `title` is text, `body` is HTML.
pub(crate) fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let (title, style) = (escaped(title), &*STYLE);
    let mut html = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}\
         <footer><small>A local tenant for development. It asks for no password.</small></footer>\n\
         </main>\n</body>\n</html>\n",
    );
    // No `form-action`: browsers apply it to the redirect that follows a form, too.
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; frame-ancestors 'none'",
        STANDARD.encode(digest(&SHA256, style.as_bytes())),
    );
    (
        status,
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, &policy),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store, no-cache"),
        ],
        html,
    )
        .into_response()
}

/// What a user reads who can be sent nowhere.
pub(crate) fn trouble(description: &str) -> Response {
    let title = "Sorry, but we're having trouble signing you in";
    let body = format!("<p>{}</p>\n", escaped(description));
    page(StatusCode::BAD_REQUEST, title, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_markup_is_escaped() {
        assert_eq!(
            escaped(r#"<a href="x">'&'</a>"#),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;"
        );
    }
}
