//! What the fuzz targets share, in the order in which an input meets it.
//!
//! 1. [`mutator`] makes inputs of inputs, where those are JSON.
//! 2. A target makes a token of its input; where that is a header or a payload, [`signer`] signs
//!    it, so that the checks behind the signature are reached.
//! 3. [`examine`] sends the token through each of the [`cases`], and finds `validate`, `precheck`
//!    and `explain` of one mind.
//! 4. What was accepted is read once more by the [`second_reader`], by rules written a second time,
//!    and then [`handled`](handler) as a service would.
//! 5. A [`key_document`] is read a second time as well.
//! 6. All along, [`memory`] is bounded and [`text`] for people is clean.

#![forbid(unsafe_code)]

pub mod cases;
pub mod examine;
pub mod handler;
pub mod key_document;
pub mod memory;
pub mod mutator;
pub mod second_reader;
pub mod signer;
pub mod text;

use std::time::{Duration, SystemTime};

/// The moment at which every token is judged, so that a seed stays good: 2027-01-15 08:00 UTC.
pub const NOW: i64 = 1_800_000_000;

/// [`NOW`] as the clock gives it.
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs())
}
