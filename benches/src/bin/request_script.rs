//! Sends a fixed script of requests through hyper, for callgrind to count instructions.
//! `benches/instructions` runs it.
//!
//! `request_script WHAT COUNT` sends `COUNT` requests, one after the other, over one HTTP/1.1
//! connection in memory. `WHAT` selects the requests:
//!
//! - `plain` and `bare` go to the service without the Layer, with a token and without one.
//! - `remembered`, `new`, `unknown` and `none` go to the same service behind the Layer: with one
//!   token, with another token each time, with tokens of keys that no fetch brings (the first ones
//!   empty the bucket), and without a token.

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use entra_dev_tenant::DevTenant;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::Runtime;
use tower::{Layer as _, service_fn};
use tower_entra_auth::{
    EntraAuth,
    keys::{BoxError, FetchedKeys, KeySource},
};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";

/// Number of requests before the counted ones, which open the connection and fill the cache.
const WARM_UP: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments
        .next()
        .ok_or("no first argument: the kind of requests")?;
    let count: usize = arguments
        .next()
        .ok_or("no second argument: the number of requests")?
        .parse()?;
    let count = count + WARM_UP;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tenant = runtime.block_on(DevTenant::start())?;
    let token = |number: usize| {
        let user = tenant.user(&format!("ada.{number}"));
        user.scope("Reports.Read").for_api(API).mint()
    };
    let stranger = |number: usize| {
        let user = tenant.user("mallory").scope("Reports.Read").for_api(API);
        user.header("kid", format!("unknown {number}")).mint()
    };
    let (tokens, status): (Vec<Option<String>>, _) = match &*what {
        "plain" | "remembered" => (vec![Some(token(0)); count], "200"),
        "new" => (
            (0..count).map(|number| Some(token(number))).collect(),
            "200",
        ),
        "unknown" => (
            (0..count).map(|number| Some(stranger(number))).collect(),
            "503",
        ),
        "bare" => (vec![None; count], "200"),
        "none" => (vec![None; count], "401"),
        _ => return Err("expected plain, bare, remembered, new, unknown or none".into()),
    };
    let requests: Vec<Vec<u8>> = tokens.iter().map(Option::as_deref).map(request).collect();

    let (mut client, server) = duplex(64 << 10);
    runtime.block_on(serve(server, &tenant, matches!(&*what, "plain" | "bare")))?;
    let (before, counted) = requests.split_at(WARM_UP);
    // Any status is accepted here: tokens of unknown keys get another one while fetches for them
    // are permitted.
    runtime.block_on(send(&mut client, before, ""))?;
    measured(&runtime, &mut client, counted, status)
}

/// Sends the requests that callgrind counts, by this function's name.
#[inline(never)]
fn measured(
    runtime: &Runtime,
    client: &mut DuplexStream,
    requests: &[Vec<u8>],
    status: &str,
) -> Result<(), Box<dyn Error>> {
    runtime.block_on(send(client, requests, status))
}

/// Serves the connection in the background.
async fn serve(
    stream: DuplexStream,
    tenant: &DevTenant,
    is_plain: bool,
) -> Result<(), Box<dyn Error>> {
    let auth = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .key_source(Published(tenant.signing_keys().document()))
        .build()?;
    auth.ready().await?;
    let inner = service_fn(async |_: Request<Incoming>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
    });
    let http = hyper::server::conn::http1::Builder::new();
    let stream = TokioIo::new(stream);
    if is_plain {
        tokio::spawn(http.serve_connection(stream, TowerToHyperService::new(inner)));
    } else {
        let service = TowerToHyperService::new(auth.layer().layer(inner));
        tokio::spawn(http.serve_connection(stream, service));
    }
    Ok(())
}

/// Keys that may change, as Entra's do.
///
/// A `KeySet` as key source declares that its keys do not change.
struct Published(String);

impl KeySource for Published {
    async fn fetch(&self) -> Result<FetchedKeys, BoxError> {
        Ok(FetchedKeys::from_jwks(self.0.as_bytes())?)
    }
}

fn request(token: Option<&str>) -> Vec<u8> {
    let mut request = b"GET /reports HTTP/1.1\r\nhost: localhost\r\n".to_vec();
    if let Some(token) = token {
        request.extend_from_slice(b"authorization: Bearer ");
        request.extend_from_slice(token.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

async fn send(
    client: &mut DuplexStream,
    requests: &[Vec<u8>],
    status: &str,
) -> Result<(), Box<dyn Error>> {
    let mut response = vec![0; 4 << 10];
    for request in requests {
        client.write_all(request).await?;
        // A response is small enough to arrive in one piece.
        let length = client.read(&mut response).await?;
        let text = response.get(..length).unwrap_or_default();
        let (_, found) = text
            .split_at_checked(b"HTTP/1.1 ".len())
            .unwrap_or_default();
        if !found.starts_with(status.as_bytes()) {
            return Err(String::from_utf8_lossy(text).into());
        }
    }
    Ok(())
}
