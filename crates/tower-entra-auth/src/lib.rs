//! A [`tower::Layer`](tower_layer::Layer) that lets only requests with a valid Microsoft Entra ID
//! access token for *this* API reach a hyper, axum or tonic service.
//!
//! ```
//! # #[cfg(feature = "axum")] {
//! use axum::{Router, routing::get};
//! use tower_entra_auth::{AppPermission, Caller, EntraAuth, Scope, axum::Protected};
//!
//! fn app() -> Result<Protected, Box<dyn std::error::Error>> {
//!     let auth = EntraAuth::builder()
//!         .tenant("72f988bf-86f1-41af-91ab-2d7cd011db47")
//!         .client_id("6e74172b-be56-4843-9ff4-e66a39bb12e3")
//!         .build()?;                                      // or EntraAuth::from_env()?
//!
//!     let readers = auth.require(Scope("Reports.Read").or(AppPermission("Reports.Read.All")))?;
//!     let routes = Router::new()
//!         .route("/me", get(me))
//!         .merge(readers.route("/reports", get(|| async { "…" })));
//!     Ok(auth
//!         .protect(routes)                                // nothing is open but by name
//!         .open(Router::new().route("/healthz", get(|| async { "ok" }))))
//! }
//!
//! async fn me(caller: Caller) -> String {
//!     format!("{} of tenant {}", caller.id(), caller.tenant_id())
//! }
//! # app().unwrap(); }
//! ```
//!
//! | guide | for |
//! |---|---|
//! | [how do I …?](_guide::tasks) | common tasks: requirements of routes, the caller, step-up, tests |
//! | [which setting do I need?](_guide::which_setting) | several tenants, External ID, v1 tokens, clients, guests |
//! | [setting up Entra](_guide::setup_entra) | app registrations, scopes, roles, consent, a first token |
//! | [testing](_guide::testing_services) | a tenant inside the test, rotation, Entra down, handlers alone |
//! | [in production](_guide::operations) | key servers' faults, remembered tokens, metrics, alerts, spans |
//! | [threat model](_guide::threat_model) | the attacks, the defence against each, and its tests |
//!
//! # The way of a request
//!
//! Each step with the room of the source, a file or folder in `src/`, in which it is done:
//!
//! | step | room |
//! |---|---|
//! | Requests to an [open path](EntraLayer::open_path), and [preflights](EntraLayer::open_preflights) if asked for, go on as anonymous ones, whatever they carry; so do, if that [is wanted](EntraLayer::optional), those without a token. | `layer` |
//! | The bearer token is read from the one `Authorization` header, or where [a source of your own](EntraAuthBuilder::token_source) finds it. | `authenticate` |
//! | If exactly this token was accepted before, and its time and its key still hold, that is remembered, and the checks after verification come next. | `authenticate` |
//! | It is parsed strictly, and its header must be that of an Entra token. What fails here is refused without a look at any key. | [`entra_jwt_core`] |
//! | Its key is looked up by `kid` in an immutable snapshot. Known: the request neither awaits nor allocates for it. Unknown: if the token could be valid at all, one shared and throttled refresh runs, and the request waits for it for at most 3 s. Whether tenant, client and guest are admitted is not asked here: no refusal of a made-up token says so. | `keys` |
//! | The signature and every rule are checked, then that the token permits anything: a scope or a role, unless its client [needs none](EntraAuthBuilder::allow_roleless_clients). | [`entra_jwt_core`] |
//! | The service's own [rule about tenants](EntraAuthBuilder::tenant_rule) is asked, if there is one and its yes is not remembered; likewise whether the grant of a [reissued token](issuer::TrustedIssuer) is still good, and the [rule about callers](EntraAuthBuilder::caller_rule). | `policy` |
//! | The [`Caller`] goes into the request's extensions, and the inner service is called, | `caller` |
//! | where a [requirement](EntraAuth::require) of the route may refuse it yet. | `require` |
//! | A response that lasts can be [ended when the token has expired](EntraAuth::end_at_expiry). | `expiry` |
//! | Whatever is refused gets its answer, its log line and its count. | `respond`, `telemetry` |
//!
//! Before all that, clients may ask where to get a token: [protected resource
//! metadata](EntraAuth::resource_metadata) (`resource_metadata`). The settings are in `config`, extractors
//! and forms for routers in `axum`, what operators see in `status` and `readiness`, and why keys cannot be had in `unavailable`; `service`,
//! `setting` (the settings' names) and `time` are what all share. Rooms use each other in one direction.
//! What leaves the process does so by way of [`entra_http`].
//!
//! # Answers
//!
//! | case | HTTP | gRPC | code |
//! |---|---|---|---|
//! | no credentials, or another scheme than `Bearer` | 401, bare challenge | 16 | |
//! | a malformed or second `Authorization` header, any bad token | 401 `invalid_token` | 16 | the rule's own |
//! | a good token with neither scope nor role | 403 `insufficient_scope` | 7 | `no_permission` |
//! | a good token that does not meet a [requirement](EntraAuth::require) | 403 `insufficient_scope`, with `scope=` where one would do | 7 | `missing_scope`, `missing_role`, `missing_app_permission`, `user_required`, `missing_group`, … |
//! | one without the authentication context that is required, of a client that declares `cp1` | 401 `insufficient_claims` | 16 | `step_up` |
//! | the same, of a [reissued token](issuer::TrustedIssuer::on_challenge) whose server hears of it | 401 `insufficient_claims` | 16 | `step_up` |
//! | the same, of any other client | 403 `insufficient_scope` | 7 | `step_up` |
//! | a handler [asks for more claims](Caller::challenge) | likewise | 16 or 7 | `claims_challenge` |
//! | a handler [forbids](Caller::forbid) it | 403 `insufficient_scope` | 7 | the handler's own |
//! | a handler [cannot tell now](Caller::unavailable) | 503 and `Retry-After` | 14 | the handler's own |
//! | `CustomClaims` that the token does not have | 403 `insufficient_scope` | 7 | `other_claims` |
//! | an [anonymous](EntraLayer::optional) request where a caller is needed | 401, bare challenge | 16 | |
//! | the token [expires](EntraAuth::end_at_expiry) before the response begins | 401 `invalid_token` | 16 | `expired` |
//! | an unknown key that a refresh after the request did not bring | 401 `invalid_token` | 16 | `untrusted_signature` |
//! | the next such refresh is not allowed yet (30 s at most) | 503 and `Retry-After` | 14 | `key_refresh_pending` |
//! | the keys cannot be had now | 503 and `Retry-After` | 14 | `keys_unavailable` |
//! | the tenant rule says no | 401 `invalid_token` | 16 | `tenant_not_allowed` |
//! | the tenant rule fails or does not answer | 503 and `Retry-After` | 14 | `tenant_rule_unavailable` |
//! | the caller rule says no | 403 `insufficient_scope` | 7 | `caller_not_allowed` |
//! | the caller rule fails or does not answer | 503 and `Retry-After` | 14 | `caller_rule_unavailable` |
//! | the grant of a [reissued token](issuer::TrustedIssuer) was ended | 401 `invalid_token` | 16 | `grant_ended` |
//! | that cannot be found out | 503 and `Retry-After` | 14 | `grant_rule_unavailable` |
//! | a [handler's requirement](axum::CallerWith) that no token could meet | 500 | 13 | `invalid_requirement` |
//! | a [`Caller`] or a requirement where no Layer ran, a requirement inside that of another `EntraAuth` | 500 | 13 | `wrong_layer` |
//! | [the function that makes answers](EntraAuthBuilder::on_refusal) panics | 500 | 13 | `response_hook_panicked` |
//!
//! Every code: [`InvalidToken::code`](refusal::InvalidToken::code), [`PermissionDenied::code`](refusal::PermissionDenied::code). The body is the code in plain text, or how to send a token where none was sent, or problem
//! details (RFC 9457) with the member `code` if `Accept` names JSON and prefers no text. A request is
//! gRPC if its method is POST and its content type `application/grpc` or one that begins with
//! `application/grpc+`; its answer is 200 with the status in `grpc-status`, as gRPC demands.
//! [`RefusalDetail`](refusal::RefusalDetail) says how much a refused caller learns. The log has everything: a WARN for
//! the first refusal of a kind, then at most one a minute with a count.
//!
//! # Keys
//!
//! They are fetched in the background: hourly, and when an unknown key turns up, from a bucket of
//! two attempts that refills by one every 30 s: while it is empty, callers with a key that is not held
//! [are told to ask again](_guide::operations#while-unknown-keys-flood-in). What was fetched is merged with
//! what is held, because Entra's servers disagree from minute to minute: a key that is no longer
//! published stays trusted for 24 h. While Entra cannot be reached, the keys that are held serve for
//! 24 h. The refresher starts with the first request, readiness probe or [`EntraAuth::ready`], and
//! ends with the last handle.
//!
//! [In production](_guide::operations): every fault of a key server and what happens then, what remembered
//! tokens cost, [`EntraAuth::status`], [`EntraAuth::readiness`], metrics, alerts and spans.
//!
//! # Features
//!
//! - `reqwest` (default): fetches keys with reqwest and rustls; honours `HTTPS_PROXY`. Without
//!   it, bring an HTTP client: [`EntraAuthBuilder::http_client`].
//! - `axum`: [`Caller`], `Option<Caller>`, requirements and claims of your own as extractors, refusals that
//!   handlers return, and [protected routers](EntraAuth::protect). If a handler is not accepted, `#[axum::debug_handler]` (axum's feature `macros`)
//!   names the argument.
//! - `serde`: ids as text, in settings and documents of your own.
//! - `simd`: tokens are decoded by the CPU's vector instructions, which saves a little of the first
//!   sight of a token: see [the core](entra_jwt_core#features).
//! - `testing`: callers made of JSON and a Layer that trusts them, for unit tests of handlers, in
//!   `testing`. As a dev-dependency only.
//! - `tonic`: a [`Refusal`] as a `tonic::Status`, by `?`.
//! - `metrics`: [counters, gauges and a histogram](_guide::operations#metrics) through the `metrics` facade,
//!   with [alerts and a dashboard](_guide::operations#alerts-and-a-dashboard) to begin with.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)
)]

mod authenticate;
#[cfg(feature = "axum")]
pub mod axum;
mod caller;
mod config;
pub mod expiry;
pub mod keys;
pub mod layer;
mod policy;
pub mod readiness;
pub mod require;
pub mod resource_metadata;
mod respond;
mod service;
mod setting;
pub mod status;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod unavailable;

/// The token of a [`Caller`], and the places of a request that may have one.
pub mod token {
    pub use entra_jwt_core::token::{Groups, TokenVersion};
    pub use entra_jwt_core::{AccessToken, ids::ObjectId};

    pub use crate::authenticate::{RequestHead, SentToken, TokenSource, source_fn};
}

/// The reasons for which a request is refused, and what its caller learns.
///
/// | type | a request whose | HTTP |
/// |---|---|---|
/// | [`InvalidToken`](refusal::InvalidToken) | token is not valid | 401 |
/// | [`PermissionDenied`](refusal::PermissionDenied) | token is valid, and permits too little | 403 |
/// | [`Unavailable`](refusal::Unavailable) | token cannot be judged now | 503 |
///
/// Each has a `kind()` to match on, an exact `code()` for logs and metrics, a `public_code()` that the caller
/// may learn, and a `remedy()`. A [`Refusal`] is one of them, or another reason of the Layer's, together with
/// its answer: it is what handlers, requirements and extractors return. A hook sees it as a
/// [`RefusalContext`](refusal::RefusalContext).
pub mod refusal {
    pub use entra_jwt_core::refusal::{InvalidTokenKind, PermissionDeniedKind};
    pub use entra_jwt_core::{InvalidToken, PermissionDenied};

    pub use crate::caller::RefusalContext;
    pub use crate::respond::{ClaimsChallenge, InvalidClaimsRequest, RefusalDetail};
    pub use crate::unavailable::{Unavailable, UnavailableKind};
}

/// Issuers beside Entra whose tokens are accepted.
pub mod issuer {
    pub use crate::config::TrustedIssuer;
}

/// Settings of the [builder](EntraAuthBuilder) that are values of their own.
pub mod settings {
    #[doc(hidden)] // for `entra-oauth-proxy` and the like
    pub use crate::config::Announcement;
    pub use crate::config::{KeyOptions, TenantSetting, TokenCache};
}

/// Settings that weaken the protection. Each needs a reason; reviewers search for `danger`.
pub mod danger {
    pub use crate::config::DangerousBuilder;
}

/// The guides.
pub mod _guide {
    #[doc = include_str!("../docs/which-setting.md")]
    pub mod which_setting {}

    /// Common tasks, each in a few lines.
    ///
    #[cfg_attr(
        all(feature = "axum", feature = "testing", feature = "tonic"),
        doc = include_str!("../docs/tasks.md")
    )]
    #[cfg_attr(
        not(all(feature = "axum", feature = "testing", feature = "tonic")),
        doc = "Documented with the features `axum`, `testing` and `tonic`, which the answers need."
    )]
    pub mod tasks {}

    #[doc = include_str!("../docs/setup-entra.md")]
    pub mod setup_entra {}

    /// Testing a protected service.
    ///
    #[cfg_attr(
        all(feature = "axum", feature = "testing"),
        doc = include_str!("../docs/testing.md")
    )]
    #[cfg_attr(
        not(all(feature = "axum", feature = "testing")),
        doc = "Documented with the features `axum` and `testing`, which the examples need."
    )]
    pub mod testing_services {}

    #[doc = include_str!("../docs/threat-model.md")]
    pub mod threat_model {}

    #[doc = include_str!("../docs/operations.md")]
    pub mod operations {}
}

pub use entra_http::{BuildError, Problem};
/// The rules themselves, for what is not re-exported here.
pub use entra_jwt_core;
#[doc(inline)]
pub use entra_jwt_core::{
    ClientId, Cloud, Tenancy, TenantId,
    require::{AppPermission, Group, Scope, UserRole},
    token::{CallerId, CallerKind},
};

pub use crate::authenticate::EntraAuth;
pub use crate::caller::{Caller, Refusal};
pub use crate::config::EntraAuthBuilder;
#[doc(inline)]
pub use crate::layer::EntraLayer;
#[doc(inline)]
pub use crate::require::RequireLayer;

/// The README's snippet, compiled.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
