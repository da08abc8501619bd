//! The claims of an Entra access token, as far as they have a type of their own.

use crate::identifier::{ClientId, ObjectId};
use crate::member::{Informal, NumericDate, Present, Text, TextList};
use crate::object::members;

members! {
    /// Source: "Access token claims reference", "Optional claims reference" and "Agent ID token
    /// claims" of Microsoft's identity platform.
    struct Claims {
        // Who issued it, for whom, when.
        "iss" => issuer: Text,
        "tid" => tenant: Text,
        "aud" => audience: Text,
        "exp" => expires_at: NumericDate,
        "nbf" => not_before: NumericDate,
        "iat" => issued_at: NumericDate,
        "ver" => version: Informal,
        "uti" => token_id: Informal,

        // Who is calling.
        "oid" => object_id: ObjectId,
        "sub" => subject: Text,
        "azp" => authorized_party: ClientId,
        "appid" => application_id: ClientId,
        "idtyp" => token_type: Text,
        "idp" => identity_provider: Informal,
        "xms_act_fct" => actor_facets: Text,
        "xms_sub_fct" => subject_facets: Text,

        // What it permits.
        "scp" => scopes: Text,
        "roles" => roles: TextList,
        "groups" => groups: TextList,
        "wids" => directory_roles: TextList,
        "acrs" => authentication_contexts: TextList,
        "xms_cc" => client_capabilities: TextList,

        // What shows that it is no bearer access token.
        "cnf" => confirmation: Present,
        "nonce" => nonce: Present,
        "c_hash" => code_hash: Present,
        "at_hash" => access_token_hash: Present,

        // For display only: mutable, and not unique across tenants.
        "name" => name: Informal,
        "preferred_username" => preferred_username: Informal,
    }
}

members! {
    /// What names the issuer: enough to say whose a token claims to be when another claim has a
    /// type that Entra never writes.
    struct IssuerClaims {
        "iss" => issuer: Text,
        "tid" => tenant: Text,
    }
}

impl From<IssuerClaims> for Claims {
    fn from(claims: IssuerClaims) -> Self {
        Self {
            issuer: claims.issuer,
            tenant: claims.tenant,
            ..Self::default()
        }
    }
}

impl Claims {
    /// The client application: `azp` in v2 tokens, `appid` in v1 tokens.
    pub(crate) fn client(&self) -> Option<ClientId> {
        self.authorized_party.or(self.application_id)
    }

    /// The scopes; an autonomous agent's token may carry `""` or `"/"`, which are none.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes
            .as_deref()
            .unwrap_or_default()
            .split(' ')
            .filter(|scope| !matches!(*scope, "" | "/"))
    }

    pub(crate) fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().flatten().map(AsRef::as_ref)
    }
}
