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
//! | [testing](_guide::testing_services) | a tenant inside the test, key rotation, outages of Entra, unit tests of handlers |
//! | [in production](_guide::operations) | faults of key servers, cached tokens, metrics, alerts, spans |
//! | [threat model](_guide::threat_model) | the attacks, the defence against each, and its tests |
//!
//! # How a request is processed
//!
//! One module (a file or folder in `src/`) implements each step:
//!
//! | step | module |
//! |---|---|
//! | Requests to an [open path](EntraLayer::open_path), and [preflights](EntraLayer::open_preflights) if so configured, pass as anonymous requests, also with a token. So do requests without a token, if the service [permits them](EntraLayer::optional). | `layer` |
//! | The Layer reads the bearer token from the only `Authorization` header, or from where [your own token source](EntraAuthBuilder::token_source) finds it. | `authenticate` |
//! | If exactly this token is in the cache, and its lifetime and its key are still valid, the next step is the checks after verification. | `authenticate` |
//! | The token is parsed strictly, and its header must be that of an Entra token. A token that fails here is refused before any key is looked up. | [`entra_jwt_core`] |
//! | The key is looked up by `kid` in an immutable snapshot. For a known key, the request neither awaits nor allocates. For an unknown key, if the token could be valid at all, one shared and rate-limited fetch runs, and the request waits for at most 3 s. This step does not check whether tenant, client and guest are permitted, so that an attacker cannot find that out with forged tokens. | `keys` |
//! | The signature and all rules are checked. Then the token must permit something: it needs a scope or a role, unless its client [needs none](EntraAuthBuilder::allow_roleless_clients). | [`entra_jwt_core`] |
//! | The Layer asks the service's own rules, unless a yes is cached: the [tenant rule](EntraAuthBuilder::tenant_rule), the rule whether the grant (sign-in) of a [reissued token](issuer::TrustedIssuer) is still valid, and the [caller rule](EntraAuthBuilder::caller_rule). | `policy` |
//! | The Layer puts the [`Caller`] into the request's extensions and calls the inner service. | `caller` |
//! | A [requirement](EntraAuth::require) of the route may still refuse the request. | `require` |
//! | A long response can be [ended when the token has expired](EntraAuth::end_at_expiry). | `expiry` |
//! | Every refusal is turned into a response, a log line and a count. | `respond`, `telemetry` |
//!
//! Before all that, clients can find out where to get a token, from the
//! [protected resource metadata](EntraAuth::resource_metadata) (`resource_metadata`). The settings
//! are in `config`. Extractors and wrappers for routers are in `axum`. Information for operators is
//! in `status` and `readiness`, and the causes of unavailability are in `unavailable`. All other
//! modules share `service`, `setting` (the names of settings) and `time`. Modules depend on each
//! other in one direction only. All network traffic of the process goes through [`entra_http`].
//!
//! # Answers
//!
//! | case | HTTP | gRPC | code |
//! |---|---|---|---|
//! | no credentials, or a scheme other than `Bearer` | 401, a challenge without `error` | 16 | |
//! | a malformed or second `Authorization` header, or an invalid token | 401 `invalid_token` | 16 | the code of the rule that failed |
//! | a valid token with neither scope nor role | 403 `insufficient_scope` | 7 | `no_permission` |
//! | a valid token that does not meet a [requirement](EntraAuth::require) | 403 `insufficient_scope`, with `scope=` if a scope is enough | 7 | `missing_scope`, `missing_role`, `missing_app_permission`, `user_required`, `missing_group`, … |
//! | a token without the required authentication context, from a client that declares `cp1` | 401 `insufficient_claims` | 16 | `step_up` |
//! | the same case, for a [reissued token](issuer::TrustedIssuer::on_challenge) whose server receives challenges | 401 `insufficient_claims` | 16 | `step_up` |
//! | the same case, for any other client | 403 `insufficient_scope` | 7 | `step_up` |
//! | a handler [asks for a new token](Caller::challenge) | 401 or 403, as for `step_up` | 16 or 7 | `claims_challenge` |
//! | a handler [forbids](Caller::forbid) the request | 403 `insufficient_scope` | 7 | the handler's own |
//! | a handler [cannot decide now](Caller::unavailable) | 503 and `Retry-After` | 14 | the handler's own |
//! | the token does not have the `CustomClaims` of a handler | 403 `insufficient_scope` | 7 | `other_claims` |
//! | an [anonymous](EntraLayer::optional) request where a caller is needed | 401, a challenge without `error` | 16 | |
//! | the token [expires](EntraAuth::end_at_expiry) before the response begins | 401 `invalid_token` | 16 | `expired` |
//! | an unknown key that a fetch after the request did not find | 401 `invalid_token` | 16 | `untrusted_signature` |
//! | an unknown key, and the next fetch is not permitted yet (30 s at most) | 503 and `Retry-After` | 14 | `key_refresh_pending` |
//! | the keys are not available now | 503 and `Retry-After` | 14 | `keys_unavailable` |
//! | the tenant rule answers no | 401 `invalid_token` | 16 | `tenant_not_allowed` |
//! | the tenant rule fails or does not answer | 503 and `Retry-After` | 14 | `tenant_rule_unavailable` |
//! | the caller rule answers no | 403 `insufficient_scope` | 7 | `caller_not_allowed` |
//! | the caller rule fails or does not answer | 503 and `Retry-After` | 14 | `caller_rule_unavailable` |
//! | the grant (sign-in) of a [reissued token](issuer::TrustedIssuer) has ended | 401 `invalid_token` | 16 | `grant_ended` |
//! | the grant rule fails or does not answer | 503 and `Retry-After` | 14 | `grant_rule_unavailable` |
//! | a [handler's requirement](axum::CallerWith) that no token could meet, or that every token meets | 500 | 13 | `invalid_requirement` |
//! | a [`Caller`] or a requirement where no Layer ran, or a requirement inside the Layer of another `EntraAuth` | 500 | 13 | `wrong_layer` |
//! | the [hook that changes responses](EntraAuthBuilder::on_refusal) panics | 500 | 13 | `response_hook_panicked` |
//!
//! For all codes, see [`InvalidToken::code`](refusal::InvalidToken::code) and
//! [`PermissionDenied::code`](refusal::PermissionDenied::code).
//!
//! The body is the code in plain text, or, if no token was sent, advice on how to send one. It is
//! problem details (RFC 9457) with the member `code` if `Accept` names JSON and does not prefer
//! text.
//!
//! A request is gRPC if its method is POST and its content type is `application/grpc` or begins
//! with `application/grpc+`. Its response is 200 with the status in `grpc-status`, as gRPC
//! requires.
//!
//! [`RefusalDetail`](refusal::RefusalDetail) sets how much a refused caller learns. The log has
//! everything: a WARN for the first refusal of a kind, then at most one per minute with a count.
//!
//! # Keys
//!
//! Keys are fetched in the background: hourly, and when a token names an unknown key. Fetches for
//! unknown keys are limited by a bucket of two attempts, which refills by one every 30 s. While the
//! bucket is empty, requests with an unknown key
//! [get a 503 with `Retry-After`](_guide::operations#unknown-keys).
//!
//! Fetched keys are merged with the held keys, because Entra's servers disagree from minute to
//! minute: a key that is no longer published stays trusted for 24 h. While Entra is unreachable,
//! the held keys are used for up to 24 h. The refresher starts with the first request, readiness
//! probe or [`EntraAuth::ready`], and ends with the last handle.
//!
//! [In production](_guide::operations) describes every fault of a key server and the reaction to
//! it, the cost of cached tokens, [`EntraAuth::status`], [`EntraAuth::readiness`], metrics, alerts
//! and spans.
//!
//! # Features
//!
//! - `reqwest` (default): fetches keys with reqwest and rustls; honours `HTTPS_PROXY`. Without it,
//!   provide an HTTP client with [`EntraAuthBuilder::http_client`].
//! - `axum`: [`Caller`], `Option<Caller>`, requirements and custom claims as extractors, refusals
//!   that handlers return, and [protected routers](EntraAuth::protect). If axum does not accept a
//!   handler, `#[axum::debug_handler]` (axum's feature `macros`) names the argument at fault.
//! - `serde`: ids as text, in your own settings and documents.
//! - `simd`: decodes tokens with the CPU's vector instructions, which makes the first validation of
//!   a token slightly faster: see [the core](entra_jwt_core#features).
//! - `testing`: callers made of JSON and a Layer that trusts them, for unit tests of handlers, in
//!   `testing`. Only for dev-dependencies.
//! - `tonic`: converts a [`Refusal`] to a `tonic::Status`, also with `?`.
//! - `metrics`: [counters, gauges and a histogram](_guide::operations#metrics) through the
//!   `metrics` facade, with
//!   [example alerts and a dashboard](_guide::operations#alerts-and-a-dashboard).

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

/// The token of a [`Caller`], and types to find the token in a request.
pub mod token {
    pub use entra_jwt_core::token::{Groups, TokenVersion};
    pub use entra_jwt_core::{AccessToken, ids::ObjectId};

    pub use crate::authenticate::{RequestHead, SentToken, TokenSource, source_fn};
}

/// Refusals: their types, codes and remedies.
///
/// | type | the token | HTTP |
/// |---|---|---|
/// | [`InvalidToken`](refusal::InvalidToken) | is not valid | 401 |
/// | [`PermissionDenied`](refusal::PermissionDenied) | is valid, but permits too little | 403 |
/// | [`Unavailable`](refusal::Unavailable) | cannot be validated now | 503 |
///
/// Each type has a `kind()` for a `match`, an exact `code()` for logs and metrics, a
/// `public_code()` that the caller may see, and a `remedy()`.
///
/// A [`Refusal`] combines one of these, or another reason of the Layer, with its response.
/// Handlers, requirements and extractors return it. The
/// [`on_refusal`](EntraAuthBuilder::on_refusal) hook receives a refusal as a
/// [`RefusalContext`](refusal::RefusalContext).
pub mod refusal {
    pub use entra_jwt_core::refusal::{InvalidTokenKind, PermissionDeniedKind};
    pub use entra_jwt_core::{InvalidToken, PermissionDenied};

    pub use crate::caller::RefusalContext;
    pub use crate::respond::{ClaimsChallenge, InvalidClaimsRequest, RefusalDetail};
    pub use crate::unavailable::{Unavailable, UnavailableKind};
}

/// Issuers other than Entra whose tokens are accepted.
pub mod issuer {
    pub use crate::config::TrustedIssuer;
}

/// Types of settings for the [builder](EntraAuthBuilder).
pub mod settings {
    #[doc(hidden)] // for crates such as `entra-oauth-proxy`
    pub use crate::config::Announcement;
    pub use crate::config::{KeyOptions, TenantSetting, TokenCache};
}

/// Settings that weaken the protection.
///
/// Each needs a reason. Reviewers can search for `danger`.
pub mod danger {
    pub use crate::config::DangerousBuilder;
}

/// The guides.
// The links at the end of each file are for GitHub. Those of `rustdoc-links.txt` come first, so that rustdoc
// uses them instead (CommonMark: of several definitions of a label the first counts).
pub mod _guide {
    #[doc = include_str!("../docs/rustdoc-links.txt")]
    #[doc = include_str!("../docs/which-setting.md")]
    pub mod which_setting {}

    #[cfg_attr(
        all(feature = "axum", feature = "testing", feature = "tonic"),
        doc = include_str!("../docs/rustdoc-links.txt"),
        doc = include_str!("../docs/tasks.md")
    )]
    #[cfg_attr(
        not(all(feature = "axum", feature = "testing", feature = "tonic")),
        doc = "How do I …? Documented with the features `axum`, `testing` and `tonic`, which the answers need."
    )]
    pub mod tasks {}

    #[doc = include_str!("../docs/rustdoc-links.txt")]
    #[doc = include_str!("../docs/setup-entra.md")]
    pub mod setup_entra {}

    #[cfg_attr(
        all(feature = "axum", feature = "testing"),
        doc = include_str!("../docs/rustdoc-links.txt"),
        doc = include_str!("../docs/testing.md")
    )]
    #[cfg_attr(
        not(all(feature = "axum", feature = "testing")),
        doc = "Testing a protected service. Documented with the features `axum` and `testing`, which the examples need."
    )]
    pub mod testing_services {}

    #[doc = include_str!("../docs/rustdoc-links.txt")]
    #[doc = include_str!("../docs/codes.md")]
    pub mod codes {}

    #[doc = include_str!("../docs/rustdoc-links.txt")]
    #[doc = include_str!("../docs/threat-model.md")]
    pub mod threat_model {}

    #[doc = include_str!("../docs/rustdoc-links.txt")]
    #[doc = include_str!("../docs/operations.md")]
    pub mod operations {}
}

pub use entra_http::{BuildError, Problem};
/// The crate with the validation rules, for items that are not re-exported here.
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
