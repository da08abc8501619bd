//! The wall clock, jittered durations, and the tokio runtime.

use std::hash::{BuildHasher as _, RandomState};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;

use crate::unavailable::Outage;

/// The wall clock.
pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Returns the duration, shortened by a random part of at most `duration / fraction`.
pub(crate) fn jittered(duration: Duration, fraction: u32) -> Duration {
    // Hash keys are the standard library's only source of randomness. Jitter is no secret.
    let random = RandomState::new().hash_one(()) % 1_000;
    let part = u32::try_from(random).unwrap_or(0);
    duration - duration / fraction / 1_000 * part
}

/// Returns the current tokio runtime, if it has timers.
///
/// The only way to find out is to make a timer, which panics without support for timers. This
/// function is called before a task is spawned, never for a request whose key is held and whose
/// tenant is known.
pub(crate) fn usable_runtime() -> Result<Handle, Outage> {
    let runtime = Handle::try_current().map_err(|_| Outage::NoRuntime)?;
    catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).map_err(|_| Outage::NoRuntime)?;
    Ok(runtime)
}
