//! `GET /sign-out` and `/signed-out`: sign a browser out of Entra, so that it can use another
//! account.
//!
//! Applications stay connected.

use http::request::Parts;

use super::Server;
use super::jar::Jar;
use crate::http::{Response, see_other};
use crate::pages::{Then, escaped};

/// Ends sign-ins that are in progress in this browser, and redirects it to Entra's sign-out.
///
/// Another site can also send a browser here, as it can to Entra itself. The user loses nothing
/// that a new sign-in does not restore.
pub(super) fn answer(server: &Server, head: &Parts) -> Response {
    let mut response = see_other(&server.entra.sign_out_url(&server.urls.signed_out()));
    let cookies = server.cookies(&head.headers);
    let mut jar = Jar::new(&cookies, server.clock.now());
    jar.sign_out();
    jar.write(&mut response);
    response
}

/// Returns the page to which Entra redirects the browser after sign-out.
pub(super) fn signed_out(server: &Server) -> Response {
    // Any user can open this page directly. Nothing proves that the browser comes from Entra.
    let body = format!(
        "<h1>Signing out</h1>\n\
         <p>If Microsoft has just sent you here, this browser is signed out, and you can close \
         this page. If you opened this page yourself, nothing has changed: <a href=\"{path}/sign-out\">sign \
         out</a> first.</p>\n\
         <p>To connect an application with another account, go back to the application, connect it \
         there, and sign in with that account.</p>\n\
         <p>Applications that you connected before stay connected. To disconnect one, use the \
         application itself, or ask the administrator of this server or your organization to end \
         its access.</p>\n",
        path = escaped(&server.urls.path)
    );
    server.brand.page("Signing out", &body, Then::Stay)
}
