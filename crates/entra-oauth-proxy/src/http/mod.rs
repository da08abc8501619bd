//! What the endpoints share of HTTP.

pub(crate) mod cookies;
pub(crate) mod media_type;
pub(crate) mod response;
