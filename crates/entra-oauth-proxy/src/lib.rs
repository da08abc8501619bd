//! An OAuth authorization server in front of Microsoft Entra ID, for clients that register themselves.
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
//! want a token for, and expect a new refresh token with each refresh. Entra knows none of it. This
//! server does, and is one confidential client of Entra's towards the other side. Users sign in at
//! Entra; clients get tokens of this server (RFC 9068), which say who the user is and are good for
//! the one resource alone; the [Layer](EntraOAuthProxy::layer) accepts them, and Entra's own beside
//! them.
//!
//! | guide | for |
//! |---|---|
//! | [connecting clients](_guide::connecting_clients) | the way from an empty tenant to connected products, and the meaning of each error |
//! | [setting up Entra](_guide::setup_entra) | the app registration, page by page |
//! | [direct mode](_guide::direct_mode) | services whose clients sign in at Entra themselves, and need no proxy |
//! | [operations](_guide::operations) | going live, keys, the store, limits, the log and metrics |
//! | [threat model](_guide::threat_model) | the attacks, the defence against each, and its tests |
//! | [the decision](_guide::engine_of_our_own) | the reasons to build on no other engine |
//!
//! # The way of a sign-in
//!
//! 1. `GET /.well-known/…`: the client learns where everything is.
//! 2. `POST /register`: it gets an id that is its own registration, encrypted. Nothing is stored.
//! 3. `GET /authorize`: client, redirect URI, resource and scopes are checked; a person reads who asks,
//!    for what, and where the answer goes. Nothing is stored.
//! 4. `POST /consent`: the person agreed, in this browser. It goes to Entra with a cookie that holds
//!    what is under way, encrypted.
//! 5. `GET /callback`: the same browser comes back. The code is redeemed, the access token verified by
//!    the rules of the Layer, the id token's nonce compared. If something is demanded of this user's
//!    next sign-in (a [claims challenge](#claims-challenges)), the browser goes to Entra with that,
//!    once. Only then is there a code for the client, good for a minute.
//! 6. `POST /token`: the code comes to a grant, which is stored, and to tokens. Of a user who has too
//!    many grants, the longest unused ends.
//! 7. `POST /token` again and again: a refresh token is replaced with each use, after Entra was asked
//!    where its own token is about to end; once, however many refreshes of it come at once.
//! 8. `POST /revoke`: the client signs out. Its refresh token ends at once, its access tokens within
//!    the [grant check interval](Lifetimes::grant_check), 30 s.
//!
//! What was begun goes on when the client or the browser is gone: a browser that comes back from Entra
//! again, or a refresh that is repeated, gets what it came to. A code is good once, whoever got the
//! answer. [`EntraOAuthProxy::shutdown`] waits for all of it.
//!
//! Whoever wants to sign in with another account than the browser's opens `GET /sign-out`, to which the
//! consent page has a link: it ends the sign-in at Entra, not those of applications here.
//!
//! The same request by request, with what is answered: [`by_hand`](_guide::by_hand).
//!
//! # The rooms
//!
//! Each is a file or folder in `src/`, and uses those below it alone:
//!
//! | room | |
//! |---|---|
//! | `config` | [`EntraOAuthProxyBuilder`] checks the settings, and makes the proxy of good ones. |
//! | `proxy` | [`EntraOAuthProxy`] is the handle on everything, [`ResourceLayer`] protects the resource. |
//! | `endpoints` | [`ProxyEndpoints`] finds the endpoint of a request. Each endpoint is a file that parses the request, decides, does and answers, to be read from top to bottom. |
//! | `tokens` | Grants are kept, their tokens written, refreshes made one at a time, and the records of users changed. |
//! | `entra` | Browsers are sent to Entra, codes redeemed and tokens renewed, and what comes is verified. |
//! | `limits` | [`RateLimits`] say how often an address, a client, a sign-in and a user may come, how many sign-ins of a user are kept, and how many calls to Entra there may be at a time. |
//! | `pages` | What people read is made. |
//! | `oauth` | Errors, parameters, scopes, the resource, clients and their redirect URIs follow OAuth's rules. |
//! | `store` | Records are encrypted on their way to a [`Store`](store::Store). |
//! | `http` | Responses, cookies and bodies are what all endpoints share of HTTP. |
//! | `keys` | [`ProxyKeys`] seal, authenticate and sign. Everything that is kept has a version. |
//! | `telemetry` | Spans, metrics and throttled lines of the log tell operators. |
//! | `crypto`, `time` | Random numbers, hashes, comparisons; the wall clock. |
//!
//! # Claims challenges
//!
//! A route that wants more of a caller, by
//! [`Caller::challenge`](tower_entra_auth::Caller::challenge) or a requirement of an authentication
//! context, is answered with 401, and this server keeps what it wants as an open demand on that user by
//! that client, for 15 minutes. Most clients refresh after a 401, and send no `claims`: the refresh asks
//! Entra with the demand. Either Entra has a token for it, which the refreshed one is made of; or it
//! wants to see the user, and the refresh is `invalid_grant`: then the client begins a sign-in, which
//! carries the demand. So it goes with what Entra itself demands at a refresh.
//!
//! Of the `claims` that a client sends to `/authorize`, `acrs` and `nbf` of the access token go to
//! Entra.
//!
//! # What is kept, and where
//!
//! | what | where | for how long |
//! |---|---|---|
//! | a registration | in the client's id | until its key is taken off the list |
//! | what a person is asked to agree to | in the page's form | 15 minutes |
//! | what is under way at Entra | in the browser's cookie | 15 minutes |
//! | what a browser that came back comes to | in memory | 15 minutes |
//! | that a code was used | in the [`Store`](store::Store) | 30 minutes |
//! | a code, by its hash | in the store | 1 minute |
//! | a grant, with Entra's refresh token | in the store | 30 days without a refresh, 90 at most |
//! | which grants a user has, and what is demanded of the user's next sign-in | in the store, by a hash | as the longest of them; 15 minutes |
//! | that an operator [ended](EntraOAuthProxy::end_sign_ins_of) sign-ins of a user or a client | in the store, by a hash | 368 days from the last of them |
//! | a refresh token | nowhere: it is the grant's id and number with a tag | as the grant |
//!
//! The store is in memory, and the keys are made at the start, unless it is set otherwise. A single
//! instance keeps both in a [directory](EntraOAuthProxyBuilder::data_directory), and nobody notices its
//! restarts, or that it was killed. Several instances have a [store](EntraOAuthProxyBuilder::store) that
//! they share, and [keys](EntraOAuthProxyBuilder::keys).
//!
//! What leaves this process is encrypted (AES-256-GCM-SIV) or has a tag (HMAC), by [keys](ProxyKeys)
//! of its own for each purpose. All of it has a [version](_guide::operations#versions).
//!
//! # Answers
//!
//! A client always gets an answer in the words of OAuth, and a person always a page. What Entra says
//! goes into the log, never to either.
//!
//! | situation | answer |
//! |---|---|
//! | an unknown client, or a redirect URI that it did not register | a page, 400: nobody is sent anywhere |
//! | any other error in a request, before a person agreed | sent to loopback, a pre-registered client, or a URI that the operator [lists](Clients::allowed_redirects) with its path; else a page, 400, with a button that carries it there |
//! | another resource than this one | `invalid_target` |
//! | the person says no, here or at Entra | `access_denied` |
//! | consent of an administrator is missing; a policy says no; another tenant, a guest | `access_denied` |
//! | Entra does not accept this server: an expired secret, a scope that is not exposed | `server_error`, and an error in the log with the remedy |
//! | Entra or the store does not answer | `temporarily_unavailable`; 503 at the token endpoint, and what the client has stays good. While Entra's own token is good, refreshes go on |
//! | the store is full | a page, 503; `temporarily_unavailable` for who is on the way. Who is signed in goes on |
//! | something that a later version of this server made | 503 `temporarily_unavailable`, or a page; nothing is changed |
//! | the store does not answer the Layer | 503 `grant_rule_unavailable`, 30 s after the last answer |
//! | an unknown client at the token endpoint, or a wrong secret | 401 `invalid_client` |
//! | a code or refresh token that is unknown, over, used or another client's; or whose user was not asked for a scope that is required now | 400 `invalid_grant` |
//! | a token to revoke that is unknown or over | 200: it is good for nothing already |
//! | too many requests of one address, client or sign-in | 429 `temporarily_unavailable`, or a page; what the client has stays good. [Limits](_guide::operations#limits) |
//! | too much is under way at once | 503 `temporarily_unavailable`, or a page; nothing was used up. [Work under way](_guide::operations#work-under-way) |
//! | too many sign-ins of one user | the client is told `temporarily_unavailable`, by the browser |
//!
//! # Features
//!
//! - `axum` (default): the endpoints as routers. Without it, [`EntraOAuthProxy::service`] is a tower
//!   service for any server.
//! - `disk-store` (default): the [store on disk](store::DiskStore), and the
//!   [directory](EntraOAuthProxyBuilder::data_directory) for it and for the keys.
//! - `reqwest` (default): asks Entra with reqwest and rustls. Without it, bring an HTTP client:
//!   [`EntraOAuthProxyBuilder::http_client`].
//! - `metrics`: counters and histograms through the `metrics` facade: [operations](_guide::operations#metrics).
//! - `serde`, `tonic`: [the Layer's features](tower_entra_auth#features) of these names.
//! - `testing`: the conformance suite for stores. As a dev-dependency only.

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

/// Settings that weaken the protection. Each needs a reason; reviewers search for `danger`.
pub mod danger {
    pub use crate::config::DangerousBuilder;
}

/// The Layer of a protected resource.
pub mod layer {
    #[cfg(feature = "axum")]
    pub use tower_entra_auth::axum::Protected;

    pub use crate::proxy::{
        ResourceBody, ResourceFuture, ResourceLayer, ResourceService, UnknownResource,
    };
}

/// The guides.
pub mod _guide {
    // What it shows as code has routers of axum and a directory.
    #[cfg_attr(all(feature = "axum", feature = "disk-store"), doc = include_str!("../docs/clients.md"))]
    #[cfg_attr(
        not(all(feature = "axum", feature = "disk-store")),
        doc = "Documented with the features `axum` and `disk-store`."
    )]
    pub mod connecting_clients {}

    #[doc = include_str!("../docs/setup-entra.md")]
    pub mod setup_entra {}

    #[cfg_attr(feature = "axum", doc = include_str!("../docs/direct-mode.md"))]
    #[cfg_attr(not(feature = "axum"), doc = "Documented with the feature `axum`.")]
    pub mod direct_mode {}

    #[doc = include_str!("../docs/threat-model.md")]
    pub mod threat_model {}

    #[doc = include_str!("../docs/curl.md")]
    pub mod by_hand {}

    #[doc = include_str!("../docs/engine.md")]
    pub mod engine_of_our_own {}

    #[doc = include_str!("../docs/operations.md")]
    pub mod operations {}
}

pub use entra_confidential_client::{Certificate, Credential, FederatedAssertion, Secret};
pub use entra_http::{BuildError, Problem};
/// The Layer's own crate.
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

/// The README's snippet, compiled.
#[cfg(all(doctest, feature = "axum", feature = "disk-store"))]
#[doc = include_str!("../README.md")]
struct Readme;
