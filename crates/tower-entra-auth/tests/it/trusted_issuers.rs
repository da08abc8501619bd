//! Tests that trusted issuers decide about their own callers, and hear of challenges to them, and
//! of no others.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::request::Parts;
use http::{Request, Response};
use serde_json::json;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_entra_auth::{
    EntraAuth, Scope, issuer::TrustedIssuer, refusal::ClaimsChallenge,
    require::AuthenticationContext,
};

use crate::reissued::{ISSUER, OPAQUE, RESOURCE, Server, code, served};
use crate::support::{SECOND, settings, user};

/// Challenges that a server heard of: the client and the requested claims.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<(String, String)>>>);

impl Heard {
    fn hears(&self, tokens: TrustedIssuer) -> TrustedIssuer {
        let heard = Arc::clone(&self.0);
        tokens.on_challenge(move |caller, claims| {
            let client = caller.registered_client().unwrap_or("none").to_owned();
            let told = (client, claims.json().to_owned());
            heard.lock().unwrap().push(told);
        })
    }

    fn take(&self) -> Vec<String> {
        let heard = std::mem::take(&mut *self.0.lock().unwrap());
        let each = heard
            .into_iter()
            .inspect(|(client, _)| assert_eq!(client, OPAQUE));
        each.map(|(_, claims)| claims).collect()
    }
}

const C1: &str = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;

/// Returns the status and the `error` of the challenge.
fn told<B>(answer: &Response<B>) -> (u16, String) {
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    let (_, error) = challenge.split_once("error=\"").unwrap();
    let (error, _) = error.split_once('"').unwrap();
    (answer.status().as_u16(), error.to_owned())
}

fn insufficient_claims() -> (u16, String) {
    (401, "insufficient_claims".to_owned())
}

fn insufficient_scope() -> (u16, String) {
    (403, "insufficient_scope".to_owned())
}

/// Sends a request to a route that requires a stronger sign-in.
async fn step_up(auth: &EntraAuth, token: &str) -> (u16, String) {
    let strong = auth.require(AuthenticationContext("c1")).unwrap();
    let service = auth.layer().layer(strong.layer(service_fn(served)));
    let request = Request::get("/").header("authorization", format!("Bearer {token}"));
    told(&service.oneshot(request.body(()).unwrap()).await.unwrap())
}

fn parts() -> Parts {
    Request::get("/").body(()).unwrap().into_parts().0
}

/// Checks that each issuer's own rule is asked, and that each hears only of challenges to its own
/// callers.
#[tokio::test(start_paused = true)]
async fn several_issuers_are_trusted_each_with_its_own_rule_and_ear() {
    const OTHER: &str = "https://other.example.com";

    let server = Server::new().await;
    let other = TrustedIssuer::oauth_proxy(OTHER, RESOURCE, server.keys());
    let ends = |grants: &'static str| {
        move |grant: Arc<str>| async move { Ok::<_, Infallible>(&*grant != grants) }
    };
    let (heard, heard_by_other) = (Heard::default(), Heard::default());
    let auth = settings(&server.tenant)
        .trust(heard.hears(server.tokens().grant_rule(SECOND, ends("grant 1"))))
        .trust(heard_by_other.hears(other.grant_rule(SECOND, ends("grant 2"))));
    // The settings can be used more than once.
    for auth in [auth.clone(), auth] {
        let auth = auth.build().unwrap();
        let of = |issuer: &str, grant: &str| {
            let mut claims = server.claims();
            claims["iss"] = issuer.into();
            claims["gid"] = grant.into();
            server.mint(&claims)
        };
        assert_eq!(code(&auth, &of(ISSUER, "grant 1")).await, "grant_ended");
        assert_eq!(code(&auth, &of(ISSUER, "grant 2")).await, "accepted");
        assert_eq!(code(&auth, &of(OTHER, "grant 1")).await, "accepted");
        assert_eq!(code(&auth, &of(OTHER, "grant 2")).await, "grant_ended");

        let caller = auth.verify(&of(OTHER, "grant 1")).await.unwrap();
        let refusal = caller.challenge(ClaimsChallenge::from_json("{}").unwrap());
        let request = Request::new(()).into_parts().0;
        assert_eq!(refusal.response_to(&request).status(), 401);
        assert_eq!(heard_by_other.0.lock().unwrap().drain(..).count(), 1);
        assert!(heard.0.lock().unwrap().is_empty());
    }
}

/// Checks that a caller keeps its issuer after a reload, regardless of the issuer's position in the
/// new settings.
#[tokio::test(start_paused = true)]
async fn a_caller_of_before_a_reload_has_the_issuer_of_before() {
    let server = Server::new().await;
    let heard = Heard::default();
    let old = server.auth(heard.hears(server.tokens()));
    let caller = old.verify(&server.mint(&server.claims())).await.unwrap();
    let elsewhere = Heard::default();
    let other = TrustedIssuer::oauth_proxy("https://other.example.com", RESOURCE, server.keys());
    let new = settings(&server.tenant)
        .trust(elsewhere.hears(other))
        .replacing(&old)
        .build()
        .unwrap();
    assert!(new.has_verified(&caller));
    let stronger = new.require(AuthenticationContext("c1")).unwrap();
    let request = Request::new(()).into_parts().0;
    let refusal = stronger.check(&caller).unwrap_err();
    assert_eq!(told(&refusal.response_to(&request)), insufficient_claims());
    assert_eq!(heard.take(), [C1]);
    assert!(elsewhere.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hears_of_challenges_has_its_callers_challenged() {
    let (server, heard) = (Server::new().await, Heard::default());
    let auth = server.auth(heard.hears(server.tokens()));
    let token = server.mint(&server.claims());
    // The second time, the token is cached.
    for _ in 0..2 {
        assert_eq!(step_up(&auth, &token).await, insufficient_claims());
        assert_eq!(heard.take(), [C1]);
    }
    let mut claims = server.claims();
    claims["acrs"] = json!(["c1"]);
    let strong = auth.verify(&server.mint(&claims)).await.unwrap();
    let required = auth.require(AuthenticationContext("c1")).unwrap();
    assert!(required.check(&strong).is_ok());

    // The server hears of each kind of refusal by a handler when the response is created, not
    // before.
    let caller = auth.verify(&token).await.unwrap();
    let claims = ClaimsChallenge::from_json("{}").unwrap();
    let challenged = caller.challenge(claims.clone());
    let checked = required.check(&caller).unwrap_err();
    let mut request = Request::new(());
    request.extensions_mut().insert(caller.clone());
    let authorized = required.authorize(request.extensions()).unwrap_err();
    assert!(heard.take().is_empty());
    for (refusal, expected) in [(challenged, "{}"), (checked, C1), (authorized, C1)] {
        let answer = refusal.response_to(&parts());
        assert_eq!(told(&answer), insufficient_claims());
        assert_eq!(heard.take(), [expected]);
        let metadata = refusal.grpc_metadata();
        assert_eq!(metadata["grpc-status"], "16");
        assert_eq!(heard.take(), [expected]);
    }

    // A refusal that no claim of Entra could resolve is no challenge.
    let other = auth.require(Scope("Mcp.Write").and(AuthenticationContext("c1")));
    let refusal = other.unwrap().check(&caller).unwrap_err();
    assert_eq!(refusal.code(), "missing_scope");
    assert_eq!(told(&refusal.response_to(&parts())), insufficient_scope());
    assert!(heard.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_hears_of_no_challenge_but_to_its_own_callers() {
    let (server, heard) = (Server::new().await, Heard::default());
    let auth = server.auth(heard.hears(server.tokens()));
    let without = user(&server.tenant).mint();
    assert_eq!(step_up(&auth, &without).await, insufficient_scope());
    let with = user(&server.tenant).claim("xms_cc", ["cp1"]).mint();
    assert_eq!(step_up(&auth, &with).await, insufficient_claims());
    let caller = auth.verify(&with).await.unwrap();
    let claims = ClaimsChallenge::from_json("{}").unwrap();
    let answer = caller.challenge(claims).response_to(&parts());
    assert_eq!(told(&answer), insufficient_claims());
    assert!(heard.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_server_does_not_hear_of_challenges_is_not_challenged() {
    let server = Server::new().await;
    let auth = server.auth(server.tokens());
    let token = server.mint(&server.claims());
    assert_eq!(step_up(&auth, &token).await, insufficient_scope());
    let caller = auth.verify(&token).await.unwrap();
    let claims = ClaimsChallenge::from_json("{}").unwrap();
    let answer = caller.challenge(claims).response_to(&parts());
    assert_eq!(told(&answer), insufficient_scope());
}

#[tokio::test(start_paused = true)]
async fn a_server_hears_of_the_challenge_that_the_hook_of_answers_makes() {
    let (server, heard) = (Server::new().await, Heard::default());
    let other = r#"{"access_token":{"acrs":{"value":"c2"}}}"#;
    let auth = settings(&server.tenant)
        .trust(heard.hears(server.tokens()))
        .on_refusal(move |refused, answer| match refused.code() {
            "step_up" | "missing_scope" => {
                refused.challenge(ClaimsChallenge::from_json(other).unwrap())
            }
            "claims_challenge" => panic!("the hook's own fault"),
            _ => answer,
        })
        .build()
        .unwrap();
    let token = server.mint(&server.claims());
    assert_eq!(step_up(&auth, &token).await, insufficient_claims());
    assert_eq!(heard.take(), [other]);
    let caller = auth.verify(&token).await.unwrap();
    let write = auth.require(Scope("Mcp.Write")).unwrap();
    let answer = write.check(&caller).unwrap_err().response_to(&parts());
    assert_eq!(told(&answer), insufficient_claims());
    assert_eq!(heard.take(), [other]);
    // If the hook panics, the response contains no challenge.
    let claims = ClaimsChallenge::from_json("{}").unwrap();
    let answer = caller.challenge(claims).response_to(&parts());
    assert_eq!(answer.status(), 500);
    assert!(heard.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_function_that_panics_as_it_hears_of_a_challenge_takes_nothing_from_the_answer() {
    let server = Server::new().await;
    let tokens = server.tokens();
    let auth = server.auth(tokens.on_challenge(|_, _| panic!("the function's own fault")));
    let token = server.mint(&server.claims());
    for _ in 0..2 {
        assert_eq!(step_up(&auth, &token).await, insufficient_claims());
    }
}
