//! The leg to Entra.

pub(crate) mod sign_in;
