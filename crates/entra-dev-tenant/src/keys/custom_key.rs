//! Signing keys of single applications, which Entra publishes to those who ask with `?appid=`.

use std::sync::Arc;

use super::signing_key::SigningKey;

/// An application with a key of its own; it never rotates.
pub(crate) struct CustomKey {
    pub(crate) client_id: String,
    pub(crate) key: Arc<SigningKey>,
}

impl CustomKey {
    /// The one of the application that a query names; an unknown one is as none.
    pub(crate) fn named_by<'k>(query: Option<&str>, keys: &'k [Self]) -> Option<&'k Self> {
        let client_id = query?
            .split('&')
            .find_map(|parameter| parameter.strip_prefix("appid="))?;
        Self::of(client_id, keys)
    }

    /// The one of the application that an audience names, by its id or by `api://` and its id.
    pub(crate) fn for_audience<'k>(audience: &str, keys: &'k [Self]) -> Option<&'k Self> {
        Self::of(audience.strip_prefix("api://").unwrap_or(audience), keys)
    }

    fn of<'k>(client_id: &str, keys: &'k [Self]) -> Option<&'k Self> {
        keys.iter()
            .find(|key| key.client_id.eq_ignore_ascii_case(client_id))
    }
}
