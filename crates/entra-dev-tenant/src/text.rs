//! Text forms: base64url, and GUIDs and opaque values made from names or at random.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The same GUID for the same words: user ids stay what they are from start to start.
pub(crate) fn guid_for(words: &[&str]) -> String {
    let hash = digest(&SHA256, words.join("\n").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    guid(bytes)
}

pub(crate) fn random_guid() -> String {
    guid(random_bytes())
}

/// An opaque value of 22 characters, like `uti`.
pub(crate) fn random_id() -> String {
    base64url(&random_bytes::<16>())
}

/// A key id that no key has, in Entra's form of 27 characters.
pub(crate) fn random_key_id() -> String {
    base64url(&random_bytes::<20>())
}

/// Bytes without meaning, the same for the same word.
pub(crate) fn bytes_for(word: &str, length: usize) -> Vec<u8> {
    let block = |number: usize| digest(&SHA256, format!("{word}\n{number}").as_bytes());
    (0..length.div_ceil(32))
        .flat_map(|number| block(number).as_ref().to_vec())
        .take(length)
        .collect()
}

/// Pairwise subject: differs from application to application.
pub(crate) fn subject_for(words: &[&str]) -> String {
    base64url(digest(&SHA256, words.join("\n").as_bytes()).as_ref())
}

/// A tenant that is neither this one nor that of personal accounts.
pub(crate) fn another_tenant() -> String {
    guid_for(&["another tenant"])
}

pub(crate) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(position, byte)| match position {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
}

pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's random numbers");
    bytes
}

fn guid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
