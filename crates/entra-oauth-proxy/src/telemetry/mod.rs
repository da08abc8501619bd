//! What operators see: spans, metrics and the log.

pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod spans;
