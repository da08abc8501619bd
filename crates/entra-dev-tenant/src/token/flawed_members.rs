//! What each flaw does to the members of header and claims.

use serde_json::{Value, json};

use super::mint::Keys;
use super::modifiers::confirmation;
use super::{Flaw, Members, TokenBuilder, Version};
use crate::cloud::DevCloud;
use crate::text::{another_tenant, guid_for, random_id, random_key_id};

/// From `iat` to `exp`, as in a token without a flaw.
const LIFETIME: i64 = 3_899;

impl TokenBuilder<'_> {
    pub(super) fn spoil_header(&self, flaw: Flaw, header: &mut Members, keys: &Keys) {
        match flaw {
            Flaw::AlgNone => set(header, "alg", json!("none")),
            Flaw::Hs256WithPublicKey => set(header, "alg", json!("HS256")),
            Flaw::Ps256 => set(header, "alg", json!("PS256")),
            Flaw::Rs512 => set(header, "alg", json!("RS512")),
            Flaw::UnknownKid => {
                let id = random_key_id();
                if header.contains_key("x5t") {
                    set(header, "x5t", json!(id));
                }
                set(header, "kid", json!(id));
            }
            Flaw::NoKid => remove(header, &["kid", "x5t"]),
            Flaw::HeaderNonce => set(header, "nonce", json!(random_id())),
            Flaw::TypAtJwt => set(header, "typ", json!("at+jwt")),
            Flaw::Crit => set(header, "crit", json!(["exp"])),
            Flaw::EmbeddedJwk => set(header, "jwk", keys.signing.jwk()),
            _ => {}
        }
    }

    pub(super) fn spoil_claims(&self, flaw: Flaw, claims: &mut Members, now: i64) {
        self.spoil_tenant(flaw, claims);
        self.spoil_issuer(flaw, claims);
        spoil_times(flaw, claims, now);
        spoil_audience(flaw, claims);
        spoil_the_rest(flaw, claims);
    }

    fn spoil_tenant(&self, flaw: Flaw, claims: &mut Members) {
        match flaw {
            Flaw::TidOfAnotherTenant => set(claims, "tid", json!(another_tenant())),
            Flaw::NoTid => remove(claims, &["tid"]),
            Flaw::TidTwin => set(claims, "TID", json!(another_tenant())),
            Flaw::UpperCaseTid => {
                let tenant = self.tenant_id.to_ascii_uppercase();
                self.set_issuer_tenant(claims, &tenant);
                set(claims, "tid", json!(tenant));
            }
            Flaw::TidNoGuid => {
                let domain = self.tenant.cloud.domain();
                self.set_issuer_tenant(claims, domain);
                set(claims, "tid", json!(domain));
            }
            _ => {}
        }
    }

    fn spoil_issuer(&self, flaw: Flaw, claims: &mut Members) {
        let issuer = text(claims, "iss");
        match flaw {
            Flaw::IssuerOfAnotherTenant => self.set_issuer_tenant(claims, &another_tenant()),
            Flaw::IssuerTemplateLiteral => self.set_issuer_tenant(claims, "{tenantid}"),
            Flaw::IssuerWrongHost => {
                set(
                    claims,
                    "iss",
                    json!(with_host(&issuer, "login.evil.example")),
                );
            }
            Flaw::IssuerAliasHost => {
                let alias = self.tenant.cloud.alias_host();
                set(claims, "iss", json!(with_host(&issuer, alias)));
            }
            Flaw::IssuerSlashAdded => set(claims, "iss", json!(format!("{issuer}/"))),
            Flaw::IssuerSlashRemoved => set(claims, "iss", json!(issuer.trim_end_matches('/'))),
            Flaw::IssuerV11 => {
                let v2 = self.tenant.v2_issuer(&self.tenant_id);
                set(claims, "iss", json!(v2.replace("/v2.0", "/v1.1")));
            }
            Flaw::IssuerOfAnotherCloud => {
                set(claims, "iss", json!(self.issuer_of_another_cloud()));
            }
            Flaw::NoIssuer => remove(claims, &["iss"]),
            _ => {}
        }
    }

    fn set_issuer_tenant(&self, claims: &mut Members, tenant: &str) {
        let issuer = text(claims, "iss").replace(&self.tenant_id, tenant);
        set(claims, "iss", json!(issuer));
    }

    fn issuer_of_another_cloud(&self) -> String {
        let (cloud, tenant) = (self.tenant.cloud, &self.tenant_id);
        match (self.version, cloud) {
            (Version::V2, _) => cloud.other().v2_issuer(tenant),
            // The other two share their v1 issuer.
            (Version::V1, DevCloud::Public | DevCloud::UsGovernment) => {
                DevCloud::China.v1_issuer(tenant)
            }
            (Version::V1, DevCloud::China) => DevCloud::Public.v1_issuer(tenant),
        }
    }
}

fn spoil_times(flaw: Flaw, claims: &mut Members, now: i64) {
    let mut expire_at = |exp: i64| {
        for (name, time) in [
            ("iat", exp - LIFETIME),
            ("nbf", exp - LIFETIME),
            ("exp", exp),
        ] {
            set(claims, name, json!(time));
        }
    };
    match flaw {
        // Issued earlier too: a token that ends before it begins has another flaw.
        Flaw::Expired => expire_at(now - 3_600),
        Flaw::ExpiredAtSkewEdge => expire_at(now - 301),
        Flaw::ExpiredWithinSkew => expire_at(now - 290),
        Flaw::NotYetValid => set(claims, "nbf", json!(now + 310)),
        Flaw::NotYetValidWithinSkew => set(claims, "nbf", json!(now + 290)),
        Flaw::NbfAfterExp => {
            set(claims, "exp", json!(now + 100));
            set(claims, "nbf", json!(now + 200));
        }
        Flaw::NoExp => remove(claims, &["exp"]),
        Flaw::ExpString => set_to_string(claims, "exp"),
        Flaw::ExpFloat => {
            let exp = claims.get("exp").and_then(Value::as_f64).unwrap_or(0.0);
            set(claims, "exp", json!(exp + 0.5));
        }
        Flaw::ExpHuge => set(claims, "exp", json!(1e300)),
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
        Flaw::AudOther => set(claims, "aud", json!(guid_for(&["another API"]))),
        Flaw::AudGraph => set(claims, "aud", json!("00000003-0000-0000-c000-000000000000")),
        Flaw::AudManagement => set(claims, "aud", json!("https://management.azure.com")),
        Flaw::AudUpperCase => {
            let audience = text(claims, "aud").to_ascii_uppercase();
            set(claims, "aud", json!(audience.replace("API://", "api://")));
        }
        _ => {}
    }
}

fn spoil_the_rest(flaw: Flaw, claims: &mut Members) {
    match flaw {
        Flaw::Oversize => set(claims, "extn.filler", json!("x".repeat(16 * 1_024))),
        Flaw::ProofOfPossession => set(claims, "cnf", confirmation()),
        Flaw::NoClient => remove(claims, &["azp", "appid"]),
        Flaw::PayloadNonce => set(claims, "nonce", json!(random_id())),
        Flaw::CHash => set(claims, "c_hash", json!(random_id())),
        Flaw::AtHash => set(claims, "at_hash", json!(random_id())),
        Flaw::NoScopeNoRole => remove(claims, &["scp", "roles"]),
        Flaw::ScpEmpty => set(claims, "scp", json!("")),
        Flaw::ScpSlash => set(claims, "scp", json!("/")),
        Flaw::ScpArray => {
            let scopes = text(claims, "scp");
            let scopes: Vec<&str> = scopes.split_whitespace().collect();
            set(claims, "scp", json!(or_some(scopes, "access_as_user")));
        }
        Flaw::RolesString => {
            let roles = claims.get("roles").and_then(Value::as_array);
            let roles = roles.into_iter().flatten().filter_map(Value::as_str);
            let roles = or_some(roles.collect(), "access_as_application").join(" ");
            set(claims, "roles", json!(roles));
        }
        _ => {}
    }
}

fn set(members: &mut Members, name: &str, value: Value) {
    members.insert(name.to_owned(), value);
}

fn remove(members: &mut Members, names: &[&str]) {
    for name in names {
        members.remove(*name);
    }
}

fn set_to_string(claims: &mut Members, name: &str) {
    let number = claims.get(name).cloned().unwrap_or_default();
    set(claims, name, json!(number.to_string()));
}

fn text(claims: &Members, name: &str) -> String {
    let text = claims.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn with_host(url: &str, host: &str) -> String {
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    format!("https://{host}/{path}")
}

/// An empty list would be another flaw.
fn or_some<'a>(list: Vec<&'a str>, some: &'a str) -> Vec<&'a str> {
    if list.is_empty() { vec![some] } else { list }
}
