//! Limits on the memory that reading may use: a multiple of the input's size, never a size that the
//! sender chooses.

use allocation_counter::measure;

/// Maximum size of Rust's heap at any time, in addition to the input.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Bytes per byte of the input.
    per_byte: usize,
    /// Bytes independent of the input: refusals name the expected values.
    fixed: usize,
}

impl Bound {
    /// Bound for validating a token.
    ///
    /// The observed maximum is 17 bytes per byte: many scopes of one letter, at 16 bytes each while
    /// `explain` lists them.
    pub const TOKEN: Self = Self {
        per_byte: 24,
        fixed: 16 * 1024,
    };

    /// Bound for checking a requirement.
    ///
    /// A refusal lists the scopes that were found. `Claim` reads its claim into a tree of
    /// `serde_json`, where a member of 5 bytes takes a node of 632 bytes. Observed maxima are 61
    /// and 89 bytes per byte.
    pub const REQUIREMENT: Self = Self {
        per_byte: 112,
        fixed: 16 * 1024,
    };

    /// Bound for reading a key set.
    ///
    /// A stored key takes 2.2 times the size of its entry, a giant string or deeply nested brackets
    /// take 1.5 times. A hundred entries of one digit leave a hundred reasons.
    pub const KEY_SET: Self = Self {
        per_byte: 3,
        fixed: 8 * 1024,
    };

    /// Bound for reading a discovery document, which keeps two URLs and a name.
    pub const DISCOVERY_DOCUMENT: Self = Self {
        per_byte: 8,
        fixed: 1024,
    };

    /// Runs `work` on an input of `length` bytes.
    ///
    /// # Panics
    /// If `work` allocated more at any time than the bound permits.
    pub fn on<T>(self, length: usize, work: impl FnOnce() -> T) -> T {
        let mut result = None;
        let used = measure(|| result = Some(work())).bytes_max;
        let bound = self.per_byte * length + self.fixed;
        assert!(
            used <= bound as u64,
            "{used} bytes held for an input of {length}, at most {bound} are in order"
        );
        result.expect("the work was done")
    }
}
