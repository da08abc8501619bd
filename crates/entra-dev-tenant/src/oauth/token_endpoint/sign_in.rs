//! One sign-in of a user to an application.

use crate::application::Authenticated;
use crate::clock::timestamp;
use crate::dev_tenant::Inner;
use crate::entra_error::EntraError;
use crate::oauth::claims_request::ClaimsRequest;
use crate::oauth::{Requested, Resource};

/// What a code and the refresh tokens after it have in common.
#[derive(Debug)]
pub(crate) struct SignIn {
    pub(crate) user: String,
    pub(crate) client_id: String,
    pub(crate) at: i64,
    pub(crate) claims: ClaimsRequest,
    /// The [generation](crate::oauth::State::generation) of the user's sign-ins that it is of.
    pub(crate) generation: u64,
}

impl SignIn {
    /// That it still counts, for this and for this client.
    pub(super) fn check(
        &self,
        tenant: &Inner,
        client: &Authenticated<'_>,
        requested: &Requested,
        resource: &Resource,
    ) -> Result<(), EntraError> {
        let directory = tenant.directory.lock();
        directory.check_enabled(&self.user)?;
        if self.generation != directory.generation(&self.user) {
            let message = format!(
                "The provided grant has expired due to it being revoked, a fresh auth token is \
                 needed. The user might have changed or reset their password. The grant was \
                 issued on '{}' and the TokensValidFrom date (before which tokens are not valid) \
                 for this user is '{}'.",
                timestamp(self.at),
                timestamp(tenant.issuer.clock.unix_seconds()),
            );
            let error = EntraError::new("invalid_grant", 50_173, message);
            return Err(error.with_suberror("bad_token"));
        }
        directory.check_needs_no_interaction(&self.user, resource.id())?;
        directory
            .consents
            .check(&self.user, client.application, requested)
            .map_err(|error| error.with_suberror("consent_required"))
    }
}

/// A code or a refresh token that is nobody's, or another client's.
pub(super) fn unknown_grant() -> EntraError {
    let message = "Provided grant is invalid or malformed.";
    EntraError::new("invalid_grant", 70_000, message)
}
