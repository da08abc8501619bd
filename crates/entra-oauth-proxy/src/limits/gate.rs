//! Where requests are let through, or told to wait.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{Method, StatusCode};

use super::Limits;
use super::address::{TrustedProxies, counted};
use super::bucket::{Buckets, Rate};
use super::bulkhead::Bulkhead;
use crate::http::response::{Answer, oauth_error, set};
use crate::oauth::error::{Code, OAuthError};
use crate::pages::{Obstacle, error_page};
use crate::telemetry::log::RefusalLog;

/// Endpoints that are counted together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Group {
    Registration,
    /// What browsers come to on the way of a sign-in.
    SignIn,
    Token,
}

/// The limits, at work.
pub(crate) struct Gate {
    registrations: Option<Limit>,
    sign_ins: Option<Limit>,
    token_requests: Option<Limit>,
    of_client: Option<Limit>,
    of_sign_in: Option<Limit>,
    of_user: Option<Limit>,
    proxies: TrustedProxies,
    has_warned: AtomicBool,
    has_warned_of_a_proxy: AtomicBool,
    /// Calls to Entra that redeem a code.
    pub(crate) redeeming: Bulkhead,
    /// Calls to Entra that renew tokens. Apart from the others: codes come from anybody.
    pub(crate) renewing: Bulkhead,
}

/// Buckets, by their name in the log.
struct Limit {
    name: &'static str,
    buckets: Buckets,
    refused: RefusalLog,
}

impl Gate {
    pub(crate) fn new(limits: &Limits, proxies: TrustedProxies) -> Self {
        let limit = |name, rate: Option<Rate>| {
            rate.map(|rate| Limit {
                name,
                buckets: Buckets::new(rate),
                refused: RefusalLog::default(),
            })
        };
        Self {
            registrations: limit("registrations_per_address", limits.registrations),
            sign_ins: limit("sign_ins_per_address", limits.sign_ins),
            token_requests: limit("token_requests_per_address", limits.token_requests),
            of_client: limit("token_requests_per_client", limits.of_client),
            of_sign_in: limit("refreshes_per_sign_in", limits.of_sign_in),
            of_user: limit("sign_ins_per_user", limits.of_user),
            proxies,
            has_warned: AtomicBool::new(false),
            has_warned_of_a_proxy: AtomicBool::new(false),
            redeeming: Bulkhead::new("sign-ins", limits.entra_calls),
            renewing: Bulkhead::new("renewals", limits.entra_calls),
        }
    }

    /// The answer to a request from an address that has come too often: before anything of it is read.
    pub(crate) fn refusal(&self, group: Group, head: &Parts) -> Option<Answer> {
        let limit = match group {
            Group::Registration => &self.registrations,
            Group::SignIn => &self.sign_ins,
            Group::Token => &self.token_requests,
        };
        let limit = limit.as_ref().filter(|_| head.method != Method::OPTIONS)?;
        let Some(origin) = self.proxies.origin(head) else {
            self.warn_of_no_address();
            return None;
        };
        if origin.is_disputed && is_inside(origin.address) {
            self.warn_of_a_proxy();
        }
        let wait = limit.buckets.take(counted(origin.address)).err()?;
        limit.warn(Some(origin.address), origin.is_disputed);
        Some(match group {
            Group::SignIn => page(wait),
            Group::Registration | Group::Token => oauth_error(&too_many(wait)),
        })
    }

    /// Counts a request for tokens for its client, and for the sign-in that is refreshed, if it is one.
    /// For requests alone that have proven to be that client's, before anything is used up.
    pub(crate) fn admit(&self, client: &str, grant: Option<&str>) -> Result<(), OAuthError> {
        // The sign-in first: when that is too fast, it takes nothing of the others.
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

    /// Counts a sign-in for its user, once Entra has said who it is.
    pub(crate) fn admit_user(&self, key: &str) -> Result<(), OAuthError> {
        let Some(limit) = &self.of_user else {
            return Ok(());
        };
        limit.buckets.take(key).map_err(|wait| {
            limit.warn(None, false);
            let wait = whole_seconds(wait).as_secs().max(1);
            let text = format!("this user signs in too often; try again in {wait} seconds");
            OAuthError::new(Code::TooManyRequests, text)
        })
    }

    fn warn_of_no_address(&self) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "nothing says from which address requests come, so none is limited by it; serve with \
                 into_make_service_with_connect_info::<SocketAddr>(), put a std::net::SocketAddr into \
                 the extensions of each request, or set limits(Limits::none())"
            );
        }
    }
}

impl Gate {
    /// Before anybody is told to wait for what others did.
    fn warn_of_a_proxy(&self) {
        if !self.has_warned_of_a_proxy.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "requests come from an address inside and say X-Forwarded-For, as those of a reverse \
                 proxy do; name it by trusted_proxies(..): without, all who come through it count as \
                 one address"
            );
        }
    }
}

/// As those of reverse proxies are.
fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

impl Limit {
    fn warn(&self, address: Option<IpAddr>, is_disputed: bool) {
        let limit = self.name;
        if let Some(address) = address {
            tracing::debug!(limit, %address, "a request came too soon");
        }
        let Some(count) = self.refused.due((limit, "")) else {
            return;
        };
        let remedy = is_disputed.then_some(
            "X-Forwarded-For names other addresses; if that is a reverse proxy's word, name the proxy \
             by trusted_proxies(..): without, all who come through it count as one",
        );
        tracing::warn!(limit, count, remedy, "requests are told to wait");
    }
}

/// In whole seconds, after which there is a token.
fn whole_seconds(wait: Duration) -> Duration {
    let is_more = wait.subsec_nanos() > 0;
    Duration::from_secs(wait.as_secs().saturating_add(is_more.into()))
}

fn too_many(wait: Duration) -> OAuthError {
    OAuthError {
        retry_after: Some(whole_seconds(wait)),
        ..OAuthError::new(
            Code::TooManyRequests,
            "too many requests; try again after the seconds that Retry-After says",
        )
    }
}

fn page(wait: Duration) -> Answer {
    let mut answer = error_page(&Obstacle {
        status: StatusCode::TOO_MANY_REQUESTS,
        title: "Too many sign-ins at the moment",
        what_to_do: "Many come from your network just now. Wait a minute, then load this page again: \
                     your sign-in goes on from here.",
    });
    let seconds = whole_seconds(wait).as_secs().max(1).to_string();
    set(&mut answer, RETRY_AFTER, &seconds);
    answer
}
