//! Signing out of Entra in one browser, so that another account can sign in there. Applications stay
//! connected.

use http::StatusCode;

use crate::engine::Engine;
use crate::http::cookies::Cookies;
use crate::http::response::{Answer, add_cookie, see_other};
use crate::pages::page;

impl Engine {
    /// `GET /sign-out`: ends what is under way here, and goes to Entra for the rest. Another site can
    /// send a browser here, too, as it can to Entra itself; nothing is lost by it that a sign-in does
    /// not bring back.
    pub(crate) fn sign_out(&self, cookies: &Cookies) -> Answer {
        let mut answer = see_other(&self.entra.sign_out_url);
        for cookie in cookies.expire_all(&self.urls) {
            add_cookie(&mut answer, &cookie);
        }
        answer
    }
}

/// `GET /signed-out`: where Entra sends a browser back.
pub(crate) fn signed_out_page() -> Answer {
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
