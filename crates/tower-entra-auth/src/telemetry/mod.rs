//! What is recorded of each decision: counts, and a span around the request.

pub(crate) mod metrics;
mod span;

pub(crate) use self::span::{Decided, RefusedWithin, RequestSpan};
