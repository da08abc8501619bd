//! The proxy's own keys, and the formats of what is kept under them.

pub(crate) mod format;
pub(crate) mod keyring;
