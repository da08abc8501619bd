//! What a token says, as text and as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Header and payload of a token of three segments.
pub(crate) fn texts(token: &str) -> [String; 2] {
    let mut segments = token.split('.').map(|segment| {
        let bytes = URL_SAFE_NO_PAD.decode(segment).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    [segments.next().unwrap(), segments.next().unwrap()]
}

/// Their members; `None` for what `serde_json` cannot hold.
pub(crate) fn members(token: &str) -> [Option<Map<String, Value>>; 2] {
    texts(token).map(|text| serde_json::from_str(&text).ok())
}
