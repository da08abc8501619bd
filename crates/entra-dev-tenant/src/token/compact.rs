//! The compact form of a token.

use crate::text::base64url;

/// `header.payload.signature` of the given JSON texts, whatever they are.
pub(crate) fn compact(header: &str, payload: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let input = format!(
        "{}.{}",
        base64url(header.as_bytes()),
        base64url(payload.as_bytes())
    );
    let signature = base64url(&sign(input.as_bytes()));
    format!("{input}.{signature}")
}
