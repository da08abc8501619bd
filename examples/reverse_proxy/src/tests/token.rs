//! Tests of the token, and of headers of its size.

use super::support::{BOTH, Http, Proxy, Recorded, header, text};
use crate::answer::text_body;

#[tokio::test]
async fn the_token_does_not_arrive() {
    let (mut recorded, address) = Recorded::start().await;
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(address)).await;
        let token = proxy.user().mint();
        for http in BOTH {
            assert_eq!(proxy.ask(http, proxy.get_with("/", &token)).await.0, 200);
            let headers = recorded.headers();
            assert_eq!(header(&headers, "authorization"), None);
            assert!(!format!("{headers:?}").contains(&token));
        }
    }
}

#[tokio::test]
async fn a_refusal_reaches_the_client_unchanged_and_never_the_upstream() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    let expired = proxy.user().expired().mint();
    for http in BOTH {
        let anonymous = proxy.anonymous("/").body(text_body("")).unwrap();
        let response = proxy.send(http, anonymous).await;
        assert_eq!(response.status(), 401);
        assert_eq!(
            header(response.headers(), "www-authenticate"),
            Some("Bearer")
        );

        let refused = proxy.get_with("/", &expired).body(text_body("")).unwrap();
        let response = proxy.send(http, refused).await;
        assert_eq!(response.status(), 401);
        let challenge = header(response.headers(), "www-authenticate").unwrap();
        assert!(
            challenge.contains(r#"error="invalid_token""#),
            "{challenge}"
        );
        assert_eq!(text(response).await, "expired\n");
        recorded.assert_none();
    }
}

#[tokio::test]
async fn a_token_of_16_kb_passes() {
    let (mut recorded, address) = Recorded::start().await;
    for to in BOTH {
        let proxy = Proxy::before(&to.upstream(address)).await;
        let of_length = |padding: usize| proxy.user().claim("x", "x".repeat(padding)).mint();
        let spare = 16_384 - of_length(0).len();
        let token = of_length(spare * 3 / 4 - 2);
        assert!((16_370..=16_384).contains(&token.len()), "{}", token.len());
        for http in BOTH {
            assert_eq!(proxy.ask(http, proxy.get_with("/", &token)).await.0, 200);
            assert!(header(&recorded.headers(), "x-auth-oid").is_some());
            // The Layer refuses longer tokens; the protocol does not cut them off.
            let long = of_length(spare + 100);
            let (status, code) = proxy.ask(http, proxy.get_with("/", &long)).await;
            assert_eq!((status, &*code), (401, "token_too_large\n"), "{http:?}");
            recorded.assert_none();
        }
    }
}

#[tokio::test]
async fn too_many_headers_are_431() {
    let (mut recorded, address) = Recorded::start().await;
    let proxy = Proxy::before(&Http::One.upstream(address)).await;
    for http in BOTH {
        let request = proxy.get("/").header("x", "x".repeat(70_000));
        let (status, _) = proxy.ask(http, request).await;
        assert_eq!(status, 431, "{http:?}");
        recorded.assert_none();
        // The proxy accepts 48 KB in addition to the token.
        let request = proxy.get("/").header("x", "x".repeat(48_000));
        assert_eq!(proxy.ask(http, request).await.0, 200, "{http:?}");
        recorded.one();
    }
}
