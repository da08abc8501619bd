//! The pages that users see. All text is escaped, and pages have no scripts and load nothing.

use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::AuthorizationRequest;
use crate::endpoint::Parameters;
use crate::oauth::Tenant;

/// The style of every page. Its line ends are those of browsers, independent of the file's, because
/// the policy has a hash of the style.
static STYLE: LazyLock<String> = LazyLock::new(|| {
    let lines: Vec<&str> = include_str!("style.css").lines().collect();
    format!("\n{}\n", lines.join("\n"))
});

/// Returns the page that asks who signs in.
///
/// Its form has a button named `user` for each user, with the hinted user first, and one named
/// `decline`. The browser sends the form to the same address, with the request in the query.
pub(super) fn ask(
    tenant: &Tenant,
    request: &AuthorizationRequest<'_>,
    parameters: &Parameters,
) -> Response {
    let hinted = request.login_hint.as_deref();
    let hinted = hinted.and_then(|hint| tenant.user(hint));
    let others = tenant.users.iter().map(String::as_str);
    let others = others.filter(|name| Some(*name) != hinted);
    let buttons: String = hinted
        .into_iter()
        .map(|name| user_button(tenant, name, " autofocus"))
        .chain(others.map(|name| user_button(tenant, name, "")))
        .collect();
    let scopes: String = request
        .scopes
        .iter()
        .map(|(resource, name)| format!("{}/{name}", resource.uri(tenant)))
        .chain(request.requested.open_id.iter().cloned())
        .map(|scope| format!("<li>{}</li>\n", escaped(&scope)))
        .collect();
    let body = format!(
        "<p>You continue to <strong>{client}</strong>, which asks for:</p>\n<ul>\n{scopes}</ul>\n\
         <form id=\"sign-in\" method=\"post\" action=\"?{action}\">\n{buttons}\
         <button type=\"submit\" name=\"decline\" value=\"1\">Cancel</button>\n</form>\n\
         <p><small>Back to {redirect_uri}</small></p>\n",
        client = escaped(request.client.display_name()),
        action = escaped(&parameters.encoded()),
        redirect_uri = escaped(&request.redirect.uri),
    );
    page(StatusCode::OK, "Sign in", &body)
}

fn user_button(tenant: &Tenant, name: &str, attributes: &str) -> String {
    let (name, domain) = (escaped(name), tenant.issuer.realm.cloud.domain());
    format!(
        "<button type=\"submit\" name=\"user\" value=\"{name}\"{attributes}><b>{name}</b> \
         <small>{name}@{domain}</small></button>\n"
    )
}

/// Returns a page whose form sends the parameters to the client. Entra sends the form by a script,
/// but here the user does it.
pub(super) fn form(uri: &str, parameters: &[(&'static str, String)]) -> Response {
    let fields = parameters.iter().map(|(name, value)| hidden(name, value));
    let fields: String = fields.collect();
    let action = escaped(uri);
    let body = format!(
        "<p>Press the button to send the response to the application.</p>\n\
         <form method=\"post\" action=\"{action}\">\n{fields}\
         <button type=\"submit\">Continue to {action}</button>\n</form>\n"
    );
    page(StatusCode::OK, "Working...", &body)
}

/// Returns the page for a user who has signed out.
pub(super) fn signed_out() -> Response {
    page(
        StatusCode::OK,
        "You signed out of your account",
        "<p>It is a good idea to close all browser windows.</p>\n",
    )
}

/// Returns the page that shows an error to a user who cannot be redirected.
pub(super) fn trouble(description: &str) -> Response {
    let title = "Sorry, but we're having trouble signing you in";
    let body = format!("<p>{}</p>\n", escaped(description));
    page(StatusCode::BAD_REQUEST, title, &body)
}

/// Escapes text for HTML, also for attribute values in double quotes.
fn escaped(text: &str) -> String {
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

/// Returns a hidden field of a form.
fn hidden(name: &str, value: &str) -> String {
    let (name, value) = (escaped(name), escaped(value));
    format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">\n")
}

/// Makes a page from a title, which is text, and a body, which is HTML.
fn page(status: StatusCode, title: &str, body: &str) -> Response {
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
    // No `form-action`: browsers also apply it to the redirect that follows a form.
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
