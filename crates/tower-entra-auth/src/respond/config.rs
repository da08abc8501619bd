//! What the answers of one `EntraAuth` have in common.

use super::challenge::MetadataReference;

/// How much a refused caller learns. The log always has everything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum RefusalDetail {
    /// The machine code, such as `expired` or `wrong_audience`.
    #[default]
    Code,
    /// The code and what to do about it: for development.
    Full,
    /// Neither: the status, and of the challenge `error` and what a client needs to get a better
    /// token (`scope`, `claims`, `authorization_uri`).
    None,
}

/// What the answers of one `EntraAuth` have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResponderConfig {
    pub(crate) detail: RefusalDetail,
    /// What stands before the short name of a scope when it is requested from Entra, but for a
    /// slash.
    pub(crate) app_id_uri: String,
    /// Where a client learns how to get a token, if that is published.
    pub(crate) metadata: Option<MetadataReference>,
    /// Where a client may turn to with a claims challenge.
    pub(crate) authorization_uri: String,
    /// How a token is to be sent.
    pub(crate) how_to_send: &'static str,
}
