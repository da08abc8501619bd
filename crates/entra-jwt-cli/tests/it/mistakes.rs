//! Tests of the most common mistakes, and of the report for each, which must show at a glance what
//! to change.
//!
//! The verdict and the one fix come first. After a change of the texts, run
//! `INSTA_UPDATE=always cargo test -p entra-jwt-cli`, and read the diff.

use std::time::Duration;

use entra_dev_tenant::{DevTenant, Flaw};
use insta::assert_snapshot;

use crate::support::{API, CLIENT, Desk, Ran, assert_fits};

const HOUR: Duration = Duration::from_secs(3_600);

/// Checks that the token is refused, and that the report is that of the reviewed snapshot.
fn assert_explained(name: &str, desk: &Desk, ran: &Ran) {
    assert_eq!((ran.status, &*ran.err), (1, ""), "{name}");
    // Remedies name this program's options, not the settings of a service.
    for name_elsewhere in ["ENTRA_", "(..)", "()", "::"] {
        assert!(
            !ran.out.contains(name_elsewhere),
            "{name}: {name_elsewhere}"
        );
    }
    // The verdict comes first, then the fix of this failure, and no other fix.
    let mut lines = ran.out.lines();
    assert!(lines.next().unwrap().starts_with("refused: "), "{name}");
    assert!(lines.next().unwrap().starts_with("  fix  "), "{name}");
    assert!(!lines.any(|line| line.contains(" fix  ")), "{name}");
    assert_fits(&ran.out);
    assert_snapshot!(name, desk.stable(&ran.out));
}

#[tokio::test(start_paused = true)]
async fn the_commonest_mistakes_are_explained_at_a_glance() {
    let desk = Desk::new().await.with_all_keys();
    let other = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
    let tenant = &desk.tenant;
    let overage = || desk.user().groups_overage();
    let group = ["--group", "5d0c5f51-3c1e-4c0a-9d0f-2b8f4f7b1c11"];
    let another_key = desk.user().header("kid", "a-key-that-was-never-seen");
    for (name, ran) in [
        ("v1_token_for_a_v2_api", desk.explain(desk.user().v1(), &[])),
        ("graph_token", desk.explain(tenant.graph_token("ada"), &[])),
        (
            "azure_resource_manager_token",
            desk.explain(desk.user().audience("https://management.azure.com"), &[]),
        ),
        (
            "another_api_of_the_tenant",
            desk.explain(desk.user().audience(other), &[]),
        ),
        (
            "app_id_uri_not_configured",
            desk.explain(
                desk.user().v1().audience("api://orders"),
                &["--accept-v1-tokens"],
            ),
        ),
        (
            "id_token",
            desk.explain(tenant.id_token("ada").for_api(API), &[]),
        ),
        (
            "right_tenant_wrong_cloud",
            desk.explain(desk.user().flaw(Flaw::IssuerOfAnotherCloud), &[]),
        ),
        (
            "tenant_not_allowed",
            desk.explain(desk.user().of_tenant(other), &[]),
        ),
        (
            "personal_account",
            desk.explain(
                tenant.personal("ada").scope("Reports.Read").for_api(API),
                &["--tenant", "organizations"],
            ),
        ),
        (
            "guest",
            desk.explain(desk.user().guest(), &["--refuse-guests"]),
        ),
        (
            "client_not_allowed",
            desk.explain(desk.user(), &["--allowed-client", CLIENT]),
        ),
        (
            "app_token_where_a_user_is_needed",
            desk.explain(
                desk.app().role("Reports.Read.All"),
                &["--scope", "Reports.Read"],
            ),
        ),
        (
            "user_token_where_an_app_is_needed",
            desk.explain(desk.user(), &["--app-permission", "Reports.Read.All"]),
        ),
        (
            "scope_not_granted",
            desk.explain(desk.user(), &["--scope", "Reports.Write"]),
        ),
        (
            "role_never_assigned",
            desk.explain(desk.user(), &["--user-role", "Reports.Admin"]),
        ),
        (
            "app_permission_never_consented",
            desk.explain(
                desk.app().role("Other"),
                &["--app-permission", "Reports.Read.All"],
            ),
        ),
        ("group_overage", desk.explain(overage(), &group)),
        ("groups_not_emitted", desk.explain(desk.user(), &group)),
        ("neither_scope_nor_role", desk.explain(desk.app(), &[])),
        (
            "expired",
            desk.explain(desk.user().issued_ago(HOUR).expires_in(-400), &[]),
        ),
        ("custom_signing_keys", desk.explain(another_key, &[])),
        (
            "header_nonce",
            desk.explain(desk.user().flaw(Flaw::HeaderNonce), &[]),
        ),
        (
            "step_up",
            desk.explain(
                desk.user().capability("cp1"),
                &["--authentication-context", "c1"],
            ),
        ),
        // This is the real case: a token of another cloud is signed with a key of that cloud.
        (
            "right_tenant_wrong_cloud_with_its_own_key",
            desk.explain(
                desk.user()
                    .flaw(Flaw::IssuerOfAnotherCloud)
                    .header("kid", "a-key-of-the-other-cloud"),
                &[],
            ),
        ),
        (
            "token_of_entra_oauth_proxy",
            desk.explain(
                desk.user()
                    .claim("iss", "https://mcp.example.com")
                    .audience("https://mcp.example.com/mcp")
                    .header("alg", "ES256")
                    .header("typ", "at+jwt"),
                &[],
            ),
        ),
        (
            "cut_in_two",
            desk.explain_text("eyJhbGciOi.eyJhdWQiOi", &[]),
        ),
        (
            "changed_on_its_way",
            desk.explain(desk.user().bad_signature(), &[]),
        ),
        (
            "several_at_once",
            desk.explain(
                desk.user()
                    .v1()
                    .expired()
                    .audience("https://graph.microsoft.com"),
                &[],
            ),
        ),
    ] {
        assert_explained(name, &desk, &ran);
    }
}

#[tokio::test(start_paused = true)]
async fn a_workforce_token_at_an_api_of_external_id() {
    let desk = Desk::new().await;
    let ran = desk.explain(desk.user(), &["--external-id", "contoso.ciamlogin.com"]);
    assert_explained("workforce_token_for_external_id", &desk, &ran);
    let desk = Desk::of(DevTenant::builder().external_id().start().await.unwrap());
    let ran = desk.explain(desk.user(), &[]);
    assert_explained("external_id_token_for_workforce", &desk, &ran);
}

#[tokio::test(start_paused = true)]
async fn a_good_token_and_one_that_cannot_be_verified() {
    let desk = Desk::new().await;
    let ran = desk.explain(desk.user(), &["--scope", "Reports.Read"]);
    assert_eq!(ran.status, 0);
    assert_fits(&ran.out);
    assert_snapshot!("accepted", desk.stable(&ran.out));
    let ran = desk.run(&desk.user().mint(), &[]);
    assert_eq!(ran.status, 1);
    assert_fits(&ran.out);
    assert_snapshot!("not_verified", desk.stable(&ran.out));
}

#[tokio::test(start_paused = true)]
async fn the_readme_shows_what_is_said_of_a_v1_token() {
    let desk = Desk::new().await.with_all_keys();
    let said = desk.explain(desk.user().v1(), &[]).out;
    let (verdict, _) = said.split_once("\nthe token says\n").unwrap();
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    assert!(readme.contains(verdict), "README.md shows this:\n{verdict}");
}

#[tokio::test(start_paused = true)]
async fn the_token_of_an_agent_names_what_marks_it() {
    let desk = Desk::new().await;
    let ran = desk.explain(desk.user().agent(), &[]);
    assert_eq!(ran.status, 0);
    assert_fits(&ran.out);
    assert_snapshot!("agent", desk.stable(&ran.out));
    let ran = desk.explain(desk.user(), &[]);
    assert!(!ran.out.contains("marked by"), "{}", ran.out);
}

#[tokio::test(start_paused = true)]
async fn where_agents_are_refused_it_shows_what_makes_entra_tell_of_them() {
    let desk = Desk::new().await;
    let json = "agents are recognized by claims that Entra emits only if the API's manifest has\n  \
        \"optionalClaims\": { \"accessToken\": [\n    { \"name\": \"xms_par_app_azp\" }, { \"name\": \
        \"xms_act_fct\" },\n    { \"name\": \"xms_sub_fct\" }, { \"name\": \"idtyp\" }\n  ] }\n";
    let of_user = desk.explain(desk.user(), &["--refuse-agents"]);
    assert_eq!(of_user.status, 0, "absent is not no");
    assert!(
        of_user.out.ends_with(&format!("\n{json}")),
        "{}",
        of_user.out
    );
    assert_fits(&of_user.out);
    let of_agent = desk.explain(desk.user().agent(), &["--refuse-agents"]);
    assert_eq!(of_agent.status, 1);
    assert!(
        of_agent.out.starts_with(
            "refused: agent_not_allowed (401)\n  fix        call as a user or as an application, \
             without an agent identity; or\n             remove --refuse-agents\n"
        ),
        "{}",
        of_agent.out
    );
    assert!(!of_agent.out.contains("optionalClaims"));
}

#[tokio::test(start_paused = true)]
async fn names_are_printed_only_when_they_are_asked_for() {
    let desk = Desk::new().await;
    let token = desk.user().claim("app_displayname", "Orders").mint();
    for format in [&[][..], &["--json"]] {
        let ran = desk.explain_text(&token, format);
        for name in ["ada", "contoso", "Orders"] {
            assert!(!ran.out.contains(name), "{name} in {}", ran.out);
        }
    }
    let ran = desk.explain_text(&token, &["--show-names"]);
    let names = "  name       ada\n  username   ada@contoso.onmicrosoft.com\n  app name   Orders\n";
    assert!(ran.out.contains(names), "{}", ran.out);
    let ran = desk.explain_text(&token, &["--show-names", "--json"]);
    assert!(
        ran.out
            .contains("\"username\": \"ada@contoso.onmicrosoft.com\""),
        "{}",
        ran.out
    );
}

#[tokio::test(start_paused = true)]
async fn long_values_are_broken_at_eighty_columns_under_where_they_begin() {
    let desk = Desk::new().await;
    let audience = format!("https://{}.example/{}", "a".repeat(90), "b/".repeat(20));
    let ran = desk.explain(desk.user().audience(&audience), &[]);
    assert_fits(&ran.out);
    let broken = format!(
        "  found      https://{}\n             {}.example/{}\n             {}\n",
        "a".repeat(59),
        "a".repeat(31),
        "b/".repeat(13),
        "b/".repeat(7),
    );
    assert!(ran.out.contains(&broken), "{}", ran.out);
}

#[tokio::test(start_paused = true)]
async fn times_are_in_one_unit_with_its_plural() {
    let desk = Desk::new().await;
    let day = 86_400;
    let token = |seconds| {
        let token = desk.user().issued_ago(Duration::from_secs(10 * day));
        token.expires_in(seconds)
    };
    for (seconds, printed) in [
        (7_200, "lifetime   expires in 2 hours\n"),
        (3_600, "lifetime   expires in 1 hour\n"),
        (
            -1,
            "expired 1 second ago, within the clock skew of 300 seconds\n",
        ),
        (-400, "found      expired 400 seconds ago\n"),
        (
            -400,
            "expected   at most 300 seconds ago (the clock skew)\n",
        ),
        (-3 * 86_400, "found      expired 3 days ago\n"),
        (-3 * 86_400, "expected   a token that has not expired\n"),
    ] {
        let ran = desk.explain(token(seconds), &[]);
        assert!(ran.out.contains(printed), "{printed} in {}", ran.out);
    }
}

#[tokio::test(start_paused = true)]
async fn programs_get_json() {
    let desk = Desk::new().await;
    let ran = desk.explain(desk.user().v1(), &["--json"]);
    assert_eq!(ran.status, 1);
    assert_snapshot!("json", desk.stable(&ran.out));
}
