//! `GET /sign-out` and `/signed-out`: signing out of Entra in one browser, so that another account can sign
//! in there. Applications stay connected.

use http::StatusCode;
use http::request::Parts;

use super::Server;
use crate::http::{Response, see_other};
use crate::pages::page;

/// Ends what is under way here, and goes to Entra for the rest. Another site can send a browser here, too,
/// as it can to Entra itself; nothing is lost by it that a sign-in does not bring back.
pub(super) fn answer(server: &Server, head: &Parts) -> Response {
    let mut response = see_other(&server.entra.sign_out_url(&server.urls.signed_out()));
    server.cookies(&head.headers).expire_all(&mut response);
    response
}

/// Answers where Entra sends a browser back.
pub(super) fn signed_out() -> Response {
    let body = "<h1>You are signed out</h1>\n\
         <p>This browser is no longer signed in to Microsoft for this server. You can close this \
         page.</p>\n\
         <p>To connect an application with another account, go back to the application, connect it \
         there, and sign in with that account.</p>\n\
         <p>Applications that you connected before stay connected: you disconnect them in the \
         applications themselves, or have whoever runs this server, or your organization, end their \
         access.</p>\n";
    page(StatusCode::OK, "You are signed out", body, "'none'")
}
