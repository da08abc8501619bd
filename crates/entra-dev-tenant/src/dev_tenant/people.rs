//! The handle on the tenant's users and administrator: sign-ins without a browser, accounts,
//! sessions and consent.

use axum::http::{Method, Uri};

use super::DevTenant;
use crate::endpoint::RecordedRequest;
use crate::oauth::{ScopeChange, UserChange, pick_user};

/// A handle on the users of a [`DevTenant`] and on its administrator.
///
/// [`DevTenant::people`] returns it. Its methods take the names of users that
/// [`DevTenantBuilder::users`](crate::DevTenantBuilder::users) has registered, by default `ada` and
/// `grace`.
///
/// ```
/// # fn check(tenant: &entra_dev_tenant::DevTenant, authorize_url: &str) {
/// let people = tenant.people();
/// let callback = people.sign_in("ada", authorize_url);
/// assert!(callback.contains("code="));
/// people.disable("ada"); // now Entra's AADSTS50057
/// people.require_admin_approval("User.Read");
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct People<'t>(&'t DevTenant);

impl<'t> People<'t> {
    pub(super) fn of(tenant: &'t DevTenant) -> Self {
        Self(tenant)
    }

    /// Signs this user in without a browser, and returns the URL to which the response redirects.
    ///
    /// The method picks the user on the page to which the authorization request leads, even if
    /// another user has a session. The URL has `code` and `state`, or `error`. No HTTP request is
    /// sent, and no session starts.
    ///
    /// The call counts as a request to the [authorization endpoint](DevTenant::authorize_endpoint).
    /// The endpoint's faults do not affect it.
    ///
    /// # Panics
    /// If the URL is not that of an authorization request, or if the tenant does not redirect. The
    /// tenant does not redirect, for example, if the client, the redirect URI or the user is not
    /// registered, or if the user is disabled. The panic's message is then Entra's.
    #[must_use]
    pub fn sign_in(self, user: &str, authorize_url: &str) -> String {
        self.choose(authorize_url, Some(user))
    }

    /// Declines the sign-in, as a user can on the page, and returns the URL to which the response
    /// redirects.
    ///
    /// # Panics
    /// As [`sign_in`](Self::sign_in) does.
    #[must_use]
    pub fn decline(self, authorize_url: &str) -> String {
        self.choose(authorize_url, None)
    }

    fn choose(self, authorize_url: &str, user: Option<&str>) -> String {
        let uri: Uri = authorize_url
            .parse()
            .unwrap_or_else(|error| panic!("{authorize_url:?} is not a URL: {error}"));
        let mut segments = uri.path().trim_start_matches('/').split('/');
        let authority = segments.next().unwrap_or_default().to_owned();
        assert!(
            segments.eq(["oauth2", "v2.0", "authorize"]),
            "{authorize_url:?} is not the URL of an authorization request"
        );
        let mut request = axum::http::Request::new(());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = uri;
        let recorded = RecordedRequest::of(&request);
        let (parameters, _) = recorded.parameters();
        self.0.served.authorize_endpoint.record(recorded);
        let tenant = &self.0.served.tenant;
        pick_user(tenant, &authority, &parameters, user)
            .unwrap_or_else(|error| panic!("{}", error.description(&self.0.issuer().clock)))
    }

    /// Starts a session of this user in every browser that has no [session of its
    /// own](crate#single-sign-on), and in every client without cookies.
    ///
    /// The session lasts until this method starts another user's, this user's [sessions are
    /// revoked](Self::revoke_sessions), or a browser signs out at `/oauth2/v2.0/logout`. A new
    /// tenant has no session.
    ///
    /// # Panics
    /// If no user has this name.
    pub fn start_session(self, user: &str) {
        self.0
            .served
            .tenant
            .change_user(user, UserChange::StartSession);
    }

    /// Ends the user's sessions and sign-ins, as after a change of the password.
    ///
    /// The tenant refuses the codes and refresh tokens of these sign-ins from now on (AADSTS50173).
    ///
    /// # Panics
    /// If no user has this name.
    pub fn revoke_sessions(self, user: &str) {
        self.0
            .served
            .tenant
            .change_user(user, UserChange::RevokeSessions);
    }

    /// Disables the user's account.
    ///
    /// From now on, the tenant refuses every sign-in, code and refresh token of the user
    /// (AADSTS50057).
    ///
    /// # Panics
    /// If no user has this name.
    pub fn disable(self, user: &str) {
        self.0.served.tenant.change_user(user, UserChange::Disable);
    }

    /// Enables the user's account again after [`disable`](Self::disable).
    ///
    /// # Panics
    /// If no user has this name.
    pub fn enable(self, user: &str) {
        self.0.served.tenant.change_user(user, UserChange::Enable);
    }

    /// Makes Conditional Access require another sign-in of this user.
    ///
    /// Codes, refresh tokens and `prompt=none` get `interaction_required` (AADSTS50076) with
    /// `claims`, and other requests get the page despite a session, until the user has signed in
    /// there again.
    ///
    /// # Panics
    /// If no user has this name.
    pub fn require_interaction(self, user: &str) {
        self.0
            .served
            .tenant
            .change_user(user, UserChange::RequireInteraction);
    }

    /// Withdraws the consent of all users to this scope, such as `api://…/Reports.Read` or
    /// `User.Read`.
    ///
    /// The token endpoint refuses the scope from now on (AADSTS65001), and requests with
    /// `prompt=none` get `consent_required`. A user who signs in on the page, which is shown despite
    /// a session, consents again.
    ///
    /// # Panics
    /// If the scope is malformed, or its API does not exist.
    pub fn withdraw_consent(self, scope: &str) {
        self.0
            .served
            .tenant
            .change_scope(scope, ScopeChange::Withdraw);
    }

    /// Lets only an administrator consent to this scope from now on.
    ///
    /// Existing consents to the scope end. Users who sign in for the scope are sent back with
    /// `access_denied` (AADSTS90094), until the administrator [approves](Self::approve_as_admin)
    /// it.
    ///
    /// # Panics
    /// If the scope is malformed, or its API does not exist.
    pub fn require_admin_approval(self, scope: &str) {
        self.0
            .served
            .tenant
            .change_scope(scope, ScopeChange::RequireAdmin);
    }

    /// Approves this scope as the administrator, so that users can consent to it when they sign in.
    ///
    /// A request with `prompt=consent` asks for consent again, despite the approval. A user who
    /// sends it for a scope that [requires approval](Self::require_admin_approval) is sent back
    /// with `access_denied` as before.
    ///
    /// # Panics
    /// If the scope is malformed, or its API does not exist.
    pub fn approve_as_admin(self, scope: &str) {
        self.0
            .served
            .tenant
            .change_scope(scope, ScopeChange::Approve);
    }
}
