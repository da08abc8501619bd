//! Describes how a redirect URI differs from those that a client registered.

use entra_http::is_loopback_host;
use tower_entra_auth::entra_jwt_core::integration::EscapedUrl;

use super::{before_path, host_of};
use crate::telemetry::Finding;

/// Describes how a redirect URI differs from the nearest registered one.
pub(super) fn difference(sent: &str, registered: &[String]) -> Finding {
    let compared = by_nearness(sent, registered);
    let parts = compared.first().map(|(parts, _)| in_words(parts));
    let registered: Vec<&str> = compared.iter().map(|(_, uri)| *uri).collect();
    let reason = format!(
        "redirect_uri differs from the nearest registered one in {}",
        parts.unwrap_or_default()
    );
    Finding::from(reason)
        .found(EscapedUrl(sent).to_string())
        .expected(listed(&registered))
}

/// Returns the registered URIs, nearest first, each with the parts in which it differs.
pub(super) fn by_nearness<'r>(sent: &str, registered: &'r [String]) -> Vec<(Vec<String>, &'r str)> {
    let with_parts = registered.iter().map(|registered| {
        let parts = differing_parts(sent, registered);
        (parts, registered.as_str())
    });
    let mut compared: Vec<_> = with_parts.collect();
    compared.sort_by_key(|(parts, _)| parts.len());
    compared
}

/// Maximum number of URIs in a log line.
const MOST_LISTED: usize = 3;

/// Returns the first few URIs as text for the log, with the number of those left out.
pub(super) fn listed(uris: &[&str]) -> String {
    let shown = uris.iter().take(MOST_LISTED);
    let shown: Vec<String> = shown.map(|uri| EscapedUrl(uri).to_string()).collect();
    let more = match uris.len().saturating_sub(MOST_LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", shown.join(" "))
}

/// Splits a URI, as written, into scheme, host, port, path, query and fragment.
fn parts(uri: &str) -> [Option<&str>; 6] {
    let split = |text, at| match str::split_once(text, at) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    };
    let (uri, fragment) = split(uri, '#');
    let (uri, query) = split(uri, '?');
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    let (authority, path) = rest.strip_prefix("//").map_or(("", rest), before_path);
    let host = host_of(authority);
    let port = authority.get(host.len()..).filter(|port| !port.is_empty());
    [Some(scheme), Some(host), port, Some(path), query, fragment]
}

/// Returns the names of the parts in which two URIs differ.
///
/// The port of a loopback URI is not compared, because a program gets a different port each time
/// (RFC 8252 §7.3).
fn differing_parts(sent: &str, registered: &str) -> Vec<String> {
    let [of_sent, of_registered] = [parts(sent), parts(registered)];
    let hosts = [of_sent[1], of_registered[1]].map(Option::unwrap_or_default);
    let are_loopback = hosts.iter().all(|host| is_loopback_host(host));
    let mut differing: Vec<String> = Vec::new();
    for (index, name) in NAMES.into_iter().enumerate() {
        let (ours, theirs) = (of_sent[index], of_registered[index]);
        if ours == theirs || name == "the port" && are_loopback {
            continue;
        }
        let [ours, theirs] = [ours, theirs].map(Option::unwrap_or_default);
        let part = if !ours.is_empty() && ours.eq_ignore_ascii_case(theirs) {
            "letter case".to_owned()
        } else if name == "the path" && ours.trim_end_matches('/') == theirs.trim_end_matches('/') {
            "a slash at the end".to_owned()
        } else if name == "the host" && are_loopback {
            match [ours, theirs].iter().all(|host| USUAL.contains(host)) {
                true => format!("{name} ({ours} and {theirs} are two different addresses)"),
                false => format!("{name} (which are two different addresses of this machine)"),
            }
        } else {
            name.to_owned()
        };
        if !differing.contains(&part) {
            differing.push(part);
        }
    }
    differing
}

/// The usual loopback hosts.
const USUAL: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

const NAMES: [&str; 6] = [
    "the scheme",
    "the host",
    "the port",
    "the path",
    "the query",
    "the fragment",
];

fn in_words(parts: &[String]) -> String {
    match parts {
        [] => "its spelling".to_owned(),
        [part] => part.clone(),
        [parts @ .., last] => format!("{} and {last}", parts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_that_differ_are_named() {
        for (sent, registered, parts) in [
            (
                "http://127.0.0.1:3000/callback",
                "http://localhost:8080/callback",
                "the host (127.0.0.1 and localhost are two different addresses)",
            ),
            (
                "http://localhost/callback",
                "http://[::1]:1/callback",
                "the host (localhost and [::1] are two different addresses)",
            ),
            (
                "http://127.0.0.2/cb",
                "http://127.0.0.1/cb",
                "the host (which are two different addresses of this machine)",
            ),
            ("https://a.example/cb", "https://b.example/cb", "the host"),
            ("http://a.example/cb", "https://a.example/cb", "the scheme"),
            (
                "https://a.example:8443/cb",
                "https://a.example/cb",
                "the port",
            ),
            (
                "https://a.example:443/cb",
                "https://a.example/cb",
                "the port",
            ),
            ("https://a.example/x", "https://a.example/cb", "the path"),
            ("https://a.example/%63b", "https://a.example/cb", "the path"),
            (
                "https://a.example/cb/",
                "https://a.example/cb",
                "a slash at the end",
            ),
            (
                "https://a.example",
                "https://a.example/",
                "a slash at the end",
            ),
            ("https://a.example/cb?", "https://a.example/cb", "the query"),
            (
                "https://a.example/cb?x=1",
                "https://a.example/cb?x=2",
                "the query",
            ),
            (
                "https://a.example/cb#",
                "https://a.example/cb",
                "the fragment",
            ),
            (
                "https://A.example/CB",
                "https://a.example/cb",
                "letter case",
            ),
            (
                "https://a.example/cb?",
                "http://b.example/cb",
                "the scheme, the host and the query",
            ),
            ("cursor://x.y/cb", "cursor://x.y/cb/", "a slash at the end"),
            ("com.example:/a", "com.example:/b", "the path"),
            ("notes", "com.example:/b", "the scheme and the path"),
            (
                "",
                "https://a.example/cb",
                "the scheme, the host and the path",
            ),
            ("https://a@a.example/cb", "https://a.example/cb", "the host"),
        ] {
            let found = in_words(&differing_parts(sent, registered));
            assert_eq!(found, parts, "{sent} {registered}");
        }
    }

    #[test]
    fn an_address_is_compared_with_the_nearest() {
        let registered = [
            "https://b.example/other",
            "http://localhost/cb",
            "https://c.example/1",
            "https://c.example/2",
        ];
        let registered = registered.map(str::to_owned);
        let expected = Finding::from(
            "redirect_uri differs from the nearest registered one in a slash at the end",
        )
        .found("http://localhost:1/cb/")
        .expected("http://localhost/cb https://b.example/other https://c.example/1 and 1 more");
        assert_eq!(difference("http://localhost:1/cb/", &registered), expected);
    }
}
