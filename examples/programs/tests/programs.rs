//! Compiles the snippets of the page, each in a program around it, and runs those that need no server.
//!
//! `lines.rs` compares the snippets with this file. A snippet belongs to the module that is named like its heading.

use tower_entra_auth::EntraAuth;

type TestResult = Result<(), Box<dyn std::error::Error>>;

const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const OTHER_API: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";

/// Returns the `auth` of the snippets.
fn auth() -> EntraAuth {
    let auth = EntraAuth::builder().tenant(TENANT).client_id(API);
    auth.build().unwrap()
}

mod routes_and_roles {
    use axum::Router;
    use axum::routing::{get, post};
    use tower_entra_auth::axum::Protected;
    use tower_entra_auth::require::InvalidRequirement;
    use tower_entra_auth::{AppPermission, EntraAuth, Scope, UserRole};

    async fn list() {}

    async fn publish() {}

    fn app(auth: &EntraAuth, routes: Router) -> Result<Protected, InvalidRequirement> {
        let readers = auth.require(Scope("Reports.Read").or(AppPermission("Reports.Read.All")))?;
        let editors = auth.require(UserRole("Editor"))?;
        let routes = routes
            .merge(readers.route("/reports", get(list)))
            .merge(editors.route("/reports", post(publish)));
        Ok(auth.protect(routes))
    }

    #[tokio::test]
    async fn the_app_is_built() -> super::TestResult {
        let _ = app(&super::auth(), Router::new())?;
        Ok(())
    }
}

mod two_routers {
    use axum::Router;
    use tower_entra_auth::EntraAuth;
    use tower_entra_auth::axum::Protected;

    fn app(auth: &EntraAuth, orders: Router, invoices: Router, health: Router) -> Protected {
        auth.protect(orders.merge(invoices)).open(health)
    }

    #[tokio::test]
    async fn the_app_is_built() {
        let _ = app(&super::auth(), Router::new(), Router::new(), Router::new());
    }
}

mod grpc {
    use tonic::transport::Server;
    use tonic::{Request, Response, Status};
    use tower_entra_auth::require::InvalidRequirement;
    use tower_entra_auth::{EntraAuth, RequireLayer, Scope};

    struct Reports {
        readers: RequireLayer,
    }

    fn service(auth: &EntraAuth) -> Result<Reports, InvalidRequirement> {
        Ok(Reports {
            readers: auth.require(Scope("Reports.Read"))?,
        })
    }

    impl Reports {
        async fn list(&self, request: Request<()>) -> Result<Response<String>, Status> {
            let caller = self.readers.authorize(request.extensions())?;
            Ok(Response::new(caller.id().to_string()))
        }
    }

    #[tokio::test]
    async fn a_request_that_passed_no_layer_is_refused() -> super::TestResult {
        let auth = super::auth();
        let _server = Server::builder().layer(auth.layer());
        let answer = service(&auth)?.list(Request::new(())).await;
        assert_eq!(answer.unwrap_err().code(), tonic::Code::Internal);
        Ok(())
    }
}

mod settings_of_the_callers_tenant {
    use std::collections::HashMap;
    use std::sync::Arc;

    use axum::extract::State;
    use serde_json::json;
    use tower_entra_auth::{Caller, Refusal, TenantId, testing};

    type Greetings = HashMap<TenantId, String>;

    async fn greet(
        caller: Caller,
        State(greetings): State<Arc<Greetings>>,
    ) -> Result<String, Refusal> {
        let greeting = greetings.get(&caller.tenant_id());
        let greeting = greeting.ok_or_else(|| caller.forbid("no_subscription"))?;
        Ok(greeting.clone())
    }

    #[tokio::test]
    async fn a_tenant_without_settings_is_refused() -> super::TestResult {
        let ada = testing::caller(&super::auth(), json!({ "scp": "Reports.Read" }))?;
        let known = HashMap::from([(ada.tenant_id(), "welcome".to_owned())]);
        assert_eq!(
            greet(ada.clone(), State(Arc::new(known)))
                .await
                .ok()
                .as_deref(),
            Some("welcome")
        );
        let refusal = greet(ada, State(Arc::default())).await.unwrap_err();
        assert_eq!(refusal.code(), "no_subscription");
        Ok(())
    }
}

mod a_test_of_a_handler {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use http::Request;
    use serde_json::json;
    use tower::{Layer as _, ServiceExt as _};
    use tower_entra_auth::axum::Protected;
    use tower_entra_auth::{Caller, EntraAuth, testing};

    async fn me(caller: Caller) -> String {
        caller.scopes().collect()
    }

    fn app(auth: &EntraAuth) -> Protected {
        auth.protect(Router::new().route("/me", get(me)))
    }

    #[tokio::test]
    async fn the_handler_and_the_application_answer() -> super::TestResult {
        let auth = &super::auth();
        let answer = me(testing::caller(auth, json!({ "scp": "Reports.Read" }))?).await;
        assert_eq!(answer, "Reports.Read");

        let ada = testing::caller(auth, json!({ "scp": "Reports.Read" }))?;
        let app = testing::CallerLayer::new(ada).layer(app(auth));
        let answer = app
            .oneshot(Request::get("/me").body(Body::empty())?)
            .await?;
        assert_eq!(answer.status(), 200);
        Ok(())
    }
}

mod claims_of_your_own {
    use serde::Deserialize;
    use tower_entra_auth::axum::CustomClaims;

    #[derive(Deserialize)]
    struct Staff {
        office: String,
    }

    async fn staff(CustomClaims(staff): CustomClaims<Staff>) -> String {
        staff.office
    }

    #[tokio::test]
    async fn the_handler_reads_the_claim() {
        let office = "Berlin".to_owned();
        assert_eq!(staff(CustomClaims(Staff { office })).await, "Berlin");
    }
}

mod a_websocket {
    use std::time::Duration;

    use axum::Router;
    use axum::extract::ws::{WebSocket, WebSocketUpgrade};
    use axum::routing::get;
    use tower_entra_auth::Caller;

    async fn talk(_: &mut WebSocket) {}

    async fn serve(mut socket: WebSocket, caller: Caller) {
        let expired = caller.expired(Duration::from_secs(300));
        tokio::select! { () = talk(&mut socket) => {} () = expired => {} }
    }

    #[tokio::test]
    async fn the_app_is_built() {
        let upgrade = async |caller: Caller, upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(move |socket| serve(socket, caller))
        };
        let _ = super::auth().protect(Router::new().route("/talk", get(upgrade)));
    }
}

mod two_apis {
    use axum::Router;
    use tower_entra_auth::{BuildError, EntraAuth};

    const ORDERS: &str = super::API;
    const STAFF: &str = super::OTHER_API;

    fn app(orders: Router, staff: Router) -> Result<Router, BuildError> {
        let settings = EntraAuth::builder().tenant("72f988bf-86f1-41af-91ab-2d7cd011db47");
        let orders = settings.clone().client_id(ORDERS).build()?.protect(orders);
        let staff = settings.client_id(STAFF).build()?.protect(staff);
        Ok(Router::new()
            .nest_service("/orders", orders)
            .nest_service("/staff", staff))
    }

    #[tokio::test]
    async fn the_app_is_built() -> super::TestResult {
        let _ = app(Router::new(), Router::new())?;
        Ok(())
    }
}

mod visitors_and_callers {
    use axum::Router;
    use axum::routing::get;
    use tower_entra_auth::axum::Protected;
    use tower_entra_auth::{Caller, EntraAuth};

    async fn home(caller: Option<Caller>) -> &'static str {
        caller.map_or("welcome", |_| "welcome back")
    }

    fn app(auth: &EntraAuth) -> Protected {
        auth.layer()
            .optional()
            .protect(Router::new().route("/", get(home)))
    }

    #[tokio::test]
    async fn the_app_is_built() {
        let _ = app(&super::auth());
        assert_eq!(home(None).await, "welcome");
    }
}

mod tenants_from_a_database {
    use tower_entra_auth::{EntraAuth, EntraAuthBuilder, Tenancy, TenantId};

    #[derive(Clone)]
    struct Database;

    impl Database {
        async fn is_customer(&self, _: TenantId) -> std::io::Result<bool> {
            Ok(true)
        }
    }

    fn settings(settings: EntraAuthBuilder, database: Database) -> EntraAuthBuilder {
        settings
            .tenant(Tenancy::organizations())
            .tenant_rule(async move |tenant| database.is_customer(tenant).await)
    }

    #[tokio::test]
    async fn the_settings_are_good() -> super::TestResult {
        let of_the_api = EntraAuth::builder().client_id(super::API);
        settings(of_the_api, Database).build()?;
        Ok(())
    }
}

mod two_mcp_servers {
    use axum::Router;
    use tower_entra_auth::resource_metadata::ProtectedResource;
    use tower_entra_auth::{EntraAuth, EntraAuthBuilder};

    const NOTES: &str = super::API;
    const NOTES_URL: &str = "https://mcp.example.com/notes";
    const TASKS: &str = super::OTHER_API;
    const TASKS_URL: &str = "https://mcp.example.com/tasks";
    const SCOPES: [&str; 1] = ["Mcp.Access"];

    fn app(settings: EntraAuthBuilder, mcp: Router) -> Result<Router, Box<dyn std::error::Error>> {
        let notes = settings
            .clone()
            .client_id(NOTES)
            .protected_resource(ProtectedResource::at(NOTES_URL).scopes(SCOPES))
            .build()?;
        let tasks = settings
            .client_id(TASKS)
            .protected_resource(ProtectedResource::at(TASKS_URL).scopes(SCOPES))
            .build()?;
        Ok(Router::new()
            .nest_service("/notes", notes.protect(mcp.clone()))
            .nest_service("/tasks", tasks.protect(mcp))
            .layer(notes.resource_metadata()?)
            .layer(tasks.resource_metadata()?))
    }

    #[tokio::test]
    async fn the_app_is_built() -> super::TestResult {
        let _ = app(EntraAuth::builder().tenant(super::TENANT), Router::new())?;
        Ok(())
    }
}
