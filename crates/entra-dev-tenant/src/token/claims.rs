//! The claims of a good token, as Entra writes them.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::{
    B2cPolicy, Members, Modifier, TokenBuilder, TokenKind, another_tenant, confirmation, random_id,
    remove, set,
};
use crate::authority::{DevCloud, Version};
use crate::text::{base64url, guid_for};

/// Returns the claims before the changes that the caller asks for.
pub(super) fn good_claims(token: &TokenBuilder<'_>, now: i64) -> Members {
    let mut claims = common_claims(token, now);
    match &token.kind {
        TokenKind::User { name } | TokenKind::Personal { name } | TokenKind::Graph { name } => {
            add_client(token, &mut claims, "0");
            add_person(token, &mut claims, name);
            set(&mut claims, "aio", random_id());
        }
        TokenKind::App { .. } => {
            add_client(token, &mut claims, "1");
            add_service_principal(token, &mut claims);
            set(&mut claims, "aio", random_id());
        }
        TokenKind::IdToken { name } => {
            add_person(token, &mut claims, name);
            set(&mut claims, "nonce", random_id());
        }
        TokenKind::B2c { name, policy } => {
            claims = b2c_claims(token, name, *policy, claims);
        }
    }
    if !token.scopes.is_empty() {
        set(&mut claims, "scp", json!(token.scopes.join(" ")));
    }
    if !token.roles.is_empty() {
        set(&mut claims, "roles", json!(token.roles));
    }
    modify(token, &mut claims);
    claims
}

fn common_claims(token: &TokenBuilder<'_>, now: i64) -> Members {
    let issued_at = now - i64::try_from(token.issued_ago.as_secs()).unwrap_or(i64::MAX);
    object(json!({
        "aud": token.effective_audience(),
        "iss": issuer(token),
        "iat": issued_at,
        "nbf": issued_at,
        "exp": now + token.expires_in,
        "rh": format!("1.{}", random_id()),
        "tid": token.tenant_id,
        "uti": random_id(),
        "ver": match token.version {
            Version::V1 => "1.0",
            Version::V2 => "2.0",
        },
    }))
}

fn issuer(token: &TokenBuilder<'_>) -> String {
    let (cloud, tenant) = (token.issuer.realm.cloud, &token.tenant_id);
    match (&token.kind, token.version) {
        (TokenKind::B2c { policy, .. }, _) => {
            let host = b2c_host(cloud);
            match policy {
                B2cPolicy::Default | B2cPolicy::Acr => format!("https://{host}/{tenant}/v2.0/"),
                B2cPolicy::Tfp => format!("https://{host}/tfp/{tenant}/b2c_1_signin/v2.0/"),
            }
        }
        (_, Version::V1) => cloud.v1_issuer(tenant),
        (TokenKind::Personal { .. }, Version::V2) => cloud.v2_issuer(tenant),
        (_, Version::V2) => token.issuer.realm.v2_issuer(tenant),
    }
}

fn add_client(token: &TokenBuilder<'_>, claims: &mut Members, authentication: &str) {
    let (client, method) = match token.version {
        Version::V1 => ("appid", "appidacr"),
        Version::V2 => ("azp", "azpacr"),
    };
    set(claims, client, json!(token.client_id));
    set(claims, method, authentication);
}

fn add_service_principal(token: &TokenBuilder<'_>, claims: &mut Members) {
    let object_id = guid_for(&["service principal", &token.tenant_id, &token.client_id]);
    set(claims, "oid", object_id.clone());
    set(claims, "sub", object_id);
    if token.version == Version::V1 {
        let issuer = token.issuer.realm.cloud.v1_issuer(&token.tenant_id);
        set(claims, "idp", issuer);
    } else {
        set(claims, "xms_ftd", random_id());
    }
}

fn add_person(token: &TokenBuilder<'_>, claims: &mut Members, name: &str) {
    let domain = match token.kind {
        TokenKind::Personal { .. } => "outlook.com",
        _ => token.issuer.realm.cloud.domain(),
    };
    let address = format!("{name}@{domain}");
    let api = token.effective_audience();
    set(claims, "name", json!(name));
    set(claims, "oid", json!(object_id(token, name)));
    set(
        claims,
        "sub",
        json!(subject_for(&[&token.tenant_id, name, &api])),
    );
    match token.version {
        Version::V1 => {
            set(claims, "acr", "1");
            set(claims, "amr", json!(["pwd", "mfa"]));
            set(claims, "unique_name", address.clone());
            set(claims, "upn", address);
        }
        Version::V2 => {
            set(claims, "preferred_username", address);
        }
    }
}

fn object_id(token: &TokenBuilder<'_>, name: &str) -> String {
    let id = guid_for(&["user", &token.tenant_id, name]);
    match token.kind {
        // The id of a personal account has 64 bits, because such accounts are older than tenants.
        TokenKind::Personal { .. } => format!("00000000-0000-0000{}", &id[18..]),
        _ => id,
    }
}

/// Turns claims into those of B2C.
///
/// B2C writes only some of Entra's claims, calls every token version 1.0, and writes the user's
/// object id into `sub`.
fn b2c_claims(
    token: &TokenBuilder<'_>,
    name: &str,
    policy: B2cPolicy,
    mut claims: Members,
) -> Members {
    remove(&mut claims, &["rh", "tid", "uti"]);
    let policy_claim = match policy {
        B2cPolicy::Default | B2cPolicy::Tfp => "tfp",
        B2cPolicy::Acr => "acr",
    };
    claims.extend(object(json!({
        "azp": token.client_id,
        "name": name,
        "sub": object_id(token, name),
        "ver": "1.0",
        policy_claim: "B2C_1_signin",
    })));
    claims
}

fn modify(token: &TokenBuilder<'_>, claims: &mut Members) {
    for modifier in &token.modifiers {
        write(token, modifier, claims);
    }
    // Entra either lists the groups or says that they are elsewhere, never both.
    if claims.contains_key("_claim_names") || claims.contains_key("hasgroups") {
        claims.remove("groups");
    }
}

fn write(token: &TokenBuilder<'_>, modifier: &Modifier, claims: &mut Members) {
    match modifier {
        Modifier::Group(id) => add(claims, "groups", id),
        Modifier::GroupsOverage => {
            let endpoint = groups_endpoint(token, claims);
            set(claims, "_claim_names", json!({ "groups": "src1" }));
            set(
                claims,
                "_claim_sources",
                json!({ "src1": { "endpoint": endpoint } }),
            );
        }
        Modifier::ImplicitOverage => set(claims, "hasgroups", true),
        Modifier::Guest => {
            let home = token.issuer.realm.cloud.v1_issuer(&another_tenant());
            set(claims, "idp", home);
        }
        Modifier::Idtyp => set(claims, "idtyp", json!(subject_kind(token))),
        Modifier::WithoutServicePrincipal => {
            remove(claims, &["oid", "roles", "scp"]);
        }
        Modifier::Agent => write_agent(token, claims),
        Modifier::AgentUser => {
            write_agent_facets(token, claims, "3 13");
        }
        Modifier::Capability(name) => add(claims, "xms_cc", name),
        Modifier::AuthenticationContext(id) => add(claims, "acrs", id),
        Modifier::DirectoryRole(template_id) => add(claims, "wids", template_id),
        Modifier::ProofOfPossession => set(claims, "cnf", confirmation()),
    }
}

fn groups_endpoint(token: &TokenBuilder<'_>, claims: &Members) -> String {
    let host = token.issuer.realm.cloud.azure_ad_graph_host();
    let user = claims.get("oid").and_then(Value::as_str).unwrap_or("");
    let tenant = &token.tenant_id;
    format!("https://{host}/{tenant}/users/{user}/getMemberObjects")
}

fn subject_kind(token: &TokenBuilder<'_>) -> &'static str {
    match token.kind {
        TokenKind::App { .. } => "app",
        TokenKind::User { .. }
        | TokenKind::Personal { .. }
        | TokenKind::B2c { .. }
        | TokenKind::IdToken { .. }
        | TokenKind::Graph { .. } => "user",
    }
}

fn write_agent(token: &TokenBuilder<'_>, claims: &mut Members) {
    if matches!(token.kind, TokenKind::App { .. }) {
        write_agent_facets(token, claims, "9 3 11");
        set(claims, "xms_idrel", "7 10");
        claims.entry("scp").or_insert_with(|| json!("/"));
    } else {
        write_agent_facets(token, claims, "3");
        set(claims, "xms_idrel", "1 10");
    }
}

/// Writes the facets of an agent.
///
/// Entra writes the facets other than 11 and 13 for any application or user. Their meaning is not
/// documented, and their order has no meaning.
fn write_agent_facets(token: &TokenBuilder<'_>, claims: &mut Members, subject: &str) {
    let blueprint = guid_for(&["an agent's blueprint", &token.client_id]);
    set(claims, "idtyp", json!(subject_kind(token)));
    set(claims, "xms_act_fct", "3 9 11");
    set(claims, "xms_sub_fct", subject);
    set(claims, "xms_par_app_azp", blueprint);
}

fn add(claims: &mut Members, name: &str, value: &str) {
    let list = claims.entry(name).or_insert_with(|| json!([]));
    if let Value::Array(list) = list {
        list.push(json!(value));
    }
}

/// Returns a pairwise subject, which is different for each application.
fn subject_for(words: &[&str]) -> String {
    base64url(digest(&SHA256, words.join("\n").as_bytes()).as_ref())
}

fn b2c_host(cloud: DevCloud) -> &'static str {
    match cloud {
        DevCloud::Public => "contoso.b2clogin.com",
        DevCloud::UsGovernment => "contoso.b2clogin.us",
        DevCloud::China => "contoso.b2clogin.cn",
    }
}

fn object(value: Value) -> Members {
    match value {
        Value::Object(object) => object,
        _ => Members::new(),
    }
}
