//! What comes of a user's answer, or of the user's being signed in already.

use std::sync::Arc;

use super::Outcome;
use super::redirect::Redirect;
use super::request::AuthorizationRequest;
use crate::dev_tenant::Inner;
use crate::entra_error::EntraError;
use crate::oauth::token_endpoint::{Code, SignIn};
use crate::text::random_guid;

impl AuthorizationRequest<'_> {
    pub(super) fn declined(self, tenant: &Inner) -> Redirect {
        let message = "User declined to consent to access the app.";
        let error = EntraError::new("access_denied", 65_004, message).with_suberror("cancel");
        self.redirect.with_error(tenant, &error)
    }

    /// The user picked this name, and so consents to what only needs a user's consent.
    pub(super) fn signed_in(self, tenant: &Inner, name: &str) -> Outcome {
        let Some(user) = tenant.directory.find(name) else {
            let message = format!(
                "The user account {name} does not exist in the {} directory. To sign into this \
                 application, the account must be added to the directory.",
                tenant.issuer.realm.id,
            );
            return Outcome::Failed(EntraError::new("invalid_grant", 50_034, message));
        };
        let scopes = self.requested.scopes(tenant);
        {
            let mut directory = tenant.directory.lock();
            if let Err(error) = directory.check_enabled(user) {
                return Outcome::Failed(error);
            }
            if directory
                .consents
                .needs_admin(&scopes, self.asks_consent_again)
            {
                drop(directory);
                return Outcome::Redirected(self.needs_admin(tenant));
            }
            directory.consents.give(user, &self.client.id, scopes);
            directory.must_interact.remove(user);
        }
        Outcome::Redirected(self.code(tenant, user))
    }

    /// `prompt=none`: with the user who is signed in, or not at all.
    pub(super) fn silently(self, tenant: &Inner) -> Redirect {
        let signed_in = tenant.directory.lock().signed_in.clone();
        let Some(user) = signed_in else {
            let message = "Session information is not sufficient for single-sign-on.";
            let error = EntraError::new("login_required", 50_058, message);
            return self.redirect.with_error(tenant, &error);
        };
        let found = {
            let directory = tenant.directory.lock();
            let resource = self.requested.resources();
            let resource = resource.first().map_or(&*self.client.id, |one| one.id());
            directory
                .check_enabled(&user)
                .map_err(|error| error.renamed("interaction_required"))
                .and_then(|()| directory.check_needs_no_interaction(&user, resource))
                .and_then(|()| {
                    let consents = &directory.consents;
                    let checked = consents.check(&user, self.client, &self.requested);
                    checked.map_err(|error| error.renamed("consent_required"))
                })
        };
        match found {
            Ok(()) => self.code(tenant, &user),
            Err(error) => self.redirect.with_error(tenant, &error),
        }
    }

    fn needs_admin(self, tenant: &Inner) -> Redirect {
        let message = format!(
            "{} needs permission to access resources in your organization that only an admin can \
             grant. Please ask an admin to grant permission to this app before you can use it.",
            self.client.display_name(),
        );
        let error = EntraError::new("access_denied", 90_094, message);
        self.redirect.with_error(tenant, &error)
    }

    fn code(self, tenant: &Inner, user: &str) -> Redirect {
        let code = Code {
            sign_in: Arc::new(SignIn {
                user: user.to_owned(),
                client_id: self.client.id.clone(),
                at: tenant.issuer.clock.unix_seconds(),
                claims: self.claims,
                generation: tenant.directory.lock().generation(user),
            }),
            redirect_uri: self.redirect.uri.clone(),
            challenge: self.challenge,
            nonce: self.nonce,
            is_redeemed: false,
        };
        let code = tenant.grants.add_code(code);
        let session = ("session_state", random_guid());
        self.redirect.with(vec![("code", code), session])
    }
}
