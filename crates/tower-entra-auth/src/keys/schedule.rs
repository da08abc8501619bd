//! Schedule of fetches: a state machine without any I/O, task or clock of its own.

use std::time::Duration;

use tokio::time::Instant;

use super::ATTEMPT_TIMEOUT;
use crate::time::jittered;

/// Rules for the beginning of attempts, and the due time of the next one.
#[derive(Debug)]
pub(super) struct Schedule {
    bucket: Bucket,
    in_flight: Option<InFlight>,
    last_number: u64,
    /// Number of the newest attempt that brought a document.
    last_answered: u64,
    failures_in_a_row: u32,
    interval: Duration,
    next: Instant,
    /// End of the delay that the key server asked for.
    not_before: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    number: AttemptNumber,
    begun: Instant,
}

/// Number of an attempt. Later attempts have higher numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct AttemptNumber(u64);

/// Arrival of a request, as the number of attempts that had begun by then. A clock could not order
/// a request and an attempt of the same moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Arrival(u64);

/// Outcome of an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AttemptOutcome {
    Succeeded {
        /// `true` if the server said that the document is the same as before. A cache on the way
        /// may say so for a long time, so nothing is known of a key that is not in the document.
        is_unchanged: bool,
        /// Delay before the next fetch, if shorter than usual.
        check_again_after: Option<Duration>,
    },
    Failed {
        /// Delay that the server asked for.
        retry_after: Option<Duration>,
    },
    /// The attempt was ended from outside, which says nothing about the key server.
    Interrupted,
}

impl Schedule {
    /// Minimum interval of scheduled attempts while they succeed.
    const MIN_INTERVAL: Duration = Duration::from_secs(10);

    /// Back-off after the first failure. Each further failure doubles it.
    const FIRST_BACK_OFF: Duration = Duration::from_secs(1);

    /// Maximum back-off, and maximum delay that a server can ask for by `Retry-After`.
    const MAX_BACK_OFF: Duration = Duration::from_secs(5 * 60);

    /// Time after which an attempt no longer counts as in flight. It is longer than the attempt's
    /// own timeout.
    ///
    /// An attempt that has not ended by then is on a runtime that does not run. Once a newer
    /// attempt has begun, a late result is ignored.
    const ATTEMPT_LIMIT: Duration = ATTEMPT_TIMEOUT.saturating_add(Duration::from_secs(1));

    /// Creates a schedule whose first attempt is due immediately.
    pub(super) fn new(now: Instant, interval: Duration) -> Self {
        Self {
            bucket: Bucket::full(now),
            in_flight: None,
            last_number: 0,
            last_answered: 0,
            failures_in_a_row: 0,
            interval,
            next: now,
            not_before: None,
        }
    }

    pub(super) fn is_in_flight(&self, now: Instant) -> bool {
        self.in_flight
            .is_some_and(|attempt| now < attempt.begun + Self::ATTEMPT_LIMIT)
    }

    /// Returns whether it is worth waiting for a missing key: an attempt is in flight, or one may
    /// begin.
    pub(super) fn may_help(&self, now: Instant) -> bool {
        self.is_in_flight(now)
            || self.next <= now
            || self.may_be_asked(now) && self.bucket.until_next(now).is_zero()
    }

    /// Returns `true` if the server asked for no delay, or if its delay is over.
    fn may_be_asked(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|until| until <= now)
    }

    /// Begins the scheduled attempt, if it is due and none is in flight.
    pub(super) fn begin_if_due(&mut self, now: Instant) -> Option<AttemptNumber> {
        (self.next <= now && !self.is_in_flight(now)).then(|| self.begin(now))
    }

    /// Begins an attempt because a key is missing, if none is in flight.
    ///
    /// An attempt that is due anyway takes no token from the bucket. The request begins that
    /// attempt too, because the refresher may be on a runtime that does not run.
    pub(super) fn begin_for_request(&mut self, now: Instant) -> Option<AttemptNumber> {
        self.begin_if_due(now).or_else(|| self.begin_on_demand(now))
    }

    /// Begins an attempt if none is in flight, the server's delay is over, and the bucket has a
    /// token.
    fn begin_on_demand(&mut self, now: Instant) -> Option<AttemptNumber> {
        let may = !self.is_in_flight(now) && self.may_be_asked(now);
        (may && self.bucket.take(now)).then(|| self.begin(now))
    }

    fn begin(&mut self, now: Instant) -> AttemptNumber {
        self.last_number += 1;
        let number = AttemptNumber(self.last_number);
        self.in_flight = Some(InFlight { number, begun: now });
        number
    }

    /// Returns the number of the attempt in flight.
    #[cfg(test)]
    pub(super) fn in_flight(&self) -> Option<AttemptNumber> {
        self.in_flight.map(|attempt| attempt.number)
    }

    /// Returns the arrival of a request that arrives now.
    pub(super) fn arrival(&self) -> Arrival {
        Arrival(self.last_number)
    }

    /// Returns whether an attempt that began after the arrival has brought a document.
    ///
    /// A key that is not in that document is unknown. An attempt that was in flight at the arrival
    /// does not count, because the server may have responded before.
    pub(super) fn was_answered_since(&self, arrival: Arrival) -> bool {
        arrival.0 < self.last_answered
    }

    /// Returns whether this attempt has neither ended nor been replaced by a newer one.
    pub(super) fn is_current(&self, number: AttemptNumber) -> bool {
        self.in_flight
            .is_some_and(|attempt| attempt.number == number)
    }

    /// Ends the attempt in flight, and returns the number of failures in a row before it.
    pub(super) fn end(&mut self, outcome: AttemptOutcome, now: Instant) -> u32 {
        let ended = self.in_flight.take();
        self.not_before = None;
        let failures_before = self.failures_in_a_row;
        let wait = match outcome {
            AttemptOutcome::Succeeded {
                is_unchanged,
                check_again_after,
            } => {
                self.failures_in_a_row = 0;
                if let Some(attempt) = ended.filter(|_| !is_unchanged) {
                    self.last_answered = attempt.number.0;
                }
                let interval = check_again_after.unwrap_or(self.interval);
                jittered(interval.max(Self::MIN_INTERVAL).min(self.interval), 20)
            }
            AttemptOutcome::Failed { retry_after } => {
                self.failures_in_a_row = failures_before.saturating_add(1);
                let asked_for = retry_after.map(|wait| wait.min(Self::MAX_BACK_OFF));
                self.not_before = asked_for.map(|wait| now + wait);
                // Spread, so that not all replicas fetch at the same moment that the server named.
                let asked_for = asked_for.map(|wait| wait + wait / 10 - jittered(wait / 10, 1));
                back_off(failures_before).max(asked_for.unwrap_or_default())
            }
            AttemptOutcome::Interrupted => Self::FIRST_BACK_OFF,
        };
        self.next = now + wait;
        failures_before
    }

    /// Returns the number of attempts that failed since one succeeded.
    pub(super) fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    /// Returns the time at which the next scheduled attempt is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Returns the time at which the refresher must look again: the limit of the attempt in flight,
    /// or else the due time of the next one.
    pub(super) fn wake_at(&self, now: Instant) -> Instant {
        match self.in_flight {
            Some(attempt) if self.is_in_flight(now) => attempt.begun + Self::ATTEMPT_LIMIT,
            _ => self.next,
        }
    }

    /// Returns the time after which a request for a missing key can succeed.
    pub(super) fn retry_after(&self, now: Instant) -> Duration {
        let scheduled = self.wake_at(now).saturating_duration_since(now);
        if self.is_in_flight(now) {
            scheduled
        } else {
            let asked_for = self.not_before.unwrap_or(now);
            let asked_for = asked_for.saturating_duration_since(now);
            scheduled.min(self.bucket.until_next(now).max(asked_for))
        }
    }
}

/// Returns the back-off: 1 s, 2 s, 4 s … 5 min. Each is random between half and whole, so that
/// replicas do not fetch in step.
fn back_off(failures_before: u32) -> Duration {
    let doubled = Schedule::FIRST_BACK_OFF.saturating_mul(1 << failures_before.min(16));
    jittered(doubled.min(Schedule::MAX_BACK_OFF), 2)
}

/// A token bucket that limits fetches on demand: two in a row, then one every 30 s of monotonic
/// time. It refills continuously.
#[derive(Debug)]
struct Bucket {
    /// Time from which the bucket is, or was, full. Each spent token moves it by one interval.
    full_at: Instant,
}

impl Bucket {
    const CAPACITY: u32 = 2;
    const INTERVAL: Duration = Duration::from_secs(30);

    fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes one token, and returns whether there was one.
    fn take(&mut self, now: Instant) -> bool {
        if self.until_next(now) > Duration::ZERO {
            return false;
        }
        self.full_at = self.full_at.max(now) + Self::INTERVAL;
        true
    }

    /// Returns the time until the bucket has a token.
    fn until_next(&self, now: Instant) -> Duration {
        let until_full = self.full_at.saturating_duration_since(now);
        until_full.saturating_sub(Self::INTERVAL * (Self::CAPACITY - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SUCCEEDED: AttemptOutcome = AttemptOutcome::Succeeded {
        is_unchanged: false,
        check_again_after: None,
    };
    const FAILED: AttemptOutcome = AttemptOutcome::Failed { retry_after: None };

    fn schedule(now: Instant) -> Schedule {
        Schedule::new(now, 3_600 * SECOND)
    }

    /// Returns the delay until the next attempt after one with this outcome, in seconds: the
    /// minimum and the maximum of many runs.
    fn next_after(ending: AttemptOutcome) -> (u64, u64) {
        let now = Instant::now();
        let waits: Vec<u64> = (0..200)
            .map(|_| {
                let mut schedule = schedule(now);
                schedule.begin_if_due(now);
                schedule.end(ending, now);
                (schedule.next() - now).as_secs()
            })
            .collect();
        (*waits.iter().min().unwrap(), *waits.iter().max().unwrap())
    }

    fn is_within((least, most): (u64, u64), from: u64, to: u64) -> bool {
        from <= least && most <= to && least < most
    }

    #[test]
    fn all_being_well_the_next_attempt_is_due_after_the_interval_less_a_twentieth() {
        let after = |seconds| AttemptOutcome::Succeeded {
            is_unchanged: false,
            check_again_after: Some(seconds * SECOND),
        };
        assert!(is_within(next_after(SUCCEEDED), 3_420, 3_600));
        assert!(is_within(next_after(after(600)), 570, 600));
        assert!(
            is_within(next_after(after(86_400)), 3_420, 3_600),
            "never later"
        );
        let (least, most) = next_after(after(0));
        assert!(9 <= least && most <= 10, "never at once");
    }

    #[test]
    fn a_server_that_asks_for_time_gets_it_up_to_five_minutes() {
        let asked = |seconds| AttemptOutcome::Failed {
            retry_after: Some(seconds * SECOND),
        };
        assert!(is_within(next_after(asked(60)), 60, 66));
        assert!(is_within(next_after(asked(86_400)), 300, 330));
        let (least, most) = next_after(asked(0));
        assert!(least == 0 && most <= 1, "never below the back-off");

        let now = Instant::now();
        let mut schedule = schedule(now);
        schedule.begin_if_due(now);
        schedule.end(asked(60), now);
        let almost = now + 59 * SECOND;
        assert!(schedule.begin_on_demand(almost).is_none());
        assert_eq!(schedule.retry_after(almost), SECOND);
        assert!(schedule.begin_on_demand(now + 60 * SECOND).is_some());
    }

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
        let mut schedule = schedule(now);
        assert!(schedule.begin_if_due(now).is_some());
        assert!(schedule.begin_if_due(now).is_none());
        assert!(schedule.begin_on_demand(now).is_none());
        schedule.end(SUCCEEDED, now);
        assert!(
            schedule.begin_if_due(now).is_none(),
            "the next is due in an hour"
        );
        assert!(schedule.begin_on_demand(now).is_some());
    }

    #[test]
    fn only_an_attempt_that_began_after_a_request_answers_for_it() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        let before = schedule.arrival();
        schedule.begin_if_due(now);
        // At the same moment as the attempt, but after it.
        let during = schedule.arrival();
        schedule.end(SUCCEEDED, now);
        let after = schedule.arrival();
        let answered = |schedule: &Schedule| {
            [before, during, after].map(|arrival| schedule.was_answered_since(arrival))
        };
        assert_eq!(answered(&schedule), [true, false, false]);

        let unchanged = AttemptOutcome::Succeeded {
            is_unchanged: true,
            check_again_after: None,
        };
        for ending in [FAILED, AttemptOutcome::Interrupted, unchanged] {
            schedule.begin_on_demand(now);
            schedule.end(ending, now);
            assert_eq!(
                answered(&schedule),
                [true, false, false],
                "it brought nothing: {ending:?}"
            );
        }
        schedule.begin_on_demand(now + 60 * SECOND);
        assert_eq!(answered(&schedule), [true, false, false]);
        schedule.end(SUCCEEDED, now + 60 * SECOND);
        assert_eq!(answered(&schedule), [true, true, true]);
    }

    #[test]
    fn the_schedule_spends_nothing_of_the_bucket() {
        let mut now = Instant::now();
        let mut schedule = schedule(now);
        for _ in 0..10 {
            assert!(schedule.begin_if_due(now).is_some());
            schedule.end(FAILED, now);
            now = schedule.next();
        }
        for _ in 0..2 {
            assert!(schedule.begin_on_demand(now).is_some());
            schedule.end(FAILED, now);
        }
        assert!(
            schedule.begin_on_demand(now).is_none(),
            "whatever the outcome was"
        );
    }

    #[test]
    fn an_attempt_that_does_not_end_is_given_up_and_comes_too_late() {
        let now = Instant::now();
        let mut schedule = schedule(now);
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
        let mut schedule = schedule(now);
        let ends = [
            (FAILED, 0),
            (FAILED, 1),
            (AttemptOutcome::Interrupted, 2),
            (FAILED, 2),
            (SUCCEEDED, 3),
            (FAILED, 0),
        ];
        for (ending, failures_before) in ends {
            assert_eq!(schedule.end(ending, now), failures_before);
        }
    }

    #[test]
    fn the_time_to_ask_again_is_that_of_the_attempt_the_schedule_or_the_bucket() {
        let now = Instant::now();
        let mut schedule = schedule(now);
        schedule.begin_if_due(now);
        assert_eq!(schedule.retry_after(now + 2 * SECOND), 4 * SECOND);
        schedule.end(SUCCEEDED, now);
        assert_eq!(schedule.retry_after(now), Duration::ZERO);
        for _ in 0..2 {
            schedule.begin_on_demand(now);
            schedule.end(SUCCEEDED, now);
        }
        assert_eq!(schedule.retry_after(now), 30 * SECOND);
        schedule.end(AttemptOutcome::Interrupted, now);
        assert_eq!(schedule.retry_after(now), SECOND);
    }

    #[test]
    fn two_at_once_then_one_every_thirty_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut bucket = Bucket::full(start);
        assert!(bucket.take(start) && bucket.take(start) && !bucket.take(start));
        assert_eq!(bucket.until_next(start), Duration::from_secs(30));
        assert!(!bucket.take(at(29)));
        assert!(bucket.take(at(30)) && !bucket.take(at(30)));
        assert!(!bucket.take(at(59)) && bucket.take(at(60)));
    }

    #[test]
    fn it_never_holds_more_than_two() {
        let start = Instant::now();
        let mut bucket = Bucket::full(start);
        assert!(bucket.take(start));
        let later = start + Duration::from_secs(3_600);
        assert!(bucket.take(later) && bucket.take(later) && !bucket.take(later));
    }
}
