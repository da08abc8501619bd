//! Checks on texts for logs and responses: for any input they must be one line of bounded length.

use std::fmt::{Debug, Display};

use entra_jwt_core::{InvalidToken, PermissionDenied};

/// Maximum length of a text: two values of 200 characters, each escaped as `\u{10ffff}`, and the
/// expected value.
const MOST_BYTES: usize = 8 * 1024;

/// Checks the texts about the refusal of a token.
///
/// # Panics
/// If a text could harm a log.
pub fn check_rejection(rejection: &InvalidToken) {
    check_code(rejection.code());
    check_code(rejection.public_code());
    check_short(rejection);
    check_short(format_args!("{rejection:?}"));
    check_short(rejection.remedy());
    check_short(rejection.public_remedy());
    // These two are unescaped and of any length: a caller that shows them has to escape and shorten
    // them.
    let _ = (rejection.found(), rejection.expected());
}

/// Checks the texts about a refused permission.
///
/// # Panics
/// If a text could harm a log.
pub fn check_denied(denied: &PermissionDenied) {
    check_code(denied.code());
    check_short(denied);
    check_short(denied.remedy());
    let _ = denied.found();
}

/// Checks that a text is one visible line of bounded length.
///
/// # Panics
/// If the text has more than one line, invisible characters or too many bytes.
pub fn check_short(text: impl Display) {
    let text = text.to_string();
    assert!(text.len() <= MOST_BYTES, "{} bytes of text", text.len());
    check_visible(&text);
}

/// Checks the `Debug` output of a value.
///
/// # Panics
/// If the output could add its own lines to a log.
pub fn check_debug(value: &impl Debug) {
    check_visible(&format!("{value:?}"));
}

fn check_visible(text: &str) {
    let hidden = text.chars().find(|character| {
        character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    });
    assert_eq!(hidden, None, "in {text:?}");
}

fn check_code(code: &str) {
    let is_of_code = |byte: u8| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte);
    assert!(!code.is_empty() && code.bytes().all(is_of_code), "{code}");
}
