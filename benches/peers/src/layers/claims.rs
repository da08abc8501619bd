//! The claims for peers that decode them into a type of the user.

use serde::Deserialize;

/// The claims that a service reads to know its caller.
///
/// The type contains `iss` and `aud` to make them required: a peer that only compares them accepts
/// a token without them.
#[derive(Clone, Debug, Deserialize)]
#[expect(dead_code, reason = "decoded for a handler that is not there")]
pub(crate) struct Claims {
    iss: String,
    aud: String,
    oid: String,
    tid: String,
    sub: String,
    azp: String,
    name: Option<String>,
    pub(crate) scp: Option<String>,
    pub(crate) roles: Option<Vec<String>>,
}
