//! Floods: what honest users notice of them, which is nothing.

use std::time::Duration;

use entra_oauth_proxy::Limits;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::logbook::Logbook;
use crate::refresh::token_of;
use crate::support::{Browser, Client, HOUR, Reply, Stage, parameter, settings, tenant};

/// A browser that stands before the proxy with what Entra gave it.
async fn returning<'s>(stage: &'s Stage, client: &Client) -> (Browser<'s>, String) {
    let mut browser = Browser::new(stage);
    let at_entra = browser.goes_to_entra(client, &[]).await;
    let callback = stage.tenant.signs_in("ada", &at_entra);
    (browser, callback)
}

/// What the client is told by redirect.
fn told(reply: &Reply) -> String {
    let location: Url = reply.location().parse().unwrap();
    let error = parameter(&location, "error");
    error.unwrap_or_else(|| {
        assert!(parameter(&location, "code").is_some(), "{location}");
        "a code".to_owned()
    })
}

#[tokio::test(start_paused = true)]
async fn returns_that_hang_at_entra_hold_up_other_returns_and_no_refresh() {
    let limits = Limits::default().entra_calls(2);
    let stage = Stage::with(|settings| settings.limits(limits)).await;
    let client = stage.client().await;
    let token = stage.sign_in(&client, "grace").await["refresh_token"].clone();
    stage.tenant.advance(HOUR).await;
    let (mut first, first_back) = returning(&stage, &client).await;
    let (mut second, second_back) = returning(&stage, &client).await;
    let (mut third, third_back) = returning(&stage, &client).await;
    stage.tenant.token_endpoint().hangs().for_next(2);
    let log = Logbook::begin();
    let others = async {
        sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        let refresh = async {
            let refreshed = stage.refresh(&client, &token).await;
            (refreshed, begun.elapsed())
        };
        let third = async {
            let told = third.come_back(&third_back).await;
            (told, begun.elapsed())
        };
        tokio::join!(third, refresh)
    };
    let (first, second, ((third, waited), (refreshed, after))) = tokio::join!(
        first.come_back(&first_back),
        second.come_back(&second_back),
        others
    );
    assert_eq!(told(&third), "temporarily_unavailable");
    assert_eq!(waited, Duration::from_secs(2));
    token_of(refreshed).await;
    assert!(after < Duration::from_secs(2), "{after:?}");
    // Those that hang are given up, and then there is room.
    for hung in [first, second] {
        assert_eq!(told(&hung), "temporarily_unavailable");
    }
    let said = log.lines("WARN").join("\n");
    assert!(said.contains("calls=\"sign-ins\" count=1"), "{said}");
    let (mut fourth, fourth_back) = returning(&stage, &client).await;
    assert_eq!(told(&fourth.come_back(&fourth_back).await), "a code");
}

#[tokio::test(start_paused = true)]
async fn renewals_that_hang_at_entra_cost_no_refresh_and_hold_up_no_sign_in() {
    let limits = Limits::default().entra_calls(1);
    let stage = Stage::with(|settings| settings.limits(limits)).await;
    let client = stage.client().await;
    for (is_good, age) in [(true, 56), (false, 61)] {
        let ada = stage.sign_in(&client, "ada").await["refresh_token"].clone();
        let grace = stage.sign_in(&client, "grace").await["refresh_token"].clone();
        stage.tenant.advance(Duration::from_secs(age * 60)).await;
        let (mut browser, callback) = returning(&stage, &client).await;
        stage.tenant.token_endpoint().hangs().for_next(1);
        let others = async {
            sleep(Duration::from_millis(100)).await;
            let signed_in = browser.come_back(&callback).await;
            let begun = Instant::now();
            let refreshed = stage.refresh(&client, &grace).await;
            (signed_in, refreshed, begun.elapsed())
        };
        let (hung, (signed_in, refreshed, waited)) =
            tokio::join!(stage.refresh(&client, &ada), others);
        assert_eq!(told(&signed_in), "a code");
        assert_eq!(waited, Duration::from_secs(2));
        for (token, reply) in [(ada, hung), (grace, refreshed)] {
            let token = match is_good {
                // Entra's own token is good for a while.
                true => token_of(reply).await,
                false => {
                    let expected = (503, "temporarily_unavailable".to_owned());
                    assert_eq!(reply.error(), expected);
                    assert_eq!(reply.header("retry-after"), "5");
                    token
                }
            };
            // After the time in which a token that was replaced would still work.
            stage.tenant.advance(Duration::from_secs(61)).await;
            assert_ne!(token_of(stage.refresh(&client, &token).await).await, token);
        }
    }
}

#[tokio::test]
async fn that_many_calls_to_entra_cannot_be_set() {
    let tenant = tenant().start().await.unwrap();
    for calls in [0, 10_001] {
        let limits = Limits::default().entra_calls(calls);
        let error = settings(&tenant).limits(limits).build().unwrap_err();
        let (setting, text) = error.problems().next().unwrap();
        assert_eq!(setting, "limits");
        assert!(text.ends_with("good is entra_calls(64)"), "{text}");
    }
}
