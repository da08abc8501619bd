//! Checks of who is calling, where only some may.

use super::Facts;
use crate::caller::is_guest;
use crate::rejection::Rejection;

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
    if is_guest(&facts.token.claims, tenant) {
        Err(Rejection::GuestNotAllowed { tenant })
    } else {
        Ok(())
    }
}
