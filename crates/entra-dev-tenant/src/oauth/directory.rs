//! The tenant's users: who there is, who is signed in, and who must come again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::entra_error::EntraError;
use crate::oauth::consent::Consents;

pub(crate) struct Directory {
    names: Vec<String>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) signed_in: Option<String>,
    pub(crate) disabled: BTreeSet<String>,
    pub(crate) must_interact: BTreeSet<String>,
    /// How often their sign-ins were revoked.
    revocations: BTreeMap<String, u64>,
    pub(crate) consents: Consents,
}

impl Directory {
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self {
            names,
            state: Mutex::default(),
        }
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The user of this name, or of a mail address with this name.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        let name = name.split('@').next().unwrap_or(name);
        let found = self.names.iter().find(|one| one.eq_ignore_ascii_case(name));
        found.map(String::as_str)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Which of their sign-ins count: those with this number.
    pub(crate) fn generation(&self, user: &str) -> u64 {
        self.revocations.get(user).copied().unwrap_or_default()
    }

    pub(crate) fn revoke(&mut self, user: &str) {
        *self.revocations.entry(user.to_owned()).or_default() += 1;
        if self.signed_in.as_deref() == Some(user) {
            self.signed_in = None;
        }
    }

    pub(crate) fn check_enabled(&self, user: &str) -> Result<(), EntraError> {
        if self.disabled.contains(user) {
            let message = "The user account is disabled.";
            return Err(EntraError::new("invalid_grant", 50_057, message));
        }
        Ok(())
    }

    /// That Conditional Access lets the user go on without a new sign-in.
    pub(crate) fn check_needs_no_interaction(
        &self,
        user: &str,
        resource: &str,
    ) -> Result<(), EntraError> {
        match self.must_interact.contains(user) {
            true => Err(EntraError::interaction_required(resource)),
            false => Ok(()),
        }
    }
}
