//! Tests of several tenants, External ID, restrictions on callers, and the service's own rule about
//! tenants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use entra_dev_tenant::{DevTenant, Flaw, TokenBuilder};
use entra_jwt_core::{
    explain::{CheckName, Outcome, Verdict},
    require::{Requirement, Scope},
};
use tokio::sync::Notify;
use tokio::time::advance;
use tower_entra_auth::{EntraAuth, EntraAuthBuilder, Tenancy, TenantId};

use crate::support::{
    API, CLIENT, MINUTE, OTHER_TENANT, SECOND, Server, app, ask, header, serve, settings, status,
    tenant, user,
};

async fn serving(builder: EntraAuthBuilder) -> Server {
    serve(app(&builder.build().unwrap())).await
}

async fn code(server: &Server, token: TokenBuilder<'_>) -> String {
    let response = ask(server, &token.mint()).await;
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    match status {
        200 => "accepted".to_owned(),
        _ => format!("{status} {}", body.trim()),
    }
}

fn personal(tenant: &DevTenant) -> TokenBuilder<'_> {
    tenant
        .personal("lovelace")
        .scope("Reports.Read")
        .for_api(API)
}

#[tokio::test]
async fn each_tenancy_admits_its_own_with_keys_from_its_own_documents() {
    let tenant = tenant().await;
    let id: TenantId = tenant.id().parse().unwrap();
    let other: TenantId = OTHER_TENANT.parse().unwrap();
    let not_allowed = "401 tenant_not_allowed";
    // Keys of personal accounts are in no document of organizations, so the Layer cannot recognise
    // such a token.
    let unknown = "401 untrusted_signature";
    for (tenancy, home, another, personal_account) in [
        (Tenancy::tenant(id), "accepted", not_allowed, unknown),
        (
            Tenancy::tenants([id, other]),
            "accepted",
            "accepted",
            unknown,
        ),
        (Tenancy::organizations(), "accepted", "accepted", unknown),
        (Tenancy::common(), "accepted", "accepted", "accepted"),
        (
            Tenancy::tenants([id, TenantId::CONSUMERS]),
            "accepted",
            not_allowed,
            "accepted",
        ),
        (Tenancy::consumers(), unknown, unknown, "accepted"),
    ] {
        // Each server has its own bucket.
        let server = || serving(settings(&tenant).tenant(tenancy.clone()));
        for (token, expected) in [
            (user(&tenant), home),
            (user(&tenant).of_tenant(OTHER_TENANT), another),
            (personal(&tenant), personal_account),
        ] {
            assert_eq!(code(&server().await, token).await, expected, "{tenancy}");
        }
        // In every tenancy, the issuer must belong to the token's own tenant, and the key to both.
        for (flaw, expected) in [
            (Flaw::IssuerOfAnotherTenant, "401 wrong_issuer"),
            (Flaw::PersonalKey, unknown),
            (Flaw::OtherCloudKey, unknown),
        ] {
            let found = code(&server().await, user(&tenant).flaw(flaw)).await;
            assert_eq!(found, expected, "{tenancy} {flaw:?}");
        }
    }
}

#[tokio::test]
async fn the_environment_names_many_tenants_too() {
    let tenant = tenant().await;
    for value in [
        "organizations".to_owned(),
        format!("{},{OTHER_TENANT}", tenant.id()),
    ] {
        let builder = EntraAuth::builder()
            .client_id(API)
            .metadata_endpoint(tenant.url())
            .variables(|name| (name == "ENTRA_TENANT_ID").then(|| value.clone()));
        let server = serving(builder).await;
        let token = user(&tenant).of_tenant(OTHER_TENANT);
        assert_eq!(code(&server, token).await, "accepted", "{value}");
    }
}

#[tokio::test]
async fn a_tenant_of_external_id_is_served_by_its_own_issuer() {
    let external = DevTenant::builder().external_id().start().await.unwrap();
    let server = serving(settings(&external).external_id("contoso.ciamlogin.com")).await;
    assert_eq!(code(&server, user(&external)).await, "accepted");

    // Without the setting, the document belongs to another issuer.
    let server = serving(settings(&external)).await;
    assert_eq!(
        code(&server, user(&external)).await,
        "401 wrong_issuer",
        "the token is told so before any key is fetched"
    );
    let auth = settings(&external).build().unwrap();
    assert_eq!(auth.ready().await.unwrap_err().code(), "wrong_cloud");
    let workforce = tenant().await;
    let auth = settings(&workforce).external_id("contoso.ciamlogin.com");
    let error = auth.build().unwrap().ready().await.unwrap_err();
    assert_eq!(error.code(), "wrong_cloud");
}

#[tokio::test]
async fn who_may_call_is_restricted_by_client_and_guests() {
    let tenant = tenant().await;
    let bare = || tenant.app(CLIENT).for_api(API);
    let server = serving(settings(&tenant).allowed_clients([CLIENT])).await;
    assert_eq!(
        code(&server, user(&tenant).client(CLIENT)).await,
        "accepted"
    );
    assert_eq!(code(&server, user(&tenant)).await, "401 client_not_allowed");
    assert_eq!(code(&server, bare()).await, "403 no_permission");

    let server = serving(settings(&tenant).allow_roleless_clients([CLIENT])).await;
    assert_eq!(code(&server, bare()).await, "accepted");
    assert_eq!(
        code(&server, tenant.app(OTHER_TENANT).for_api(API)).await,
        "403 no_permission"
    );

    let server = serving(settings(&tenant).refuse_guests()).await;
    assert_eq!(code(&server, user(&tenant)).await, "accepted");
    assert_eq!(
        code(&server, user(&tenant).guest()).await,
        "401 guest_not_allowed"
    );
}

#[tokio::test]
async fn a_key_of_another_cloud_counts_only_by_a_setting_named_dangerous() {
    let tenant = tenant().await;
    let token = || user(&tenant).flaw(Flaw::OtherCloudKey);
    let many = || settings(&tenant).tenant(Tenancy::organizations());
    assert_eq!(
        code(&serving(many()).await, token()).await,
        "401 untrusted_signature"
    );
    let lax = many().dangerous().accept_keys_of_other_clouds();
    assert_eq!(code(&serving(lax).await, token()).await, "accepted");
}

/// A rule that counts its questions and gives the answer that the test sets.
#[derive(Clone, Default)]
pub(crate) struct Rule {
    asked: Arc<AtomicUsize>,
    answer: Arc<std::sync::Mutex<Option<Result<bool, &'static str>>>>,
    answered: Arc<Notify>,
}

impl Rule {
    pub(crate) fn saying(answer: Result<bool, &'static str>) -> Self {
        let rule = Self::default();
        rule.says(answer);
        rule
    }

    pub(crate) fn says(&self, answer: Result<bool, &'static str>) {
        *self.answer.lock().unwrap() = Some(answer);
        self.answered.notify_waiters();
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn of(&self, tenant: &DevTenant) -> EntraAuthBuilder {
        let rule = self.clone();
        settings(tenant)
            .tenant(Tenancy::organizations())
            .tenant_rule(move |_| rule.clone().ask())
    }

    /// Gives no answer from now on.
    pub(crate) fn hangs(&self) {
        *self.answer.lock().unwrap() = None;
    }

    /// Counts the question, and waits until the test has set an answer.
    pub(crate) async fn ask(self) -> Result<bool, &'static str> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        loop {
            let answered = self.answered.notified();
            if let Some(answer) = *self.answer.lock().unwrap() {
                return answer;
            }
            answered.await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_tenant_rule_is_asked_once_in_five_minutes_for_each_tenant() {
    let tenant = tenant().await;
    let rule = Rule::saying(Ok(true));
    let server = serving(rule.of(&tenant)).await;
    for _ in 0..3 {
        assert_eq!(code(&server, user(&tenant)).await, "accepted");
    }
    assert_eq!(rule.asked(), 1);
    let other = || user(&tenant).of_tenant(OTHER_TENANT);
    assert_eq!(code(&server, other()).await, "accepted");
    assert_eq!(rule.asked(), 2);
    advance(5 * MINUTE - 5 * SECOND).await;
    assert_eq!(code(&server, user(&tenant)).await, "accepted");
    assert_eq!(rule.asked(), 2);
    // The rule is also asked again about a token that was accepted before.
    rule.says(Ok(false));
    advance(5 * SECOND).await;
    assert_eq!(code(&server, user(&tenant)).await, "401 tenant_not_allowed");
    assert_eq!(rule.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn how_long_a_yes_is_kept_can_be_set_down_to_not_at_all() {
    let tenant = tenant().await;
    let rule = Rule::saying(Ok(true));
    let server = serving(rule.of(&tenant).rule_ttl(MINUTE)).await;
    assert_eq!(code(&server, user(&tenant)).await, "accepted");
    advance(MINUTE + SECOND).await;
    assert_eq!(code(&server, user(&tenant)).await, "accepted");
    assert_eq!(rule.asked(), 2);

    let rule = Rule::saying(Ok(true));
    let server = serving(rule.of(&tenant).rule_ttl(Duration::ZERO)).await;
    for _ in 0..3 {
        assert_eq!(code(&server, user(&tenant)).await, "accepted");
    }
    assert_eq!(rule.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_no_of_the_tenant_rule_is_kept_for_a_second_and_refuses_as_the_core_does() {
    let tenant = tenant().await;
    let rule = Rule::saying(Ok(false));
    let server = serving(rule.of(&tenant)).await;
    let response = ask(&server, &user(&tenant).mint()).await;
    assert_eq!(response.status(), 401);
    assert_eq!(
        header(&response, "www-authenticate").unwrap(),
        "Bearer error=\"invalid_token\", error_description=\"tenant_not_allowed\""
    );
    rule.says(Ok(true));
    let another = user(&tenant).mint();
    assert_eq!(status(&server, &another).await, 401);
    assert_eq!(rule.asked(), 1);
    advance(SECOND).await;
    assert_eq!(status(&server, &another).await, 200);
    assert_eq!(rule.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_is_forgotten_is_asked_about_with_its_next_request() {
    let tenant = tenant().await;
    let rule = Rule::saying(Ok(false));
    let auth = rule.of(&tenant).build().unwrap();
    let server = serve(app(&auth)).await;
    let token = user(&tenant).mint();
    let other = user(&tenant).of_tenant(OTHER_TENANT).mint();
    let id: TenantId = tenant.id().parse().unwrap();
    assert_eq!(status(&server, &token).await, 401);
    assert_eq!(status(&server, &other).await, 401);
    // The tenant signs up: the rule's no is forgotten, but no other tenant's.
    rule.says(Ok(true));
    auth.forget_tenant(id);
    assert_eq!(status(&server, &token).await, 200);
    assert_eq!(status(&server, &other).await, 401);
    assert_eq!(rule.asked(), 3);
    // The tenant leaves: the rule's yes is forgotten, also for a cached token.
    rule.says(Ok(false));
    auth.forget_tenant(id);
    assert_eq!(status(&server, &token).await, 401);
    assert_eq!(rule.asked(), 4);
    // Without a rule, there is nothing to forget.
    settings(&tenant).build().unwrap().forget_tenant(id);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_tenant_rule_is_503_and_no_kept_yes_is_lost() {
    let tenant = tenant().await;
    let rule = Rule::saying(Ok(true));
    let server = serving(rule.of(&tenant)).await;
    assert_eq!(code(&server, user(&tenant)).await, "accepted");
    rule.says(Err("database down: secret connection string"));
    assert_eq!(code(&server, user(&tenant)).await, "accepted");
    let other = user(&tenant).of_tenant(OTHER_TENANT).mint();
    let response = ask(&server, &other).await;
    assert_eq!(response.status(), 503);
    assert_eq!(header(&response, "retry-after"), Some("5"));
    assert_eq!(response.text().await.unwrap(), "tenant_rule_unavailable\n");
    rule.says(Ok(true));
    assert_eq!(status(&server, &other).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_rule_that_does_not_answer_is_waited_for_five_seconds() {
    let tenant = tenant().await;
    let rule = Rule::default();
    let server = serving(rule.of(&tenant)).await;
    let start = tokio::time::Instant::now();
    assert_eq!(
        code(&server, user(&tenant)).await,
        "503 tenant_rule_unavailable"
    );
    let waited = start.elapsed();
    assert!((5 * SECOND..6 * SECOND).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_of_one_tenant_share_the_answer_and_a_client_that_hangs_up_ends_nothing() {
    let tenant = tenant().await;
    let rule = Rule::default();
    let auth = rule.of(&tenant).build().unwrap();
    auth.ready().await.unwrap();
    let server = Arc::new(serve(app(&auth)).await);
    let token = user(&tenant).mint();
    let mut requests: Vec<_> = (0..20)
        .map(|_| {
            let (server, token) = (Arc::clone(&server), token.clone());
            tokio::spawn(async move { status(&server, &token).await })
        })
        .collect();
    while rule.asked() == 0 {
        tokio::task::yield_now().await;
    }
    // The answer arrives even if the aborted request was the one that asked the rule.
    requests.remove(0).abort();
    rule.says(Ok(true));
    for request in requests {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(rule.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_rule_that_panics_refuses_and_is_asked_again() {
    let tenant = tenant().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let builder = settings(&tenant).tenant_rule(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            assert!(number > 0, "the first question fails");
            Ok::<_, String>(true)
        }
    });
    let server = serving(builder).await;
    assert_eq!(
        code(&server, user(&tenant)).await,
        "503 tenant_rule_unavailable"
    );
    assert_eq!(code(&server, user(&tenant)).await, "accepted");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_tenant_rule_is_asked_only_about_tokens_that_pass_everything_else() {
    let tenant = tenant().await;
    let rule = Rule::saying(Ok(true));
    let server = serving(rule.of(&tenant)).await;
    for flaw in Flaw::ALL {
        let token = user(&tenant).flaw(*flaw);
        let is_accepted = code(&server, token).await == "accepted";
        let may_be_asked = matches!(
            flaw,
            Flaw::AnotherTenant
                | Flaw::ExpiredWithinSkew
                | Flaw::NotYetValidWithinSkew
                | Flaw::ExpFloat
        );
        assert_eq!(is_accepted, may_be_asked, "{flaw:?}");
    }
    assert_eq!(rule.asked(), 2, "one for each tenant");
}

#[tokio::test]
async fn a_token_is_explained_with_the_keys_that_are_held() {
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let token = user(&tenant).mint();
    let before = auth.explain(&token, None);
    assert_eq!(before.verdict(), Verdict::NotVerified);
    auth.ready().await.unwrap();
    assert_eq!(auth.explain(&token, None).verdict(), Verdict::Accepted);
    let report = auth.explain(&user(&tenant).v1().expired().mint(), None);
    for (check, code) in [
        (CheckName::Lifetime, Some("expired")),
        (CheckName::Version, Some("v1_token")),
        (CheckName::Audience, None),
    ] {
        assert_eq!(report.finding(check).unwrap().code(), code);
    }
    let garbage = auth.explain("garbage", None);
    let last = garbage.findings().last().unwrap();
    assert_eq!(last.outcome, Outcome::NotReached);
    let requirement = Requirement::new(Scope("Reports.Write")).unwrap();
    let report = auth.explain(&token, Some(&requirement));
    assert!(
        matches!(report.verdict(), Verdict::PermissionDenied(denied) if denied.code() == "missing_scope")
    );
    assert_eq!(auth.validators().count(), 1);
}
