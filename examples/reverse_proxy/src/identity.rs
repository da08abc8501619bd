//! Headers that name the caller to the upstream.

use http::{HeaderMap, HeaderValue};
use tower_entra_auth::Caller;

/// Sets the headers that name the caller.
///
/// The caller of this function has removed all such headers that the client sent.
pub(crate) fn say_who_calls(headers: &mut HeaderMap, caller: &Caller) {
    let mut say = |name: &'static str, value: String| {
        // Encoded text is always a valid header value.
        if !value.is_empty()
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            headers.insert(name, value);
        }
    };
    if let Some(id) = caller.object_id() {
        say("x-auth-oid", id.to_string());
    }
    say("x-auth-tenant", caller.tenant_id().to_string());
    say("x-auth-name", encoded(caller.name().unwrap_or_default()));
    say("x-auth-scopes", list(caller.scopes()));
    say("x-auth-roles", list(caller.roles()));
    if let Some(client) = caller.client_id() {
        say("x-auth-client", client.to_string());
    }
}

/// Encodes each element and joins them with spaces.
///
/// A space within an element is encoded too, so a space always separates two elements.
fn list<'c>(elements: impl Iterator<Item = &'c str>) -> String {
    elements.map(encoded).collect::<Vec<_>>().join(" ")
}

/// Encodes as `%XX` every byte that is not visible ASCII, and `%`.
///
/// Header values are not UTF-8, and names may contain any character, even a line break.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => encoded.push_str("%25"),
            0x21..=0x7E => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
