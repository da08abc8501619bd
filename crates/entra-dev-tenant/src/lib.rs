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
//! - [`DevTenant`] runs on the caller's tokio runtime and ends when it is dropped.
//! - [`TokenBuilder`] makes tokens: of users ([`DevTenant::user`]), of applications
//!   ([`DevTenant::app`]), of personal accounts and of B2C, v1 or v2, id tokens and tokens for
//!   Graph; with groups, agents' facets and whatever else Entra writes when asked.
//! - [`Flaw`] is one way of being wrong: [`TokenBuilder::flaw`] makes a token that is good but for
//!   this, and [`Flaw::ALL`] is for trying them all.
//! - [`DevTenant::jwks_of`] and the shared endpoints hold the keys of personal accounts and of
//!   another cloud that Entra's hold; [`DevTenantBuilder::external_id`] plays a CIAM tenant.
//! - [`Endpoint`] counts what one endpoint was asked and makes it fail on demand.
//! - `POST /{tenant}/oauth2/v2.0/token` grants `client_credentials` to the applications that
//!   [`DevTenantBuilder::client`] registers, with Entra's refusals in Entra's shape.
//!
//! The same as a program: `cargo run -p entra-dev-tenant` prints its addresses and tokens to try.
//!
//! It shares no code and no constant with what it is meant to test. Use it for development and
//! tests only: everybody who reaches it can have a token.

mod clock;
mod cloud;
mod documents;
mod endpoint;
mod entra_error;
mod key_document;
mod key_ring;
mod server;
mod shared_keys;
mod signing_key;
mod tenant;
mod text;
mod token;
mod token_endpoint;

pub use crate::cloud::DevCloud;
pub use crate::endpoint::{Endpoint, Fault};
pub use crate::tenant::{DevTenant, DevTenantBuilder};
pub use crate::token::{B2cPolicy, Flaw, TokenBuilder};

/// The README's snippet, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
