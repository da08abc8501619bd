//! `oauth-resource-server` with checks of issuer, audience, lifetime, algorithm, tenant and one
//! scope.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use axum_core::body::Body;
use entra_dev_tenant::DevTenant;
use http::{Request, Response};
use oauth_resource_server::http_layer::HttpAuthLayer;
use oauth_resource_server::{KeyNaming, OAuthConfig, OAuthValidator};
use tower_layer::Layer as _;
use tower_service::Service;

use super::{issuer, keys_url};
use crate::inner::Inner;
use crate::material::{API, SCOPE};

pub(crate) async fn oauth_resource_server(
    tenant: &DevTenant,
) -> Result<
    impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + use<>,
    Box<dyn Error>,
> {
    let config = OAuthConfig {
        enabled: true,
        issuer: issuer(tenant),
        jwks_uri: Some(keys_url(tenant)),
        audience: API.to_owned(),
        resource: "https://api.example.com".to_owned(),
        required_scope: Some(SCOPE.to_owned()),
        scope_claims: vec!["scp".to_owned()],
        algorithms: vec!["RS256".to_owned()],
        required_claims: [("tid".to_owned(), tenant.id().into())].into(),
        ..OAuthConfig::default()
    };
    let config = config
        .resolve(KeyNaming::Dotted("oauth"))?
        .ok_or("not enabled")?;
    let validator = Arc::new(OAuthValidator::new(&config)?);
    validator.refresh_now().await?;
    validator.spawn_background_refresh();
    let layer = HttpAuthLayer::builder().oauth(validator).build()?;
    Ok(layer.layer(Inner))
}
