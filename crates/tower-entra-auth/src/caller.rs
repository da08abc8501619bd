//! Who is calling, as handlers see it.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use entra_jwt_core::AccessToken;
use tokio::time::Instant;

use crate::keys::TrustedKey;

/// A verified caller: the [`AccessToken`], by `Deref`, and the token as it was sent.
///
/// The Layer puts it into the request's extensions; with the feature `axum` it is an extractor.
/// Cloning costs one reference count. Its `Debug` shows neither the token nor a claim about a
/// person.
#[derive(Clone)]
pub struct Caller(Arc<Verified>);

struct Verified {
    token: AccessToken,
    proof: Proof,
}

/// How it is known who is calling.
pub(crate) struct Proof {
    pub(crate) verified_by: AuthId,
    /// Which of its issuers.
    pub(crate) issuer: usize,
    /// The key that signed.
    pub(crate) key: Arc<TrustedKey>,
    pub(crate) verified_at: Instant,
}

/// Which `EntraAuth` verified a caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct AuthId(pub(crate) u64);

impl Caller {
    pub(crate) fn new(token: AccessToken, proof: Proof) -> Self {
        Self(Arc::new(Verified { token, proof }))
    }

    /// The token as the client sent it: a secret. Never log it, and never forward it to another
    /// service; exchange it for a token of that service instead (on-behalf-of).
    #[must_use]
    pub fn bearer_token(&self) -> &str {
        self.0.token.compact()
    }

    pub(crate) fn verified_by(&self) -> AuthId {
        self.0.proof.verified_by
    }

    pub(crate) fn proof(&self) -> &Proof {
        &self.0.proof
    }

    pub(crate) fn verified_at(&self) -> Instant {
        self.0.proof.verified_at
    }

    /// About how many bytes of memory it takes, once for all its clones.
    pub(crate) fn memory_size(&self) -> usize {
        self.0.token.memory_size() + size_of::<Proof>()
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
impl Caller {
    /// Whether both are clones of one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::time::SystemTime;

    use entra_dev_tenant::DevTenant;
    use entra_jwt_core::{KeySet, TenantId, Validator};

    use super::*;
    use crate::keys::Timeline;

    /// A caller of a tenant that is made for it.
    pub(crate) async fn caller() -> Caller {
        let api = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
        let tenant = DevTenant::start().await.unwrap();
        let id: TenantId = tenant.id().parse().unwrap();
        let keys = KeySet::from_jwks(tenant.jwks().as_bytes()).unwrap();
        let rules = Validator::entra(id, api.parse().unwrap()).build().unwrap();
        let raw = tenant.user("ada").scope("Reports.Read").for_api(api).mint();
        let token = rules.validate(&raw, &keys, SystemTime::now()).unwrap();
        let key = keys.iter().next().unwrap();
        let now = Instant::now();
        let proof = Proof {
            verified_by: AuthId(0),
            issuer: 0,
            key: Arc::new(TrustedKey::new(Arc::clone(key), Timeline::new(now), now)),
            verified_at: now,
        };
        Caller::new(token, proof)
    }
}
