//! The Layer as its users have it: over real sockets, in real frameworks, against a tenant.

mod anonymous;
mod answers;
mod expiry;
mod extractors;
mod faults;
mod frameworks;
mod grpc;
mod hooks;
mod http_clients;
mod key_files;
mod key_settings;
mod keys;
mod lifetime;
mod logs;
mod observability;
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
mod unavailable;
