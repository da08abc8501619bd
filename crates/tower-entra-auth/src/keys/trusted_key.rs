//! One key that is held, and until when it is trusted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use entra_jwt_core::{Key, KeyId};
use tokio::time::Instant;

/// A key and its time to live. Judged on use, by what is written here and nothing else, so that
/// whoever remembers a token by this key can ask with every request, without any lock.
#[derive(Debug)]
pub(crate) struct TrustedKey {
    key: Arc<Key>,
    timeline: Timeline,
    first_seen: Instant,
    /// When it was last published.
    last_seen: AtomicU64,
    /// `u64::MAX` while it is published, zero once it was dropped.
    trusted_until: AtomicU64,
}

impl TrustedKey {
    /// How long a key that is no longer published stays trusted.
    pub(crate) const ABSENT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

    const PUBLISHED: u64 = u64::MAX;

    /// A key that is published now.
    pub(crate) fn new(key: Arc<Key>, timeline: Timeline, now: Instant) -> Self {
        Self {
            key,
            timeline,
            first_seen: now,
            last_seen: AtomicU64::new(timeline.at(now)),
            trusted_until: AtomicU64::new(Self::PUBLISHED),
        }
    }

    pub(crate) fn key(&self) -> &Arc<Key> {
        &self.key
    }

    pub(crate) fn id(&self) -> &KeyId {
        self.key.id()
    }

    pub(crate) fn is_trusted(&self, now: Instant) -> bool {
        self.timeline.at(now) < self.trusted_until.load(Ordering::Relaxed)
    }

    /// Records that a document has it.
    pub(super) fn mark_published(&self, now: Instant) {
        self.last_seen
            .store(self.timeline.at(now), Ordering::Relaxed);
        self.trusted_until.store(Self::PUBLISHED, Ordering::Relaxed);
    }

    /// Records that a document lacks it. Only the first one starts the clock.
    pub(super) fn mark_absent(&self, now: Instant) {
        if self.trusted_until.load(Ordering::Relaxed) == Self::PUBLISHED {
            let until = self.timeline.at(now + Self::ABSENT_FOR);
            self.trusted_until.store(until, Ordering::Relaxed);
        }
    }

    /// Ends all trust in it, whoever still has it.
    pub(super) fn distrust(&self) {
        self.trusted_until.store(0, Ordering::Relaxed);
    }

    pub(super) fn first_seen(&self) -> Instant {
        self.first_seen
    }

    pub(super) fn last_seen(&self) -> Instant {
        self.timeline
            .instant(self.last_seen.load(Ordering::Relaxed))
    }

    /// For how much longer it is trusted if no document has it again; `None` while it is published.
    pub(super) fn time_to_live(&self, now: Instant) -> Option<Duration> {
        let until = self.trusted_until.load(Ordering::Relaxed);
        (until != Self::PUBLISHED)
            .then(|| self.timeline.instant(until).saturating_duration_since(now))
    }
}

/// Moments of monotonic time as numbers, so that they can be atomic: milliseconds since it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    origin: Instant,
}

impl Timeline {
    pub(crate) fn new(origin: Instant) -> Self {
        Self { origin }
    }

    pub(crate) fn at(self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.origin).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }

    pub(crate) fn instant(self, at: u64) -> Instant {
        self.origin + Duration::from_millis(at)
    }
}
