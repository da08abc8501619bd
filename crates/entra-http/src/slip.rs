//! Recognises mistakes that people make when they copy a value into a setting.

/// Returns the fault of a badly copied setting, such as quotes around it, or `None` if there is no
/// obvious one.
///
/// Recognised are quotes, braces, a placeholder, a separator at the end, a variable that was not
/// replaced, and a whole line of an environment file. The returned text continues a sentence that
/// begins with the value: `"…" has quotes in it, which an environment file keeps; remove them`.
#[must_use]
pub fn slip_in(text: &str) -> Option<&'static str> {
    const QUOTES: [char; 8] = [
        '"', '\'', '`', '\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}', '\u{201e}',
    ];

    let is_enclosed = |open, close| text.starts_with(open) && text.ends_with(close);
    if text.starts_with(QUOTES) || text.ends_with(QUOTES) {
        // `docker run --env-file` keeps quotes; a shell removes them.
        Some("has quotes in it, which an environment file keeps; remove them")
    } else if text.contains("${")
        || text.contains("{{")
        || text.starts_with('$')
        || is_enclosed('%', '%')
    {
        Some("is a variable that was not expanded; set its value")
    } else if is_enclosed('<', '>') || is_enclosed('[', ']') {
        Some("is a placeholder; give the value itself")
    } else if is_enclosed('{', '}') || is_enclosed('(', ')') {
        Some("has braces around it; remove them")
    } else if text.ends_with([';', ',']) {
        Some("ends with a separator; remove it")
    } else if text
        .split_once('=')
        .is_some_and(|(name, _)| is_variable(name))
    {
        Some("is a whole line NAME=value; set only the value")
    } else {
        None
    }
}

/// Returns whether the text looks like the name of an environment variable: upper-case letters,
/// digits and `_`, after an optional `export`.
fn is_variable(name: &str) -> bool {
    let name = name.trim_start_matches("export ").trim();
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_copying_are_named() {
        for (text, slip) in [
            ("\"72f9\"", "has quotes in it"),
            ("'72f9'", "has quotes in it"),
            ("`72f9`", "has quotes in it"),
            ("\u{201c}72f9\u{201d}", "has quotes in it"),
            ("72f9\"", "has quotes in it"),
            ("${TENANT}", "is a variable"),
            ("$TENANT", "is a variable"),
            ("%TENANT%", "is a variable"),
            ("{{ tenant }}", "is a variable"),
            ("<tenant id>", "is a placeholder"),
            ("[tenant id]", "is a placeholder"),
            ("{72f9}", "has braces around it"),
            ("(72f9)", "has braces around it"),
            ("72f9;", "ends with a separator"),
            ("72f9,", "ends with a separator"),
            ("ENTRA_TENANT_ID=72f9", "is a whole line"),
            ("export ENTRA_TENANT_ID=72f9", "is a whole line"),
        ] {
            let found = slip_in(text);
            assert!(
                found.is_some_and(|found| found.starts_with(slip)),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn good_values_have_none() {
        for text in [
            "",
            "72f988bf-86f1-41af-91ab-2d7cd011db47",
            "72f988bf-86f1-41af-91ab-2d7cd011db47,9188040d-6c67-4c5b-b112-36a304b66dad",
            "organizations",
            "api://6e74172b-be56-4843-9ff4-e66a39bb12e3",
            "https://login.microsoftonline.com/x?a=b",
            "api://a\"b",
            "contoso.ciamlogin.com",
        ] {
            assert_eq!(slip_in(text), None, "{text}");
        }
    }
}
