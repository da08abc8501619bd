//! Tests that no header passes the proxy whose name some reader takes for another.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::support::{BOTH, Http, Proxy, Recorded, header, stream};
use crate::answer::text_body;
use crate::spelling::{begins_with, is_spelling_of};

/// Names that only the proxy may send.
const OURS: [&str; 17] = [
    "x-auth-oid",
    "x-auth-tenant",
    "x-auth-name",
    "x-auth-scopes",
    "x-auth-roles",
    "x-auth-client",
    "x-auth-groups",
    "x-auth",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-user",
    "x-real-ip",
    "proxy",
    "proxy-authorization",
    "authorization",
];

/// Names that HTTP itself reads, in this spelling.
const OF_HTTP: [&str; 10] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Every character but letters and digits that a name may have (RFC 9110 §5.6.2).
const SEPARATORS: [char; 15] = [
    '-', '_', '.', '!', '#', '$', '%', '&', '\'', '*', '+', '^', '`', '|', '~',
];

/// A character that is not allowed in names over HTTP/2 either, but that h2 and `http` accept.
const ONLY_IN_HTTP2: char = '"';

/// Returns spellings of `name`: with each separator for `-`, with several, and with one at either
/// end.
fn spellings(name: &str, http: Http) -> Vec<HeaderName> {
    let mut spellings = Vec::new();
    let more = (http == Http::Two).then_some(ONLY_IN_HTTP2);
    for separator in SEPARATORS.into_iter().chain(more) {
        let one = name.replace('-', &separator.to_string());
        spellings.push(format!("{one}{separator}"));
        spellings.push(one);
    }
    spellings.push(format!(".{name}"));
    spellings.push(name.replace('-', "--"));
    spellings.push(name.replace('-', "._"));
    spellings.sort();
    spellings.dedup();
    let name = |text: &String| HeaderName::from_lowercase(text.as_bytes()).unwrap();
    spellings.iter().map(name).collect()
}

fn other_spellings(name: &str, http: Http) -> Vec<HeaderName> {
    let mut spellings = spellings(name, http);
    spellings.retain(|spelling| spelling != name);
    spellings
}

fn forged(names: &[HeaderName]) -> HeaderMap {
    let forged = HeaderValue::from_static("forged");
    names
        .iter()
        .map(|name| (name.clone(), forged.clone()))
        .collect()
}

#[tokio::test]
async fn what_the_proxy_alone_may_say_arrives_in_no_spelling() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    let token = proxy.user().without_claim("oid").without_claim("name");
    let token = token.mint();
    for http in BOTH {
        let status = proxy.ask(http, proxy.get_with("/", &token)).await.0;
        assert_eq!(status, 200);
        let honest = recorded.headers();
        for missing in ["x-auth-oid", "x-auth-name", "x-auth-roles"] {
            assert_eq!(header(&honest, missing), None, "{missing}");
        }
        assert_eq!(header(&honest, "x-auth-scopes"), Some("Reports.Read"));
        for name in OURS {
            let mut names = spellings(name, http);
            // `authorization` is the token's own header.
            names.retain(|name| name != "authorization");
            assert!(names.len() >= 16, "{name}");
            let mut request = proxy.get_with("/", &token).body(text_body("")).unwrap();
            request.headers_mut().extend(forged(&names));
            assert_eq!(proxy.send(http, request).await.status(), 200);
            assert_eq!(recorded.headers(), honest, "{http:?} {name}");
        }
    }
}

#[tokio::test]
async fn what_http_goes_by_arrives_in_no_other_spelling() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    for http in BOTH {
        assert_eq!(proxy.ask(http, proxy.get("/")).await.0, 200);
        let honest = recorded.headers();
        for name in OF_HTTP {
            let mut request = proxy.get("/").body(text_body("")).unwrap();
            let names = other_spellings(name, http);
            request.headers_mut().extend(forged(&names));
            assert_eq!(proxy.send(http, request).await.status(), 200);
            assert_eq!(recorded.headers(), honest, "{http:?} {name}");
        }
    }
}

#[tokio::test]
async fn neither_arrives_as_a_trailer_nor_is_it_announced() {
    let (mut recorded, address) = Recorded::start().await;
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(address)).await;
        for name in OURS.iter().chain(&OF_HTTP) {
            let mut names = other_spellings(name, Http::Two);
            // An HTTP/2 client cannot send the other names as trailers.
            let is_sent = ["content-length", "content-type", "host", "trailer"].contains(name);
            if is_sent || OURS.contains(name) {
                names.push(name.parse().unwrap());
            }
            names.push(HeaderName::from_static("checksum"));
            let announced: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
            let request = proxy.get("/").method("POST");
            let request = request.header("trailer", announced.join(" ,,"));
            let (mut body, sent) = stream();
            let request = request.body(sent).unwrap();
            let upload = async {
                body.send_data(Bytes::from("a")).await.unwrap();
                body.send_trailers(forged(&names)).await.unwrap();
                drop(body);
            };
            let (response, ()) = tokio::join!(proxy.send(Http::Two, request), upload);
            assert_eq!(response.status(), 200, "{name} to {to:?}");
            let (parts, trailers) = recorded.one();
            let trailers = trailers.unwrap();
            assert_eq!(trailers.keys().collect::<Vec<_>>(), ["checksum"], "{to:?}");
            assert_eq!(header(&parts.headers, "trailer"), Some("checksum"));
        }
    }
}

#[tokio::test]
async fn of_trailers_that_may_not_come_nothing_is_announced() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    for http in BOTH {
        for announced in [
            "X.Auth.Roles",
            "Content-Length, x_forwarded_for",
            ",",
            "a b",
        ] {
            let request = proxy.get("/").header("trailer", announced);
            assert_eq!(proxy.ask(http, request).await.0, 200);
            assert_eq!(header(&recorded.headers(), "trailer"), None, "{announced}");
        }
    }
}

#[tokio::test]
async fn every_other_name_arrives_as_it_is() {
    let names = [
        "x-authority",
        "x-author",
        "xauth-roles",
        "auth-roles",
        "my-x-auth-roles",
        "forwardedfor",
        "x-real-name",
        "x-http-proxy",
        "proxied",
        "authorizations",
        "content-length-before",
        "content_language",
        "x_team.name",
        "_",
    ];
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    for http in BOTH {
        let names = names.map(HeaderName::from_static);
        let mut request = proxy.get("/").body(text_body("")).unwrap();
        request.headers_mut().extend(forged(&names));
        assert_eq!(proxy.send(http, request).await.status(), 200);
        let headers = recorded.headers();
        for name in names {
            assert_eq!(header(&headers, name.as_str()), Some("forged"), "{name}");
        }
    }
}

#[test]
fn names_are_one_where_their_words_are() {
    let name = |text: &str| text.parse::<HeaderName>().unwrap();
    for spelling in ["X-Auth", "x.auth", "X!AUTH", "-x--auth-", "x~_auth'"] {
        assert!(is_spelling_of(&name(spelling), "x-auth"), "{spelling}");
        assert!(begins_with(&name(spelling), "x-auth"), "{spelling}");
    }
    for longer in ["x-auth-oid", "X.Auth|a.b"] {
        assert!(begins_with(&name(longer), "x-auth"), "{longer}");
        assert!(!is_spelling_of(&name(longer), "x-auth"), "{longer}");
    }
    for other in ["xauth", "x-autho", "x", "auth", "auth-x", "-", "x-a-uth"] {
        assert!(!begins_with(&name(other), "x-auth"), "{other}");
    }
}
