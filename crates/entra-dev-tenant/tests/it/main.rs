//! Tests that the tenant serves what Entra serves, and fails on demand.

mod authorize;
mod authorize_refusals;
mod browser;
mod caching;
mod clock;
mod code;
mod credentials;
mod custom_keys;
mod documents;
mod endpoints;
mod faults;
mod flaws;
mod http_client;
mod key_scripts;
mod modifiers;
mod presets;
mod program;
mod raw;
mod recorded;
mod refresh;
mod scopes;
mod sign_out;
mod single_page;
mod single_sign_on;
mod support;
