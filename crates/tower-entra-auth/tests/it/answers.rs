//! Tests that bad input and bad headers get their own responses, never a 500 and never a panic.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_entra_auth::entra_jwt_core::{explain::Finding, refusal::Setting};
use tower_entra_auth::{Caller, EntraAuth, EntraAuthBuilder, refusal::RefusalDetail};

use crate::support::{
    API, CLIENT, OTHER_TENANT, Stream, app, auth, client, header, serve, settings, tenant, user,
};

/// Returns the status, the challenge and the body of the response to a request with these headers.
async fn answer(auth: &EntraAuth, authorization: &[&[u8]]) -> (StatusCode, String, String) {
    let service = auth
        .layer()
        .layer(service_fn(async |request: Request<Empty<_>>| {
            assert!(request.extensions().get::<Caller>().is_some());
            Ok::<_, std::convert::Infallible>(http::Response::new(Empty::<bytes::Bytes>::new()))
        }));
    let mut request = Request::new(Empty::<bytes::Bytes>::new());
    for value in authorization {
        let value = HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().append("authorization", value);
    }
    let response = service.oneshot(request).await.unwrap();
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge
        .map_or("", |value| value.to_str().unwrap())
        .to_owned();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, challenge, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn malformed_credentials_have_their_own_codes() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let token = user(&tenant).mint();
    let with = |text: &str| text.replace('@', &token).into_bytes();

    for (value, code) in [
        (with("Bearer"), "malformed_authorization"),
        (with("Bearer "), "malformed_authorization"),
        (with("Bearer\t@"), "malformed_authorization"),
        (with("Bearer @ @"), "malformed_authorization"),
        (with("Bearer @, Bearer @"), "malformed_authorization"),
        (with("Bearer @\u{e9}"), "malformed_authorization"),
        (
            [b"Bearer ", token.as_bytes(), b"\xff"].concat(),
            "malformed_authorization",
        ),
        (with("Bearer garbage"), "not_a_token"),
        (with("Bearer a.b.c.d.e"), "encrypted_token"),
        (with("Bearer a.b.c"), "invalid_base64"),
        (with("Bearer @="), "invalid_base64"),
        (with("Bearer @.@"), "not_a_token"),
        (
            [b"Bearer ".to_vec(), vec![b'A'; 1024 * 1024]].concat(),
            "token_too_large",
        ),
    ] {
        let (status, challenge, body) = answer(&auth, &[&value]).await;
        assert_eq!(status, 401, "{code}");
        assert_eq!(
            challenge,
            format!("Bearer error=\"invalid_token\", error_description=\"{code}\"")
        );
        assert_eq!(body, format!("{code}\n"));
    }
    // None of these refusals needed a key.
    assert_eq!(tenant.discovery_endpoint().hits(), 0);
}

#[tokio::test]
async fn two_authorization_headers_are_refused_and_one_in_any_case_is_not() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let token = user(&tenant).mint();
    let good = format!("Bearer {token}").into_bytes();
    for second in [&good[..], b"Basic dXNlcg==", b""] {
        let (status, _, body) = answer(&auth, &[&good, second]).await;
        assert_eq!((status.as_u16(), &*body), (401, "several_authorizations\n"));
    }
    for scheme in ["bearer", "BEARER", "bEaReR"] {
        let value = format!("{scheme} {token}").into_bytes();
        assert_eq!(answer(&auth, &[&value]).await.0, 200);
    }
}

#[tokio::test]
async fn no_credentials_and_other_schemes_get_the_bare_challenge() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    for (headers, words) in [
        (&[][..], "no token"),
        (&[&b"Basic dXNlcjpwYXNz"[..]], "no bearer token"),
        (&[b"DPoP a.b.c"], "no bearer token"),
        (&[b""], "no bearer token"),
    ] {
        let (status, challenge, body) = answer(&auth, headers).await;
        assert_eq!((status.as_u16(), &*challenge), (401, "Bearer"));
        assert_eq!(
            body,
            format!("{words}; send one header Authorization: Bearer <access token>\n")
        );
    }
}

#[tokio::test]
async fn hostile_json_is_refused_with_its_own_code() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let header = format!(
        r#"{{"alg":"RS256","kid":"{}"}}"#,
        tenant.signing_keys().current_id()
    );
    let issuer = format!(
        r#""tid":"{0}","iss":"https://login.microsoftonline.com/{0}/v2.0""#,
        tenant.id()
    );
    let deep = format!(r#""x":{}{}"#, "[".repeat(5_000), "]".repeat(5_000));
    for (header, payload, code) in [
        (&*header, "[]".to_owned(), "invalid_json"),
        (&*header, "\"text\"".to_owned(), "invalid_json"),
        (&*header, "null".to_owned(), "invalid_json"),
        (&*header, "{} {}".to_owned(), "invalid_json"),
        ("[]", "{}".to_owned(), "invalid_json"),
        (
            &*header,
            r#"{"aud":"a","aud":"b"}"#.to_owned(),
            "duplicate_member",
        ),
        (
            &*header,
            format!(r#"{{{issuer},"exp":"4102444800"}}"#),
            "wrong_type",
        ),
        (
            &*header,
            format!(r#"{{{issuer},"exp":4102444800,"nbf":"0"}}"#),
            "wrong_type",
        ),
        (&*header, format!("{{{issuer}}}"), "missing_claim"),
        (&*header, format!("{{{issuer},{deep}}}"), "missing_claim"),
        (r#"{"alg":"RS256"}"#, "{}".to_owned(), "missing_kid"),
        (
            r#"{"alg":"RS256","kid":"k","crit":["exp"]}"#,
            "{}".to_owned(),
            "unsupported_header",
        ),
    ] {
        // With a known key, the Layer would check the signature first.
        let header = header.replace(&tenant.signing_keys().current_id(), "unknown");
        let value = format!("Bearer {}", tenant.sign(&header, &payload)).into_bytes();
        let (status, _, body) = answer(&auth, &[&value]).await;
        assert_eq!(
            (status.as_u16(), body.trim()),
            (401, code),
            "{header} {payload}"
        );
    }
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let not_utf_8 = format!(
        "Bearer {}.{}.AAAA",
        encode(header.as_bytes()),
        encode(b"{\"a\":\"\xff\"}")
    );
    assert_eq!(
        answer(&auth, &[not_utf_8.as_bytes()]).await.2,
        "invalid_json\n"
    );
    assert_eq!(
        tenant.discovery_endpoint().hits(),
        0,
        "none of it was worth a key"
    );
}

#[tokio::test]
async fn the_reason_of_a_token_without_a_known_key_is_its_own_and_fetches_nothing() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    auth.ready().await.unwrap();
    let hits = tenant.key_endpoint().hits();
    for (token, code) in [
        (user(&tenant).expired(), "expired"),
        (
            user(&tenant).for_api("00000000-0000-4000-8000-000000000000"),
            "wrong_audience",
        ),
        (user(&tenant).v1(), "v1_token"),
        (user(&tenant).header("alg", "HS256"), "wrong_algorithm"),
    ] {
        let value = format!("Bearer {}", token.header("kid", "unknown").mint()).into_bytes();
        assert_eq!(answer(&auth, &[&value]).await.2, format!("{code}\n"));
    }
    assert_eq!(tenant.key_endpoint().hits(), hits);
}

#[tokio::test]
async fn the_detail_is_a_setting() {
    let tenant = tenant().await;
    let token = format!("Bearer {}", user(&tenant).expired().mint()).into_bytes();
    let with = |detail| settings(&tenant).refusal_detail(detail).build().unwrap();

    let (_, challenge, body) = answer(&with(RefusalDetail::None), &[&token]).await;
    assert_eq!(
        (&*challenge, &*body),
        ("Bearer error=\"invalid_token\"", "")
    );

    let (_, challenge, body) = answer(&with(RefusalDetail::Full), &[&token]).await;
    assert!(body.starts_with("expired: get a new token"), "{body}");
    assert!(challenge.contains("error_description=\"expired: get a new token"));

    let (_, _, body) = answer(&with(RefusalDetail::Full), &[]).await;
    assert!(body.contains("Authorization: Bearer"));
}

/// Returns the setting names of a service that has its own.
fn in_a_file(setting: Setting) -> &'static str {
    match setting {
        Setting::AcceptV1Tokens => "v1 in service.toml",
        Setting::Tenant => "tenant in service.toml",
        Setting::MetadataEndpoint => "metadata in service.toml",
        Setting::RolelessClients => "exempt in service.toml",
        other => other.name(),
    }
}

#[tokio::test]
async fn remedies_call_the_settings_as_the_service_does() {
    let tenant = tenant().await;
    let value = |token: String| format!("Bearer {token}").into_bytes();
    let with = |builder: EntraAuthBuilder| {
        let builder = builder.refusal_detail(RefusalDetail::Full);
        builder.build().unwrap()
    };
    let ours = with(settings(&tenant));
    let theirs = with(settings(&tenant).setting_names(in_a_file));
    for (token, name, name_in_file) in [
        (
            user(&tenant).v1().mint(),
            "accept_v1_tokens()",
            "v1 in service.toml",
        ),
        (
            user(&tenant).of_tenant(OTHER_TENANT).mint(),
            "tenant (ENTRA_TENANT_ID)",
            "tenant in service.toml",
        ),
        (
            tenant.app(CLIENT).for_api(API).mint(),
            "allow_roleless_clients(..)",
            "exempt in service.toml",
        ),
    ] {
        for (auth, name) in [(&ours, name), (&theirs, name_in_file)] {
            let (_, _, body) = answer(auth, &[&value(token.clone())]).await;
            assert!(body.contains(name), "{name}: {body}");
            let report = auth.explain(&token, None);
            let remedies: Vec<&str> = report
                .findings()
                .iter()
                .filter_map(Finding::remedy)
                .collect();
            assert!(
                remedies.iter().any(|remedy| remedy.contains(name)),
                "{remedies:?}"
            );
        }
    }
    let failure = settings(&tenant).tenant(OTHER_TENANT).build().unwrap();
    let failure = failure.ready().await.unwrap_err();
    let remedy = failure.remedy_with(in_a_file);
    assert!(remedy.contains("tenant in service.toml"), "{remedy}");
    assert!(!remedy.contains("ENTRA_TENANT_ID"), "{remedy}");
}

#[tokio::test]
async fn the_longest_token_is_a_setting() {
    let tenant = tenant().await;
    let groups: Vec<String> = (0..200)
        .map(|n| format!("00000000-0000-4000-8000-{n:012}"))
        .collect();
    let large = format!("Bearer {}", user(&tenant).claim("groups", groups).mint()).into_bytes();
    assert!(large.len() > 11_000);
    assert_eq!(answer(&auth(&tenant), &[&large]).await.0, 200);
    let small = settings(&tenant)
        .max_token_length(8 * 1024)
        .build()
        .unwrap();
    assert_eq!(answer(&small, &[&large]).await.2, "token_too_large\n");
}

#[tokio::test]
async fn head_requests_and_empty_bodies_behave() {
    let tenant = tenant().await;
    let server = serve(app(&auth(&tenant))).await;
    let request = client().head(format!("{}/me", server.url));
    let response = request.bearer_auth("garbage").send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert!(
        header(&response, "www-authenticate")
            .unwrap()
            .contains("not_a_token")
    );
    assert_eq!(response.text().await.unwrap(), "");
}

#[tokio::test]
async fn a_custom_app_id_uri_is_accepted_where_it_is_configured() {
    let tenant = tenant().await;
    let token = || {
        user(&tenant)
            .v1()
            .audience("https://api.contoso.com/")
            .mint()
    };
    let value = format!("Bearer {}", token()).into_bytes();
    let configured = settings(&tenant)
        .accept_v1_tokens()
        .audience("https://api.contoso.com")
        .build()
        .unwrap();
    assert_eq!(answer(&configured, &[&value]).await.0, 200);
    let default = settings(&tenant).accept_v1_tokens().build().unwrap();
    assert_eq!(answer(&default, &[&value]).await.2, "wrong_audience\n");
    let default_uri = format!("Bearer {}", user(&tenant).v1().for_api(API).mint()).into_bytes();
    assert_eq!(answer(&default, &[&default_uri]).await.0, 200);
}

/// Sends a request on the connection, and returns the part of the response that arrives first.
async fn exchange(stream: &mut Box<dyn Stream>, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8(answer[..length].to_vec()).unwrap()
}

/// Checks that a client learns when the connection ends because its body was not read.
///
/// Many clients send the head and the body of a request separately, and the response may come
/// between them. The server then closes the connection, because it cannot read on. A client that
/// does not learn of this loses its next request.
#[tokio::test]
async fn a_client_whose_body_was_not_read_is_told_that_the_connection_ends() {
    let tenant = tenant().await;
    let server = serve(app(&auth(&tenant))).await;
    for body in ["content-length: 2", "transfer-encoding: chunked"] {
        let mut stream = server.connect().await;
        let request = format!("POST /me HTTP/1.1\r\nhost: api\r\n{body}\r\n\r\n");
        let answer = exchange(&mut stream, &request).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
    // Without a body, the connection stays open.
    let mut stream = server.connect().await;
    for request in [
        "GET /me HTTP/1.1\r\nhost: api\r\n\r\n",
        "POST /me HTTP/1.1\r\nhost: api\r\ncontent-length: 0\r\n\r\n",
        "GET /me HTTP/1.1\r\nhost: api\r\n\r\n",
    ] {
        let answer = exchange(&mut stream, request).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(!answer.contains("connection:"), "{answer}");
    }
}
