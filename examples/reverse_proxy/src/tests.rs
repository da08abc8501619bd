//! Tests of the proxy's guarantees, over real sockets, or over memory where the clock is paused.

#[cfg(target_os = "linux")]
mod connecting;
mod connections;
mod failures;
mod identity;
mod logs;
mod memory;
mod requests;
mod settings;
mod spellings;
mod streams;
mod support;
mod token;
