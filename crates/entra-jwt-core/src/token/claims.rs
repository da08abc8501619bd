//! The claims of an Entra access token on which a decision depends.
//!
//! Each claim must have its type, or the token is refused. The claims that only a reissued token
//! has are read leniently: with another type they count as absent. Claims that are for display only
//! are in [`details`](super::details).

use super::caller::{is_agent, is_guest};
use super::groups::{ClaimNames, GroupsMember};
use super::object::members;
use super::{
    Flag, Groups, InternedText, LenientDate, LenientString, Number, NumericDate, Present, Text,
    TextList,
};
use crate::identifier::{ClientId, ObjectId, TenantId};

members! {
    /// Positions of the claims in a payload of which nothing is proven.
    pub(super) struct ClaimMembers;

    /// Claims of a token whose signature was verified.
    ///
    /// Source: "Access token claims reference", "Optional claims reference" and "Agent ID token
    /// claims" of Microsoft's identity platform.
    pub(crate) struct Claims {
        // Issuer, audience and times.
        "iss" => issuer: Text,
        "tid" => tenant: Text,
        "aud" => audience: Text,
        "exp" => expires_at: NumericDate,
        "nbf" => not_before: NumericDate,
        "iat" => issued_at: NumericDate,

        // Caller.
        "oid" => object_id: ObjectId,
        "sub" => subject: Text,
        "azp" => authorized_party: ClientId,
        "appid" => application_id: ClientId,
        "idtyp" => token_type: InternedText,
        "idp" => identity_provider: Text,
        "acct" => account_status: Number,
        "xms_idrel" => identity_relations: Text,
        "xms_act_fct" => actor_facets: Text,
        "xms_sub_fct" => subject_facets: Text,
        "xms_par_app_azp" => agent_blueprint: Present,

        // Permissions.
        "scp" => scopes: Text,
        "roles" => roles: TextList,
        "groups" => groups: GroupsMember,
        "_claim_names" => absent_claims: ClaimNames,
        "hasgroups" => has_groups: Flag,
        "acrs" => authentication_contexts: TextList,
        "xms_cc" => client_capabilities: TextList,
        // Only in a reissued token: in place of `scp`, of `azp` and of `iat`.
        "scope" => reissued_scopes: LenientString,
        "client_id" => registered_client: LenientString,
        "entra_iat" => issued_by_entra_at: LenientDate,

        // Marks of a token that is not a bearer access token.
        "cnf" => confirmation: Present,
        "nonce" => nonce: Present,
        "c_hash" => code_hash: Present,
        "at_hash" => access_token_hash: Present,
    }
}

impl ClaimMembers {
    /// Returns only the claims that name the issuer, and `scope`.
    ///
    /// They suffice to say whose token this claims to be if another claim has a type that Entra
    /// never writes.
    pub(super) fn of_issuer_alone(self) -> Self {
        Self {
            issuer: self.issuer,
            tenant: self.tenant,
            reissued_scopes: self.reissued_scopes,
            ..Self::default()
        }
    }

    /// Returns the client application, as [`Claims::client`] does.
    pub(super) fn client(&self) -> Option<ClientId> {
        self.authorized_party.or(self.application_id)
    }
}

impl Claims {
    /// Returns `exp` and `nbf`.
    pub(crate) fn lifetime(&self) -> (Option<NumericDate>, Option<NumericDate>) {
        (self.expires_at, self.not_before)
    }

    /// Returns the client application: `azp` in v2 tokens, `appid` in v1 tokens.
    pub(crate) fn client(&self) -> Option<ClientId> {
        self.authorized_party.or(self.application_id)
    }

    /// Returns the scopes.
    ///
    /// Blank scopes are left out, and so is `"/"`, which an autonomous agent's token may carry.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes
            .as_deref()
            .unwrap_or_default()
            .split(' ')
            .filter(|scope| !scope.trim().is_empty() && *scope != "/")
    }

    pub(crate) fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().flatten().map(AsRef::as_ref)
    }

    pub(crate) fn groups(&self) -> Groups<'_> {
        let is_overage = self
            .absent_claims
            .as_ref()
            .is_some_and(|absent| absent.has_groups)
            || self.has_groups == Some(Flag(true));
        match &self.groups {
            // Checked before the list: beside a list, the mark says that the list is incomplete.
            _ if is_overage => Groups::Overage,
            Some(list) => Groups::Listed(list),
            None => Groups::NotEmitted,
        }
    }

    /// Returns whether the claims mark a guest of the tenant.
    pub(crate) fn is_of_guest(&self, tenant: TenantId) -> bool {
        is_guest(
            self.identity_relations.as_deref(),
            self.account_status,
            self.identity_provider.as_deref(),
            tenant,
        )
    }

    /// Returns whether the claims mark an agent.
    pub(super) fn is_of_agent(&self) -> bool {
        is_agent(
            self.agent_blueprint.is_some(),
            self.actor_facets.as_deref(),
            self.subject_facets.as_deref(),
        )
    }

    /// Returns the authentication contexts (`acrs`).
    pub(crate) fn authentication_contexts(&self) -> impl Iterator<Item = &str> {
        self.authentication_contexts
            .iter()
            .flatten()
            .map(AsRef::as_ref)
    }

    /// Returns the client's capabilities (`xms_cc`).
    pub(super) fn client_capabilities(&self) -> impl Iterator<Item = &str> {
        self.client_capabilities.iter().flatten().map(AsRef::as_ref)
    }

    /// Returns whether `xms_cc` contains `cp1`, in upper or lower case.
    pub(crate) fn handles_claims_challenges(&self) -> bool {
        let mut capabilities = self.client_capabilities();
        capabilities.any(|capability| capability.eq_ignore_ascii_case("cp1"))
    }
}
