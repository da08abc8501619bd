//! Checks of the key: that it signed, and that it may sign.

use super::Facts;
use crate::authority::TokenVersion;
use crate::authority::published_template_matches;
use crate::keys::Key;
use crate::rejection::Rejection;
use crate::shown::Shown;

pub(super) fn require_known(facts: &Facts<'_>) -> Result<(), Rejection> {
    if facts.key_is_known() {
        Ok(())
    } else {
        Err(facts.rules.unknown_key(facts.token.key_id().clone()))
    }
}

/// By the key, whose algorithm is that of these tokens: what the header says was compared with that,
/// too.
pub(super) fn signature(facts: &Facts<'_>) -> Result<(), Rejection> {
    let token = facts.token;
    let verifies = |key: &Key| {
        key.algorithm() == facts.rules.profile.algorithm()
            && key.verifies(token.signing_input(), token.signature())
    };
    if facts.key.is_some_and(verifies) {
        Ok(())
    } else {
        Err(Rejection::BadSignature {
            key_id: facts.token.key_id().clone(),
        })
    }
}

/// Checks that no member of header or payload stands twice. The ones that decide something are
/// looked at while the token is parsed, the others here: there can be thousands of them, and no
/// look-up and no fetch depends on one.
pub(super) fn names(facts: &Facts<'_>) -> Result<(), Rejection> {
    facts.token.check_names()
}

/// A key that says for whom it signs may sign for nobody else: without this, a key of personal
/// accounts could sign for any tenant. As in Microsoft's `EnableAadSigningKeyIssuerValidation`,
/// the v2 issuer on a key stands for the tenant's v1 issuer too.
pub(super) fn issuer(facts: &Facts<'_>) -> Result<(), Rejection> {
    let Some(key_issuer) = facts.key.and_then(Key::issuer) else {
        return Ok(());
    };
    let (tenant, version) = facts.issued_by()?;
    let tid = facts.token.tenant().unwrap_or_default();
    let issuer = facts.token.issuer().unwrap_or_default();
    let matches = published_template_matches(key_issuer, &tid, issuer)
        || version == TokenVersion::V1
            && published_template_matches(
                key_issuer,
                &tid,
                &facts.rules.authority.v2_issuer(tenant),
            );
    if matches {
        Ok(())
    } else {
        Err(Rejection::KeyIssuerMismatch {
            found: Shown::cut(issuer),
            key_issuer: key_issuer.to_owned(),
        })
    }
}

/// A key of another cloud, of which real key sets have some, signs nothing here. Compared with
/// the cloud's constant, or, where there is none (External ID), with what was discovered beside
/// the key. As in Microsoft's `EnableEntraIdSigningKeyCloudInstanceValidation`, which is off there.
pub(super) fn cloud(facts: &Facts<'_>) -> Result<(), Rejection> {
    if facts.rules.accepts_keys_of_other_clouds {
        return Ok(());
    }
    let Some(key) = facts.key else {
        return Ok(());
    };
    let expected = facts
        .rules
        .authority
        .cloud_instance_name()
        .or(key.discovered_cloud());
    match (key.cloud_instance_name(), expected) {
        (Some(found), Some(expected)) if found != expected => Err(Rejection::KeyCloudMismatch {
            found: found.to_owned(),
            expected: expected.to_owned(),
        }),
        _ => Ok(()),
    }
}
