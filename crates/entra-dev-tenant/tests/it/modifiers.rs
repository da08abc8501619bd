//! Tests of modifiers: each writes what Entra writes, and nothing else.

use entra_dev_tenant::{DevCloud, DevTenant, TokenBuilder};
use serde_json::{Value, json};

use crate::support::{API, CLIENT, decoded, differences};

fn user(tenant: &DevTenant) -> TokenBuilder<'_> {
    tenant.user("ada").scope("Read").role("Reader").for_api(API)
}

fn app(tenant: &DevTenant) -> TokenBuilder<'_> {
    tenant.app(CLIENT).role("Reader").for_api(API)
}

fn claims(token: TokenBuilder<'_>) -> Value {
    decoded(&token.mint(), 1)
}

fn written(plain: TokenBuilder<'_>, token: TokenBuilder<'_>) -> Value {
    differences(&claims(plain), &claims(token))
}

#[tokio::test(start_paused = true)]
async fn groups_are_listed_or_elsewhere() {
    let tenant = DevTenant::start().await.unwrap();
    assert_eq!(
        written(user(&tenant), user(&tenant).group("g1").group("g2")),
        json!({ "groups": ["g1", "g2"] })
    );
    let oid = &claims(user(&tenant))["oid"];
    let endpoint = format!(
        "https://graph.windows.net/{}/users/{}/getMemberObjects",
        tenant.id(),
        oid.as_str().unwrap()
    );
    let overage = json!({
        "_claim_names": { "groups": "src1" },
        "_claim_sources": { "src1": { "endpoint": endpoint } },
    });
    for token in [
        user(&tenant).groups_overage(),
        user(&tenant).group("g1").groups_overage(),
        user(&tenant).groups_overage().group("g1"),
    ] {
        assert_eq!(written(user(&tenant), token), overage);
    }
    assert_eq!(
        written(user(&tenant), user(&tenant).group("g1").implicit_overage()),
        json!({ "hasgroups": true })
    );
}

#[tokio::test(start_paused = true)]
async fn a_guest_comes_from_another_tenant_of_the_cloud() {
    for (cloud, start) in [
        (DevCloud::Public, "https://sts.windows.net/"),
        (DevCloud::China, "https://sts.chinacloudapi.cn/"),
    ] {
        let tenant = DevTenant::builder().cloud(cloud).start().await.unwrap();
        let written = written(user(&tenant), user(&tenant).guest());
        assert_eq!(written.as_object().unwrap().len(), 1);
        let home = written["idp"].as_str().unwrap();
        assert!(home.starts_with(start) && home.ends_with('/'), "{home}");
        assert!(!home.contains(tenant.id()));
    }
}

#[tokio::test(start_paused = true)]
async fn idtyp_names_the_kind() {
    let tenant = DevTenant::start().await.unwrap();
    assert_eq!(
        written(user(&tenant), user(&tenant).with_idtyp()),
        json!({ "idtyp": "user" })
    );
    assert_eq!(
        written(app(&tenant), app(&tenant).with_idtyp()),
        json!({ "idtyp": "app" })
    );
}

#[tokio::test(start_paused = true)]
async fn an_application_without_a_service_principal_has_neither_id_nor_permission() {
    let tenant = DevTenant::start().await.unwrap();
    let token = app(&tenant).without_service_principal().role("Writer");
    assert_eq!(
        written(app(&tenant), token.scope("Read")),
        json!({ "oid": null, "roles": null })
    );
}

#[tokio::test(start_paused = true)]
async fn agents_are_marked_by_facets() {
    let tenant = DevTenant::start().await.unwrap();
    let blueprint = |claims: &Value| claims["xms_par_app_azp"].clone();

    let autonomous = written(app(&tenant), app(&tenant).agent());
    assert_eq!(
        autonomous,
        json!({
            "idtyp": "app",
            "scp": "/",
            "xms_act_fct": "3 9 11",
            "xms_idrel": "7 10",
            "xms_par_app_azp": blueprint(&autonomous),
            "xms_sub_fct": "9 3 11",
        })
    );
    assert_eq!(blueprint(&autonomous).as_str().unwrap().len(), 36);

    let for_a_user = written(user(&tenant), user(&tenant).agent());
    assert_eq!(
        for_a_user,
        json!({
            "idtyp": "user",
            "xms_act_fct": "3 9 11",
            "xms_idrel": "1 10",
            "xms_par_app_azp": blueprint(&for_a_user),
            "xms_sub_fct": "3",
        })
    );

    let own_account = written(user(&tenant), user(&tenant).agent_user());
    assert_eq!(
        own_account,
        json!({
            "idtyp": "user",
            "xms_act_fct": "3 9 11",
            "xms_par_app_azp": blueprint(&own_account),
            "xms_sub_fct": "3 13",
        })
    );
}

#[tokio::test(start_paused = true)]
async fn lists_grow_by_what_is_added() {
    let tenant = DevTenant::start().await.unwrap();
    let token = user(&tenant)
        .capability("cp1")
        .authentication_context("c1")
        .authentication_context("c99")
        .directory_role("62e90394-69f5-4237-9190-012177145e10");
    assert_eq!(
        written(user(&tenant), token),
        json!({
            "acrs": ["c1", "c99"],
            "wids": ["62e90394-69f5-4237-9190-012177145e10"],
            "xms_cc": ["cp1"],
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_bound_token_names_a_certificate() {
    let tenant = DevTenant::start().await.unwrap();
    let written = written(user(&tenant), user(&tenant).proof_of_possession());
    let thumbprint = written["cnf"]["x5t#S256"].as_str().unwrap();
    assert_eq!(thumbprint.len(), 43);
    assert_eq!(written, json!({ "cnf": { "x5t#S256": thumbprint } }));
}

#[tokio::test(start_paused = true)]
async fn a_claim_overrides_every_modifier() {
    let tenant = DevTenant::start().await.unwrap();
    let token = user(&tenant)
        .claim("groups", json!(["g9"]))
        .without_claim("idtyp")
        .group("g1")
        .agent();
    let claims = claims(token);
    assert_eq!(claims["groups"], json!(["g9"]));
    assert_eq!(claims["idtyp"], Value::Null);
}
