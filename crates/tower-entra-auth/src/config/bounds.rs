//! The bounds of settings that are numbers or durations.

use std::time::Duration;

use entra_http::Problems;
use entra_jwt_core::Validator;

use super::EntraAuthBuilder;

/// Minimum of `max_token_length`, in bytes.
const MIN_TOKEN_LENGTH: usize = 1024;
/// Maximum of `max_token_length`, in bytes: the limit of Microsoft's own validator.
const MAX_TOKEN_LENGTH: usize = 250 * 1024;

const MIN_CACHE_BYTES: usize = 64 * 1024;
const MAX_CACHE_BYTES: usize = 4 * 1024 * 1024 * 1024;
const MIN_CACHE_TTL: Duration = Duration::from_secs(1);
const MAX_CACHE_TTL: Duration = Duration::from_secs(24 * 60 * 60);

const MAX_RULE_TTL: Duration = Duration::from_secs(60 * 60);

const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(5 * 60);
const MAX_REFRESH_INTERVAL: Duration = Duration::from_secs(12 * 60 * 60);
const MAX_STALENESS: Duration = Duration::from_secs(24 * 60 * 60);

impl EntraAuthBuilder {
    pub(super) fn check_bounds(&self, problems: &mut Problems) {
        if self.clock_skew > Validator::MAX_CLOCK_SKEW {
            problems.add(
                "clock_skew",
                format!(
                    "a clock skew of {} s is too long; at most {} s are accepted (usual: 5 \
                     minutes)",
                    self.clock_skew.as_secs(),
                    Validator::MAX_CLOCK_SKEW.as_secs()
                ),
            );
        }
        let has_rule = self.tenant_rule.is_some() || self.caller_rule.is_some();
        match self.rule_ttl {
            Some(_) if !has_rule => problems.add(
                "rule_ttl",
                "has no effect without tenant_rule(..) or caller_rule(..)",
            ),
            Some(ttl) if ttl > MAX_RULE_TTL => problems.add(
                "rule_ttl",
                format!(
                    "{} s is too long; at most {} s are accepted (usual: 5 minutes)",
                    ttl.as_secs(),
                    MAX_RULE_TTL.as_secs()
                ),
            ),
            _ => {}
        }
        self.check_refresh(problems);
        self.check_token_cache(problems);
        if !(MIN_TOKEN_LENGTH..=MAX_TOKEN_LENGTH).contains(&self.max_token_length) {
            problems.add(
                "max_token_length",
                format!(
                    "{} bytes is out of range; {MIN_TOKEN_LENGTH} to {MAX_TOKEN_LENGTH} bytes are \
                     accepted; 16384 is enough for every token of Entra",
                    self.max_token_length
                ),
            );
        }
    }

    fn check_refresh(&self, problems: &mut Problems) {
        let (interval, staleness) = self.keys.times();
        if !(MIN_REFRESH_INTERVAL..=MAX_REFRESH_INTERVAL).contains(&interval) {
            problems.add(
                "keys.refresh_interval",
                format!(
                    "{} s is out of range; {} to {} s are accepted (usual: 1 hour)",
                    interval.as_secs(),
                    MIN_REFRESH_INTERVAL.as_secs(),
                    MAX_REFRESH_INTERVAL.as_secs()
                ),
            );
        }
        if staleness > MAX_STALENESS || staleness <= interval.min(MAX_REFRESH_INTERVAL) {
            problems.add(
                "keys.max_staleness",
                format!(
                    "{} s is out of range; more than refresh_interval ({} s) and at most {} s are \
                     accepted (usual: 24 hours)",
                    staleness.as_secs(),
                    interval.as_secs(),
                    MAX_STALENESS.as_secs()
                ),
            );
        }
    }

    fn check_token_cache(&self, problems: &mut Problems) {
        let Some((bytes, ttl)) = self.token_cache.bounds() else {
            return;
        };
        if !(MIN_CACHE_BYTES..=MAX_CACHE_BYTES).contains(&bytes) {
            problems.add(
                "token_cache.bytes",
                format!(
                    "{bytes} bytes is out of range; {MIN_CACHE_BYTES} to {MAX_CACHE_BYTES} bytes \
                     are accepted; to turn the cache off, use TokenCache::off()"
                ),
            );
        }
        if !(MIN_CACHE_TTL..=MAX_CACHE_TTL).contains(&ttl) {
            problems.add(
                "token_cache.ttl",
                format!(
                    "{} s is out of range; {} to {} s are accepted; to turn the cache off, use \
                     TokenCache::off()",
                    ttl.as_secs(),
                    MIN_CACHE_TTL.as_secs(),
                    MAX_CACHE_TTL.as_secs()
                ),
            );
        }
    }
}
