//! A reverse proxy for a service that cannot check tokens itself.
//!
//! The proxy forwards only requests of verified callers and names the caller to the upstream in
//! headers.
//!
//! `cargo run -p reverse_proxy` starts a tenant of `entra-dev-tenant`, an upstream that shows the
//! request it saw, and the proxy in front of it. The program prints `curl` lines to try and serves
//! until Ctrl-C. With `--once` the program sends itself one request of each kind, and fails if a
//! response is not as expected. With settings, the program runs only the proxy:
//!
//! | variable | meaning |
//! |---|---|
//! | `LISTEN` | the address to serve on, by default `127.0.0.1:8080` |
//! | `UPSTREAM` | `http://host:port[/base]` for HTTP/1.1, `h2c://host:port` for HTTP/2 without TLS, as gRPC needs |
//! | `ENTRA_TENANT_ID`, `ENTRA_CLIENT_ID`, … | as [`EntraAuthBuilder::env`] reads them |
//!
//! Clients use HTTP/1.1 or HTTP/2 (prior knowledge) on one port. Bodies stream in both
//! directions, with their trailers; the proxy never holds a whole body.
//!
//! # Guarantees for the upstream
//!
//! | header | from the token |
//! |---|---|
//! | `x-auth-oid`, `x-auth-tenant` | the object id, the tenant |
//! | `x-auth-name` | the name, for display only |
//! | `x-auth-scopes`, `x-auth-roles` | lists, separated by one space |
//! | `x-auth-client` | the client application |
//!
//! If the token lacks a value, its header is missing. Every byte that is not visible ASCII, and
//! `%`, is percent-encoded, separately in each element of a list. `x-forwarded-for`, `-proto` and
//! `-host` contain the client's address, the scheme and the host as this proxy saw them. The proxy
//! removes the token.
//!
//! The proxy also removes every header and trailer of the client whose name begins with `X-Auth`,
//! `X-Forwarded`, `Forwarded`, `X-Real-IP`, `Proxy` or `Authorization`. Names are compared word by
//! word: the comparison ignores case and every character except letters and digits. The reason: PHP
//! reads `x_auth_roles` and `X.Auth.Roles` as `X-Auth-Roles`, and lighttpd's CGI even reads
//! `X!Auth~Roles` so. The proxy also removes other spellings of the headers that HTTP itself uses
//! (`Host`, `Content-Length`, `Content-Type`, `Transfer-Encoding` …). A name without a separator
//! between its words, such as `XAuthRoles`, is a different name.
//!
//! These guarantees hold only if no other client can reach the upstream: bind the upstream to
//! loopback or restrict access to it with a firewall.
//!
//! # Responses to clients
//!
//! | case | HTTP | gRPC |
//! |---|---|---|
//! | a request that the Layer refuses | the Layer's response, unchanged | the Layer's response, unchanged |
//! | no Host, several, an invalid one or one that differs from the target's; a target without a path | 400 | 400 |
//! | `CONNECT` | 405 | |
//! | more than 64 KiB of headers | 431 | 431 |
//! | the upstream refuses the connection, or its response is not HTTP | 502 | 14 |
//! | the upstream does not connect within 5 s, or sends no response headers for 30 s after it took the last piece of the request | 504 | 14 |
//! | the upstream breaks off within the response body | the response breaks off | the response breaks off |
//!
//! # Log
//!
//! The log goes to standard error. It contains the Layer's lines, and each kind of failure of the
//! upstream or of accepting connections. The first failure of a kind is logged immediately, and
//! further ones at most once a minute, with the `count` since the last line. A request whose client
//! breaks off its body or stops sending it is not logged as a failure of the upstream. A client
//! cannot fill the log. Lines of the libraries below are left out.
//!
//! # Limitations
//!
//! The proxy does not offer:
//!
//! - TLS: put the proxy behind a TLS terminator, on the same machine or network as the upstream.
//!   `x-forwarded-for` then contains the terminator's address.
//! - WebSocket and every other `Upgrade`: the proxy removes the header, so the upstream responds as
//!   if the client had not asked for it.
//! - Own paths such as `/healthz`: every request needs a token.
//! - Rewriting: the proxy appends the path to the base as the client sent it, including `..`
//!   segments. The base is a prefix and does not restrict access.
//! - Time limits on a response's body, because a stream may be quiet for a long time.
//! - Limits on connections and rates, several upstreams, retries, caching, `Via`. Only Ctrl-C
//!   (SIGINT) shuts the proxy down gracefully, within 10 s.
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

    // The Layer logs why it refuses a token.
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
