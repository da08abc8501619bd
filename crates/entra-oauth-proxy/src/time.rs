//! The wall clock.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A wall clock, the system's by default.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    pub(crate) fn new(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(clock))
    }

    /// Returns the current time in seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        let since = self.system_time().duration_since(UNIX_EPOCH);
        since.unwrap_or_default().as_secs()
    }

    pub(crate) fn system_time(&self) -> SystemTime {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}
