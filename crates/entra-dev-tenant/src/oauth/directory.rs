//! The state of the tenant's users: sessions, required sign-ins and consents.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Permission, RequestedScopes, Resource, ScopeChange, UserChange};
use crate::application::AppRegistration;
use crate::entra_error::EntraError;

#[derive(Default)]
pub(super) struct Directory {
    /// The user of each browser's session, by the value of its cookie. `None` is the session of the
    /// browsers that have none of their own.
    pub(super) sessions: HashMap<Option<String>, String>,
    disabled: BTreeSet<String>,
    must_interact: BTreeSet<String>,
    /// Number of times that each user's sign-ins were revoked.
    revocations: BTreeMap<String, u64>,
    /// The consents of all users, in the order in which they were given.
    consents: Vec<Consent>,
    admin_only: Vec<ApiScope>,
    admin_approved: Vec<ApiScope>,
}

/// A user's permission for an application to act in the user's name.
#[derive(PartialEq)]
struct Consent {
    user: String,
    client_id: String,
    scope: ApiScope,
}

/// A scope, by its API and short name.
type ApiScope = (Resource, String);

impl Directory {
    pub(super) fn change_user(&mut self, user: &str, change: UserChange) {
        let name = user.to_owned();
        match change {
            UserChange::StartSession => {
                self.sessions.insert(None, name);
            }
            UserChange::RevokeSessions => {
                *self.revocations.entry(name).or_default() += 1;
                self.sessions.retain(|_, signed_in| signed_in != user);
            }
            UserChange::Disable => {
                self.disabled.insert(name);
            }
            UserChange::Enable => {
                self.disabled.remove(user);
            }
            UserChange::RequireInteraction => {
                self.must_interact.insert(name);
            }
        }
    }

    pub(super) fn change_scope(&mut self, scope: ApiScope, change: ScopeChange) {
        if let ScopeChange::Approve = change {
            self.admin_approved.push(scope);
            return;
        }
        self.consents.retain(|consent| consent.scope != scope);
        if let ScopeChange::RequireAdmin = change {
            self.admin_approved.retain(|approved| *approved != scope);
            self.admin_only.push(scope);
        }
    }

    /// Returns the current generation of the user's sign-ins. Sign-ins of earlier generations are
    /// revoked.
    pub(super) fn generation(&self, user: &str) -> u64 {
        self.revocations.get(user).copied().unwrap_or_default()
    }

    /// Returns the short names of this API's scopes to which the user has consented for the
    /// application. Entra writes all of them into each token for the API, even those that the
    /// client did not request.
    pub(super) fn granted(&self, user: &str, client_id: &str, api: &Resource) -> Vec<String> {
        let given = self.consents.iter().filter(|consent| {
            consent.user == user && consent.client_id == client_id && consent.scope.0 == *api
        });
        given.map(|consent| consent.scope.1.clone()).collect()
    }

    /// Records that the user has signed in and consents to the scopes.
    ///
    /// Returns `false`, and records nothing, if only an administrator can consent. With
    /// `prompt=consent` (`asks_again`), an earlier approval by the administrator does not count.
    pub(super) fn record_consent(
        &mut self,
        user: &str,
        client_id: &str,
        scopes: Vec<ApiScope>,
        asks_again: bool,
    ) -> bool {
        let needs_admin = |scope: &ApiScope| {
            self.admin_only.contains(scope) && (asks_again || !self.admin_approved.contains(scope))
        };
        if scopes.iter().any(needs_admin) {
            return false;
        }
        for scope in scopes {
            let consent = Consent {
                user: user.to_owned(),
                client_id: client_id.to_owned(),
                scope,
            };
            if !self.consents.contains(&consent) {
                self.consents.push(consent);
            }
        }
        self.must_interact.remove(user);
        true
    }

    pub(super) fn check_enabled(&self, user: &str) -> Result<(), EntraError> {
        if self.disabled.contains(user) {
            let message = "The user account is disabled.";
            return Err(EntraError::new("invalid_grant", 50_057, message));
        }
        Ok(())
    }

    /// Checks that Conditional Access does not require another sign-in of the user.
    pub(super) fn check_needs_no_interaction(
        &self,
        user: &str,
        resource: &str,
    ) -> Result<(), EntraError> {
        match self.must_interact.contains(user) {
            true => Err(EntraError::interaction_required(resource)),
            false => Ok(()),
        }
    }

    /// Checks that the user has consented to all requested scopes. For `.default`, any consent for
    /// its API suffices.
    pub(super) fn check_consent(
        &self,
        user: &str,
        client: &AppRegistration,
        requested: &RequestedScopes,
    ) -> Result<(), EntraError> {
        let is_granted = |permission: &Permission| {
            let granted = self.granted(user, &client.id, &permission.resource);
            match permission.is_default() {
                true => !granted.is_empty(),
                false => granted.contains(&permission.name),
            }
        };
        if requested.permissions.iter().all(is_granted) {
            return Ok(());
        }
        let message = format!(
            "The user or administrator has not consented to use the application with ID '{}' \
             named '{}'. Send an interactive authorization request for this user and resource.",
            client.id,
            client.display_name(),
        );
        Err(EntraError::new("invalid_grant", 65_001, message))
    }
}
