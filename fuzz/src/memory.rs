//! How much memory reading may cost: a multiple of what was sent, never what the sender wishes.

use allocation_counter::measure;

/// What may be held at a time in Rust's heap, beside the input.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Bytes for each byte of the input.
    per_byte: usize,
    /// Bytes in any case: refusals name what is expected.
    fixed: usize,
}

impl Bound {
    /// The most is many scopes of one letter, at 16 bytes each while `explain` lists them: 17.
    pub const TOKEN: Self = Self {
        per_byte: 24,
        fixed: 16 * 1024,
    };

    /// A refusal lists the scopes that were found, and `Claim` reads its claim into the tree of
    /// `serde_json`, where a member of 5 bytes takes a node of 632: 61 and 89 were seen.
    pub const REQUIREMENT: Self = Self {
        per_byte: 112,
        fixed: 16 * 1024,
    };

    /// A key that is kept takes 2.2 times its entry, a giant string or deep brackets 1.5; a hundred
    /// entries of one digit leave a hundred reasons.
    pub const KEY_SET: Self = Self {
        per_byte: 3,
        fixed: 8 * 1024,
    };

    /// Two addresses and a name.
    pub const DISCOVERY_DOCUMENT: Self = Self {
        per_byte: 8,
        fixed: 1024,
    };

    /// Does the work on an input of so many bytes.
    ///
    /// # Panics
    /// If the work held more at a time than the bound allows.
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
