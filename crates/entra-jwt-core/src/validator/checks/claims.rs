//! Checks of the claims: when the token is valid, who issued it, for whom, and of which kind.

use super::Facts;
use super::rules::{Profile, Rules};
use crate::authority::TokenVersion;
use crate::authority::is_graph;
use crate::authority::microsoft_api_of;
use crate::rejection::{GraphMark, Rejection};
use crate::shown::Shown;
use crate::token::NumericDate;

/// Every claim on which something depends has the type that Entra writes. A token of somebody else
/// has other types more often than not, so the issuer's fault comes first.
pub(super) fn types(facts: &Facts<'_>) -> Result<(), Rejection> {
    match &facts.token.type_fault {
        None => Ok(()),
        Some(fault) => Err(facts.issued_by().err().unwrap_or_else(|| fault.clone())),
    }
}

/// `exp` is required, `nbf` is honoured, `iat` decides nothing; at the skew exactly a token still
/// passes, as with Microsoft's validator.
pub(super) fn lifetime(facts: &Facts<'_>) -> Result<(), Rejection> {
    let claims = &facts.token.claims;
    lifetime_of(facts.rules, claims.expires_at, claims.not_before, facts.now)
}

pub(crate) fn lifetime_of(
    rules: &Rules,
    expires_at: Option<NumericDate>,
    not_before: Option<NumericDate>,
    now: NumericDate,
) -> Result<(), Rejection> {
    let now = now.seconds();
    let skew = rules.clock_skew_seconds();

    let expires_at = expires_at
        .ok_or(Rejection::MissingClaim { claim: "exp" })?
        .seconds();
    let not_before = not_before.map(NumericDate::seconds);
    if not_before.is_some_and(|not_before| not_before > expires_at) {
        return Err(Rejection::ImpossibleLifetime);
    }
    let seconds_ago = now.saturating_sub(expires_at);
    if seconds_ago > skew {
        return Err(Rejection::Expired { seconds_ago, skew });
    }
    let seconds_ahead = not_before.map_or(0, |not_before| not_before.saturating_sub(now));
    if seconds_ahead > skew {
        return Err(Rejection::NotYetValid {
            seconds_ahead,
            skew,
        });
    }
    Ok(())
}

/// The issuer is the one that belongs to the token's own `tid` in this cloud, byte for byte.
pub(super) fn issuer(facts: &Facts<'_>) -> Result<(), Rejection> {
    facts.issued_by().map(|_| ())
}

/// v2, or v1 where that was opted into. Told by the issuer, never by `ver`.
pub(super) fn version(facts: &Facts<'_>) -> Result<(), Rejection> {
    match facts.issued_by()? {
        (tenant, TokenVersion::V1) if !facts.rules.accepts_v1 => Err(Rejection::V1Token {
            found: Shown::cut(facts.token.issuer().unwrap_or_default()),
            expected: facts.rules.authority.v2_issuer(tenant),
        }),
        _ => Ok(()),
    }
}

/// `aud` is one string, and one of ours.
pub(super) fn audience(facts: &Facts<'_>) -> Result<(), Rejection> {
    let audiences = &facts.rules.audiences;
    let found = facts
        .token
        .audience()
        .ok_or(Rejection::MissingClaim { claim: "aud" })?;
    let found = &*found;
    if audiences.accept(found) {
        return Ok(());
    }
    let api = audiences.client_id();
    Err(if is_graph(found) {
        Rejection::GraphToken {
            mark: GraphMark::Audience,
            api,
        }
    } else if let Some(api_name) = microsoft_api_of(found) {
        Rejection::MicrosoftApiToken {
            found: Shown::cut(found),
            api_name,
            api,
        }
    } else {
        Rejection::WrongAudience {
            found: Shown::cut(found),
            accepted: audiences.iter().map(ToString::to_string).collect(),
        }
    })
}

/// A token bound to a key of its holder must not pass for a bearer token (RFC 7800).
pub(super) fn binding(facts: &Facts<'_>) -> Result<(), Rejection> {
    match facts.token.claims.confirmation {
        Some(_) => Err(Rejection::ProofOfPossession),
        None => Ok(()),
    }
}

/// Entra marks id tokens by nothing, so by what only they have, and what only they lack: an
/// access token always names its client (`azp`, `appid`). A reissued one also has what RFC 9068 §2.2
/// demands, so that whoever tells its callers apart by that never takes two for one.
pub(super) fn kind(facts: &Facts<'_>) -> Result<(), Rejection> {
    let claims = &facts.token.claims;
    let has_mark =
        claims.nonce.is_some() || claims.code_hash.is_some() || claims.access_token_hash.is_some();
    if has_mark || claims.client().is_none() {
        Err(Rejection::IdToken {
            api: facts.rules.audiences.client_id(),
        })
    } else if let Profile::Reissued { .. } = facts.rules.profile {
        let subject = claims.subject.map(|subject| facts.token.text(subject));
        let missing = |claim| Rejection::MissingClaim { claim };
        facts
            .token
            .registered_client()
            .ok_or(missing("client_id"))?;
        subject
            .filter(|subject| *subject != *"")
            .ok_or(missing("sub"))?;
        Ok(())
    } else {
        Ok(())
    }
}
