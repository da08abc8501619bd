//! `jwt-authorizer` with checks of issuer, audience, lifetime and algorithm, and that the token has
//! any permission.
//!
//! By default the crate checks only the end of the lifetime.

use std::convert::Infallible;
use std::error::Error;

use axum_core::body::Body;
use entra_dev_tenant::DevTenant;
use http::{Request, Response};
use jsonwebtoken_9::Algorithm;
use jwt_authorizer::{IntoLayer as _, JwtAuthorizer, Validation};
use tower_layer::Layer as _;
use tower_service::Service;

use super::claims::Claims;
use super::{issuer, keys_url};
use crate::inner::Inner;
use crate::material::API;

pub(crate) async fn jwt_authorizer(
    tenant: &DevTenant,
) -> Result<
    impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + use<>,
    Box<dyn Error>,
> {
    let validation = Validation::new()
        .iss(&[issuer(tenant)])
        .aud(&[API])
        .exp(true)
        .nbf(true)
        .algs(vec![Algorithm::RS256]);
    let authorizer = JwtAuthorizer::<Claims>::from_jwks_url(&keys_url(tenant))
        .validation(validation)
        .check(|claims| claims.scp.is_some() || claims.roles.is_some())
        .build()
        .await?;
    Ok(authorizer.into_layer().layer(Inner))
}
