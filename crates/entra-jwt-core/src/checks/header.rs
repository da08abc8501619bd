//! Checks of the header.

use super::Facts;
use crate::key::RS256;
use crate::rejection::{GraphMark, Rejection};

/// A header `nonce` marks tokens for Microsoft Graph: the signature was made over its hash, so
/// the token as sent can never verify. Before the algorithm, as it explains more.
pub(super) fn nonce(facts: &Facts<'_>) -> Result<(), Rejection> {
    if facts.token.has_nonce {
        return Err(Rejection::GraphToken {
            mark: GraphMark::Nonce,
            api: facts.rules.audiences.client_id(),
        });
    }
    Ok(())
}

/// Exactly RS256: every discovery document of Entra announces only that.
pub(super) fn algorithm(facts: &Facts<'_>) -> Result<(), Rejection> {
    match facts.token.algorithm.as_deref() {
        Some(RS256) => Ok(()),
        found => Err(Rejection::WrongAlgorithm {
            found: found.map(str::to_owned),
            expected: RS256,
        }),
    }
}

/// `JWT` in any case, or absent. Entra never writes `at+jwt`.
pub(super) fn token_type(facts: &Facts<'_>) -> Result<(), Rejection> {
    match facts.token.token_type.as_deref() {
        Some(found) if !found.eq_ignore_ascii_case("JWT") => Err(Rejection::WrongTokenType {
            found: found.to_owned(),
        }),
        _ => Ok(()),
    }
}
