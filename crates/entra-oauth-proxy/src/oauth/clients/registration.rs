//! Client registration (RFC 7591).
//!
//! Parses a client's metadata into a [`Registration`], and builds the response from that.

use serde::Deserialize;
use serde_json::error::Category;
use serde_json::{Map, Value, json};

use tower_entra_auth::entra_jwt_core::integration::{Escaped, EscapedUrl};

use super::super::{ErrorCode, GrantedScopes, OAuthError};
use super::{AllowList, ApplicationType, AuthMethod, RedirectUri, Registration, UnfitUri};
use crate::telemetry::Finding;

/// Maximum number of redirect URIs of a client.
const MAX_URIS: usize = 10;

/// The part of a client's metadata that this server reads.
///
/// Everything else is ignored, as RFC 7591 §2 says. Clients send many other members.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    redirect_uris: Option<Vec<String>>,
    #[serde(default)]
    client_name: Option<String>,
    #[serde(default)]
    token_endpoint_auth_method: Option<String>,
    #[serde(default)]
    application_type: Option<String>,
    #[serde(default)]
    grant_types: Option<Vec<String>>,
    #[serde(default)]
    response_types: Option<Vec<String>>,
    #[serde(default)]
    scope: Option<String>,
}

const CODE_GRANT: &str = "authorization_code";
const REFRESH_GRANT: &str = "refresh_token";

/// Parses a client's metadata, and returns its registration and the scope that it names.
pub(super) fn parse(
    metadata: &[u8],
    allow_list: &AllowList,
    now: u64,
) -> Result<(Registration, Option<String>), OAuthError> {
    let invalid = |finding| OAuthError::new(ErrorCode::InvalidClientMetadata, finding);
    // The body must be an object. Without this step, an array of the members' values would be
    // accepted.
    let metadata: Metadata = serde_json::from_slice::<Map<String, Value>>(metadata)
        .and_then(|metadata| serde_json::from_value(Value::Object(metadata)))
        .map_err(|error| {
            let finding = Finding::from("the body is not a JSON object with a client's metadata");
            let found = match error.classify() {
                Category::Data => "a member of the wrong type".to_owned(),
                _ => format!(
                    "invalid JSON at line {}, column {}",
                    error.line(),
                    error.column()
                ),
            };
            let expected = "an object with redirect_uris, a list of strings";
            invalid(finding.found(found).expected(expected))
        })?;

    let redirect_uris = metadata.redirect_uris.unwrap_or_default();
    check_uris(&redirect_uris, allow_list)?;
    let lacks = |list: &Option<Vec<String>>, needed: &str| {
        list.as_ref()
            .is_some_and(|list| !list.iter().any(|item| item == needed))
    };
    let check = |list: &Option<Vec<String>>, needed: &str, reason: &'static str| {
        if !lacks(list, needed) {
            return Ok(());
        }
        let found = list.as_deref().unwrap_or_default().join(" ");
        let finding = Finding::from(reason).found(Escaped(&found).to_string());
        Err(invalid(finding.expected(needed)))
    };
    let needs_grant = "grant_types must include authorization_code";
    check(&metadata.grant_types, CODE_GRANT, needs_grant)?;
    check(
        &metadata.response_types,
        "code",
        "response_types must include code",
    )?;
    let name = metadata.client_name.map(|name| plain_text(&name));
    let registration = Registration {
        name: name.filter(|name| !name.is_empty()),
        method: match metadata.token_endpoint_auth_method.as_deref() {
            // By RFC 7591, a client that names no method would get client_secret_basic. It would
            // then have a secret that it did not ask for, so it gets none here.
            Some("client_secret_basic") => AuthMethod::Basic,
            Some("client_secret_post") => AuthMethod::Post,
            // Also if the client asks for an unsupported method: the response names the method it
            // gets.
            _ => AuthMethod::None,
        },
        application_type: match metadata.application_type.as_deref() {
            Some("web") => ApplicationType::Web,
            _ => ApplicationType::Native,
        },
        // By RFC 7591 §2, a client that names no grant types gets the code grant alone. Here it may
        // also refresh, as every client of this server wants.
        may_refresh: !lacks(&metadata.grant_types, REFRESH_GRANT),
        redirect_uris,
        issued_at: now,
    };
    Ok((registration, metadata.scope))
}

/// Builds the registration response for a client.
pub(super) fn document(
    registration: &Registration,
    id: &str,
    secret: Option<String>,
    granted: Option<GrantedScopes>,
) -> Value {
    let grants: &[&str] = match registration.may_refresh {
        true => &[CODE_GRANT, REFRESH_GRANT],
        false => &[CODE_GRANT],
    };
    let mut document = json!({
        "client_id": id,
        "client_id_issued_at": registration.issued_at,
        "redirect_uris": registration.redirect_uris,
        "token_endpoint_auth_method": match registration.method {
            AuthMethod::None => "none",
            AuthMethod::Basic => "client_secret_basic",
            AuthMethod::Post => "client_secret_post",
        },
        "grant_types": grants,
        "response_types": ["code"],
        "application_type": match registration.application_type {
            ApplicationType::Native => "native",
            ApplicationType::Web => "web",
        },
    });
    let mut add = |member: &str, value: Value| document[member] = value;
    if let Some(name) = &registration.name {
        add("client_name", json!(name));
    }
    if let Some(granted) = granted {
        add("scope", json!(granted.shown.join(" ")));
    }
    if let Some(secret) = secret {
        add("client_secret", json!(secret));
        // The secret never expires (RFC 7591 §3.2.1).
        add("client_secret_expires_at", json!(0));
    }
    document
}

fn check_uris(uris: &[String], allow_list: &AllowList) -> Result<(), OAuthError> {
    let invalid = |finding: Finding| OAuthError::new(ErrorCode::InvalidRedirectUri, finding);
    if uris.is_empty() {
        return Err(invalid(Finding::from(format!(
            "redirect_uris is missing or empty: send 1 to {MAX_URIS} addresses, such as \
             http://127.0.0.1:33418/callback"
        ))));
    }
    if uris.len() > MAX_URIS {
        let finding = Finding::from(format!("redirect_uris has more than {MAX_URIS} addresses"));
        return Err(invalid(finding.found(uris.len().to_string())));
    }
    // An unsafe URI, or one with an unknown scheme, is refused regardless of the others. If there
    // is an allow list, one of the URIs must be on it. Each sign-in checks its URI again.
    let mut is_one_allowed = false;
    let mut not_allowed = None;
    for (index, uri) in uris.iter().enumerate() {
        let refused = |problem: UnfitUri| {
            let finding = Finding::from(format!("the redirect URI {} {problem}", index + 1))
                .found(EscapedUrl(uri).to_string());
            invalid(match problem {
                UnfitUri::Unsafe(_) => finding,
                UnfitUri::UnknownScheme => finding
                    .expected("com.example.app:/callback, or a scheme of private_use_schemes(..)"),
                UnfitUri::NotListed => {
                    finding.expected(format!("allowed_redirects(..): {allow_list}"))
                }
            })
        };
        match RedirectUri::parse(uri, allow_list) {
            Ok(_) => is_one_allowed = true,
            Err(problem @ UnfitUri::NotListed) => {
                not_allowed.get_or_insert(refused(problem));
            }
            Err(problem) => return Err(refused(problem)),
        }
    }
    match not_allowed {
        Some(error) if !is_one_allowed => Err(error),
        _ => Ok(()),
    }
}

/// Maximum length of a client's name, in characters.
const MAX_NAME: usize = 60;

/// Returns a client's name without invisible characters and text direction marks, and shortened.
fn plain_text(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(
                c,
                '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                    | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                    | '\u{e0000}'..='\u{e007f}'
            )
    };
    let seen: String = text
        .chars()
        .map(|c| if is_hidden(c) { ' ' } else { c })
        .collect();
    let words: Vec<&str> = seen.split_whitespace().collect();
    let text = words.join(" ");
    match text.char_indices().nth(MAX_NAME) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::plain_text;

    #[test]
    fn names_are_plain() {
        assert_eq!(plain_text(" Claude\n Code "), "Claude Code");
        assert_eq!(plain_text("ab\u{202e}cd\u{200b}e\u{7}f"), "ab cd e f");
        assert_eq!(plain_text(&"é".repeat(100)), format!("{}…", "é".repeat(60)));
        assert_eq!(plain_text("\u{2066}\u{feff}"), "");
    }
}
