//! The page on which a user is picked.

use axum::http::StatusCode;
use axum::response::Response;

use super::html::{escaped, page};
use super::request::AuthorizationRequest;
use crate::dev_tenant::Inner;
use crate::endpoint::Parameters;

/// One form: a button named `user` for each user, the one that is hinted at first, and one named
/// `decline`. It is sent to the same address with the request in its query.
pub(super) fn ask(
    tenant: &Inner,
    request: &AuthorizationRequest<'_>,
    parameters: &Parameters,
) -> Response {
    let hinted = request.login_hint.as_deref();
    let hinted = hinted.and_then(|hint| tenant.directory.find(hint));
    let others = tenant.directory.names().iter().map(String::as_str);
    let others = others.filter(|name| Some(*name) != hinted);
    let buttons: String = hinted
        .into_iter()
        .map(|name| user_button(tenant, name, " autofocus"))
        .chain(others.map(|name| user_button(tenant, name, "")))
        .collect();
    let scopes: String = request
        .requested
        .scopes(tenant)
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

fn user_button(tenant: &Inner, name: &str, attributes: &str) -> String {
    let (name, domain) = (escaped(name), tenant.issuer.realm.cloud.domain());
    format!(
        "<button type=\"submit\" name=\"user\" value=\"{name}\"{attributes}><b>{name}</b> \
         <small>{name}@{domain}</small></button>\n"
    )
}
