//! The demonstration: a tenant of `entra-dev-tenant`, an upstream that shows what it saw, the proxy
//! in front of it, and one request of each kind.

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write as _;
use std::future::{Future, pending};
use std::io;

use bytes::Bytes;
use entra_dev_tenant::DevTenant;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::service_fn;
use tower_entra_auth::{BuildError, EntraAuth};

use crate::answer::{Body, text_body};
use crate::settings::protection;
use crate::upstream::Upstream;
use crate::{forward, server};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
/// A client application that calls with its own identity.
const CLIENT: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";
/// Object id of a user.
const ADA: &str = "0f5b3a52-6f5f-4f0e-8a3c-0d9b1d9d3c11";

/// Serves until `stop` completes, and prints `curl` lines to try.
pub(crate) async fn serve_until(stop: impl Future<Output = ()>) -> Result<(), Box<dyn Error>> {
    let tenant = DevTenant::start().await?;
    let upstream = echo(&Seen::default()).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let service = forward::service(&auth(&tenant)?, Upstream::new(&upstream)?);

    println!("A demonstration: set UPSTREAM, ENTRA_TENANT_ID and ENTRA_CLIENT_ID for more.\n");
    println!("TOKEN={}\n", user(&tenant, "Ada Lovelace"));
    println!("curl -i {url}/reports -H \"Authorization: Bearer $TOKEN\"");
    println!("curl -i {url}/reports -H \"Authorization: Bearer $TOKEN\" -H 'X.Auth.Oid: forged'");
    println!("curl -i --http2-prior-knowledge {url}/reports -H \"Authorization: Bearer $TOKEN\"");
    println!("curl -i {url}/reports");
    println!("\nServing {url}, Ctrl-C ends it.");
    server::serve(listener, service, stop).await;
    Ok(())
}

/// Sends one request of each kind, prints a line for each, and fails if a response is not as
/// expected.
pub(crate) async fn play() -> Result<(), Box<dyn Error>> {
    let tenant = DevTenant::start().await?;
    let auth = auth(&tenant)?;
    let seen = Seen::default();
    let proxy = proxy(&auth, &echo(&seen).await?).await?;
    let proxy_of_nothing = self::proxy(&auth, &nothing().await?).await?;

    let ada = || user(&tenant, "Ada Lovelace");
    let app = || tenant.app(CLIENT).role("Reports.Read.All").for_api(API);
    let expired = tenant
        .user("ada")
        .scope("Reports.Read")
        .for_api(API)
        .expired();
    let about_ada = &["oid=0f5b…", "name=Ada%20Lovelace", "scopes=Reports.Read"][..];
    let about_app = &["roles=Reports.Read.All", "client=2b1f…"][..];
    let about_zoe = &["name=Zo%C3%AB%20100%25"][..];
    let (one, two) = (client(false), client(true));
    let get = || Request::get(format!("{proxy}/reports"));
    let get_as = |token: String| get().header(AUTHORIZATION, format!("Bearer {token}"));
    let lost = format!("{proxy_of_nothing}/reports");
    let lost = || Request::post(&lost).header(AUTHORIZATION, format!("Bearer {}", ada()));
    let host = proxy.trim_start_matches("http://");

    let tries = [
        ("no token", &one, get(), "401", &[][..]),
        ("user token", &one, get_as(ada()), "200", about_ada),
        (
            "the same over HTTP/2",
            &two,
            get_as(ada()),
            "200",
            about_ada,
        ),
        ("app token", &one, get_as(app().mint()), "200", about_app),
        (
            "Zoë 100%",
            &one,
            get_as(user(&tenant, "Zoë 100%")),
            "200",
            about_zoe,
        ),
        (
            "forged x-auth-oid, x.auth.roles",
            &one,
            get_as(ada())
                .header("x-auth-oid", "forged")
                .header("x.auth.roles", "forged"),
            "200",
            about_ada,
        ),
        (
            "Connection: x-auth-oid",
            &one,
            get_as(ada()).header(CONNECTION, "x-auth-oid, x-auth-name"),
            "200",
            about_ada,
        ),
        ("expired", &one, get_as(expired.mint()), "401", &[]),
        (
            "two Host headers",
            &one,
            get_as(ada()).header(HOST, host).header(HOST, "other"),
            "400",
            &[],
        ),
        ("upstream down", &one, lost(), "502", &[]),
        (
            "upstream down, gRPC",
            &two,
            lost().header(CONTENT_TYPE, "application/grpc"),
            "200, grpc-status 14",
            &[],
        ),
    ];

    println!("{:<31}  {:<19}  the upstream saw", "sent", "status");
    let mut all_as_expected = true;
    for (sent, client, request, expected_status, expected) in tries {
        let response = client.request(request.body(Full::default())?).await?;
        let status = match response.headers().get("grpc-status") {
            Some(code) => format!(
                "{}, grpc-status {}",
                response.status().as_str(),
                code.to_str()?
            ),
            None => response.status().as_str().to_owned(),
        };
        let saw = seen.last();
        println!("{sent:<31}  {status:<19}  {saw}");
        all_as_expected &= status == expected_status
            && expected.iter().all(|part| saw.contains(part))
            && expected.is_empty() == (saw == "nothing")
            && !saw.contains("forged")
            && !saw.contains("x.auth")
            && !saw.contains("authorization");
    }
    match all_as_expected {
        true => Ok(()),
        false => Err("a response is not the expected one".into()),
    }
}

fn auth(tenant: &DevTenant) -> Result<EntraAuth, BuildError> {
    let settings = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock());
    protection(settings)
}

fn user(tenant: &DevTenant, name: &str) -> String {
    let token = tenant.user("ada").scope("Reports.Read").for_api(API);
    token.claim("oid", ADA).claim("name", name).mint()
}

/// Starts a proxy on a free port and returns its URL.
async fn proxy(auth: &EntraAuth, upstream: &str) -> Result<String, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let service = forward::service(auth, Upstream::new(upstream)?);
    tokio::spawn(server::serve(listener, service, pending()));
    Ok(url)
}

/// Starts an upstream that responds with the request it saw, and returns its URL.
async fn echo(seen: &Seen) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let seen = seen.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        seen.remember(request.headers());
        let answer = Response::new(told(&request));
        async { Ok::<_, Infallible>(answer) }
    });
    tokio::spawn(server::serve(listener, service, pending()));
    Ok(url)
}

/// Returns the URL of a port that no server listens on.
async fn nothing() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    Ok(format!("http://{}", listener.local_addr()?))
}

fn told(request: &Request<Incoming>) -> Body {
    let mut text = format!("the upstream saw\n{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        text.push_str(&format!(
            "{name}: {}\n",
            String::from_utf8_lossy(value.as_bytes())
        ));
    }
    text_body(text)
}

/// The headers of the last request that the upstream saw.
#[derive(Clone, Default)]
struct Seen(watch::Sender<Option<HeaderMap>>);

impl Seen {
    fn remember(&self, headers: &HeaderMap) {
        self.0.send_replace(Some(headers.clone()));
    }

    /// Returns a short form of the last headers and forgets them.
    fn last(&self) -> String {
        let Some(headers) = self.0.send_replace(None) else {
            return "nothing".to_owned();
        };
        let mut text = String::new();
        for name in ["oid", "name", "scopes", "roles", "client"] {
            if let Some(value) = headers.get(format!("x-auth-{name}")) {
                let value = String::from_utf8_lossy(value.as_bytes());
                let _ = match name {
                    "oid" | "client" => write!(text, "{name}={value:.4}… "),
                    _ => write!(text, "{name}={value} "),
                };
            }
        }
        // The proxy must have removed both.
        for name in ["x.auth.roles", "authorization"] {
            for value in headers.get_all(name) {
                let value = String::from_utf8_lossy(value.as_bytes());
                let _ = write!(text, "{name}={value} ");
            }
        }
        text.trim_end().to_owned()
    }
}

fn client(is_http2: bool) -> Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new())
        .http2_only(is_http2)
        .build(connector)
}
