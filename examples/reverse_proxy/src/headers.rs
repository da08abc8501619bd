//! Filters the headers between client and upstream, in both directions.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use hyper::body::Frame;

use crate::server::Peer;
use crate::spelling::{begins_with, is_spelling_of};
use crate::target::Asked;

/// Beginnings of header names that only this proxy may set: they name the caller and the way the
/// request took.
///
/// `Proxy` is among them because its CGI variable is `HTTP_PROXY`, from which many programs take
/// their proxy (<https://httpoxy.org>).
static OURS: [&str; 6] = [
    "authorization",
    "forwarded",
    "proxy",
    "x-auth",
    "x-forwarded",
    "x-real-ip",
];

/// Names of headers that describe the message.
///
/// HTTP reads these names only in this spelling. A reader that accepts another spelling sees a
/// different message: PHP's own server lets `Content_Type` replace `Content-Type`.
static OF_THE_MESSAGE: [HeaderName; 3] = [CONTENT_LENGTH, CONTENT_TYPE, TRAILER];

/// Hop-by-hop headers.
///
/// Source: RFC 9110 §7.6.1.
static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes from a request's headers everything that the upstream must not see.
///
/// The proxy sets its own headers afterwards, so that `Connection: x-auth-oid` cannot remove them.
pub(crate) fn clean_request(headers: &mut HeaderMap, upstream: Version) {
    let takes_trailers = listed(headers, TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    remove_hop_by_hop(headers);
    let is_misspelt = |name: &HeaderName| {
        let known = OF_THE_MESSAGE
            .iter()
            .find(|known| is_spelling_of(name, known.as_str()));
        known.is_some_and(|known| known != name)
    };
    // `is_not_theirs` covers `Host` too: the proxy's client sends its own, or `:authority` over
    // HTTP/2.
    remove(headers, |name| is_not_theirs(name) || is_misspelt(name));
    announce_trailers(headers);
    join_cookies(headers);
    if takes_trailers {
        // gRPC requires `TE`. In HTTP/1.1 it is a hop-by-hop header, so `Connection` must name it.
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if upstream == Version::HTTP_11 {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
}

/// Removes from the trailers everything that the upstream must not see.
///
/// Some servers, such as PHP's own, merge trailers into the headers, so a forbidden header is also
/// a forbidden trailer.
pub(crate) fn clean_trailers(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        remove_hop_by_hop(trailers);
        remove(trailers, |name| !may_trail(name));
    }
    frame
}

/// Removes the headers that concern only one connection, including those that `Connection` names.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = listed(headers, CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Sets the headers that say who connected, how, and which host the client asked for.
pub(crate) fn say_forwarded(headers: &mut HeaderMap, peer: Option<&Peer>, asked: Option<&Asked>) {
    if let Some(Peer(address)) = peer
        && let Ok(value) = address.ip().to_canonical().to_string().parse()
    {
        headers.insert("x-forwarded-for", value);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static("http"));
    if let Some(Asked(Some(authority))) = asked {
        headers.insert("x-forwarded-host", authority.clone());
    }
}

fn remove(headers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderName) -> bool) {
    let unwanted: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_unwanted(name))
        .cloned()
        .collect();
    for name in unwanted {
        headers.remove(name);
    }
}

/// Returns whether only this proxy may set the header, or the header concerns only the client's
/// connection.
fn is_not_theirs(name: &HeaderName) -> bool {
    let mut of_connection = HOP_BY_HOP.iter().chain([&HOST]);
    OURS.iter().any(|ours| begins_with(name, ours))
        || of_connection.any(|known| is_spelling_of(name, known.as_str()))
}

fn may_trail(name: &HeaderName) -> bool {
    let mut of_the_message = OF_THE_MESSAGE.iter();
    !is_not_theirs(name) && !of_the_message.any(|known| is_spelling_of(name, known.as_str()))
}

/// Reduces `Trailer` to the permitted names: over HTTP/1.1 hyper sends no other trailers.
fn announce_trailers(headers: &mut HeaderMap) {
    let names = listed(headers, TRAILER).filter_map(|name| HeaderName::from_bytes(name).ok());
    let names: Vec<HeaderName> = names.filter(may_trail).collect();
    let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
    headers.remove(TRAILER);
    if !names.is_empty()
        && let Ok(announced) = HeaderValue::from_str(&names.join(", "))
    {
        headers.insert(TRAILER, announced);
    }
}

/// Returns the elements of a list header, from all headers of this name together.
fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(name).into_iter();
    let elements = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii)
}

/// Joins several `Cookie` headers into one.
///
/// HTTP/2 clients may send cookies one by one, but HTTP/1.1 servers expect one header.
///
/// Source: RFC 9113 §8.2.3.
fn join_cookies(headers: &mut HeaderMap) {
    let cookies = headers.get_all(COOKIE).iter();
    let cookies: Vec<&[u8]> = cookies.map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}
