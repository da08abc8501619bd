//! Tests of what operators see: decisions as metrics and spans, and queries that use only existing
//! metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::routing::{any, get, post};
use http::Request;
use metrics_util::debugging::Snapshotter;
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;
use tower::ServiceExt as _;
use tower_entra_auth::{Caller, EntraAuth, Scope, TenantId, require::AuthenticationContext};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use crate::grpc_api;
use crate::logs::for_all_threads;
use crate::status::{METRICS, counter, recorded};
use crate::support::{
    API, CLIENT, HOUR, MINUTE, OTHER_TENANT, Server, client, serve, settings, tenant, user,
};
use crate::tenants::Rule;

/// Returns an application with a route for each kind of decision. `/open` permits anonymous
/// requests, and `/bare` is outside the Layer.
fn app(auth: &EntraAuth) -> Router {
    let strong = auth.require(AuthenticationContext("c1")).unwrap();
    let write = auth.require(Scope("Reports.Write")).unwrap();
    let layer = auth.layer().open_path("/open").unwrap();
    Router::new()
        .route("/me", get(async |caller: Caller| caller.id().to_string()))
        .route("/strong", get(async || "ok").layer(strong))
        .route("/write", post(async || "ok").layer(write.clone()))
        .route(
            "/tolerant",
            get(async move |request: axum::extract::Request| {
                let may_write = write.authorize(request.extensions()).is_ok();
                format!("may write: {may_write}")
            }),
        )
        .route("/open", get(async || "ok"))
        .layer(layer)
        .route("/bare", get(async |_: Caller| "never"))
}

async fn ask(server: &Server, path: &str, token: Option<String>) -> u16 {
    let request = client().get(format!("{}{path}", server.url));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().await.unwrap().status().as_u16()
}

const OF_NOBODY: &str = "0b3c4d5e-6f70-4811-9223-3445566778aa";

/// Causes each outcome and each metric at least once.
async fn everything_happens(_: &Snapshotter) {
    let tenant = tenant().await;
    tenant.discovery_endpoint().serve_etags(true);
    tenant.key_endpoint().serve_etags(true);
    let auth = settings(&tenant).build().unwrap();
    let server = serve(app(&auth)).await;
    let good = || Some(user(&tenant).mint());
    let twice = good();
    for (path, token, status) in [
        ("/me", twice.clone(), 200),
        ("/me", twice, 200),
        ("/me", None, 401),
        ("/open", None, 200),
        ("/strong", good(), 403),
        ("/bare", good(), 500),
        ("/me", Some(user(&tenant).expired().mint()), 401),
        ("/me", Some(user(&tenant).bad_signature().mint()), 401),
        ("/me", Some(user(&tenant).header("kid", "none").mint()), 401),
        // The fetches of the previous request have emptied the bucket.
        ("/me", Some(user(&tenant).header("kid", "none").mint()), 503),
        ("/me", Some(tenant.app(CLIENT).for_api(API).mint()), 403),
    ] {
        assert_eq!(ask(&server, path, token).await, status, "{path}");
    }
    let basic = client()
        .get(format!("{}/me", server.url))
        .basic_auth("a", Some("b"));
    assert_eq!(basic.send().await.unwrap().status(), 401);
    // The scheduled fetches find the keys unchanged.
    tokio::time::sleep(2 * HOUR).await;
    let down = DownTenant::start().await;
    assert_eq!(
        ask(&down.server, "/me", Some(down.token.clone())).await,
        503
    );
    crowd().await;
    let outcast = |_: TenantId| async { Err::<bool, _>("away") };
    let ruled = settings(&tenant).tenant_rule(outcast).build().unwrap();
    let server = serve(app(&ruled)).await;
    assert_eq!(ask(&server, "/me", good()).await, 503);
}

/// Sends more requests than may wait for a key server that hangs.
///
/// The function uses no sockets, so that no time passes between the requests.
async fn crowd() {
    let tenant = tenant().await;
    tenant.key_endpoint().hang();
    let auth = settings(&tenant).build().unwrap();
    let token = user(&tenant).mint();
    let mut waiting: Vec<_> = (0..256).map(|_| Box::pin(auth.verify(&token))).collect();
    for request in &mut waiting {
        let polled = poll_fn(|context| Poll::Ready(request.as_mut().poll(context).is_pending()));
        assert!(polled.await);
    }
    let request = Request::get("/me").header("authorization", format!("Bearer {token}"));
    let answer = app(&auth).oneshot(request.body(Body::empty()).unwrap());
    assert_eq!(answer.await.unwrap().status(), 503);
}

/// A served API whose tenant cannot be reached.
struct DownTenant {
    server: Server,
    token: String,
    _tenant: entra_dev_tenant::DevTenant,
}

impl DownTenant {
    async fn start() -> Self {
        let tenant = tenant().await;
        tenant.start_outage();
        let auth = settings(&tenant).build().unwrap();
        Self {
            server: serve(app(&auth)).await,
            token: user(&tenant).mint(),
            _tenant: tenant,
        }
    }
}

#[test]
fn each_decision_is_counted_once_by_outcome_and_code() {
    let series = recorded(everything_happens);
    let decisions: BTreeMap<&str, u64> = series
        .keys()
        .filter_map(|name| name.strip_prefix("entra_auth_decisions_total "))
        .map(|labels| {
            (
                labels,
                counter(&series, &format!("entra_auth_decisions_total {labels}")),
            )
        })
        .collect();
    let expected = [
        // Two requests to /me, and one to /strong, which the requirement refuses later.
        ("accepted none", 3),
        ("anonymous none", 1),
        ("denied no_permission", 1),
        ("denied step_up", 1),
        // This series exists from the start, so that the first event is an increase.
        ("fault response_hook_panicked", 0),
        ("fault wrong_layer", 1),
        ("refused bad_signature", 1),
        ("refused expired", 1),
        ("refused no_credentials", 1),
        ("refused other_scheme", 1),
        ("refused unknown_key", 1),
        ("pending key_refresh_pending", 1),
        // Metrics have exact codes; the client receives keys_unavailable.
        ("unavailable connect", 1),
        ("unavailable tenant_rule_unavailable", 1),
        ("unavailable too_many_waiting", 1),
    ];
    assert_eq!(decisions, BTreeMap::from(expected));
}

#[test]
fn the_end_of_what_was_being_served_is_counted_with_the_reason() {
    let series = recorded(async |_| {
        let tenant = tenant().await;
        let rule = Rule::saying(Ok(true));
        let auth = rule.of(&tenant).build().unwrap();
        let never = any(std::future::pending::<()>).layer(auth.end_at_expiry(MINUTE));
        let app = Router::new().route("/", never).layer(auth.layer());
        let ask = async |lifetime| {
            let token = user(&tenant).expires_in(lifetime).mint();
            let request = Request::get("/").header("authorization", format!("Bearer {token}"));
            let answer = app.clone().oneshot(request.body(Body::empty()).unwrap());
            answer.await.unwrap().status()
        };
        assert_eq!(ask(60).await, 401);
        tokio::join!(async { assert_eq!(ask(3_600).await, 401) }, async {
            tokio::time::sleep(MINUTE).await;
            rule.says(Ok(false));
        });
    });
    for (labels, count) in [
        ("accepted none", 2),
        ("ended expired", 1),
        ("ended tenant_not_allowed", 1),
    ] {
        let name = format!("entra_auth_decisions_total {labels}");
        assert_eq!(counter(&series, &name), count, "{labels}");
    }
}

/// Returns the queries of the example alert rules and of the dashboard.
fn queries() -> Vec<String> {
    let rules: Value =
        yaml_serde::from_str(include_str!("../../docs/prometheus/alerts.yml")).unwrap();
    let groups = rules["groups"].as_array().unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    let mut queries: Vec<String> = rules
        .map(|rule| {
            assert!(rule["alert"].is_string() && rule["annotations"]["summary"].is_string());
            rule["expr"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(queries.len() >= 5);

    let text = include_str!("../../docs/prometheus/dashboard.json");
    let dashboard: Value = serde_json::from_str(text).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            queries.push(
                query
                    .replace("$__rate_interval", "5m")
                    .replace("$job", ".+"),
            );
        }
    }
    assert!(queries.len() >= 12);
    queries
}

/// The selectors and labels in a query.
#[derive(Default)]
struct Asked {
    selectors: Vec<VectorSelector>,
    labels: Vec<String>,
}

impl ExprVisitor for Asked {
    type Error = String;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, String> {
        match expression {
            Expr::VectorSelector(selector) => self.selectors.push(selector.clone()),
            Expr::MatrixSelector(matrix) => self.selectors.push(matrix.vs.clone()),
            Expr::Aggregate(aggregate) => {
                if let Some(LabelModifier::Include(labels)) = &aggregate.modifier {
                    self.labels.extend(labels.labels.iter().cloned());
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

/// Labels that Prometheus adds to every series.
const OF_TARGETS: [&str; 2] = ["job", "instance"];

#[test]
fn the_queries_of_alerts_and_dashboard_ask_for_metrics_labels_and_values_that_exist() {
    let series = recorded(everything_happens);
    // The recorded values of each metric and label.
    let mut values: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    let mut recorded = BTreeSet::new();
    for name in series.keys() {
        let mut words = name.split(' ');
        let metric = words.next().unwrap();
        recorded.insert(metric);
        let (_, labels) = METRICS
            .into_iter()
            .find(|(name, _)| *name == metric)
            .unwrap();
        for (label, value) in labels.iter().zip(words) {
            values.entry((metric, *label)).or_default().insert(value);
        }
    }
    let mut asked_for = BTreeSet::new();
    for query in queries() {
        let expression = parser::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let mut asked = Asked::default();
        walk_expr(&mut asked, &expression).unwrap();
        assert!(!asked.selectors.is_empty(), "{query}");
        let mut known: BTreeSet<&str> = OF_TARGETS.into();
        for selector in &asked.selectors {
            let name = selector.name.as_deref().unwrap();
            // Prometheus stores a histogram under these names.
            let metric = ["_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .filter(|name| name.ends_with("_duration_seconds"))
                .unwrap_or(name);
            assert!(recorded.contains(metric), "{name} in {query}");
            asked_for.insert(metric.to_owned());
            let of_metric = METRICS
                .into_iter()
                .find(|(name, _)| *name == metric)
                .unwrap()
                .1;
            known.extend(of_metric);
            for matcher in &selector.matchers.matchers {
                let label = &*matcher.name;
                if !OF_TARGETS.contains(&label) {
                    let recorded = values.get(&(metric, label));
                    let recorded = recorded.unwrap_or_else(|| panic!("{label} in {query}"));
                    check_values(matcher, recorded);
                }
            }
        }
        for label in &asked.labels {
            assert!(known.contains(&**label), "{label} in {query}");
        }
    }
    // Every metric is also used in a query.
    let all: BTreeSet<String> = METRICS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(asked_for, all);
}

/// Checks that every value in a query was recorded.
fn check_values(matcher: &Matcher, recorded: &BTreeSet<&str>) {
    let named: Vec<&str> = match &matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => vec![&matcher.value],
        MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.value.split('|').collect(),
    };
    for value in named {
        assert!(recorded.contains(value), "{value} of {}", matcher.name);
    }
}

/// Checks that the documentation contains every metric and outcome.
#[test]
fn every_metric_and_outcome_is_documented() {
    let page = include_str!("../../docs/operations.md");
    for (name, labels) in METRICS {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}`")));
        let row = row.unwrap_or_else(|| panic!("{name}"));
        for label in labels {
            assert!(row.contains(&format!("`{label}`")), "{row}");
        }
    }
    for outcome in [
        "accepted",
        "anonymous",
        "refused",
        "denied",
        "pending",
        "unavailable",
        "ended",
        "fault",
    ] {
        assert!(page.contains(&format!("`{outcome}`")), "{outcome}");
    }
}

/// A subscriber that keeps the spans of `entra_auth`, and the spans in which the test's handler
/// logged.
#[derive(Clone, Default)]
pub(crate) struct Spans(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    spans: Vec<BTreeMap<String, String>>,
    entered: Vec<u64>,
    /// The span of each event that this test's handler logged.
    said_in: Vec<Option<u64>>,
}

impl Spans {
    pub(crate) fn take(&self) -> Vec<BTreeMap<String, String>> {
        std::mem::take(&mut *self.0.lock().unwrap()).spans
    }
}

struct Fields<'f>(&'f mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let earlier = self.0.insert(field.name().to_owned(), format!("{value:?}"));
        assert!(earlier.is_none(), "{field} was recorded twice");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let earlier = self.0.insert(field.name().to_owned(), value.to_owned());
        assert!(earlier.is_none(), "{field} was recorded twice");
    }
}

impl Subscriber for Spans {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "tower_entra_auth::request" || metadata.target() == "handler"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        assert_eq!(attributes.metadata().name(), "entra_auth");
        let mut kept = self.0.lock().unwrap();
        let mut fields = BTreeMap::new();
        attributes.record(&mut Fields(&mut fields));
        kept.spans.push(fields);
        Id::from_u64(kept.spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut kept = self.0.lock().unwrap();
        let index = span.into_u64() as usize - 1;
        if let Some(fields) = kept.spans.get_mut(index) {
            values.record(&mut Fields(fields));
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        let mut kept = self.0.lock().unwrap();
        let entered = kept.entered.last().copied();
        kept.said_in.push(entered);
    }

    fn enter(&self, span: &Id) {
        self.0.lock().unwrap().entered.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        assert_eq!(self.0.lock().unwrap().entered.pop(), Some(span.into_u64()));
    }
}

pub(crate) fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter().copied();
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[tokio::test]
async fn the_span_of_a_request_says_who_and_how_it_ended_and_nothing_else() {
    for_all_threads();
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let server = serve(app(&auth)).await;
    let ada = || user(&tenant).client(CLIENT);
    let of_ada = |outcome, code| {
        let mut of = vec![
            ("caller", "user"),
            ("tenant", tenant.id()),
            ("client_id", CLIENT),
            ("outcome", outcome),
        ];
        if let Some(code) = code {
            of.push(("code", code));
        }
        fields(&of)
    };
    let refused = |code| fields(&[("outcome", "refused"), ("code", code)]);
    let claims_of_others = user(&tenant)
        .of_tenant(OTHER_TENANT)
        .client(OF_NOBODY)
        .bad_signature();
    let app_of = fields(&[
        ("caller", "app"),
        ("tenant", tenant.id()),
        ("client_id", CLIENT),
        ("outcome", "accepted"),
    ]);
    let application = tenant.app(CLIENT).role("R").for_api(API);
    for (path, token, expected) in [
        // The first request waits for the keys, the second does not.
        ("/me", Some(ada().mint()), of_ada("accepted", None)),
        ("/me", Some(ada().mint()), of_ada("accepted", None)),
        (
            "/strong",
            Some(ada().mint()),
            of_ada("denied", Some("step_up")),
        ),
        ("/me", Some(application.mint()), app_of),
        ("/me", None, refused("no_credentials")),
        ("/me", Some(ada().expired().mint()), refused("expired")),
        // Claims that are not verified do not appear.
        (
            "/me",
            Some(claims_of_others.mint()),
            refused("bad_signature"),
        ),
        (
            "/me",
            Some(ada().header("kid", "none").mint()),
            refused("unknown_key"),
        ),
        // The handler checks the requirement, but does not refuse.
        ("/tolerant", Some(ada().mint()), of_ada("accepted", None)),
        (
            "/open",
            Some(ada().mint()),
            fields(&[("outcome", "anonymous")]),
        ),
    ] {
        ask(&server, path, token).await;
        assert_eq!(spans.take(), [expected], "{path}");
    }

    // Refusals by a gRPC method itself are recorded, too.
    let api = grpc_api::Api {
        required: Some(auth.require(Scope("Reports.Write")).unwrap()),
        ..grpc_api::Api::default()
    };
    let rpc = grpc_api::serve_until_expiry(&auth, api, HOUR).await;
    for method in [grpc_api::Method::Unary, grpc_api::Method::Streaming] {
        let seen = grpc_api::call_with(&rpc, method, &ada().mint()).await;
        assert!(seen.end.is_err());
        assert_eq!(spans.take(), [of_ada("denied", Some("missing_scope"))]);
    }

    let down = DownTenant::start().await;
    ask(&down.server, "/me", Some(down.token.clone())).await;
    let expected = fields(&[("outcome", "unavailable"), ("code", "connect")]);
    assert_eq!(spans.take(), [expected]);
}

#[tokio::test]
async fn what_the_handler_says_is_said_within_the_span_and_what_others_say_is_not() {
    for_all_threads();
    let tenant = tenant().await;
    let auth = settings(&tenant).build().unwrap();
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let says = async || {
        tracing::info!(target: "handler", "before");
        tokio::task::yield_now().await;
        tracing::info!(target: "handler", "after");
        "ok"
    };
    let outside = axum::middleware::from_fn(async |request, next: axum::middleware::Next| {
        let response = next.run(request).await;
        tracing::info!(target: "handler", "outside");
        response
    });
    let app = Router::new()
        .route("/me", get(says))
        .layer(auth.layer())
        .layer(outside);
    let server = serve(app).await;
    for _ in 0..2 {
        assert_eq!(ask(&server, "/me", Some(user(&tenant).mint())).await, 200);
        let kept = std::mem::take(&mut *spans.0.lock().unwrap());
        assert_eq!(kept.said_in, [Some(1), Some(1), None]);
        assert!(kept.entered.is_empty());
    }
}
