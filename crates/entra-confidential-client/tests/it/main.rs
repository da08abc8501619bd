//! Tests of the client against a scripted HTTP service and against `entra-dev-tenant`.
//!
//! The scripted service runs in the test's process on paused time.

#![allow(missing_docs)]

mod credentials;
mod errors;
mod grants;
mod redaction;
mod remedies;
mod repetition;
mod settings;
#[cfg(feature = "reqwest")]
mod standard_client;
mod support;
mod tenant;
mod time;
