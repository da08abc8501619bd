//! An OAuth authorization server in front of Microsoft Entra ID, for clients that register
//! themselves.
//!
//! ```no_run
//! use axum::{Router, routing::post};
//! use entra_oauth_proxy::{EntraOAuthProxy, Resource, Secret, layer::Protected};
//!
//! fn app() -> Result<Protected, Box<dyn std::error::Error>> {
//!     let proxy = EntraOAuthProxy::builder()
//!         .tenant("72f988bf-86f1-41af-91ab-2d7cd011db47")
//!         .client_id("6e74172b-be56-4843-9ff4-e66a39bb12e3")
//!         .credential(Secret::from_env("ENTRA_CLIENT_SECRET")?)
//!         .public_url("https://mcp.example.com")
//!         .resource(Resource::at("https://mcp.example.com/mcp").required_scopes(["Mcp.Access"]))
//!         .data_directory("/var/lib/notes") // sign-ins and keys, over restarts
//!         .build()?;
//!
//!     let mcp = Router::new().route("/mcp", post(|| async { "…" })); // an MCP server
//!     Ok(proxy.protect(mcp)) // with the proxy's own endpoints beside it
//! }
//! ```
//!
//! MCP clients discover an authorization server, register themselves, name the resource that they
//! want a token for, and expect a new refresh token with each refresh. Entra supports none of this.
//! This server does, and is one confidential client toward Entra.
//!
//! Users sign in at Entra. Clients receive access tokens of this server (RFC 9068), which identify
//! the user and are valid for this one resource only. The [Layer](EntraOAuthProxy::layer) accepts
//! these tokens, and Entra's own access tokens as well.
//!
//! | guide | contents |
//! |---|---|
//! | [building an MCP server](_guide::mcp_server) | a server of rmcp with a scope per tool, and its test |
//! | [connecting clients](_guide::connecting_clients) | from an empty tenant to connected products, and the meaning of each error |
//! | [setting up Entra](_guide::setup_entra) | the app registration, page by page |
//! | [direct mode](_guide::direct_mode) | services whose clients sign in at Entra themselves, and need no proxy |
//! | [operations](_guide::operations) | going live, keys, the store, limits, the log and metrics |
//! | [threat model](_guide::threat_model) | the attacks, the defence against each, and its tests |
//! | [the decision](_guide::engine_of_our_own) | the reasons for not building on an existing OAuth engine |
//!
//! # The sign-in flow
//!
//! 1. `GET /.well-known/…`: the client reads the URLs of the endpoints.
//! 2. `POST /register`: the client receives an id that contains its own registration, encrypted.
//!    Nothing is stored.
//! 3. `GET /authorize`: the server checks client, redirect URI, resource and scopes. The user reads
//!    which client asks, for what, and where the response goes. Nothing is stored.
//! 4. `POST /consent`: the user agreed, in this browser. The server sends the browser to Entra,
//!    with the sign-in in progress, encrypted, as `state`. A cookie of the browser binds it.
//! 5. `GET /callback`: the same browser returns. The server redeems the code, verifies the access
//!    token by the rules of the Layer, and compares the id token's nonce. If a [claims
//!    challenge](#claims-challenges) is pending for this user, the server sends the browser to
//!    Entra with the challenge, once. Only then does the client receive a code, valid for one
//!    minute.
//! 6. `POST /token`: the server redeems the code, stores the sign-in (a grant), and issues tokens.
//!    If the user has too many sign-ins, the longest unused one ends.
//! 7. `POST /token`, repeatedly: each use of a refresh token replaces it. If Entra's own token would
//!    expire before the client's new one, the server renews it first: every 10 minutes at most,
//!    unless it must, and once if several refreshes arrive at the same time.
//! 8. `POST /revoke`: the client signs out. Its refresh token ends immediately, its access tokens
//!    within the [grant check interval](Lifetimes::grant_check), 30 s.
//!
//! Work that has begun continues when the client or the browser disconnects. A browser that returns
//! from Entra a second time receives the same result, until the client has used its code. A client
//! that did not receive the response to a refresh repeats it with the same token, [however
//! late](Lifetimes::rotation_grace). A client that did not receive the response to its code sends
//! the code again within 10 seconds. [`EntraOAuthProxy::shutdown`] waits for all work in flight.
//!
//! A user who wants to sign in with an account other than the browser's opens `GET /sign-out`, to
//! which the consent page links. It ends the sign-in at Entra, but not the sign-ins of applications
//! here.
//!
//! The guide [`by_hand`](_guide::by_hand) shows the same flow request by request, with the
//! responses.
//!
//! # Modules
//!
//! Each module is a file or folder in `src/`, and uses only modules that are below it in this
//! table:
//!
//! | module | contents |
//! |---|---|
//! | `config` | [`EntraOAuthProxyBuilder`] checks the settings, and builds the proxy from valid ones. |
//! | `proxy` | [`EntraOAuthProxy`] is the handle to everything. [`ResourceLayer`] protects the resource. |
//! | `endpoints` | [`ProxyEndpoints`] finds the endpoint of a request. Each endpoint is a file that parses the request, decides, acts and responds, to be read from top to bottom. |
//! | `tokens` | Stores sign-ins (grants), issues their tokens, refreshes each grant one request at a time, and updates the records of users. |
//! | `entra` | Sends browsers to Entra, redeems codes, renews tokens, and verifies the results. |
//! | `limits` | [`RateLimits`] configures rate limits per address, client, sign-in and user, the number of sign-ins kept per user, and the number of calls to Entra at a time. |
//! | `pages` | Builds the pages that users read. |
//! | `oauth` | Implements OAuth's rules for errors, parameters, scopes, the resource, clients and their redirect URIs. |
//! | `store` | Encrypts records on their way to a [`Store`](store::Store). |
//! | `http` | Responses, cookies and bodies, which all endpoints share. |
//! | `keys` | [`ProxyKeys`] encrypt, authenticate and sign. Every value that is kept has a version. |
//! | `telemetry` | Spans, metrics and throttled log lines for operators. |
//! | `crypto`, `time` | Random numbers, hashes, comparisons; the wall clock. |
//!
//! # Claims challenges
//!
//! A route can demand more of a caller, by
//! [`Caller::challenge`](tower_entra_auth::Caller::challenge) or by a requirement of an
//! authentication context. The response is 401, and this server keeps the route's demand as a
//! pending claims challenge for this user and client, for 15 minutes.
//!
//! Most clients refresh after a 401, and send no `claims`. The server therefore sends the pending
//! challenge to Entra with the refresh. If Entra issues a token for it, the server issues the
//! refreshed token on that basis. If Entra needs to see the user, the refresh fails with
//! `invalid_grant`. The client then begins a sign-in, which carries the challenge. The server
//! treats demands of Entra itself at a refresh in the same way.
//!
//! From the `claims` that a client sends to `/authorize`, only `acrs` and `nbf` of the access token
//! go to Entra.
//!
//! # Stored data
//!
//! | data | where | for how long |
//! |---|---|---|
//! | a registration | in the client's id | until its key is removed from the list |
//! | a request that a user is asked to agree to | in the page's form | 15 minutes |
//! | a sign-in in progress at Entra | in Entra's `state`, or in the browser's cookie if it is long | 15 minutes |
//! | the secret that binds it to the browser; then its end | in the browser's cookie | 16 minutes; an hour |
//! | the result for a browser that returned from Entra | in memory | 15 minutes |
//! | the fact that a code was used | in the [`Store`](store::Store) | 30 minutes |
//! | a code, by its hash | in the store | 1 minute |
//! | a sign-in (grant), with Entra's refresh token | in the store | 30 days without a refresh, 90 at most |
//! | the list of a user's sign-ins; the user's pending claims challenges | in the store, by a hash | as long as the longest of the sign-ins; 15 minutes |
//! | the fact that an operator [ended](EntraOAuthProxy::end_sign_ins_of) sign-ins of a user or a client | in the store, by a hash | 368 days from the last of them |
//! | a refresh token | not stored: it consists of the grant's id, a number and a tag | as the sign-in |
//!
//! The default store is in memory, and the default keys are generated at the start. A single instance
//! keeps both in a [directory](EntraOAuthProxyBuilder::data_directory), so that users do not notice
//! restarts or crashes. Several instances share a [store](EntraOAuthProxyBuilder::store), and have
//! the same [keys](EntraOAuthProxyBuilder::keys).
//!
//! Data that leaves this process is encrypted (AES-256-GCM-SIV) or has a tag (HMAC), with separate
//! [keys](ProxyKeys) for each purpose. All of it has a [version](_guide::operations#versions).
//!
//! # Responses
//!
//! A client always receives an OAuth response, and a user always a page. Entra's error texts go
//! into the log, never to clients or users.
//!
//! | situation | response |
//! |---|---|
//! | an unknown client, or a redirect URI that the client did not register | a page, 400; the browser is not redirected |
//! | any other error in a request, before the user agreed | a redirect to the client if the redirect URI is loopback, belongs to a pre-registered client, or is [listed](Clients::allowed_redirects) by the operator with its path; otherwise a page, 400, with a button that takes the error to the client |
//! | a resource other than this one | `invalid_target` |
//! | the user declines, here or at Entra | `access_denied` |
//! | an administrator's consent is missing; a policy refuses; another tenant, a guest | `access_denied` |
//! | Entra rejects this server: an expired secret, a scope that is not exposed | `server_error`, and an error in the log with the remedy |
//! | Entra or the store does not respond | `temporarily_unavailable`; 503 at the token endpoint. The client's code or refresh token stays valid. If only Entra fails, refreshes succeed while Entra's own token is valid |
//! | the store is full | a page, 503; `temporarily_unavailable` for a sign-in in progress. Existing sign-ins continue |
//! | data that a later version of this server wrote | 503 `temporarily_unavailable`, or a page; nothing is changed |
//! | the store does not respond to the Layer | 503 `grant_rule_unavailable`, 30 s after the last response |
//! | an unknown client at the token endpoint, or a wrong secret | 401 `invalid_client` |
//! | a code or refresh token that is unknown, expired, used or another client's; or whose user was not asked for a scope that is required now | 400 `invalid_grant` |
//! | a token to revoke that is unknown or expired | 200: the token is already invalid |
//! | too many requests of one address, client or sign-in | 429 `temporarily_unavailable`, or a page; the client's code or refresh token stays valid. [Limits](_guide::operations#limits) |
//! | too much work in flight | 503 `temporarily_unavailable`, or a page; no code or token is used up. [Requests in progress](_guide::operations#requests-in-progress) |
//! | too many sign-ins of one user | `temporarily_unavailable`, sent to the client through the browser |
//!
//! # Features
//!
//! - `axum` (default): the endpoints as routers. Without it, [`EntraOAuthProxy::service`] is a
//!   tower service for any server.
//! - `disk-store` (default): the [store on disk](store::DiskStore), and the
//!   [directory](EntraOAuthProxyBuilder::data_directory) for it and for the keys.
//! - `reqwest` (default): sends the requests to Entra with reqwest and rustls. Without it, provide
//!   an HTTP client: [`EntraOAuthProxyBuilder::http_client`].
//! - `metrics`: counters and histograms through the `metrics` facade:
//!   [operations](_guide::operations#metrics).
//! - `serde`, `tonic`: [the Layer's features](tower_entra_auth#features) of these names.
//! - `testing`: the conformance suite for stores. For use as a dev-dependency only.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)
)]

mod config;
mod crypto;
mod endpoints;
mod entra;
mod http;
mod keys;
mod limits;
mod oauth;
mod pages;
mod proxy;
pub mod store;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod tokens;

/// Settings that weaken the protection.
///
/// Each needs a reason. Reviewers search for `danger`.
pub mod danger {
    pub use crate::config::DangerousBuilder;
}

/// The Layer that protects a resource, and its types.
pub mod layer {
    #[cfg(feature = "axum")]
    pub use tower_entra_auth::axum::Protected;

    pub use crate::proxy::{
        ResourceBody, ResourceFuture, ResourceLayer, ResourceService, UnknownResource,
    };
}

/// The guides.
// The links at the end of each file are for GitHub. Those of `rustdoc-links.txt` come first, so that rustdoc
// uses them instead (CommonMark: of several definitions of a label the first counts).
pub mod _guide {
    #[cfg_attr(
        all(feature = "axum", feature = "disk-store"),
        doc = include_str!("../docs/rustdoc-links.txt"),
        doc = include_str!("../docs/clients.md")
    )]
    #[cfg_attr(
        not(all(feature = "axum", feature = "disk-store")),
        doc = "Connecting clients. Documented with the features `axum` and `disk-store`."
    )]
    pub mod connecting_clients {}

    #[doc = include_str!("../docs/rustdoc-links.txt")]
    #[doc = include_str!("../docs/mcp-server.md")]
    pub mod mcp_server {}

    #[doc = include_str!("../docs/rustdoc-links.txt")]
    #[doc = include_str!("../docs/setup-entra.md")]
    pub mod setup_entra {}

    #[cfg_attr(
        feature = "axum",
        doc = include_str!("../docs/rustdoc-links.txt"),
        doc = include_str!("../docs/direct-mode.md")
    )]
    #[cfg_attr(
        not(feature = "axum"),
        doc = "Direct mode. Documented with the feature `axum`."
    )]
    pub mod direct_mode {}

    #[doc = include_str!("../docs/rustdoc-links.txt")]
    #[doc = include_str!("../docs/threat-model.md")]
    pub mod threat_model {}

    #[doc = include_str!("../docs/rustdoc-links.txt")]
    #[doc = include_str!("../docs/curl.md")]
    pub mod by_hand {}

    #[doc = include_str!("../docs/rustdoc-links.txt")]
    #[doc = include_str!("../docs/codes.md")]
    pub mod codes {}

    #[doc = include_str!("../docs/rustdoc-links.txt")]
    #[doc = include_str!("../docs/engine.md")]
    pub mod engine_of_our_own {}

    #[doc = include_str!("../docs/rustdoc-links.txt")]
    #[doc = include_str!("../docs/operations.md")]
    pub mod operations {}
}

pub use entra_confidential_client::{Certificate, Credential, FederatedAssertion, Secret};
pub use entra_http::{BuildError, Problem};
/// The crate of the Layer, for items that are not re-exported here.
pub use tower_entra_auth;

pub use crate::config::{Branding, Clients, EntraOAuthProxyBuilder, Lifetimes, Prompt, Resource};
pub use crate::endpoints::ProxyEndpoints;
pub use crate::keys::{InvalidKeys, ProxyKeys};
#[doc(inline)]
pub use crate::layer::ResourceLayer;
pub use crate::limits::{Rate, RateLimits};
pub use crate::oauth::PreregisteredClient;
pub use crate::proxy::EntraOAuthProxy;
pub use crate::tokens::{EndError, EndErrorKind};

/// The README's example, compiled.
#[cfg(all(doctest, feature = "axum", feature = "disk-store"))]
#[doc = include_str!("../README.md")]
struct Readme;
