//! `tower-oauth2-resource-server` with checks of issuer, audience, lifetime and algorithm.
//!
//! Its defaults with a key URL would check neither `iss` nor `nbf`. The crate has no check of
//! scopes.

use std::convert::Infallible;
use std::error::Error;

use axum_core::body::Body;
use entra_dev_tenant::DevTenant;
use http::{Request, Response};
use jsonwebtoken::Algorithm;
use tower_layer::Layer as _;
use tower_oauth2_resource_server::server::OAuth2ResourceServer;
use tower_oauth2_resource_server::tenant::TenantConfiguration;
use tower_oauth2_resource_server::validation::ClaimsValidationSpec;
use tower_service::Service;

use super::claims::Claims;
use super::{issuer, keys_url};
use crate::inner::Inner;
use crate::material::API;

pub(crate) async fn tower_oauth2_resource_server(
    tenant: &DevTenant,
) -> Result<
    impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + use<>,
    Box<dyn Error>,
> {
    let issuer = issuer(tenant);
    let audiences = vec![API.to_owned()];
    let configuration = TenantConfiguration::builder(&issuer)
        .jwks_url(keys_url(tenant))
        .claims_validation(ClaimsValidationSpec::recommended(&issuer, &audiences))
        .audiences(&audiences)
        .allowed_algorithms(&[Algorithm::RS256])
        .build()
        .await?;
    let server = OAuth2ResourceServer::<Claims>::builder()
        .add_tenant(configuration)
        .build()
        .await?;
    Ok(server.into_layer().layer(Inner))
}
