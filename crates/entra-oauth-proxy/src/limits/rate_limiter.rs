//! The rate limiter, which admits requests or refuses them for some time.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use entra_http::Problems;
use http::request::Parts;
use http::{Method, StatusCode};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::{Rate, RateLimits, TrustedProxies};
use crate::http::Response;
use crate::oauth::{ErrorCode, OAuthError};
use crate::pages::ErrorPage;
use crate::telemetry::ThrottledLog;

/// A group of endpoints whose requests are counted together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EndpointGroup {
    Registration,
    /// Endpoints that a browser visits for a sign-in or sign-out.
    SignIn,
    Token,
}

/// A rate limiter with the configured limits.
pub(crate) struct RateLimiter {
    registrations: Option<Limit>,
    sign_ins: Option<Limit>,
    token_requests: Option<Limit>,
    of_client: Option<Limit>,
    of_sign_in: Option<Limit>,
    of_user: Option<Limit>,
    proxies: TrustedProxies,
    has_warned: AtomicBool,
    has_warned_of_a_proxy: AtomicBool,
}

/// The token buckets of one limit, with its name for the log.
struct Limit {
    name: &'static str,
    buckets: TokenBuckets,
    refused: ThrottledLog,
}

impl RateLimiter {
    /// Creates the limiter for valid limits, behind these reverse proxies.
    ///
    /// For invalid ones, it returns `None` and adds every problem.
    pub(crate) fn new(
        limits: &RateLimits,
        trusted_proxies: &[String],
        problems: &mut Problems,
    ) -> Option<Self> {
        let before = problems.len();
        for (limit, text) in limits.problems() {
            problems.add(format!("limits.{limit}"), text);
        }
        let (proxies, wrong) = TrustedProxies::parse(trusted_proxies);
        for text in wrong {
            problems.add("trusted_proxies", text);
        }
        let limit = |name, rate: Option<Rate>| {
            rate.map(|rate| Limit {
                name,
                buckets: TokenBuckets::new(rate),
                refused: ThrottledLog::default(),
            })
        };
        (problems.len() == before).then(|| Self {
            registrations: limit("registrations_per_address", limits.registrations),
            sign_ins: limit("sign_ins_per_address", limits.sign_ins),
            token_requests: limit("token_requests_per_address", limits.token_requests),
            of_client: limit("token_requests_per_client", limits.of_client),
            of_sign_in: limit("refreshes_per_sign_in", limits.of_sign_in),
            of_user: limit("sign_ins_per_user", limits.of_user),
            proxies,
            has_warned: AtomicBool::new(false),
            has_warned_of_a_proxy: AtomicBool::new(false),
        })
    }

    /// Counts a request for its address, before it is read. Returns the response if the limit
    /// refuses it.
    pub(crate) fn refuse(&self, group: EndpointGroup, head: &Parts) -> Option<Response> {
        let limit = match group {
            EndpointGroup::Registration => &self.registrations,
            EndpointGroup::SignIn => &self.sign_ins,
            EndpointGroup::Token => &self.token_requests,
        };
        let limit = limit.as_ref().filter(|_| head.method != Method::OPTIONS)?;
        let Some(origin) = self.proxies.origin(head) else {
            self.warn_of_no_address();
            return None;
        };
        if origin.is_disputed && is_inside_address(origin.address) {
            self.warn_of_a_proxy();
        }
        let wait = limit.buckets.take(counted(origin.address)).err()?;
        limit.warn(Some(origin.address), origin.is_disputed);
        Some(match group {
            EndpointGroup::SignIn => TOO_MANY_SIGN_INS.response_for_later(wait),
            EndpointGroup::Registration | EndpointGroup::Token => too_many(wait).response(),
        })
    }

    /// Counts a token request for its client, and a refresh also for its sign-in.
    ///
    /// Call it only for requests that have proven to come from that client, and before anything is
    /// used up.
    pub(crate) fn admit(&self, client: &str, grant: Option<&str>) -> Result<(), OAuthError> {
        // The sign-in first: if its limit refuses the request, the client's limit is not used up.
        for (limit, key) in [(&self.of_sign_in, grant), (&self.of_client, Some(client))] {
            let (Some(limit), Some(key)) = (limit, key) else {
                continue;
            };
            limit.buckets.take(key).map_err(|wait| {
                limit.warn(None, false);
                too_many(wait)
            })?;
        }
        Ok(())
    }

    /// Counts a sign-in for its user, once Entra has identified the user.
    pub(crate) fn admit_user(&self, key: &str) -> Result<(), OAuthError> {
        let Some(limit) = &self.of_user else {
            return Ok(());
        };
        limit.buckets.take(key).map_err(|wait| {
            limit.warn(None, false);
            let wait = whole_seconds(wait).as_secs().max(1);
            let text = format!("this user signs in too often; try again in {wait} seconds");
            OAuthError::new(ErrorCode::TooManyRequests, text)
        })
    }

    fn warn_of_no_address(&self) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the server provides no client address, so no limit by address applies; serve with \
                 into_make_service_with_connect_info::<SocketAddr>(), put a std::net::SocketAddr \
                 into the extensions of each request, or set limits(RateLimits::none())"
            );
        }
    }

    /// Logs a warning once about a reverse proxy that is not trusted.
    ///
    /// The warning comes before a limit refuses clients because of other clients' requests.
    fn warn_of_a_proxy(&self) {
        if !self.has_warned_of_a_proxy.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "requests with X-Forwarded-For come from a private or loopback address; if that is \
                 your reverse proxy, add it to trusted_proxies(..): otherwise all its clients \
                 count as one address"
            );
        }
    }
}

/// Returns the address that counts: for IPv6, the whole network of 64 bits.
fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
    }
}

/// Returns whether the address is private, loopback or link-local, like those of reverse proxies.
fn is_inside_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

impl Limit {
    fn warn(&self, address: Option<IpAddr>, is_disputed: bool) {
        let limit = self.name;
        if let Some(address) = address {
            tracing::debug!(limit, %address, "a request is above a rate limit");
        }
        let Some(count) = self.refused.due((limit, "")) else {
            return;
        };
        let remedy = is_disputed.then_some(
            "X-Forwarded-For names other addresses; if a reverse proxy of yours sent it, add the \
             proxy to trusted_proxies(..): otherwise all its clients count as one address",
        );
        tracing::warn!(limit, count, remedy, "a rate limit refuses requests");
    }
}

/// Rounds a wait up to whole seconds, so that a token is available afterwards.
fn whole_seconds(wait: Duration) -> Duration {
    let is_more = wait.subsec_nanos() > 0;
    Duration::from_secs(wait.as_secs().saturating_add(is_more.into()))
}

fn too_many(wait: Duration) -> OAuthError {
    let text = "too many requests; try again after the number of seconds in Retry-After";
    OAuthError::new(ErrorCode::TooManyRequests, text).retry_after(wait)
}

const TOO_MANY_SIGN_INS: ErrorPage = ErrorPage::new(
    StatusCode::TOO_MANY_REQUESTS,
    "Too many sign-ins at the moment",
    "There are many sign-ins from your network right now. Wait a minute, then load this page \
     again: your sign-in then continues.",
);

/// A token bucket for each key, stored only as the time when it is full again (GCRA).
///
/// `governor` is not used: its states of many keys grow without bound, and with a store and a clock
/// of our own, only its arithmetic would be left, which is below.
struct TokenBuckets {
    /// Time from one token to the next, in nanoseconds.
    interval: u64,
    /// Time from empty to full, in nanoseconds.
    to_fill: u64,
    begun: Instant,
    /// Hasher of the keys. Only the hash of a key is kept, so that no address can be read from
    /// memory.
    hasher: RandomState,
    /// Time when each bucket is full again, in nanoseconds since `begun`.
    ///
    /// Full buckets are forgotten. If there are too many, the longest unused ones are forgotten. An
    /// attacker with that many addresses gets full buckets in this way, but any new address has a
    /// full bucket.
    full_at: Cache<u64, Arc<AtomicU64>>,
}

impl TokenBuckets {
    /// Maximum number of keys that are remembered.
    const MAX: u64 = 50_000;

    /// Minimum time for which an unused key is remembered. It passes by moka's clock, which
    /// continues where tokio's clock is paused, as in tests.
    const LEAST_IDLE: Duration = Duration::from_secs(60);

    /// Creates full buckets. The rate contains no zero.
    fn new(rate: Rate) -> Self {
        let interval = 60_000_000_000 / u64::from(rate.per_minute.max(1));
        let to_fill = interval.saturating_mul(u64::from(rate.burst));
        Self {
            interval,
            to_fill,
            begun: Instant::now(),
            hasher: RandomState::new(),
            full_at: Cache::builder()
                .max_capacity(Self::MAX)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(Duration::from_nanos(to_fill).max(Self::LEAST_IDLE))
                .build(),
        }
    }

    /// Takes a token. The error is the time until one is available.
    fn take(&self, key: impl Hash) -> Result<(), Duration> {
        let now = self.begun.elapsed().as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let after = |full_at: u64| full_at.max(now).saturating_add(self.interval);
        let latest = now.saturating_add(self.to_fill);

        let full_at = self
            .full_at
            .get_with(self.hasher.hash_one(key), Arc::default);
        let taken = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            Some(after(full_at)).filter(|after| *after <= latest)
        });
        taken
            .map(|_| ())
            .map_err(|full_at| Duration::from_nanos(after(full_at).saturating_sub(latest)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        per_minute: 30,
    };

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_one_at_each_interval() {
        let buckets = TokenBuckets::new(RATE);
        for _ in 0..3 {
            assert_eq!(buckets.take("key"), Ok(()));
        }
        assert_eq!(buckets.take("key"), Err(Duration::from_secs(2)));
        advance(Duration::from_millis(500)).await;
        assert_eq!(buckets.take("key"), Err(Duration::from_millis(1_500)));
        advance(Duration::from_millis(1_500)).await;
        assert_eq!(buckets.take("key"), Ok(()));
        assert_eq!(buckets.take("key"), Err(Duration::from_secs(2)));
        assert_eq!(buckets.take("another"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn however_long_nobody_came_there_is_no_more_than_the_burst() {
        let buckets = TokenBuckets::new(RATE);
        assert_eq!(buckets.take("key"), Ok(()));
        advance(Duration::from_secs(365 * 24 * 60 * 60)).await;
        let taken = (0..10).filter(|_| buckets.take("key").is_ok());
        assert_eq!(taken.count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn being_refused_takes_nothing() {
        let buckets = TokenBuckets::new(RATE);
        let refused = (0..1_000).filter(|_| buckets.take("key").is_err());
        assert_eq!(refused.count(), 997);
        advance(Duration::from_secs(2)).await;
        assert_eq!(buckets.take("key"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_keys_are_kept_and_the_one_in_use_is_among_them() {
        let buckets = TokenBuckets::new(RATE);
        while buckets.take("in use").is_ok() {}
        for stranger in 0..TokenBuckets::MAX + 20_000 {
            buckets.take(stranger).unwrap();
            if stranger % 10_000 == 0 {
                assert!(buckets.take("in use").is_err(), "{stranger}");
            }
        }
        buckets.full_at.run_pending_tasks();
        let kept = buckets.full_at.entry_count();
        assert!(kept <= TokenBuckets::MAX, "{kept}");
    }

    #[test]
    fn the_widest_and_the_narrowest_can_be_counted() {
        for number in [1, 1_000_000] {
            for burst in [1, 1_000_000] {
                let buckets = TokenBuckets::new(Rate {
                    burst,
                    per_minute: number,
                });
                assert_eq!(buckets.take("key"), Ok(()));
            }
        }
    }

    #[test]
    fn an_ipv6_address_counts_as_its_network_of_64_bits() {
        let as_counted = |text: &str| counted(text.parse().unwrap()).to_string();
        assert_eq!(as_counted("192.0.2.1"), "192.0.2.1");
        assert_eq!(as_counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_ne!(as_counted("2001:db8:1:2::1"), as_counted("2001:db8:1:3::1"));
    }
}
