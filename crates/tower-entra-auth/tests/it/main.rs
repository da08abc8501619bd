//! The Layer as its users have it: over real sockets, in real frameworks, against a tenant.

mod answers;
mod frameworks;
mod http_clients;
mod keys;
mod lifetime;
mod logs;
mod settings;
mod support;
mod tenants;
mod unavailable;
