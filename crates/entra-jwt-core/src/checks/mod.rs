//! The checks that make a token valid, in their order. There is no second list.
//!
//! Each is a function from [`Facts`] to a refusal. Those of the header need only the token, those
//! of the claims may look at the key, if one is known by then: the same functions judge the
//! unverified claims before a key is fetched and the verified ones after.

use std::cell::OnceCell;
use std::time::SystemTime;

use crate::audience::is_graph;
use crate::cloud::{Cloud, published_template_matches};
use crate::identifier::{Guid, TenantId};
use crate::key::{Key, RS256};
use crate::member::NumericDate;
use crate::rejection::Rejection;
use crate::unverified::Unverified;
use crate::validator::Rules;
use crate::{Tenancy, TokenVersion};

/// What a check may look at.
pub(crate) struct Facts<'a> {
    rules: &'a Rules,
    token: &'a Unverified<'a>,
    /// The key that the token names; `None` while it is not known.
    key: Option<&'a Key>,
    now: NumericDate,
    /// Several checks build on it; it is found out once.
    issued_by: OnceCell<(TenantId, TokenVersion)>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(
        rules: &'a Rules,
        token: &'a Unverified<'a>,
        key: Option<&'a Key>,
        now: SystemTime,
    ) -> Self {
        Self {
            rules,
            token,
            key,
            now: NumericDate::from_clock(now),
            issued_by: OnceCell::new(),
        }
    }

    /// The token's tenant and version, by an issuer that belongs to that tenant.
    pub(crate) fn issued_by(&self) -> Result<(TenantId, TokenVersion), Rejection> {
        match self.issued_by.get() {
            Some(known) => Ok(*known),
            None => {
                let found = issued_by(self.rules.cloud, self.token)?;
                Ok(*self.issued_by.get_or_init(|| found))
            }
        }
    }
}

/// One check.
pub(crate) type Check = fn(&Facts<'_>) -> Result<(), Rejection>;

/// Of the header: they run before any key is looked up.
pub(crate) const HEADER: [Check; 3] = [graph_nonce, algorithm, token_type];

/// That the signature is the key's.
pub(crate) const SIGNATURE: [Check; 2] = [key_is_known, signature];

/// Of the claims: they run on verified claims, and on unverified ones before a key is fetched.
pub(crate) const CLAIMS: [Check; 9] = [
    claim_types,
    lifetime,
    issuer_and_tenant,
    version,
    key_issuer,
    key_cloud,
    audience,
    proof_of_possession,
    id_token,
];

pub(crate) fn run(checks: &[Check], facts: &Facts<'_>) -> Result<(), Rejection> {
    checks.iter().try_for_each(|check| check(facts))
}

/// A header `nonce` marks tokens for Microsoft Graph: the signature was made over its hash, so
/// the token as sent can never verify. Before the algorithm, as it explains more.
fn graph_nonce(facts: &Facts<'_>) -> Result<(), Rejection> {
    if facts.token.has_nonce {
        return Err(Rejection::GraphToken);
    }
    Ok(())
}

/// Exactly RS256: every discovery document of Entra announces only that.
fn algorithm(facts: &Facts<'_>) -> Result<(), Rejection> {
    match facts.token.algorithm.as_deref() {
        Some(RS256) => Ok(()),
        found => Err(Rejection::WrongAlgorithm {
            found: found.map(str::to_owned),
            expected: RS256,
        }),
    }
}

/// `JWT` in any case, or absent. Entra never writes `at+jwt`.
fn token_type(facts: &Facts<'_>) -> Result<(), Rejection> {
    match facts.token.token_type.as_deref() {
        Some(found) if !found.eq_ignore_ascii_case("JWT") => Err(Rejection::WrongTokenType {
            found: found.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn key_is_known(facts: &Facts<'_>) -> Result<(), Rejection> {
    match facts.key {
        Some(key) if *key.id() == facts.token.key_id => Ok(()),
        _ => Err(Rejection::UnknownKey {
            key_id: facts.token.key_id.clone(),
        }),
    }
}

fn signature(facts: &Facts<'_>) -> Result<(), Rejection> {
    let verifies = facts
        .key
        .is_some_and(|key| key.verifies(facts.token.signing_input(), facts.token.signature()));
    if verifies {
        Ok(())
    } else {
        Err(Rejection::BadSignature {
            key_id: facts.token.key_id.clone(),
        })
    }
}

/// Every claim on which something depends has the type that Entra writes. A token of somebody else
/// has other types more often than not, so the issuer's fault comes first.
fn claim_types(facts: &Facts<'_>) -> Result<(), Rejection> {
    match &facts.token.type_fault {
        None => Ok(()),
        Some(fault) => Err(facts.issued_by().err().unwrap_or_else(|| fault.clone())),
    }
}

/// `exp` is required, `nbf` is honoured, `iat` decides nothing; at the skew exactly a token still
/// passes, as with Microsoft's validator.
fn lifetime(facts: &Facts<'_>) -> Result<(), Rejection> {
    let claims = &facts.token.claims;
    let now = facts.now.seconds();
    let skew = facts.rules.clock_skew_seconds();

    let expires_at = claims
        .expires_at
        .ok_or(Rejection::MissingClaim { claim: "exp" })?
        .seconds();
    let not_before = claims.not_before.map(NumericDate::seconds);
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

/// The issuer is the one that belongs to the token's own `tid` in this cloud, byte for byte, and
/// that tenant is allowed.
fn issuer_and_tenant(facts: &Facts<'_>) -> Result<(), Rejection> {
    let (found, _) = facts.issued_by()?;
    match facts.rules.tenancy {
        Tenancy::Tenant(allowed) if found == allowed => Ok(()),
        Tenancy::Tenant(allowed) => Err(Rejection::TenantNotAllowed {
            found,
            allowed: allowed.to_string(),
        }),
    }
}

/// v2, or v1 where that was opted into. Told by the issuer, never by `ver`.
fn version(facts: &Facts<'_>) -> Result<(), Rejection> {
    match facts.issued_by()? {
        (found, TokenVersion::V1) if !facts.rules.accepts_v1 => Err(Rejection::V1Token {
            found: facts.rules.cloud.v1_issuer(found),
            expected: facts.rules.cloud.v2_issuer(found),
        }),
        _ => Ok(()),
    }
}

/// The issuer's template, filled with the token's own `tid`, byte for byte: v2, else v1.
fn issued_by(cloud: Cloud, token: &Unverified<'_>) -> Result<(TenantId, TokenVersion), Rejection> {
    let claims = &token.claims;
    if token.tenant_is_ambiguous {
        return Err(Rejection::AmbiguousTenant);
    }
    let tid = claims
        .tenant
        .as_deref()
        .ok_or(Rejection::MissingClaim { claim: "tid" })?;
    let tenant = Guid::from_token(tid)
        .map(TenantId)
        .ok_or_else(|| Rejection::InvalidTenant {
            found: tid.to_owned(),
        })?;
    let issuer = claims
        .issuer
        .as_deref()
        .ok_or(Rejection::MissingClaim { claim: "iss" })?;

    if cloud.v2_template().matches(issuer, tid) {
        Ok((tenant, TokenVersion::V2))
    } else if cloud.v1_template().matches(issuer, tid) {
        Ok((tenant, TokenVersion::V1))
    } else {
        Err(Rejection::WrongIssuer {
            found: issuer.to_owned(),
            expected: cloud.v2_issuer(tenant),
        })
    }
}

/// A key that says for whom it signs may sign for nobody else: without this, a key of personal
/// accounts could sign for any tenant. As in Microsoft's `EnableAadSigningKeyIssuerValidation`,
/// the v2 issuer on a key stands for the tenant's v1 issuer too.
fn key_issuer(facts: &Facts<'_>) -> Result<(), Rejection> {
    let Some(key_issuer) = facts.key.and_then(Key::issuer) else {
        return Ok(());
    };
    let (tenant, version) = facts.issued_by()?;
    let tid = facts.token.claims.tenant.as_deref().unwrap_or_default();
    let issuer = facts.token.claims.issuer.as_deref().unwrap_or_default();
    let matches = published_template_matches(key_issuer, tid, issuer)
        || version == TokenVersion::V1
            && published_template_matches(key_issuer, tid, &facts.rules.cloud.v2_issuer(tenant));
    if matches {
        Ok(())
    } else {
        Err(Rejection::KeyIssuerMismatch {
            found: issuer.to_owned(),
            key_issuer: key_issuer.to_owned(),
        })
    }
}

/// A key of another cloud, of which real key sets have some, signs nothing here.
fn key_cloud(facts: &Facts<'_>) -> Result<(), Rejection> {
    let expected = facts.rules.cloud.instance_name();
    match facts.key.and_then(Key::cloud_instance_name) {
        Some(found) if found != expected => Err(Rejection::KeyCloudMismatch {
            found: found.to_owned(),
            expected,
        }),
        _ => Ok(()),
    }
}

/// `aud` is one string, and one of ours.
fn audience(facts: &Facts<'_>) -> Result<(), Rejection> {
    let found = facts
        .token
        .claims
        .audience
        .as_deref()
        .ok_or(Rejection::MissingClaim { claim: "aud" })?;
    if facts.rules.audiences.accept(found) {
        Ok(())
    } else if is_graph(found) {
        Err(Rejection::GraphToken)
    } else {
        Err(Rejection::WrongAudience {
            found: found.to_owned(),
            accepted: facts
                .rules
                .audiences
                .iter()
                .map(ToString::to_string)
                .collect(),
        })
    }
}

/// A token bound to a key of its holder must not pass for a bearer token (RFC 7800).
fn proof_of_possession(facts: &Facts<'_>) -> Result<(), Rejection> {
    match facts.token.claims.confirmation {
        Some(_) => Err(Rejection::ProofOfPossession),
        None => Ok(()),
    }
}

/// Entra marks id tokens by nothing, so by what only they have, and what only they lack: an
/// access token always names its client (`azp`, `appid`).
fn id_token(facts: &Facts<'_>) -> Result<(), Rejection> {
    let claims = &facts.token.claims;
    let has_mark =
        claims.nonce.is_some() || claims.code_hash.is_some() || claims.access_token_hash.is_some();
    if has_mark || claims.client().is_none() {
        Err(Rejection::IdToken)
    } else {
        Ok(())
    }
}
