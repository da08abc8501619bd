//! Random values, hashes and comparisons.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use aws_lc_rs::rand::fill;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Returns random bytes. The operating system has seeded its generator before a program runs.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(
        clippy::expect_used,
        reason = "aws-lc's generator aborts if it fails; no response is safe without random bytes"
    )]
    fill(&mut bytes).expect("the random generator");
    bytes
}

/// Returns random text in base64url: 4 characters for 3 bytes.
pub(crate) fn random_text<const N: usize>() -> String {
    base64url(&random::<N>())
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Returns the SHA-256 of a text in base64url. In the store and the log, it stands for a secret or
/// a long text.
pub(crate) fn hash(text: &str) -> String {
    base64url(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

/// Returns whether both texts are equal, in a time that does not depend on where they differ.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_random_is_as_long_as_it_says_and_never_the_same() {
        assert_eq!(random_text::<32>().len(), 43);
        assert_eq!(from_base64url(&random_text::<18>()).unwrap().len(), 18);
        assert_ne!(random_text::<18>(), random_text::<18>());
        // The whole array is overwritten.
        assert!(random::<256>().iter().filter(|byte| **byte == 0).count() < 16);
    }
}
