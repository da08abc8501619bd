//! Tests of users with many claims: the Layer can read the proxy's token, or the proxy issues none.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};
use tokio::runtime::Builder;
use tower_entra_auth::token::Groups;
use url::Url;

use crate::logbook::Logbook;
use crate::support::{APP, Browser, Client, HOUR, Reply, Stage, claims, parameter, resource_at};

/// Maximum length of a token that the Layer reads, in bytes.
const MOST: usize = 16 * 1024;

/// Returns scopes of 700 bytes in total. Longer ones do not fit into a cookie.
fn long_scopes() -> Vec<String> {
    let scopes = (0..7).map(|n| format!("Of.Department.{n:03}.{}", "a".repeat(82)));
    scopes.collect()
}

/// Starts a proxy with long scopes and a long resource.
async fn stage() -> Stage {
    let resource = format!("https://mcp.example.com/{}", "a".repeat(480));
    Stage::with_resource(|_| resource_at(&resource).optional_scopes(long_scopes())).await
}

/// Registers a client whose id has nearly the maximum length.
async fn client_of_a_long_id(stage: &Stage) -> Client {
    let long = format!("https://client.example/{}", "a".repeat(480));
    let uris = json!([long, format!("{long}?"), &long[..400]]);
    let client = stage.client_with(json!({ "redirect_uris": uris })).await;
    assert!(
        (1_900..=2_048).contains(&client.id.len()),
        "{}",
        client.id.len()
    );
    client
}

/// Returns Entra's access token for a user with these claims in addition.
pub(crate) fn of_entra(stage: &Stage, more: &Map<String, Value>) -> String {
    let user = stage.tenant.user("ada").scope("read").for_api(APP);
    let scopes = long_scopes();
    let user = scopes.iter().fold(user, |user, scope| user.scope(scope));
    let user = more
        .iter()
        .fold(user, |user, (name, value)| user.claim(name, value.clone()));
    user.mint()
}

/// Makes Entra's next token response contain these tokens.
fn answers_with(stage: &Stage, access_token: &str, id_token: &str) {
    let body = json!({
        "token_type": "Bearer", "expires_in": 3_600, "access_token": access_token,
        "id_token": id_token, "refresh_token": "r",
    });
    let endpoint = stage.tenant.token_endpoint();
    endpoint
        .answer_with(200, "application/json", &body.to_string())
        .for_next(1);
}

/// Runs a sign-in in which Entra issues this access token, and returns the URL for the client.
pub(crate) async fn signs_in(
    stage: &Stage,
    client: &Client,
    scope: &str,
    access_token: &str,
) -> Url {
    let mut browser = Browser::new(stage);
    let changes = [("resource", ""), ("scope", scope)];
    let at_entra = browser.goes_to_entra(client, &changes).await;
    let at_entra: Url = at_entra.parse().unwrap();
    let id_token = stage.tenant.id_token("ada").for_api(APP);
    let nonce = parameter(&at_entra, "nonce").unwrap();
    answers_with(stage, access_token, &id_token.claim("nonce", nonce).mint());
    let state = parameter(&at_entra, "state").unwrap();
    let told = browser
        .get(&format!("/callback?code=x&state={state}"))
        .await;
    told.location().parse().unwrap()
}

/// Redeems a code without naming the resource.
pub(crate) async fn redeemed(stage: &Stage, client: &Client, code: &str) -> Reply {
    let mut form = client.redemption(code);
    form.retain(|(name, _)| *name != "resource");
    stage.token(&form).await
}

pub(crate) fn with(claims: &[(&str, Value)]) -> Map<String, Value> {
    let claims = claims.iter();
    claims
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

/// Returns `count` roles of 40 bytes of JSON each.
fn roles(count: usize) -> Value {
    let roles = (0..count).map(|n| format!("Reports.Read.All.Of.Department.{n:06}"));
    json!(roles.collect::<Vec<_>>())
}

#[tokio::test(start_paused = true)]
async fn a_token_of_somebody_in_very_many_groups_is_one_that_the_layer_reads() {
    let stage = Stage::new().await;
    let groups: Vec<String> = (0..260)
        .map(|n| format!("0a1b2c3d-4e5f-4a6b-8c7d-{n:012}"))
        .collect();
    let few = &groups[..200]; // the most that Entra writes
    let client = client_of_a_long_id(&stage).await;
    for (groups, listed) in [(few, 200), (&groups[..], 0)] {
        let entras = of_entra(&stage, &with(&[("groups", json!(groups))]));
        let told = signs_in(&stage, &client, "read", &entras).await;
        let code = parameter(&told, "code").unwrap_or_else(|| panic!("{told}"));
        let tokens = redeemed(&stage, &client, &code).await.json();
        let caller = stage.verify(&tokens["access_token"]).await.unwrap();
        match caller.groups() {
            Groups::Listed(list) => assert_eq!(list.len(), listed),
            Groups::Overage => assert_eq!(listed, 0),
            _ => panic!("the groups are lost"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn groups_and_directory_roles_make_room_for_app_roles() {
    let stage = Stage::new().await;
    let client = client_of_a_long_id(&stage).await;
    let ids: Vec<String> = (0..20)
        .map(|n| format!("0a1b2c3d-4e5f-4a6b-8c7d-{n:012}"))
        .collect();
    for (many, has_groups, has_wids) in [(150, true, true), (200, false, true), (215, false, false)]
    {
        let more = with(&[
            ("roles", roles(many)),
            ("groups", json!(ids)),
            ("wids", json!(ids)),
        ]);
        let told = signs_in(&stage, &client, "read", &of_entra(&stage, &more)).await;
        let code = parameter(&told, "code").unwrap_or_else(|| panic!("{told}"));
        let token = redeemed(&stage, &client, &code).await.json()["access_token"].clone();
        assert!(stage.verify(&token).await.is_ok());
        let found = claims(&token);
        assert_eq!(found["roles"], roles(many));
        assert_eq!(found["groups"].is_array(), has_groups, "{many}");
        assert_eq!(found["hasgroups"] == json!(true), !has_groups, "{many}");
        assert_eq!(found["wids"].is_array(), has_wids, "{many}");
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_with_more_app_roles_than_fit_is_not_signed_in_with_fewer() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let log = Logbook::begin();
    let entras = of_entra(&stage, &with(&[("roles", roles(240))]));
    assert!(entras.len() < MOST);
    let told = signs_in(&stage, &client, "read", &entras).await;
    assert_eq!(parameter(&told, "error").as_deref(), Some("access_denied"));
    let description = parameter(&told, "error_description").unwrap();
    assert!(
        description.contains("more app roles than fit"),
        "{description}"
    );
    let reference = description.rsplit(' ').next().unwrap();
    let lines = log.lines("WARN");
    let line = lines.iter().find(|line| line.contains("fewer app roles"));
    let line = line.unwrap_or_else(|| panic!("{lines:#?}"));
    assert!(line.contains("claim=\"roles\""), "{line}");
    assert!(line.contains(reference), "{line}");
    assert!(!line.contains("Department"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn somebody_whose_app_roles_come_to_be_too_many_signs_in_again_and_is_told() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let tokens = stage.sign_in(&client, "ada").await;
    stage.tenant.time().advance(HOUR).await;
    let entras = of_entra(&stage, &with(&[("roles", roles(240))]));
    answers_with(&stage, &entras, "none");
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    assert_eq!(refreshed.error(), (400, "invalid_grant".to_owned()));
}

/// Returns a strategy for claims of any length, among those that the proxy copies.
fn any_claims() -> impl Strategy<Value = Map<String, Value>> {
    let part = || {
        prop_oneof![
            2 => Just("x"),
            1 => Just("\"\\"),
            1 => Just("é"),
            1 => Just("0a1b2c3d-4e5f-4a6b-8c7d-000000000001"),
        ]
    };
    let text = |most: usize| (part(), 0..most).prop_map(|(part, count)| json!(part.repeat(count)));
    let list = |most: usize| (part(), 0..most).prop_map(|(part, count)| json!(vec![part; count]));
    let many = (100..250_usize).prop_map(roles);
    (
        prop_oneof![list(300), many],
        [list(250), list(60), list(10)],
        [text(200), text(200), text(20), text(20), text(20)],
    )
        .prop_map(|(roles, lists, texts)| {
            let lists = ["groups", "wids", "acrs"].into_iter().zip(lists);
            let names = [
                "name",
                "preferred_username",
                "idp",
                "xms_idrel",
                "xms_sub_fct",
            ];
            let all = lists.chain(names.into_iter().zip(texts));
            let all = all.chain([("roles", roles)]);
            with(&all.collect::<Vec<_>>())
        })
}

#[test]
fn whatever_entra_says_of_a_user_the_layer_reads_the_token_or_there_is_none() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (stage, client) = runtime.block_on(async {
        let stage = stage().await;
        let client = client_of_a_long_id(&stage).await;
        (stage, client)
    });
    let scope = format!("read {}", long_scopes().join(" "));
    let config = Config {
        cases: 250,
        failure_persistence: None,
        ..Config::default()
    };
    // The test must see accepted and denied sign-ins, and some tokens of nearly the maximum length.
    let [accepted, denied, longest] = [const { Cell::new(0) }; 3];
    TestRunner::new(config)
        .run(&any_claims(), |more| {
            // An hour passes before each sign-in, so that the user does not sign in too often.
            runtime.block_on(stage.tenant.time().advance(HOUR));
            let entras = runtime.block_on(async { of_entra(&stage, &more) });
            // The proxy refuses a token of Entra that the Layer does not accept, so this case is
            // skipped.
            if runtime.block_on(stage.verify(&json!(entras))).is_err() {
                return Ok(());
            }
            let told = runtime.block_on(signs_in(&stage, &client, &scope, &entras));
            let Some(code) = parameter(&told, "code") else {
                let error = parameter(&told, "error");
                prop_assert_eq!(error.as_deref(), Some("access_denied"));
                denied.set(denied.get() + 1);
                return Ok(());
            };
            let redeemed = runtime.block_on(redeemed(&stage, &client, &code));
            let token = redeemed.json()["access_token"].clone();
            let length = token.as_str().unwrap().len();
            prop_assert!(length <= MOST, "{}", length);
            let verified = runtime.block_on(stage.verify(&token));
            prop_assert!(verified.is_ok(), "{:?}", verified.err());
            accepted.set(accepted.get() + 1);
            longest.set(longest.get().max(length));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let counts = [accepted.get(), denied.get(), longest.get()];
    assert!(
        counts[0] > 20 && counts[1] > 3 && counts[2] > MOST * 3 / 4,
        "{counts:?}"
    );
}
