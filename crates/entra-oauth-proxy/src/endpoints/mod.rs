//! The endpoints, in the order in which a client meets them.

pub(crate) mod authorize;
pub(crate) mod callback;
pub(crate) mod consent;
pub(crate) mod endpoint;
pub(crate) mod metadata;
pub(crate) mod register;
pub(crate) mod revoke;
pub(crate) mod sign_out;
pub(crate) mod token;
