//! HTTP and settings code that `tower-entra-auth`, `entra-confidential-client` and
//! `entra-oauth-proxy` share.
//!
//! It contains no rule of Entra. The three crates re-export [`BuildError`] and [`Problem`]. The
//! first two also re-export [`BoxError`].
//!
//! ```
//! use entra_http::{BuildError, Problems, secure_url};
//!
//! fn endpoint(url: &str) -> Result<http::Uri, BuildError> {
//!     let mut problems = Problems::new("cannot call the endpoint");
//!     let endpoint = problems.take("endpoint", secure_url(url, false));
//!     endpoint.ok_or_else(|| problems.into_error())
//! }
//!
//! assert!(endpoint("https://login.microsoftonline.com").is_ok());
//! assert_eq!(
//!     endpoint("http://10.0.0.1").unwrap_err().to_string(),
//!     "cannot call the endpoint:\n  - endpoint: uses http, which only loopback addresses may use",
//! );
//! ```
//!
//! # Modules
//!
//! Each module is a file or folder in `src/`. They are listed in the order in which a crate uses
//! them:
//!
//! | module | content |
//! |---|---|
//! | `problems` | [`Problems`] collects the problems with settings, each a [`Problem`], and makes one [`BuildError`] of them. |
//! | `slip` | [`slip_in`] recognises mistakes in copying a value into a setting: quotes, braces, placeholders. |
//! | `url` | [`secure_url`], [`plain_host`], [`is_loopback_host`]: checks that a URL is safe to send to. |
//! | `client` | [`HttpClient`] sends a request through any tower service, or through reqwest (feature `reqwest`). [`Failure`] is the cause of a missing response. [`https_proxy`] names the proxy that may have caused it. |
//! | `headers` | [`fresh_for`], [`retry_after`], [`retry_after_value`]: response headers about time. |
//! | `throttled_log` | [`ThrottledLog`] decides which lines are written for events that strangers can cause. |
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

/// The README's snippet, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
