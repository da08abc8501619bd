//! Checks a request's target and host, and refuses requests that two readers could understand
//! differently.

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderValue, Method, Request, StatusCode, Version};

/// Status and text of the refusal of a malformed request.
pub(crate) type Malformed = (StatusCode, &'static str);

/// The authority that the client asked for, in the request's extensions.
///
/// An HTTP/1.0 request may lack one.
#[derive(Clone)]
pub(crate) struct Asked(pub(crate) Option<HeaderValue>);

/// Returns the authority that the client asked for, or refuses a malformed request.
///
/// Source: RFC 9112 §3.2 and §3.2.2, for HTTP/2 RFC 9113 §8.3.1.
pub(crate) fn asked<B>(request: &Request<B>) -> Result<Asked, Malformed> {
    if request.method() == Method::CONNECT {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        return Err((status, "CONNECT is not supported"));
    }
    // `*` asks about this proxy, not about a resource of the upstream.
    if !request.uri().path().starts_with('/') {
        return Err(bad("the target of the request is not a path"));
    }
    let host = host(request)?;
    let target = request.uri().authority();
    match (host, target) {
        (None, _) if request.version() == Version::HTTP_11 => Err(bad("no Host header")),
        (None, None) if request.version() == Version::HTTP_2 => Err(bad("no authority")),
        (host, target) => {
            let default_port = default_port(request);
            let named = |text| named(text, default_port).ok_or(bad("an invalid authority"));
            let by_host = host.map(named).transpose()?;
            let by_target = target.map(Authority::as_str).map(named).transpose()?;
            if by_host.is_some() && by_target.is_some() && by_host != by_target {
                return Err(bad("the Host header does not match the target"));
            }
            let asked = target.map(Authority::as_str).or(host);
            // Every valid authority is a valid header value.
            Ok(Asked(asked.and_then(|text| text.parse().ok())))
        }
    }
}

fn host<B>(request: &Request<B>) -> Result<Option<&str>, Malformed> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => Err(bad("several Host headers")),
        (Some(host), None) => match host.to_str() {
            Ok(host) => Ok(Some(host)),
            Err(_) => Err(bad("an invalid Host header")),
        },
        (None, None) => Ok(None),
    }
}

fn default_port<B>(request: &Request<B>) -> u16 {
    match request.uri().scheme_str() {
        // A TLS terminator in front of the proxy may leave the scheme unchanged.
        Some("https") => 443,
        _ => 80,
    }
}

/// Parses an authority into the host in lower case and the port, for comparison.
fn named(text: &str, default_port: u16) -> Option<(String, u16)> {
    let authority: Authority = text.parse().ok()?;
    let host = authority.host();
    // Refuses a user before the host, and anything but a port after it.
    let port = match text.strip_prefix(host)? {
        "" | ":" => default_port,
        _ => authority.port_u16()?,
    };
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

fn bad(what: &'static str) -> Malformed {
    (StatusCode::BAD_REQUEST, what)
}
