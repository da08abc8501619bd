//! The tenant serves what Entra serves, and fails on demand.

mod documents;
mod endpoints;
mod flaws;
mod modifiers;
mod presets;
mod support;
