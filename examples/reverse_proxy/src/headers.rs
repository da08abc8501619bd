//! Which headers pass, from the client to the upstream and back.

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use hyper::body::Frame;

use crate::server::Peer;
use crate::target::Asked;

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

/// Leaves of a request's headers what the upstream may see. What this proxy says itself is set
/// afterwards: `Connection: x-auth-oid` must not be able to remove that.
pub(crate) fn clean_request(headers: &mut HeaderMap, upstream: Version) {
    let takes_trailers = takes_trailers(headers);
    remove_hop_by_hop(headers);
    remove_ours(headers);
    // The client sends it anew, or as `:authority`.
    headers.remove(HOST);
    join_cookies(headers);
    if takes_trailers {
        // gRPC demands it. In HTTP/1.1 it is a hop-by-hop header and must be named as one.
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if upstream == Version::HTTP_11 {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
}

/// Trailers are merged into the headers by some frameworks: what must not come as the one must not
/// come as the other.
pub(crate) fn clean_trailers(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        remove_hop_by_hop(trailers);
        remove_ours(trailers);
        for name in [AUTHORIZATION, HOST, CONTENT_LENGTH] {
            trailers.remove(name);
        }
    }
    frame
}

/// Whatever is about one connection only, with what `Connection` names.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let options = headers.get_all(CONNECTION).iter();
    let named: Vec<HeaderName> = options
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Tells the upstream who connected, how, and whom the client asked.
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

fn remove_ours(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_ours(name))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

/// Whether only this proxy may say it. `_` and `-` are one to CGI and its heirs.
fn is_ours(name: &HeaderName) -> bool {
    let name = name.as_str().replace('_', "-");
    name == "forwarded" || name.starts_with("x-forwarded-") || name.starts_with("x-auth-")
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(TE).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// HTTP/2 clients may send cookies one by one; whoever reads HTTP/1.1 expects one header.
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
