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

/// A token that passed every check of a [`Validator`](crate::Validator).
///
/// It is a token of Entra, or one that a server in front of Entra
/// [reissued](crate::Validator::reissued). A reissued token has the claims of Entra that the server
/// copied, as of [`issued_at`](Self::issued_at). Each accessor says what its claim means in such a
/// token.
///
/// The type owns its data, and only a validator makes it: every `AccessToken` is verified, except
/// those of the feature `testing`. Its `Debug` output shows no claim about a person.
pub struct AccessToken {
    tenant: TenantId,
    version: TokenVersion,
    kind: CallerKind,
    compact: Arc<str>,
    key_id: KeyId,
    claims: Claims,
    /// `None` for a token of Entra.
    reissued: Option<Box<Reissued>>,
    /// Details, read on first use: most requests never use them.
    details: OnceLock<Box<Details>>,
}

/// Claims that only a [reissued](crate::Validator::reissued) token has.
struct Reissued {
    /// The hash of the token's `client_id`.
    client: Box<str>,
    /// Time at which Entra issued the original token.
    issued_by_entra_at: Option<NumericDate>,
}

impl Reissued {
    /// Reads these claims, or returns `None` if the token names no client.
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
    /// Builds the access token from a token that passed every check.
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

    /// Returns the tenant (`tid`), which agrees with the issuer (`iss`).
    ///
    /// In a [reissued](crate::Validator::reissued) token, the server vouches for the tenant.
    #[must_use]
    pub fn tenant_id(&self) -> TenantId {
        self.tenant
    }

    /// Returns the object id (`oid`) of the user or service principal.
    ///
    /// `None` for an application without a service principal, and for a user if the token was
    /// issued without the scope `profile`.
    #[must_use]
    pub fn object_id(&self) -> Option<ObjectId> {
        self.claims.object_id
    }

    /// Returns the identity that the token speaks for: the object id, else the subject, else the
    /// client.
    ///
    /// The identity is unique only together with [`tenant_id`](Self::tenant_id).
    #[must_use]
    pub fn id(&self) -> CallerId<'_> {
        match (self.object_id(), self.subject(), self.client_id()) {
            (Some(object), _, _) => CallerId::Object(object),
            (None, None, Some(client)) => CallerId::Client(client),
            (None, subject, _) => CallerId::Subject(subject.unwrap_or_default()),
        }
    }

    /// Returns the subject (`sub`).
    ///
    /// For a user, the value differs from application to application. For an application, it is the
    /// object id.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.claims.subject.as_deref()
    }

    /// Returns the client application that requested the token from Entra: `azp` in v2, `appid` in
    /// v1.
    ///
    /// It is not this API, which is the audience.
    ///
    /// `None` for a [reissued](crate::Validator::reissued) token: there the server itself requested
    /// the token from Entra. [`registered_client`](Self::registered_client) identifies the server's
    /// own client.
    #[must_use]
    pub fn client_id(&self) -> Option<ClientId> {
        match self.reissued {
            Some(_) => None,
            None => self.claims.client(),
        }
    }

    /// Returns the hash (SHA-256 in base64url) of the `client_id` of the client that received the
    /// [reissued](crate::Validator::reissued) token.
    ///
    /// The client is registered with this `client_id` at the server that reissued the token.
    /// `entra-oauth-proxy` writes the same text into its log as `client`. `None` for a token of
    /// Entra: see [`client_id`](Self::client_id).
    #[must_use]
    pub fn registered_client(&self) -> Option<&str> {
        Some(&self.reissued.as_ref()?.client)
    }

    /// Returns the kind of caller: a user, an application, an agent, or unknown.
    #[must_use]
    pub fn kind(&self) -> CallerKind {
        self.kind
    }

    /// Returns whether the caller acts as itself, without a user: an application, or an agent on
    /// its own.
    ///
    /// Its `roles` are application permissions.
    #[must_use]
    pub fn is_app_only(&self) -> bool {
        Grant::of(&self.claims) == Grant::AppOnly
    }

    /// Returns whether the caller acts for a user, which may be the user account of an agent.
    ///
    /// Its `roles` are those of the user. If the token does not say, both this method and
    /// [`is_app_only`](Self::is_app_only) return `false`.
    #[must_use]
    pub fn is_delegated(&self) -> bool {
        Grant::of(&self.claims) == Grant::Delegated
    }

    /// Returns whether the user is a guest of the tenant, as far as the token says.
    ///
    /// The token says so by `acct`, by `xms_idrel`, or by `idp`, if another tenant authenticated
    /// the user.
    #[must_use]
    pub fn is_guest(&self) -> bool {
        self.claims.is_of_guest(self.tenant)
    }

    /// Returns the caller's relations to the tenant (`xms_idrel`), as Entra's numbers.
    ///
    /// Examples: 1 member, 5 guest, 7 service principal.
    pub fn identity_relations(&self) -> impl Iterator<Item = u32> {
        numbers(&self.claims.identity_relations)
    }

    /// Returns the facets of the acting party (`xms_act_fct`), as Entra's numbers.
    ///
    /// Examples: 11 agent identity, 13 agent's user. A [reissued](crate::Validator::reissued) token
    /// should have none, because towards Entra the server acts.
    pub fn actor_facets(&self) -> impl Iterator<Item = u32> {
        numbers(&self.claims.actor_facets)
    }

    /// Returns the facets of the token's subject (`xms_sub_fct`), as Entra's numbers.
    ///
    /// The numbers mean the same as those of [`actor_facets`](Self::actor_facets).
    pub fn subject_facets(&self) -> impl Iterator<Item = u32> {
        numbers(&self.claims.subject_facets)
    }

    /// Returns the delegated permissions (`scp`), in the token's order.
    ///
    /// They are short names without `api://…/`. A [reissued](crate::Validator::reissued) token has
    /// them in `scope`.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.claims.scopes()
    }

    /// Returns the `roles`: an application's permissions, or the app roles that a user holds.
    ///
    /// The same name means different things for the two. Check [`kind`](Self::kind) as well.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.claims.roles()
    }

    /// Returns the caller's groups, in one of three states: listed, too many, or not emitted.
    #[must_use]
    pub fn groups(&self) -> Groups<'_> {
        self.claims.groups()
    }

    /// Returns the authentication contexts (`acrs`, `c1` to `c99`) that the sign-in satisfied.
    pub fn authentication_contexts(&self) -> impl Iterator<Item = &str> {
        self.claims.authentication_contexts()
    }

    /// Returns the capabilities of the client (`xms_cc`).
    ///
    /// `cp1` means that the client handles claims challenges. A
    /// [reissued](crate::Validator::reissued) token should have none, because towards Entra the
    /// server is the client.
    pub fn client_capabilities(&self) -> impl Iterator<Item = &str> {
        self.claims.client_capabilities()
    }

    /// Returns whether the client declares the capability `cp1` in `xms_cc`.
    ///
    /// Such a client handles claims challenges: the API can require a new token that satisfies a
    /// claims request.
    #[must_use]
    pub fn handles_claims_challenges(&self) -> bool {
        self.claims.handles_claims_challenges()
    }

    /// Returns the issuer (`iss`): Entra's, or that of the server which
    /// [reissued](crate::Validator::reissued) the token.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.claims.issuer.as_deref().unwrap_or_default()
    }

    /// Returns the audience (`aud`).
    #[must_use]
    pub fn audience(&self) -> &str {
        self.claims.audience.as_deref().unwrap_or_default()
    }

    /// Returns the format of the token, which follows from the issuer.
    ///
    /// A [reissued](crate::Validator::reissued) token counts as v2.
    #[must_use]
    pub fn version(&self) -> TokenVersion {
        self.version
    }

    /// Returns the time of expiry (`exp`), without any clock skew.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.claims
            .expires_at
            .map_or(SystemTime::UNIX_EPOCH, NumericDate::to_system_time)
    }

    /// Returns the time from which the token is valid (`nbf`).
    #[must_use]
    pub fn not_before(&self) -> Option<SystemTime> {
        self.claims.not_before.map(NumericDate::to_system_time)
    }

    /// Returns the time at which Entra issued the token, and so vouched for its claims (`iat`).
    ///
    /// In a [reissued](crate::Validator::reissued) token this is `entra_iat`, which the server
    /// copies from Entra's token. It is not the `iat` of the reissued token, because the server did
    /// not ask Entra at that time: the sign-in may have been revoked since Entra issued its token.
    /// `None` if `entra_iat` is missing.
    #[must_use]
    pub fn issued_at(&self) -> Option<SystemTime> {
        let at = match &self.reissued {
            Some(reissued) => reissued.issued_by_entra_at,
            None => self.claims.issued_at,
        };
        at.map(NumericDate::to_system_time)
    }

    /// Returns Entra's id of this token (`uti`), which Entra's sign-in logs contain.
    ///
    /// In a [reissued](crate::Validator::reissued) token it is the id of Entra's token, if the
    /// server copies it. Several reissued tokens may share that id. Their own id is `jti`.
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.details().token_id()
    }

    /// Returns the identity provider that authenticated the user (`idp`).
    ///
    /// `None` if the token's own tenant authenticated the user. Tokens of guests have the claim.
    #[must_use]
    pub fn identity_provider(&self) -> Option<&str> {
        self.claims.identity_provider.as_deref()
    }

    /// Returns the user's name (`name`), for display only.
    ///
    /// Users change it, and it need not be unique.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.details().name()
    }

    /// Returns the user name (`preferred_username`), for display only.
    ///
    /// It is mutable, and another tenant can issue the same one. Authorization by it is the
    /// vulnerability known as nOAuth.
    #[must_use]
    pub fn preferred_username(&self) -> Option<&str> {
        self.details().preferred_username()
    }

    /// Returns the other claims about user, client and sign-in, for display and logs.
    ///
    /// Do not decide by them. In a [reissued](crate::Validator::reissued) token they are the claims
    /// that the server copied. The first call parses the payload again.
    #[must_use]
    pub fn details(&self) -> &Details {
        self.details
            .get_or_init(|| Box::new(Details::read(&self.payload())))
    }

    /// Returns the token as the client sent it, in the compact serialization.
    ///
    /// It is a secret.
    #[doc(hidden)] // for `tower-entra-auth` and similar crates
    #[must_use]
    pub fn compact(&self) -> &Arc<str> {
        &self.compact
    }

    /// Returns the approximate memory size of the token in bytes, with its
    /// [`details`](Self::details).
    ///
    /// It is for caches that are bounded in bytes.
    #[doc(hidden)] // for `tower-entra-auth` and similar crates
    #[must_use]
    pub fn memory_size(&self) -> usize {
        // The details are read later: this reserves memory for their struct, and for a name or two.
        let details = allocation(size_of::<Details>()).saturating_add(256);
        allocation(self.compact.len().saturating_add(COUNTS))
            .saturating_add(size_of::<Self>())
            .saturating_add(self.claims.heap_size())
            .saturating_add(self.reissued.as_ref().map_or(0, |reissued| {
                allocation(size_of::<Reissued>()).saturating_add(allocation(reissued.client.len()))
            }))
            .saturating_add(details)
    }

    /// Returns the `kid` of the key that signed the token.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// Returns any claim by its name, read from the token's payload.
    ///
    /// Each call parses the payload. For several claims, or many requests, use
    /// [`claims_as`](Self::claims_as). Also returns `None` for a value that `serde_json` cannot
    /// represent, such as the number `1e400`.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<Value> {
        member(&self.payload(), name)
    }

    /// Deserializes the token's payload into a struct of your own.
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

    /// Decodes the payload's text. It is not stored, so that a cached token is in memory only once.
    pub(crate) fn payload(&self) -> String {
        self.segment(1)
    }

    fn segment(&self, index: usize) -> String {
        let segment = self.compact.split('.').nth(index).unwrap_or_default();
        // Parsing has shown that the segment decodes.
        decode(segment, TokenPart::Payload).unwrap_or_default()
    }
}

/// Size of the two counts that an `Arc` keeps beside its value, in bytes.
const COUNTS: usize = 16;

fn member(object: &str, name: &str) -> Option<Value> {
    serde_json::from_str(json::member(object, name)?).ok()
}
