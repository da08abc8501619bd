//! Tokens of every kind, right and wrong.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::cloud::DevCloud;
use crate::tenant::Inner;
use crate::text::{base64url, guid_for, random_id, subject_for};

/// A token to be minted; begin with [`DevTenant::user`](crate::DevTenant::user),
/// [`app`](crate::DevTenant::app), [`id_token`](crate::DevTenant::id_token) or
/// [`graph_token`](crate::DevTenant::graph_token).
///
/// # Defaults
/// v2; for the API that [`for_api`](Self::for_api) names; begun five minutes ago and valid for
/// another 59 min 59 s, as Entra's are; no scope, no role.
#[must_use = "a token exists only once it is minted"]
pub struct TokenBuilder<'a> {
    tenant: &'a Inner,
    kind: Kind,
    version: Version,
    tenant_id: String,
    client_id: String,
    audience: Option<String>,
    api: Option<String>,
    scopes: Vec<String>,
    roles: Vec<String>,
    issued_ago: Duration,
    expires_in: i64,
    header: Vec<(String, Option<Value>)>,
    claims: Vec<(String, Option<Value>)>,
    signature: Signature,
}

enum Kind {
    User { name: String },
    App,
    IdToken { name: String },
    Graph { name: String },
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Version {
    V1,
    V2,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Signature {
    Good,
    Broken,
}

impl<'a> TokenBuilder<'a> {
    pub(crate) fn user(tenant: &'a Inner, name: &str) -> Self {
        let name = name.to_owned();
        Self::new(
            tenant,
            Kind::User { name },
            guid_for(&["a client application"]),
        )
    }

    pub(crate) fn app(tenant: &'a Inner, client_id: &str) -> Self {
        Self::new(tenant, Kind::App, client_id.to_owned())
    }

    pub(crate) fn id_token(tenant: &'a Inner, name: &str) -> Self {
        let name = name.to_owned();
        Self::new(
            tenant,
            Kind::IdToken { name },
            guid_for(&["a client application"]),
        )
    }

    pub(crate) fn graph(tenant: &'a Inner, name: &str) -> Self {
        let name = name.to_owned();
        let mut token = Self::new(
            tenant,
            Kind::Graph { name },
            guid_for(&["a client application"]),
        );
        token.version = Version::V1;
        token.audience = Some(format!("https://{}", tenant.cloud.graph_host()));
        token.header("nonce", json!(random_id())).scope("User.Read")
    }

    fn new(tenant: &'a Inner, kind: Kind, client_id: String) -> Self {
        Self {
            tenant,
            kind,
            version: Version::V2,
            tenant_id: tenant.id.clone(),
            client_id,
            audience: None,
            api: None,
            scopes: Vec::new(),
            roles: Vec::new(),
            issued_ago: Duration::from_secs(300),
            expires_in: 3_599,
            header: Vec::new(),
            claims: Vec::new(),
            signature: Signature::Good,
        }
    }

    /// For the API with this application (client) id: `aud` is the id in v2 tokens and
    /// `api://{id}` in v1 tokens.
    pub fn for_api(mut self, client_id: &str) -> Self {
        self.api = Some(client_id.to_owned());
        self
    }

    /// With this `aud` instead.
    pub fn audience(mut self, audience: &str) -> Self {
        self.audience = Some(audience.to_owned());
        self
    }

    /// Asked for by this client application.
    pub fn client(mut self, client_id: &str) -> Self {
        client_id.clone_into(&mut self.client_id);
        self
    }

    /// With one more scope (`scp`).
    pub fn scope(mut self, name: &str) -> Self {
        self.scopes.push(name.to_owned());
        self
    }

    /// With one more role (`roles`).
    pub fn role(mut self, name: &str) -> Self {
        self.roles.push(name.to_owned());
        self
    }

    /// In the format v1: issuer of `sts.windows.net`, `appid` instead of `azp`.
    pub fn v1(mut self) -> Self {
        self.version = Version::V1;
        self
    }

    /// Of another tenant: `tid` and `iss` both name it.
    pub fn of_tenant(mut self, id: &str) -> Self {
        id.clone_into(&mut self.tenant_id);
        self
    }

    /// Expired an hour ago.
    pub fn expired(self) -> Self {
        self.issued_ago(Duration::from_secs(7_500))
            .expires_in(-3_600)
    }

    /// Expires so many seconds from now; negative: ago.
    pub fn expires_in(mut self, seconds: i64) -> Self {
        self.expires_in = seconds;
        self
    }

    /// Issued (`iat`, `nbf`) so long ago.
    pub fn issued_ago(mut self, age: Duration) -> Self {
        self.issued_ago = age;
        self
    }

    /// With this claim, whatever the token would have there otherwise.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.push((name.to_owned(), Some(value.into())));
        self
    }

    /// Without this claim.
    pub fn without_claim(mut self, name: &str) -> Self {
        self.claims.push((name.to_owned(), None));
        self
    }

    /// With this header member, whatever the token would have there otherwise.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.push((name.to_owned(), Some(value.into())));
        self
    }

    /// Without this header member.
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.push((name.to_owned(), None));
        self
    }

    /// With a signature that does not verify.
    pub fn bad_signature(mut self) -> Self {
        self.signature = Signature::Broken;
        self
    }

    /// The token, signed with the tenant's current key; one for Graph is signed as Entra signs
    /// those, so that it verifies nowhere else.
    #[must_use]
    pub fn mint(self) -> String {
        let key = self.tenant.keys.signing();
        let mut header = Map::from_iter([
            ("typ".to_owned(), json!("JWT")),
            ("alg".to_owned(), json!("RS256")),
            ("kid".to_owned(), json!(key.id)),
        ]);
        if self.version == Version::V1 {
            header.insert("x5t".to_owned(), json!(key.id));
        }
        let header = overridden(header, &self.header);
        let claims = overridden(self.claims(), &self.claims);
        let (header, claims) = (header.to_string(), claims.to_string());
        let mut token = compact(&header, &claims, |message| match &self.kind {
            Kind::Graph { .. } => key.sign(with_hashed_nonce(&header, &claims).as_bytes()),
            _ => key.sign(message),
        });
        if self.signature == Signature::Broken {
            // The first character of the signature carries six bits of it.
            let start = token.rfind('.').map_or(0, |dot| dot + 1);
            let changed = if token[start..].starts_with('A') {
                "B"
            } else {
                "A"
            };
            token.replace_range(start..=start, changed);
        }
        token
    }

    fn claims(&self) -> Map<String, Value> {
        let cloud = self.tenant.cloud;
        let now = self.tenant.clock.unix_seconds();
        let issued_at = now - i64::try_from(self.issued_ago.as_secs()).unwrap_or(i64::MAX);
        let mut claims = object(json!({
            "aud": self.effective_audience(),
            "iss": match self.version {
                Version::V1 => cloud.v1_issuer(&self.tenant_id),
                Version::V2 => cloud.v2_issuer(&self.tenant_id),
            },
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
        }));
        match &self.kind {
            Kind::User { name } | Kind::Graph { name } => {
                self.add_client(&mut claims, "0");
                self.add_person(&mut claims, name);
                claims.insert("aio".to_owned(), json!(random_id()));
            }
            Kind::App => {
                let object_id = guid_for(&["service principal", &self.tenant_id, &self.client_id]);
                self.add_client(&mut claims, "1");
                claims.insert("aio".to_owned(), json!(random_id()));
                claims.insert("oid".to_owned(), json!(object_id));
                claims.insert("sub".to_owned(), json!(object_id));
                if self.version == Version::V1 {
                    claims.insert("idp".to_owned(), json!(cloud.v1_issuer(&self.tenant_id)));
                } else {
                    claims.insert("xms_ftd".to_owned(), json!(random_id()));
                }
            }
            Kind::IdToken { name } => {
                self.add_person(&mut claims, name);
                claims.insert("nonce".to_owned(), json!(random_id()));
            }
        }
        if !self.scopes.is_empty() {
            claims.insert("scp".to_owned(), json!(self.scopes.join(" ")));
        }
        if !self.roles.is_empty() {
            claims.insert("roles".to_owned(), json!(self.roles));
        }
        claims
    }

    fn effective_audience(&self) -> String {
        match (&self.audience, &self.api, &self.kind, self.version) {
            (Some(audience), ..) => audience.clone(),
            (None, Some(api), Kind::User { .. } | Kind::App, Version::V1) => format!("api://{api}"),
            (None, Some(api), ..) => api.clone(),
            (None, None, ..) => self.client_id.clone(),
        }
    }

    fn add_client(&self, claims: &mut Map<String, Value>, authentication: &str) {
        let (client, method) = match self.version {
            Version::V1 => ("appid", "appidacr"),
            Version::V2 => ("azp", "azpacr"),
        };
        claims.insert(client.to_owned(), json!(self.client_id));
        claims.insert(method.to_owned(), json!(authentication));
    }

    fn add_person(&self, claims: &mut Map<String, Value>, name: &str) {
        let address = format!("{name}@{}", domain(self.tenant.cloud));
        let api = self.effective_audience();
        claims.insert("name".to_owned(), json!(name));
        claims.insert(
            "oid".to_owned(),
            json!(guid_for(&["user", &self.tenant_id, name])),
        );
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
}

impl fmt::Debug for TokenBuilder<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TokenBuilder")
            .finish_non_exhaustive()
    }
}

/// `header.payload.signature` of the given JSON texts, whatever they are.
pub(crate) fn compact(header: &str, payload: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let input = signing_input(header, payload);
    let signature = base64url(&sign(input.as_bytes()));
    format!("{input}.{signature}")
}

/// What Entra signs in place of a Graph token's own header: its `nonce` replaced by the nonce's
/// hash, so that nobody but Graph, which knows this, can verify the token.
fn with_hashed_nonce(header: &str, payload: &str) -> String {
    let mut header: Value = serde_json::from_str(header).unwrap_or_default();
    if let Some(nonce) = header["nonce"].as_str() {
        header["nonce"] = json!(base64url(digest(&SHA256, nonce.as_bytes()).as_ref()));
    }
    signing_input(&header.to_string(), payload)
}

fn signing_input(header: &str, payload: &str) -> String {
    format!(
        "{}.{}",
        base64url(header.as_bytes()),
        base64url(payload.as_bytes())
    )
}

fn overridden(mut object: Map<String, Value>, changes: &[(String, Option<Value>)]) -> Value {
    for (name, value) in changes {
        match value {
            Some(value) => object.insert(name.clone(), value.clone()),
            None => object.remove(name),
        };
    }
    Value::Object(object)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn domain(cloud: DevCloud) -> &'static str {
    match cloud {
        DevCloud::Public => "contoso.onmicrosoft.com",
        DevCloud::UsGovernment => "contoso.onmicrosoft.us",
        DevCloud::China => "contoso.partner.onmschina.cn",
    }
}
