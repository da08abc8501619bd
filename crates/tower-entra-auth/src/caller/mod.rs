//! The caller, as handlers see it, and the state that an `EntraAuth` shares with its callers and
//! anonymous requests, so that a refusal later than the Layer's is answered in the same way.

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

/// A verified caller: the [`AccessToken`], by `Deref`, and the token as it was sent.
///
/// The Layer puts it into the request's extensions; with the feature `axum` it is an extractor.
/// Cloning costs one reference count. Its `Debug` shows neither the token nor a claim about a
/// person.
#[derive(Clone)]
pub struct Caller {
    verified: Arc<Verified>,
    /// The format in which this request wants to be answered, as far as that was looked at.
    #[cfg(feature = "axum")]
    format: Format,
}

struct Verified {
    token: AccessToken,
    /// The context of the `EntraAuth` that verified the token.
    context: Arc<AuthContext>,
    /// `None` only of callers that are made up for tests.
    proof: Option<Proof>,
}

/// The record of a verification.
struct Proof {
    /// The issuer, by its place among those of the `EntraAuth`.
    issuer: usize,
    /// The key that signed.
    key: Arc<TrustedKey>,
    verified_at: Instant,
    /// The grant of the token, if an authorization server in front of Entra reissued it.
    grant: Option<Arc<str>>,
}

/// A request that passed the Layer of this `EntraAuth` without a token: it may, or its path is
/// open. A `Caller` beside it in the request's extensions is of a Layer further in.
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

    /// Makes a caller whom nobody verified.
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

    /// Returns the token as the client sent it: a secret. Never log it, and never forward it to another
    /// service; exchange it for a token of that service instead (on-behalf-of).
    #[must_use]
    pub fn bearer_token(&self) -> &str {
        self.verified.token.compact()
    }

    /// Returns the grant that the token is of, if it is none of Entra's, but one of the
    /// [reissued tokens](crate::issuer::TrustedIssuer).
    #[must_use]
    pub fn grant_id(&self) -> Option<&str> {
        self.grant().map(|grant| &**grant)
    }

    fn grant(&self) -> Option<&Arc<str>> {
        self.verified.proof.as_ref()?.grant.as_ref()
    }

    /// Returns the refusal of a caller who may not do this, for a handler to return: 403, with this code in the
    /// answer, the log and the metrics, as the Layer's own have theirs. Say by it what the token cannot: no
    /// subscription, another customer's record.
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
    /// A code is a word of letters, digits and `_`, and not one of the [Layer's own](crate#answers), from which
    /// logs and metrics could not tell it.
    pub fn forbid(&self, code: &'static str) -> Refusal {
        self.refused(Reason::Forbidden { code })
    }

    /// Returns the refusal where it cannot be told now whether the caller may do this, for a handler to return:
    /// 503 and `Retry-After` (gRPC 14), with this code in the answer, the log and the metrics.
    pub fn unavailable(&self, code: &'static str, retry_after: Duration) -> Refusal {
        self.refused(Reason::NotNow { code, retry_after })
    }

    fn refused(&self, reason: Reason) -> Refusal {
        Refusal::new(self.context(), Some(self), reason, None)
    }

    /// Returns the function that hears of challenges to this caller: that of the server that reissued its
    /// token.
    fn on_challenge(&self) -> Option<&OnChallenge> {
        let issuer = self.verified.proof.as_ref()?.issuer;
        self.context().on_challenge.get(issuer)?.as_deref()
    }

    /// Returns the refusal that asks the client for a token with more claims, for a handler to return:
    /// 401 `insufficient_claims` if the client understands claims challenges (`cp1`), else 403. Of a
    /// reissued token it is 401 if its server
    /// [hears of challenges](crate::issuer::TrustedIssuer::on_challenge).
    ///
    /// For an authentication context, require it: `auth.require(AuthenticationContext("c1"))?` is
    /// the Layer of a route, and [`RequireLayer::check`](crate::RequireLayer::check) asks for it in
    /// a handler.
    pub fn challenge(&self, claims: ClaimsChallenge) -> Refusal {
        let refusal = Reason::Challenged {
            claims,
            is_understood: self.understands_challenges(),
        };
        self.refused(refusal)
    }

    /// Returns whether a challenge gets the client another token: it declares that it understands
    /// claims challenges, or the server from which it has its token hears of them.
    fn understands_challenges(&self) -> bool {
        self.on_challenge().is_some() || self.handles_claims_challenges()
    }

    /// Returns the denial with what is known here of whether the client can be challenged.
    pub(crate) fn able_to_step_up(&self, denied: PermissionDenied) -> PermissionDenied {
        let understands = self.understands_challenges();
        denied.with_understanding(understands)
    }

    /// Returns what the `EntraAuth` that verified the caller shares with it.
    pub(crate) fn context(&self) -> &Arc<AuthContext> {
        &self.verified.context
    }

    /// Returns what checks after verification look at.
    pub(crate) fn subject(&self) -> Subject<'_, Self> {
        let proof = self.verified.proof.as_ref();
        let issuer = proof.map_or(0, |proof| proof.issuer);
        let token = self.bearer_token();
        Subject::new(self, self.tenant_id(), issuer, token, self.grant())
    }

    /// Returns the issuer, by its place among those of the `EntraAuth`, the key that signed, and the
    /// time of the verification; `None` if there was none.
    pub(crate) fn proof(&self) -> Option<(usize, &TrustedKey, Instant)> {
        let proof = self.verified.proof.as_ref()?;
        Some((proof.issuer, &proof.key, proof.verified_at))
    }

    /// Returns about how many bytes of memory it takes, once for all its clones.
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

/// The part of an `EntraAuth` that each of its callers has.
pub(crate) struct AuthContext {
    /// The number of the `EntraAuth`.
    id: u64,
    responder: Responder,
    clock: Clock,
    clock_skew: Duration,
    /// The checks that are repeated while a caller is served.
    checks: PostVerificationChecks<Caller>,
    /// Makes the response to a refused request, from the one that it would get.
    on_refusal: Option<Arc<OnRefusal>>,
    /// Are called with each challenge to the caller of a reissued token, by the issuer's place among those of
    /// the `EntraAuth`.
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

    /// Returns the time by the wall clock.
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
    /// Returns whether both are clones of one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.verified, &other.verified)
    }
}
