//! A multi-tenant product: a store lists the companies that signed up, and each sees only its data.
//!
//! `cargo run -p multi_tenant_saas` shows a company's responses before and after it signs up, and
//! then serves until Ctrl-C. With `--once` the program exits after that, and fails if a response is
//! not the expected one.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::serve::ListenerExt as _;
use axum::{Router, routing::get, routing::post};
use entra_dev_tenant::DevTenant;
use tower_entra_auth::{Caller, EntraAuth, EntraAuthBuilder, Tenancy, TenantId, UserRole};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const OTHER: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";

/// The tenants that have signed up, with the orders of each.
///
/// A real product would use a database.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<HashMap<TenantId, Vec<String>>>>);

impl Store {
    fn is_customer(&self, tenant: TenantId) -> bool {
        self.lock().contains_key(&tenant)
    }

    fn sign_up(&self, tenant: TenantId) {
        self.lock().entry(tenant).or_default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn app(settings: impl Fn() -> EntraAuthBuilder, store: &Store) -> Result<Router, Box<dyn Error>> {
    // The Layer verifies tokens of any company, but lets in only those of customers.
    let customers = store.clone();
    let is_customer = async move |tenant| Ok::<_, Infallible>(customers.is_customer(tenant));
    let product = settings().tenant_rule(is_customer).build()?;
    // The company is not a customer yet when it signs up, so `tenant_rule` does not apply here. The
    // caller must be an administrator of the company.
    let sign_up = settings().build()?;
    let administrators = sign_up.require(UserRole("Company.Administrator"))?;

    let sign_up = Router::new()
        .route("/sign-up", post(sign_up_company))
        .layer(administrators)
        .layer(sign_up.layer())
        .with_state((store.clone(), product.clone()));
    let product = Router::new()
        .route("/orders", get(orders).post(order))
        .layer(product.layer())
        .with_state(store.clone());
    Ok(product.merge(sign_up))
}

/// Returns the number of orders of the caller's tenant.
///
/// The tenant is always taken from the token: nothing in the request can select another tenant's
/// data.
async fn orders(caller: Caller, State(store): State<Store>) -> String {
    let store = store.lock();
    let orders = store.get(&caller.tenant_id()).map_or(0, Vec::len);
    format!("orders: {orders}")
}

async fn order(caller: Caller, State(store): State<Store>) -> &'static str {
    if let Some(orders) = store.lock().get_mut(&caller.tenant_id()) {
        orders.push(format!("by {}", caller.id()));
    }
    "ordered"
}

async fn sign_up_company(
    caller: Caller,
    State((store, product)): State<(Store, EntraAuth)>,
) -> &'static str {
    store.sign_up(caller.tenant_id());
    // `product` still remembers that the tenant was not a customer.
    product.forget_tenant(caller.tenant_id());
    "welcome"
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let entra = DevTenant::start().await?;
    let settings = || {
        EntraAuth::builder()
            .tenant(Tenancy::organizations())
            .client_id(API)
            .metadata_endpoint(entra.url())
            .clock(entra.clock())
    };
    let store = Store::default();
    let app = app(settings, &store)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    // Disables Nagle's algorithm: small writes must not wait for each other.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let user = |name| entra.user(name).scope("Orders").for_api(API);
    let employee = user("ada").mint();
    let administrator = user("grace").role("Company.Administrator").mint();
    let stranger = user("eve").of_tenant(OTHER).mint();
    let mut all_as_expected = true;
    println!("{:<17}  {:<13}  response", "caller", "request");
    for (who, token, request, expected) in [
        (
            "an employee",
            &employee,
            "GET /orders",
            "401 tenant_not_allowed",
        ),
        (
            "an employee",
            &employee,
            "POST /sign-up",
            "403 missing_role",
        ),
        (
            "the administrator",
            &administrator,
            "POST /sign-up",
            "200 welcome",
        ),
        ("an employee", &employee, "POST /orders", "200 ordered"),
        ("an employee", &employee, "GET /orders", "200 orders: 1"),
        (
            "another company",
            &stranger,
            "GET /orders",
            "401 tenant_not_allowed",
        ),
    ] {
        let answer = ask(&url, request, token).await?;
        println!("{who:<17}  {request:<13}  {answer}");
        all_as_expected &= answer == expected;
    }

    if std::env::args().any(|argument| argument == "--once") {
        return all_as_expected
            .then_some(())
            .ok_or_else(|| "a response is not the expected one".into());
    }
    println!("\nServing {url}, Ctrl-C ends it.");
    tokio::select! {
        served = server => served??,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

async fn ask(url: &str, request: &str, token: &str) -> Result<String, Box<dyn Error>> {
    // Connects directly to loopback and ignores the proxies and certificates set on this machine.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()?;
    let (method, path) = request.split_once(' ').ok_or("no request")?;
    let request = client.request(method.parse()?, format!("{url}{path}"));
    let response = request.bearer_auth(token).send().await?;
    let status = response.status().as_u16();
    Ok(format!("{status} {}", response.text().await?.trim()))
}
