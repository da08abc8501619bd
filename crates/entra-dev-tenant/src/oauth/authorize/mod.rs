//! The authorization endpoint, at which a user signs in and the client gets a code, and the
//! end-session endpoint, at which the user signs out.
//!
//! A request passes these parts in order. [`request`] checks the request and finds the recipient of
//! the response. [`session`] finds the user who is already signed in in the browser. [`page`] asks
//! who signs in. This module handles the user's choice, and sends the result to the client by a
//! [`Redirect`].

mod page;
mod request;
mod session;

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::{Challenge, ClaimsRequest, Code, RequestedScopes, Resource, SignIn, Tenant, opaque};
use crate::application::{AppRegistration, Platform};
use crate::endpoint::Parameters;
use crate::entra_error::EntraError;
use crate::text::random_guid;

/// A valid request, whose response may go to its client.
struct AuthorizationRequest<'t> {
    client: &'t AppRegistration,
    redirect: Redirect,
    platform: Platform,
    requested: RequestedScopes,
    /// Each requested scope by its API and short name. `.default` is replaced by the scopes that it
    /// stands for.
    scopes: Vec<(Resource, String)>,
    challenge: Option<Challenge>,
    nonce: Option<String>,
    claims: ClaimsRequest,
    login_hint: Option<String>,
    prompt: Option<Prompt>,
}

/// The values of `prompt`
/// (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#request-an-authorization-code>,
/// December 2026).
#[derive(Clone, Copy, Eq, PartialEq)]
enum Prompt {
    /// No page is shown.
    None,
    Login,
    SelectAccount,
    /// The user consents again.
    Consent,
}

/// The choice of the user on the sign-in page.
enum UserChoice {
    /// No choice yet.
    Nothing,
    SignsIn(String),
    Declines,
}

impl UserChoice {
    /// Takes the choice out of the form, from the fields `user` and `decline`. The other fields are
    /// parameters of the request, which may come as a form (OpenID Connect Core §3.1.2.1).
    fn take(form: &mut Parameters) -> Self {
        let user = form.take("user").filter(|user| !user.is_empty());
        match (form.take("decline"), user) {
            (Some(_), _) => Self::Declines,
            (None, Some(user)) => Self::SignsIn(user),
            (None, None) => Self::Nothing,
        }
    }
}

/// The refusal of a request.
enum RequestRefusal {
    /// Refused before the client and its redirect URI are known to be registered.
    ToUser(EntraError),
    ToClient(Redirect),
}

/// The next step of a sign-in.
enum NextStep {
    /// The page asks the user to choose.
    Ask(Response),
    /// The client gets the result.
    Redirect(Redirect),
    /// The user has signed in on the page, and the client gets the result.
    SignedIn(String, Redirect),
    /// Only the user sees the error.
    Fail(EntraError),
}

/// A response to the client, by way of the browser.
#[derive(Clone)]
struct Redirect {
    uri: String,
    mode: ResponseMode,
    state: Option<String>,
    parameters: Vec<(&'static str, String)>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum ResponseMode {
    Query,
    Fragment,
    FormPost,
}

/// Responds to a request, whose form may contain the user's choice.
pub(crate) fn authorize(
    tenant: &Tenant,
    authority: &str,
    headers: &HeaderMap,
    query: Parameters,
    mut form: Parameters,
) -> Response {
    let choice = UserChoice::take(&mut form);
    let mut parameters = query;
    parameters.extend(form);
    let session = session::user(tenant, headers);
    match next_step(tenant, authority, &parameters, &choice, session.as_deref()) {
        NextStep::Ask(page) => page,
        NextStep::Redirect(redirect) => redirect.into_response(),
        NextStep::SignedIn(user, redirect) => {
            let mut response = redirect.into_response();
            session::replace(tenant, headers, Some(user), &mut response);
            response
        }
        NextStep::Fail(error) => page::trouble(&error.description(&tenant.issuer.clock)),
    }
}

/// Picks this user on the page, or declines if there is none, and returns the URL to which the
/// browser is redirected. No session starts.
pub(crate) fn pick_user(
    tenant: &Tenant,
    authority: &str,
    parameters: &Parameters,
    user: Option<&str>,
) -> Result<String, EntraError> {
    let choice = match user {
        Some(name) => UserChoice::SignsIn(name.to_owned()),
        None => UserChoice::Declines,
    };
    match next_step(tenant, authority, parameters, &choice, None) {
        NextStep::Redirect(redirect) | NextStep::SignedIn(_, redirect) => Ok(redirect.url()),
        NextStep::Fail(error) => Err(error),
        NextStep::Ask(_) => unreachable!("the user has answered"),
    }
}

/// Signs the browser out, and redirects it to `post_logout_redirect_uri` if any application has
/// registered this URI as a redirect URI.
///
/// No parameter names the application. Without such a URI, the response is a page
/// (<https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc#send-a-sign-out-request>).
pub(crate) fn sign_out(
    tenant: &Tenant,
    authority: &str,
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Response {
    if let Err(error) = tenant.issuer.realm.authority(authority) {
        return page::trouble(&error.description(&tenant.issuer.clock));
    }
    let uri = parameters.get("post_logout_redirect_uri");
    let uri = uri.filter(|uri| {
        let mut applications = tenant.applications.iter();
        applications.any(|application| application.requested_redirect_uri(Some(uri)).is_ok())
    });
    let mut response = match uri.and_then(|uri| HeaderValue::from_str(uri).ok()) {
        Some(uri) => (StatusCode::FOUND, [(header::LOCATION, uri)]).into_response(),
        None => page::signed_out(),
    };
    session::replace(tenant, headers, None, &mut response);
    tenant.directory().sessions.remove(&None);
    response
}

fn next_step(
    tenant: &Tenant,
    authority: &str,
    parameters: &Parameters,
    choice: &UserChoice,
    session: Option<&str>,
) -> NextStep {
    let request = match request::read(tenant, authority, parameters) {
        Ok(request) => request,
        Err(RequestRefusal::ToUser(error)) => return NextStep::Fail(error),
        Err(RequestRefusal::ToClient(redirect)) => return NextStep::Redirect(redirect),
    };
    match choice {
        UserChoice::Declines => {
            let message = "User declined to consent to access the app.";
            let error = EntraError::new("access_denied", 65_004, message).with_suberror("cancel");
            NextStep::Redirect(request.redirect.with_error(tenant, &error))
        }
        UserChoice::SignsIn(user) => signed_in(tenant, request, user),
        UserChoice::Nothing => match (request.prompt, silent_user(tenant, &request, session)) {
            (None | Some(Prompt::None), Ok(user)) => {
                NextStep::Redirect(with_code(tenant, request, user))
            }
            (Some(Prompt::None), Err(error)) => {
                NextStep::Redirect(request.redirect.with_error(tenant, &error))
            }
            (_, _) => NextStep::Ask(page::ask(tenant, &request, parameters)),
        },
    }
}

/// Signs in the user with this name. By signing in, the user consents to the scopes that need no
/// administrator.
fn signed_in(tenant: &Tenant, request: AuthorizationRequest<'_>, name: &str) -> NextStep {
    let Some(user) = tenant.user(name) else {
        let message = format!(
            "The user account {name} does not exist in the {} directory. To sign into this \
             application, the account must be added to the directory.",
            tenant.issuer.realm.id,
        );
        return NextStep::Fail(EntraError::new("invalid_grant", 50_034, message));
    };
    {
        let mut directory = tenant.directory();
        if let Err(error) = directory.check_enabled(user) {
            return NextStep::Fail(error);
        }
        let client_id = &request.client.id;
        let asks_again = request.prompt == Some(Prompt::Consent);
        if !directory.record_consent(user, client_id, request.scopes.clone(), asks_again) {
            let message = format!(
                "{} needs permission to access resources in your organization that only an admin \
                 can grant. Please ask an admin to grant permission to this app before you can use \
                 it.",
                request.client.display_name(),
            );
            let error = EntraError::new("access_denied", 90_094, message);
            let redirect = request.redirect.with_error(tenant, &error);
            return NextStep::SignedIn(user.to_owned(), redirect);
        }
    }
    NextStep::SignedIn(user.to_owned(), with_code(tenant, request, user))
}

/// Returns the user of the browser's session, if no interaction is needed.
fn silent_user<'s>(
    tenant: &Tenant,
    request: &AuthorizationRequest<'_>,
    session: Option<&'s str>,
) -> Result<&'s str, EntraError> {
    let login_required = |message: &str| EntraError::new("login_required", 50_058, message);
    let user = session.ok_or_else(|| {
        login_required("Session information is not sufficient for single-sign-on.")
    })?;
    let hint = request.login_hint.as_deref();
    if hint.is_some_and(|hint| tenant.user(hint) != Some(user)) {
        // In this wording in Azure/azure-digital-twins-graph-viewer#19 (June 2019).
        return Err(login_required(
            "A silent sign-in request was sent but none of the currently signed in user(s) match \
             the requested login hint.",
        ));
    }
    let directory = tenant.directory();
    let apis = request.requested.resources();
    let api = apis.first().map_or(&*request.client.id, |api| api.id());
    directory
        .check_enabled(user)
        .map_err(|error| error.renamed("interaction_required"))?;
    directory.check_needs_no_interaction(user, api)?;
    directory
        .check_consent(user, request.client, &request.requested)
        .map_err(|error| error.renamed("consent_required"))?;
    Ok(user)
}

/// Creates a code for this sign-in, and returns the redirect that brings it to the client.
fn with_code(tenant: &Tenant, request: AuthorizationRequest<'_>, user: &str) -> Redirect {
    let code = Code {
        sign_in: Arc::new(SignIn {
            user: user.to_owned(),
            client_id: request.client.id.clone(),
            platform: request.platform,
            at: tenant.issuer.clock.unix_seconds(),
            claims: request.claims,
            generation: tenant.directory().generation(user),
        }),
        redirect_uri: request.redirect.uri.clone(),
        requested: request.requested,
        challenge: request.challenge,
        nonce: request.nonce,
        is_redeemed: false,
    };
    let text = opaque();
    tenant.grants().codes.insert(text.clone(), code);
    let session = ("session_state", random_guid());
    request.redirect.with(vec![("code", text), session])
}

impl Redirect {
    /// Adds the parameters of the response, and `state`. Entra sends no `iss` (RFC 9207).
    fn with(mut self, parameters: Vec<(&'static str, String)>) -> Self {
        self.parameters = parameters;
        if let Some(state) = self.state.clone() {
            self.parameters.push(("state", state));
        }
        self
    }

    fn with_error(self, tenant: &Tenant, error: &EntraError) -> Self {
        self.with(error.redirect_parameters(&tenant.issuer.clock))
    }

    /// Returns the URL to which the browser is redirected. For a form, which has no such URL, this
    /// is the URL of a query.
    fn url(&self) -> String {
        let parameters = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.parameters)
            .finish();
        let separator = match self.mode {
            ResponseMode::Fragment => '#',
            ResponseMode::Query | ResponseMode::FormPost if self.uri.contains('?') => '&',
            ResponseMode::Query | ResponseMode::FormPost => '?',
        };
        format!("{}{separator}{parameters}", self.uri)
    }

    fn into_response(self) -> Response {
        if self.mode == ResponseMode::FormPost {
            return page::form(&self.uri, &self.parameters);
        }
        let no_store = (
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store, no-cache"),
        );
        match HeaderValue::from_str(&self.url()) {
            Ok(url) => (StatusCode::FOUND, [(header::LOCATION, url), no_store]).into_response(),
            // The redirect URI was registered with a control character in it.
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}
