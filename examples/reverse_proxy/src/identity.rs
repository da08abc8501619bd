//! The headers that tell the upstream about the caller.

use http::{HeaderMap, HeaderValue};
use tower_entra_auth::Caller;

/// Says who calls, in headers from which all that the client sent was removed.
pub(crate) fn say_who_calls(headers: &mut HeaderMap, caller: &Caller) {
    let mut say = |name: &'static str, value: String| {
        // What was encoded is a header value.
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

/// A space within an element is encoded, so that one always separates two.
fn list<'c>(elements: impl Iterator<Item = &'c str>) -> String {
    elements.map(encoded).collect::<Vec<_>>().join(" ")
}

/// Header values are not UTF-8, and names may have anything in them: a line break, say.
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
