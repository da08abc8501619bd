//! What the proxy promises, through real sockets.

mod connections;
mod failures;
mod identity;
mod requests;
mod settings;
mod streams;
mod support;
mod token;
