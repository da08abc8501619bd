//! `POST /register`: clients register themselves (RFC 7591), and nothing is stored.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::engine::Engine;
use crate::oauth::client::{ApplicationType, Method, Registration, id_of, secret_of};
use crate::oauth::error::{Code, OAuthError};
use crate::oauth::redirect_uri::RedirectUri;
use crate::pages::plain_text;

/// The longest body, in bytes.
pub(crate) const MOST_BYTES: usize = 8 * 1024;

/// The most redirect URIs of one client.
const MOST_URIS: usize = 10;

/// What of a client's metadata is looked at. Everything else is ignored, as RFC 7591 §2 has it:
/// clients say much about themselves that concerns nobody here.
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

impl Engine {
    /// The answer to a registration; `now` in seconds since 1970.
    pub(crate) fn register(&self, body: &[u8], now: u64) -> Result<Value, OAuthError> {
        let invalid = |text| OAuthError::new(Code::InvalidClientMetadata, text);
        // An object, as a list of the members' values would pass for one.
        let metadata: Metadata = serde_json::from_slice::<Map<String, Value>>(body)
            .and_then(|metadata| serde_json::from_value(Value::Object(metadata)))
            .map_err(|_| invalid("the body is not the JSON of a client's metadata"))?;

        let redirect_uris = metadata.redirect_uris.unwrap_or_default();
        self.check_uris(&redirect_uris)?;

        let lacks = |list: &Option<Vec<String>>, needed: &str| {
            list.as_ref()
                .is_some_and(|list| !list.iter().any(|item| item == needed))
        };
        if lacks(&metadata.grant_types, CODE_GRANT) {
            return Err(invalid("grant_types needs authorization_code"));
        }
        if lacks(&metadata.response_types, "code") {
            return Err(invalid("response_types needs code"));
        }
        let method = match metadata.token_endpoint_auth_method.as_deref() {
            // RFC 7591 would have client_secret_basic: a secret that nobody asked for.
            Some("client_secret_basic") => Method::Basic,
            Some("client_secret_post") => Method::Post,
            // Also where it asks for what there is not: the answer says what it gets.
            _ => Method::None,
        };
        let registration = Registration {
            name: metadata
                .client_name
                .map(|name| plain_text(&name))
                .filter(|name| !name.is_empty()),
            method,
            application_type: match metadata.application_type.as_deref() {
                Some("web") => ApplicationType::Web,
                _ => ApplicationType::Native,
            },
            // Left out, it is the code alone (RFC 7591 §2); but a client that does not say gets
            // what every client here wants.
            may_refresh: !lacks(&metadata.grant_types, REFRESH_GRANT),
            redirect_uris,
            issued_at: now,
        };
        let scope = metadata
            .scope
            .and_then(|scope| self.scopes.grant(Some(&scope)).ok());
        self.answer(&registration, scope.map(|granted| granted.shown.join(" ")))
    }

    fn check_uris(&self, uris: &[String]) -> Result<(), OAuthError> {
        let invalid = |text: String| OAuthError::new(Code::InvalidRedirectUri, text);
        if uris.is_empty() || uris.len() > MOST_URIS {
            return Err(invalid(format!(
                "redirect_uris needs 1 to {MOST_URIS} of them"
            )));
        }
        // An unsafe one is refused, whatever stands beside it. Of the others one must be on the list, if
        // there is one; with each sign-in it is looked at again.
        let mut is_one_allowed = false;
        let mut not_allowed = None;
        for (index, uri) in uris.iter().enumerate() {
            let told = |problem| invalid(format!("the redirect URI {} {problem}", index + 1));
            match RedirectUri::parse(uri, &self.allow_list) {
                Ok(_) => is_one_allowed = true,
                Err(problem) if RedirectUri::is_safe(uri, &self.allow_list) => {
                    not_allowed.get_or_insert(told(problem));
                }
                Err(problem) => return Err(told(problem)),
            }
        }
        match not_allowed {
            Some(error) if !is_one_allowed => Err(error),
            _ => Ok(()),
        }
    }

    fn answer(
        &self,
        registration: &Registration,
        scope: Option<String>,
    ) -> Result<Value, OAuthError> {
        let id = id_of(registration, &self.keys).ok_or_else(|| {
            OAuthError::new(
                Code::InvalidClientMetadata,
                "the name and the redirect URIs are too long together",
            )
        })?;
        let grants: &[&str] = match registration.may_refresh {
            true => &[CODE_GRANT, REFRESH_GRANT],
            false => &[CODE_GRANT],
        };
        let mut answer = json!({
            "client_id": id,
            "client_id_issued_at": registration.issued_at,
            "redirect_uris": registration.redirect_uris,
            "token_endpoint_auth_method": registration.method.as_str(),
            "grant_types": grants,
            "response_types": ["code"],
            "application_type": match registration.application_type {
                ApplicationType::Native => "native",
                ApplicationType::Web => "web",
            },
        });
        let mut add = |member: &str, value: Value| answer[member] = value;
        if let Some(name) = &registration.name {
            add("client_name", json!(name));
        }
        if let Some(scope) = scope {
            add("scope", json!(scope));
        }
        if registration.method != Method::None {
            add("client_secret", json!(secret_of(&id, &self.keys)));
            // Never (RFC 7591 §3.2.1).
            add("client_secret_expires_at", json!(0));
        }
        Ok(answer)
    }
}
