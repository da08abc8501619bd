//! Tests of the requests that the upstream receives: their target, their host and their headers.

use super::support::{BOTH, Http, Proxy, Recorded, breaking_off, header, text};
use crate::answer::text_body;

#[tokio::test]
async fn method_path_and_query_arrive_below_the_base() {
    let (mut recorded, address) = Recorded::start().await;
    for (base, asked, expected) in [
        ("", "/", "/"),
        ("", "/a%2Fb//c?x=%20&y", "/a%2Fb//c?x=%20&y"),
        ("", "//a", "//a"),
        ("/base/", "/a", "/base/a"),
        ("/base", "/?x", "/base/?x"),
    ] {
        let proxy = Proxy::before(&format!("http://{address}{base}")).await;
        for http in BOTH {
            let answer = proxy.ask(http, proxy.get(asked).method("DELETE")).await;
            assert_eq!(answer, (200, "ok".to_owned()), "{http:?}");
            let (parts, _) = recorded.one();
            assert_eq!(parts.method, "DELETE");
            assert_eq!(parts.uri.to_string(), expected);
            let host = address.to_string();
            assert_eq!(header(&parts.headers, "host"), Some(&*host));
        }
    }
}

#[tokio::test]
async fn a_query_alone_gets_a_path() {
    let (mut recorded, address) = Recorded::start().await;
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(address)).await;
        let token = proxy.user().mint();
        let line = "GET http://a?x HTTP/1.1\r\nHost: a\r\nConnection: close";
        let answer = format!("{line}\r\nAuthorization: Bearer {token}\r\n\r\n");
        assert!(proxy.raw(&answer).await.starts_with("HTTP/1.1 200 "));
        let asked = recorded.one().0.uri;
        assert_eq!(asked.path_and_query().unwrap(), "/?x");
    }
}

#[tokio::test]
async fn an_http2_upstream_is_asked_by_its_own_authority() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::Two.upstream(address)).await;
    for http in BOTH {
        assert_eq!(proxy.ask(http, proxy.get("/a")).await.0, 200);
        let (parts, _) = recorded.one();
        assert_eq!(parts.version, http::Version::HTTP_2);
        assert_eq!(parts.uri.to_string(), format!("http://{address}/a"));
        assert_eq!(header(&parts.headers, "host"), None);
    }
}

#[tokio::test]
async fn a_request_that_two_readers_could_understand_differently_is_400() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    let token = proxy.user().mint();
    for (line, hosts, status) in [
        ("GET / HTTP/1.1", "Host: a", 200),
        ("GET / HTTP/1.1", "Host: A.example:8080", 200),
        ("GET / HTTP/1.1", "Host: [::1]:80", 200),
        ("GET / HTTP/1.0", "X: y", 200),
        ("GET / HTTP/1.0", "Host: a", 200),
        ("GET http://a/ HTTP/1.1", "Host: a", 200),
        ("GET http://a HTTP/1.1", "Host: A:80", 200),
        ("GET http://A:80/ HTTP/1.1", "Host: a", 200),
        ("GET https://a:443/ HTTP/1.1", "Host: a", 200),
        ("OPTIONS / HTTP/1.1", "Host: a", 200),
        ("GET / HTTP/1.1", "X: y", 400),
        ("GET / HTTP/1.1", "Host: a\r\nHost: a", 400),
        ("GET / HTTP/1.1", "Host: a\r\nhOST: b", 400),
        ("GET / HTTP/1.0", "Host: a\r\nHost: b", 400),
        ("GET / HTTP/1.1", "Host:", 400),
        ("GET / HTTP/1.1", "Host: a b", 400),
        ("GET / HTTP/1.1", "Host: a/b", 400),
        ("GET / HTTP/1.1", "Host: http://a", 400),
        ("GET / HTTP/1.1", "Host: user@a", 400),
        ("GET / HTTP/1.1", "Host: a:x", 400),
        ("GET / HTTP/1.1", "Host: a:65536", 400),
        ("GET / HTTP/1.1", "Host: :80", 400),
        ("GET / HTTP/1.1", "Host: \u{e4}", 400),
        ("GET http://a/ HTTP/1.1", "X: y", 400),
        ("GET http://a/ HTTP/1.1", "Host: b", 400),
        ("GET http://a:8080/ HTTP/1.1", "Host: a", 400),
        ("GET http://a/ HTTP/1.1", "Host: a:8080", 400),
        ("GET http://a/ HTTP/1.1", "Host: a:443", 400),
        ("GET http://user@a/ HTTP/1.1", "Host: a", 400),
        ("GET http://a/ HTTP/1.0", "Host: b", 400),
        ("OPTIONS * HTTP/1.1", "Host: a", 400),
        ("GET * HTTP/1.1", "Host: a", 400),
        ("GET a:80 HTTP/1.1", "Host: a", 400),
        ("CONNECT a:80 HTTP/1.1", "Host: a:80", 405),
        ("CONNECT a:80 HTTP/1.1", "X: y", 405),
    ] {
        let answer = proxy
            .raw(&format!(
                "{line}\r\n{hosts}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
            ))
            .await;
        let found = answer.split(' ').nth(1).unwrap_or_default();
        assert_eq!(found, status.to_string(), "{line} {hosts}");
        match status {
            200 => drop(recorded.one()),
            405 => assert!(answer.contains("\r\nallow: GET, "), "{answer}"),
            _ => {}
        }
        recorded.assert_none();
    }
}

#[tokio::test]
async fn over_http2_host_and_authority_must_agree_too() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    for (host, status) in [(&*proxy.address.to_string(), 200), ("other", 400)] {
        let request = proxy.get("/").header("host", host);
        assert_eq!(proxy.ask(Http::Two, request).await.0, status, "{host}");
        if status == 200 {
            let headers = recorded.headers();
            assert_eq!(header(&headers, "x-forwarded-host"), Some(host));
        }
        recorded.assert_none();
    }
}

#[tokio::test]
async fn hop_by_hop_headers_do_not_pass() {
    const SENT: &str = "Connection: Keep-Alive, x-hop\r\nConnection: close , ,X-Other\r\n\
        X-Hop: 1\r\nX-Other: 1\r\nX-End: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\n\
        Proxy-Authenticate: Basic\r\nProxy-Authorization: Basic eA==\r\nTE: gzip\r\n\
        Upgrade: websocket\r\n";
    const NEVER: [&str; 9] = [
        "x-hop",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    let token = proxy.user().mint();
    let sent = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{SENT}\r\n");
    assert!(proxy.raw(&sent).await.starts_with("HTTP/1.1 200 "));
    let headers = recorded.headers();
    assert_eq!(header(&headers, "x-end"), Some("1"));
    for name in NEVER.iter().chain(&["connection"]) {
        assert_eq!(header(&headers, name), None, "{name}");
    }

    let sent =
        format!("HTTP/1.1 200 OK\r\n{SENT}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let address = breaking_off(String::leak(sent)).await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    for http in BOTH {
        let request = proxy.get("/").body(text_body("")).unwrap();
        let response = proxy.send(http, request).await;
        let headers = response.headers();
        assert_eq!(header(headers, "x-end"), Some("1"));
        // hyper adds this header itself to frame the HTTP/1.1 body.
        let never = NEVER.iter().filter(|name| **name != "transfer-encoding");
        for name in never {
            assert_eq!(header(headers, name), None, "{name}");
        }
        assert_eq!(header(headers, "connection"), None);
        assert_eq!(text(response).await, "ok");
    }
}

#[tokio::test]
async fn cookies_that_came_one_by_one_are_one_header() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    let request = proxy
        .get("/")
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    assert_eq!(proxy.ask(Http::Two, request).await.0, 200);
    assert_eq!(header(&recorded.headers(), "cookie"), Some("a=1; b=2"));
}
