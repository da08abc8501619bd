//! Headers that begin like credentials and are none, and what is in them in their place.

use std::borrow::Cow;

use entra_jwt_core::refusal::SentInstead;

use crate::respond::Reason;

/// The fault of the place where a token is expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Malformed {
    /// The scheme, or the name of the parameter, and nothing after it.
    NoToken,
    /// Something else than spaces after the scheme.
    NoSpace,
    /// Characters that no token has.
    Characters,
    /// Something that is recognised.
    Instead(SentInstead),
    /// A token in two places, or twice in one.
    Twice,
    /// Something that a source of the service's own cannot read.
    BySource,
}

impl Malformed {
    /// Names what was sent, which has characters that no token has.
    pub(super) fn of_characters(sent: &[u8]) -> Self {
        SentInstead::recognise(sent).map_or(Self::Characters, Self::Instead)
    }

    /// Returns what was sent, for the log.
    fn found(self) -> Cow<'static, str> {
        match self {
            Self::NoToken => "Bearer without a token".into(),
            Self::NoSpace => "no space after Bearer".into(),
            Self::Characters => "characters that no token has".into(),
            Self::Instead(known) => known.found(),
            Self::Twice => "two tokens".into(),
            Self::BySource => "something that the token source cannot read".into(),
        }
    }

    /// Returns what to change, if it is more than how to send a token.
    fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Instead(known) => Some(known.remedy()),
            Self::NoToken => Some(
                "the client has no token: the variable that it sends is empty; see why it got none",
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
