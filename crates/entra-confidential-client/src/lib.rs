//! A client of Microsoft Entra ID's token endpoint for servers.
//!
//! It proves the server's identity with a client secret, a certificate or a federated assertion,
//! and sends one token request. Its error says what can be done about a failure.
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
//! Instead of a secret, use a [`Certificate`] or a [`FederatedAssertion`]. If they come from files,
//! the files are read again with every request, so that a changed file is used without a restart.
//!
//! # Steps of a request
//!
//! Each step with the module that does it, a file or folder in `src/`:
//!
//! | step | module |
//! |---|---|
//! | A [`TokenRequest`] says what is requested: tokens for an authorization code or a refresh token, the application's own token, or a token on behalf of a user. It always names its scopes. A request without scopes is not sent. | `request` |
//! | The [`Credential`] makes the proof of identity: the secret itself, a fresh assertion signed with the certificate's key (`PS256`), or the current token of the other identity provider. | `credential` |
//! | The client posts the request to the token endpoint of the authority's tenant, or of [its own tenant](TokenRequest::tenant), over `https` or on loopback. It follows no redirects. The time limit for everything is 10 s by default. The request is [repeated at most once](ConfidentialClient::send). | `client` |
//! | The response is read up to 256 KiB. It must be a JSON object with a bearer token and its lifetime: a [`TokenResponse`]. | `response` |
//! | Every other outcome is a [`TokenError`]. Its [kind](TokenErrorKind) says what can be done, its [remedy](TokenError::remedy) is for the operator. The log has at most one line a minute at WARN for each kind and remedy, with the number of errors. The other errors are at DEBUG. | `error` |
//!
//! The settings are in `client`, too. Text from outside goes through `text` before it is printed,
//! and requests leave the process through [`entra_http`].
//!
//! # What is printed
//!
//! No `Debug`, `Display`, error or log line, at any level, contains a secret, code, verifier, token
//! or assertion; see [`Secret`]. Entra's `error_description` is not printed either, because it
//! names users. Its AADSTS numbers are kept, and the ids that find the rest in the sign-in log.
//!
//! # Features
//!
//! - `reqwest` (default): sends requests with reqwest and rustls, and honours `HTTPS_PROXY`.
//!   Without this feature, bring an HTTP client: [`ConfidentialClientBuilder::http_client`].
//!
//! Why `azure_identity` is not used: [beside `azure_identity`](_guide::azure_identity).

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

/// The guides.
pub mod _guide {
    #[doc = include_str!("../docs/rustdoc-links.txt")]
    #[doc = include_str!("../docs/azure-identity.md")]
    pub mod azure_identity {}
}

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
