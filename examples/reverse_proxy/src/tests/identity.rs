//! Tests of the headers that name the caller to the upstream.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::support::{BOTH, CLIENT, Http, Proxy, Recorded, header, played, stream};
use crate::answer::text_body;

#[tokio::test]
async fn the_upstream_learns_who_calls() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    let id = "0f5b3a52-6f5f-4f0e-8a3c-0d9b1d9d3c11";
    let user = proxy.user().scope("Reports.Write").role("Reader");
    let token = user
        .client(CLIENT)
        .claim("oid", id)
        .claim("name", "Ada")
        .mint();
    for http in BOTH {
        assert_eq!(proxy.ask(http, proxy.get_with("/", &token)).await.0, 200);
        let headers = recorded.headers();
        for (name, value) in [
            ("x-auth-oid", id),
            ("x-auth-tenant", proxy.tenant.id()),
            ("x-auth-name", "Ada"),
            ("x-auth-scopes", "Reports.Read Reports.Write"),
            ("x-auth-roles", "Reader"),
            ("x-auth-client", CLIENT),
        ] {
            assert_eq!(header(&headers, name), Some(value), "{name}");
        }
    }
}

#[tokio::test]
async fn what_the_token_does_not_have_is_no_header() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    let token = proxy
        .user()
        .without_claim("oid")
        .without_claim("name")
        .mint();
    let request = || {
        let request = proxy.get_with("/", &token);
        request
            .header("x-auth-oid", "forged")
            .header("x-auth-name", "forged")
    };
    for http in BOTH {
        assert_eq!(proxy.ask(http, request()).await.0, 200);
        let headers = recorded.headers();
        for name in ["x-auth-oid", "x-auth-name", "x-auth-roles"] {
            assert_eq!(header(&headers, name), None, "{name}");
        }
        assert_eq!(header(&headers, "x-auth-scopes"), Some("Reports.Read"));
    }
}

#[tokio::test]
async fn names_outside_ascii_are_encoded_and_decode_back() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    for (name, sent) in [
        ("Ada Lovelace", "Ada%20Lovelace"),
        ("Zoë 100%", "Zo%C3%AB%20100%25"),
        ("%20", "%2520"),
        ("a\r\nx-auth-oid: forged", "a%0D%0Ax-auth-oid:%20forged"),
        ("\0\u{7f}~!", "%00%7F~!"),
        ("李小龙 🐉", "%E6%9D%8E%E5%B0%8F%E9%BE%99%20%F0%9F%90%89"),
    ] {
        let token = proxy.user().claim("name", name).mint();
        assert_eq!(
            proxy.ask(Http::One, proxy.get_with("/", &token)).await.0,
            200
        );
        let headers = recorded.headers();
        let arrived = header(&headers, "x-auth-name").unwrap();
        assert_eq!(arrived, sent);
        assert_eq!(decoded(arrived), name);
    }
}

#[tokio::test]
async fn a_space_in_an_element_is_not_one_between_two() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    let token = proxy.user().role("Report Reader").role("Prüfer").mint();
    assert_eq!(
        proxy.ask(Http::One, proxy.get_with("/", &token)).await.0,
        200
    );
    let roles = recorded.headers();
    assert_eq!(
        header(&roles, "x-auth-roles"),
        Some("Report%20Reader Pr%C3%BCfer")
    );
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn forged_identity_never_arrives_in_any_spelling() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    let token = proxy.user().claim("name", "Ada").mint();
    let oid_of = |headers: &HeaderMap| header(headers, "x-auth-oid").unwrap().to_owned();
    assert_eq!(
        proxy.ask(Http::One, proxy.get_with("/", &token)).await.0,
        200
    );
    let honest = recorded.headers();
    let oid = oid_of(&honest);

    for forged in [
        "X-Auth-Oid: forged",
        "X_AUTH_OID: forged",
        "x_auth_oid: forged",
        "X-Auth_Oid: forged",
        "x_auth-oid: forged",
        "X-Auth-Oid: forged\r\nX-Auth-Oid: forged",
        "X-Auth-Oid:forged\r\nx_auth_oid: forged",
        "X-Auth-Groups: forged",
        "x_auth_: forged",
        "X.Auth.Oid: forged",
        "X!AUTH~ROLES: forged",
        "--X..Auth-_Name''.: forged",
        "X-Auth: forged",
        "Connection: x-auth-oid\r\nX-Auth-Oid: forged",
        "Connection: close, X-Auth-Oid, x-auth-name, x-auth-tenant, x-auth-scopes",
        "Connection: x-forwarded-for, host, te",
        "Forwarded: for=forged",
        "X-Forwarded-For: forged",
        "X_Forwarded_For: forged",
        "X-Forwarded-Prefix: forged",
        "X-Forwarded-User: forged\r\nx-forwarded_user: forged",
    ] {
        let answer = proxy
            .raw(&format!(
                "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\
                 {forged}\r\nConnection: close\r\n\r\n"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{forged}: {answer}");
        let mut headers = recorded.headers();
        assert!(!format!("{headers:?}").contains("forged"), "{headers:?}");
        assert_eq!(oid_of(&headers), oid);
        assert_eq!(header(&headers, "x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(header(&headers, "x-forwarded-proto"), Some("http"));
        assert_eq!(header(&headers, "x-forwarded-host"), Some("a"));
        headers.insert("x-forwarded-host", honest["x-forwarded-host"].clone());
        assert_eq!(headers, honest, "{forged}");
    }

    for name in [
        "x-auth-oid",
        "x_auth_oid",
        "x-auth_roles",
        "x_forwarded-for",
    ] {
        let request = proxy.get_with("/", &token);
        let request = request.header(name, "forged").header(name, "forged");
        assert_eq!(proxy.ask(Http::Two, request).await.0, 200);
        assert_eq!(recorded.headers(), honest, "{name}");
    }
}

#[tokio::test]
async fn forged_identity_does_not_arrive_where_the_answer_is_an_error() {
    let (mut requests, address) = played().await;
    let proxy = Proxy::before(&Http::Two.upstream(address)).await;
    let request = proxy.get("/").header("x_auth_oid", "forged");
    let upstream = async {
        let (request, answer) = requests.recv().await.unwrap();
        assert!(!format!("{:?}", request.headers()).contains("forged"));
        let mut response = Response::new(text_body("broken"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        answer.send(response).unwrap();
    };
    let (answer, ()) = tokio::join!(proxy.ask(Http::One, request), upstream);
    assert_eq!(answer, (500, "broken".to_owned()));
}

#[tokio::test]
async fn identity_does_not_arrive_in_trailers_either() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::Two.upstream(address)).await;
    let (mut body, sent) = stream();
    let request = proxy.get("/").method("POST").body(sent).unwrap();
    let trailers = async {
        let mut trailers = HeaderMap::new();
        for name in [
            "checksum",
            "x-auth-oid",
            "x_auth_oid",
            "authorization",
            "forwarded",
        ] {
            trailers.insert(name, HeaderValue::from_static("sent"));
        }
        body.send_data(Bytes::from("a")).await.unwrap();
        body.send_trailers(trailers).await.unwrap();
        drop(body);
    };
    let (response, ()) = tokio::join!(proxy.send(Http::Two, request), trailers);
    assert_eq!(response.status(), 200);
    let trailers = recorded.one().1.unwrap();
    assert_eq!(trailers.keys().collect::<Vec<_>>(), ["checksum"]);
}
