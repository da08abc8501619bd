//! Tests of refusals by Entra, and of the errors for clients and operators.

use serde_json::Value;
use url::Url;

use crate::callback::{failed, is_told};
use crate::logbook::Logbook;
use crate::support::{
    APP, Browser, Client, MINUTE, PUBLIC, SECRET, Stage, application, parameter, settings,
};

/// Starts a sign-in, and returns the URL with which Entra sends the browser back with an error.
pub(crate) async fn refused(
    browser: &mut Browser<'_>,
    client: &Client,
    (error, subcode): (&str, &str),
    number: &str,
) -> Url {
    let at_entra: Url = browser.goes_to_entra(client, &[]).await.parse().unwrap();
    let mut url: Url = format!("{PUBLIC}/callback").parse().unwrap();
    let description = format!("AADSTS{number}: ada@x. Trace ID: 1");
    url.query_pairs_mut()
        .append_pair("error", error)
        .append_pair("error_description", &description)
        .append_pair("error_subcode", subcode)
        .append_pair("state", &parameter(&at_entra, "state").unwrap());
    url
}

/// Checks that one kind of error does not keep another out of the log.
#[tokio::test(start_paused = true)]
async fn each_error_of_entra_is_in_the_log_once_a_minute() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let log = Logbook::begin();
    for (error, number) in [
        ("invalid_scope", "1"),
        ("invalid_client", "1"),
        ("invalid_scope", "1"),
        ("invalid_scope", "2"),
    ] {
        let mut browser = Browser::new(&stage);
        let url = refused(&mut browser, &client, (error, ""), number).await;
        browser.come_back(url.as_str()).await;
    }
    let said = log.lines("ERROR");
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(said[2].contains("number=\"AADSTS2\""), "{said:#?}");
    assert!(said[0].contains("error=\"invalid_scope\""), "{said:#?}");
    assert!(said[1].contains("error=\"invalid_client\""), "{said:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_entra_says_at_its_page_is_told_in_words_of_oauth() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let denied = "access_denied";
    let unavailable = "temporarily_unavailable";
    let consent =
        "have an administrator grant consent under API permissions of the app registration";
    let expose = "add the scope under Expose an API of the app registration, by the short name in \
        required_scopes(..) or optional_scopes(..); the Application ID URI there must be that of \
        app_id_uri(..)";
    let search = "search Entra's sign-in log for the correlation id, which is the field sign_in";
    let compare = "compare scopes, client id and redirect URI with the app registration";
    for (error, subcode, number, told, remedy) in [
        (
            denied,
            "cancel",
            "65004",
            denied,
            "no action is needed: the user declined",
        ),
        (denied, "", "90094", denied, consent),
        (
            denied,
            "",
            "50105",
            denied,
            "assign the user, or a group of the user, to the enterprise",
        ),
        ("consent_required", "", "65001", denied, consent),
        ("interaction_required", "", "50076", denied, search),
        ("invalid_scope", "", "70011", "server_error", expose),
        ("invalid_client", "", "650053", "server_error", expose),
        (
            "invalid_resource",
            "",
            "500011",
            "server_error",
            "set app_id_uri(..) to the Application ID URI",
        ),
        ("invalid_target", "", "9010010", "server_error", compare),
        (
            "unauthorized_client",
            "",
            "700016",
            "server_error",
            "client id and tenant do not belong together",
        ),
        ("server_error", "", "90033", unavailable, search),
        (unavailable, "", "90033", unavailable, search),
        ("what_nobody_knows", "", "1", "server_error", compare),
    ] {
        let mut browser = Browser::new(&stage);
        let url = refused(&mut browser, &client, (error, subcode), number).await;
        let log = Logbook::begin();
        let reply = browser.come_back(url.as_str()).await;
        is_told(&reply, told, error);
        assert_eq!(browser.told(), ["failed"]);
        // The log has one line, at WARN or ERROR.
        let said = [log.lines("WARN"), log.lines("ERROR")].concat();
        let [said] = &*said else {
            panic!("{said:#?}");
        };
        let level = if told == "server_error" {
            "ERROR"
        } else {
            "WARN"
        };
        assert!(said.contains(level), "{said}");
        assert!(
            said.contains(&format!("number=\"AADSTS{number}\"")),
            "{said}"
        );
        assert!(said.contains(&format!("remedy=\"{remedy}")), "{said}");
        // The line names the permission.
        assert!(said.contains("scopes=\"read\""), "{said}");
        assert!(!log.text().contains("ada@x"), "{}", log.text());
        // The log has one line of each kind per minute.
        stage.tenant.time().advance(MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_who_declines_or_needs_an_administrator_is_denied() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let reply = browser
        .come_back(&stage.tenant.people().decline(&at_entra))
        .await;
    is_told(&reply, "access_denied", "declined");
    stage
        .tenant
        .people()
        .require_admin_approval(&format!("api://{APP}/read"));
    let at_entra = browser.goes_to_entra(&client, &[]).await;
    let reply = browser
        .come_back(&stage.tenant.people().sign_in("ada", &at_entra))
        .await;
    is_told(&reply, "access_denied", "admin approval");
    assert_eq!(stage.tenant.token_endpoint().hits(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_entra_says_to_the_code_is_told_in_words_of_oauth() {
    type Fail = fn(&Stage);
    let cases: [(&str, &str, Fail); 10] = [
        ("consent is gone", "access_denied", |s| {
            s.tenant
                .people()
                .withdraw_consent(&format!("api://{APP}/read"));
        }),
        ("disabled", "access_denied", |s| {
            s.tenant.people().disable("ada");
        }),
        ("throttled", "temporarily_unavailable", |s| {
            s.tenant.token_endpoint().throttle(429, "7");
        }),
        ("failing", "temporarily_unavailable", |s| {
            s.tenant.token_endpoint().fail_with(500);
        }),
        ("unavailable", "temporarily_unavailable", |s| {
            s.tenant.token_endpoint().throttle(503, "120");
        }),
        ("hanging", "temporarily_unavailable", |s| {
            s.tenant.token_endpoint().hang();
        }),
        ("a page", "temporarily_unavailable", |s| {
            s.tenant.token_endpoint().answer_html();
        }),
        ("half an answer", "temporarily_unavailable", |s| {
            s.tenant.token_endpoint().truncate();
        }),
        ("down", "temporarily_unavailable", |s| {
            s.tenant.start_outage();
        }),
        ("an unknown scope", "server_error", |s| {
            let body = r#"{"error":"invalid_scope","error_description":"AADSTS70011: x"}"#;
            s.tenant
                .token_endpoint()
                .answer_with(400, "application/json", body);
        }),
    ];
    let stage = Stage::new().await;
    for (case, told, fail) in cases {
        is_told(&failed(&stage, fail).await, told, case);
        stage.tenant.token_endpoint().recover();
        stage.tenant.people().enable("ada");
        stage.tenant.end_outage();
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_secret_is_ours_to_know_and_never_an_invalid_client() {
    let tenant = entra_dev_tenant::DevTenant::builder()
        .register(
            entra_dev_tenant::AppRegistration::new(APP)
                .expired_secret(SECRET)
                .redirect_uri("https://mcp.example.com/callback")
                .scope("read"),
        )
        .start()
        .await
        .unwrap();
    let proxy = settings(&tenant).build().unwrap();
    let stage = Stage { tenant, proxy };
    let log = Logbook::begin();
    let reply = failed(&stage, |_| {}).await;
    is_told(&reply, "server_error", "an expired secret");
    let said = log.lines("ERROR").join("\n");
    assert!(said.contains("7000222"), "{said}");
    assert!(!log.text().contains(SECRET));
}

#[tokio::test(start_paused = true)]
async fn an_app_registration_with_v1_tokens_is_told_to_the_operator_with_the_remedy() {
    let tenant = entra_dev_tenant::DevTenant::builder()
        .register(application().v1_tokens())
        .start()
        .await
        .unwrap();
    let proxy = settings(&tenant).build().unwrap();
    let stage = Stage { tenant, proxy };
    let log = Logbook::begin();
    is_told(&failed(&stage, |_| {}).await, "server_error", "v1 tokens");
    let said = log.lines("ERROR").join("\n");
    assert!(said.contains("requestedAccessTokenVersion"), "{said}");
}

/// Returns the `claims` of a request to Entra.
pub(crate) fn demanded(at_entra: &str) -> Option<Value> {
    let at_entra: Url = at_entra.parse().unwrap();
    let claims = parameter(&at_entra, "claims")?;
    let claims: Value = serde_json::from_str(&claims).unwrap();
    assert!(claims.is_object());
    Some(claims)
}

#[tokio::test(start_paused = true)]
async fn what_conditional_access_demands_is_asked_of_the_same_browser_once() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    for demands_again in [false, true] {
        let mut browser = Browser::new(&stage);
        let first = browser.goes_to_entra(&client, &[]).await;
        assert_eq!(demanded(&first), None);
        let callback = stage.tenant.people().sign_in("ada", &first);
        stage.tenant.people().require_interaction("ada");
        let again = browser.come_back(&callback).await.location();
        assert!(demanded(&again).is_some(), "{again}");
        for secret in ["state", "nonce", "code_challenge"] {
            let of = |url: &str| parameter(&url.parse().unwrap(), secret).unwrap();
            assert_ne!(of(&first), of(&again), "{secret}");
        }
        let callback = stage.tenant.people().sign_in("ada", &again);
        if demands_again {
            stage.tenant.people().require_interaction("ada");
        }
        let reply = browser.come_back(&callback).await;
        match demands_again {
            true => is_told(&reply, "access_denied", "demanded twice"),
            false => assert!(reply.location().contains("code="), "{}", reply.location()),
        }
        let end = if demands_again { "failed" } else { "done" };
        assert_eq!(browser.told(), [end]);
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_number_that_is_none_of_entras_the_log_has_nine_digits() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let mut browser = Browser::new(&stage);
    let at_entra: Url = browser.goes_to_entra(&client, &[]).await.parse().unwrap();
    let state = parameter(&at_entra, "state").unwrap();
    let digits = "1234567890".repeat(50);
    let log = Logbook::begin();
    let path =
        format!("/callback?error=access_denied&error_description=AADSTS{digits}&state={state}");
    browser.get(&path).await;
    let said = log.text();
    assert!(said.contains("AADSTS123456789"), "{said}");
    assert!(!said.contains("1234567890"), "{said}");
}
