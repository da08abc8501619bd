//! Versions of the measured crates.

/// Returns the version of a package in this workspace's `Cargo.lock`.
pub(crate) fn version(package: &str) -> &'static str {
    let name = format!("name = \"{package}\"");
    let mut lines = include_str!("../Cargo.lock").lines();
    lines
        .by_ref()
        .find(|line| *line == name)
        .and_then(|_| lines.next()?.strip_prefix("version = "))
        .map_or("?", |version| version.trim_matches('"'))
}
