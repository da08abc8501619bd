//! A reverse proxy that lets only verified callers through and tells the upstream who they are: for
//! a service that cannot check tokens itself.
//!
//! `cargo run -p reverse_proxy` starts a local tenant, an upstream that says what it saw and the
//! proxy before it, prints `curl` lines to try and serves until Ctrl-C; with `--once` it sends
//! itself one request of each kind, and fails if anything is not as expected. With settings it is
//! the proxy alone:
//!
//! | variable | meaning |
//! |---|---|
//! | `LISTEN` | the address to serve on, by default `127.0.0.1:8080` |
//! | `UPSTREAM` | `http://host:port[/base]` for HTTP/1.1, `h2c://host:port` for HTTP/2 without TLS, as gRPC needs |
//! | `ENTRA_TENANT_ID`, `ENTRA_CLIENT_ID`, … | as [`EntraAuthBuilder::env`] reads them |
//!
//! Clients use HTTP/1.1 or HTTP/2 (prior knowledge) on the one port. Bodies stream both ways, with
//! their trailers, and are never held as a whole.
//!
//! # What the upstream can rely on
//!
//! | header | from the token |
//! |---|---|
//! | `x-auth-oid`, `x-auth-tenant` | the object id, the tenant |
//! | `x-auth-name` | the name, for display only |
//! | `x-auth-scopes`, `x-auth-roles` | lists, separated by one space |
//! | `x-auth-client` | the client application |
//!
//! What the token does not have is no header. Whatever is not visible ASCII, and `%`, is
//! percent-encoded, each element of a list by itself. `x-forwarded-for`, `-proto` and `-host` say
//! what this proxy saw. The token does not arrive.
//!
//! Neither does what a client says itself by a name that begins with `X-Auth`, `X-Forwarded`,
//! `Forwarded`, `X-Real-IP`, `Proxy` or `Authorization`, as a header or as a trailer. Names are
//! compared by their words: case and every character but letters and digits count for nothing,
//! because PHP reads `x_auth_roles` and `X.Auth.Roles` as `X-Auth-Roles`, and lighttpd's CGI even
//! `X!Auth~Roles`. What HTTP goes by (`Host`, `Content-Length`, `Content-Type`, `Transfer-Encoding`
//! …) does not arrive in another spelling either. A name without anything between its words,
//! `XAuthRoles`, is another name.
//!
//! All of this holds only if nobody but the proxy reaches the upstream: bind that to loopback, or
//! fence it in.
//!
//! # What clients get
//!
//! | case | HTTP | gRPC |
//! |---|---|---|
//! | a request that the Layer refuses | its answer, unchanged | likewise |
//! | no Host, several, an invalid one or another than the target's; a target without a path | 400 | 400 |
//! | `CONNECT` | 405 | |
//! | more than 64 KiB of headers | 431 | 431 |
//! | the upstream refuses the connection, or answers with something else than HTTP | 502 | 14 |
//! | it does not connect within 5 s, or sends no response headers for 30 s after the last piece of the request that it took | 504 | 14 |
//! | it breaks off within the body | the response breaks off | likewise |
//!
//! # What the log says
//!
//! On standard error: what the Layer logs, and each kind of trouble with the upstream or with
//! accepting connections, the first of a kind at once, then at most one line a minute with the
//! `count` since the last. A request whose client breaks off its body, or sends no more of it, is
//! no trouble with the upstream. A client cannot fill the log. Lines of the libraries beneath are
//! left out.
//!
//! # What it does not do
//!
//! - TLS: put it behind what terminates it, which `x-forwarded-for` then names, and on one machine or
//!   network with its upstream.
//! - WebSocket and every other `Upgrade`: the header is removed, so the upstream answers as if the
//!   client had not asked.
//! - Paths of its own such as `/healthz`: everything needs a token.
//! - Rewriting: the path is appended to the base as it came, with `..` if it has such segments. A
//!   base is a prefix, not a wall.
//! - Time limits on a response's body, because a stream may be quiet for long.
//! - Limits on connections and rates, several upstreams, retries, caching, `Via`; and only Ctrl-C
//!   (SIGINT) ends it gracefully, within 10 s.
//!
//! [`EntraAuthBuilder::env`]: tower_entra_auth::EntraAuthBuilder::env

mod answer;
mod demo;
mod forward;
mod headers;
mod identity;
mod log;
mod server;
mod settings;
mod spelling;
mod target;
#[cfg(test)]
mod tests;
mod upload;
mod upstream;

use std::error::Error;
use std::io;

use tokio::net::TcpListener;

use crate::settings::Settings;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().any(|argument| argument == "--once") {
        return demo::play().await;
    }
    let variable =
        |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    if !Settings::are_given(variable) {
        return demo::serve_until(interrupted()).await;
    }

    // The Layer logs why a token is refused.
    tracing::subscriber::set_global_default(log::subscriber(io::stderr))?;
    let settings = Settings::read(variable)?;
    let listener = TcpListener::bind(settings.listen).await;
    let listener =
        listener.map_err(|error| format!("LISTEN: cannot serve {}: {error}", settings.listen))?;
    println!("Serving http://{}, Ctrl-C ends it.", listener.local_addr()?);
    let service = forward::service(&settings.auth, settings.upstream);
    server::serve(listener, service, interrupted()).await;
    Ok(())
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::error!("cannot wait for Ctrl-C: {error}");
    }
}
