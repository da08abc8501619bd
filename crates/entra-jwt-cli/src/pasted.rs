//! Finds the token in pasted text.

use entra_jwt_core::integration::Escaped;
use serde_json::Value;

const QUOTES: [(char, char); 4] = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”')];

/// Finds the token in pasted text. Returns it with notes for people on the text around it.
///
/// # Errors
/// If there is no token to judge: the text is empty, is JSON without a token, or is an error
/// response of the token endpoint.
pub(crate) fn token_in(text: &str) -> Result<(String, Vec<&'static str>), String> {
    let mut notes = Vec::new();
    let mut token = text.trim();
    let (mut schemes, mut is_quoted) = (0, false);
    let answer;
    loop {
        if let Some(value) = without_header_name(token) {
            token = value;
        } else if let Some(value) = without_quotes(token) {
            if !is_quoted {
                notes.push("the token is in quotes: send it without quotes");
            }
            is_quoted = true;
            token = value;
        } else if let Some(value) = without_scheme(token) {
            schemes += 1;
            if schemes == 2 {
                notes.push("the token has \"Bearer\" twice: send it once");
            }
            token = value;
        } else {
            break;
        }
    }
    if token.starts_with('{') {
        let note;
        (answer, note) = token_of_answer(token)?;
        notes.push(note);
        token = &answer;
    }
    if token.is_empty() || token.eq_ignore_ascii_case("bearer") {
        return Err("no token: pass it on standard input, or name a file that has it".to_owned());
    }
    Ok((token.to_owned(), notes))
}

/// Removes the name of the header in which a token is sent.
fn without_header_name(text: &str) -> Option<&str> {
    let (name, value) = text.split_once(':')?;
    name.trim_end()
        .eq_ignore_ascii_case("authorization")
        .then(|| value.trim_start())
}

/// Removes the quotes around the whole text.
fn without_quotes(text: &str) -> Option<&str> {
    let of = |(open, close)| text.strip_prefix(open)?.strip_suffix(close);
    QUOTES.into_iter().find_map(of).map(str::trim)
}

/// Removes the scheme of an `Authorization` header.
fn without_scheme(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(char::is_whitespace)?;
    let is_scheme = scheme.eq_ignore_ascii_case("bearer");
    is_scheme.then(|| token.trim_start())
}

/// Returns the token in a response of a token endpoint, or in the output of a program that
/// requested one.
fn token_of_answer(json: &str) -> Result<(String, &'static str), String> {
    let answer: Value = serde_json::from_str(json).map_err(|_| {
        "this is not a token, but JSON that cannot be read: pass the whole response of the token \
         endpoint, or only the token"
    })?;
    let token = |names: &[&str]| {
        let token = names.iter().find_map(|name| answer[*name].as_str());
        token.map(|token| token.trim().to_owned())
    };
    // These are the names of Entra, of MSAL and `az account get-access-token`, and of
    // `azd auth token`.
    if let Some(token) = token(&["access_token", "accessToken", "token"]) {
        return Ok((token, "read access_token from a JSON response"));
    }
    if answer.get("error").is_some() {
        return Err(entras_error(&answer));
    }
    match token(&["id_token", "idToken"]) {
        Some(token) => Ok((
            token,
            "read id_token from a JSON response without access_token",
        )),
        None => Err(
            "this is not a token, but JSON without access_token: pass the whole response of the \
             token endpoint, or only the token"
                .to_owned(),
        ),
    }
}

/// Returns the text for an error response of a token endpoint.
fn entras_error(answer: &Value) -> String {
    let code = answer["error"].as_str().unwrap_or_default();
    let mut words = format!(
        "this is not a token, but an error response of Entra: {}",
        Escaped(code)
    );
    let description = answer["error_description"].as_str().unwrap_or_default();
    let description = description.split("Trace ID:").next().unwrap_or_default();
    if !description.trim().is_empty() {
        words.push_str(&format!("\n{}", Escaped(description.trim())));
    }
    if let Some(number) = answer["error_codes"][0].as_u64().or(number_in(description)) {
        words.push_str(&format!(
            "\nwhat it means: https://login.microsoftonline.com/error?code={number}"
        ));
    }
    words
}

/// Returns the number in `AADSTS50173: …`.
fn number_in(description: &str) -> Option<u64> {
    let number = description.strip_prefix("AADSTS")?;
    number.split(':').next()?.parse().ok()
}
