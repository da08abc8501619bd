//! Tests of the length of every secret and every id.

use std::collections::HashSet;

use http::StatusCode;
use serde_json::json;
use url::Url;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::support::{Browser, REDIRECT, Stage, claims, parameter};

/// Returns the number of bytes that a base64url text encodes.
fn bytes(text: &str) -> usize {
    let decoded = URL_SAFE_NO_PAD.decode(text);
    decoded.unwrap_or_else(|_| panic!("{text}")).len()
}

#[tokio::test(start_paused = true)]
async fn every_secret_and_every_id_has_its_length_and_is_another_each_time() {
    let stage = Stage::new().await;
    let mut seen = HashSet::new();
    let mut check = |what: &str, text: &str, expected: usize| {
        assert_eq!(bytes(text), expected, "{what}: {text}");
        assert!(seen.insert(text.to_owned()), "{what}: {text}");
    };
    for _ in 0..3 {
        let metadata = json!({
            "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_post",
        });
        let client = stage.client_with(metadata).await;
        let secret = client.secret.clone().unwrap();
        check("a client's secret", &secret, 32);

        let mut browser = Browser::new(&stage);
        let page = browser.get(&client.authorize(&[])).await;
        let (_, cookie) = &browser.cookies[0];
        let (_, value) = cookie.split_once('.').unwrap();
        check("the value of the consent's cookie", value, 18);
        let at_entra = browser.answer(&page, "approve").await.onward();
        let url: Url = at_entra.parse().unwrap();
        let state = parameter(&url, "state").unwrap();
        check("the whole sign-in, encrypted", &state, bytes(&state));
        assert!(bytes(&state) > 500, "{state}");
        check("the nonce", &parameter(&url, "nonce").unwrap(), 24);
        let correlation = parameter(&url, "client-request-id").unwrap();
        assert_eq!(correlation.len(), 36);
        assert_eq!(
            correlation.as_bytes()[14],
            b'4',
            "a random one: {correlation}"
        );
        check("the correlation id", &correlation.replace('-', ""), 24);

        let callback = stage.tenant.people().sign_in("ada", &at_entra);
        let told: Url = browser
            .come_back(&callback)
            .await
            .location()
            .parse()
            .unwrap();
        let asked = stage.tenant.token_endpoint().requests().pop().unwrap();
        check(
            "our verifier",
            asked.parameter("code_verifier").unwrap(),
            48,
        );
        let code = parameter(&told, "code").unwrap();
        check("a code", &code, 32);

        let mut form = client.redemption(&code);
        form.push(("client_secret", &secret));
        let tokens = stage.token(&form).await;
        assert_eq!(tokens.status, StatusCode::OK, "{}", tokens.text());
        let tokens = tokens.json();
        let access_token = claims(&tokens["access_token"]);
        let grant = access_token["gid"].as_str().unwrap();
        check("a grant's id", grant, 18);
        check("a token's id", access_token["jti"].as_str().unwrap(), 18);
        // The version, the generation, the grant's id, and the tag.
        let refresh_token = tokens["refresh_token"].as_str().unwrap();
        check("a refresh token", refresh_token, 1 + 4 + grant.len() + 32);
        let decoded = URL_SAFE_NO_PAD.decode(refresh_token).unwrap();
        assert_eq!(&decoded[5..29], grant.as_bytes());

        let page = stage.get("/authorize?client_id=x").await;
        let (_, rest) = page.text().split_once("<code>").unwrap();
        let (reference, _) = rest.split_once("</code>").unwrap();
        check("the reference of a page", reference, 6);
        let at_entra = browser.goes_to_entra(&client, &[]).await;
        let state = parameter(&at_entra.parse().unwrap(), "state").unwrap();
        let path = format!("/callback?error=invalid_scope&state={state}");
        let told: Url = browser.get(&path).await.location().parse().unwrap();
        let description = parameter(&told, "error_description").unwrap();
        let (_, reference) = description.split_once("reference ").unwrap();
        check("the reference of an error", reference, 6);
    }
}
