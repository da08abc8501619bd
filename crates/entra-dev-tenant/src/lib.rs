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
//! let tenant = DevTenant::start().await?;           // on 127.0.0.1, any free port
//! let token = tenant.user("ada").scope("Reports.Read").for_api(API).mint();
//! let expired = tenant.user("ada").scope("Reports.Read").for_api(API).expired().mint();
//!
//! tenant.rotate_keys();                             // the next token has a new key
//! tenant.discovery().fails_with(503).for_next(3);   // then it recovers
//! assert_eq!(tenant.keys().hits(), 0);              // nobody has asked for the keys yet
//! # Ok(())
//! # }
//! ```
//!
//! # The parts
//!
//! - [`DevTenant`] runs on the caller's tokio runtime and ends when it is dropped. What is under test
//!   is set to its [`id`](DevTenant::id), to its [`url`](DevTenant::url) as the place of the metadata,
//!   and to its [`clock`](DevTenant::clock).
//! - [`TokenBuilder`] makes tokens: of users ([`DevTenant::user`]), of applications
//!   ([`DevTenant::app`]), of personal accounts and of B2C, v1 or v2, id tokens and tokens for
//!   Graph; with groups, agents' facets and whatever else Entra writes when asked.
//! - [`Flaw`] is one way of being wrong: [`TokenBuilder::flaw`] makes a token that is good but for
//!   this, and [`Flaw::ALL`] is for trying them all.
//! - [`DevTenant::jwks_of`] and the shared endpoints hold the keys of personal accounts and of
//!   another cloud that Entra's hold; [`DevTenantBuilder::external_id`] plays a CIAM tenant.
//! - [`Endpoint`] records what one endpoint was asked, says how its answers may be cached, and
//!   makes it fail on demand; how long it fails says [`Fault`].
//! - [`DevTenant::rotate_keys`] and its neighbours change the keys; others change only what the
//!   coming key documents hold: a lagging set, an empty one, entries that should not be there.
//! - [`DevTenantBuilder::custom_signing_key`] gives an application a key of its own (`?appid=`).
//! - [`DevTenant::advance`] lets time pass, [`DevTenant::clock_jumps_forward`] moves the wall clock
//!   alone.
//! - `POST /{tenant}/oauth2/v2.0/token` grants `client_credentials` to the applications that
//!   [`DevTenantBuilder::client`] registers, with Entra's refusals in Entra's shape.
//!
//! # Faults on demand
//!
//! Of [`discovery`](DevTenant::discovery), [`keys`](DevTenant::keys) and
//! [`token_endpoint`](DevTenant::token_endpoint) alike; each lasts until
//! [`recovers`](Endpoint::recovers) or for [`for_next(n)`](Fault::for_next) requests:
//!
//! | fault | what is sent |
//! |---|---|
//! | [`fails_with`](Endpoint::fails_with), [`answers_with`](Endpoint::answers_with) | a status; exactly this |
//! | [`throttles`](Endpoint::throttles) | a status with `Retry-After` |
//! | [`redirects_to`](Endpoint::redirects_to) | 302 to another URL |
//! | [`answers_not_modified`](Endpoint::answers_not_modified) | 304, whether or not it was asked for |
//! | [`answers_html`](Endpoint::answers_html), [`answers_error_json`](Endpoint::answers_error_json) | 200 with a proxy's page; with an error |
//! | [`answers_invalid_json`](Endpoint::answers_invalid_json) | 200 with half the JSON |
//! | [`answers_oversized`](Endpoint::answers_oversized) | the right JSON, that many bytes long |
//! | [`answers_gzip_bomb`](Endpoint::answers_gzip_bomb) | the right JSON after 100 MiB, compressed to 100 KiB |
//! | [`takes`](Endpoint::takes), [`trickles`](Endpoint::trickles) | the right answer, late; one byte a second |
//! | [`truncates`](Endpoint::truncates) | half the right answer, then the connection closes |
//! | [`hangs`](Endpoint::hangs) | nothing |
//!
//! And of the whole tenant, where each lasts for as long as it says:
//!
//! | fault | what is served |
//! |---|---|
//! | [`goes_down`](DevTenant::goes_down) | nothing: connections are closed |
//! | [`serves_no_keys`](DevTenant::serves_no_keys) | an empty set |
//! | [`answers_lag`](DevTenant::answers_lag) | the keys as before the latest rotation |
//! | [`flaps_between`](DevTenant::flaps_between) | several sets of [`PublishedKeys`] in turn |
//! | [`key_vanishes_for`](DevTenant::key_vanishes_for) | the keys without one of them |
//! | [`publishes_foreign_keys`](DevTenant::publishes_foreign_keys) | keys of another cloud and of personal accounts |
//! | [`publishes_twin_of_signing_key`](DevTenant::publishes_twin_of_signing_key) | one `kid` twice |
//! | [`publishes_weak_key`](DevTenant::publishes_weak_key) | an RSA key of 1024 bits, `AKP`, `OKP`, `oct`, no `kid` |
//! | [`publishes_private_half`](DevTenant::publishes_private_half) | a private exponent |
//! | [`publishes_also`](DevTenant::publishes_also) | any entry |
//!
//! Time is tokio's: with it paused (`start_paused = true`) and the client on the same
//! current-thread runtime, a trickle of half an hour takes no time.
//!
//! The same as a program: `entra-dev-tenant` (`cargo install entra-dev-tenant`) prints its addresses
//! and tokens to try.
//!
//! It shares no code and no constant with what it is meant to test. Use it for development and
//! tests only: everybody who reaches it can have a token.

mod assertion;
mod authorize;
mod certificate;
mod claims_request;
mod client_authentication;
mod clock;
mod cloud;
mod consent;
mod custom_key;
mod directory;
mod documents;
mod endpoint;
mod entra_error;
mod external_issuer;
mod grants;
mod html;
mod key_document;
mod key_ring;
mod key_script;
mod odd_keys;
mod parameters;
mod registration;
mod scope;
mod server;
mod shared_keys;
mod signing_key;
mod tenant;
mod text;
mod token;
mod token_endpoint;

pub use crate::cloud::DevCloud;
pub use crate::endpoint::{Endpoint, Fault, RecordedRequest};
pub use crate::external_issuer::{ExternalIssuer, ExternalToken};
pub use crate::key_script::PublishedKeys;
pub use crate::registration::AppRegistration;
pub use crate::tenant::{DevTenant, DevTenantBuilder};
pub use crate::token::{B2cPolicy, Flaw, TokenBuilder};

/// The README's snippet, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
