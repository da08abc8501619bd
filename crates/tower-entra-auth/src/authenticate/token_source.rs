//! The place of the token in a request: how the token is found, hidden and removed.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, HeaderName, Request, Uri};

use super::EntraAuth;
use super::malformed::Malformed;
use crate::respond::Reason;

/// Finds the token of a request outside the `Authorization` header, for example in a header that a
/// proxy sets, or in a cookie.
///
/// A browser sends some values by itself, such as cookies, also with requests from other sites. A
/// service that takes tokens from them needs protection against forged requests (CSRF). A token in
/// the URL ends up in logs and histories. Use
/// [`token_in_query`](crate::danger::DangerousBuilder::token_in_query) only for clients that cannot
/// send the token otherwise.
///
/// ```
/// use http::HeaderName;
/// use tower_entra_auth::token::{RequestHead, SentToken, TokenSource};
///
/// /// The header in which a gateway hands on the token of its caller.
/// struct Forwarded;
///
/// impl TokenSource for Forwarded {
///     fn find<'r>(&self, request: RequestHead<'r>) -> SentToken<'r> {
///         let mut values = request.headers().get_all("x-forwarded-access-token").iter();
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
///
/// A function that takes a [`RequestHead`] is a source too. A closure needs [`source_fn`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source of tokens",
    note = "implement `TokenSource` for your own type: `fn find<'r>(&self, request: \
        RequestHead<'r>) -> SentToken<'r>`; or pass a closure to `token::source_fn(..)`",
    note = "for a token in the query, use `.dangerous().token_in_query(..)`"
)]
pub trait TokenSource: Send + Sync + 'static {
    /// Returns the token of the request, unchanged.
    ///
    /// A panic in this method ends the connection.
    fn find<'r>(&self, request: RequestHead<'r>) -> SentToken<'r>;

    /// Returns the name of the header that holds only the token, if there is one.
    ///
    /// The Layer marks this header as sensitive. It also removes the header if
    /// [`remove_token_header`](crate::EntraAuthBuilder::remove_token_header) is set. Default:
    /// `None`.
    fn header(&self) -> Option<HeaderName> {
        None
    }
}

/// A function has no [`header`](TokenSource::header), so the Layer neither marks nor removes one.
impl<F> TokenSource for F
where
    F: for<'r> Fn(RequestHead<'r>) -> SentToken<'r> + Send + Sync + 'static,
{
    fn find<'r>(&self, request: RequestHead<'r>) -> SentToken<'r> {
        self(request)
    }
}

/// Returns the closure unchanged, so that the compiler infers the lifetimes that a [`TokenSource`]
/// needs.
///
/// ```
/// use tower_entra_auth::{EntraAuth, token::{SentToken, source_fn}};
///
/// let settings = EntraAuth::builder().token_source(source_fn(|request| {
///     let mut values = request.headers().get_all("x-access-token").iter();
///     match (values.next(), values.next()) {
///         (None, _) => SentToken::Nothing,
///         (Some(token), None) => SentToken::Token(token.as_bytes()),
///         (Some(_), Some(_)) => SentToken::Malformed, // whose is which?
///     }
/// }));
/// ```
pub fn source_fn<F>(function: F) -> F
where
    F: for<'r> Fn(RequestHead<'r>) -> SentToken<'r> + Send + Sync + 'static,
{
    function
}

/// The head of a request, in which a [`TokenSource`] looks for the token.
#[derive(Clone, Copy)]
pub struct RequestHead<'r> {
    headers: &'r HeaderMap,
    uri: &'r Uri,
}

impl<'r> RequestHead<'r> {
    /// Returns the headers.
    #[must_use]
    pub fn headers(self) -> &'r HeaderMap {
        self.headers
    }

    /// Returns the URI.
    #[must_use]
    pub fn uri(self) -> &'r Uri {
        self.uri
    }
}

/// Conversion for tests of a [`TokenSource`].
impl<'r, B> From<&'r Request<B>> for RequestHead<'r> {
    fn from(request: &'r Request<B>) -> Self {
        Self {
            headers: request.headers(),
            uri: request.uri(),
        }
    }
}

/// Output without headers and URI, because they contain the token.
impl std::fmt::Debug for RequestHead<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RequestHead")
            .finish_non_exhaustive()
    }
}

/// The result of a [`TokenSource`].
#[derive(Clone, Copy, Eq, PartialEq)]
#[non_exhaustive]
pub enum SentToken<'r> {
    /// No token. The client receives 401 with a challenge without an error.
    Nothing,
    /// The token as it is sent (compact serialization). The source need not check it.
    Token(&'r [u8]),
    /// A value that cannot be read as one token. The request is refused with 401
    /// `malformed_authorization`.
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
    fn into_result(self) -> Result<&'r [u8], Reason> {
        match self {
            Self::Nothing => Err(Reason::NoCredentials),
            Self::Token(token) => Ok(token),
            Self::Malformed => Err(Malformed::BySource.into()),
        }
    }
}

/// Place of the token in requests, as configured for one `EntraAuth`.
#[derive(Clone, Default)]
pub(crate) enum TokenLocation {
    /// The `Authorization` header.
    #[default]
    Header,
    /// The `Authorization` header, or else this query parameter (RFC 6750 §2.3).
    HeaderOrQuery(String),
    /// The service's own token source.
    Source(Arc<dyn TokenSource>),
}

impl TokenLocation {
    /// Returns the name of the header that holds only the token, if there is one.
    pub(crate) fn header(&self) -> Option<HeaderName> {
        match self {
            Self::Header | Self::HeaderOrQuery(_) => Some(AUTHORIZATION),
            Self::Source(source) => source.header(),
        }
    }
}

/// Reads tokens from requests, with the settings of one `EntraAuth`.
pub(crate) struct TokenReader {
    location: TokenLocation,
    /// Name of the header that holds only the token, if there is one.
    header: Option<HeaderName>,
    removes_header: bool,
}

impl TokenReader {
    pub(crate) fn new(location: TokenLocation, removes_header: bool) -> Self {
        Self {
            header: location.header(),
            location,
            removes_header,
        }
    }

    /// Finds the token of a request.
    pub(super) fn find<'r>(
        &self,
        headers: &'r HeaderMap,
        uri: &'r Uri,
    ) -> Result<&'r [u8], Reason> {
        match &self.location {
            TokenLocation::Header => bearer_token(headers),
            TokenLocation::HeaderOrQuery(parameter) => {
                one_of(bearer_token(headers), in_query(uri, parameter)?)
            }
            TokenLocation::Source(source) => {
                source.find(RequestHead { headers, uri }).into_result()
            }
        }
    }
}

/// A marker in a request's extensions: a Layer has removed the token. Without the marker, an inner
/// Layer would conclude that the client sent no token.
#[derive(Clone)]
struct TokenRemoved;

impl EntraAuth {
    /// Marks the token header as sensitive, so that code which prints headers omits its value.
    pub(crate) fn hide_token(&self, request: &mut HeaderMap) {
        let name = self.state.tokens.header.as_ref();
        if let Some(value) = name.and_then(|name| request.get_mut(name)) {
            value.set_sensitive(true);
        }
    }

    /// Marks all token headers of a request as sensitive. There may be several, because no code has
    /// checked the headers of this request.
    pub(super) fn hide_tokens(&self, request: &mut HeaderMap) {
        let token_header = self.state.tokens.header.as_ref();
        for (name, value) in request.iter_mut() {
            if Some(name) == token_header {
                value.set_sensitive(true);
            }
        }
    }

    /// Removes the token header, if `remove_token_header` is set.
    pub(super) fn remove_token<B>(&self, request: &mut Request<B>) {
        let TokenReader {
            header: Some(name),
            removes_header: true,
            ..
        } = &self.state.tokens
        else {
            return;
        };
        // The inner service must not mistake another header of the client for the token.
        remove_other_spellings(request.headers_mut(), name);
        if request.headers_mut().remove(name).is_some() {
            request.extensions_mut().insert(TokenRemoved);
        }
    }

    /// Returns whether an outer Layer removed the token of the request.
    pub(crate) fn has_removed_token(request: &Extensions) -> bool {
        request.get::<TokenRemoved>().is_some()
    }
}

/// Removes the headers whose names are another spelling of `name`, such as `X_Token` of `X-Token`.
///
/// CGI and its successors turn each header into a variable (RFC 3875 §4.1.18). They write `_` for
/// characters that the name of a variable cannot have. So `X-Token` and `X_Token` are the same
/// header for them, and `X.Token` is too for PHP.
fn remove_other_spellings(headers: &mut HeaderMap, name: &HeaderName) {
    let is_another = |other: &&HeaderName| *other != name && words(other).eq(words(name));
    let others: Vec<HeaderName> = headers.keys().filter(is_another).cloned().collect();
    for other in others {
        headers.remove(other);
    }
}

fn words(name: &HeaderName) -> impl Iterator<Item = &[u8]> {
    let words = name.as_str().as_bytes();
    let words = words.split(|byte| !byte.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty())
}

/// Returns the value of a query parameter, which may occur only once. The value is not decoded: a
/// token needs no escapes, and a value with escapes is no token.
fn in_query<'r>(uri: &'r Uri, parameter: &str) -> Result<Option<&'r [u8]>, Reason> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let mut values = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == parameter).then_some(value)
    });
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(token), None) if !token.is_empty() => Ok(Some(token.as_bytes())),
        (Some(_), None) => Err(Malformed::NoToken.into()),
        (Some(_), Some(_)) => Err(Malformed::Twice.into()),
    }
}

/// Returns the token from the header or from the query. Refuses a token in the query if there is an
/// `Authorization` header.
fn one_of<'r>(
    in_header: Result<&'r [u8], Reason>,
    in_query: Option<&'r [u8]>,
) -> Result<&'r [u8], Reason> {
    match (in_header, in_query) {
        (in_header, None) => in_header,
        (Err(Reason::NoCredentials), Some(token)) => Ok(token),
        (_, Some(_)) => Err(Malformed::Twice.into()),
    }
}

/// Returns the text after `Bearer` in the single `Authorization` header (RFC 9110 §11.6.2,
/// RFC 6750 §2.1).
///
/// The scheme may be in upper or lower case. One or more spaces follow it (RFC 9110), never a tab.
/// The characters of the token are not checked here: a token that equals a cached one needs no
/// check.
fn bearer_token(headers: &HeaderMap) -> Result<&[u8], Reason> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Reason::NoCredentials)?.as_bytes();
    if values.next().is_some() {
        return Err(Reason::SeveralAuthorizations);
    }

    let end_of_scheme = value
        .iter()
        .position(|byte| !is_scheme_character(*byte))
        .unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end_of_scheme);
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(Reason::OtherScheme);
    }
    let token = match rest {
        [b' ', rest @ ..] => rest.trim_ascii_start(),
        [] => return Err(Malformed::NoToken.into()),
        _ => return Err(Malformed::NoSpace.into()),
    };
    // The grammar permits only spaces, no tab.
    let separator = &rest[..rest.len() - token.len()];
    if token.is_empty() {
        return Err(Malformed::NoToken.into());
    }
    if separator.contains(&b'\t') {
        return Err(Malformed::NoSpace.into());
    }
    Ok(token)
}

/// Checks that a token has only the characters of `token68`.
pub(super) fn check_characters(token: &[u8]) -> Result<(), Reason> {
    if is_token68(token) {
        Ok(())
    } else {
        Err(Malformed::of_characters(token).into())
    }
}

/// Returns whether the name of a scheme may contain the byte (`tchar` of RFC 9110 §5.6.2).
fn is_scheme_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns whether a token matches `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_token68(token: &[u8]) -> bool {
    let end = token
        .iter()
        .rposition(|byte| *byte != b'=')
        .map_or(0, |last| last + 1);
    end > 0
        && token[..end]
            .iter()
            .all(|byte| IS_TOKEN68[usize::from(*byte)])
}

/// The `token68` characters as a look-up table, in place of comparisons: a token has thousands of
/// characters.
static IS_TOKEN68: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn found(authorization: Option<&str>, uri: &str) -> String {
        let location = TokenLocation::HeaderOrQuery("access_token".to_owned());
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        match TokenReader::new(location, false).find(&headers, &uri.parse().unwrap()) {
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

    fn read(values: &[&[u8]]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        bearer_token(&headers)
            .and_then(|token| check_characters(token).map(|()| token))
            .map(|token| String::from_utf8(token.to_vec()).unwrap())
            .map_err(|refusal| refusal.code())
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case_and_spaces_follow() {
        for value in [
            &b"Bearer a.b-c"[..],
            b"bearer a.b-c",
            b"BEARER a.b-c",
            b"Bearer    a.b-c",
        ] {
            assert_eq!(read(&[value]), Ok("a.b-c".to_owned()));
        }
        assert_eq!(read(&[b"Bearer a+b/c~_=="]), Ok("a+b/c~_==".to_owned()));
    }

    #[test]
    fn no_header_and_another_scheme_are_told_apart() {
        assert_eq!(read(&[]), Err("no_credentials"));
        for value in [
            &b""[..],
            b"Basic dXNlcjpwYXNz",
            b"DPoP a.b.c",
            b"Bearers a",
            b"a.b.c",
            b"\xc3\xa9",
        ] {
            assert_eq!(read(&[value]), Err("other_scheme"), "{value:?}");
        }
    }

    #[test]
    fn a_malformed_bearer_header_is_refused() {
        for value in [
            &b"Bearer"[..],
            b"Bearer ",
            b"Bearer   ",
            b"Bearer\ta.b.c",
            b"Bearer \ta.b.c",
            b"Bearer a b",
            b"Bearer a.b.c, Bearer d.e.f",
            b"Bearer Bearer a.b.c",
            b"Bearer \"a.b.c\"",
            b"Bearer a.b.\xff",
            b"Bearer \xc3\xa9",
            b"Bearer ==",
            b"Bearer a=b",
            b"Bearer=a.b.c",
            b"Bearer,a.b.c",
            b"Bearer:a.b.c",
        ] {
            assert_eq!(read(&[value]), Err("malformed_authorization"), "{value:?}");
        }
    }

    #[test]
    fn two_headers_are_refused_even_if_they_agree() {
        for second in [&b"Bearer a"[..], b"Basic x", b""] {
            assert_eq!(read(&[b"Bearer a", second]), Err("several_authorizations"));
        }
    }

    /// Every character except letters and digits that the name of a header may have
    /// (RFC 9110 §5.6.2).
    const SEPARATORS: &str = "-_.!#$%&'*+^`|~";

    #[test]
    fn every_other_spelling_goes_and_nothing_else() {
        let name = |text: &str| text.parse::<HeaderName>().unwrap();
        let kept = ["x-token", "xtoken", "x-tokens", "token", "x-to-ken", "x"];
        let mut headers = HeaderMap::new();
        for text in kept {
            headers.insert(name(text), HeaderValue::from_static("kept"));
        }
        for separator in SEPARATORS.chars() {
            for text in [
                format!("x{separator}{separator}token"),
                format!("{separator}x_token"),
                format!("X{separator}TOKEN{separator}"),
            ] {
                headers.insert(name(&text), HeaderValue::from_static("forged"));
            }
        }
        remove_other_spellings(&mut headers, &name("x-token"));
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        let mut expected = kept;
        expected.sort_unstable();
        assert_eq!(left, expected);
    }
}
