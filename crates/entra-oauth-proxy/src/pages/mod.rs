//! Pages for people: without scripts, images or anything from elsewhere.

mod error;
mod text;

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_FRAME_OPTIONS,
};
use http_body_util::Full;

pub(crate) use self::error::{
    LATER_VERSION, Obstacle, error_page, error_page_with, log_error_page,
};
pub(crate) use self::text::{escaped, plain_text};
use crate::http::response::{Answer, of_status, set};

/// What every page looks like, and its hash for their policy. Line ends are as browsers have them,
/// however the file came here.
static STYLE: LazyLock<(String, String)> = LazyLock::new(|| {
    let lines: Vec<&str> = include_str!("style.css").lines().collect();
    let style = format!("\n{}\n", lines.join("\n"));
    let hash = STANDARD.encode(digest(&SHA256, style.as_bytes()));
    (style, hash)
});

/// A page, with what keeps others from framing it, running anything in it or learning of it. `body`
/// is HTML, and has the one `h1`.
///
/// `form_action` is where its form may lead, redirects included.
pub(crate) fn page(status: StatusCode, title: &str, body: &str, form_action: &str) -> Answer {
    let (style, style_hash) = &*STYLE;
    let title = escaped(title);
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n\
         <style>{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
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
