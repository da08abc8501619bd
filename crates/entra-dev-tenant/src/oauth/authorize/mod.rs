//! The authorization endpoint: a user signs in, and the client gets a code.
//!
//! In the order in which a request meets them: [`request`] says whether it may be answered and
//! where; [`page`] asks who signs in; [`sign_in`] is what comes of the answer; [`redirect`] brings
//! it to the client.

mod html;
mod page;
mod redirect;
mod request;
mod sign_in;
pub(crate) mod sign_out;

use axum::response::Response;

use self::html::trouble;
use self::redirect::Redirect;
use self::request::AuthorizationRequest;
use crate::dev_tenant::Inner;
use crate::endpoint::Parameters;
use crate::entra_error::EntraError;

/// What the user's part was.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// None yet.
    Nothing,
    SignsIn(String),
    Declines,
}

impl Choice {
    /// By the fields `user` and `decline` of the page's form; the others are parameters of the
    /// request (OpenID Connect Core §3.1.2.1 lets it come as a form).
    pub(crate) fn take(form: &mut Parameters) -> Self {
        let user = form.take("user").filter(|user| !user.is_empty());
        match (form.take("decline"), user) {
            (Some(_), _) => Self::Declines,
            (None, Some(user)) => Self::SignsIn(user),
            (None, None) => Self::Nothing,
        }
    }
}

/// What comes of a request and of the user's part.
pub(crate) enum Outcome {
    /// The user is asked.
    Asked(Response),
    /// The client is told.
    Redirected(Redirect),
    /// Nobody but the user can be told.
    Failed(EntraError),
}

pub(crate) fn answer(
    tenant: &Inner,
    authority: &str,
    parameters: &Parameters,
    choice: &Choice,
) -> Response {
    match outcome(tenant, authority, parameters, choice) {
        Outcome::Asked(page) => page,
        Outcome::Redirected(redirect) => redirect.into_response(),
        Outcome::Failed(error) => trouble(&error.description(&tenant.issuer.clock)),
    }
}

pub(crate) fn outcome(
    tenant: &Inner,
    authority: &str,
    parameters: &Parameters,
    choice: &Choice,
) -> Outcome {
    let request = match AuthorizationRequest::parse(tenant, authority, parameters) {
        Ok(request) => request,
        Err(request::Refusal::ToUser(error)) => return Outcome::Failed(error),
        Err(request::Refusal::ToClient(redirect)) => return Outcome::Redirected(redirect),
    };
    match choice {
        Choice::Declines => Outcome::Redirected(request.declined(tenant)),
        Choice::SignsIn(user) => request.signed_in(tenant, user),
        Choice::Nothing if request.is_silent => Outcome::Redirected(request.silently(tenant)),
        Choice::Nothing => Outcome::Asked(page::ask(tenant, &request, parameters)),
    }
}
