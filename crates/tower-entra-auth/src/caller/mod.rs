//! The caller, as handlers see it, and the state that an `EntraAuth` shares with its callers and
//! anonymous requests.
//!
//! With that state, a refusal after the Layer gets the same response as a refusal by the Layer.

mod context;
mod refusal;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use entra_jwt_core::{AccessToken, PermissionDenied};
use http::Response;
use tokio::time::Instant;

pub use self::context::RefusalContext;
pub use self::refusal::Refusal;
use crate::keys::TrustedKey;
use crate::policy::{PostVerificationChecks, Subject};
#[cfg(feature = "axum")]
use crate::respond::Format;
use crate::respond::{ClaimsChallenge, Reason, Responder, ResponderConfig};
use crate::service::AnswerBody;
use crate::setting::SettingNames;
use crate::time::Clock;

/// A verified caller: the [`AccessToken`], through `Deref`, and the token as the client sent it.
///
/// The Layer puts the caller into the request's extensions. With the feature `axum`, it is an
/// extractor. Cloning costs one reference count. `Debug` shows neither the token nor a claim about
/// a person.
#[derive(Clone)]
pub struct Caller {
    verified: Arc<Verified>,
    /// The response format that the request asks for; text until an extractor has read it.
    #[cfg(feature = "axum")]
    format: Format,
}

struct Verified {
    token: AccessToken,
    /// The context of the `EntraAuth` that verified the token.
    context: Arc<AuthContext>,
    /// `None` only for callers that are made for tests.
    proof: Option<Proof>,
}

/// The facts about a verification.
struct Proof {
    /// Index of the issuer among those of the `EntraAuth`.
    issuer: usize,
    /// The key that signed the token.
    key: Arc<TrustedKey>,
    verified_at: Instant,
    /// The grant of the token, if an authorization server in front of Entra reissued the token.
    grant: Option<Arc<str>>,
}

/// The mark of a request that passed the Layer of this `EntraAuth` without a token.
///
/// The Layer permits such requests, or the path is open. If the request's extensions also have a
/// `Caller`, an inner Layer has put it there.
#[derive(Clone)]
pub(crate) struct Anonymous(pub(crate) Arc<AuthContext>);

impl Caller {
    pub(crate) fn new(
        token: AccessToken,
        context: &Arc<AuthContext>,
        issuer: usize,
        key: Arc<TrustedKey>,
        verified_at: Instant,
        grant: Option<Arc<str>>,
    ) -> Self {
        Self::of(Verified {
            token,
            context: Arc::clone(context),
            proof: Some(Proof {
                issuer,
                key,
                verified_at,
                grant,
            }),
        })
    }

    /// Makes a caller whose token was not verified.
    #[cfg(feature = "testing")]
    pub(crate) fn trusted(token: AccessToken, context: &Arc<AuthContext>) -> Self {
        Self::of(Verified {
            token,
            context: Arc::clone(context),
            proof: None,
        })
    }

    fn of(verified: Verified) -> Self {
        Self {
            verified: Arc::new(verified),
            #[cfg(feature = "axum")]
            format: Format::Text,
        }
    }

    #[cfg(feature = "axum")]
    pub(crate) fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// Returns the token as the client sent it: a secret.
    ///
    /// Never log the token, and never forward it to another service. Exchange it for a token of
    /// that service instead (on-behalf-of).
    #[must_use]
    pub fn bearer_token(&self) -> &str {
        self.verified.token.compact()
    }

    /// Returns the id of the grant (the sign-in at the authorization server) behind a [reissued
    /// token](crate::issuer::TrustedIssuer).
    ///
    /// `None` for tokens of Entra.
    #[must_use]
    pub fn grant_id(&self) -> Option<&str> {
        self.grant().map(|grant| &**grant)
    }

    fn grant(&self) -> Option<&Arc<str>> {
        self.verified.proof.as_ref()?.grant.as_ref()
    }

    /// Returns a refusal for a caller who may not do what the request asks for: 403 with this code.
    ///
    /// A handler returns the refusal. The code is in the response, the log and the metrics, as for
    /// the Layer's own refusals. Use it for facts that are not in the token: the caller has no
    /// subscription, or the record belongs to another customer.
    ///
    /// ```
    /// use tower_entra_auth::{Caller, Refusal};
    ///
    /// fn subscribed(caller: &Caller, has_paid: bool) -> Result<(), Refusal> {
    ///     match has_paid {
    ///         true => Ok(()),
    ///         false => Err(caller.forbid("no_subscription")),
    ///     }
    /// }
    /// ```
    ///
    /// A code is a word of letters, digits and `_`. Do not use one of the
    /// [Layer's own codes](crate#answers): logs and metrics could not distinguish them.
    pub fn forbid(&self, code: &'static str) -> Refusal {
        self.refused(Reason::Forbidden { code })
    }

    /// Returns a refusal for when the handler cannot decide about the caller now: 503 and
    /// `Retry-After` (gRPC 14).
    ///
    /// A handler returns the refusal. The code is in the response, the log and the metrics.
    pub fn unavailable(&self, code: &'static str, retry_after: Duration) -> Refusal {
        self.refused(Reason::NotNow { code, retry_after })
    }

    fn refused(&self, reason: Reason) -> Refusal {
        Refusal::new(self.context(), Some(self), reason, None)
    }

    /// Returns the function that receives challenges to this caller, set for the server that
    /// reissued the token.
    fn on_challenge(&self) -> Option<&OnChallenge> {
        let issuer = self.verified.proof.as_ref()?.issuer;
        self.context().on_challenge.get(issuer)?.as_deref()
    }

    /// Returns a refusal that asks the client for a new token that satisfies a claims request, for
    /// a handler to return.
    ///
    /// The response is 401 `insufficient_claims` if the client understands claims challenges
    /// (`cp1`), else 403. For a [reissued token](crate::issuer::TrustedIssuer), it is 401 if the
    /// server that reissued the token [receives
    /// challenges](crate::issuer::TrustedIssuer::on_challenge).
    ///
    /// For an authentication context, use a requirement:
    /// `auth.require(AuthenticationContext("c1"))?` is the Layer of a route, and
    /// [`RequireLayer::check`](crate::RequireLayer::check) checks it in a handler.
    pub fn challenge(&self, claims: ClaimsChallenge) -> Refusal {
        let refusal = Reason::Challenged {
            claims,
            is_understood: self.understands_challenges(),
        };
        self.refused(refusal)
    }

    /// Returns whether the client can get another token after a challenge. Either the client
    /// declares that it understands claims challenges, or the server that reissued its token
    /// receives them.
    fn understands_challenges(&self) -> bool {
        self.on_challenge().is_some() || self.handles_claims_challenges()
    }

    /// Returns the denial, completed with whether the client understands challenges.
    pub(crate) fn able_to_step_up(&self, denied: PermissionDenied) -> PermissionDenied {
        let understands = self.understands_challenges();
        denied.with_understanding(understands)
    }

    /// Returns the state that the `EntraAuth` which verified the caller shares with its callers.
    pub(crate) fn context(&self) -> &Arc<AuthContext> {
        &self.verified.context
    }

    /// Returns the data about the caller for the checks after verification.
    pub(crate) fn subject(&self) -> Subject<'_, Self> {
        let proof = self.verified.proof.as_ref();
        let issuer = proof.map_or(0, |proof| proof.issuer);
        let token = self.bearer_token();
        Subject::new(self, self.tenant_id(), issuer, token, self.grant())
    }

    /// Returns the issuer's index, the key that signed the token, and the time of verification;
    /// `None` if the token was not verified.
    pub(crate) fn proof(&self) -> Option<(usize, &TrustedKey, Instant)> {
        let proof = self.verified.proof.as_ref()?;
        Some((proof.issuer, &proof.key, proof.verified_at))
    }

    /// Returns the approximate memory size in bytes. All clones share this memory.
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

/// The state of an `EntraAuth` that all its callers share.
pub(crate) struct AuthContext {
    /// Number of the `EntraAuth`, by which it recognises its callers.
    id: u64,
    responder: Responder,
    clock: Clock,
    clock_skew: Duration,
    /// The checks that are repeated while a caller is served.
    checks: PostVerificationChecks<Caller>,
    /// The hook that makes the response to a refused request from the default response.
    on_refusal: Option<Arc<OnRefusal>>,
    /// Functions that receive each challenge to a caller with a reissued token, by index of the
    /// issuer.
    on_challenge: Box<[Option<Arc<OnChallenge>>]>,
}

pub(crate) type OnRefusal = dyn Fn(&RefusalContext<'_>, Response<AnswerBody>) -> Response<AnswerBody>
    + Send
    + Sync
    + 'static;

pub(crate) type OnChallenge = dyn Fn(&Caller, &ClaimsChallenge) + Send + Sync + 'static;

impl AuthContext {
    pub(crate) fn new(
        config: ResponderConfig,
        clock: Clock,
        clock_skew: Duration,
        checks: PostVerificationChecks<Caller>,
        on_refusal: Option<Arc<OnRefusal>>,
        on_challenge: Vec<Option<Arc<OnChallenge>>>,
        replaced: Option<u64>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);

        Self {
            id: replaced.unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed)),
            responder: Responder::new(config),
            clock,
            clock_skew,
            checks,
            on_refusal,
            on_challenge: on_challenge.into(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn setting_names(&self) -> SettingNames {
        self.responder.setting_names()
    }

    /// Returns the current time of the wall clock.
    pub(crate) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    pub(crate) fn clock_skew(&self) -> Duration {
        self.clock_skew
    }

    pub(crate) fn checks(&self) -> &PostVerificationChecks<Caller> {
        &self.checks
    }
}

#[cfg(test)]
impl Caller {
    /// Returns whether both are clones of the same caller.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.verified, &other.verified)
    }
}
