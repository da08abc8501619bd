//! The response format, as the request asks for it.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};

use super::Format;

impl Format {
    /// Returns the response format for a request with this method and these headers.
    ///
    /// It is gRPC if the method is POST and the content type is `application/grpc` or
    /// `application/grpc+…`. It is JSON if `Accept` names JSON and does not prefer plain text.
    /// Otherwise it is text.
    ///
    /// No other method is gRPC, because a refusal in gRPC has the HTTP status 200. A proxy may ask
    /// with the headers of a client's request whether that request is permitted. It must not read
    /// the 200 as permission.
    pub(crate) fn of(method: &Method, request: &HeaderMap) -> Self {
        if method == Method::POST && Self::is_grpc(request) {
            Self::Grpc
        } else if prefers_json(request) {
            Self::Json
        } else {
            Self::Text
        }
    }

    /// Returns whether the content type of a request or a response is gRPC.
    pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
        const GRPC: &[u8] = b"application/grpc";

        let content_type = headers
            .get(CONTENT_TYPE)
            .map_or(&b""[..], HeaderValue::as_bytes);
        match content_type.split_at_checked(GRPC.len()) {
            Some((start, [] | [b'+' | b';' | b' ', ..])) => start.eq_ignore_ascii_case(GRPC),
            _ => false,
        }
    }
}

/// Returns whether `Accept` names JSON and does not prefer plain text.
///
/// Only media ranges that name a type are compared (RFC 9110 §12.5.1). `*/*` is sent by clients
/// without a preference, and a user may read their output in a terminal. Invalid media ranges are
/// ignored.
fn prefers_json(request: &HeaderMap) -> bool {
    let (mut json, mut text) = (0.0_f32, 0.0_f32);
    let values = request.get_all(ACCEPT).iter();
    let ranges = values.filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.eq_ignore_ascii_case("q").then_some(value)
        });
        let quality = quality.map_or(Some(1.0), |value| value.parse().ok());
        let Some(quality) = quality.filter(|quality| (0.0..=1.0).contains(quality)) else {
            continue;
        };
        let is_one_of = |types: &[&str]| types.iter().any(|t| media_type.eq_ignore_ascii_case(t));
        if is_one_of(&[
            "application/json",
            "application/problem+json",
            "application/*",
        ]) {
            json = json.max(quality);
        } else if is_one_of(&["text/plain", "text/*"]) {
            text = text.max(quality);
        }
    }
    json > 0.0 && json >= text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_whoever_names_it_and_prefers_no_text() {
        let form = |values: &[&[u8]]| {
            let mut request = HeaderMap::new();
            for value in values {
                request.append(ACCEPT, HeaderValue::from_bytes(value).unwrap());
            }
            Format::of(&Method::GET, &request)
        };
        for accepts in [
            &[&b"application/json"[..]][..],
            &[b"Application/Problem+JSON"],
            &[b"application/*"],
            &[b"application/json, text/plain, */*"],
            &[b"text/plain;q=0.5, application/json;q=0.9"],
            &[b"text/html", b"application/json"],
            &[b"application/json; charset=utf-8; q=0.001"],
            &[b"nonsense;;;, ,application/json;Q=1.000,q=2"],
        ] {
            assert_eq!(form(accepts), Format::Json, "{accepts:?}");
        }
        for accepts in [
            &[][..],
            &[&b""[..]],
            &[b"*/*"],
            &[b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
            &[b"text/plain, application/json;q=0.9"],
            &[b"application/json;q=0"],
            &[b"application/json;q=x"],
            &[b"application/json;q=NaN"],
            &[b"application/json;q=-1"],
            &[b"application/json;q=1e9"],
            &[b"application/jsonx"],
            &[b"xapplication/json"],
            &[b"\xff application/json"],
            &[b",,,;;;===\"\"\""],
        ] {
            assert_eq!(form(accepts), Format::Text, "{accepts:?}");
        }
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (content_type, protocol) in [
            ("application/grpc", Format::Grpc),
            ("application/grpc+proto", Format::Grpc),
            ("Application/GRPC; charset=x", Format::Grpc),
            ("application/grpc-web+proto", Format::Text),
            ("application/grpcx", Format::Text),
            ("application/json", Format::Text),
            ("", Format::Text),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            assert_eq!(
                Format::of(&Method::POST, &headers),
                protocol,
                "{content_type}"
            );
            assert_eq!(
                Format::of(&Method::GET, &headers),
                Format::Text,
                "{content_type}"
            );
        }
        assert_eq!(Format::of(&Method::POST, &HeaderMap::new()), Format::Text);
    }
}
