//! Recognises texts that clients send instead of a token, so that a refusal can name them.

use std::borrow::Cow;

use crate::identifier::Guid;

/// The kind of a text that was sent instead of a token.
///
/// Nothing of the text is kept, because it may be a secret.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SentInstead {
    /// The scheme `Bearer` precedes the token twice.
    SchemeTwice,
    /// The token is in quotes.
    Quoted,
    /// A JSON object, such as the response of the token endpoint.
    Json,
    /// The text of a missing value in a programming language, such as `undefined` or `None`.
    Unset(&'static str),
    /// A placeholder for a token, such as `$TOKEN` or `<access token>`.
    Placeholder,
    /// Several values, separated by a comma or white space.
    Several,
    /// A refresh token or an authorization code of Entra.
    RefreshToken,
    /// A GUID, such as the id of an application.
    Guid,
    /// A token that only the API it is for can read.
    Opaque,
    /// The beginning of a token, with its number of segments.
    CutOff(usize),
    /// Any other text, with its number of segments.
    Segments(usize),
}

/// The words for a missing value in JavaScript, JSON, Python, Ruby, Go and .NET, and JavaScript's
/// texts for an object and a promise.
const UNSET: [&str; 8] = [
    "undefined",
    "null",
    "None",
    "nil",
    "<nil>",
    "NaN",
    "[object Object]",
    "[object Promise]",
];

/// The beginning of every JWT: `{"` in base64url.
const JWT: &str = "eyJ";

impl SentInstead {
    /// Returns the kind of a text that was sent instead of a token, or `None` if the text is not a
    /// known one.
    #[must_use]
    pub fn recognise(sent: &[u8]) -> Option<Self> {
        let Ok(text) = std::str::from_utf8(sent) else {
            return None;
        };
        if let Some(word) = UNSET.into_iter().find(|word| *word == text) {
            return Some(Self::Unset(word));
        }
        let begins = |begin: &[&str]| begin.iter().any(|begin| text.starts_with(begin));
        let (first, last) = (text.chars().next()?, text.chars().next_back()?);
        let scheme = text.get(.."Bearer ".len());
        if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("Bearer ")) {
            Some(Self::SchemeTwice)
        } else if begins(&["$", "{{", "<", "%"]) {
            Some(Self::Placeholder)
        } else if first == '{' {
            Some(Self::Json)
        } else if matches!(first, '"' | '\'' | '`' | '\u{201c}') || matches!(last, '"' | '\'') {
            Some(Self::Quoted)
        } else if text.contains(|c: char| c == ',' || c.is_whitespace()) {
            Some(Self::Several)
        } else if begins(&["0.A", "1.A", "M.C", "M.R"]) {
            // The prefixes are from Entra's documents ("OAuth 2.0 authorization code flow"). The
            // prefixes with M. are for personal accounts.
            Some(Self::RefreshToken)
        } else if Guid::from_setting(text).is_some() {
            Some(Self::Guid)
        } else {
            None
        }
    }

    /// Returns the kind of a text, recognised by its number of segments too.
    pub(crate) fn of(sent: &[u8], segments: usize) -> Self {
        // Any token is longer.
        const SHORT: usize = 64;

        let begins_as_token = sent.starts_with(JWT.as_bytes());
        match Self::recognise(sent) {
            Some(recognised) => recognised,
            None if begins_as_token && segments < 3 => Self::CutOff(segments),
            None if segments == 1 && sent.len() >= SHORT => Self::Opaque,
            None => Self::Segments(segments),
        }
    }

    /// Returns a description of the text that was sent.
    #[must_use]
    pub fn found(self) -> Cow<'static, str> {
        match self {
            Self::SchemeTwice => "Bearer twice".into(),
            Self::Quoted => "a text in quotes".into(),
            Self::Json => "a JSON object".into(),
            Self::Unset(word) => format!("the word {word}").into(),
            Self::Placeholder => "a placeholder".into(),
            Self::Several => "several values".into(),
            Self::RefreshToken => "a refresh token or an authorization code".into(),
            Self::Guid => "a GUID".into(),
            Self::Opaque => "an opaque token (1 segment)".into(),
            Self::CutOff(segments) => format!("{segments} of 3 segments").into(),
            Self::Segments(1) => "1 segment".into(),
            Self::Segments(segments) => format!("{segments} segments").into(),
        }
    }

    /// Returns the remedy: what the client should change.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::SchemeTwice => {
                "send the word Bearer once; the client, or a library in it, adds it already"
            }
            Self::Quoted => "send the access token without quotes",
            Self::Json => {
                "send only the value of access_token, not the whole response of the token endpoint"
            }
            Self::Unset(_) => {
                "the client has no token: the variable that it sends was never set; find out why \
                 it got no token"
            }
            Self::Placeholder => {
                "replace the placeholder with an access token; a shell expands $NAME in double \
                 quotes, not in single quotes"
            }
            Self::Several => "send one access token, and nothing after it",
            Self::RefreshToken => {
                "send access_token from the token endpoint's response, not refresh_token or the \
                 code"
            }
            Self::Guid => {
                "send an access token, not the id of an application, a tenant or a secret"
            }
            Self::Opaque => {
                "request a token for this API, by a scope api://<client id>/<name>; a token \
                 without dots is for an API of Microsoft (EwB…: Graph, for a personal account) or \
                 of another server, and only that API can read it"
            }
            Self::CutOff(_) => "send the whole access token: a part of this token was cut off",
            Self::Segments(_) => AS_RETURNED,
        }
    }
}

pub(crate) const AS_RETURNED: &str =
    "send the access token exactly as Entra's token endpoint returned it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_in_place_of_a_token_is_named() {
        let opaque = format!("EwB{}", "a".repeat(900));
        for (sent, segments, found) in [
            ("Bearer eyJh.b.c", 3, "Bearer twice"),
            ("bearer eyJh.b.c", 3, "Bearer twice"),
            ("\"eyJh.b.c\"", 3, "a text in quotes"),
            ("eyJh.b.c\"", 3, "a text in quotes"),
            ("'eyJh.b.c'", 3, "a text in quotes"),
            ("{\"access_token\":\"eyJh.b.c\"}", 3, "a JSON object"),
            ("undefined", 1, "the word undefined"),
            ("null", 1, "the word null"),
            ("None", 1, "the word None"),
            ("[object Object]", 1, "the word [object Object]"),
            ("$TOKEN", 1, "a placeholder"),
            ("${TOKEN}", 1, "a placeholder"),
            ("{{token}}", 1, "a placeholder"),
            ("<access token>", 1, "a placeholder"),
            ("eyJh.b.c, Bearer eyJh.b.c", 5, "several values"),
            ("eyJh.b.c eyJh.b.c", 5, "several values"),
            (
                "1.AXoAv4j5cvGGr0GRqy180BHbR.AgAB",
                3,
                "a refresh token or an authorization code",
            ),
            (
                "M.C507_BAY.0.U.abc",
                4,
                "a refresh token or an authorization code",
            ),
            ("6e74172b-be56-4843-9ff4-e66a39bb12e3", 1, "a GUID"),
            (&opaque, 1, "an opaque token (1 segment)"),
            ("eyJh", 1, "1 of 3 segments"),
            ("eyJh.b", 2, "2 of 3 segments"),
            ("eyJh.b.c.d", 4, "4 segments"),
            ("garbage", 1, "1 segment"),
            ("a.b", 2, "2 segments"),
            ("", 1, "1 segment"),
            ("\u{e9}", 1, "1 segment"),
        ] {
            assert_eq!(
                SentInstead::of(sent.as_bytes(), segments).found(),
                found,
                "{sent}"
            );
        }
        assert_eq!(SentInstead::of(b"a\xff", 1), SentInstead::Segments(1));
    }

    #[test]
    fn each_has_a_remedy_of_its_own() {
        let remedy = |sent: &str| SentInstead::of(sent.as_bytes(), 1).remedy();
        for (sent, words) in [
            ("Bearer x", "send the word Bearer once"),
            ("\"x\"", "without quotes"),
            ("{}", "send only the value of access_token"),
            ("undefined", "the variable that it sends was never set"),
            ("$TOKEN", "a shell expands $NAME in double quotes"),
            ("a, b", "send one access token"),
            ("0.AAA", "not refresh_token"),
            ("eyJhbGciOi", "send the whole access token"),
            ("garbage", AS_RETURNED),
        ] {
            assert!(remedy(sent).contains(words), "{sent}: {}", remedy(sent));
        }
    }

    #[test]
    fn nothing_of_it_is_kept() {
        let secret = SentInstead::of(b"\"s3cr3t-s3cr3t\"", 1);
        assert!(!format!("{secret:?} {} {}", secret.found(), secret.remedy()).contains("s3cr3t"));
    }
}
