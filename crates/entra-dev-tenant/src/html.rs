//! Pages: escaped, without scripts, and without anything from elsewhere.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const STYLE: &str = "\
    body{margin:0;background:#f3f3f1;color:#1c1c1c;font:16px/1.5 system-ui,sans-serif}\
    main{max-width:30rem;margin:10vh auto;padding:2rem;background:#fff;border:1px solid #d8d8d4}\
    h1{margin:0 0 1rem;font-size:1.25rem;font-weight:600}\
    p{margin:0 0 1rem;overflow-wrap:anywhere}ul{margin:0 0 1rem;padding-left:1.25rem}\
    button{display:block;width:100%;margin:0 0 .5rem;padding:.6rem .8rem;font:inherit;\
    text-align:left;background:#fff;border:1px solid #8a8a86;cursor:pointer}\
    button:hover,button:focus{background:#eef3fa;border-color:#1f5fa8}\
    small{color:#5c5c58}";

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
    let title = escaped(title);
    let mut html = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}\
         <p><small>A local tenant for development. It asks for no password.</small></p>\n\
         </main>\n</body>\n</html>\n",
    );
    // No `form-action`: browsers apply it to the redirect that follows a form, too.
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; frame-ancestors 'none'",
        STANDARD.encode(digest(&SHA256, STYLE.as_bytes())),
    );
    (
        status,
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, &policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store, no-cache"),
        ],
        html,
    )
        .into_response()
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
