//! A WebSocket and an event stream that end when the caller's token expires.
//!
//! The Layer checks a token when a request arrives, but these connections can stay open for hours.
//!
//! In this example, tokens live for two seconds, the grace period is one second and the clock skew
//! is zero. In a service, the grace period should be at least the clock skew (5 minutes by
//! default): until then, a client that reconnects is let in again.
//!
//! `cargo run -p websocket_expiry` plays a client and serves until Ctrl-C. With `--once` the
//! program exits after the play, and fails if a connection does not end as expected.

use std::convert::Infallible;
use std::error::Error;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use entra_dev_tenant::DevTenant;
use futures_util::{SinkExt as _, Stream, StreamExt as _, stream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{connect_async_with_config, tungstenite};
use tower_entra_auth::{Caller, EntraAuth};

const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
const LIFETIME: i64 = 2;
const GRACE: Duration = Duration::from_secs(1);

/// Close code "Unauthorized" in IANA's registry.
const UNAUTHORIZED: u16 = 3000;

fn app(auth: &EntraAuth) -> Router {
    // This Layer ends the response ...
    let events = get(async || Sse::new(ticks())).layer(auth.end_at_expiry(GRACE));
    Router::new()
        .route("/events", events)
        .route("/socket", get(socket))
        .layer(auth.layer())
}

fn ticks() -> impl Stream<Item = Result<Event, Infallible>> {
    stream::repeat(()).then(async |()| {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(Event::default().data("tick"))
    })
}

async fn socket(caller: Caller, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade.on_upgrade(|socket| serve(socket, caller));
    upgrade.into_response()
}

/// Serves a WebSocket until the caller's token has expired.
///
/// `end_at_expiry` ends only response bodies, so the handler of a WebSocket watches the token
/// itself.
async fn serve(mut socket: WebSocket, caller: Caller) {
    // Ends the conversation, whether it waits to receive or to send.
    tokio::select! {
        () = echo(&mut socket) => return,
        () = caller.expired(GRACE) => {}
    }
    let close = Message::Close(Some(CloseFrame {
        code: UNAUTHORIZED,
        reason: "the token has expired".into(),
    }));
    // A client that is gone or does not read receives no close frame.
    let _ = timeout(GRACE, socket.send(close)).await;
}

async fn echo(socket: &mut WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let is_said = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_said && socket.send(message).await.is_err() {
            return;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let tenant = DevTenant::start().await?;
    let auth = EntraAuth::builder()
        .tenant(tenant.id())
        .client_id(API)
        .clock_skew(Duration::ZERO)
        .metadata_endpoint(tenant.url())
        .clock(tenant.clock())
        .build()?;
    let app = app(&auth);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // Disables Nagle's algorithm: small writes must not wait for each other.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let token = || {
        let ada = tenant.user("ada").scope("Chat").for_api(API);
        ada.expires_in(LIFETIME).mint()
    };
    try_socket(&format!("ws://{address}/socket"), &token()).await?;
    try_events(&format!("http://{address}/events"), &token()).await?;
    if std::env::args().any(|argument| argument == "--once") {
        return Ok(());
    }
    let hour = tenant.user("ada").scope("Chat").for_api(API).mint();
    println!("\nTOKEN={hour}\n");
    println!("curl -N http://{address}/events -H \"Authorization: Bearer $TOKEN\"");
    println!("\nServing http://{address}, Ctrl-C ends it.");
    tokio::select! {
        served = server => served??,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

async fn try_socket(url: &str, token: &str) -> Result<(), Box<dyn Error>> {
    let request = || {
        let mut request = url.into_client_request()?;
        let value = format!("Bearer {token}").parse()?;
        request.headers_mut().insert("authorization", value);
        Ok::<_, Box<dyn Error>>(request)
    };
    let start = Instant::now();
    // `true` disables Nagle's algorithm: small writes must not wait for each other.
    let (mut socket, _) = connect_async_with_config(request()?, None, true).await?;
    socket.send("hello".into()).await?;
    let echo = socket.next().await.ok_or("no echo")??;
    println!("WebSocket         {}", echo.to_text()?);
    let closed = socket.next().await.ok_or("no close frame")??;
    let tungstenite::Message::Close(Some(frame)) = closed else {
        return Err("the socket was not closed".into());
    };
    let (code, after) = (u16::from(frame.code), start.elapsed());
    println!(
        "  after {:.1} s     closed with {code}: {}",
        after.as_secs_f64(),
        frame.reason
    );
    expect(code == UNAUTHORIZED && ends_in_time(after))?;

    // A client that reconnects with the same token is refused, as with any request.
    match connect_async_with_config(request()?, None, true).await {
        Err(tungstenite::Error::Http(response)) => {
            println!("  again           {}", response.status());
            expect(response.status() == 401)
        }
        _ => Err("the expired token was accepted".into()),
    }
}

async fn try_events(url: &str, token: &str) -> Result<(), Box<dyn Error>> {
    // Connects directly to loopback and ignores the proxies and certificates set on this machine.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()?;
    let start = Instant::now();
    let response = client.get(url).bearer_auth(token).send().await?;
    let events = response.text().await?.matches("tick").count();
    let after = start.elapsed();
    println!("events            {events} of them");
    println!("  after {:.1} s     the end", after.as_secs_f64());
    expect(events > 0 && ends_in_time(after))
}

/// Returns whether the connection ended at the right time.
///
/// The range is wide because `exp` is in whole seconds and the machine may be busy.
fn ends_in_time(after: Duration) -> bool {
    (Duration::from_millis(1_900)..Duration::from_secs(8)).contains(&after)
}

fn expect(is_so: bool) -> Result<(), Box<dyn Error>> {
    match is_so {
        true => Ok(()),
        false => Err("something did not end as expected".into()),
    }
}
