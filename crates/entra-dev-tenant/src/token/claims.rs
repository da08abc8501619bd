//! The claims that a good token has, as Entra writes them.

use serde_json::{Value, json};

use super::{B2cPolicy, Kind, Members, TokenBuilder, Version};
use crate::text::{guid_for, random_id, subject_for};

impl TokenBuilder<'_> {
    /// Before what the caller wants otherwise.
    pub(super) fn good_claims(&self, now: i64) -> Members {
        let mut claims = self.common_claims(now);
        match &self.kind {
            Kind::User { name } | Kind::Personal { name } | Kind::Graph { name } => {
                self.add_client(&mut claims, "0");
                self.add_person(&mut claims, name);
                claims.insert("aio".to_owned(), json!(random_id()));
            }
            Kind::App => {
                self.add_client(&mut claims, "1");
                self.add_service_principal(&mut claims);
                claims.insert("aio".to_owned(), json!(random_id()));
            }
            Kind::IdToken { name } => {
                self.add_person(&mut claims, name);
                claims.insert("nonce".to_owned(), json!(random_id()));
            }
            Kind::B2c { name, policy } => {
                claims = self.b2c_claims(name, *policy, claims);
            }
        }
        if !self.scopes.is_empty() {
            claims.insert("scp".to_owned(), json!(self.scopes.join(" ")));
        }
        if !self.roles.is_empty() {
            claims.insert("roles".to_owned(), json!(self.roles));
        }
        self.modify(&mut claims);
        claims
    }

    fn common_claims(&self, now: i64) -> Members {
        let issued_at = now - i64::try_from(self.issued_ago.as_secs()).unwrap_or(i64::MAX);
        object(json!({
            "aud": self.effective_audience(),
            "iss": self.issuer(),
            "iat": issued_at,
            "nbf": issued_at,
            "exp": now + self.expires_in,
            "rh": format!("1.{}", random_id()),
            "tid": self.tenant_id,
            "uti": random_id(),
            "ver": match self.version {
                Version::V1 => "1.0",
                Version::V2 => "2.0",
            },
        }))
    }

    fn issuer(&self) -> String {
        let (cloud, tenant) = (self.tenant.cloud, &self.tenant_id);
        match (&self.kind, self.version) {
            (Kind::B2c { policy, .. }, _) => {
                let host = cloud.b2c_host();
                match policy {
                    B2cPolicy::Default | B2cPolicy::Acr => format!("https://{host}/{tenant}/v2.0/"),
                    B2cPolicy::Tfp => format!("https://{host}/tfp/{tenant}/b2c_1_signin/v2.0/"),
                }
            }
            (_, Version::V1) => cloud.v1_issuer(tenant),
            (Kind::Personal { .. }, Version::V2) => cloud.v2_issuer(tenant),
            (_, Version::V2) => self.tenant.v2_issuer(tenant),
        }
    }

    pub(super) fn effective_audience(&self) -> String {
        match (&self.audience, &self.api, &self.kind, self.version) {
            (Some(audience), ..) => audience.clone(),
            (
                None,
                Some(api),
                Kind::User { .. } | Kind::Personal { .. } | Kind::App,
                Version::V1,
            ) => format!("api://{api}"),
            (None, Some(api), ..) => api.clone(),
            (None, None, ..) => self.client_id.clone(),
        }
    }

    fn add_client(&self, claims: &mut Members, authentication: &str) {
        let (client, method) = match self.version {
            Version::V1 => ("appid", "appidacr"),
            Version::V2 => ("azp", "azpacr"),
        };
        claims.insert(client.to_owned(), json!(self.client_id));
        claims.insert(method.to_owned(), json!(authentication));
    }

    fn add_service_principal(&self, claims: &mut Members) {
        let object_id = guid_for(&["service principal", &self.tenant_id, &self.client_id]);
        claims.insert("oid".to_owned(), json!(object_id));
        claims.insert("sub".to_owned(), json!(object_id));
        if self.version == Version::V1 {
            let issuer = self.tenant.cloud.v1_issuer(&self.tenant_id);
            claims.insert("idp".to_owned(), json!(issuer));
        } else {
            claims.insert("xms_ftd".to_owned(), json!(random_id()));
        }
    }

    fn add_person(&self, claims: &mut Members, name: &str) {
        let domain = match self.kind {
            Kind::Personal { .. } => "outlook.com",
            _ => self.tenant.cloud.domain(),
        };
        let address = format!("{name}@{domain}");
        let api = self.effective_audience();
        claims.insert("name".to_owned(), json!(name));
        claims.insert("oid".to_owned(), json!(self.object_id(name)));
        claims.insert(
            "sub".to_owned(),
            json!(subject_for(&[&self.tenant_id, name, &api])),
        );
        match self.version {
            Version::V1 => {
                claims.insert("acr".to_owned(), json!("1"));
                claims.insert("amr".to_owned(), json!(["pwd", "mfa"]));
                claims.insert("unique_name".to_owned(), json!(address));
                claims.insert("upn".to_owned(), json!(address));
            }
            Version::V2 => {
                claims.insert("preferred_username".to_owned(), json!(address));
            }
        }
    }

    fn object_id(&self, name: &str) -> String {
        let id = guid_for(&["user", &self.tenant_id, name]);
        match self.kind {
            // A personal account has an id of 64 bits from before there were tenants.
            Kind::Personal { .. } => format!("00000000-0000-0000{}", &id[18..]),
            _ => id,
        }
    }

    /// B2C writes few of Entra's claims, calls every token version 1.0, and names the user's
    /// object id `sub`.
    fn b2c_claims(&self, name: &str, policy: B2cPolicy, mut claims: Members) -> Members {
        for absent in ["rh", "tid", "uti"] {
            claims.remove(absent);
        }
        let policy_claim = match policy {
            B2cPolicy::Default | B2cPolicy::Tfp => "tfp",
            B2cPolicy::Acr => "acr",
        };
        claims.extend(object(json!({
            "azp": self.client_id,
            "name": name,
            "sub": self.object_id(name),
            "ver": "1.0",
            policy_claim: "B2C_1_signin",
        })));
        claims
    }
}

fn object(value: Value) -> Members {
    match value {
        Value::Object(object) => object,
        _ => Members::new(),
    }
}
