//! A local tenant of Microsoft Entra ID, for tests and first steps without a cloud.
//!
//! It **plays** a real tenant: the issuers, key issuers and cloud names in its documents and
//! tokens are the real strings of the cloud it plays, with the members that Entra serves; only
//! its endpoints are local, and its keys are made when it starts. Whatever accepts its tokens
//! would accept Entra's, if they were signed with Entra's keys.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! use entra_dev_tenant::DevTenant;
//!
//! const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
//!
//! let tenant = DevTenant::start().await?;                    // on 127.0.0.1, any free port
//! let token = tenant.user("ada").scope("Reports.Read").for_api(API).mint();
//! let expired = tenant.user("ada").scope("Reports.Read").for_api(API).expired().mint();
//!
//! tenant.signing_keys().rotate();                            // the next token has a new key
//! tenant.discovery_endpoint().fail_with(503).for_next(3);    // then it recovers
//! assert_eq!(tenant.key_endpoint().hits(), 0);               // nobody has asked for the keys yet
//! # Ok(())
//! # }
//! ```
//!
//! # The parts
//!
//! - [`DevTenant`] runs on the caller's tokio runtime and ends when it is dropped. What is under test
//!   is set to its [`id`](DevTenant::id), to its [`url`](DevTenant::url) as the place of the metadata,
//!   and to its [`clock`](DevTenant::clock); where the clock is paused also to its
//!   [`http_client`](DevTenant::http_client), which goes [through memory](#time).
//! - [`TokenBuilder`] makes tokens: of users ([`DevTenant::user`]), of applications
//!   ([`DevTenant::app`]), of personal accounts and of B2C, v1 or v2, id tokens and tokens for
//!   Graph; with groups, agents' facets and whatever else Entra writes when asked.
//! - [`Flaw`] is one way of being wrong: [`TokenBuilder::flaw`] makes a token that is good but for
//!   this, and [`Flaw::ALL`] is for trying them all.
//! - [`Endpoint`] records what one endpoint was asked, says how its answers may be cached, and
//!   makes it fail on demand; how long it fails says [`Fault`]. There are four:
//!   [`discovery_endpoint`](DevTenant::discovery_endpoint), [`key_endpoint`](DevTenant::key_endpoint),
//!   [`authorize_endpoint`](DevTenant::authorize_endpoint) and
//!   [`token_endpoint`](DevTenant::token_endpoint).
//! - [`SigningKeys`], by [`DevTenant::signing_keys`], rotates the keys, and changes what the coming
//!   key documents hold: a lagging set, an empty one, entries that should not be there.
//! - [`People`], by [`DevTenant::people`], signs users in without a browser; disables them, ends
//!   their sessions and asks more of them; and gives and withdraws consent.
//! - [`Time`], by [`DevTenant::time`], lets time pass, or moves the wall clock alone.
//! - [`SigningKeys::document_of`] and the shared endpoints hold the keys of personal accounts and of
//!   another cloud that Entra's hold; [`DevTenantBuilder::external_id`] plays a CIAM tenant.
//! - [`DevTenantBuilder::custom_signing_key`] gives an application a key of its own (`?appid=`).
//! - [`AppRegistration`] says what an application is: a client with secrets, certificates,
//!   federated credentials ([`ExternalIssuer`]) and redirect URIs, an API with scopes, or both.
//! - `/{tenant}/oauth2/v2.0/authorize` signs users in, `/{tenant}/oauth2/v2.0/token` grants
//!   `authorization_code`, `refresh_token` and `client_credentials`, both with
//!   [Entra's refusals](#refusals); `/{tenant}/oauth2/v2.0/logout` signs a browser out and sends it
//!   back to a `post_logout_redirect_uri` that is a registered redirect URI.
//!
//! # The way of a request
//!
//! Each step with the room of the source, a file or folder in `src/`, in which it is done:
//!
//! | step | room |
//! |---|---|
//! | [`DevTenantBuilder`] starts a server, which requests reach over TCP or [through memory](HttpClient); [`DevTenant`] is the handle on both it and the tenant, with [`SigningKeys`], [`People`] and [`Time`] for its parts. | `dev_tenant` |
//! | The [`Endpoint`] records the request, and does what its [`Fault`] says in place of its work, if one is set. | `endpoint` |
//! | Discovery documents are of the authority in the path, in the strings of the [cloud](DevCloud) that is played. | `authority` |
//! | Key documents hold the [keys that are published](PublishedKeys), or what a test wants instead. | `keys` |
//! | At the other endpoints users sign in, consent and sign out, and codes and refresh tokens become tokens. | `oauth` |
//! | The client is an [application](AppRegistration), which proves it by a secret, a certificate or a [token of somebody it trusts](ExternalToken). | `application` |
//! | Tokens are made by a [`TokenBuilder`], and spoiled by a [`Flaw`]. | `token` |
//! | Whatever is refused gets Entra's error. | `entra_error` |
//!
//! Rooms use each other in one direction; `clock` and `text` are what all share, and `main` is the
//! program.
//!
//! # Signing in
//!
//! The authorization endpoint shows a page with one form: a button named `user` for each of the
//! tenant's [users](DevTenantBuilder::users), and one named `decline`. Whoever has no browser sends
//! the form straight to the URL of the request, `user=ada` or `decline=1`; a test need not even
//! do that:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! use entra_dev_tenant::DevTenant;
//!
//! const APP: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3"; // client and API at once
//!
//! let tenant = DevTenant::builder()
//!     .web_client(APP, "dev-secret", ["http://localhost/callback"])
//!     .api(APP, ["Reports.Read"])
//!     .start()
//!     .await?;
//! let request = format!(
//!     "{}/{}/oauth2/v2.0/authorize?client_id={APP}&response_type=code&state=s&scope=openid\
//!      %20api://{APP}/Reports.Read&redirect_uri=http://localhost:8080/callback",
//!     tenant.url(),
//!     tenant.id(),
//! );
//! let callback = tenant.people().sign_in("ada", &request);
//! assert!(callback.starts_with("http://localhost:8080/callback?code="));
//! assert_eq!(tenant.authorize_endpoint().requests()[0].parameter("resource"), None);
//! # Ok(())
//! # }
//! ```
//!
//! The user who signs in is the one that [`DevTenant::user`] makes tokens of, and so consents to
//! what the request asks for. As Entra's, a token then has every scope of its API that this user
//! ever consented to for this client; a refresh token is good for 90 days and stays good when it
//! was used; a redirect has no `iss`; PKCE is checked where it is used and not required; requests
//! for several APIs may be authorized at once, and are granted one by one.
//!
//! # Refusals
//!
//! Of the authorization endpoint, the user reads the first group on a page (400), the client the
//! second by redirect:
//!
//! | AADSTS | `error` | how to provoke it |
//! |---|---|---|
//! | 90002 | | another tenant in the path |
//! | 9000411 | | a parameter twice |
//! | 700016, 700038 | | an application that is not registered; an id that is no GUID |
//! | 50011, 500113, 900971 | | a redirect URI that is not registered; none that is; none, and several are |
//! | 50034, 50057 | | a user who is not there; [`disable`](People::disable) |
//! | 65004 | `access_denied` | `decline=1`, [`decline`](People::decline) |
//! | 90094 | `access_denied` | [`require_admin_approval`](People::require_admin_approval), and `prompt=consent` after [`approve_as_admin`](People::approve_as_admin) |
//! | 50058 | `login_required` | `prompt=none` before [`start_session`](People::start_session) |
//! | 65001 | `consent_required` | `prompt=none` before a sign-in, after [`withdraw_consent`](People::withdraw_consent) |
//! | 50076 | `interaction_required` | `prompt=none` after [`require_interaction`](People::require_interaction) |
//! | 70011 | `invalid_scope` | a malformed scope; `.default` beside another |
//! | 650053 | `invalid_client` | a scope that its API does not expose; one without API is Graph's |
//! | 500011 | `invalid_resource` | an API that is not there |
//! | 9010010 | `invalid_target` | `resource`, unless it is the App ID URI of the scopes |
//! | 901002 | `invalid_request` | any `resource` after [`refuse_resource_parameter`](DevTenantBuilder::refuse_resource_parameter) |
//! | 700051 | `unsupported_response_type` | anything but `code` |
//! | 70007, 90023, 50149, 900144 | `invalid_request` | a response mode, a prompt or a challenge method that there is not; no scope |
//!
//! Of the token endpoint, as JSON, 401 for `invalid_client` and 400 for the others; 70011, 500011,
//! 9010010 and 901002 as above:
//!
//! | AADSTS | `error` | how to provoke it |
//! |---|---|---|
//! | 7000215, 7000222 | `invalid_client` | a wrong secret; an [expired](AppRegistration::expired_secret) one |
//! | 7000218, 7000216 | `invalid_client`, `invalid_request` | no credential; none for `client_credentials` |
//! | 700025 | `invalid_client` | a credential of a client that has none |
//! | 700027, 5002723 | `invalid_client` | an assertion by another certificate or key; without thumbprint |
//! | 700021, 700023, 700024 | `invalid_client` | an assertion with another subject or audience; one that is over |
//! | 700211, 700212, 700213, 50013 | `invalid_client` | an external token of another issuer, audience or subject; [`bad_signature`](ExternalToken::bad_signature) |
//! | 50027 | `invalid_client` | an assertion that is no JWT, or has no `jti` |
//! | 500112 | `invalid_client` | a redirect URI other than the request's |
//! | 54005, 70008 | `invalid_grant` | a code a second time; after 10 minutes |
//! | 501481 | `invalid_grant` | another verifier than the challenge's; one without the other |
//! | 70000 | `invalid_grant` | a code or refresh token that is unknown, or another client's |
//! | 28003, 28000 | `invalid_request` | a code without `scope`; scopes of two APIs |
//! | 65001 | `invalid_grant` | a scope that the user did not consent to; one without API is Graph's |
//! | 90009 | `invalid_request` | a refresh without `scope` by a client that is the API itself |
//! | 700082 | `invalid_grant` | a refresh token after 90 days |
//! | 50173 | `invalid_grant` | [`revoke_sessions`](People::revoke_sessions) |
//! | 50057 | `invalid_grant` | [`disable`](People::disable) |
//! | 50076 | `interaction_required` | [`require_interaction`](People::require_interaction), with `claims` |
//! | 1002012, 9001023 | `invalid_scope`, `invalid_request` | `client_credentials` for anything but `.default`; at `common` |
//! | 70003, 900144, 9002313 | | another grant; a missing parameter; two ways of authentication, broken claims |
//!
//! # Faults on demand
//!
//! [`discovery_endpoint`](DevTenant::discovery_endpoint),
//! [`key_endpoint`](DevTenant::key_endpoint), [`authorize_endpoint`](DevTenant::authorize_endpoint) and
//! [`token_endpoint`](DevTenant::token_endpoint) have the same faults; each lasts until
//! [`recover`](Endpoint::recover) or for [`for_next(n)`](Fault::for_next) requests, and no fault
//! costs a code:
//!
//! | fault | what is sent |
//! |---|---|
//! | [`fail_with`](Endpoint::fail_with), [`answer_with`](Endpoint::answer_with) | a status; exactly this |
//! | [`throttle`](Endpoint::throttle) | a status with `Retry-After` |
//! | [`redirect_to`](Endpoint::redirect_to) | 302 to another URL |
//! | [`answer_not_modified`](Endpoint::answer_not_modified) | 304, whether or not it was asked for |
//! | [`answer_html`](Endpoint::answer_html), [`answer_error_json`](Endpoint::answer_error_json) | 200 with a proxy's page; with an error |
//! | [`answer_invalid_json`](Endpoint::answer_invalid_json) | 200 with half the JSON |
//! | [`answer_oversized`](Endpoint::answer_oversized) | the right JSON, that many bytes long |
//! | [`answer_gzip_bomb`](Endpoint::answer_gzip_bomb) | the right JSON after 100 MiB, compressed to 100 KiB |
//! | [`delay`](Endpoint::delay), [`trickle`](Endpoint::trickle) | the right answer, late; one byte a second |
//! | [`truncate`](Endpoint::truncate) | half the right answer, then the connection closes |
//! | [`hang`](Endpoint::hang) | nothing |
//!
//! [`start_outage`](DevTenant::start_outage) closes every connection to the tenant without an answer.
//! The [keys](SigningKeys) have faults, too, each for as long as its documentation says:
//!
//! | fault | what is served |
//! |---|---|
//! | [`serve_none`](SigningKeys::serve_none) | an empty set |
//! | [`lag`](SigningKeys::lag) | the keys as before the latest rotation |
//! | [`alternate`](SigningKeys::alternate) | several sets of [`PublishedKeys`] in turn |
//! | [`omit`](SigningKeys::omit) | the keys without one of them |
//! | [`publish_foreign`](SigningKeys::publish_foreign) | keys of another cloud and of personal accounts |
//! | [`publish_twin`](SigningKeys::publish_twin) | one `kid` twice |
//! | [`publish_weak`](SigningKeys::publish_weak) | an RSA key of 1024 bits, `AKP`, `OKP`, `oct`, no `kid` |
//! | [`publish_private_half`](SigningKeys::publish_private_half) | a private exponent |
//! | [`publish`](SigningKeys::publish) | any entry |
//!
//! # Time
//!
//! Time is tokio's: while it is paused (`start_paused = true`), a trickle of half an hour takes no
//! time. What is under test must then be on the same current-thread runtime, which is what
//! `#[tokio::test]` makes, and reach the tenant through memory, by [`DevTenant::http_client`]:
//!
//! ```
//! # async fn check(tenant: &entra_dev_tenant::DevTenant) {
//! # use std::time::Duration;
//! # use axum::{body::Bytes, http::{Request, Response}};
//! # use entra_dev_tenant::ResponseBody;
//! # struct EntraAuth;
//! # impl EntraAuth {
//! #     fn builder() -> Self { Self }
//! #     fn tenant(self, _: &str) -> Self { self }
//! #     fn metadata_endpoint(self, _: &str) -> Self { self }
//! #     fn http_client(
//! #         self,
//! #         _: impl tower_service::Service<Request<Bytes>, Response = Response<ResponseBody>>,
//! #     ) -> Self { self }
//! #     fn clock(self, _: impl Fn() -> std::time::SystemTime) -> Self { self }
//! # }
//! let auth = EntraAuth::builder()
//!     .tenant(tenant.id())
//!     .metadata_endpoint(tenant.url())
//!     .http_client(tenant.http_client())
//!     .clock(tenant.clock()); // of tower-entra-auth; other clients have the like
//! tenant.key_endpoint().delay(Duration::from_secs(3)).for_next(1);
//! tenant.time().advance(Duration::from_secs(3_600)).await;
//! # let _ = auth;
//! # }
//! ```
//!
//! Not by a socket: a paused clock jumps to the next timer as soon as no task has anything to do,
//! also while a packet is on its way through the system, so that timeouts come true by chance, and
//! tests pass or fail by how busy the machine is. The tenant therefore closes a connection by which
//! a request came over TCP while the clock is paused, and says why by a panic in that task, which
//! ends nothing else. Clients that cannot be given another transport, such as programs, need a clock
//! that runs; [`jump_forward`](Time::jump_forward) moves the tenant's wall clock for them.
//!
//! # As a program
//!
//! `entra-dev-tenant` (`cargo install entra-dev-tenant`) prints its addresses and how to get tokens of it.
//!
//! It shares no code and no constant with what it is meant to test. Use it for development and
//! tests only: everybody who reaches it can have a token.

mod application;
mod authority;
mod clock;
mod dev_tenant;
mod endpoint;
mod entra_error;
mod keys;
mod oauth;
mod text;
mod token;

pub use crate::application::{AppRegistration, ExternalIssuer, ExternalToken};
pub use crate::authority::DevCloud;
pub use crate::dev_tenant::{
    DevTenant, DevTenantBuilder, HttpClient, People, ResponseBody, SigningKeys, Time,
};
pub use crate::endpoint::{Endpoint, Fault, RecordedRequest};
pub use crate::keys::PublishedKeys;
pub use crate::token::{B2cPolicy, Flaw, TokenBuilder};

/// The README's snippet, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
