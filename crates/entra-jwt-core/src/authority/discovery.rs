//! The discovery document (OpenID Connect Discovery 1.0 §3), as far as it matters for keys.

use crate::json;

/// A discovery document's statements about issuer and keys.
///
/// The document comes from outside.
/// [`Authority::check_document`](crate::integration::Authority::check_document) checks whether it
/// is the right one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiscoveryDocument {
    /// The issuer of v2 tokens, with the literal `{tenantid}` in documents for many tenants.
    pub issuer: String,
    /// The URL of the keys.
    pub jwks_uri: String,
    /// The cloud, such as `microsoftonline.com`, if the document names it.
    pub cloud_instance_name: Option<String>,
}

/// The text is not a discovery document: a JSON object with the strings `issuer` and `jwks_uri`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "not a discovery document: expected an object with the strings \"issuer\" and \"jwks_uri\""
)]
#[non_exhaustive]
pub struct InvalidDiscoveryDocument;

impl DiscoveryDocument {
    /// Reads a discovery document.
    ///
    /// Members that are not needed may have any value.
    ///
    /// # Errors
    /// If the text is not a discovery document, or has one of the needed members twice.
    pub fn from_json(document: &[u8]) -> Result<Self, InvalidDiscoveryDocument> {
        Self::read(document).ok_or(InvalidDiscoveryDocument)
    }

    fn read(document: &[u8]) -> Option<Self> {
        let (mut issuer, mut jwks_uri, mut cloud) = (None, None, None);
        for member in json::members(std::str::from_utf8(document).ok()?)? {
            let (name, value) = member.ok()?;
            let field = match json::string(name).as_deref() {
                Some("issuer") => &mut issuer,
                Some("jwks_uri") => &mut jwks_uri,
                Some("cloud_instance_name") => &mut cloud,
                _ => continue,
            };
            if field.replace(value).is_some() {
                return None;
            }
        }
        let text = |value| json::string(value).map(String::from);
        Some(Self {
            issuer: text(issuer?)?,
            jwks_uri: text(jwks_uri?)?,
            cloud_instance_name: match cloud {
                None | Some("null") => None,
                Some(name) => Some(text(name)?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_read_and_the_rest_may_be_anything() {
        let read = |text: &str| DiscoveryDocument::from_json(text.as_bytes());
        let document = read(
            r#"{"issuer":"i","x":[{"y":1e400}],"\udddd":"","jwks_uri":"k","cloud_instance_name":null}"#,
        );
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
