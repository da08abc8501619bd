//! `tower-entra-auth` with default settings.

use std::convert::Infallible;
use std::error::Error;

use axum_core::body::Body;
use entra_dev_tenant::DevTenant;
use http::{Request, Response};
use tower_entra_auth::{EntraAuth, layer::ResponseBody};
use tower_layer::Layer as _;
use tower_service::Service;

use crate::inner::Inner;
use crate::material::API;

pub(crate) async fn ours(
    tenant: &DevTenant,
) -> Result<
    impl Service<Request<Body>, Response = Response<ResponseBody<Body>>, Error = Infallible> + use<>,
    Box<dyn Error>,
> {
    let auth = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .metadata_endpoint(tenant.url())
        .build()?;
    auth.ready().await?;
    Ok(auth.layer().layer(Inner))
}
