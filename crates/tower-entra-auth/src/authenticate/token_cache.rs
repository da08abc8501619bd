//! Verified tokens, remembered: the same bearer token arrives thousands of times in its hour.
//!
//! Only what was accepted is kept, so that nobody fills it with forgeries. What is kept proves
//! nothing by itself: with every request the [`EntraAuth`](crate::EntraAuth) checks the time, the
//! key and the after-verification checks anew. moka bounds how many bytes there are, and drops
//! what is old; nothing is right or wrong by its doing so.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use moka::Equivalent;
use moka::sync::Cache;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::status::TokenCacheStatus;

/// The tokens that were accepted.
pub(crate) struct TokenCache {
    tokens: Cache<Token, Caller>,
    capacity: u64,
    ttl: Duration,
}

/// A token as it was sent. Equal are tokens of which every byte is equal, and nothing else.
struct Token(Arc<str>);

/// The same, borrowed from a request.
struct Sent<'r>(&'r [u8]);

impl TokenCache {
    /// About 9,000 tokens of 1.4 KB, 1,900 of 12 KB.
    pub(crate) const DEFAULT_BYTES: usize = 32 * 1024 * 1024;
    pub(crate) const LEAST_BYTES: usize = 64 * 1024;
    pub(crate) const MOST_BYTES: usize = 4 * 1024 * 1024 * 1024;

    pub(crate) const DEFAULT_TTL: Duration = Duration::from_secs(60 * 60);
    pub(crate) const LEAST_TTL: Duration = Duration::from_secs(1);
    pub(crate) const MOST_TTL: Duration = Duration::from_secs(24 * 60 * 60);

    /// What moka and the caller's own counts take beside a token, in bytes; `tests/memory.rs`
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
                // So that tokens do not stay in memory for longer than they are of use.
                .time_to_live(ttl)
                .build(),
            capacity,
            ttl,
        }
    }

    /// Who was verified with exactly this token, if that is remembered and not too long ago.
    pub(crate) fn get(&self, token: &[u8], now: Instant) -> Option<Caller> {
        let caller = self.tokens.get(&Sent(token))?;
        let age = now.saturating_duration_since(caller.proof()?.verified_at);
        (age < self.ttl).then_some(caller)
    }

    pub(crate) fn remember(&self, caller: &Caller) {
        let token = Token(Arc::clone(caller.compact()));
        self.tokens.insert(token, caller.clone());
    }

    pub(crate) fn forget(&self, token: &[u8]) {
        self.tokens.invalidate(&Sent(token));
    }

    pub(crate) fn status(&self) -> TokenCacheStatus {
        // moka counts what came and went with later requests; so that the counts are of now.
        self.tokens.run_pending_tasks();
        TokenCacheStatus {
            tokens: self.tokens.entry_count(),
            bytes: self.tokens.weighted_size(),
            capacity: self.capacity,
        }
    }
}

/// Of the signature's last 32 characters only: 190 bits that differ from token to token, and that
/// nobody but Entra can choose. Two tokens that share them would be told apart by the rest.
fn hash_of<H: Hasher>(token: &[u8], hasher: &mut H) {
    let tail = token.len().saturating_sub(32);
    hasher.write(&token[tail..]);
}

impl Hash for Token {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hash_of(self.0.as_bytes(), hasher);
    }
}

impl Hash for Sent<'_> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hash_of(self.0, hasher);
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Token {}

impl Equivalent<Token> for Sent<'_> {
    fn equivalent(&self, token: &Token) -> bool {
        *self.0 == *token.0.as_bytes()
    }
}
