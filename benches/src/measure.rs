//! Measures rows in turn and compares them round by round.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// Time that a row runs in each round.
const BATCH: Duration = Duration::from_millis(5);

/// Time that a row runs in each round if the minimum of all rounds counts: so short that other work
/// seldom interrupts it.
const SHORT_BATCH: Duration = Duration::from_micros(200);

/// Rows to measure.
pub struct Table<'w> {
    rounds: usize,
    batch: Duration,
    section: Option<String>,
    rows: Vec<Row<'w>>,
}

struct Row<'w> {
    name: String,
    section: Option<String>,
    work: Box<dyn FnMut() + 'w>,
    batch: u32,
    times: Vec<Duration>,
}

/// Time of one call.
#[derive(Debug)]
pub struct Measured {
    /// Name of the row.
    pub name: String,
    /// The section that begins with this row.
    pub section: Option<String>,
    /// Median of all rounds.
    pub time: Duration,
    /// Minimum of all rounds.
    pub least: Duration,
    /// Ratio to the first row's time: the median of each round's own ratio, so that a slow period
    /// of the machine affects both times.
    pub ratio: f64,
}

impl<'w> Table<'w> {
    /// Returns an empty table.
    #[must_use]
    pub fn new(rounds: usize) -> Self {
        Self {
            rounds,
            batch: BATCH,
            section: None,
            rows: Vec::new(),
        }
    }

    /// Returns an empty table that is meant for the minimum time of each row.
    #[must_use]
    pub fn of_short_batches(rounds: usize) -> Self {
        Self {
            batch: SHORT_BATCH,
            ..Self::new(rounds)
        }
    }

    /// Begins a section.
    pub fn section(&mut self, name: &str) {
        self.section = Some(name.to_owned());
    }

    /// Adds a row.
    pub fn row(&mut self, name: &str, work: impl FnMut() + 'w) {
        self.rows.push(Row {
            name: name.to_owned(),
            section: self.section.take(),
            work: Box::new(work),
            batch: 1,
            times: Vec::new(),
        });
    }

    /// Measures all rows, in turn.
    #[must_use]
    pub fn measure(mut self) -> Vec<Measured> {
        for row in &mut self.rows {
            // The first calls warm up the work, so the batch size is determined twice.
            for _ in 0..2 {
                row.batch = row.calls_in(self.batch);
            }
        }
        for _ in 0..self.rounds {
            for row in &mut self.rows {
                let start = Instant::now();
                for _ in 0..row.batch {
                    (row.work)();
                }
                row.times.push(start.elapsed() / row.batch);
            }
        }
        let first: Vec<Duration> = self
            .rows
            .first()
            .map_or(Vec::new(), |row| row.times.clone());
        let rows = self.rows.into_iter();
        rows.map(|row| {
            let ratios = row.times.iter().zip(&first);
            let ratios = ratios.map(|(time, first)| time.as_secs_f64() / first.as_secs_f64());
            Measured {
                ratio: median(ratios.collect(), f64::total_cmp),
                least: row.times.iter().min().copied().unwrap_or_default(),
                time: median(row.times, Duration::cmp),
                name: row.name,
                section: row.section,
            }
        })
        .collect()
    }
}

fn median<T: Copy>(mut values: Vec<T>, order: impl FnMut(&T, &T) -> Ordering) -> T {
    values.sort_unstable_by(order);
    values[values.len() / 2]
}

impl Row<'_> {
    fn calls_in(&mut self, span: Duration) -> u32 {
        let start = Instant::now();
        let mut calls = 0;
        while start.elapsed() < span {
            (self.work)();
            calls += 1;
        }
        calls
    }
}

impl fmt::Debug for Table<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.rows.iter().map(|row| &row.name);
        formatter.debug_list().entries(names).finish()
    }
}

/// A function that returns the work of one thread.
pub type Work<'w> = Box<dyn Fn() -> Box<dyn FnMut() + Send + 'w> + Sync + 'w>;

/// Returns how many calls one thread makes in a second, and how many two threads make together.
///
/// Both are medians of seven rounds, in which one thread and two threads take turns.
#[must_use]
pub fn scaling(work: &Work<'_>, span: Duration) -> (f64, f64) {
    let (one, two): (Vec<f64>, Vec<f64>) = (0..7)
        .map(|_| {
            (
                calls_per_second(work, 1, span / 7),
                calls_per_second(work, 2, span / 7),
            )
        })
        .unzip();
    (median(one, f64::total_cmp), median(two, f64::total_cmp))
}

fn calls_per_second(work: &Work<'_>, threads: usize, span: Duration) -> f64 {
    let (barrier, is_over) = (Barrier::new(threads + 1), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let counting: Vec<_> = (0..threads)
            .map(|_| {
                let mut work = work();
                let (barrier, is_over) = (&barrier, &is_over);
                scope.spawn(move || {
                    let mut calls = 0_u32;
                    barrier.wait();
                    let start = Instant::now();
                    while !is_over.load(Relaxed) {
                        for _ in 0..16 {
                            work();
                        }
                        calls += 16;
                    }
                    f64::from(calls) / start.elapsed().as_secs_f64()
                })
            })
            .collect();
        barrier.wait();
        std::thread::sleep(span);
        is_over.store(true, Relaxed);
        let counted = counting.into_iter().map(ScopedJoinHandle::join);
        counted.map(|calls| calls.expect("no panic")).sum()
    })
}
