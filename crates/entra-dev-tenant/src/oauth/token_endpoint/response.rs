//! The token response for a user's grant.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{UserGrant, for_api};
use crate::endpoint::Parameters;
use crate::oauth::{RefreshToken, Resource, opaque};
use crate::text::{base64url, guid_for};
use crate::token::{TokenBuilder, TokenKind};

/// Makes the token response with its tokens.
pub(super) fn tokens(grant: &UserGrant<'_>, has_refresh_token: bool, form: &Parameters) -> Value {
    let granted = grant.tenant.directory().granted(
        &grant.sign_in.user,
        &grant.sign_in.client_id,
        &grant.resource,
    );
    let mut response = json!({
        "token_type": "Bearer",
        "scope": scope(grant, &granted),
        "expires_in": 3_599,
        "ext_expires_in": 3_599,
        "access_token": access_token(grant, &granted),
    });
    if has_refresh_token {
        let token = RefreshToken {
            sign_in: Arc::clone(grant.sign_in),
            issued_at: grant.tenant.issuer.clock.unix_seconds(),
            resource: grant.resource.clone(),
            requested: grant.requested.clone(),
        };
        let text = opaque();
        response["refresh_token"] = json!(text);
        grant.tenant.grants().refresh_tokens.insert(text, token);
    }
    if grant.requested.asks_for("openid") {
        response["id_token"] = json!(id_token(grant));
    }
    if form.get("client_info").is_some() {
        let (tenant, user) = (&grant.tenant.issuer.realm.id, &grant.sign_in.user);
        let info = json!({ "uid": guid_for(&["user", tenant, user]), "utid": tenant });
        response["client_info"] = json!(base64url(info.to_string().as_bytes()));
    }
    response
}

/// Returns `scope` in the long form, with the API named as in the request. Scopes of OpenID Connect
/// belong to Graph, and are listed only with Graph's scopes.
fn scope(grant: &UserGrant<'_>, granted: &[String]) -> String {
    let asked = grant.requested.permissions.first();
    let prefix = match asked.and_then(|permission| permission.prefix.clone()) {
        Some(prefix) => prefix,
        None => grant.resource.uri(grant.tenant),
    };
    let long = granted.iter().map(|name| format!("{prefix}/{name}"));
    let mut scopes = open_id_of_graph(grant);
    scopes.extend(long);
    scopes.join(" ")
}

fn open_id_of_graph(grant: &UserGrant<'_>) -> Vec<String> {
    let listed = |scope: &&String| *scope != "offline_access";
    match &grant.resource {
        Resource::Graph => grant
            .requested
            .open_id
            .iter()
            .filter(listed)
            .cloned()
            .collect(),
        Resource::Api(_) => Vec::new(),
    }
}

fn access_token(grant: &UserGrant<'_>, granted: &[String]) -> String {
    let (issuer, client) = (&grant.tenant.issuer, grant.client);
    let name = grant.sign_in.user.clone();
    let token = match &grant.resource {
        Resource::Graph => {
            TokenBuilder::new(issuer, TokenKind::Graph { name }).claim("appidacr", client.acr)
        }
        Resource::Api(id) => {
            let token = TokenBuilder::new(issuer, TokenKind::User { name });
            let api = grant.tenant.application(id);
            let roles = api.into_iter().flat_map(|api| &api.user_roles);
            let token = roles.fold(token, |token, role| token.role(role));
            for_api(grant.tenant, token, id, client)
        }
    };
    let token = granted
        .iter()
        .chain(&open_id_of_graph(grant))
        .fold(token, |token, scope| token.scope(scope))
        .client(&client.application.id);
    let claims = grant.claims.after(&grant.sign_in.claims);
    claims.write(token).mint()
}

fn id_token(grant: &UserGrant<'_>) -> String {
    let (tenant, user) = (grant.tenant, &grant.sign_in.user);
    let mut token = TokenBuilder::new(&tenant.issuer, TokenKind::IdToken { name: user.clone() })
        .for_api(&grant.client.application.id);
    token = match grant.nonce {
        Some(nonce) => token.claim("nonce", nonce),
        None => token.without_claim("nonce"),
    };
    if !grant.requested.asks_for("profile") {
        token = token
            .without_claim("name")
            .without_claim("preferred_username");
    }
    if grant.requested.asks_for("email") {
        token = token.claim(
            "email",
            format!("{user}@{}", tenant.issuer.realm.cloud.domain()),
        );
    }
    token.mint()
}
