//! The settings of a proxy, and the making of one.

pub(crate) mod build;
pub(crate) mod build_error;
pub(crate) mod builder;
pub(crate) mod danger;
#[cfg(feature = "redb")]
pub(crate) mod data_directory;
