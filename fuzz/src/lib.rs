//! Shared parts of the fuzz targets, in the order in which they process an input.
//!
//! 1. [`mutator`] derives new inputs from inputs, if those are JSON.
//! 2. A target makes a token from its input. If the input is a header or a payload, [`signer`]
//!    signs the token, so that the checks behind the signature are reached.
//! 3. [`examine`] sends the token through each of the [`cases`] and checks that `validate`,
//!    `precheck` and `explain` agree.
//! 4. The [`second_reader`] reads an accepted token once more, with independently written rules.
//!    Then the [`handler`] uses it as a service would.
//! 5. A [`key_document`] is also read a second time.
//! 6. In all steps, [`memory`] is limited and [`text`] for people is clean.

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

/// Time at which every token is validated, so that seeds stay valid: 2027-01-15 08:00 UTC.
pub const NOW: i64 = 1_800_000_000;

/// Returns [`NOW`] as a `SystemTime`.
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs())
}
