//! The change that each flaw makes to the claims.

use serde_json::{Value, json};

use super::{Flaw, Members, TokenBuilder, another_tenant, confirmation, random_id, remove, set};
use crate::authority::{DevCloud, Version};
use crate::text::guid_for;

/// The seconds from `iat` to `exp`, as in a token without a flaw.
const LIFETIME: i64 = 3_899;

pub(super) fn spoil_claims(token: &TokenBuilder<'_>, flaw: Flaw, claims: &mut Members, now: i64) {
    spoil_tenant(token, flaw, claims);
    spoil_issuer(token, flaw, claims);
    spoil_times(flaw, claims, now);
    spoil_audience(flaw, claims);
    spoil_the_rest(flaw, claims);
}

fn spoil_tenant(token: &TokenBuilder<'_>, flaw: Flaw, claims: &mut Members) {
    match flaw {
        Flaw::TidOfAnotherTenant => set(claims, "tid", another_tenant()),
        Flaw::NoTid => remove(claims, &["tid"]),
        Flaw::TidTwin => set(claims, "TID", another_tenant()),
        Flaw::UpperCaseTid => {
            let tenant = token.tenant_id.to_ascii_uppercase();
            set_issuer_tenant(token, claims, &tenant);
            set(claims, "tid", tenant);
        }
        Flaw::TidNoGuid => {
            let domain = token.issuer.realm.cloud.domain();
            set_issuer_tenant(token, claims, domain);
            set(claims, "tid", domain);
        }
        _ => {}
    }
}

fn spoil_issuer(token: &TokenBuilder<'_>, flaw: Flaw, claims: &mut Members) {
    let issuer = text(claims, "iss");
    match flaw {
        Flaw::IssuerOfAnotherTenant => set_issuer_tenant(token, claims, &another_tenant()),
        Flaw::IssuerTemplateLiteral => set_issuer_tenant(token, claims, "{tenantid}"),
        Flaw::IssuerWrongHost => {
            set(claims, "iss", with_host(&issuer, "login.evil.example"));
        }
        Flaw::IssuerAliasHost => {
            let alias = alias_host(token.issuer.realm.cloud);
            set(claims, "iss", with_host(&issuer, alias));
        }
        Flaw::IssuerSlashAdded => set(claims, "iss", format!("{issuer}/")),
        Flaw::IssuerSlashRemoved => set(claims, "iss", issuer.trim_end_matches('/')),
        Flaw::IssuerV11 => {
            let v2 = token.issuer.realm.v2_issuer(&token.tenant_id);
            set(claims, "iss", v2.replace("/v2.0", "/v1.1"));
        }
        Flaw::IssuerOfAnotherCloud => {
            set(claims, "iss", issuer_of_another_cloud(token));
        }
        Flaw::NoIssuer => remove(claims, &["iss"]),
        _ => {}
    }
}

fn set_issuer_tenant(token: &TokenBuilder<'_>, claims: &mut Members, tenant: &str) {
    let issuer = text(claims, "iss").replace(&token.tenant_id, tenant);
    set(claims, "iss", issuer);
}

fn issuer_of_another_cloud(token: &TokenBuilder<'_>) -> String {
    let (cloud, tenant) = (token.issuer.realm.cloud, &token.tenant_id);
    match (token.version, cloud) {
        (Version::V2, _) => cloud.other().v2_issuer(tenant),
        // The public cloud and US Government have the same v1 issuer.
        (Version::V1, DevCloud::Public | DevCloud::UsGovernment) => {
            DevCloud::China.v1_issuer(tenant)
        }
        (Version::V1, DevCloud::China) => DevCloud::Public.v1_issuer(tenant),
    }
}

/// Returns a host that serves the same documents as the issuer's host, but is in no issuer.
fn alias_host(cloud: DevCloud) -> &'static str {
    match cloud {
        DevCloud::Public => "login.windows.net",
        DevCloud::UsGovernment => "login.usgovcloudapi.net",
        DevCloud::China => "login.chinacloudapi.cn",
    }
}

fn spoil_times(flaw: Flaw, claims: &mut Members, now: i64) {
    let mut expire_at = |exp: i64| {
        for (name, time) in [
            ("iat", exp - LIFETIME),
            ("nbf", exp - LIFETIME),
            ("exp", exp),
        ] {
            set(claims, name, time);
        }
    };
    match flaw {
        // `iat` and `nbf` move, too: a token that ends before it begins has another flaw.
        Flaw::Expired => expire_at(now - 3_600),
        Flaw::ExpiredAtSkewEdge => expire_at(now - 301),
        Flaw::ExpiredWithinSkew => expire_at(now - 290),
        Flaw::NotYetValid => set(claims, "nbf", now + 310),
        Flaw::NotYetValidWithinSkew => set(claims, "nbf", now + 290),
        Flaw::NbfAfterExp => {
            set(claims, "exp", now + 100);
            set(claims, "nbf", now + 200);
        }
        Flaw::NoExp => remove(claims, &["exp"]),
        Flaw::ExpString => set_to_string(claims, "exp"),
        Flaw::ExpFloat => {
            let exp = claims.get("exp").and_then(Value::as_f64).unwrap_or(0.0);
            set(claims, "exp", exp + 0.5);
        }
        Flaw::ExpHuge => set(claims, "exp", 1e300),
        Flaw::NbfString => set_to_string(claims, "nbf"),
        _ => {}
    }
}

fn spoil_audience(flaw: Flaw, claims: &mut Members) {
    match flaw {
        Flaw::AudArray => {
            let audience = claims.get("aud").cloned();
            set(claims, "aud", json!([audience]));
        }
        Flaw::NoAud => remove(claims, &["aud"]),
        Flaw::AudOther => set(claims, "aud", guid_for(&["another API"])),
        Flaw::AudGraph => set(claims, "aud", "00000003-0000-0000-c000-000000000000"),
        Flaw::AudManagement => set(claims, "aud", "https://management.azure.com"),
        Flaw::AudUpperCase => {
            let audience = text(claims, "aud").to_ascii_uppercase();
            set(claims, "aud", audience.replace("API://", "api://"));
        }
        _ => {}
    }
}

fn spoil_the_rest(flaw: Flaw, claims: &mut Members) {
    match flaw {
        Flaw::Oversize => set(claims, "extn.filler", "x".repeat(16 * 1_024)),
        Flaw::ProofOfPossession => set(claims, "cnf", confirmation()),
        Flaw::NoClient => remove(claims, &["azp", "appid"]),
        Flaw::PayloadNonce => set(claims, "nonce", random_id()),
        Flaw::CHash => set(claims, "c_hash", random_id()),
        Flaw::AtHash => set(claims, "at_hash", random_id()),
        Flaw::NoScopeNoRole => remove(claims, &["scp", "roles"]),
        Flaw::ScpEmpty => set(claims, "scp", ""),
        Flaw::ScpSlash => set(claims, "scp", "/"),
        Flaw::ScpArray => {
            let scopes = text(claims, "scp");
            let scopes: Vec<&str> = scopes.split_whitespace().collect();
            set(claims, "scp", or_some(scopes, "access_as_user"));
        }
        Flaw::RolesString => {
            let roles = claims.get("roles").and_then(Value::as_array);
            let roles = roles.into_iter().flatten().filter_map(Value::as_str);
            let roles = or_some(roles.collect(), "access_as_application").join(" ");
            set(claims, "roles", roles);
        }
        _ => {}
    }
}

fn set_to_string(claims: &mut Members, name: &str) {
    let number = claims.get(name).cloned().unwrap_or_default();
    set(claims, name, number.to_string());
}

fn text(claims: &Members, name: &str) -> String {
    let text = claims.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn with_host(url: &str, host: &str) -> String {
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    format!("https://{host}/{path}")
}

/// Returns the list, or `some` alone if the list is empty. An empty list would be another flaw.
fn or_some<'a>(list: Vec<&'a str>, some: &'a str) -> Vec<&'a str> {
    if list.is_empty() { vec![some] } else { list }
}
