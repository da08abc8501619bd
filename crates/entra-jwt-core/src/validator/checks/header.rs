//! Checks of the header.

use super::Facts;
use super::rules::Profile;
use crate::json::JsonStr;
use crate::rejection::{GraphMark, Rejection};
use crate::shown::Shown;

/// A header `nonce` marks tokens for Microsoft Graph: the signature was made over its hash, so
/// the token as sent can never verify. Before the algorithm, as it explains more.
pub(super) fn nonce(facts: &Facts<'_>) -> Result<(), Rejection> {
    if facts.token.has_nonce() {
        return Err(Rejection::GraphToken {
            mark: GraphMark::Nonce,
            api: facts.rules.audiences.client_id(),
        });
    }
    Ok(())
}

/// Exactly RS256: every discovery document of Entra announces only that. Exactly ES256 in reissued
/// tokens.
pub(super) fn algorithm(facts: &Facts<'_>) -> Result<(), Rejection> {
    let expected = facts.rules.profile.algorithm();
    match facts.token.algorithm() {
        Some(found) if found == *expected => Ok(()),
        found => Err(Rejection::WrongAlgorithm {
            found: found.map(|found| Shown::cut(&found.short())),
            expected,
        }),
    }
}

/// `JWT` in any case, or absent: Entra never writes `at+jwt`. That, and never absent, in reissued
/// tokens (RFC 9068 §4).
pub(super) fn token_type(facts: &Facts<'_>) -> Result<(), Rejection> {
    let (expected, may_lack) = match facts.rules.profile {
        Profile::Entra => ("JWT", true),
        Profile::Reissued { .. } => ("at+jwt", false),
    };
    match facts.token.token_type().map(JsonStr::short) {
        None if may_lack => Ok(()),
        Some(found) if found.eq_ignore_ascii_case(expected) => Ok(()),
        found => Err(Rejection::WrongTokenType {
            found: Shown::cut(found.as_deref().unwrap_or("no typ")),
            expected,
        }),
    }
}
