//! Checks that a URL is safe to send to.

use std::net::IpAddr;

use http::Uri;

const NO_URL: &str = "is not a URL of the form https://host";

/// Parses a URL of `https`, or of `http` if the host is loopback or `allow_plain_http` is set.
///
/// The error completes the sentence "the URL …".
///
/// # Errors
/// If the URL has another scheme or no host, or has a user name or password.
pub fn secure_url(text: &str, allow_plain_http: bool) -> Result<Uri, &'static str> {
    let uri: Uri = text.parse().map_err(|_| NO_URL)?;
    let host = plain_host(&uri)?;
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if allow_plain_http || is_loopback_host(host) => Ok(uri),
        Some("http") => Err("uses http, which only loopback addresses may use"),
        _ => Err("is neither https nor http"),
    }
}

/// Returns the host of the URL, if there is no user name or password before it.
///
/// A user name before the host can make one host look like another. The error completes the
/// sentence "the URL …".
///
/// # Errors
/// If the URL has a user name or password, or no host.
pub fn plain_host(uri: &Uri) -> Result<&str, &'static str> {
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err("has a user name or password; remove it")
        }
        Some(authority) if !authority.host().is_empty() => Ok(authority.host()),
        _ => Err(NO_URL),
    }
}

/// Returns whether requests to the host stay on this machine, so that plain `http` is safe.
///
/// Such hosts are `localhost` (RFC 6761 §6.3), 127.0.0.0/8 (RFC 1122 §3.2.1.3) and ::1 (RFC 4291
/// §2.5.3), the last with or without brackets.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_localhost_and_the_addresses_of_this_machine() {
        for host in ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            "10.0.0.1",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "[::2]",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn a_secure_url_is_https_or_http_on_loopback() {
        for good in [
            "https://host/path",
            "http://127.0.0.1:7580",
            "http://[::1]:7580/path",
        ] {
            assert_eq!(secure_url(good, false).unwrap(), good);
        }
        for (bad, reason) in [
            ("", NO_URL),
            ("/path", NO_URL),
            ("https://:443/", NO_URL),
            ("host", "is neither https nor http"),
            ("ftp://127.0.0.1", "is neither https nor http"),
            (
                "http://10.0.0.1",
                "uses http, which only loopback addresses may use",
            ),
            (
                "http://127.0.0.1@host",
                "has a user name or password; remove it",
            ),
        ] {
            assert_eq!(secure_url(bad, false), Err(reason), "{bad}");
        }
        assert!(secure_url("http://10.0.0.1", true).is_ok());
        assert!(secure_url("ftp://10.0.0.1", true).is_err());
    }
}
