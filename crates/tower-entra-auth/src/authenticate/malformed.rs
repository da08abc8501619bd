//! Malformed credentials, and the recognition of values that are sent in place of a token.

use std::borrow::Cow;

use entra_jwt_core::refusal::SentInstead;

use crate::respond::Reason;

/// A fault in the credentials of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Malformed {
    /// The scheme, or the name of the query parameter, without a token after it.
    NoToken,
    /// Characters other than spaces after the scheme.
    NoSpace,
    /// A value with characters that no token has.
    Characters,
    /// A recognised value that is not a token, such as JSON or a placeholder.
    Instead(SentInstead),
    /// Two tokens, in two places or in the same place.
    Twice,
    /// A value that the service's own token source cannot read.
    BySource,
}

impl Malformed {
    /// Recognises a value that has characters that no token has.
    pub(super) fn of_characters(sent: &[u8]) -> Self {
        SentInstead::recognise(sent).map_or(Self::Characters, Self::Instead)
    }

    /// Returns a description of the sent value, for the log.
    fn found(self) -> Cow<'static, str> {
        match self {
            Self::NoToken => "Bearer without a token".into(),
            Self::NoSpace => "no space after Bearer".into(),
            Self::Characters => "characters that no token has".into(),
            Self::Instead(known) => known.found(),
            Self::Twice => "two tokens".into(),
            Self::BySource => "a value that the token source cannot read".into(),
        }
    }

    /// Returns the remedy, if it is more than the general advice on how to send a token.
    fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Instead(known) => Some(known.remedy()),
            Self::NoToken => Some(
                "the client has no token: the variable that it sends is empty; find out why it got \
                 no token",
            ),
            _ => None,
        }
    }
}

impl From<Malformed> for Reason {
    fn from(malformed: Malformed) -> Self {
        Self::MalformedAuthorization {
            found: malformed.found(),
            remedy: malformed.remedy(),
        }
    }
}
