//! What users let applications do in their names.

use crate::application::AppRegistration;
use crate::entra_error::EntraError;
use crate::oauth::{Permission, Requested, Resource};

/// Of all users, in the order in which they were given.
#[derive(Default)]
pub(crate) struct Consents {
    given: Vec<Consent>,
    admin_only: Vec<Scope>,
    admin_approved: Vec<Scope>,
}

struct Consent {
    user: String,
    client_id: String,
    scope: Scope,
}

type Scope = (Resource, String);

impl Consents {
    /// The user's names of this API's scopes that this application may have. Entra writes all of
    /// them into each token for the API, whichever were asked for.
    pub(crate) fn granted(&self, user: &str, client_id: &str, resource: &Resource) -> Vec<String> {
        let given = self.given.iter().filter(|consent| {
            consent.user == user && consent.client_id == client_id && consent.scope.0 == *resource
        });
        given.map(|consent| consent.scope.1.clone()).collect()
    }

    /// The user agrees, as far as that is the user's to say.
    pub(crate) fn give(&mut self, user: &str, client_id: &str, scopes: Vec<Scope>) {
        for scope in scopes {
            let consent = Consent {
                user: user.to_owned(),
                client_id: client_id.to_owned(),
                scope,
            };
            let is_same = |old: &Consent| {
                old.user == consent.user
                    && old.client_id == consent.client_id
                    && old.scope == consent.scope
            };
            if !self.given.iter().any(is_same) {
                self.given.push(consent);
            }
        }
    }

    pub(crate) fn withdraw(&mut self, permission: &Permission) {
        let scope = scope_of(permission);
        self.given.retain(|consent| consent.scope != scope);
    }

    pub(crate) fn require_admin(&mut self, permission: &Permission) {
        self.withdraw(permission);
        let scope = scope_of(permission);
        self.admin_approved.retain(|approved| *approved != scope);
        self.admin_only.push(scope);
    }

    pub(crate) fn approve(&mut self, permission: &Permission) {
        self.admin_approved.push(scope_of(permission));
    }

    /// Whether only an administrator can say yes: `prompt=consent` asks again, whatever was
    /// approved.
    pub(crate) fn needs_admin(&self, scopes: &[Scope], asks_again: bool) -> bool {
        scopes.iter().any(|scope| {
            self.admin_only.contains(scope) && (asks_again || !self.admin_approved.contains(scope))
        })
    }

    /// That all that is requested is granted, `.default` being whatever is.
    pub(crate) fn check(
        &self,
        user: &str,
        client: &AppRegistration,
        requested: &Requested,
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

fn scope_of(permission: &Permission) -> Scope {
    (permission.resource.clone(), permission.name.clone())
}
