//! The sign-in at Entra in an OpenAPI document of utoipa; a file to copy.

use tower_entra_auth::require::InvalidRequirement;
use tower_entra_auth::{EntraAuth, Scope};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{
    AuthorizationCode, Flow, OAuth2, Scopes, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{OpenApi, Response};
use utoipa_axum::router::UtoipaMethodRouter;

/// The name of the security scheme in the document.
const SCHEME: &str = "entra";

/// The sign-in to an API, for its document and for its routes, so that both name the same scopes.
pub(crate) struct SignIn<'a> {
    pub(crate) auth: &'a EntraAuth,
    /// The Application ID URI of the API, such as `api://` and its client id.
    pub(crate) app_id_uri: &'a str,
}

impl SignIn<'_> {
    /// Adds the security scheme to the document: OAuth 2.0 by authorization code at the endpoints of the
    /// authority. `scopes` are those of the API, each with its purpose.
    pub(crate) fn describe(&self, api: &mut OpenApi, scopes: &[(&str, &str)]) {
        let endpoint = |name| format!("{}/oauth2/v2.0/{name}", self.auth.authority_url());
        let scopes = scopes
            .iter()
            .map(|(name, purpose)| (self.full_name(name), (*purpose).to_owned()));
        let code = AuthorizationCode::new(
            endpoint("authorize"),
            endpoint("token"),
            Scopes::from_iter(scopes),
        );
        let scheme = SecurityScheme::OAuth2(OAuth2::new([Flow::AuthorizationCode(code)]));
        let components = api.components.get_or_insert_default();
        components.add_security_scheme(SCHEME, scheme);
    }

    /// Requires a scope of the callers of these routes, and adds it to their operations in the document, with
    /// the statuses of refusals.
    pub(crate) fn require(
        &self,
        scope: &'static str,
        (schemas, mut paths, routes): UtoipaMethodRouter,
    ) -> Result<UtoipaMethodRouter, InvalidRequirement> {
        for operation in paths.paths.values_mut().flat_map(operations) {
            let scopes = [self.full_name(scope)];
            operation.security = Some(vec![SecurityRequirement::new(SCHEME, scopes)]);
            let refusals = [
                ("401", "No valid token of Entra for this API".to_owned()),
                ("403", format!("A token without the scope {scope}")),
            ];
            let refusals = refusals.map(|(status, why)| (status.into(), Response::new(why).into()));
            operation.responses.responses.extend(refusals);
        }
        let requirement = self.auth.require(Scope(scope))?;
        Ok((schemas, paths, routes.layer(requirement)))
    }

    /// Returns the name of a scope in requests to Entra. Tokens and requirements have the short name.
    pub(crate) fn full_name(&self, scope: &str) -> String {
        format!("{}/{scope}", self.app_id_uri)
    }
}

/// Lists the operations of a path.
fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let methods = [
        &mut path.get,
        &mut path.put,
        &mut path.post,
        &mut path.delete,
        &mut path.options,
        &mut path.head,
        &mut path.patch,
        &mut path.trace,
    ];
    methods.into_iter().flatten()
}
