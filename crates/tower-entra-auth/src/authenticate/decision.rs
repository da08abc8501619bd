//! The decision about one request, with its checks in the order in which they run, and the cache of
//! accepted tokens.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use entra_jwt_core::{
    AccessToken, InvalidToken,
    explain::{ExplainOptions, Report},
    require::Requirement,
    token::Unverified,
};
use http::{HeaderMap, Request, Uri};
use moka::Equivalent;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde_json::Value;
use tokio::time::Instant;

use super::token_source::check_characters;
use super::{EntraAuth, Issuer};
use crate::caller::{Anonymous, Caller, Refusal};
use crate::keys::{KeyLookup, KeyLookupError, PendingKey, TrustedKey};
use crate::respond::Reason;
use crate::setting::SettingNames;
use crate::status::TokenCacheStatus;
use crate::telemetry::{self, CacheLookup, Decided};

/// The next step for a request.
pub(crate) enum Decision {
    Accept(Caller),
    Refuse(Reason),
    /// The decision must wait for a key or for the answer of a rule.
    Wait(PendingDecision),
}

/// A pending decision about a token: its key or the answer of a rule is still missing.
pub(crate) struct PendingDecision {
    auth: EntraAuth,
    awaited: Awaited,
}

enum Awaited {
    /// The key of the token. The token has passed the checks that need no key.
    Key {
        token: Arc<[u8]>,
        issuer: usize,
        key: PendingKey,
    },
    /// The post-verification checks. The token is valid, but not every check has a cached yes.
    Checks(Caller),
}

impl EntraAuth {
    /// Decides about a request by its headers and its URI, without awaiting anything.
    pub(crate) fn decide(&self, headers: &HeaderMap, uri: &Uri) -> Decision {
        let token = self.state.tokens.find(headers, uri);
        let decision = token.and_then(|token| self.decide_about(token));
        decision.unwrap_or_else(Decision::Refuse)
    }

    /// Decides about a token, from a request or from [`verify`](Self::verify).
    fn decide_about(&self, sent: &[u8]) -> Result<Decision, Reason> {
        let now = Instant::now();
        if let Some(caller) = self.cached_caller(sent, now) {
            return Ok(self.accepted(caller, true));
        }
        // The parser accepts only valid characters, so they are checked only if parsing fails.
        let unverified = match self.parse(sent) {
            Ok(unverified) => unverified,
            Err(error) if sent.len() > self.state.max_token_length => return Err(error),
            Err(error) => return Err(check_characters(sent).err().unwrap_or(error)),
        };
        let (index, issuer) = self.issuer_of(&unverified);

        if let Some(key) = issuer.keys.find(unverified.key_ref().key_id, now) {
            // The held key is enough, even if no refresher can start.
            let _ = issuer.keys.ensure_refresher(now);
            let caller = self.finish(index, unverified, key, now)?;
            return Ok(self.accepted(caller, false));
        }
        // A token that fails these checks is invalid with every key, so no key is fetched for it.
        issuer
            .validator
            .precheck(&unverified, self.state.context.now())
            .map_err(|rejection| Reason::InvalidToken {
                rejection,
                unsigned: true,
            })?;
        match issuer.keys.look_up(unverified.key_ref().key_id, now) {
            KeyLookup::Ended(found) => {
                let caller = self.finish_with(index, unverified, found, now)?;
                Ok(self.accepted(caller, false))
            }
            KeyLookup::Pending(key) => Ok(self.pending(Awaited::Key {
                token: sent.into(),
                issuer: index,
                key,
            })),
        }
    }

    /// Returns the cached caller of exactly this token, if its key is still trusted and its
    /// lifetime is not over.
    fn cached_caller(&self, token: &[u8], now: Instant) -> Option<Caller> {
        let cache = self.state.token_cache.as_ref()?;
        let Some(caller) = cache.get(token, now) else {
            telemetry::count_cache_lookup(CacheLookup::Miss);
            return None;
        };
        let (issuer, key, _) = caller.proof()?;
        let issuer = &self.state.issuers[issuer];
        let _ = issuer.keys.ensure_refresher(now);
        let still_holds = issuer.keys.trusts(key, now)
            && issuer
                .validator
                .check_lifetime(&caller, self.state.context.now())
                .is_ok();
        if still_holds {
            telemetry::count_cache_lookup(CacheLookup::Hit);
            return Some(caller);
        }
        // All checks run again, from the beginning, and find the reason.
        telemetry::count_cache_lookup(CacheLookup::Outdated);
        cache.remove(token);
        None
    }

    /// Returns the next step for a request whose token is valid.
    fn accepted(&self, caller: Caller, is_cached: bool) -> Decision {
        if !self
            .state
            .context
            .checks()
            .have_every_yes(&caller.subject())
        {
            return self.pending(Awaited::Checks(caller));
        }
        if !is_cached {
            self.cache_caller(&caller);
        }
        Decision::Accept(caller)
    }

    fn cache_caller(&self, caller: &Caller) {
        if let Some(cache) = &self.state.token_cache {
            cache.insert(caller);
        }
    }

    fn pending(&self, awaited: Awaited) -> Decision {
        Decision::Wait(PendingDecision {
            auth: self.clone(),
            awaited,
        })
    }

    fn parse<'t>(&self, token: &'t [u8]) -> Result<Unverified<'t>, Reason> {
        Ok(Unverified::parse_bytes(token, self.state.max_token_length)?)
    }

    /// Returns the issuer that the token claims, with its index. If there is no such issuer,
    /// returns the first one, whose rules then give the reason of the refusal.
    fn issuer_of(&self, token: &Unverified<'_>) -> (usize, &Issuer) {
        let issuers = &self.state.issuers;
        let claimed = match issuers.len() {
            1 => 0,
            _ => issuers
                .iter()
                .position(|issuer| issuer.validator.matches_issuer(token))
                .unwrap_or(0),
        };
        (claimed, &issuers[claimed])
    }

    fn finish(
        &self,
        issuer: usize,
        token: Unverified<'_>,
        key: Arc<TrustedKey>,
        now: Instant,
    ) -> Result<Caller, Reason> {
        let Issuer {
            validator,
            has_grants,
            ..
        } = &self.state.issuers[issuer];
        let token = validator.verify(token, Some(key.key()), self.state.context.now())?;
        validator.default_permission(&token)?;
        let grant = match *has_grants {
            true => Some(grant_of(&token)?),
            false => None,
        };
        let context = &self.state.context;
        Ok(Caller::new(token, context, issuer, key, now, grant))
    }

    /// Finishes the decision about a token after the look-up of its missing key.
    fn finish_with(
        &self,
        index: usize,
        token: Unverified<'_>,
        found: Result<Arc<TrustedKey>, KeyLookupError>,
        now: Instant,
    ) -> Result<Caller, Reason> {
        let issuer = &self.state.issuers[index];
        let source = issuer.keys.source_name();
        match found {
            Ok(key) => {
                telemetry::count_missing_key(source, "found");
                self.finish(index, token, key, now)
            }
            Err(KeyLookupError::Unknown) => {
                telemetry::count_missing_key(source, "unknown");
                Err(issuer.validator.unknown_key(token).into())
            }
            Err(KeyLookupError::Unavailable(cause)) => {
                let refusal = issuer.keys.refusal(cause);
                telemetry::count_missing_key(source, refusal.decided().outcome);
                Err(refusal)
            }
        }
    }

    /// Verifies a token that did not arrive in a request's header, with the same checks as the
    /// Layer.
    ///
    /// The checks include the rules about [tenants](crate::EntraAuthBuilder::tenant_rule) and
    /// callers. The wait for keys has the same limits as in the Layer. No request is logged or
    /// counted, unless the refusal is turned into a response.
    ///
    /// # Errors
    /// Returns the refusal.
    pub async fn verify(&self, token: &str) -> Result<Caller, Refusal> {
        let decided = match self.decide_about(token.as_bytes()) {
            Ok(Decision::Accept(caller)) => Ok(caller),
            Ok(Decision::Refuse(refusal)) | Err(refusal) => Err(refusal),
            Ok(Decision::Wait(pending)) => pending.decide().await,
        };
        decided.map_err(|refusal| Refusal::new(&self.state.context, None, refusal, None))
    }

    /// Runs every check of a token with the current keys, and reports the result of each.
    ///
    /// The report helps people to find out why a token is refused. It includes the requirement of a
    /// route if one is given. Without keys (see [`ready`](Self::ready)) the signature is not
    /// checked. The rules of the service are not called.
    #[must_use]
    pub fn explain(&self, token: &str, requirement: Option<&Requirement>) -> Report {
        let issuers = &self.state.issuers;
        let issuer = match self.parse(token.as_bytes()) {
            Ok(unverified) => self.issuer_of(&unverified).1,
            Err(_) => &issuers[0],
        };
        let keys = issuer.keys.all();
        let SettingNames(setting) = self.state.context.setting_names();
        let mut with = ExplainOptions::at(self.state.context.now())
            .max_length(self.state.max_token_length)
            .setting_names(setting);
        if let Some(keys) = &keys {
            with = with.keys(keys);
        }
        if let Some(requirement) = requirement {
            with = with.requirement(requirement);
        }
        issuer.validator.explain(token, &with)
    }

    /// Prepares the request of a verified caller for the inner service: counts it, adds the caller,
    /// and removes the token if configured.
    pub(crate) fn admit<B>(&self, request: &mut Request<B>, caller: Caller) {
        Decided::ACCEPTED.count();
        request.extensions_mut().insert(caller);
        self.remove_token(request);
    }

    /// Prepares an anonymous request for the inner service: counts it, marks it as anonymous, and
    /// hides or removes the token. A caller from an outer Layer is removed, because this Layer did
    /// not verify it.
    pub(crate) fn admit_anonymous<B>(&self, request: &mut Request<B>) {
        Decided::ANONYMOUS.count();
        let anonymous = Anonymous(Arc::clone(&self.state.context));
        let extensions = request.extensions_mut();
        extensions.remove::<Caller>();
        extensions.insert(anonymous);
        self.hide_tokens(request.headers_mut());
        self.remove_token(request);
    }
}

/// Returns the id of the grant (claim `gid`) to which a reissued token belongs.
fn grant_of(token: &AccessToken) -> Result<Arc<str>, InvalidToken> {
    match token.claim("gid") {
        Some(Value::String(grant)) if !grant.is_empty() => Ok(grant.into()),
        _ => Err(InvalidToken::missing_claim("gid")),
    }
}

impl PendingDecision {
    /// Waits for the key and for the checks, each within its time limit, and then decides.
    pub(crate) async fn decide(self) -> Result<Caller, Reason> {
        let caller = match self.awaited {
            Awaited::Key { token, issuer, key } => {
                let found = key.wait().await;
                // Parsed again, because the parsed form borrows from the request.
                let token = self.auth.parse(&token)?;
                self.auth
                    .finish_with(issuer, token, found, Instant::now())?
            }
            Awaited::Checks(caller) => caller,
        };
        self.auth
            .state
            .context
            .checks()
            .ask(&caller.subject())
            .await?;
        self.auth.cache_caller(&caller);
        Ok(caller)
    }
}

/// A cache of accepted tokens, because a client sends the same bearer token thousands of times in
/// its hour of validity.
///
/// Only accepted tokens are cached, so an attacker cannot fill the cache with forged ones. A cached
/// entry proves nothing by itself: on every request, the [`EntraAuth`] checks the lifetime, the key
/// and the post-verification checks again. moka limits the size in bytes and evicts old entries. No
/// decision depends on which entries it evicts.
pub(crate) struct RememberedTokens {
    tokens: Cache<CachedToken, Caller>,
    capacity: u64,
    ttl: Duration,
}

/// A token in the compact serialization, compared byte for byte.
struct CachedToken(Arc<str>);

/// A token, borrowed from a request.
struct BorrowedToken<'r>(&'r [u8]);

impl RememberedTokens {
    /// Number of bytes that moka and the caller's reference counts take in addition to a token.
    /// `tests/memory.rs` compares this number with the actual allocations.
    const BESIDE: usize = 448;

    pub(crate) fn new(bytes: usize, ttl: Duration) -> Self {
        let capacity = bytes as u64;
        Self {
            tokens: Cache::builder()
                .max_capacity(capacity)
                .weigher(|_, caller: &Caller| {
                    let size = caller.memory_size() + Self::BESIDE;
                    u32::try_from(size).unwrap_or(u32::MAX)
                })
                // Not by frequency: a token that was used often is useless once it has expired.
                .eviction_policy(EvictionPolicy::lru())
                // Tokens do not stay in memory longer than the cache may use them.
                .time_to_live(ttl)
                .build(),
            capacity,
            ttl,
        }
    }

    /// Returns the caller that was verified with exactly this token, if that was less than `ttl`
    /// ago.
    fn get(&self, token: &[u8], now: Instant) -> Option<Caller> {
        let caller = self.tokens.get(&BorrowedToken(token))?;
        let (_, _, verified_at) = caller.proof()?;
        let age = now.saturating_duration_since(verified_at);
        (age < self.ttl).then_some(caller)
    }

    fn insert(&self, caller: &Caller) {
        let token = CachedToken(Arc::clone(caller.compact()));
        self.tokens.insert(token, caller.clone());
    }

    fn remove(&self, token: &[u8]) {
        self.tokens.invalidate(&BorrowedToken(token));
    }

    pub(super) fn status(&self) -> TokenCacheStatus {
        // moka updates its counts later, with further requests. This call makes them current.
        self.tokens.run_pending_tasks();
        TokenCacheStatus {
            tokens: self.tokens.entry_count(),
            bytes: self.tokens.weighted_size(),
            capacity: self.capacity,
        }
    }
}

/// Hashes only the last 32 characters of the signature. These are 190 bits that differ from token
/// to token, and only Entra can choose them. Tokens that share them differ in the rest, which the
/// comparison covers.
fn hash_of<H: Hasher>(token: &[u8], hasher: &mut H) {
    let tail = token.len().saturating_sub(32);
    hasher.write(&token[tail..]);
}

impl Hash for CachedToken {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hash_of(self.0.as_bytes(), hasher);
    }
}

impl Hash for BorrowedToken<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hash_of(self.0, hasher);
    }
}

impl PartialEq for CachedToken {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for CachedToken {}

impl Equivalent<CachedToken> for BorrowedToken<'_> {
    fn equivalent(&self, token: &CachedToken) -> bool {
        *self.0 == *token.0.as_bytes()
    }
}
