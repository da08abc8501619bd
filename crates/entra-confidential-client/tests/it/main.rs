//! The client against an HTTP service that says what a test tells it to, all in one process and on
//! paused time, and against the local tenant.

#![allow(missing_docs)]

mod credentials;
mod errors;
mod grants;
mod redaction;
mod remedies;
mod settings;
#[cfg(feature = "reqwest")]
mod standard_client;
mod support;
mod tenant;
mod time;
