//! Tests of each row of the table "When sign-ins and tokens end" in `docs/operations.md`.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use entra_dev_tenant::DevTenant;
use entra_oauth_proxy::{EntraOAuthProxyBuilder, ProxyKeys, RateLimits, Resource};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http_body::Frame;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::disk::Directory;
use crate::refresh::{invalid_grant, token_of};
use crate::support::{
    Browser, Client, HOUR, MINUTE, RESOURCE, Stage, claims, post, settings, settings_of,
};
use crate::watched_store::WatchedStore;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Beginning of the first cell of each row, and the name of the row's test.
const ROWS: [(&str, &str); 13] = [
    ("a sign-in that its client revokes", "revoked_by_the_client"),
    (
        "a sign-in whose refresh token or code was used again",
        "used_again",
    ),
    (
        "all sign-ins of a user or of a client, or one sign-in, that",
        "ended_by_an_operator",
    ),
    ("a stream of such a sign-in", "a_stream_of_such_a_sign_in"),
    (
        "a sign-in of a user who left, is disabled,",
        "disabled_at_entra",
    ),
    (
        "a sign-in whose user was not asked for a scope",
        "a_scope_is_required",
    ),
    ("a scope that is no longer offered", "a_scope_is_dropped"),
    (
        "everything made under a key that is no longer in the list",
        "a_key_is_withdrawn",
    ),
    (
        "everything, if the [store or the keys]",
        "the_process_is_restarted",
    ),
    (
        "the longest unused sign-in of a user who has",
        "too_many_sign_ins",
    ),
    ("a sign-in without a refresh", "not_used"),
    ("any sign-in", "any_sign_in"),
    ("a rotated refresh token", "a_token_that_was_replaced"),
];

#[test]
fn each_row_has_its_test_here() {
    let page = include_str!("../../docs/operations.md");
    let (_, table) = page
        .split_once("\n## When sign-ins and tokens end\n")
        .unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let cells: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .skip(1)
        .map(|line| line.split(" |").next().unwrap())
        .collect();
    assert_eq!(cells.len(), ROWS.len(), "{cells:#?}");
    for (cell, (row, test)) in cells.iter().zip(ROWS) {
        assert!(cell.starts_with(row), "{cell:?} is not {row:?}");
        let text = include_str!("what_ends_when.rs");
        assert!(text.contains(&format!("async fn {test}() {{")), "{test}");
    }
}

async fn stage() -> (Stage, Client) {
    let stage = Stage::new().await;
    let client = stage.client().await;
    (stage, client)
}

/// Checks that the refresh token is invalid immediately, and the access token in 30 s.
///
/// The Layer has just checked the access token, and checks it again after 30 s.
async fn is_over_at_once(stage: &Stage, client: &Client, tokens: &Value) {
    let refused = stage.refresh(client, &tokens["refresh_token"]).await;
    assert_eq!(refused.error(), invalid_grant());
    is_over_in_30_seconds(stage, tokens).await;
}

async fn is_over_in_30_seconds(stage: &Stage, tokens: &Value) {
    let access_token = &tokens["access_token"];
    assert!(stage.verify(access_token).await.is_ok());
    stage.tenant.time().advance(30 * SECOND).await;
    let refused = stage.verify(access_token).await;
    assert_eq!(refused.err(), Some("grant_ended"));
}

#[tokio::test(start_paused = true)]
async fn revoked_by_the_client() {
    let (stage, client) = stage().await;
    let tokens = stage.sign_in(&client, "ada").await;
    stage.verify(&tokens["access_token"]).await.unwrap();
    let token = tokens["refresh_token"].as_str().unwrap();
    let form = [("token", token), ("client_id", &*client.id)];
    let revoked = stage.send(post("/revoke", &form, &[])).await;
    assert_eq!(revoked.status, StatusCode::OK);
    is_over_at_once(&stage, &client, &tokens).await;
}

#[tokio::test(start_paused = true)]
async fn used_again() {
    let (stage, client) = stage().await;
    let code = Browser::new(&stage).code(&client, "ada", &[]).await;
    let tokens = stage.redeem(&client, &code).await.json();
    stage.verify(&tokens["access_token"]).await.unwrap();
    stage.tenant.time().advance(11 * SECOND).await;
    assert_eq!(stage.redeem(&client, &code).await.error(), invalid_grant());
    is_over_at_once(&stage, &client, &tokens).await;

    let tokens = stage.sign_in(&client, "ada").await;
    let first = &tokens["refresh_token"];
    let second = token_of(stage.refresh(&client, first).await).await;
    token_of(stage.refresh(&client, &second).await).await;
    stage.verify(&tokens["access_token"]).await.unwrap();
    assert_eq!(stage.refresh(&client, first).await.error(), invalid_grant());
    is_over_at_once(&stage, &client, &tokens).await;
}

#[tokio::test(start_paused = true)]
async fn ended_by_an_operator() {
    let (stage, client) = stage().await;
    for lever in ["user", "client", "sign-in"] {
        let tokens = stage.sign_in(&client, "ada").await;
        let code = Browser::new(&stage).code(&client, "ada", &[]).await;
        let caller = stage.verify(&tokens["access_token"]).await.unwrap();
        match lever {
            "user" => {
                let user = caller.object_id().unwrap();
                let ended = stage.proxy.end_sign_ins_of(caller.tenant_id(), user);
                ended.await.unwrap();
            }
            "client" => {
                let client = caller.registered_client().unwrap();
                let ended = stage.proxy.end_sign_ins_of_client(client);
                ended.await.unwrap();
            }
            _ => assert!(
                stage
                    .proxy
                    .end_sign_in(caller.grant_id().unwrap())
                    .await
                    .unwrap()
            ),
        }
        let redeemed = stage.redeem(&client, &code).await;
        match lever {
            "sign-in" => assert_eq!(redeemed.status, StatusCode::OK, "it is another"),
            _ => assert_eq!(redeemed.error(), invalid_grant(), "{lever}"),
        }
        is_over_at_once(&stage, &client, &tokens).await;
    }
}

/// A stream without events.
struct Quiet;

impl http_body::Body for Quiet {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_such_a_sign_in() {
    let (stage, client) = stage().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let events = || async { ([(CONTENT_TYPE, "text/event-stream")], Body::new(Quiet)) };
    let routes = Router::new()
        .route("/events", get(events))
        .layer(stage.proxy.auth().end_at_expiry(Duration::ZERO))
        .layer(stage.proxy.layer());
    let token = tokens["access_token"].as_str().unwrap();
    let request = http::Request::get("/events").header("authorization", format!("Bearer {token}"));
    let response = routes
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut events = response.into_body();
    let waited = timeout(Duration::from_secs(60), events.frame()).await;
    assert!(waited.is_err(), "it goes on while the sign-in does");
    let grant = claims(&tokens["access_token"])["gid"].clone();
    let ended = stage.proxy.end_sign_in(grant.as_str().unwrap()).await;
    assert!(ended.unwrap());
    let waited = timeout(Duration::from_secs(31), events.frame()).await;
    assert!(waited.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn disabled_at_entra() {
    let (stage, client) = stage().await;
    let first = stage.sign_in(&client, "ada").await;
    stage.tenant.people().disable("ada");
    // Entra was asked at the sign-in, and is asked again ten minutes later, because its token ends
    // before the client's next one would. This is so with either refresh token.
    stage.tenant.time().advance(10 * MINUTE - SECOND).await;
    let last = stage.refresh(&client, &first["refresh_token"]).await.json();
    stage.verify(&last["access_token"]).await.unwrap();
    stage.tenant.time().advance(SECOND).await;
    for token in [&last["refresh_token"], &first["refresh_token"]] {
        let refused = stage.refresh(&client, token).await;
        assert_eq!(refused.error(), invalid_grant());
    }
    // A client that requests no other token can use its last one until it expires.
    let quiet = stage.sign_in(&client, "grace").await;
    stage.tenant.people().disable("grace");
    stage.tenant.time().advance(10 * MINUTE - SECOND).await;
    let last = stage.refresh(&client, &quiet["refresh_token"]).await.json();
    // The Layer's clock skew is added.
    stage.tenant.time().advance(65 * MINUTE).await;
    stage.verify(&last["access_token"]).await.unwrap();
    stage.tenant.time().advance(SECOND).await;
    let refused = stage.verify(&last["access_token"]).await;
    assert_eq!(refused.err(), Some("expired"));
}

/// The store and keys of a proxy that restarts with other settings.
struct Changed {
    store: WatchedStore,
    keys: ProxyKeys,
}

impl Changed {
    async fn before() -> (Self, Stage, Client) {
        let changed = Self {
            store: WatchedStore::default(),
            keys: ProxyKeys::generate(),
        };
        let stage = Stage::with(|settings| changed.kept(settings)).await;
        let client = stage.client().await;
        (changed, stage, client)
    }

    fn kept(&self, settings: EntraOAuthProxyBuilder) -> EntraOAuthProxyBuilder {
        settings.store(self.store.clone()).keys(self.keys.clone())
    }

    fn after(&self, stage: &mut Stage, required: &[&str]) {
        let resource = Resource::at(RESOURCE).required_scopes(required.iter().copied());
        let settings = settings_of(&stage.tenant, resource);
        stage.proxy = self.kept(settings).build().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_scope_is_required() {
    let (changed, mut stage, client) = Changed::before().await;
    let tokens = stage.sign_in(&client, "ada").await;
    changed.after(&mut stage, &["read", "write"]);
    // The access token keeps its scopes. `verify` does not apply the required scopes of the Layer.
    stage.verify(&tokens["access_token"]).await.unwrap();
    is_over_at_once(&stage, &client, &tokens).await;
}

#[tokio::test(start_paused = true)]
async fn a_scope_is_dropped() {
    let (changed, mut stage, client) = Changed::before().await;
    let scope = [("scope", "read write")];
    let code = Browser::new(&stage).code(&client, "ada", &scope).await;
    let tokens = stage.redeem(&client, &code).await.json();
    changed.after(&mut stage, &["read"]);
    let caller = stage.verify(&tokens["access_token"]).await.unwrap();
    assert!(caller.scopes().any(|scope| scope == "write"));
    let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
    let refreshed = refreshed.json();
    assert_eq!(claims(&refreshed["access_token"])["scope"], "read");
    stage.tenant.time().advance(65 * MINUTE + SECOND).await;
    let refused = stage.verify(&tokens["access_token"]).await;
    assert_eq!(refused.err(), Some("expired"));
}

#[tokio::test(start_paused = true)]
async fn a_key_is_withdrawn() {
    let (changed, mut stage, client) = Changed::before().await;
    let tokens = stage.sign_in(&client, "ada").await;
    let settings = settings(&stage.tenant).store(changed.store);
    let proxy = settings.keys(ProxyKeys::generate()).build();
    stage.proxy = proxy.unwrap();
    let refused = stage.verify(&tokens["access_token"]).await;
    assert_eq!(refused.err(), Some("unknown_key"));
    let refused = stage.refresh(&client, &tokens["refresh_token"]).await;
    // The client's registration was made under that key, too.
    assert_eq!(refused.error(), (401, "invalid_client".to_owned()));
}

#[tokio::test]
async fn the_process_is_restarted() {
    for outlives in [true, false] {
        let directory = Directory::new("what ends when");
        let start = |tenant: &DevTenant| {
            let settings = settings(tenant);
            let settings = match outlives {
                true => settings.data_directory(directory.path()),
                false => settings,
            };
            settings.build().unwrap()
        };
        let tenant = crate::support::tenant().start().await.unwrap();
        let proxy = start(&tenant);
        let mut stage = Stage { tenant, proxy };
        let client = stage.client().await;
        let tokens = stage.sign_in(&client, "ada").await;
        stage.proxy.shutdown().await;
        let Stage { tenant, proxy } = stage;
        drop(proxy);
        let proxy = start(&tenant);
        stage = Stage { tenant, proxy };
        let access = stage.verify(&tokens["access_token"]).await;
        let refreshed = stage.refresh(&client, &tokens["refresh_token"]).await;
        if outlives {
            access.unwrap();
            token_of(refreshed).await;
        } else {
            assert_eq!(access.err(), Some("unknown_key"));
            assert_eq!(refreshed.error(), (401, "invalid_client".to_owned()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_sign_ins() {
    let limits = RateLimits::none()
        .grants_per_user(2)
        .grants_per_user_and_client(1);
    let stage = Stage::with(|settings| settings.limits(limits)).await;
    let [one, two, three] = [
        stage.client().await,
        stage.client().await,
        stage.client().await,
    ];
    let first = stage.sign_in(&one, "ada").await;
    stage.verify(&first["access_token"]).await.unwrap();
    // Another sign-in by the same client ends the first. A sign-in by a third client ends the
    // second.
    let second = stage.sign_in(&one, "ada").await;
    is_over_at_once(&stage, &one, &first).await;
    stage.verify(&second["access_token"]).await.unwrap();
    stage.tenant.time().advance(SECOND).await;
    stage.sign_in(&two, "ada").await;
    stage.verify(&second["access_token"]).await.unwrap();
    stage.sign_in(&three, "ada").await;
    is_over_at_once(&stage, &one, &second).await;
}

#[tokio::test(start_paused = true)]
async fn not_used() {
    let (stage, client) = stage().await;
    let mut token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    stage.tenant.time().advance(30 * DAY - MINUTE).await;
    token = token_of(stage.refresh(&client, &token).await).await;
    stage.tenant.time().advance(30 * DAY + SECOND).await;
    let refused = stage.refresh(&client, &token).await;
    assert_eq!(refused.error(), invalid_grant());
}

#[tokio::test(start_paused = true)]
async fn any_sign_in() {
    let (stage, client) = stage().await;
    let mut token = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    for _ in 0..3 {
        stage.tenant.time().advance(30 * DAY - MINUTE).await;
        token = token_of(stage.refresh(&client, &token).await).await;
    }
    stage.tenant.time().advance(4 * MINUTE).await;
    let refused = stage.refresh(&client, &token).await;
    assert_eq!(refused.error(), invalid_grant());
    let mut late = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    for _ in 0..3 {
        stage.tenant.time().advance(29 * DAY).await;
        late = token_of(stage.refresh(&client, &late).await).await;
    }
    // The last access token ends with the sign-in.
    stage.tenant.time().advance(3 * DAY - 10 * MINUTE).await;
    let last = stage.refresh(&client, &late).await.json();
    assert!(last["expires_in"].as_u64().unwrap() <= 10 * 60);
    stage.tenant.time().advance(HOUR).await;
    let refused = stage.refresh(&client, &last["refresh_token"]).await;
    assert_eq!(refused.error(), invalid_grant());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_replaced() {
    let (stage, client) = stage().await;
    let first = stage.sign_in(&client, "ada").await["refresh_token"].clone();
    let second = token_of(stage.refresh(&client, &first).await).await;
    stage.tenant.time().advance(60 * SECOND).await;
    assert_eq!(token_of(stage.refresh(&client, &first).await).await, second);
    let third = token_of(stage.refresh(&client, &second).await).await;
    // The successor was replaced.
    assert_eq!(
        stage.refresh(&client, &first).await.error(),
        invalid_grant()
    );
    assert_eq!(
        stage.refresh(&client, &third).await.error(),
        invalid_grant()
    );
}
