//! Checks of who is admitted, where only some are.

use super::Facts;
use crate::identifier::TenantId;
use crate::rejection::Rejection;
use crate::token::Membership;

/// The tenant is allowed.
pub(super) fn tenant(facts: &Facts<'_>) -> Result<(), Rejection> {
    let (found, _) = facts.issued_by()?;
    let tenancy = facts.rules.authority.tenancy();
    if tenancy.admits(found) {
        return Ok(());
    }
    let allowed = tenancy.to_string();
    Err(if found == TenantId::CONSUMERS {
        Rejection::PersonalAccount { allowed }
    } else {
        Rejection::TenantNotAllowed {
            found,
            allowed,
            by_tenant_rule: false,
        }
    })
}

/// The client application is among those that are allowed, if there is such a list. It only ever
/// restricts: to be on it permits nothing.
pub(super) fn client(facts: &Facts<'_>) -> Result<(), Rejection> {
    let Some(allowed) = &facts.rules.allowed_clients else {
        return Ok(());
    };
    match facts.token.claims.client() {
        Some(client) if allowed.contains(&client) => Ok(()),
        Some(found) => Err(Rejection::ClientNotAllowed { found }),
        None => Err(Rejection::MissingClaim { claim: "azp" }),
    }
}

/// The user is no guest, where guests are refused.
pub(super) fn guest(facts: &Facts<'_>) -> Result<(), Rejection> {
    if !facts.rules.refuses_guests {
        return Ok(());
    }
    let (tenant, _) = facts.issued_by()?;
    let (token, claims) = (facts.token, &facts.token.claims);
    let text = |claim| token.text(claim).to_cow();
    let relations = claims.identity_relations.map(text);
    let provider = claims.identity_provider.map(text);
    let membership = Membership {
        relations: relations.as_deref(),
        account_status: claims.account_status,
        provider: provider.as_deref(),
    };
    if membership.is_of_guest(tenant) {
        Err(Rejection::GuestNotAllowed { tenant })
    } else {
        Ok(())
    }
}
