//! The token in what people paste.

/// Finds the token in what was pasted, with notes for people on what stood around it.
///
/// # Errors
/// If there is none.
pub(crate) fn token_in(text: &str) -> Result<(String, Vec<&'static str>), String> {
    let text = text.trim();
    let token = match text.split_once(char::is_whitespace) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => text,
    };
    if token.is_empty() {
        let problem = "no token: it is read from standard input, or from the file that is named";
        return Err(problem.to_owned());
    }
    Ok((token.to_owned(), Vec::new()))
}
