//! A good token without the permission.

use std::borrow::Cow;

/// The token is valid, but does not permit what was asked: 403, not 401.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// The token has neither a scope nor a role, so nobody granted its client anything in this
    /// API. Every application of the tenant can get such a token.
    #[error("the token has neither a scope nor a role")]
    NoPermission,
}

impl Denied {
    /// The machine code, stable across releases.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoPermission => "no_permission",
        }
    }

    /// What to change, and where, so that the next request is permitted.
    #[must_use]
    pub fn remedy(&self) -> Cow<'static, str> {
        match self {
            Self::NoPermission => "grant the client a scope (for users) or an app role (for \
                applications) of this API: App registrations, the client, API permissions, then \
                grant admin consent"
                .into(),
        }
    }
}
