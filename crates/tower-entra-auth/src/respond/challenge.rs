//! Challenges: the header `WWW-Authenticate` (RFC 6750 §3).

use std::borrow::Cow;

use super::config::ResponderConfig;
use super::refusal::Refusal;

/// What `WWW-Authenticate` says.
pub(super) enum Challenge<'r> {
    /// That a bearer token is needed.
    Bare,
    /// RFC 6750's `error` (§3.1), with the scopes to request.
    Error(&'static str, RequiredScopes<'r>),
    /// That a token with more claims is needed.
    Claims,
}

/// Which scopes would do.
pub(super) enum RequiredScopes<'r> {
    /// None that is known.
    Unknown,
    /// Those to begin with, if they are published.
    First,
    /// These, by their short names.
    Named(&'r [String]),
}

/// What challenges say of the metadata of a protected resource (RFC 9728 §5.1).
#[derive(Clone, Debug)]
pub(crate) struct MetadataReference {
    /// The metadata document's URL, on the origin of the resource.
    pub(crate) url: String,
    /// The scopes to begin with, in the form in which they are requested.
    pub(crate) scopes: String,
    /// What stands before the short name of a scope when it is requested.
    pub(crate) scope_prefix: String,
}

impl MetadataReference {
    /// Returns whether all characters may be in a scope (RFC 6749 §3.3).
    pub(crate) fn is_scope(text: &str) -> bool {
        text.bytes()
            .all(|byte| matches!(byte, b'!'..=b'~') && byte != b'"' && byte != b'\\')
    }
}

impl Challenge<'_> {
    pub(super) const INVALID_TOKEN: Self = Self::Error("invalid_token", RequiredScopes::First);

    /// Returns one header line in the one form that all known clients parse: the scheme literally
    /// `Bearer`, every value quoted, `error` first and `error_description` last.
    pub(super) fn text(
        &self,
        refusal: &Refusal,
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
                let claims = refusal.challenge();
                challenge.add("error", "insufficient_claims");
                challenge.add(
                    "claims",
                    &claims.map_or_else(String::new, |it| it.encoded()),
                );
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

/// The parameters of a challenge, one after the other.
struct ChallengeBuilder {
    text: String,
    separator: &'static str,
}

impl ChallengeBuilder {
    /// What most challenges fit into.
    const CAPACITY: usize = 128;

    fn new() -> Self {
        let mut text = String::with_capacity(Self::CAPACITY);
        text.push_str("Bearer");
        Self {
            text,
            separator: " ",
        }
    }

    /// Adds a parameter whose value has neither quotes nor backslashes; none, if it is empty.
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
    /// Returns them as they are requested from the authorization server that is published, else from
    /// Entra.
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
        let scopes: Vec<String> = scopes
            .filter(|scope| MetadataReference::is_scope(scope))
            .collect();
        scopes.join(" ").into()
    }
}

/// Only the characters of RFC 6750 §3, and nothing that looks like another parameter: clients
/// search the whole header for `scope=`.
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
