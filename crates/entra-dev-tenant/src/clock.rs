//! The tenant's wall clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use tokio::time::Instant;

/// Wall time that follows tokio's clock and can also jump independently. All clones jump together.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    wall_at_start: Arc<Mutex<SystemTime>>,
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            wall_at_start: Arc::new(Mutex::new(SystemTime::now())),
            start: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> SystemTime {
        *self.lock() + self.start.elapsed()
    }

    /// Returns the seconds since 1970, which are negative for earlier times.
    pub(crate) fn unix_seconds(&self) -> i64 {
        unix_seconds(self.now())
    }

    /// Changes the wall time of the start, which moves all later times.
    pub(crate) fn jump(&self, change: impl FnOnce(&mut SystemTime)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, SystemTime> {
        self.wall_at_start
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Formats a time as HTTP headers do, such as `Thu, 13 Aug 2026 21:24:29 GMT`.
pub(crate) fn http_date(at: SystemTime) -> String {
    let time =
        OffsetDateTime::from_unix_timestamp(unix_seconds(at)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (hour, minute, second) = time.to_hms();
    let (weekday, month) = (time.weekday().to_string(), time.month().to_string());
    format!(
        "{}, {:02} {} {:04} {hour:02}:{minute:02}:{second:02} GMT",
        &weekday[..3],
        time.day(),
        &month[..3],
        time.year(),
    )
}

/// Formats a time as Entra does, such as `2026-08-13 21:24:29Z`.
pub(crate) fn timestamp(unix_seconds: i64) -> String {
    let time =
        OffsetDateTime::from_unix_timestamp(unix_seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (hour, minute, second) = time.to_hms();
    format!("{} {hour:02}:{minute:02}:{second:02}Z", time.date())
}

fn unix_seconds(at: SystemTime) -> i64 {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => seconds(since),
        Err(before) => -seconds(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_follow_the_calendar() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_786_656_269, "Thu, 13 Aug 2026 21:24:29 GMT"),
        ] {
            assert_eq!(http_date(UNIX_EPOCH + Duration::from_secs(seconds)), date);
        }
    }

    #[test]
    fn before_1970_seconds_are_negative() {
        assert_eq!(unix_seconds(UNIX_EPOCH - Duration::from_secs(60)), -60);
        assert_eq!(
            http_date(UNIX_EPOCH - Duration::from_secs(60)),
            "Wed, 31 Dec 1969 23:59:00 GMT"
        );
    }

    #[test]
    fn timestamps_follow_the_calendar() {
        assert_eq!(timestamp(0), "1970-01-01 00:00:00Z");
        assert_eq!(timestamp(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(timestamp(1_786_656_269), "2026-08-13 21:24:29Z");
    }
}
