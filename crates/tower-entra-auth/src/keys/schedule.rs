//! When keys are fetched: a state machine without any I/O, task or clock of its own.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use super::discovery::Discovery;

/// Which attempts may begin, and when the next one is due.
#[derive(Debug)]
pub(crate) struct Schedule {
    bucket: Bucket,
    in_flight: Option<InFlight>,
    last_number: u64,
    failures_in_a_row: u32,
    next: Instant,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    number: AttemptNumber,
    begun: Instant,
}

/// Which attempt: later ones have higher numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct AttemptNumber(u64);

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    Succeeded,
    Failed,
    /// Ended from outside, which says nothing about the key server.
    Interrupted,
}

impl Schedule {
    /// How often keys are fetched when all is well.
    pub(crate) const INTERVAL: Duration = Duration::from_secs(60 * 60);

    /// The back-off after the first failure, doubled with each further one.
    const FIRST_BACK_OFF: Duration = Duration::from_secs(1);

    /// The longest back-off.
    const MOST_BACK_OFF: Duration = Duration::from_secs(5 * 60);

    /// An attempt limits itself to less than this. One that did not end by then is on a runtime
    /// that does not run: it no longer counts, and what it may bring later is ignored.
    const ATTEMPT_LIMIT: Duration = Discovery::TIMEOUT.saturating_add(Duration::from_secs(1));

    /// The first attempt is due at once.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            bucket: Bucket::full(now),
            in_flight: None,
            last_number: 0,
            failures_in_a_row: 0,
            next: now,
        }
    }

    pub(crate) fn is_in_flight(&self, now: Instant) -> bool {
        self.in_flight
            .is_some_and(|attempt| now < attempt.begun + Self::ATTEMPT_LIMIT)
    }

    /// Begins the scheduled attempt, if it is due and none is in flight.
    pub(crate) fn begin_if_due(&mut self, now: Instant) -> Option<AttemptNumber> {
        (self.next <= now && !self.is_in_flight(now)).then(|| self.begin(now))
    }

    /// Begins an attempt because a key is missing, if none is in flight and the bucket allows it.
    pub(crate) fn begin_on_demand(&mut self, now: Instant) -> Option<AttemptNumber> {
        (!self.is_in_flight(now) && self.bucket.take(now)).then(|| self.begin(now))
    }

    fn begin(&mut self, now: Instant) -> AttemptNumber {
        self.last_number += 1;
        let number = AttemptNumber(self.last_number);
        self.in_flight = Some(InFlight { number, begun: now });
        number
    }

    /// Whether this attempt still counts.
    pub(crate) fn is_current(&self, number: AttemptNumber) -> bool {
        self.in_flight
            .is_some_and(|attempt| attempt.number == number)
    }

    /// Ends the attempt that is in flight, and says how many failures came right before.
    pub(crate) fn end(&mut self, ending: Ending, now: Instant) -> u32 {
        self.in_flight = None;
        let failures_before = self.failures_in_a_row;
        let wait = match ending {
            Ending::Succeeded => {
                self.failures_in_a_row = 0;
                jittered(Self::INTERVAL, 20)
            }
            Ending::Failed => {
                self.failures_in_a_row = failures_before.saturating_add(1);
                back_off(failures_before)
            }
            Ending::Interrupted => Self::FIRST_BACK_OFF,
        };
        self.next = now + wait;
        failures_before
    }

    /// When the next scheduled attempt is due.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// When to look again: at the limit of the attempt in flight, else when the next is due.
    pub(crate) fn wake_at(&self, now: Instant) -> Instant {
        match self.in_flight {
            Some(attempt) if self.is_in_flight(now) => attempt.begun + Self::ATTEMPT_LIMIT,
            _ => self.next,
        }
    }

    /// After what time it is worth to ask for a missing key again.
    pub(crate) fn retry_after(&self, now: Instant) -> Duration {
        let scheduled = self.wake_at(now).saturating_duration_since(now);
        if self.is_in_flight(now) {
            scheduled
        } else {
            scheduled.min(self.bucket.until_next(now))
        }
    }
}

/// 1 s, 2 s, 4 s … 5 min, each between half and whole, so that replicas do not ask in step.
fn back_off(failures_before: u32) -> Duration {
    let doubled = Schedule::FIRST_BACK_OFF.saturating_mul(1 << failures_before.min(16));
    jittered(doubled.min(Schedule::MOST_BACK_OFF), 2)
}

/// The span less a random part of at most one `fraction`th.
fn jittered(span: Duration, fraction: u32) -> Duration {
    // Hash maps' keys are the standard library's only source of randomness; this is no secret.
    let random = RandomState::new().hash_one(()) % 1_000;
    let part = u32::try_from(random).unwrap_or(0);
    span - span / fraction / 1_000 * part
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_back_off_doubles_up_to_five_minutes() {
        let bounds = [(0, 1), (1, 2), (2, 4), (8, 256), (9, 300), (40, 300)];
        for (failures, seconds) in bounds {
            let longest = Duration::from_secs(seconds);
            for _ in 0..100 {
                let found = back_off(failures);
                assert!(
                    found <= longest && found >= longest / 2,
                    "{failures}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn one_attempt_is_in_flight_at_a_time() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        assert!(schedule.begin_if_due(now).is_some());
        assert!(schedule.begin_if_due(now).is_none());
        assert!(schedule.begin_on_demand(now).is_none());
        schedule.end(Ending::Succeeded, now);
        assert!(
            schedule.begin_if_due(now).is_none(),
            "the next is due in an hour"
        );
        assert!(schedule.begin_on_demand(now).is_some());
    }

    #[test]
    fn the_schedule_spends_nothing_of_the_bucket() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(now);
        for _ in 0..10 {
            assert!(schedule.begin_if_due(now).is_some());
            schedule.end(Ending::Failed, now);
            now = schedule.next();
        }
        for _ in 0..2 {
            assert!(schedule.begin_on_demand(now).is_some());
            schedule.end(Ending::Failed, now);
        }
        assert!(
            schedule.begin_on_demand(now).is_none(),
            "whatever the outcome was"
        );
    }

    #[test]
    fn an_attempt_that_does_not_end_is_given_up_and_comes_too_late() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        let stuck = schedule.begin_if_due(now).unwrap();
        assert!(schedule.begin_if_due(now + 5 * SECOND).is_none());
        assert_eq!(schedule.wake_at(now + SECOND), now + 6 * SECOND);
        assert!(schedule.is_current(stuck));
        let next = schedule.begin_if_due(now + 6 * SECOND).unwrap();
        assert!(!schedule.is_current(stuck) && schedule.is_current(next));
    }

    #[test]
    fn failures_are_counted_until_a_success_and_interruptions_are_none() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        let ends = [
            (Ending::Failed, 0),
            (Ending::Failed, 1),
            (Ending::Interrupted, 2),
            (Ending::Failed, 2),
            (Ending::Succeeded, 3),
            (Ending::Failed, 0),
        ];
        for (ending, failures_before) in ends {
            assert_eq!(schedule.end(ending, now), failures_before);
        }
    }

    #[test]
    fn the_time_to_ask_again_is_that_of_the_attempt_the_schedule_or_the_bucket() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        schedule.begin_if_due(now);
        assert_eq!(schedule.retry_after(now + 2 * SECOND), 4 * SECOND);
        schedule.end(Ending::Succeeded, now);
        assert_eq!(schedule.retry_after(now), Duration::ZERO);
        for _ in 0..2 {
            schedule.begin_on_demand(now);
            schedule.end(Ending::Succeeded, now);
        }
        assert_eq!(schedule.retry_after(now), 30 * SECOND);
        schedule.end(Ending::Interrupted, now);
        assert_eq!(schedule.retry_after(now), SECOND);
    }
}
