//! A client of Microsoft Entra ID's token endpoint for servers: it proves who the server is by a
//! client secret, a certificate or a federated assertion, sends one token request, and tells from
//! the error what can be done.
//!
//! ```no_run
//! use entra_confidential_client::{ConfidentialClient, Secret, TokenErrorKind, TokenRequest};
//!
//! # async fn example(refresh_token: Secret) -> Result<(), Box<dyn std::error::Error>> {
//! let entra = ConfidentialClient::builder()
//!     .authority("https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47")
//!     .client_id("6e74172b-be56-4843-9ff4-e66a39bb12e3")
//!     .credential(Secret::from_env("ENTRA_CLIENT_SECRET")?)
//!     .build()?;
//!
//! let scopes = ["api://6e74172b-be56-4843-9ff4-e66a39bb12e3/Reports.Read", "offline_access"];
//! let request = TokenRequest::refresh_token(&refresh_token, scopes);
//! match entra.send(request).await {
//!     Ok(tokens) => println!("good for {:?}", tokens.expires_in),
//!     Err(error) if error.kind() == TokenErrorKind::InvalidGrant => println!("sign in again"),
//!     Err(error) if error.is_transient() => println!("try again in {:?}", error.retry_after()),
//!     Err(error) => println!("{error}; {}", error.remedy()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Instead of a secret, a [`Certificate`] or a [`FederatedAssertion`]; both are read again when
//! their files change.
//!
//! # The way of a request
//!
//! Each step with the room of the source, a file or folder in `src/`, in which it is done:
//!
//! | step | room |
//! |---|---|
//! | A [`TokenRequest`] says what is asked for: an authorization code, a refresh token, the application's own token, or one on behalf of a user. Its scopes are always said. Without any, nothing is sent. | `request` |
//! | The [`Credential`] gives the proof: the secret itself, a fresh assertion signed with the certificate's key (`PS256`), or the other identity provider's token as it is now. | `credential` |
//! | It is posted to the token endpoint of the authority's tenant, or of [its own](TokenRequest::tenant), over `https` or on loopback. Redirects are not followed. 10 s are the limit for everything, and it is [repeated once at most](ConfidentialClient::send). | `client` |
//! | The answer is read up to 256 KiB. It must be a JSON object with a bearer token and its lifetime: a [`TokenResponse`]. | `response` |
//! | Anything else is a [`TokenError`]: its [kind](TokenErrorKind) says what can be done, its [remedy](TokenError::remedy) tells the operator, and the log has a line at WARN, for each kind at most one a minute, with how many there were; the others are at DEBUG. | `error` |
//!
//! The settings are in `client`, too. What is printed of other people's texts goes through `text`, and what
//! leaves the process through [`entra_http`].
//!
//! # What is printed
//!
//! No secret, code, verifier, token or assertion, in no `Debug`, `Display`, error or log line, at no
//! level; see [`Secret`]. Nor Entra's `error_description`, which names users: its AADSTS numbers and
//! the ids by which the sign-in log finds the rest are kept.
//!
//! # Features
//!
//! - `reqwest` (default): sends requests with reqwest and rustls; honours `HTTPS_PROXY`. Without it,
//!   bring an HTTP client: [`ConfidentialClientBuilder::http_client`].
//!
#![doc = include_str!("../docs/azure-identity.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)
)]

mod client;
mod credential;
mod error;
mod request;
mod response;
mod text;

pub use entra_http::{BoxError, BuildError, Problem};

pub use crate::client::{ConfidentialClient, ConfidentialClientBuilder};
pub use crate::credential::{
    Certificate, Credential, FederatedAssertion, InvalidCredential, Secret,
};
pub use crate::error::{TokenError, TokenErrorKind};
pub use crate::request::{AuthorizationCode, TokenRequest};
pub use crate::response::TokenResponse;

/// The README's snippet, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
