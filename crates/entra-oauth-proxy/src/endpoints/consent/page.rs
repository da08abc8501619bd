//! The HTML of the consent page, and of the pages after it.

use super::super::{AuthorizationRequest, Server};
use crate::http::Response;
use crate::oauth::{Client, OAuthError, RedirectTarget, RedirectUriKind};
use crate::pages::{Then, escaped};
use crate::telemetry::set_outcome;

/// Returns the page from which a browser goes on to Entra.
///
/// The button is for browsers that do not go on by themselves, and for a second attempt.
pub(super) fn to_entra(server: &Server, url: &str, kind: RedirectUriKind) -> Response {
    let stays = match kind {
        RedirectUriKind::Custom => "If nothing happens, or the application does not open,",
        RedirectUriKind::Https | RedirectUriKind::Loopback => "If nothing happens,",
    };
    let body = format!(
        "<h1>You are sent on to sign in</h1>\n\
         <p>{stays} use the button.</p>\n\
         <p class=\"actions\"><a class=\"button\" rel=\"noreferrer\" href=\"{href}\">Continue to \
         Microsoft</a></p>\n\
         <p class=\"note\">When the application says that it is connected, you can close this \
         page.</p>\n",
        href = escaped(url)
    );
    let title = "You are sent on to sign in";
    server.brand.page(title, &body, Then::GoOn(url))
}

/// Returns the page from which a browser goes on to the client with an error. `why` is a sentence
/// for the user, without its full stop.
pub(super) fn to_client(
    server: &Server,
    target: &RedirectTarget,
    error: &OAuthError,
    why: &str,
) -> Response {
    let url = target.error_url(error);
    let body = format!(
        "<h1>You are sent back to the application</h1>\n\
         <p>{why}. The application is told so. If nothing happens, use the button, or close this \
         page.</p>\n\
         <p class=\"actions\"><a class=\"button\" rel=\"noreferrer\" href=\"{href}\">Go back to \
         <bdi>{host}</bdi></a></p>\n",
        why = escaped(why),
        href = escaped(&url),
        host = escaped(target.shown_host()),
    );
    let title = "You are sent back to the application";
    let mut response = server.brand.page(title, &body, Then::GoOn(&url));
    set_outcome(&mut response, error.code().as_str());
    response
}

/// Builds the HTML of the page.
///
/// No element has an id or the focus. A URL could give the focus to an element with an id, and a
/// key that is held down would then submit the user's decision.
pub(super) fn body(
    server: &Server,
    client: &Client,
    target: &RedirectTarget,
    request: &AuthorizationRequest,
    sealed: &str,
) -> String {
    format!(
        "<h1>Let an application use {resource} in your name?</h1>\n\
         <dl>\n\
         <div>\n<dt>Application</dt>\n{application}</div>\n\
         <div>\n<dt>You return to</dt>\n<dd class=\"host\">{host}</dd>\n\
         <dd class=\"note\">{uri}</dd>\n{warning}</div>\n\
         <div>\n<dt>What it may do</dt>\n{scopes}</div>\n\
         <div>\n<dt>On this server</dt>\n<dd>{resource_url}</dd>\n</div>\n\
         <div>\n<dt>What it learns</dt>\n\
         <dd>Who you are: your name, your user name, and your roles and groups here</dd>\n</div>\n\
         <div>\n<dt>You sign in with</dt>\n{accounts}</div>\n\
         </dl>\n\
         <form method=\"post\" action=\"{path}/consent\">\n\
         <input type=\"hidden\" name=\"consent\" value=\"{sealed}\">\n\
         <button type=\"submit\" name=\"decision\" value=\"approve\" class=\"primary\">Continue to \
         sign in</button>\n\
         <button type=\"submit\" name=\"decision\" value=\"deny\">Cancel</button>\n\
         </form>\n\
         <p class=\"note\">Microsoft may use the account with which you are already signed in. To \
         use another account, <a href=\"{path}/sign-out\">sign out first</a>, and connect the \
         application again.</p>\n",
        resource = escaped(server.resource.shown_name()),
        application = application(client),
        host = escaped(target.shown_host()),
        uri = escaped(&target.to_string()),
        warning = warning(target.kind()),
        scopes = scopes_in_words(server, &request.scopes.names),
        resource_url = escaped(server.resource.url()),
        accounts = server.accounts,
        path = escaped(&server.urls.path),
    )
}

fn scopes_in_words(server: &Server, names: &[String]) -> String {
    let in_words = |name: &String| match server.scopes.text(name) {
        Some(text) => format!(
            "<dd>{} <code>{}</code></dd>\n",
            escaped(text),
            escaped(name)
        ),
        None => format!("<dd>{}</dd>\n", escaped(name)),
    };
    let mut all: String = names.iter().map(in_words).collect();
    if server.issues_entra_tokens {
        all.push_str("<dd>And everything else in this service that you allowed before</dd>\n");
    }
    all
}

/// Returns HTML with the name that the application gives itself, and how far that can be trusted.
fn application(client: &Client) -> String {
    let (mark, note) = match (client.is_preregistered, &client.name) {
        (true, _) => (
            "known here",
            "The administrator of this server registered this application.",
        ),
        (false, Some(_)) => (
            "not verified",
            "The application chose this name. This server has not checked it.",
        ),
        (false, None) => (
            "not verified",
            "The application gave no name. This server has not checked who made it.",
        ),
    };
    let name = client.name.as_deref();
    let name = escaped(name.unwrap_or("An application without a name"));
    format!(
        "<dd><bdi class=\"name\">{name}</bdi> <span class=\"mark\">{mark}</span></dd>\n\
         <dd class=\"note\">{note}</dd>\n"
    )
}

fn warning(kind: RedirectUriKind) -> &'static str {
    match kind {
        RedirectUriKind::Https => "",
        RedirectUriKind::Loopback => {
            "<dd class=\"warning\"><strong>Careful:</strong> this is a program on your own \
             computer. Continue only if you have just started to connect it yourself.</dd>\n"
        }
        RedirectUriKind::Custom => {
            "<dd class=\"warning\"><strong>Careful:</strong> this is an application on your device, and \
             any application there can claim this address. Continue only if you have just started \
             to connect it yourself.</dd>\n"
        }
    }
}
