//! A [`tower::Layer`](tower_layer::Layer) that lets only requests with a valid Microsoft Entra ID
//! access token for *this* API reach a hyper, axum or tonic service.
//!
//! ```
//! # #[cfg(feature = "axum")] {
//! use axum::{Router, routing::get};
//! use tower_entra_auth::{BuildError, Caller, EntraAuth};
//!
//! fn app() -> Result<Router, BuildError> {
//!     let auth = EntraAuth::builder()
//!         .tenant("72f988bf-86f1-41af-91ab-2d7cd011db47")
//!         .client_id("6e74172b-be56-4843-9ff4-e66a39bb12e3")
//!         .build()?;                                      // or EntraAuth::from_env()?
//!
//!     Ok(Router::new()
//!         .route("/me", get(me))
//!         .layer(auth.layer())
//!         .route("/healthz", get(|| async { "ok" })))     // outside the Layer: open
//! }
//!
//! async fn me(caller: Caller) -> String {
//!     format!("{} of tenant {}", caller.id(), caller.tenant_id())
//! }
//! # app().unwrap(); }
//! ```
//!
//! More than one tenant, External ID, v1 tokens, clients, guests: [which setting do I
//! need?](which_setting)
//!
//! # The way of a request
//!
//! 1. The bearer token is read from the one `Authorization` header.
//! 2. If exactly this token was accepted before, and its time, its key and the tenant rule still
//!    hold, that is remembered: go on with 7.
//! 3. It is parsed strictly, and its header must be that of an Entra token. What fails here is
//!    refused without a look at any key.
//! 4. Its key is looked up by `kid` in an immutable snapshot. Known: the request neither awaits
//!    nor allocates for it. Unknown: if the token could be valid at all, one shared and throttled
//!    refresh runs, and the request waits for it for at most 3 s.
//! 5. The signature and every rule of [`entra_jwt_core`] are checked, then that the token
//!    permits anything: a scope or a role.
//! 6. The service's own [rule about tenants](EntraAuthBuilder::tenant_rule) is asked, if there is
//!    one and its yes is not remembered.
//! 7. The [`Caller`] goes into the request's extensions, and the inner service is called.
//!
//! # Answers
//!
//! | case | HTTP | gRPC | code |
//! |---|---|---|---|
//! | no credentials, or another scheme than `Bearer` | 401, bare challenge | 16 | |
//! | a malformed or second `Authorization` header, any bad token | 401 `invalid_token` | 16 | the rule's own |
//! | a good token with neither scope nor role | 403 `insufficient_scope` | 7 | `no_permission` |
//! | an unknown key that a refresh did not bring | 401 `invalid_token` | 16 | `untrusted_signature` |
//! | the keys cannot be had now | 503 and `Retry-After` | 14 | `keys_unavailable` |
//! | the tenant rule says no | 401 `invalid_token` | 16 | `tenant_not_allowed` |
//! | the tenant rule fails or does not answer | 503 and `Retry-After` | 14 | `tenant_rule_unavailable` |
//! | [`Caller`] extracted where no Layer put one | 500 | 13 | `wrong_layer` |
//!
//! A request is gRPC if its content type is `application/grpc` or begins with `application/grpc+`.
//! [`RefusalDetail`] says how much a refused caller learns. The log has everything: a WARN for
//! the first refusal of a kind, then at most one a minute with a count.
//!
//! # Keys
//!
//! They are fetched in the background: hourly, and when an unknown key turns up, from a bucket of
//! two attempts that refills by one every 30 s. What was fetched is merged with what is held,
//! because Entra's servers disagree from minute to minute: a key that is no longer published stays
//! trusted for 24 h. While Entra cannot be reached, the keys that are held serve for 24 h. The
//! refresher starts with the first request or with [`EntraAuth::ready`], and ends with the last
//! handle.
//!
//! [In production](operations): every fault of a key server and what happens then, what remembered
//! tokens cost, [`EntraAuth::status`], [`EntraAuth::readiness`] and the metrics.
//!
//! # Features
//!
//! - `reqwest` (default): fetches keys with reqwest and rustls; honours `HTTPS_PROXY`. Without
//!   it, bring an HTTP client: [`EntraAuthBuilder::http_client`].
//! - `axum`: [`Caller`] as an extractor.
//! - `metrics`: [counters, gauges and a histogram](operations#metrics) through the `metrics` facade.

#![cfg_attr(
    not(test),
    warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)
)]

mod after_check;
mod auth;
#[cfg(feature = "axum")]
mod axum;
mod bearer;
mod body;
mod bounds;
mod build;
mod build_error;
mod builder;
mod caller;
pub mod danger;
mod endpoint;
mod environment;
mod http_client;
mod keys;
mod layer;
mod log;
mod metrics;
mod refusal;
#[cfg(test)]
mod remembered_tests;
mod respond;
mod runtime;
mod status;
mod tenant_rule;
mod token_cache;
mod unavailable;
mod waiting;

#[doc = include_str!("../docs/which-setting.md")]
pub mod which_setting {}

#[doc = include_str!("../docs/operations.md")]
pub mod operations {}

/// The rules themselves, for what is not re-exported here.
pub use entra_jwt_core;
pub use entra_jwt_core::{
    AccessToken, CallerId, CallerKind, ClientId, Cloud, Groups, KeySet, ObjectId, Tenancy,
    TenantId, TokenVersion,
};

pub use crate::auth::EntraAuth;
#[cfg(feature = "axum")]
pub use crate::axum::NoCaller;
pub use crate::body::ResponseBody;
pub use crate::build_error::BuildError;
pub use crate::builder::EntraAuthBuilder;
pub use crate::caller::Caller;
pub use crate::http_client::BoxError;
pub use crate::keys::file::JwksFile;
pub use crate::keys::source::{KeySource, PublishedKeys};
pub use crate::layer::{EntraLayer, EntraService, ResponseFuture};
pub use crate::respond::RefusalDetail;
pub use crate::status::{FailureStatus, IssuerStatus, KeyStatus, Status, TokenCacheStatus};
pub use crate::unavailable::Unavailable;

/// The README's snippet, compiled.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../README.md")]
struct Readme;
