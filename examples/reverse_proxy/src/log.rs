//! The log, which limits the number of lines that a client can cause.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

/// Returns a subscriber that writes the lines of this proxy and of the Layer, and none of the
/// libraries below.
///
/// h2, for example, warns of each acknowledgement of a ping that it never sent. A client without a
/// token causes such a line with 17 bytes.
pub(crate) fn subscriber<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let ours = Targets::new()
        .with_target("reverse_proxy", LevelFilter::INFO)
        .with_target("tower_entra_auth", LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    tracing_subscriber::registry().with(ours).with(lines)
}

/// Limits the lines of one kind: the first is written, then one a minute with the count.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    written: Mutex<Option<Written>>,
}

#[derive(Debug)]
struct Written {
    at: Instant,
    /// Number of events since that line.
    since: u64,
}

impl Throttle {
    /// Minimum time between two lines.
    const INTERVAL: Duration = Duration::from_secs(60);

    /// Logs a warning with `what`, if a line is due.
    pub(crate) fn warn(&self, what: impl fmt::Display) {
        if let Some(count) = self.due() {
            tracing::warn!(count, "{what}");
        }
    }

    /// Counts one event and, if a line is due, returns the number of events that the line covers.
    fn due(&self) -> Option<u64> {
        let now = Instant::now();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *written {
            Some(last) if now.duration_since(last.at) < Self::INTERVAL => {
                last.since += 1;
                None
            }
            last => {
                let since = last.as_ref().map_or(0, |last| last.since);
                *last = Some(Written { at: now, since: 0 });
                Some(since + 1)
            }
        }
    }
}
