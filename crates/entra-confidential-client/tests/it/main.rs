//! The client against an HTTP service that says what a test tells it to, all in one process and on
//! paused time, and against the local tenant.

#![allow(missing_docs)]

mod errors;
mod grants;
mod support;
mod time;
