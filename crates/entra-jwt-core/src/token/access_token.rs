//! A verified access token.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::caller::numbers;
use super::unverified::decode;
use super::{
    CallerId, CallerKind, Claims, Details, Grant, Groups, NumericDate, Unverified, allocation,
};
use crate::authority::TokenVersion;
use crate::base64url;
use crate::identifier::{ClientId, KeyId, ObjectId, TenantId};
use crate::json;
use crate::refusal::TokenPart;

/// A token that passed every check of a [`Validator`](crate::Validator): one of Entra, or one that a
/// server in front of Entra [reissued](crate::Validator::reissued).
///
/// A reissued token has the claims of Entra that the server copied, as of
/// [`issued_at`](Self::issued_at), and the accessors say of each what it means there.
///
/// Owned and without a public constructor: whoever holds one knows that it was verified. Its
/// `Debug` shows no claim about a person.
pub struct AccessToken {
    tenant: TenantId,
    version: TokenVersion,
    kind: CallerKind,
    compact: Arc<str>,
    key_id: KeyId,
    claims: Claims,
    /// `None` in a token of Entra.
    reissued: Option<Box<Reissued>>,
    /// Read when first asked for: most requests never do.
    details: OnceLock<Box<Details>>,
}

/// The claims that only a reissued token has.
struct Reissued {
    /// The hash of its `client_id`.
    client: Box<str>,
    /// The time at which Entra issued the token behind it.
    issued_by_entra_at: Option<NumericDate>,
}

impl Reissued {
    /// Returns what the token says, or `None` if it names no client.
    fn read(token: &Unverified<'_>) -> Option<Self> {
        let client = token.registered_client()?.to_cow();
        let hash = digest(&SHA256, client.as_bytes());
        Some(Self {
            client: base64url::encode(hash).into(),
            issued_by_entra_at: token.claims.issued_by_entra_at.and_then(|at| at.0),
        })
    }
}

impl AccessToken {
    /// Takes a token that passed every check.
    pub(crate) fn new(
        tenant: TenantId,
        version: TokenVersion,
        token: Unverified<'_>,
        is_reissued: bool,
    ) -> Self {
        let claims = token.own_claims(is_reissued);
        let reissued = is_reissued.then(|| Reissued::read(&token)).flatten();
        Self {
            tenant,
            version,
            kind: CallerKind::of(&claims),
            compact: token.compact().into(),
            claims,
            reissued: reissued.map(Box::new),
            key_id: token.into_key_id(),
            details: OnceLock::new(),
        }
    }

    /// The tenant (`tid`), which the issuer confirms; of a reissued token, the server's word for it.
    #[must_use]
    pub fn tenant_id(&self) -> TenantId {
        self.tenant
    }

    /// The user's or service principal's object id (`oid`). A token of an application without a
    /// service principal has none, nor has a user's without the scope `profile`.
    #[must_use]
    pub fn object_id(&self) -> Option<ObjectId> {
        self.claims.object_id
    }

    /// Whom the token speaks for: the object id, else the subject, else the client. Only
    /// together with [`tenant_id`](Self::tenant_id) is it unique.
    #[must_use]
    pub fn id(&self) -> CallerId<'_> {
        match (self.object_id(), self.subject(), self.client_id()) {
            (Some(object), _, _) => CallerId::Object(object),
            (None, None, Some(client)) => CallerId::Client(client),
            (None, subject, _) => CallerId::Subject(subject.unwrap_or_default()),
        }
    }

    /// `sub`: for a user a value that differs from application to application, for an
    /// application its object id.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.claims.subject.as_deref()
    }

    /// The client application that asked Entra for the token: `azp` in v2, `appid` in v1. Not this
    /// API, which is the audience.
    ///
    /// `None` of a reissued token: there the server asked Entra, whoever its own client is, which
    /// [`registered_client`](Self::registered_client) names.
    #[must_use]
    pub fn client_id(&self) -> Option<ClientId> {
        match self.reissued {
            Some(_) => None,
            None => self.claims.client(),
        }
    }

    /// Returns the client that got the token from the server which reissued it, as a hash: SHA-256 of
    /// the `client_id` by which it is registered there, in base64url. `entra-oauth-proxy` has the same
    /// text in its log as `client`. `None` of a token of Entra: see [`client_id`](Self::client_id).
    #[must_use]
    pub fn registered_client(&self) -> Option<&str> {
        Some(&self.reissued.as_ref()?.client)
    }

    /// A user, an application or an agent.
    #[must_use]
    pub fn kind(&self) -> CallerKind {
        self.kind
    }

    /// Returns whether the caller acts as itself, without a user: an application, or an agent on
    /// its own. Its `roles` are application permissions.
    #[must_use]
    pub fn is_app_only(&self) -> bool {
        Grant::of(&self.claims) == Grant::AppOnly
    }

    /// Returns whether the caller acts for a user, who may be an agent's own user account. Its
    /// `roles` are those of the user. A token that does not say is neither this nor
    /// [`is_app_only`](Self::is_app_only).
    #[must_use]
    pub fn is_delegated(&self) -> bool {
        Grant::of(&self.claims) == Grant::Delegated
    }

    /// Returns whether the user is a guest of the tenant, as far as the token says: by `acct`, by
    /// `xms_idrel`, or because another tenant authenticated the user (`idp`).
    #[must_use]
    pub fn is_guest(&self) -> bool {
        self.claims.is_of_guest(self.tenant)
    }

    /// `xms_idrel`: how the caller belongs to the tenant, by Entra's numbers (1 member, 5 guest,
    /// 7 service principal, …).
    pub fn identity_relations(&self) -> impl Iterator<Item = u32> {
        numbers(&self.claims.identity_relations)
    }

    /// `xms_act_fct`: facets of who acts, by Entra's numbers (11 agent identity, 13 agent's user). A
    /// reissued token should have none: towards Entra the server acts.
    pub fn actor_facets(&self) -> impl Iterator<Item = u32> {
        numbers(&self.claims.actor_facets)
    }

    /// `xms_sub_fct`: facets of for whom the token is, by the same numbers.
    pub fn subject_facets(&self) -> impl Iterator<Item = u32> {
        numbers(&self.claims.subject_facets)
    }

    /// The delegated permissions (`scp`), short names without `api://…/`, in the token's order.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.claims.scopes()
    }

    /// `roles`: of an application its application permissions, of a user the app roles that the
    /// user holds. The same name means different things: look at [`kind`](Self::kind) as well.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.claims.roles()
    }

    /// The groups of the user, in one of three states: listed, too many, or not emitted.
    #[must_use]
    pub fn groups(&self) -> Groups<'_> {
        self.claims.groups()
    }

    /// `acrs`: the authentication contexts (`c1` to `c99`) that the sign-in satisfied.
    pub fn authentication_contexts(&self) -> impl Iterator<Item = &str> {
        self.claims.authentication_contexts()
    }

    /// `xms_cc`: what the client can do; `cp1` means that it understands claims challenges. A reissued
    /// token should have none: towards Entra the server is the client.
    pub fn client_capabilities(&self) -> impl Iterator<Item = &str> {
        self.claims.client_capabilities()
    }

    /// Returns whether the client declares the capability `cp1` in `xms_cc`: that it handles claims
    /// challenges, and can be asked for a token with more claims.
    #[must_use]
    pub fn handles_claims_challenges(&self) -> bool {
        self.claims.handles_claims_challenges()
    }

    /// `iss`: Entra's, or that of the server which reissued the token.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.claims.issuer.as_deref().unwrap_or_default()
    }

    /// `aud`.
    #[must_use]
    pub fn audience(&self) -> &str {
        self.claims.audience.as_deref().unwrap_or_default()
    }

    /// The format of the token, told by its issuer. A reissued one stands for a v2 token.
    #[must_use]
    pub fn version(&self) -> TokenVersion {
        self.version
    }

    /// `exp`, without any clock skew.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.claims
            .expires_at
            .map_or(SystemTime::UNIX_EPOCH, NumericDate::to_system_time)
    }

    /// `nbf`.
    #[must_use]
    pub fn not_before(&self) -> Option<SystemTime> {
        self.claims.not_before.map(NumericDate::to_system_time)
    }

    /// Returns the time at which Entra issued the token, and so vouched for what it says: `iat`; in a
    /// reissued token `entra_iat`, which the server copies from the token of Entra that it is of.
    ///
    /// Not the `iat` of a reissued token, at which Entra was not asked: such a token of today may be of
    /// a sign-in that has been revoked since. `None` where `entra_iat` is missing.
    #[must_use]
    pub fn issued_at(&self) -> Option<SystemTime> {
        let at = match &self.reissued {
            Some(reissued) => reissued.issued_by_entra_at,
            None => self.claims.issued_at,
        };
        at.map(NumericDate::to_system_time)
    }

    /// `uti`, Entra's id of this one token; it stands in Entra's sign-in logs. Of a reissued token it
    /// is that of the token of Entra, if the server copies it, and many may have it: their own id is
    /// `jti`.
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.details().token_id()
    }

    /// `idp`: who authenticated the user, if not the token's own tenant (guests).
    #[must_use]
    pub fn identity_provider(&self) -> Option<&str> {
        self.claims.identity_provider.as_deref()
    }

    /// `name`, for display only: people change it, and nothing keeps it unique.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.details().name()
    }

    /// `preferred_username`, for display only: it is mutable, and another tenant can issue the
    /// same. Deciding by it is the fault known as nOAuth.
    #[must_use]
    pub fn preferred_username(&self) -> Option<&str> {
        self.details().preferred_username()
    }

    /// Returns what else the token says about its user, client and sign-in: for display and logs,
    /// not to decide by. Of a reissued token, what the server copied. The first call reads the
    /// payload once more.
    #[must_use]
    pub fn details(&self) -> &Details {
        self.details
            .get_or_init(|| Box::new(Details::read(&self.payload())))
    }

    /// The token as the client sent it, in compact form: a secret.
    #[doc(hidden)] // for `tower-entra-auth` and the like
    #[must_use]
    pub fn compact(&self) -> &Arc<str> {
        &self.compact
    }

    /// About how many bytes of memory the token takes, [`details`](Self::details) included: for
    /// caches that are bounded in bytes.
    #[doc(hidden)] // for `tower-entra-auth` and the like
    #[must_use]
    pub fn memory_size(&self) -> usize {
        // Details are read later: room for their struct, and for a name or two.
        let details = allocation(size_of::<Details>()).saturating_add(256);
        allocation(self.compact.len().saturating_add(COUNTS))
            .saturating_add(size_of::<Self>())
            .saturating_add(self.claims.heap_size())
            .saturating_add(self.reissued.as_ref().map_or(0, |reissued| {
                allocation(size_of::<Reissued>()).saturating_add(allocation(reissued.client.len()))
            }))
            .saturating_add(details)
    }

    /// The `kid` of the key that signed.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// Any claim by its name, read from the kept token. Costs a parse of the payload: for
    /// several claims, or many requests, take [`claims_as`](Self::claims_as). `None` also for a
    /// value that is beyond `serde_json`, such as the number `1e400`.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<Value> {
        member(&self.payload(), name)
    }

    /// The claims as a struct of your own, read from the kept token.
    ///
    /// # Errors
    /// If the payload does not fit `T`. The message may quote a claim: do not log it.
    pub fn claims_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.payload())
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AccessToken")
            .field("tenant", &self.tenant)
            .field("client", &self.client_id())
            .field("registered_client", &self.registered_client())
            .field("kind", &self.kind)
            .field("version", &self.version)
            .field("expires_at", &self.claims.expires_at)
            .finish_non_exhaustive()
    }
}

impl AccessToken {
    pub(crate) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The payload's text. Decoded anew: a token that is kept for an hour is kept once.
    pub(crate) fn payload(&self) -> String {
        self.segment(1)
    }

    fn segment(&self, index: usize) -> String {
        let segment = self.compact.split('.').nth(index).unwrap_or_default();
        // It decoded when the token was parsed.
        decode(segment, TokenPart::Payload).unwrap_or_default()
    }
}

/// The two counts that an `Arc` keeps beside its value, in bytes.
const COUNTS: usize = 16;

fn member(object: &str, name: &str) -> Option<Value> {
    serde_json::from_str(json::member(object, name)?).ok()
}
