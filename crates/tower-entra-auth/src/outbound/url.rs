//! Which URLs are safe to send to.

use std::net::IpAddr;

use http::Uri;

/// A URL of `https`, or of `http` on loopback. The error completes the sentence "the URL …".
pub(crate) fn secure_url(text: &str, allow_plain_http: bool) -> Result<Uri, &'static str> {
    let uri: Uri = text
        .parse()
        .map_err(|_| "is no URL of the form https://host")?;
    let host = plain_host(&uri)?;
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if allow_plain_http || is_loopback(host) => Ok(uri),
        Some("http") => Err("is http, which only loopback may be"),
        _ => Err("is neither https nor http"),
    }
}

/// The host, if the authority is nothing but host and port: a user name in front of it is how
/// one host is made to look like another.
pub(crate) fn plain_host(uri: &Uri) -> Result<&str, &'static str> {
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err("has a user name or password; leave it out")
        }
        Some(authority) if !authority.host().is_empty() => Ok(authority.host()),
        _ => Err("is no URL of the form https://host"),
    }
}

pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
