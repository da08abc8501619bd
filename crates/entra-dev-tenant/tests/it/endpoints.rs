//! Tests of the token endpoint, of settings, and of outages.

use entra_dev_tenant::DevTenant;
use serde_json::{Value, json};

use crate::support::{API, CLIENT, client, decoded, fetch};

#[tokio::test]
async fn client_credentials_are_granted_or_refused_as_entra_does() {
    let tenant = DevTenant::builder()
        .client(CLIENT, "s3cret", ["Reports.Read.All"])
        .start()
        .await
        .unwrap();
    let scope = format!("api://{API}/.default");
    let good = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", "s3cret"),
        ("scope", &scope),
    ];
    let url = |authority: &str| format!("{}/{authority}/oauth2/v2.0/token", tenant.url());
    let ask = async |authority: &str, form: &[(&str, &str)]| {
        let request = client().post(url(authority)).form(form);
        let response = request.send().await.unwrap();
        (
            response.status().as_u16(),
            response.json::<Value>().await.unwrap(),
        )
    };

    let (status, answer) = ask(tenant.id(), &good).await;
    assert_eq!((status, &answer["token_type"]), (200, &json!("Bearer")));
    let claims = decoded(answer["access_token"].as_str().unwrap(), 1);
    assert_eq!(claims["roles"], json!(["Reports.Read.All"]));
    assert_eq!(
        (&claims["aud"], &claims["azp"]),
        (&json!(API), &json!(CLIENT))
    );

    for (parameter, value, status, error, code) in [
        ("grant_type", "", 400, "invalid_request", 900_144),
        (
            "grant_type",
            "no_such_grant",
            400,
            "unsupported_grant_type",
            70_003,
        ),
        (
            "client_id",
            "not-a-guid",
            400,
            "unauthorized_client",
            700_038,
        ),
        ("client_id", API, 400, "unauthorized_client", 700_016),
        ("client_secret", "wrong", 401, "invalid_client", 7_000_215),
        ("scope", "api://x/read", 400, "invalid_scope", 1_002_012),
        (
            "scope",
            "api://x/.default",
            400,
            "invalid_resource",
            500_011,
        ),
    ] {
        let form = good.map(|(name, old)| (name, if name == parameter { value } else { old }));
        let (found, answer) = ask(tenant.id(), &form).await;
        assert_eq!(
            (found, &answer["error"], &answer["error_codes"]),
            (status, &json!(error), &json!([code])),
            "{parameter}={value}"
        );
    }
    let (_, answer) = ask("common", &good).await;
    assert_eq!(answer["error_codes"], json!([9_001_023]));
    assert_eq!(tenant.token_endpoint().hits(), 9);
}

#[tokio::test]
async fn a_claims_request_is_granted_as_if_its_sign_in_had_succeeded() {
    let tenant = DevTenant::builder()
        .client(CLIENT, "s3cret", ["Reports.Read.All"])
        .start()
        .await
        .unwrap();
    let url = format!("{}/{}/oauth2/v2.0/token", tenant.url(), tenant.id());
    let ask = async |claims: &str| {
        let scope = format!("api://{API}/.default");
        let request = client().post(&url).form(&[
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT),
            ("client_secret", "s3cret"),
            ("scope", &scope),
            ("claims", claims),
        ]);
        let response = request.send().await.unwrap();
        response.json::<Value>().await.unwrap()
    };
    for (claims, capabilities, contexts) in [
        (json!({}), json!(null), json!(null)),
        (json!({ "access_token": null }), json!(null), json!(null)),
        (
            json!({ "access_token": { "acrs": { "essential": true, "value": "c1" } } }),
            json!(null),
            json!(["c1"]),
        ),
        (
            json!({ "access_token": {
                "xms_cc": { "values": ["cp1"] },
                "acrs": { "values": ["c1", "c2"] },
            } }),
            json!(["cp1"]),
            json!(["c1", "c2"]),
        ),
    ] {
        let answer = ask(&claims.to_string()).await;
        let token = decoded(answer["access_token"].as_str().unwrap(), 1);
        assert_eq!(
            (&token["xms_cc"], &token["acrs"]),
            (&capabilities, &contexts)
        );
    }
    assert_eq!(ask("{").await["error"], "invalid_request");
}

#[tokio::test]
async fn an_endpoint_can_fail_and_recover_and_the_tenant_can_be_down() {
    let tenant = DevTenant::start().await.unwrap();
    let url = format!("{}/common/discovery/v2.0/keys", tenant.url());

    tenant.key_endpoint().fail_with(503).for_next(1);
    assert_eq!(fetch(&url).await.unwrap().status(), 503);
    assert_eq!(fetch(&url).await.unwrap().status(), 200);

    tenant.start_outage();
    assert!(fetch(&url).await.is_err());
    tenant.end_outage();
    assert_eq!(fetch(&url).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_dropped_tenant_stops_serving() {
    let tenant = DevTenant::start().await.unwrap();
    let url = format!("{}/common/discovery/v2.0/keys", tenant.url());
    drop(tenant);
    tokio::task::yield_now().await;
    assert!(fetch(&url).await.is_err());
}

#[tokio::test]
async fn a_setting_that_is_no_guid_is_refused_with_an_example() {
    for builder in [
        DevTenant::builder().id("contoso"),
        DevTenant::builder().client("my-app", "secret", []),
        DevTenant::builder().custom_signing_key("my-app"),
    ] {
        let error = builder.start().await.unwrap_err().to_string();
        assert!(error.contains("is not a GUID such as"), "{error}");
    }
    let anywhere = DevTenant::builder().listen(([0, 0, 0, 0], 0).into());
    assert!(
        anywhere
            .start()
            .await
            .unwrap()
            .url()
            .starts_with("http://127.0.0.1:")
    );
}
