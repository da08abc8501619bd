//! Who is calling, as handlers see it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use entra_jwt_core::AccessToken;

/// A verified caller: the [`AccessToken`], by `Deref`, and the token as it was sent.
///
/// The Layer puts it into the request's extensions; with the feature `axum` it is an extractor.
/// Cloning costs one reference count. Its `Debug` shows neither the token nor a claim about a
/// person.
#[derive(Clone)]
pub struct Caller(Arc<Verified>);

struct Verified {
    token: AccessToken,
    raw: Arc<str>,
    verified_by: AuthId,
}

/// Which `EntraAuth` verified a caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct AuthId(pub(crate) u64);

impl Caller {
    pub(crate) fn new(token: AccessToken, raw: Arc<str>, verified_by: AuthId) -> Self {
        Self(Arc::new(Verified {
            token,
            raw,
            verified_by,
        }))
    }

    /// The token as the client sent it: a secret. Never log it, and never forward it to another
    /// service; exchange it for a token of that service instead (on-behalf-of).
    #[must_use]
    pub fn bearer_token(&self) -> &str {
        &self.0.raw
    }

    pub(crate) fn verified_by(&self) -> AuthId {
        self.0.verified_by
    }
}

impl Deref for Caller {
    type Target = AccessToken;

    fn deref(&self) -> &AccessToken {
        &self.0.token
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Caller")
            .field(&self.0.token)
            .finish()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::time::SystemTime;

    use entra_dev_tenant::DevTenant;
    use entra_jwt_core::{KeySet, TenantId, Validator};

    use super::*;

    /// A caller of a tenant that is made for it.
    pub(crate) async fn caller() -> Caller {
        let api = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
        let tenant = DevTenant::start().await.unwrap();
        let id: TenantId = tenant.id().parse().unwrap();
        let keys = KeySet::from_jwks(tenant.jwks().as_bytes()).unwrap();
        let rules = Validator::entra(id, api.parse().unwrap()).build().unwrap();
        let raw = tenant.user("ada").scope("Reports.Read").for_api(api).mint();
        let token = rules.validate(&raw, &keys, SystemTime::now()).unwrap();
        Caller::new(token, raw.into(), AuthId(0))
    }
}
