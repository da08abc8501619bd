//! A local tenant of Microsoft Entra ID, for tests and first steps without a cloud.
//!
//! It **plays** a real tenant. Its documents and tokens have the members that Entra serves, with
//! the real issuers, key issuers and cloud names of the cloud that it plays. Only its endpoints are
//! local. Its keys are made when it starts, or taken from a tenant that has ended. A service that
//! accepts its tokens also accepts Entra's tokens, once the service trusts Entra's keys.
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
//! - [`DevTenant`] runs on the caller's tokio runtime and ends when it is dropped. Configure the
//!   code under test with the tenant's [`id`](DevTenant::id), with its [`url`](DevTenant::url) as
//!   the metadata endpoint, and with its [`clock`](DevTenant::clock). If tokio's clock is paused,
//!   also use the tenant's [`http_client`](DevTenant::http_client), which connects [in
//!   memory](#time).
//! - [`TokenBuilder`] makes tokens: of users ([`DevTenant::user`]), of applications
//!   ([`DevTenant::app`]), of personal accounts and of B2C, v1 or v2, id tokens and tokens for
//!   Graph. The tokens can have groups, agent facets and other optional claims of Entra.
//! - [`Flaw`] is one defect of a token. [`TokenBuilder::flaw`] makes a token that is good except
//!   for this flaw, and [`Flaw::ALL`] lists all flaws.
//! - [`Endpoint`] records the requests to one endpoint, sets how its responses may be cached, and
//!   makes the endpoint fail on demand. [`Fault`] sets for how many requests it fails. There are
//!   four endpoints: [`discovery_endpoint`](DevTenant::discovery_endpoint),
//!   [`key_endpoint`](DevTenant::key_endpoint),
//!   [`authorize_endpoint`](DevTenant::authorize_endpoint) and
//!   [`token_endpoint`](DevTenant::token_endpoint).
//! - [`SigningKeys`], returned by [`DevTenant::signing_keys`], rotates the keys. It also changes
//!   the content of the next JWKS documents: outdated keys, an empty set, or entries that should
//!   not be there.
//! - [`People`], returned by [`DevTenant::people`], signs users in without a browser, disables
//!   them, starts and ends their sessions and requires another sign-in. It also withdraws consent
//!   and approves scopes.
//! - [`Time`], returned by [`DevTenant::time`], lets time pass, or moves only the wall clock.
//! - [`SigningKeys::document_of`] and the shared endpoints hold the keys of personal accounts and
//!   of another cloud, as Entra's shared documents do. [`DevTenantBuilder::external_id`] plays a
//!   CIAM tenant.
//! - [`DevTenantBuilder::custom_signing_key`] gives an application its own key (`?appid=`).
//! - [`AppRegistration`] describes an application. It is a client with secrets, certificates,
//!   federated credentials ([`ExternalIssuer`]) and redirect URIs, of programs or of [single-page
//!   applications](#single-page-applications), an API with scopes, or both.
//! - `/{tenant}/oauth2/v2.0/authorize` signs users in.
//! - `/{tenant}/oauth2/v2.0/token` grants `authorization_code`, `refresh_token` and
//!   `client_credentials`. Both endpoints have [Entra's refusals](#refusals).
//! - `/{tenant}/oauth2/v2.0/logout` signs a browser out. It redirects to `post_logout_redirect_uri`
//!   if that is a registered redirect URI.
//!
//! # How a request is handled
//!
//! The table names for each step the module, a file or folder in `src/`:
//!
//! | step | module |
//! |---|---|
//! | [`DevTenantBuilder`] starts a server, which requests reach over TCP or [in memory](HttpClient). [`DevTenant`] is the handle on the server and the tenant. [`SigningKeys`], [`People`] and [`Time`] are handles on parts of the tenant. | `dev_tenant` |
//! | The [`Endpoint`] records the request. If a [`Fault`] is set, it replaces or changes the response. | `endpoint` |
//! | A discovery document describes the authority in the path, with the issuers, hosts and names of the [cloud](DevCloud) that the tenant plays. | `authority` |
//! | A JWKS document holds the [published keys](PublishedKeys), or the keys that a test has set instead. | `keys` |
//! | At the other endpoints, users sign in, consent and sign out, and clients exchange codes and refresh tokens for tokens. | `oauth` |
//! | The client is an [application](AppRegistration). It authenticates with a secret, a certificate or a [token of an external issuer that it trusts](ExternalToken). | `application` |
//! | A [`TokenBuilder`] makes tokens, and a [`Flaw`] spoils them. | `token` |
//! | Every refusal has the format of Entra's errors. | `entra_error` |
//!
//! Modules use each other in one direction only. All of them share `clock` and `text`. `main` is
//! the program.
//!
//! # Signing in
//!
//! The authorization endpoint shows a page with one form. The form has a button named `user` for
//! each of the tenant's [users](DevTenantBuilder::users), and one named `decline`. A client without
//! a browser posts the form directly to the URL of the authorization request, with `user=ada` or
//! `decline=1`. A test needs no HTTP at all:
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
//! A user who signs in is the same user whose tokens [`DevTenant::user`] makes. Signing in consents
//! to the scopes that the request asks for. The following rules are those of Entra:
//!
//! - A token has every scope of its API to which this user has ever consented for this client.
//! - A refresh token is valid for 90 days, and stays valid after it was used.
//! - A redirect has no `iss`.
//! - The tenant checks PKCE if the client uses it, and does not require it.
//! - One request may authorize scopes of several APIs. Each token request is for one of the APIs.
//!
//! # Single sign-on
//!
//! A browser in which a user has signed in on the page has a session, by the cookie `ESTSAUTH`. The
//! tenant responds to its next authorization request at once, with a code for this user. It shows
//! the page in these cases, as Entra does:
//!
//! - `prompt` is `login`, `select_account` or `consent`.
//! - `login_hint` names another user.
//! - The user has not consented to a requested scope for this application, or an administrator must
//!   approve it.
//! - The user is [disabled](People::disable) or [must sign in again](People::require_interaction).
//!
//! With `prompt=none`, the response is the [refusal](#refusals) instead. If several users sign in
//! in one browser, the last one has the session. The session ends when the browser signs out, when
//! the user's [sessions are revoked](People::revoke_sessions), and with the tenant. Browsers do not
//! separate cookies by port, so of two tenants on one host, a browser has a session at the one
//! where the user signed in last.
//!
//! [`People::start_session`] starts a session without a page, in every browser that has none.
//!
//! # Single-page applications
//!
//! A script in a browser, such as MSAL.js or Swagger UI, redeems codes from its own origin. Entra
//! and the tenant allow it for redirect URIs of the platform "Single-page application"
//! ([`spa_redirect_uri`](AppRegistration::spa_redirect_uri)), with these rules:
//!
//! - PKCE is required.
//! - The token request has an `Origin` header and no credential.
//! - Refresh tokens expire 24 hours after the sign-in.
//! - No other token request may have an `Origin` header.
//!
//! The response to a token request with an `Origin` header has `Access-Control-Allow-Origin: *` if
//! the grant type is `authorization_code` or `refresh_token`, also if it is a refusal. Discovery and
//! key documents always have it. The authorization endpoint never has it. The token endpoint
//! answers preflights, and does not record them.
//!
//! # Refusals
//!
//! These are the refusals of the authorization endpoint. Those of the first group, without `error`,
//! are shown to the user on a page with status 400. Those of the second group are sent to the
//! client by redirect:
//!
//! | AADSTS | `error` | cause |
//! |---|---|---|
//! | 90002 | | another tenant in the path |
//! | 9000411 | | a parameter that is sent twice |
//! | 700016, 700038 | | an application that is not registered; an id that is not a GUID |
//! | 50011, 500113, 900971 | | a redirect URI that is not registered; an application without any; a request without one, if several are registered |
//! | 50034, 50057 | | a user who does not exist; [`disable`](People::disable) |
//! | 65004 | `access_denied` | `decline=1`, [`decline`](People::decline) |
//! | 90094 | `access_denied` | [`require_admin_approval`](People::require_admin_approval), and `prompt=consent` after [`approve_as_admin`](People::approve_as_admin) |
//! | 50058 | `login_required` | `prompt=none` without a [session](#single-sign-on), or with another user's `login_hint` |
//! | 65001 | `consent_required` | `prompt=none` before the user has signed in on the page, or after [`withdraw_consent`](People::withdraw_consent) |
//! | 50076, 50057 | `interaction_required` | `prompt=none` after [`require_interaction`](People::require_interaction); after [`disable`](People::disable) |
//! | 70011 | `invalid_scope` | a malformed scope; `.default` together with another scope |
//! | 650053 | `invalid_client` | a scope that its API does not expose; a scope without an API counts as Graph's |
//! | 500011 | `invalid_resource` | an API that does not exist |
//! | 9010010 | `invalid_target` | `resource`, unless it is the Application ID URI of the API of the scopes |
//! | 901002 | `invalid_request` | any `resource` after [`refuse_resource_parameter`](DevTenantBuilder::refuse_resource_parameter) |
//! | 9002325 | `invalid_request` | a [single-page application](#single-page-applications) without PKCE |
//! | 700051 | `unsupported_response_type` | a response type other than `code` |
//! | 70007, 90023, 50149, 900144 | `invalid_request` | an unknown response mode; an unknown prompt; an unknown challenge method; no scope |
//!
//! The refusals of the token endpoint are JSON, with status 401 for `invalid_client` and 400 for
//! all others. 70011, 500011, 9010010 and 901002 have the same causes as above:
//!
//! | AADSTS | `error` | cause |
//! |---|---|---|
//! | 7000215, 7000222 | `invalid_client` | a wrong secret; an [expired](AppRegistration::expired_secret) one |
//! | 7000218, 7000216 | `invalid_client`, `invalid_request` | no credential; no credential for `client_credentials` |
//! | 700025 | `invalid_client` | a credential, from a client that has none registered or of a [single-page application](#single-page-applications) |
//! | 9002326, 9002327 | `invalid_request` | an `Origin` header without a single-page application; a single-page application without an `Origin` header |
//! | 700027, 5002723 | `invalid_client` | an assertion by another certificate or key; one without a thumbprint |
//! | 700021, 700023, 700024 | `invalid_client` | an assertion with another subject; one with another audience; one that has expired or is not valid yet |
//! | 700211, 700212, 700213, 50013 | `invalid_client` | an external token of another issuer, audience or subject; [`bad_signature`](ExternalToken::bad_signature) |
//! | 50027 | `invalid_client` | an assertion that is not a JWT, or has no `jti` |
//! | 500112 | `invalid_client` | a redirect URI other than that of the authorization request |
//! | 54005, 70008 | `invalid_grant` | a code that is used a second time; one that is used after 10 minutes |
//! | 501481 | `invalid_grant` | a verifier that does not match the challenge; a verifier without a challenge, or the reverse |
//! | 70000 | `invalid_grant` | a code or refresh token that is unknown, or another client's |
//! | 28003, 28000 | `invalid_request` | a code for two APIs that is redeemed without `scope`; scopes of two APIs |
//! | 65001 | `invalid_grant` | a scope to which the user has not consented; a scope without an API counts as Graph's |
//! | 90009 | `invalid_request` | a refresh without `scope` by a client that is the API itself |
//! | 700082, 700084 | `invalid_grant` | a refresh token after 90 days; one of a single-page application, 24 hours after the sign-in |
//! | 50173 | `invalid_grant` | [`revoke_sessions`](People::revoke_sessions) |
//! | 50057 | `invalid_grant` | [`disable`](People::disable) |
//! | 50076 | `interaction_required` | [`require_interaction`](People::require_interaction); the response has `claims` |
//! | 1002012, 9001023 | `invalid_scope`, `invalid_request` | `client_credentials` with a scope other than `.default`; `client_credentials` at a shared authority such as `common` |
//! | 70003, 900144, 9002313 | | an unsupported grant type; a missing parameter; two client credentials, or malformed `claims` |
//!
//! # Faults on demand
//!
//! [`discovery_endpoint`](DevTenant::discovery_endpoint),
//! [`key_endpoint`](DevTenant::key_endpoint), [`authorize_endpoint`](DevTenant::authorize_endpoint)
//! and [`token_endpoint`](DevTenant::token_endpoint) have the same faults. Each fault lasts until
//! [`recover`](Endpoint::recover) or for [`for_next(n)`](Fault::for_next) requests. A fault that
//! replaces the response redeems no code. A fault that only changes the normal response does:
//!
//! | fault | response |
//! |---|---|
//! | [`fail_with`](Endpoint::fail_with), [`answer_with`](Endpoint::answer_with) | a status; the given status, content type and body |
//! | [`throttle`](Endpoint::throttle) | a status with `Retry-After` |
//! | [`redirect_to`](Endpoint::redirect_to) | 302 to another URL |
//! | [`answer_not_modified`](Endpoint::answer_not_modified) | 304, even if the request is not conditional |
//! | [`answer_html`](Endpoint::answer_html), [`answer_error_json`](Endpoint::answer_error_json) | 200 with the page of a proxy; 200 with an error |
//! | [`answer_invalid_json`](Endpoint::answer_invalid_json) | 200 with half the JSON |
//! | [`answer_oversized`](Endpoint::answer_oversized) | the normal JSON, extended to at least the given length |
//! | [`answer_gzip_bomb`](Endpoint::answer_gzip_bomb) | the normal JSON after 100 MiB, compressed to 100 KiB |
//! | [`delay`](Endpoint::delay), [`trickle`](Endpoint::trickle) | the normal response, late; one byte a second |
//! | [`truncate`](Endpoint::truncate) | half the normal response, then the connection closes |
//! | [`hang`](Endpoint::hang) | nothing |
//!
//! [`start_outage`](DevTenant::start_outage) closes every connection to the tenant without a
//! response. The [keys](SigningKeys) have faults, too. The documentation of each says how long it
//! lasts:
//!
//! | fault | content of JWKS documents |
//! |---|---|
//! | [`serve_none`](SigningKeys::serve_none) | an empty set |
//! | [`lag`](SigningKeys::lag) | the keys from before the latest rotation |
//! | [`alternate`](SigningKeys::alternate) | several sets of [`PublishedKeys`] in turn |
//! | [`omit`](SigningKeys::omit) | the keys without one of them |
//! | [`publish_foreign`](SigningKeys::publish_foreign) | keys of another cloud and of personal accounts |
//! | [`publish_twin`](SigningKeys::publish_twin) | one `kid` twice |
//! | [`publish_weak`](SigningKeys::publish_weak) | an RSA key of 1024 bits, `AKP`, `OKP`, `oct`, an entry without `kid` |
//! | [`publish_private_half`](SigningKeys::publish_private_half) | a private exponent |
//! | [`publish`](SigningKeys::publish) | any entry |
//!
//! # Time
//!
//! Time is tokio's: while its clock is paused (`start_paused = true`), a trickle of half an hour
//! takes no real time. The code under test must then run on the same current-thread runtime, which
//! `#[tokio::test]` starts. It must also reach the tenant in memory, by [`DevTenant::http_client`]:
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
//! A socket does not work here. A paused clock jumps to the next timer as soon as no task has work
//! to do, even while a packet is in flight in the operating system. Timeouts then expire by chance,
//! and tests pass or fail by how busy the machine is. If a request arrives over TCP while the clock
//! is paused, the tenant therefore closes the connection. It reports the cause by a panic in the
//! task of this connection, which ends nothing else. Clients that cannot use another transport,
//! such as programs, need a running clock. [`jump_forward`](Time::jump_forward) moves the tenant's
//! wall clock for them.
//!
//! # As a program
//!
//! The program `entra-dev-tenant` prints its addresses and how to get its tokens.
//!
//! The tenant shares no code and no constant with the crates that it is meant to test. Use it for
//! development and tests only: every client that reaches it can get a token.

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

/// The README's examples, compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
