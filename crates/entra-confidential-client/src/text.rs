//! Text for logs, errors and requests: printable forms of text from outside, and new ids.

/// The advice for an operator who configured the id of a client secret instead of its value.
pub(crate) const VALUE_NOT_ID: &str = "configure the Value of a client secret, not its Secret ID; \
    the secret must belong to the app registration with this client id";

/// Returns the text with control and invisible characters escaped, cut at 200 characters.
///
/// Such a text cannot write lines of its own into a log.
pub(crate) fn printable(text: &str) -> String {
    const LIMIT: usize = 200;

    let mut printable = String::new();
    let mut characters = text.chars();
    for character in characters.by_ref().take(LIMIT) {
        match character {
            '"' | '\'' => printable.push(character),
            _ => printable.extend(character.escape_debug()),
        }
    }
    if characters.next().is_some() {
        printable.push('…');
    }
    printable
}

/// Returns a printable form of a URL: without query and fragment, escaped and cut.
///
/// A URL with a user name or password is not shown at all. `EscapedUrl` of `entra-jwt-core` does
/// the same, but this crate does not depend on that one.
pub(crate) fn printable_url(url: &str) -> String {
    if url.contains('@') || url.contains("%40") {
        return "(not shown: it has a user name or password)".to_owned();
    }
    printable(url.split(['?', '#']).next().unwrap_or_default())
}

/// Returns a random GUID, or `None` if the system's random number generator failed.
pub(crate) fn new_guid() -> Option<String> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    let guid = uuid::Builder::from_random_bytes(bytes).into_uuid();
    Some(guid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_escaped_and_cut() {
        assert_eq!(printable("a\nb\u{202e}\"c"), "a\\nb\\u{202e}\"c");
        assert_eq!(printable(&"x".repeat(200)), "x".repeat(200));
        assert_eq!(printable(&"x".repeat(201)), format!("{}…", "x".repeat(200)));
    }

    #[test]
    fn a_url_is_printed_without_what_may_be_secret_in_it() {
        assert!(!printable_url("https://user:secret@host").contains("secret"));
        assert_eq!(
            printable_url("https://host/path?sig=secret"),
            "https://host/path"
        );
    }
}
