//! Tests of the settings.

use std::collections::HashMap;

use super::support::API;
use crate::settings::Settings;

fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    let settings = Settings::read(|name| variables.get(name).map(|&value| value.to_owned()));
    settings.map_err(|error| error.to_string())
}

const TENANT: (&str, &str) = ("ENTRA_TENANT_ID", "72f988bf-86f1-41af-91ab-2d7cd011db47");
const CLIENT_ID: (&str, &str) = ("ENTRA_CLIENT_ID", API);
const UPSTREAM: (&str, &str) = ("UPSTREAM", "http://127.0.0.1:3000");

#[tokio::test]
async fn three_settings_are_enough() {
    let settings = read(&[TENANT, CLIENT_ID, UPSTREAM, ("LISTEN", " ")]).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
    let listen = ("LISTEN", "[::]:80");
    let settings = read(&[TENANT, CLIENT_ID, UPSTREAM, listen]).unwrap();
    assert_eq!(settings.listen.to_string(), "[::]:80");
}

#[tokio::test]
async fn every_wrong_setting_is_told_at_once() {
    let wrong = read(&[("LISTEN", "localhost"), ("ENTRA_TENANT_ID", "contoso")]).err();
    let lines: Vec<String> = wrong.unwrap().lines().map(str::to_owned).collect();
    let beginnings = [
        "cannot run this proxy:",
        "  - LISTEN: \"localhost\" is not an address with a port",
        "  - UPSTREAM: not set",
        "  - tenant (ENTRA_TENANT_ID): \"contoso\" is neither",
        "  - client_id: not set",
    ];
    assert_eq!(lines.len(), beginnings.len(), "{lines:#?}");
    for (line, beginning) in lines.iter().zip(beginnings) {
        assert!(line.starts_with(beginning), "{line}");
    }
}

#[tokio::test]
async fn each_wrong_upstream_says_what_is_wrong() {
    for (upstream, problem) in [
        ("127.0.0.1:3000", "is neither http://"),
        ("ftp://127.0.0.1", "is neither http://"),
        ("https://127.0.0.1", "is https"),
        ("http://", "is not an address"),
        ("http:///base", "is not an address"),
        ("http://:3000", "has no host"),
        ("http://a b", "is not an address"),
        ("http://host:0", "has a port"),
        ("http://host:65536", "has a port"),
        ("http://host:", "has a port"),
        ("h2c://host:x", "has a port"),
        ("http://host?x", "has a query"),
        ("http://host/#x", "has a query"),
        (
            "http://user:secret@host",
            "has a query, a fragment or a user",
        ),
    ] {
        let wrong = read(&[TENANT, CLIENT_ID, ("UPSTREAM", upstream)]).err();
        let wrong = wrong.unwrap_or_else(|| panic!("{upstream} is accepted"));
        assert!(wrong.starts_with("cannot run this proxy:\n  - UPSTREAM: "));
        assert!(wrong.contains(problem), "{upstream}: {wrong}");
        assert!(!wrong.contains("secret"), "{wrong}");
    }
}

#[test]
fn the_demonstration_is_for_whoever_has_set_nothing() {
    for (name, is_given) in [
        ("UPSTREAM", true),
        ("LISTEN", true),
        ("ENTRA_CLIENT_ID", true),
        ("AZURE_CLIENT_ID", false),
    ] {
        let given = Settings::are_given(|asked| (asked == name).then(|| "x".to_owned()));
        assert_eq!(given, is_given, "{name}");
    }
}
