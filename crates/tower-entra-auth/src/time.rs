//! The tokio runtime that tasks are spawned on.

use std::panic::catch_unwind;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::unavailable::Unavailable;

/// The tokio runtime of the caller, if it has timers. Only making one tells, by a panic if not;
/// this is asked for when tasks are spawned, never on the way of a request whose key is held and
/// whose tenant is known.
pub(crate) fn usable_runtime() -> Result<Handle, Unavailable> {
    let runtime = Handle::try_current().map_err(|_| Unavailable::NoRuntime)?;
    catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO)))
        .map_err(|_| Unavailable::NoRuntime)?;
    Ok(runtime)
}
