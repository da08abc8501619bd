//! Tests of the tokens that Entra issues for a code: the proxy accepts only those of this sign-in.

use entra_dev_tenant::TokenBuilder;
use serde_json::{Value, json};
use tower_entra_auth::EntraAuthBuilder;
use url::Url;

use crate::callback::{failed, is_told};
use crate::logbook::Logbook;
use crate::support::{APP, Browser, Stage, claims, parameter};

/// Returns a token response of Entra with these tokens.
fn answer(access_token: &str, id_token: Option<&str>) -> Value {
    json!({
        "token_type": "Bearer",
        "scope": format!("api://{APP}/read"),
        "expires_in": 3_599,
        "access_token": access_token,
        "refresh_token": "0.AAAA",
        "id_token": id_token,
    })
}

fn nonce_of(stage: &Stage) -> String {
    let asked = stage.tenant.authorize_endpoint().requests().pop().unwrap();
    asked.parameter("nonce").unwrap().to_owned()
}

fn answers(stage: &Stage, access_token: &str, id_token: Option<&str>) {
    let body = answer(access_token, id_token).to_string();
    stage
        .tenant
        .token_endpoint()
        .answer_with(200, "application/json", &body);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_are_not_of_this_sign_in_are_refused_and_nothing_is_issued() {
    let (other_app, other_tenant) = (
        "11111111-2222-4333-8444-555555555555",
        "99999999-2222-4333-8444-555555555555",
    );
    type Tokens = (String, Option<String>);
    type Make = Box<dyn Fn(&Stage) -> Tokens>;
    let access = |stage: &Stage, user: &str| {
        stage
            .tenant
            .user(user)
            .scope("read")
            .for_api(APP)
            .client(APP)
            .mint()
    };
    let id = |stage: &Stage, user: &str, nonce: &str| {
        stage
            .tenant
            .id_token(user)
            .for_api(APP)
            .claim("nonce", nonce)
            .mint()
    };
    let good: Make = Box::new(move |s| (access(s, "ada"), Some(id(s, "ada", &nonce_of(s)))));
    let cases: Vec<(&str, &str, Make)> = vec![
        (
            "another nonce",
            "server_error",
            Box::new(move |s| (access(s, "ada"), Some(id(s, "ada", "other")))),
        ),
        (
            "no nonce",
            "server_error",
            Box::new(move |s| {
                let id = s
                    .tenant
                    .id_token("ada")
                    .for_api(APP)
                    .without_claim("nonce")
                    .mint();
                (access(s, "ada"), Some(id))
            }),
        ),
        (
            "no id token",
            "server_error",
            Box::new(move |s| (access(s, "ada"), None)),
        ),
        (
            "an id token that is none",
            "server_error",
            Box::new(move |s| (access(s, "ada"), Some("x".to_owned()))),
        ),
        (
            "an id token of another user",
            "server_error",
            Box::new(move |s| (access(s, "ada"), Some(id(s, "grace", &nonce_of(s))))),
        ),
        (
            "an id token of another tenant, by the same object id",
            "server_error",
            Box::new(move |s| {
                let id = s.tenant.id_token("ada").for_api(APP);
                let id = id.claim("nonce", nonce_of(s)).claim("tid", other_tenant);
                (access(s, "ada"), Some(id.mint()))
            }),
        ),
        (
            "an id token without a tenant",
            "server_error",
            Box::new(move |s| {
                let id = s.tenant.id_token("ada").for_api(APP);
                let id = id.claim("nonce", nonce_of(s)).without_claim("tid");
                (access(s, "ada"), Some(id.mint()))
            }),
        ),
        (
            "an id token without an object id",
            "server_error",
            Box::new(move |s| {
                let id = s.tenant.id_token("ada").for_api(APP);
                let id = id.claim("nonce", nonce_of(s)).without_claim("oid");
                (access(s, "ada"), Some(id.mint()))
            }),
        ),
        (
            "an id token for another application",
            "server_error",
            Box::new(move |s| {
                let id = s.tenant.id_token("ada").for_api(other_app);
                (
                    access(s, "ada"),
                    Some(id.claim("nonce", nonce_of(s)).mint()),
                )
            }),
        ),
        (
            "an access token of Graph",
            "server_error",
            Box::new(move |s| {
                (
                    s.tenant.graph_token("ada").mint(),
                    Some(id(s, "ada", &nonce_of(s))),
                )
            }),
        ),
        (
            "an access token for another API",
            "server_error",
            Box::new(move |s| {
                let token = s.tenant.user("ada").scope("read").for_api(other_app).mint();
                (token, Some(id(s, "ada", &nonce_of(s))))
            }),
        ),
        (
            "a v1 token",
            "server_error",
            Box::new(move |s| {
                let token = s.tenant.user("ada").scope("read").for_api(APP).v1().mint();
                (token, Some(id(s, "ada", &nonce_of(s))))
            }),
        ),
        (
            "an access token that is not signed",
            "server_error",
            Box::new(move |s| {
                let token = s
                    .tenant
                    .user("ada")
                    .scope("read")
                    .for_api(APP)
                    .bad_signature()
                    .mint();
                (token, Some(id(s, "ada", &nonce_of(s))))
            }),
        ),
        (
            "an id token in place of the access token",
            "server_error",
            Box::new(move |s| {
                let id = id(s, "ada", &nonce_of(s));
                (id.clone(), Some(id))
            }),
        ),
        (
            "an application's token",
            "server_error",
            Box::new(move |s| {
                let token = s.tenant.app(APP).role("read").for_api(APP).mint();
                (token, Some(id(s, "ada", &nonce_of(s))))
            }),
        ),
        (
            "a user of another tenant",
            "access_denied",
            Box::new(move |s| {
                let token = s
                    .tenant
                    .user("ada")
                    .scope("read")
                    .for_api(APP)
                    .of_tenant(other_tenant);
                (token.mint(), Some(id(s, "ada", &nonce_of(s))))
            }),
        ),
        (
            "a user without the required scope",
            "access_denied",
            Box::new(move |s| {
                let token = s.tenant.user("ada").scope("write").for_api(APP).mint();
                (token, Some(id(s, "ada", &nonce_of(s))))
            }),
        ),
    ];
    let stage = Stage::new().await;
    for (case, error, make) in cases {
        let reply = failed(&stage, |stage| {
            let (access_token, id_token) = make(stage);
            answers(stage, &access_token, id_token.as_deref());
        })
        .await;
        is_told(&reply, error, case);
        stage.tenant.token_endpoint().recover();
    }
    // The valid tokens are accepted.
    let reply = failed(&stage, |stage| {
        let (access_token, id_token) = good(stage);
        answers(stage, &access_token, id_token.as_deref());
    })
    .await;
    assert!(reply.location().contains("code="), "{}", reply.location());
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_right_after_a_rotation_is_to_be_tried_again_while_no_key_may_be_fetched() {
    let stage = Stage::new().await;
    let stranger = stage.tenant.user("ada").scope("read").for_api(APP);
    let stranger = json!(stranger.header("kid", "unknown").mint());
    assert_eq!(stage.verify(&stranger).await.unwrap_err(), "unknown_key");
    assert_eq!(
        stage.verify(&stranger).await.unwrap_err(),
        "key_refresh_pending"
    );
    let reply = failed(&stage, |stage| stage.tenant.signing_keys().rotate()).await;
    is_told(&reply, "temporarily_unavailable", "a key of now");
}

#[tokio::test(start_paused = true)]
async fn guests_and_agents_are_denied_where_that_is_set() {
    type Change = fn(EntraAuthBuilder) -> EntraAuthBuilder;
    let guest: fn(TokenBuilder<'_>) -> TokenBuilder<'_> = |user| user.guest();
    let agent: fn(TokenBuilder<'_>) -> TokenBuilder<'_> = |user| user.agent();
    for (what, kind, refuse) in [
        ("guest", guest, EntraAuthBuilder::refuse_guests as Change),
        ("agent", agent, EntraAuthBuilder::refuse_agents),
    ] {
        let stage = Stage::with(|settings| settings.auth(refuse)).await;
        let log = Logbook::begin();
        let reply = failed(&stage, |stage| {
            let user = stage.tenant.user("ada").scope("read").for_api(APP);
            let id_token = stage.tenant.id_token("ada").for_api(APP);
            let id_token = id_token.claim("nonce", nonce_of(stage));
            answers(stage, &kind(user).mint(), Some(&id_token.mint()));
        })
        .await;
        is_told(&reply, "access_denied", what);
        // The log names the setting of the proxy's builder, not that of the Layer or of the core.
        let lines = log.lines("WARN");
        let setting = format!("or remove auth(|auth| auth.refuse_{what}s())");
        assert!(
            lines.iter().any(|line| line.contains(&setting)),
            "{lines:#?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_issuer_in_the_return_must_be_that_of_the_tokens() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for (issuer, is_good) in [
        ("ours", true),
        ("https://login.microsoftonline.com/common/v2.0", false),
        ("https://evil.example", false),
    ] {
        let mut browser = Browser::new(&stage);
        let callback = {
            let at_entra = browser.goes_to_entra(&client, &[]).await;
            stage.tenant.people().sign_in("ada", &at_entra)
        };
        let issuer = match issuer {
            "ours" => {
                let token = stage.tenant.user("ada").for_api(APP).mint();
                claims(&json!(token))["iss"].as_str().unwrap().to_owned()
            }
            other => other.to_owned(),
        };
        let reply = browser.come_back(&format!("{callback}&iss={issuer}")).await;
        assert_eq!(reply.location().contains("code="), is_good, "{issuer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_rules_and_handlers_read_of_a_user_is_in_our_token_and_nothing_else() {
    let copied = json!({
        "_claim_names": { "groups": "src1" },
        "acct": 1,
        "acrs": ["c1"],
        "idp": "https://sts.windows.net/99999999-2222-4333-8444-555555555555/",
        "name": "Ada",
        "preferred_username": "ada@example.com",
        "roles": ["Reports.Read"],
        "wids": ["62e90394-69f5-4237-9190-012177145e10"],
        "xms_act_fct": "3 9",
        "xms_idrel": "1 26",
        "xms_par_app_azp": "c405e44e-8e72-4adb-bb79-59e19e2157ef",
        "xms_sub_fct": "2",
    });
    let left = json!({
        "email": "ada@example.com",
        "upn": "ada@example.com",
        "xms_cc": ["cp1"],
        "ipaddr": "203.0.113.9",
        "family_name": "Lovelace",
    });
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let callback = stage.tenant.people().sign_in("ada", &at_entra);
    let mut user = stage.tenant.user("ada").scope("read").for_api(APP);
    for claims in [&copied, &left] {
        for (name, value) in claims.as_object().unwrap() {
            user = user.claim(name, value.clone());
        }
    }
    let entras = json!(user.mint());
    let id_token = stage.tenant.id_token("ada").for_api(APP);
    let id_token = id_token.claim("nonce", nonce_of(&stage)).mint();
    answers(&stage, entras.as_str().unwrap(), Some(&id_token));
    let told: Url = browser
        .come_back(&callback)
        .await
        .location()
        .parse()
        .unwrap();
    let code = parameter(&told, "code").unwrap_or_else(|| panic!("{told}"));
    let token = stage.redeem(&client, &code).await.json()["access_token"].clone();
    let (ours, entras) = (claims(&token), claims(&entras));
    for (name, value) in copied.as_object().unwrap() {
        assert_eq!(&ours[name], value, "{name}");
    }
    for name in ["azp", "oid", "sub", "tid"] {
        assert_eq!(ours[name], entras[name], "{name}");
    }
    assert_eq!(ours["idtyp"], "user");
    for name in left.as_object().unwrap().keys() {
        assert_eq!(ours[name], Value::Null, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_required_scope_is_granted_or_there_is_no_sign_in() {
    let stage = Stage::with_resource(|resource| resource.required_scopes(["read", "write"])).await;
    for (scopes, is_good) in [
        (&["read"][..], false),
        (&["write"], false),
        (&["read", "write"], true),
    ] {
        let reply = failed(&stage, |stage| {
            let user = stage.tenant.user("ada").for_api(APP);
            let user = scopes.iter().fold(user, |user, scope| user.scope(scope));
            let id_token = stage.tenant.id_token("ada").for_api(APP);
            let id_token = id_token.claim("nonce", nonce_of(stage)).mint();
            answers(stage, &user.mint(), Some(&id_token));
        })
        .await;
        match is_good {
            true => assert!(reply.location().contains("code="), "{}", reply.location()),
            false => is_told(&reply, "access_denied", &scopes.join(" ")),
        }
        stage.tenant.token_endpoint().recover();
    }
}
