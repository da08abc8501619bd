//! Reads the header and payload of a token as text and as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Returns the header and payload of a token with three segments.
pub(crate) fn texts(token: &str) -> [String; 2] {
    let mut segments = token.split('.').map(|segment| {
        let bytes = URL_SAFE_NO_PAD.decode(segment).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    [segments.next().unwrap(), segments.next().unwrap()]
}

/// Returns the members of header and payload; `None` if `serde_json` cannot hold them.
pub(crate) fn members(token: &str) -> [Option<Map<String, Value>>; 2] {
    texts(token).map(|text| serde_json::from_str(&text).ok())
}
