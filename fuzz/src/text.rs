//! Text for logs and answers: whatever the sender sent, it is one line of bounded length.

use std::fmt::{Debug, Display};

use entra_jwt_core::{InvalidToken, PermissionDenied};

/// Two values of 200 characters, each escaped as `\u{10ffff}`, and what is expected instead.
const MOST_BYTES: usize = 8 * 1024;

/// # Panics
/// If a text about the refusal could harm a log.
pub fn check_rejection(rejection: &InvalidToken) {
    check_code(rejection.code());
    check_code(rejection.public_code());
    check_short(rejection);
    check_short(format_args!("{rejection:?}"));
    check_short(rejection.remedy());
    check_short(rejection.public_remedy());
    // As sent: whoever shows them has to escape and cut them.
    let _ = (rejection.found(), rejection.expected());
}

/// # Panics
/// If a text about the refusal could harm a log.
pub fn check_denied(denied: &PermissionDenied) {
    check_code(denied.code());
    check_short(denied);
    check_short(denied.remedy());
    let _ = denied.found();
}

/// # Panics
/// If the text has more than one line, characters that are not seen, or no bound.
pub fn check_short(text: impl Display) {
    let text = text.to_string();
    assert!(text.len() <= MOST_BYTES, "{} bytes of text", text.len());
    check_visible(&text);
}

/// # Panics
/// If what a developer sees could write lines of its own.
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
