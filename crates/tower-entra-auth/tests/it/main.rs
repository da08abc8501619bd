//! The Layer as its users have it: in real frameworks, against a tenant, over real sockets, or
//! through memory where the clock is paused.

mod anonymous;
mod answers;
mod axum_forms;
mod caller_rule;
mod client;
mod expiry;
mod expiry_rules;
mod extractors;
mod faults;
mod frameworks;
mod grpc;
mod grpc_api;
mod hooks;
mod http_clients;
mod key_files;
mod key_settings;
mod keys;
mod lifetime;
mod logs;
mod observability;
mod pending;
mod reissued;
mod requirements;
mod resource_metadata;
mod resource_settings;
mod rotation;
mod settings;
mod sources;
mod status;
mod support;
mod tenants;
mod trusted;
mod trusted_issuers;
mod unavailable;
