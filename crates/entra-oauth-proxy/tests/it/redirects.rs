//! Forms and texts that another site has a browser send.

use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{REDIRECT, Stage, encoded, request};

const PHISH: &str = "https://phish.example/login";

/// A form of another site's needs nobody's leave to be sent, as long as it is none of JSON.
#[tokio::test(start_paused = true)]
async fn a_form_of_another_site_does_nothing() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let metadata = json!({ "redirect_uris": [PHISH], "x": "=" }).to_string();
    let token = tokens["refresh_token"].as_str().unwrap();
    let revocation = encoded(&[("token", token), ("client_id", &*client.id)]);
    let refresh = format!("{revocation}&grant_type=refresh_token&refresh_token={token}");
    let form = "application/x-www-form-urlencoded";
    for media_type in [
        "text/plain",
        "text/plain;charset=UTF-8",
        "text/plain; x=application/json",
        "multipart/form-data; boundary=x",
        "",
        "application/octet-stream",
        "text/html",
        form,
    ] {
        let headers = [
            ("content-type", media_type),
            ("origin", "https://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ];
        let send = async |path: &str, body: &str| {
            let body = body.to_owned().into();
            stage
                .send(request(Method::POST, path, &headers, body))
                .await
        };
        let reply = send("/register", &metadata).await;
        let refused = (415, "invalid_client_metadata".to_owned());
        assert_eq!(reply.error(), refused, "{media_type}");
        if media_type != form {
            let refused = (400, "invalid_request".to_owned());
            for (path, body) in [
                ("/revoke", &revocation),
                ("/token", &refresh),
                ("/consent", &revocation),
            ] {
                assert_eq!(
                    send(path, body).await.error(),
                    refused,
                    "{path} {media_type}"
                );
            }
        }
    }
    // Two media types are none, and a form without one is none.
    for headers in [
        &[
            ("content-type", "application/json"),
            ("content-type", "text/plain"),
        ][..],
        &[
            ("content-type", "application/json"),
            ("content-type", "application/json"),
        ],
    ] {
        let body = metadata.clone().into();
        let reply = stage
            .send(request(Method::POST, "/register", headers, body))
            .await;
        assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    for path in ["/token", "/revoke", "/consent"] {
        for headers in [&[][..], &[("content-type", form), ("content-type", form)]] {
            let body = revocation.clone().into();
            let reply = stage.send(request(Method::POST, path, headers, body)).await;
            assert_eq!(reply.error(), (400, "invalid_request".to_owned()), "{path}");
        }
    }
    // Nothing of it ended the sign-in, or took its token.
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.text());
    for headers in [
        &[][..],
        &[("content-type", "application/json")],
        &[("content-type", "application/json; charset=utf-8")],
        &[("content-type", "application/vnd.client+json")],
    ] {
        let body = json!({ "redirect_uris": [REDIRECT] }).to_string().into();
        let reply = stage
            .send(request(Method::POST, "/register", headers, body))
            .await;
        assert_eq!(reply.status, StatusCode::CREATED, "{headers:?}");
    }
    let charset = [(
        "content-type",
        "application/x-www-form-urlencoded; charset=utf-8",
    )];
    let body = revocation.clone().into();
    let reply = stage
        .send(request(Method::POST, "/revoke", &charset, body))
        .await;
    assert_eq!(reply.status, StatusCode::OK);
}
