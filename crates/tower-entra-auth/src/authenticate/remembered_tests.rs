//! Tests of the token cache from inside the crate: only there is it visible whether a caller came
//! from the cache.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entra_dev_tenant::{DevTenant, TokenBuilder};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::time::advance;

use super::{Decision, EntraAuth, Issuer, RememberedTokens, TokenLocation, TokenReader};
use crate::caller::{AuthContext, Caller};
use crate::config::{EntraAuthBuilder, TokenCache};
use crate::policy::PostVerificationChecks;
use crate::respond::ResponderConfig;

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

async fn tenant() -> DevTenant {
    DevTenant::start().await.unwrap()
}

fn settings(tenant: &DevTenant) -> EntraAuthBuilder {
    EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .metadata_endpoint(tenant.url())
        .http_client(tenant.http_client())
        .clock(tenant.clock())
}

fn auth(tenant: &DevTenant) -> EntraAuth {
    settings(tenant).build().unwrap()
}

fn user(tenant: &DevTenant) -> TokenBuilder<'_> {
    tenant.user("lovelace").scope("Reports.Read").for_api(API)
}

/// Decides about a token, and returns the caller or the code of the refusal.
async fn ask(auth: &EntraAuth, token: &str) -> Result<Caller, &'static str> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    let decided = match auth.decide(&headers, &http::Uri::default()) {
        Decision::Accept(caller) => Ok(caller),
        Decision::Refuse(refusal) => Err(refusal),
        Decision::Wait(pending) => pending.decide().await,
    };
    decided.map_err(|refusal| refusal.code())
}

impl EntraAuth {
    /// Returns an `EntraAuth` that trusts the issuers of both.
    fn and_trusting(&self, other: &Self) -> Self {
        let both = [&self.state, &other.state];
        let issuers = both.into_iter().flat_map(|state| &state.issuers);
        let context = Arc::clone(&self.state.context);
        Self::new(
            issuers
                .map(|issuer| Issuer {
                    validator: issuer.validator.clone(),
                    keys: Arc::clone(&issuer.keys),
                    has_grants: issuer.has_grants,
                })
                .collect(),
            TokenReader::new(TokenLocation::default(), false),
            self.state.max_token_length,
            Some(RememberedTokens::new(1024 * 1024, HOUR)),
            None,
            String::new(),
            AuthContext::new(
                ResponderConfig::default(),
                Arc::new(move || context.now()),
                self.state.context.clock_skew(),
                PostVerificationChecks::new(None, None, Vec::new()),
                None,
                Vec::new(),
                None,
            ),
        )
    }
}

async fn is_remembered(auth: &EntraAuth, token: &str, before: &Caller) -> bool {
    ask(auth, token).await.unwrap().is_same(before)
}

#[tokio::test(start_paused = true)]
async fn a_token_is_verified_once_and_then_remembered() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    // The first token waits for the keys, the second does not. Both are cached.
    for token in [user(&tenant).mint(), user(&tenant).claim("uti", "2").mint()] {
        let caller = ask(&auth, &token).await.unwrap();
        assert!(is_remembered(&auth, &token, &caller).await);
        assert_eq!(caller.bearer_token(), token);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_twelve_kilobytes_is_remembered_too() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let groups: Vec<String> = (0..200)
        .map(|n| format!("0a1b2c3d-4e5f-4a6b-8c7d-{n:012}"))
        .collect();
    let token = user(&tenant).claim("groups", groups).mint();
    assert!(token.len() > 10_000, "{}", token.len());
    let caller = ask(&auth, &token).await.unwrap();
    assert!(is_remembered(&auth, &token, &caller).await);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_differs_in_one_byte_is_another_one() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let token = user(&tenant).mint();
    ask(&auth, &token).await.unwrap();
    let payload = token.find('.').unwrap() + 1;
    let signature = token.rfind('.').unwrap() + 1;
    // These bytes are before the part of the signature that is hashed, so only the full comparison
    // finds the difference.
    for position in [payload + 20, signature, signature + 150] {
        let mut forged = token.clone().into_bytes();
        forged[position] = if forged[position] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert!(ask(&auth, &forged).await.is_err(), "{position}");
    }
    for shorter in [&token[1..], &token[..token.len() - 1]] {
        assert!(ask(&auth, shorter).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_remembered_token_expires_to_the_second() {
    let tenant = tenant().await;
    let auth = settings(&tenant).clock_skew(MINUTE).build().unwrap();
    let now = tenant.clock()().duration_since(std::time::UNIX_EPOCH);
    let expires = now.unwrap().as_secs() + 600;
    let token = user(&tenant).claim("exp", expires).mint();
    let caller = ask(&auth, &token).await.unwrap();
    advance(659 * SECOND).await;
    assert!(is_remembered(&auth, &token, &caller).await);
    advance(3 * SECOND).await;
    assert_eq!(ask(&auth, &token).await.unwrap_err(), "expired");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_makes_a_remembered_token_not_yet_valid() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let token = user(&tenant).mint();
    ask(&auth, &token).await.unwrap();
    tenant.time().jump_back(2 * HOUR);
    assert_eq!(ask(&auth, &token).await.unwrap_err(), "not_yet_valid");
    tenant.time().jump_forward(2 * HOUR);
    assert!(ask(&auth, &token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_remembered_token_is_refused_once_its_key_is_published_with_its_private_half() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let older = user(&tenant).mint();
    ask(&auth, &older).await.unwrap();
    tenant.signing_keys().rotate();
    let token = user(&tenant).mint();
    ask(&auth, &token).await.unwrap();

    tenant.signing_keys().publish_private_half();
    // This token makes the service fetch the keys, which affects every token of the exposed key.
    let unknown = user(&tenant).header("kid", "unknown").mint();
    assert!(ask(&auth, &unknown).await.is_err());
    assert_eq!(ask(&auth, &token).await.unwrap_err(), "unknown_key");
    assert!(ask(&auth, &older).await.is_ok(), "its key is not concerned");

    tenant.signing_keys().reset();
    advance(MINUTE).await;
    assert_eq!(
        ask(&auth, &token).await.unwrap_err(),
        "unknown_key",
        "for good"
    );
}

#[tokio::test(start_paused = true)]
async fn a_remembered_token_is_unavailable_once_the_keys_are_stale() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    let day = user(&tenant).claim("exp", 4_000_000_000_u64).mint();
    ask(&auth, &day).await.unwrap();
    tenant.start_outage();
    advance(23 * HOUR).await;
    assert!(ask(&auth, &day).await.is_ok());
    advance(HOUR).await;
    assert_eq!(ask(&auth, &day).await.unwrap_err(), "connect");
}

#[tokio::test(start_paused = true)]
async fn the_tenant_rule_is_asked_about_remembered_tokens_too() {
    let tenant = tenant().await;
    let is_customer = Arc::new(AtomicBool::new(true));
    let rule = Arc::clone(&is_customer);
    let auth = settings(&tenant)
        .tenant_rule(move |_| {
            let answer = rule.load(Ordering::SeqCst);
            async move { Ok::<_, Infallible>(answer) }
        })
        .rule_ttl(MINUTE)
        .build()
        .unwrap();
    let token = user(&tenant).mint();
    let caller = ask(&auth, &token).await.unwrap();
    is_customer.store(false, Ordering::SeqCst);
    assert!(is_remembered(&auth, &token, &caller).await, "as is its yes");
    advance(MINUTE).await;
    assert_eq!(ask(&auth, &token).await.unwrap_err(), "tenant_not_allowed");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_is_not_remembered() {
    let tenant = tenant().await;
    let auth = auth(&tenant);
    for token in [
        user(&tenant).expired().mint(),
        user(&tenant).bad_signature().mint(),
        tenant.app(API).for_api(API).mint(),
        "garbage".to_owned(),
    ] {
        assert!(ask(&auth, &token).await.is_err());
    }
    let status = auth.status();
    assert_eq!(status.token_cache.unwrap().tokens, 0);
    ask(&auth, &user(&tenant).mint()).await.unwrap();
    assert_eq!(auth.status().token_cache.unwrap().tokens, 1);
}

#[tokio::test(start_paused = true)]
async fn remembering_ends_after_its_time_and_can_be_off() {
    let tenant = tenant().await;
    let token = user(&tenant).mint();
    let short = settings(&tenant)
        .token_cache(TokenCache::default().ttl(MINUTE))
        .build()
        .unwrap();
    let caller = ask(&short, &token).await.unwrap();
    advance(59 * SECOND).await;
    assert!(is_remembered(&short, &token, &caller).await);
    advance(SECOND).await;
    assert!(!is_remembered(&short, &token, &caller).await);

    let off = settings(&tenant)
        .token_cache(TokenCache::off())
        .build()
        .unwrap();
    let caller = ask(&off, &token).await.unwrap();
    assert!(!is_remembered(&off, &token, &caller).await);
    assert!(off.status().token_cache.is_none());
}

#[tokio::test(start_paused = true)]
async fn another_entra_auth_remembers_for_itself() {
    let tenant = tenant().await;
    let (one, other) = (auth(&tenant), auth(&tenant));
    let token = user(&tenant).mint();
    let caller = ask(&one, &token).await.unwrap();
    assert!(!is_remembered(&other, &token, &caller).await);
    assert!(one.has_verified(&caller) && !other.has_verified(&caller));
}

#[tokio::test(start_paused = true)]
async fn the_remembered_tokens_are_bounded_in_bytes() {
    let tenant = tenant().await;
    let bytes = 128 * 1024;
    let auth = settings(&tenant)
        .token_cache(TokenCache::bytes(bytes))
        .build()
        .unwrap();
    for n in 0..200 {
        let token = user(&tenant).claim("uti", n.to_string()).mint();
        ask(&auth, &token).await.unwrap();
    }
    let cache = auth.status().token_cache.unwrap();
    assert!(cache.bytes <= bytes as u64, "{cache:?}");
    assert!((20..200).contains(&cache.tokens), "{cache:?}");
}

/// Checks that each of two trusted issuers has its own keys, and that a token is verified only with
/// the keys of its issuer.
#[tokio::test(start_paused = true)]
async fn each_trusted_issuer_has_its_own_keys() {
    let first = tenant().await;
    let second = DevTenant::builder()
        .id("0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d")
        .external_id()
        .start()
        .await
        .unwrap();
    let external = settings(&second).external_id("contoso.ciamlogin.com");
    let auth = auth(&first).and_trusting(&external.build().unwrap());
    for tenant in [&first, &second] {
        let token = user(tenant).mint();
        let caller = ask(&auth, &token).await.unwrap();
        assert_eq!(caller.tenant_id().to_string(), tenant.id());
        assert!(is_remembered(&auth, &token, &caller).await);
    }
    // Signed with the key of the first issuer, which the second issuer does not have.
    let issuer = format!("https://{0}.ciamlogin.com/{0}/v2.0", second.id());
    let forged = user(&first).of_tenant(second.id()).claim("iss", issuer);
    let forged = forged.mint();
    assert_eq!(ask(&auth, &forged).await.unwrap_err(), "unknown_key");
    assert_eq!(first.key_endpoint().hits(), 1);
    second.signing_keys().rotate();
    advance(30 * SECOND).await; // the forged token has emptied the bucket
    assert!(ask(&auth, &user(&second).mint()).await.is_ok());
    assert_eq!(
        first.key_endpoint().hits(),
        1,
        "the other's keys are not its matter"
    );
    assert_eq!(auth.status().issuers.len(), 2);
}

/// Checks that a token that was used often, and may have expired, does not keep out a new one.
#[tokio::test(start_paused = true)]
async fn the_token_that_came_last_is_remembered_however_often_others_came() {
    let tenant = tenant().await;
    let small = TokenCache::bytes(64 * 1024).ttl(24 * HOUR);
    let auth = settings(&tenant).token_cache(small).build().unwrap();
    for of_before in [true, false] {
        for number in 0..60 {
            let token = user(&tenant).claim("uti", format!("{of_before}{number}"));
            let token = token.mint();
            let caller = ask(&auth, &token).await.unwrap();
            // Makes moka apply its pending updates.
            drop(auth.status());
            assert!(is_remembered(&auth, &token, &caller).await, "{number}");
            for _ in 0..20 {
                ask(&auth, &token).await.unwrap();
            }
            drop(auth.status());
        }
        tenant.time().advance(2 * HOUR).await;
    }
}
