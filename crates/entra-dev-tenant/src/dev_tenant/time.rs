//! The handle on the tenant's time.

use std::time::Duration;

use super::DevTenant;
use crate::clock::http_date;

/// A handle on the time of a [`DevTenant`].
///
/// [`DevTenant::time`] returns it. There are two clocks. Late responses wait by tokio's clock,
/// which tests may pause. The tenant's wall clock follows tokio's clock, and [`DevTenant::clock`]
/// returns it.
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

    /// Lets time pass: tokio's clock and the wall clock both move forward by this duration.
    ///
    /// While tokio's clock is paused, requests must come [in memory](DevTenant::http_client). The
    /// tenant does not respond to requests that come by a socket.
    ///
    /// # Panics
    /// Unless tokio's clock is paused (`#[tokio::test(start_paused = true)]`).
    pub async fn advance(self, by: Duration) {
        tokio::time::advance(by).await;
    }

    /// Moves the wall clock forward, but not tokio's clock.
    ///
    /// Every [`clock`](DevTenant::clock) that the tenant has returned moves with it.
    ///
    /// # Panics
    /// If `SystemTime` cannot represent the new time.
    pub fn jump_forward(self, by: Duration) {
        self.0.issuer().clock.jump(|wall| *wall += by);
    }

    /// Moves the wall clock back, but not tokio's clock.
    ///
    /// The new time may be before 1970. Every [`clock`](DevTenant::clock) that the tenant has
    /// returned moves with it.
    ///
    /// # Panics
    /// If `SystemTime` cannot represent the new time.
    pub fn jump_back(self, by: Duration) {
        self.0.issuer().clock.jump(|wall| *wall -= by);
    }

    /// Returns the tenant's time plus `delay` as an HTTP date.
    ///
    /// An example is `Thu, 13 Aug 2026 21:24:29 GMT`. Use it for
    /// [`throttle`](crate::Endpoint::throttle).
    #[must_use]
    pub fn http_date_in(self, delay: Duration) -> String {
        http_date(self.0.issuer().clock.now() + delay)
    }
}
