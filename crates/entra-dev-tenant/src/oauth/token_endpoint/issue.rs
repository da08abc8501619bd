//! From a sign-in to the answer with its tokens.

use std::sync::Arc;

use serde_json::{Value, json};

use super::SignIn;
use super::store::RefreshToken;
use crate::application::Authenticated;
use crate::dev_tenant::Inner;
use crate::entra_error::EntraError;
use crate::oauth::claims_request::ClaimsRequest;
use crate::oauth::{Requested, Resource, invalid};
use crate::text::{base64url, guid_for};
use crate::token::{TokenBuilder, TokenKind};

pub(super) struct Issue<'a> {
    pub(super) tenant: &'a Inner,
    pub(super) client: &'a Authenticated<'a>,
    pub(super) sign_in: &'a Arc<SignIn>,
    pub(super) requested: &'a Requested,
    pub(super) resource: &'a Resource,
    pub(super) nonce: Option<&'a str>,
    pub(super) claims: &'a ClaimsRequest,
}

/// A `scope` that names something a token can be for.
pub(super) fn check_scope(tenant: &Inner, scope: &str) -> Result<Requested, EntraError> {
    let requested = Requested::parse(tenant, scope)?;
    let is_nothing = requested.permissions.is_empty()
        && requested
            .open_id
            .iter()
            .all(|scope| scope == "offline_access");
    match is_nothing {
        true => Err(invalid(scope)),
        false => Ok(requested),
    }
}

impl Issue<'_> {
    pub(super) fn answer(&self, has_refresh_token: bool, has_client_info: bool) -> Value {
        let granted = self.tenant.directory.lock().consents.granted(
            &self.sign_in.user,
            &self.sign_in.client_id,
            self.resource,
        );
        let mut answer = json!({
            "token_type": "Bearer",
            "scope": self.scope(&granted),
            "expires_in": 3_599,
            "ext_expires_in": 3_599,
            "access_token": self.access_token(&granted),
        });
        if has_refresh_token {
            let token = RefreshToken {
                sign_in: Arc::clone(self.sign_in),
                issued_at: self.tenant.issuer.clock.unix_seconds(),
                resource: self.resource.clone(),
                requested: self.requested.clone(),
            };
            answer["refresh_token"] = json!(self.tenant.grants.add_refresh_token(token));
        }
        if self.requested.asks_for("openid") {
            answer["id_token"] = json!(self.id_token());
        }
        if has_client_info {
            let (tenant, user) = (&self.tenant.issuer.realm.id, &self.sign_in.user);
            let info = json!({ "uid": guid_for(&["user", tenant, user]), "utid": tenant });
            answer["client_info"] = json!(base64url(info.to_string().as_bytes()));
        }
        answer
    }

    /// In the long form, with the API named as the request named it. Scopes of OpenID Connect
    /// are Graph's, and listed only with Graph's.
    fn scope(&self, granted: &[String]) -> String {
        let asked = self.requested.permissions.first();
        let prefix = match asked.and_then(|permission| permission.prefix.clone()) {
            Some(prefix) => prefix,
            None => self.resource.uri(self.tenant),
        };
        let long = granted.iter().map(|name| format!("{prefix}/{name}"));
        let mut scopes = self.open_id_of_graph();
        scopes.extend(long);
        scopes.join(" ")
    }

    fn open_id_of_graph(&self) -> Vec<String> {
        let listed = |scope: &&String| *scope != "offline_access";
        match self.resource {
            Resource::Graph => self
                .requested
                .open_id
                .iter()
                .filter(listed)
                .cloned()
                .collect(),
            Resource::Api(_) => Vec::new(),
        }
    }

    fn access_token(&self, granted: &[String]) -> String {
        let (tenant, user) = (self.tenant, &self.sign_in.user);
        let name = user.clone();
        let (token, is_v1) = match self.resource {
            Resource::Graph => (
                TokenBuilder::new(&tenant.issuer, TokenKind::Graph { name }),
                true,
            ),
            Resource::Api(id) => {
                let token = TokenBuilder::new(&tenant.issuer, TokenKind::User { name }).for_api(id);
                match tenant.application(id) {
                    Some(app) if app.has_v1_tokens => {
                        (token.v1().audience(&app.resource_uri()), true)
                    }
                    _ => (token, false),
                }
            }
        };
        let open_id = self.open_id_of_graph();
        let token = granted
            .iter()
            .chain(&open_id)
            .fold(token, |token, scope| token.scope(scope));
        let method = if is_v1 { "appidacr" } else { "azpacr" };
        let token = token
            .client(&self.client.application.id)
            .claim(method, self.client.method.acr());
        self.claims.after(&self.sign_in.claims).write(token).mint()
    }

    fn id_token(&self) -> String {
        let (tenant, user) = (self.tenant, &self.sign_in.user);
        let mut token =
            TokenBuilder::new(&tenant.issuer, TokenKind::IdToken { name: user.clone() })
                .for_api(&self.client.application.id);
        token = match self.nonce {
            Some(nonce) => token.claim("nonce", nonce),
            None => token.without_claim("nonce"),
        };
        if !self.requested.asks_for("profile") {
            token = token
                .without_claim("name")
                .without_claim("preferred_username");
        }
        if self.requested.asks_for("email") {
            token = token.claim(
                "email",
                format!("{user}@{}", tenant.issuer.realm.cloud.domain()),
            );
        }
        token.mint()
    }
}
