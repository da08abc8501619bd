//! The handle on the tenant's users and its administrator: signing in without a browser, and what
//! becomes of accounts, sessions and consent.

use axum::http::{Method, Uri};

use super::DevTenant;
use crate::endpoint::RecordedRequest;
use crate::oauth::{ScopeChange, UserChange, pick_user};

/// A handle on the users of a [`DevTenant`] and on its administrator; made by [`DevTenant::people`].
///
/// Users are called by the names that [`DevTenantBuilder::users`](crate::DevTenantBuilder::users)
/// registered: `ada` and `grace`, unless it was called.
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

    /// Signs this user in, without a browser and without HTTP: picks the user on the page that the
    /// authorization request leads to, and returns the URL to which the answer redirects, with
    /// `code` and `state`, or with `error`.
    ///
    /// It counts as a request to the [authorization endpoint](DevTenant::authorize_endpoint); the
    /// endpoint's faults do not touch it.
    ///
    /// # Panics
    /// If the tenant redirects to nowhere, since the client, the redirect URI or the user is not
    /// registered: the text is Entra's.
    #[must_use]
    pub fn sign_in(self, user: &str, authorize_url: &str) -> String {
        self.choose(authorize_url, Some(user))
    }

    /// Declines in place of [signing in](Self::sign_in), and returns the URL likewise.
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
            .unwrap_or_else(|error| panic!("{authorize_url:?} is no URL: {error}"));
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

    /// Starts a session of this user, who is signed in for requests with `prompt=none` until another
    /// is, the [sessions are revoked](Self::revoke_sessions), or a browser is signed out at
    /// `/oauth2/v2.0/logout`. At first there is none.
    ///
    /// # Panics
    /// If nobody of this name can sign in.
    pub fn start_session(self, user: &str) {
        self.0
            .served
            .tenant
            .change_user(user, UserChange::StartSession);
    }

    /// Ends the user's sign-ins: the codes and refresh tokens that they led to are refused from now
    /// on (AADSTS50173), as after a changed password.
    ///
    /// # Panics
    /// If nobody of this name can sign in.
    pub fn revoke_sessions(self, user: &str) {
        self.0
            .served
            .tenant
            .change_user(user, UserChange::RevokeSessions);
    }

    /// Disables the user's account: no sign-in, no code and no refresh token of the user is of use
    /// from now on (AADSTS50057).
    ///
    /// # Panics
    /// If nobody of this name can sign in.
    pub fn disable(self, user: &str) {
        self.0.served.tenant.change_user(user, UserChange::Disable);
    }

    /// Ends [`disable`](Self::disable).
    ///
    /// # Panics
    /// If nobody of this name can sign in.
    pub fn enable(self, user: &str) {
        self.0.served.tenant.change_user(user, UserChange::Enable);
    }

    /// Makes Conditional Access want more of this user: codes, refresh tokens and `prompt=none` are
    /// answered with `interaction_required` (AADSTS50076) and `claims`, until the user has signed
    /// in again.
    ///
    /// # Panics
    /// If nobody of this name can sign in.
    pub fn require_interaction(self, user: &str) {
        self.0
            .served
            .tenant
            .change_user(user, UserChange::RequireInteraction);
    }

    /// Withdraws everybody's consent to this scope, such as `api://…/Reports.Read` or `User.Read`.
    ///
    /// The token endpoint refuses it from now on (AADSTS65001), and `prompt=none` is answered with
    /// `consent_required`. A user who signs in on the page consents again.
    ///
    /// # Panics
    /// If it is no scope of an API that there is.
    pub fn withdraw_consent(self, scope: &str) {
        self.0
            .served
            .tenant
            .change_scope(scope, ScopeChange::Withdraw);
    }

    /// Lets only an administrator consent to this scope from now on: users who sign in for it are
    /// sent back with `access_denied` (AADSTS90094), until the administrator
    /// [approves](Self::approve_as_admin).
    ///
    /// # Panics
    /// If it is no scope of an API that there is.
    pub fn require_admin_approval(self, scope: &str) {
        self.0
            .served
            .tenant
            .change_scope(scope, ScopeChange::RequireAdmin);
    }

    /// Consents to this scope for everybody, as the administrator. A request with `prompt=consent`
    /// asks again nevertheless, and so a user who sends it is sent back as before.
    ///
    /// # Panics
    /// If it is no scope of an API that there is.
    pub fn approve_as_admin(self, scope: &str) {
        self.0
            .served
            .tenant
            .change_scope(scope, ScopeChange::Approve);
    }
}
