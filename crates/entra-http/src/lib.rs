//! HTTP and settings, as `tower-entra-auth`, `entra-confidential-client` and `entra-oauth-proxy` share them,
//! and no rule of Entra. They re-export [`BuildError`] and [`Problem`], and the first two
//! [`BoxError`].
//!
//! ```
//! use entra_http::{BuildError, Problems, secure_url};
//!
//! fn endpoint(url: &str) -> Result<http::Uri, BuildError> {
//!     let mut problems = Problems::new("cannot ask anybody");
//!     let endpoint = problems.take("endpoint", secure_url(url, false));
//!     endpoint.ok_or_else(|| problems.into_error())
//! }
//!
//! assert!(endpoint("https://login.microsoftonline.com").is_ok());
//! assert_eq!(
//!     endpoint("http://10.0.0.1").unwrap_err().to_string(),
//!     "cannot ask anybody:\n  - endpoint: is http, which only loopback may be",
//! );
//! ```
//!
//! # The rooms
//!
//! In the order in which a crate meets them; each is a file or folder in `src/`:
//!
//! | room | |
//! |---|---|
//! | `problems` | [`Problems`] collects what is wrong with settings, each a [`Problem`], and makes one [`BuildError`] of it. |
//! | `slip` | [`slip_in`] names the slips of copying a value into a setting: quotes, braces, placeholders. |
//! | `url` | [`secure_url`], [`plain_host`], [`is_loopback_host`]: the URLs that are safe to send to. |
//! | `client` | [`HttpClient`] sends a request through any tower service, or through reqwest (feature `reqwest`); [`Failure`] is the reason for which there is no response; [`https_proxy`] names the proxy that may be it. |
//! | `headers` | [`fresh_for`], [`retry_after`], [`retry_after_value`]: the headers of responses about time. |
//! | `throttled_log` | [`ThrottledLog`] decides which lines are written, where strangers can cause them. |
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)
)]

mod client;
mod headers;
mod problems;
mod slip;
mod throttled_log;
mod url;

pub use crate::client::{
    BoxError, Failure, FailureCause, HttpClient, ProxyFailure, StandardClient, https_proxy,
};
pub use crate::headers::{fresh_for, retry_after, retry_after_value};
pub use crate::problems::{BuildError, Problem, Problems};
pub use crate::slip::slip_in;
pub use crate::throttled_log::ThrottledLog;
pub use crate::url::{is_loopback_host, plain_host, secure_url};
