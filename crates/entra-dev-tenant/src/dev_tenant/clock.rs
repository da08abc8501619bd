//! Its clock.

use std::time::{Duration, SystemTime};

use super::DevTenant;
use crate::clock::http_date;

impl DevTenant {
    /// The tenant's wall clock, for what is under test: it follows tokio's clock, so that one
    /// [`advance`](Self::advance) moves both, and jumps when the tenant's does. Where tokio's clock
    /// is paused, the [`http_client`](Self::http_client) belongs to it.
    pub fn clock(&self) -> impl Fn() -> SystemTime + Clone + Send + Sync + 'static + use<> {
        let clock = self.inner.issuer.clock.clone();
        move || clock.now()
    }

    /// The tenant's time so much from now as an HTTP date, such as
    /// `Thu, 13 Aug 2026 21:24:29 GMT`, for [`throttles`](crate::Endpoint::throttles).
    #[must_use]
    pub fn http_date_in(&self, delay: Duration) -> String {
        http_date(self.inner.issuer.clock.now() + delay)
    }

    /// The wall clock jumps ahead, and with it every [`clock`](Self::clock) that was handed out;
    /// tokio's does not move.
    ///
    /// # Panics
    /// If no clock can tell that time.
    pub fn clock_jumps_forward(&self, by: Duration) {
        self.inner.issuer.clock.jump(|wall| *wall += by);
    }

    /// The wall clock jumps back, be it to before 1970, and with it every
    /// [`clock`](Self::clock) that was handed out; tokio's does not move.
    ///
    /// # Panics
    /// If no clock can tell that time.
    pub fn clock_jumps_back(&self, by: Duration) {
        self.inner.issuer.clock.jump(|wall| *wall -= by);
    }

    /// Time passes: tokio's clock and the wall clock move so far.
    ///
    /// Requests must come [through memory](Self::http_client) while it is paused: the tenant
    /// answers none that came by a socket.
    ///
    /// # Panics
    /// Unless tokio's clock is paused (`#[tokio::test(start_paused = true)]`).
    pub async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
    }
}
