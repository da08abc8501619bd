//! Errors in the log: the first of a kind, then one a minute with their number. A code that is
//! redeemed comes from whoever opens a URL, so strangers cause errors, too.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::TokenErrorKind;

/// Decides which errors are written.
#[derive(Default)]
pub(crate) struct ErrorLog {
    written: Mutex<HashMap<TokenErrorKind, Written>>,
}

struct Written {
    at: Instant,
    /// Counts the lines of this kind that were left out since.
    since: u64,
}

impl ErrorLog {
    /// The least time between two lines of one kind.
    const INTERVAL: Duration = Duration::from_secs(60);

    /// Returns how many errors the line stands for, if one is due.
    pub(crate) fn due(&self, kind: TokenErrorKind) -> Option<u64> {
        let now = Instant::now();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match written.get_mut(&kind) {
            Some(last) if now.duration_since(last.at) < Self::INTERVAL => {
                last.since += 1;
                None
            }
            Some(last) => {
                let count = last.since + 1;
                *last = Written { at: now, since: 0 };
                Some(count)
            }
            None => {
                written.insert(kind, Written { at: now, since: 0 });
                Some(1)
            }
        }
    }
}

impl fmt::Debug for ErrorLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ErrorLog").finish_non_exhaustive()
    }
}
