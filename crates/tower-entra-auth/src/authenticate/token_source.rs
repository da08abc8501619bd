//! Where in a request the token is.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, Uri};

use super::bearer;
use crate::respond::Refusal;

/// Finds the token in a request, where it is not in the `Authorization` header: in a header that
/// another proxy sets, say, or in a cookie.
///
/// What a browser sends by itself, such as a cookie, it also sends for other sites: protect against
/// forged requests (CSRF) then. A token in the address ends up in logs and histories:
/// [`token_in_query`](crate::danger::DangerousBuilder::token_in_query) is for clients that can do
/// nothing else.
///
/// ```
/// use http::{HeaderMap, HeaderName, Uri};
/// use tower_entra_auth::{SentToken, TokenSource};
///
/// /// The header in which a gateway hands on the token of its caller.
/// struct Forwarded;
///
/// impl TokenSource for Forwarded {
///     fn find<'r>(&self, headers: &'r HeaderMap, _: &'r Uri) -> SentToken<'r> {
///         let mut values = headers.get_all("x-forwarded-access-token").iter();
///         match (values.next(), values.next()) {
///             (None, _) => SentToken::Nothing,
///             (Some(token), None) => SentToken::Token(token.as_bytes()),
///             (Some(_), Some(_)) => SentToken::Malformed, // whose is which?
///         }
///     }
///
///     fn header(&self) -> Option<HeaderName> {
///         Some(HeaderName::from_static("x-forwarded-access-token"))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source of tokens",
    note = "implement `TokenSource` for a type of your own: `fn find<'r>(&self, headers: &'r HeaderMap, uri: &'r Uri) -> SentToken<'r>`",
    note = "for a token in the query there is `.dangerous().token_in_query(..)`"
)]
pub trait TokenSource: Send + Sync + 'static {
    /// The token that the request carries, as it stands there. A panic of it ends the connection.
    fn find<'r>(&self, headers: &'r HeaderMap, uri: &'r Uri) -> SentToken<'r>;

    /// The header that holds the token and nothing else, if there is such a one: it is marked
    /// sensitive, and removed if
    /// [`remove_token_header`](crate::EntraAuthBuilder::remove_token_header) says so. Default: none.
    fn header(&self) -> Option<HeaderName> {
        None
    }
}

/// What a [`TokenSource`] found.
#[derive(Clone, Copy, Eq, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "sources make it, and these are all the cases"
)]
pub enum SentToken<'r> {
    /// No token: 401 with the bare challenge.
    Nothing,
    /// The token in compact form. Whether it is one is not for the source to say.
    Token(&'r [u8]),
    /// Something that cannot be read as one token: 401 `malformed_authorization`.
    Malformed,
}

impl std::fmt::Debug for SentToken<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Token(_) => "Token(..)",
            Self::Malformed => "Malformed",
        })
    }
}

impl<'r> SentToken<'r> {
    fn into_result(self) -> Result<&'r [u8], Refusal> {
        match self {
            Self::Nothing => Err(Refusal::NoCredentials),
            Self::Token(token) => Ok(token),
            Self::Malformed => Err(Refusal::MalformedAuthorization),
        }
    }
}

/// Where one `EntraAuth` looks for tokens.
#[derive(Default)]
pub(crate) enum TokenPlace {
    /// The `Authorization` header.
    #[default]
    Header,
    /// That, else this parameter of the query (RFC 6750 §2.3).
    HeaderOrQuery(String),
    /// Where a source of the user's finds one.
    Brought(Box<dyn TokenSource>),
}

impl TokenPlace {
    pub(crate) fn find<'r>(
        &self,
        headers: &'r HeaderMap,
        uri: &'r Uri,
    ) -> Result<&'r [u8], Refusal> {
        match self {
            Self::Header => bearer::sent(headers),
            Self::HeaderOrQuery(parameter) => {
                one_of(bearer::sent(headers), in_query(uri, parameter)?)
            }
            Self::Brought(source) => source.find(headers, uri).into_result(),
        }
    }

    /// How to send a token so that it is found.
    pub(crate) fn how_to_send(&self) -> &'static str {
        match self {
            Self::Header => "send one header Authorization: Bearer <access token>",
            Self::HeaderOrQuery(_) => {
                "send the access token once: in a header Authorization: \
                Bearer <access token>, or in the query"
            }
            Self::Brought(_) => {
                "send one access token where the token source of this service \
                looks for it"
            }
        }
    }

    /// The methods of RFC 6750 §2, by which tokens are found; none where a source of the service's own
    /// looks for them.
    pub(crate) fn bearer_methods(&self) -> &'static [&'static str] {
        match self {
            Self::Header => &["header"],
            Self::HeaderOrQuery(_) => &["header", "query"],
            Self::Brought(_) => &[],
        }
    }

    /// The header that holds the token and nothing else.
    pub(crate) fn header(&self) -> Option<HeaderName> {
        match self {
            Self::Header | Self::HeaderOrQuery(_) => Some(AUTHORIZATION),
            Self::Brought(source) => source.header(),
        }
    }
}

/// The one value of a parameter. A token needs no escapes, and is none with them.
fn in_query<'r>(uri: &'r Uri, parameter: &str) -> Result<Option<&'r [u8]>, Refusal> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let mut values = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == parameter).then_some(value)
    });
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(token), None) if !token.is_empty() => Ok(Some(token.as_bytes())),
        _ => Err(Refusal::MalformedAuthorization),
    }
}

/// A token in the header or in the query, never in both.
fn one_of<'r>(
    in_header: Result<&'r [u8], Refusal>,
    in_query: Option<&'r [u8]>,
) -> Result<&'r [u8], Refusal> {
    match (in_header, in_query) {
        (in_header, None) => in_header,
        (Err(Refusal::NoCredentials), Some(token)) => Ok(token),
        (_, Some(_)) => Err(Refusal::MalformedAuthorization),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(authorization: Option<&str>, uri: &str) -> String {
        let place = TokenPlace::HeaderOrQuery("access_token".to_owned());
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        match place.find(&headers, &uri.parse().unwrap()) {
            Ok(token) => String::from_utf8(token.to_vec()).unwrap(),
            Err(refusal) => refusal.code().to_owned(),
        }
    }

    #[test]
    fn one_token_in_one_place() {
        assert_eq!(found(Some("Bearer a.b.c"), "/?x=1"), "a.b.c");
        assert_eq!(found(None, "/?x=1&access_token=a.b.c&y"), "a.b.c");
        for uri in ["/?x=1", "/access_token=a.b.c", "/?Access_token=a.b.c"] {
            assert_eq!(found(None, uri), "no_credentials", "{uri}");
        }
        assert_eq!(found(Some("Basic eDp5"), "/"), "other_scheme");
        for (authorization, uri) in [
            (Some("Bearer a.b.c"), "/?access_token=a.b.c"),
            (Some("Bearer"), "/"),
            (Some("Basic eDp5"), "/?access_token=a.b.c"),
            (None, "/?access_token=a.b.c&access_token=a.b.c"),
            (None, "/?access_token="),
            (None, "/?access_token"),
        ] {
            assert_eq!(
                found(authorization, uri),
                "malformed_authorization",
                "{uri}"
            );
        }
    }
}
