//! The claims for peers that decode them into a type of the user's.

use serde::Deserialize;

/// What a service reads to know its caller. `iss` and `aud` are here to be required: where a peer
/// only compares them, a token without them passes.
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
