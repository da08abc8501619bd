//! Time: the wall clock, durations that differ from one another, and the runtime whose timers are used.

use std::hash::{BuildHasher as _, RandomState};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;

use crate::unavailable::Outage;

/// The wall clock.
pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Returns the duration less a random part of at most one `fraction`th.
pub(crate) fn jittered(duration: Duration, fraction: u32) -> Duration {
    // Hash maps' keys are the standard library's only source of randomness; this is no secret.
    let random = RandomState::new().hash_one(()) % 1_000;
    let part = u32::try_from(random).unwrap_or(0);
    duration - duration / fraction / 1_000 * part
}

/// Returns the tokio runtime of the caller, if it has timers. Only making one tells, by a panic if not;
/// this is asked for when tasks are spawned, never on the way of a request whose key is held and whose
/// tenant is known.
pub(crate) fn usable_runtime() -> Result<Handle, Outage> {
    let runtime = Handle::try_current().map_err(|_| Outage::NoRuntime)?;
    catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).map_err(|_| Outage::NoRuntime)?;
    Ok(runtime)
}
