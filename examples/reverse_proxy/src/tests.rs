//! What the proxy promises, through real sockets, or through memory where the clock is paused.

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
