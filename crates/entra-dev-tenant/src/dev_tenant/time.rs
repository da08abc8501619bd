//! The handle on the tenant's time.

use std::time::Duration;

use super::DevTenant;
use crate::clock::http_date;

/// A handle on the time of a [`DevTenant`]; made by [`DevTenant::time`].
///
/// There are two clocks: tokio's, by which answers are late and which tests may pause, and the tenant's
/// wall clock, which follows it and is what [`DevTenant::clock`] hands out.
///
/// ```
/// # async fn check(tenant: &entra_dev_tenant::DevTenant) {
/// # use std::time::Duration;
/// let hour = Duration::from_secs(3_600);
/// tenant.time().advance(hour).await; // both clocks
/// tenant.time().jump_forward(hour); // the wall clock alone
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Time<'t>(&'t DevTenant);

impl<'t> Time<'t> {
    pub(super) fn of(tenant: &'t DevTenant) -> Self {
        Self(tenant)
    }

    /// Lets time pass: tokio's clock and the wall clock move so far.
    ///
    /// Requests must come [through memory](DevTenant::http_client) while it is paused: the tenant
    /// answers none that came by a socket.
    ///
    /// # Panics
    /// Unless tokio's clock is paused (`#[tokio::test(start_paused = true)]`).
    pub async fn advance(self, by: Duration) {
        tokio::time::advance(by).await;
    }

    /// Moves the wall clock ahead, and with it every [`clock`](DevTenant::clock) that was handed out;
    /// tokio's does not move.
    ///
    /// # Panics
    /// If no clock can tell that time.
    pub fn jump_forward(self, by: Duration) {
        self.0.issuer().clock.jump(|wall| *wall += by);
    }

    /// Moves the wall clock back, be it to before 1970, and with it every [`clock`](DevTenant::clock)
    /// that was handed out; tokio's does not move.
    ///
    /// # Panics
    /// If no clock can tell that time.
    pub fn jump_back(self, by: Duration) {
        self.0.issuer().clock.jump(|wall| *wall -= by);
    }

    /// Returns the tenant's time so much from now as an HTTP date, such as `Thu, 13 Aug 2026
    /// 21:24:29 GMT`, for [`throttle`](crate::Endpoint::throttle).
    #[must_use]
    pub fn http_date_in(self, delay: Duration) -> String {
        http_date(self.0.issuer().clock.now() + delay)
    }
}
