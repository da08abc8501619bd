//! The discovery document (OpenID Connect Discovery 1.0 §3), as far as it matters for keys.

use serde::Deserialize;

/// What a discovery document says about issuer and keys. It comes from outside: whether it is the
/// right one is for [`Authority::check_document`](crate::Authority::check_document) to say.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct DiscoveryDocument {
    /// The issuer of v2 tokens, with the literal `{tenantid}` in documents of many tenants.
    pub issuer: String,
    /// Where the keys are.
    pub jwks_uri: String,
    /// The cloud, such as `microsoftonline.com`, if it is named.
    pub cloud_instance_name: Option<String>,
}

/// The text is no discovery document: a JSON object with the strings `issuer` and `jwks_uri`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "not a discovery document: an object with the strings \"issuer\" and \"jwks_uri\" is expected"
)]
pub struct InvalidDiscoveryDocument;

impl DiscoveryDocument {
    /// Reads a document; members that are not needed may be anything.
    ///
    /// # Errors
    /// If it is no discovery document, or has one of these members twice.
    pub fn from_json(document: &[u8]) -> Result<Self, InvalidDiscoveryDocument> {
        // Serde would take an array of the members' values as well.
        if document.trim_ascii_start().first() != Some(&b'{') {
            return Err(InvalidDiscoveryDocument);
        }
        serde_json::from_slice(document).map_err(|_| InvalidDiscoveryDocument)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_read_and_the_rest_may_be_anything() {
        let read = |text: &str| DiscoveryDocument::from_json(text.as_bytes());
        let document =
            read(r#"{"issuer":"i","x":[{"y":1e400}],"jwks_uri":"k","cloud_instance_name":null}"#);
        let document = document.unwrap();
        assert_eq!((&*document.issuer, &*document.jwks_uri), ("i", "k"));
        assert_eq!(document.cloud_instance_name, None);
    }

    #[test]
    fn anything_else_is_no_discovery_document() {
        for text in [
            "",
            "[]",
            r#"["i","k",null]"#,
            "{}",
            r#"{"issuer":"i"}"#,
            r#"{"issuer":5,"jwks_uri":"k"}"#,
            r#"{"issuer":"i","issuer":"i","jwks_uri":"k"}"#,
            r#"{"issuer":"i","jwks_uri":"k"} x"#,
            "<html></html>",
        ] {
            assert_eq!(
                DiscoveryDocument::from_json(text.as_bytes()).map(|_| ()),
                Err(InvalidDiscoveryDocument),
                "{text}"
            );
        }
    }
}
