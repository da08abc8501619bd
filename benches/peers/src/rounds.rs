//! Measures all subjects in every round, so that a slow moment of the machine affects all of them.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::material::{Case, Material};
use crate::subject::{AT_A_TIME, Subject};

/// A row of the table: the median time of a request for each case, in nanoseconds.
pub(crate) struct Medians {
    pub(crate) name: &'static str,
    pub(crate) nanoseconds: [Option<f64>; Case::ALL.len()],
}

pub(crate) fn medians(
    runtime: &Runtime,
    subjects: &mut [Box<dyn Subject>],
    material: &Material,
    rounds: usize,
) -> Result<Vec<Medians>, String> {
    let mut times = vec![[const { Vec::new() }; Case::ALL.len()]; subjects.len()];
    // The first round only warms up and is not counted.
    for round in 0..=rounds {
        for turn in 0..subjects.len() {
            // Each round begins with another subject.
            let index = (round + turn) % subjects.len();
            for (case, times) in Case::ALL.into_iter().zip(&mut times[index]) {
                let taken = subjects[index].fastest(runtime, material, case)?;
                if round > 0 {
                    times.extend(taken);
                }
            }
        }
    }
    let rows = subjects.iter().zip(times);
    Ok(rows
        .map(|(subject, times)| Medians {
            name: subject.name(),
            nanoseconds: times.map(median),
        })
        .collect())
}

/// Returns the median time of one request, in nanoseconds.
fn median(mut times: Vec<Duration>) -> Option<f64> {
    times.sort_unstable();
    let middle = times.get(times.len() / 2)?;
    Some(middle.as_secs_f64() * 1e9 / AT_A_TIME as f64)
}
