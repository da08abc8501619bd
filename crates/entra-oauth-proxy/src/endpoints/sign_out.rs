//! `GET /sign-out` and `/signed-out`: signing out of Entra in one browser, so that another account can sign
//! in there. Applications stay connected.

use http::StatusCode;
use http::request::Parts;

use super::Server;
use crate::http::{Response, see_other};
use crate::pages::escaped;

/// Ends what is under way here, and goes to Entra for the rest. Another site can send a browser here, too,
/// as it can to Entra itself; nothing is lost by it that a sign-in does not bring back.
pub(super) fn answer(server: &Server, head: &Parts) -> Response {
    let mut response = see_other(&server.entra.sign_out_url(&server.urls.signed_out()));
    server.cookies(&head.headers).expire_all(&mut response);
    response
}

/// Answers where Entra sends a browser back.
pub(super) fn signed_out(server: &Server) -> Response {
    // Anybody can open it, and nothing proves that a browser comes from there.
    let body = format!(
        "<h1>Signing out</h1>\n\
         <p>If Microsoft has just sent you here, it has signed this browser out, and you can close this \
         page. If you opened this page yourself, nothing has changed: <a href=\"{path}/sign-out\">sign \
         out</a> first.</p>\n\
         <p>To connect an application with another account, go back to the application, connect it \
         there, and sign in with that account.</p>\n\
         <p>Applications that you connected before stay connected: you disconnect them in the \
         applications themselves, or have whoever runs this server, or your organization, end their \
         access.</p>\n",
        path = escaped(&server.urls.path)
    );
    server
        .brand
        .page(StatusCode::OK, "Signing out", &body, "'none'")
}
