//! Challenges in the header `WWW-Authenticate` (RFC 6750 §3).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Challenge, Reason, RequiredScopes, ResponderConfig};

impl Challenge<'_> {
    /// Returns the header's value in the one form that all known clients parse. The scheme is
    /// literally `Bearer`, every value is quoted, `error` is first and `error_description` last.
    pub(super) fn text(
        &self,
        refusal: &Reason,
        config: &ResponderConfig,
        description: Option<&str>,
    ) -> String {
        let mut challenge = ChallengeBuilder::new();
        match self {
            Self::Bare => challenge.add("scope", &RequiredScopes::First.requestable(config)),
            Self::Error(error, scopes) => {
                challenge.add("error", error);
                challenge.add("scope", &scopes.requestable(config));
            }
            Self::Claims => {
                // Standard base64, which Microsoft's clients expect.
                let claims = refusal.challenge();
                let claims = claims.map_or_else(String::new, |it| STANDARD.encode(it.json()));
                challenge.add("error", "insufficient_claims");
                challenge.add("claims", &claims);
                challenge.add("authorization_uri", &config.authorization_uri);
            }
        }
        if let Some(metadata) = &config.metadata {
            challenge.add("resource_metadata", &metadata.url);
        }
        if let (Some(text), false) = (description, matches!(self, Self::Bare)) {
            challenge.add("error_description", &quotable(text));
        }
        challenge.text
    }
}

/// A builder that adds the parameters of a challenge one after the other.
struct ChallengeBuilder {
    text: String,
    separator: &'static str,
}

impl ChallengeBuilder {
    /// Initial capacity, enough for most challenges.
    const CAPACITY: usize = 128;

    fn new() -> Self {
        let mut text = String::with_capacity(Self::CAPACITY);
        text.push_str("Bearer");
        Self {
            text,
            separator: " ",
        }
    }

    /// Adds a parameter, unless its value is empty. The value must have no quotes and no
    /// backslashes.
    fn add(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            for part in [self.separator, name, "=\"", value, "\""] {
                self.text.push_str(part);
            }
            self.separator = ", ";
        }
    }
}

impl RequiredScopes<'_> {
    /// Returns the scopes as clients request them from the published authorization server, or from
    /// Entra if none is published.
    fn requestable<'c>(&self, config: &'c ResponderConfig) -> Cow<'c, str> {
        let metadata = config.metadata.as_ref();
        let names = match self {
            Self::Unknown => return "".into(),
            Self::First => return metadata.map_or("", |metadata| &metadata.scopes).into(),
            Self::Named(names) => names.iter(),
        };
        let scopes = names.map(|name| match metadata {
            Some(metadata) => format!("{}{name}", metadata.scope_prefix),
            None => format!("{}/{name}", config.app_id_uri),
        });
        let scopes: Vec<String> = scopes.filter(|scope| is_scope(scope)).collect();
        scopes.join(" ").into()
    }
}

/// Returns whether all characters are permitted in a scope (RFC 6749 §3.3).
fn is_scope(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'!'..=b'~') && byte != b'"' && byte != b'\\')
}

/// Returns the text with only the characters of RFC 6750 §3 and without `=`. Clients search the
/// whole header for `scope=`, so the text must not look like another parameter.
fn quotable(text: &str) -> Cow<'_, str> {
    if text.bytes().all(is_quotable) {
        return text.into();
    }
    text.chars()
        .map(|character| match character {
            '"' => '\'',
            '\\' => '/',
            '=' => ' ',
            ' '..='~' => character,
            _ => '?',
        })
        .collect()
}

fn is_quotable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'=')
}
