//! Claims that Entra writes for some subjects, or when an application asks for them.

use serde_json::{Value, json};

use super::{Kind, Members, TokenBuilder};
use crate::text::{another_tenant, base64url, guid_for, random_bytes};

/// One such thing to write, in the caller's order.
pub(super) enum Modifier {
    Group(String),
    GroupsOverage,
    ImplicitOverage,
    Guest,
    Idtyp,
    WithoutServicePrincipal,
    Agent,
    AgentUser,
    Capability(String),
    AuthenticationContext(String),
    DirectoryRole(String),
    ProofOfPossession,
}

impl TokenBuilder<'_> {
    /// Of a user in one more group: Entra adds its id to `groups`, where the API asks for groups.
    pub fn group(self, id: &str) -> Self {
        self.with(Modifier::Group(id.to_owned()))
    }

    /// Of a user in more groups than fit (200): instead of `groups` Entra writes `_claim_names`
    /// and `_claim_sources`, whose address is that of the retired Azure AD Graph.
    pub fn groups_overage(self) -> Self {
        self.with(Modifier::GroupsOverage)
    }

    /// Of a user in more groups than fit into a URL (6), by the implicit flow: instead of `groups`
    /// Entra writes `hasgroups` and no address.
    pub fn implicit_overage(self) -> Self {
        self.with(Modifier::ImplicitOverage)
    }

    /// Of a guest: Entra writes who authenticated the user, another tenant's v1 issuer, into
    /// `idp`. The optional claim `acct` is not written: add `.claim("acct", 1)`.
    pub fn guest(self) -> Self {
        self.with(Modifier::Guest)
    }

    /// With the optional claim `idtyp`: `app` in tokens of applications, else `user`, which Entra
    /// writes with the additional property `include_user_token`.
    pub fn with_idtyp(self) -> Self {
        self.with(Modifier::Idtyp)
    }

    /// Of an application without a service principal in the tenant: Entra writes no `oid`, no
    /// `roles` and no `scp`.
    pub fn without_service_principal(self) -> Self {
        self.with(Modifier::WithoutServicePrincipal)
    }

    /// Of an agent (Entra Agent ID): a token of an application becomes that of an agent as itself
    /// (facet 11 of actor and subject, `scp` `/` where no scope is given, relation 7), one of a
    /// user that of an agent on behalf of this user (facet 11 of the actor alone, relation 1).
    /// Both have `idtyp` and, in `xms_par_app_azp`, the agent's blueprint.
    pub fn agent(self) -> Self {
        self.with(Modifier::Agent)
    }

    /// Of an agent that is signed in as its own user account, which the token's user then is:
    /// facet 11 of the actor and 13 of the subject, `idtyp` and `xms_par_app_azp`.
    pub fn agent_user(self) -> Self {
        self.with(Modifier::AgentUser)
    }

    /// Asked for by a client with one more capability (`xms_cc`); `cp1`, which says that it
    /// understands claims challenges, is the only one that Entra defines.
    pub fn capability(self, name: &str) -> Self {
        self.with(Modifier::Capability(name.to_owned()))
    }

    /// With one more authentication context satisfied (`acrs`), `c1` to `c99`.
    pub fn authentication_context(self, id: &str) -> Self {
        self.with(Modifier::AuthenticationContext(id.to_owned()))
    }

    /// Of a subject with one more directory role: Entra adds its template's id to `wids`, where
    /// the API asks for groups of this kind.
    pub fn directory_role(self, template_id: &str) -> Self {
        self.with(Modifier::DirectoryRole(template_id.to_owned()))
    }

    /// Bound to a client certificate: Entra writes its SHA-256 into `cnf`.
    pub fn proof_of_possession(self) -> Self {
        self.with(Modifier::ProofOfPossession)
    }

    fn with(mut self, modifier: Modifier) -> Self {
        self.modifiers.push(modifier);
        self
    }

    pub(super) fn modify(&self, claims: &mut Members) {
        for modifier in &self.modifiers {
            self.write(modifier, claims);
        }
        // Entra lists the groups or says that they are elsewhere, never both.
        if claims.contains_key("_claim_names") || claims.contains_key("hasgroups") {
            claims.remove("groups");
        }
    }

    fn write(&self, modifier: &Modifier, claims: &mut Members) {
        match modifier {
            Modifier::Group(id) => add(claims, "groups", id),
            Modifier::GroupsOverage => {
                let endpoint = self.groups_endpoint(claims);
                set(claims, "_claim_names", json!({ "groups": "src1" }));
                set(
                    claims,
                    "_claim_sources",
                    json!({ "src1": { "endpoint": endpoint } }),
                );
            }
            Modifier::ImplicitOverage => set(claims, "hasgroups", json!(true)),
            Modifier::Guest => {
                let home = self.tenant.cloud.v1_issuer(&another_tenant());
                set(claims, "idp", json!(home));
            }
            Modifier::Idtyp => set(claims, "idtyp", json!(self.subject_kind())),
            Modifier::WithoutServicePrincipal => {
                for name in ["oid", "roles", "scp"] {
                    claims.remove(name);
                }
            }
            Modifier::Agent => self.write_agent(claims),
            Modifier::AgentUser => {
                self.write_agent_facets(claims, "3 13");
            }
            Modifier::Capability(name) => add(claims, "xms_cc", name),
            Modifier::AuthenticationContext(id) => add(claims, "acrs", id),
            Modifier::DirectoryRole(template_id) => add(claims, "wids", template_id),
            Modifier::ProofOfPossession => set(claims, "cnf", confirmation()),
        }
    }

    fn groups_endpoint(&self, claims: &Members) -> String {
        let host = self.tenant.cloud.azure_ad_graph_host();
        let user = claims.get("oid").and_then(Value::as_str).unwrap_or("");
        let tenant = &self.tenant_id;
        format!("https://{host}/{tenant}/users/{user}/getMemberObjects")
    }

    fn subject_kind(&self) -> &'static str {
        match self.kind {
            Kind::App => "app",
            Kind::User { .. }
            | Kind::Personal { .. }
            | Kind::B2c { .. }
            | Kind::IdToken { .. }
            | Kind::Graph { .. } => "user",
        }
    }

    fn write_agent(&self, claims: &mut Members) {
        if matches!(self.kind, Kind::App) {
            self.write_agent_facets(claims, "9 3 11");
            set(claims, "xms_idrel", json!("7 10"));
            claims.entry("scp").or_insert_with(|| json!("/"));
        } else {
            self.write_agent_facets(claims, "3");
            set(claims, "xms_idrel", json!("1 10"));
        }
    }

    /// Facets beside 11 and 13 are what Entra writes for any application or user; what they mean
    /// is not documented, and their order says nothing.
    fn write_agent_facets(&self, claims: &mut Members, subject: &str) {
        let blueprint = guid_for(&["an agent's blueprint", &self.client_id]);
        set(claims, "idtyp", json!(self.subject_kind()));
        set(claims, "xms_act_fct", json!("3 9 11"));
        set(claims, "xms_sub_fct", json!(subject));
        set(claims, "xms_par_app_azp", json!(blueprint));
    }
}

/// `cnf` of a token that is bound to a client certificate.
pub(super) fn confirmation() -> Value {
    json!({ "x5t#S256": base64url(&random_bytes::<32>()) })
}

fn set(claims: &mut Members, name: &str, value: Value) {
    claims.insert(name.to_owned(), value);
}

fn add(claims: &mut Members, name: &str, value: &str) {
    let list = claims.entry(name).or_insert_with(|| json!([]));
    if let Value::Array(list) = list {
        list.push(json!(value));
    }
}
