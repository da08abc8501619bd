//! Who is calling, as handlers see it.

mod handler_refusal;
mod responder;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use entra_jwt_core::{AccessToken, Denied};
use tokio::time::Instant;

pub use self::handler_refusal::HandlerRefusal;
pub(crate) use self::handler_refusal::grpc_metadata;
pub use self::responder::Refused;
#[cfg(feature = "axum")]
pub(crate) use self::responder::wrong_layer;
pub(crate) use self::responder::{Answers, Hook, OnChallenge, Time, for_body, for_method};
use crate::expiry::Expiry;
use crate::keys::TrustedKey;
#[cfg(feature = "axum")]
use crate::respond::Form;
use crate::respond::{ClaimsChallenge, Refusal};

/// A verified caller: the [`AccessToken`], by `Deref`, and the token as it was sent.
///
/// The Layer puts it into the request's extensions; with the feature `axum` it is an extractor.
/// Cloning costs one reference count. Its `Debug` shows neither the token nor a claim about a
/// person.
#[derive(Clone)]
pub struct Caller {
    verified: Arc<Verified>,
    /// How this request wants to be answered, as far as that was looked at.
    #[cfg(feature = "axum")]
    form: Form,
}

struct Verified {
    token: AccessToken,
    /// Of whom verified the token.
    answers: Arc<Answers>,
    /// `None` only of callers that are made up for tests.
    proof: Option<Proof>,
}

/// How it is known who is calling.
pub(crate) struct Proof {
    /// Which of its issuers it is.
    pub(crate) issuer: usize,
    /// The key that signed.
    pub(crate) key: Arc<TrustedKey>,
    pub(crate) verified_at: Instant,
    /// Of which grant it is, if an authorization server in front of Entra reissued it.
    pub(crate) grant: Option<Arc<str>>,
}

/// A request that passed the Layer of this `EntraAuth` without a token: it may, or its path is
/// open. A `Caller` beside it in the request's extensions is of a Layer further in.
#[derive(Clone)]
pub(crate) struct Anonymous(pub(crate) Arc<Answers>);

/// Which `EntraAuth` verified a caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct AuthId(pub(crate) u64);

impl Caller {
    pub(crate) fn new(token: AccessToken, answers: &Arc<Answers>, proof: Proof) -> Self {
        Self::of(Verified {
            token,
            answers: Arc::clone(answers),
            proof: Some(proof),
        })
    }

    /// Whom nobody verified.
    #[cfg(feature = "testing")]
    pub(crate) fn trusted(token: AccessToken, answers: &Arc<Answers>) -> Self {
        Self::of(Verified {
            token,
            answers: Arc::clone(answers),
            proof: None,
        })
    }

    fn of(verified: Verified) -> Self {
        Self {
            verified: Arc::new(verified),
            #[cfg(feature = "axum")]
            form: Form::Text,
        }
    }

    #[cfg(feature = "axum")]
    pub(crate) fn answered_in(self, form: Form) -> Self {
        Self { form, ..self }
    }

    #[cfg(feature = "axum")]
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// The token as the client sent it: a secret. Never log it, and never forward it to another
    /// service; exchange it for a token of that service instead (on-behalf-of).
    #[must_use]
    pub fn bearer_token(&self) -> &str {
        self.verified.token.compact()
    }

    /// The grant that the token is of, if it is none of Entra's, but one of the
    /// [reissued tokens](crate::ReissuedTokens).
    #[must_use]
    pub fn grant_id(&self) -> Option<&str> {
        self.grant().map(|grant| &**grant)
    }

    pub(crate) fn grant(&self) -> Option<&Arc<str>> {
        self.proof()?.grant.as_ref()
    }

    /// The refusal that asks the client for a token with more claims, for a handler to return:
    /// 401 `insufficient_claims` if the client understands claims challenges (`cp1`), else 403. Of a
    /// reissued token it is 401 if its server
    /// [hears of challenges](crate::ReissuedTokens::on_challenge).
    ///
    /// For an authentication context, require it: `auth.require(AuthenticationContext("c1"))?` is
    /// the Layer of a route, and [`RequireLayer::check`](crate::RequireLayer::check) asks for it in
    /// a handler.
    pub fn challenge(&self, claims: ClaimsChallenge) -> HandlerRefusal {
        let refusal = Refusal::challenged(claims, Some(self));
        HandlerRefusal::new(self.answers(), Some(self), refusal)
    }

    /// Waits until the token has expired, and the grace after that is over: to end what lasts
    /// longer than a request, such as a WebSocket. Any time after, it is ready at once.
    ///
    /// The grace is at least the [clock skew](crate::EntraAuthBuilder::clock_skew), 5 minutes by
    /// default: until then the same token would be let in again.
    ///
    /// It ends before that, without a grace, with a no of the
    /// [tenant rule](crate::EntraAuthBuilder::tenant_rule) or the
    /// [grant rule](crate::ReissuedTokens::grant_rule), which are asked again as
    /// [`ExpiryLayer`](crate::ExpiryLayer) says: a client that comes again is refused.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_entra_auth::Caller;
    ///
    /// async fn serve(caller: Caller, socket: impl Future<Output = ()>) {
    ///     tokio::select! {
    ///         () = socket => {}
    ///         () = caller.expiry(Duration::from_secs(300)) => {} // close it: the client asks again
    ///     }
    /// }
    /// # use std::future::Future;
    /// ```
    ///
    /// Responses that stream are ended by a Layer: [`EntraAuth::end_at_expiry`].
    ///
    /// [`EntraAuth::end_at_expiry`]: crate::EntraAuth::end_at_expiry
    pub fn expiry(&self, grace: Duration) -> Expiry {
        let time = self.answers().time();
        let grace = grace.max(time.skew);
        let expired = self.expires_at();
        // Beyond the end of time there is no grace.
        let ends = expired.checked_add(grace);
        let ends = ends.or_else(|| expired.checked_add(time.skew));
        Expiry::new(ends.unwrap_or(expired), self.clone())
    }

    /// Returns whether a challenge gets the client another token: it declares that it understands
    /// claims challenges, or the server from which it has its token hears of them.
    pub(crate) fn understands_challenges(&self) -> bool {
        let mut capabilities = self.client_capabilities();
        self.grant().is_some() && self.answers().tells_of_challenges()
            || capabilities.any(|capability| capability.eq_ignore_ascii_case("cp1"))
    }

    /// Returns the denial with what is known here of whether the client can be challenged.
    pub(crate) fn able_to_step_up(&self, denied: Denied) -> Denied {
        match denied {
            Denied::StepUp { context, .. } => Denied::StepUp {
                context,
                understands_challenges: self.understands_challenges(),
            },
            denied => denied,
        }
    }

    pub(crate) fn verified_by(&self) -> AuthId {
        self.verified.answers.id()
    }

    pub(crate) fn answers(&self) -> &Arc<Answers> {
        &self.verified.answers
    }

    pub(crate) fn proof(&self) -> Option<&Proof> {
        self.verified.proof.as_ref()
    }

    /// About how many bytes of memory it takes, once for all its clones.
    pub(crate) fn memory_size(&self) -> usize {
        self.verified.token.memory_size() + size_of::<Verified>() - size_of::<AccessToken>()
            + self.grant_id().map_or(0, str::len)
    }
}

impl Deref for Caller {
    type Target = AccessToken;

    fn deref(&self) -> &AccessToken {
        &self.verified.token
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Caller")
            .field(&self.verified.token)
            .finish()
    }
}

#[cfg(test)]
impl Caller {
    /// Whether both are clones of one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.verified, &other.verified)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::time::SystemTime;

    use entra_dev_tenant::DevTenant;
    use entra_jwt_core::{KeySet, TenantId, Validator};

    use super::*;
    use crate::keys::Timeline;
    use crate::policy::AfterChecks;
    use crate::respond::Words;

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
            issuer: 0,
            key: Arc::new(TrustedKey::new(Arc::clone(key), Timeline::new(now), now)),
            verified_at: now,
            grant: None,
        };
        let time = Time {
            clock: Arc::new(SystemTime::now),
            skew: Duration::ZERO,
        };
        let rules = AfterChecks::default();
        let answers = Answers::new(AuthId(0), Words::default(), time, rules, None);
        Caller::new(token, &Arc::new(answers), proof)
    }
}
