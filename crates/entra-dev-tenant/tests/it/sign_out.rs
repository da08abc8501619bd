//! Tests of the end-session endpoint.

use entra_dev_tenant::DevTenant;

use crate::browser::{REDIRECT, authorize_url, open, parameters, submit, tenant};
use crate::support::get;

fn logout_url(tenant: &DevTenant, back: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(back.map(|back| ("post_logout_redirect_uri", back)));
    let (url, id) = (tenant.url(), tenant.id());
    format!("{url}/{id}/oauth2/v2.0/logout?{}", query.finish())
}

#[tokio::test]
async fn discovery_names_the_endpoint() {
    let tenant = tenant().await;
    let url = logout_url(&tenant, None);
    let path = "v2.0/.well-known/openid-configuration";
    let (_, document) = get(&format!("{}/{}/{path}", tenant.url(), tenant.id())).await;
    let endpoint = document["end_session_endpoint"].as_str().unwrap();
    assert_eq!(url.strip_suffix('?'), Some(endpoint));
}

#[tokio::test]
async fn a_browser_is_sent_back_to_a_registered_redirect_uri_and_nowhere_else() {
    let tenant = tenant().await;
    let answer = open(&logout_url(&tenant, Some(REDIRECT))).await;
    assert_eq!((answer.status, &*answer.location()), (302, REDIRECT));
    let form = [("post_logout_redirect_uri", REDIRECT)];
    let answer = submit(&logout_url(&tenant, None), &form).await;
    assert_eq!((answer.status, &*answer.location()), (302, REDIRECT));

    for back in [
        None,
        Some("https://evil.example/"),
        Some("https://app.example/callback"),
    ] {
        let answer = open(&logout_url(&tenant, back)).await;
        assert_eq!(answer.status, 200, "{back:?}");
        assert_eq!(answer.header("location"), None, "{back:?}");
        assert!(answer.body.contains("You signed out"), "{}", answer.body);
        assert!(!answer.body.contains("evil.example"), "{}", answer.body);
    }
}

#[tokio::test]
async fn who_is_signed_out_is_not_signed_in_silently() {
    let tenant = tenant().await;
    let request = authorize_url(&tenant, &[("prompt", Some("none"))]);
    submit(&authorize_url(&tenant, &[]), &[("user", "ada")]).await;
    tenant.people().start_session("ada");
    assert!(parameters(&open(&request).await.location()).contains_key("code"));
    open(&logout_url(&tenant, None)).await;
    let refused = parameters(&open(&request).await.location());
    assert_eq!(refused["error"], "login_required");
}

#[tokio::test]
async fn nobody_is_signed_out_of_another_tenant() {
    let tenant = tenant().await;
    tenant.people().start_session("ada");
    let other = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    let answer = open(&logout_url(&tenant, Some(REDIRECT)).replace(tenant.id(), other)).await;
    assert_eq!((answer.status, answer.shown_code()), (400, 90_002));
}
