//! Checks of who is calling, where only some may.

use super::Facts;
use crate::caller::Membership;
use crate::json_string::JsonStr;
use crate::member::Text;
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
    let (token, claims) = (facts.token, &facts.token.claims);
    let text = |claim: Option<Text>| claim.map(|claim| token.text(claim));
    let relations = text(claims.identity_relations);
    let provider = text(claims.identity_provider);
    // A text with escapes is copied whole, as the mark may stand at its end, and anybody may have
    // written it: it is looked at once the signature holds.
    let mut texts = relations.into_iter().chain(provider);
    if !facts.key_is_known() && texts.any(|text| text.plain().is_none()) {
        return Ok(());
    }
    let relations = relations.map(JsonStr::to_cow);
    let provider = provider.map(JsonStr::to_cow);
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
