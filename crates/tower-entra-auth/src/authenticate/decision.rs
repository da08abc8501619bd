//! The decision about one request, in the order in which its token is judged, and the tokens that were
//! accepted before.

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
    /// Something is to be waited for.
    Wait(PendingDecision),
}

/// The decision about a token of which something is not known yet.
pub(crate) struct PendingDecision {
    auth: EntraAuth,
    awaited: Awaited,
}

enum Awaited {
    /// The token could be valid, if its key turns up.
    Key {
        token: Arc<[u8]>,
        issuer: usize,
        key: PendingKey,
    },
    /// The token is valid; not every check after that has a yes.
    Checks(Caller),
}

impl EntraAuth {
    /// Decides about a request by its headers, without awaiting anything.
    pub(crate) fn decide(&self, headers: &HeaderMap, uri: &Uri) -> Decision {
        let token = self.state.tokens.find(headers, uri);
        let decision = token.and_then(|token| self.decide_about(token));
        decision.unwrap_or_else(Decision::Refuse)
    }

    /// Decides about a token, wherever it comes from.
    fn decide_about(&self, sent: &[u8]) -> Result<Decision, Reason> {
        let now = Instant::now();
        if let Some(caller) = self.cached_caller(sent, now) {
            return Ok(self.accepted(caller, true));
        }
        // What parses has the characters of a token; only what does not need be looked at twice.
        let unverified = match self.parse(sent) {
            Ok(unverified) => unverified,
            Err(error) if sent.len() > self.state.max_token_length => return Err(error),
            Err(error) => return Err(check_characters(sent).err().unwrap_or(error)),
        };
        let (index, issuer) = self.issuer_of(&unverified);

        if let Some(key) = issuer.keys.find(unverified.key_ref().key_id, now) {
            // A key that is held serves even where none could be fetched.
            let _ = issuer.keys.ensure_refresher(now);
            let caller = self.finish(index, unverified, key, now)?;
            return Ok(self.accepted(caller, false));
        }
        // The reason is the token's own if it has a fault: then no key could help, and none is
        // fetched.
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

    /// Returns the caller that was verified with exactly this token, if all that may change since
    /// still holds.
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
        // The reason is for the checks to say, from the beginning.
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

    /// Returns the issuer that the token claims to be of, else the first, whose rules name the reason.
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

    /// Judges a token whose key was missing by what became of it.
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

    /// Verifies a token that did not come in a request's header, as the Layer verifies those that do:
    /// by every rule, the rules about [tenants](crate::EntraAuthBuilder::tenant_rule) and callers included, waiting for keys
    /// within the same bounds. Nothing is logged or counted unless the refusal is answered.
    ///
    /// # Errors
    /// The refusal.
    pub async fn verify(&self, token: &str) -> Result<Caller, Refusal> {
        let decided = match self.decide_about(token.as_bytes()) {
            Ok(Decision::Accept(caller)) => Ok(caller),
            Ok(Decision::Refuse(refusal)) | Err(refusal) => Err(refusal),
            Ok(Decision::Wait(pending)) => pending.decide().await,
        };
        decided.map_err(|refusal| Refusal::new(&self.state.context, None, refusal, None))
    }

    /// Runs every check of a token to its end, with the keys that are held now, and reports on
    /// each, and on the requirement of a route if one is given: for people who look for the
    /// reason. Without keys (see [`ready`](Self::ready)) the signature is not checked. The rules of
    /// the service are not asked.
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

    /// Hands a verified caller on with the request.
    pub(crate) fn admit<B>(&self, request: &mut Request<B>, caller: Caller) {
        Decided::ACCEPTED.count();
        request.extensions_mut().insert(caller);
        self.remove_token(request);
    }

    /// Hands a request on that is to pass without a token. A caller whom a Layer further out has
    /// verified is not this one's.
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

/// Returns the grant that a reissued token is of.
fn grant_of(token: &AccessToken) -> Result<Arc<str>, InvalidToken> {
    match token.claim("gid") {
        Some(Value::String(grant)) if !grant.is_empty() => Ok(grant.into()),
        _ => Err(InvalidToken::missing_claim("gid")),
    }
}

impl PendingDecision {
    /// Waits within the bounds, then decides.
    pub(crate) async fn decide(self) -> Result<Caller, Reason> {
        let caller = match self.awaited {
            Awaited::Key { token, issuer, key } => {
                let found = key.wait().await;
                // Parsed again rather than kept: what was parsed borrows from the request.
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

/// The tokens that were accepted: the same bearer token arrives thousands of times in its hour.
///
/// Only what was accepted is kept, so that nobody fills it with forgeries. What is kept proves
/// nothing by itself: with every request the [`EntraAuth`] checks the time, the key and the
/// after-verification checks again. moka bounds how many bytes there are, and drops what is old;
/// nothing is right or wrong by its doing so.
pub(crate) struct RememberedTokens {
    tokens: Cache<CachedToken, Caller>,
    capacity: u64,
    ttl: Duration,
}

/// A token as it was sent. Equal are tokens of which every byte is equal, and nothing else.
struct CachedToken(Arc<str>);

/// A token, borrowed from a request.
struct BorrowedToken<'r>(&'r [u8]);

impl RememberedTokens {
    /// The bytes that moka and the caller's own counts take beside a token; `tests/memory.rs`
    /// checks it against what is allocated.
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
                // An expired token is of no use, however often it came.
                .eviction_policy(EvictionPolicy::lru())
                // So that tokens do not stay in memory for longer than they are of use.
                .time_to_live(ttl)
                .build(),
            capacity,
            ttl,
        }
    }

    /// Returns the caller that was verified with exactly this token, if that was not too long ago.
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
        // moka counts what came and went with later requests; so that the counts are of now.
        self.tokens.run_pending_tasks();
        TokenCacheStatus {
            tokens: self.tokens.entry_count(),
            bytes: self.tokens.weighted_size(),
            capacity: self.capacity,
        }
    }
}

/// Hashes the signature's last 32 characters only: 190 bits that differ from token to token, and that
/// nobody but Entra can choose. Two tokens that share them would be told apart by the rest.
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
