//! How a client proves to the token endpoint who it is.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{AppRegistration, assertion, public_client};
use crate::dev_tenant::Inner;
use crate::endpoint::Parameters;
use crate::entra_error::EntraError;
use crate::text::is_guid;

/// A client that is who it says, as far as it says so.
pub(crate) struct Authenticated<'t> {
    pub(crate) application: &'t AppRegistration,
    pub(crate) method: Method,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Method {
    Public,
    Secret,
    Assertion,
}

impl Method {
    /// `azpacr` or `appidacr` of the tokens that it gets.
    pub(crate) fn acr(self) -> &'static str {
        match self {
            Self::Public => "0",
            Self::Secret => "1",
            Self::Assertion => "2",
        }
    }
}

/// What the request says about its client.
struct Presented {
    client_id: String,
    secret: Option<String>,
}

pub(crate) fn authenticate<'t>(
    tenant: &'t Inner,
    headers: &HeaderMap,
    form: &Parameters,
) -> Result<Authenticated<'t>, EntraError> {
    let presented = Presented::read(headers, form)?;
    let application = registered(tenant, &presented.client_id)?;
    let method = match (presented.secret, form.get("client_assertion")) {
        (Some(secret), None) => {
            check_secret(application, &secret)?;
            Method::Secret
        }
        (None, Some(text)) => {
            let assertion_type = form.get("client_assertion_type");
            assertion::check(tenant, application, assertion_type, text)?;
            Method::Assertion
        }
        (Some(_), Some(_)) => return Err(EntraError::malformed()),
        (None, None) if form.get("grant_type") == Some("client_credentials") => {
            let message = "'client_assertion', 'client_secret' or 'request' is required for the \
                'client_credentials' grant type.";
            return Err(EntraError::new("invalid_request", 7_000_216, message));
        }
        (None, None) if application.is_public() => Method::Public,
        (None, None) => {
            let message = "The request body must contain the following parameter: \
                'client_assertion' or 'client_secret'.";
            return Err(EntraError::new("invalid_client", 7_000_218, message));
        }
    };
    Ok(Authenticated {
        application,
        method,
    })
}

/// The application with this id.
pub(crate) fn registered<'t>(
    tenant: &'t Inner,
    id: &str,
) -> Result<&'t AppRegistration, EntraError> {
    if !is_guid(id) {
        let message = format!("{id} is not a valid application identifier.");
        return Err(EntraError::new("unauthorized_client", 700_038, message));
    }
    tenant.application(id).ok_or_else(|| {
        let message = format!(
            "Application with identifier '{id}' was not found in the directory '{}'. This can \
             happen if the application has not been installed by the administrator of the tenant \
             or consented to by any user in the tenant. You may have sent your authentication \
             request to the wrong tenant.",
            tenant.issuer.realm.id,
        );
        EntraError::new("unauthorized_client", 700_016, message)
    })
}

impl Presented {
    /// RFC 6749 §2.3.1: in the header both are encoded as in a form.
    fn read(headers: &HeaderMap, form: &Parameters) -> Result<Self, EntraError> {
        let Some(header) = headers.get(header::AUTHORIZATION) else {
            return Ok(Self {
                client_id: form.required("client_id")?.to_owned(),
                secret: form.get("client_secret").map(str::to_owned),
            });
        };
        let basic = header.to_str().ok().and_then(|header| {
            let (scheme, credentials) = header.split_once(' ')?;
            let credentials = STANDARD.decode(credentials.trim()).ok()?;
            let credentials = String::from_utf8(credentials).ok()?;
            let (id, secret) = credentials.split_once(':')?;
            scheme
                .eq_ignore_ascii_case("basic")
                .then(|| (form_decoded(id), form_decoded(secret)))
        });
        let (client_id, secret) = basic.ok_or_else(EntraError::malformed)?;
        let is_of_another = form.get("client_id").is_some_and(|id| id != client_id);
        if is_of_another || form.get("client_secret").is_some() {
            return Err(EntraError::malformed());
        }
        Ok(Self {
            client_id,
            secret: Some(secret),
        })
    }
}

fn form_decoded(text: &str) -> String {
    // One value: what would begin another parameter is part of it.
    let value = text.replace('&', "%26").replace('=', "%3D");
    let pairs = form_urlencoded::parse(value.as_bytes());
    pairs.map(|(value, _)| value.into_owned()).collect()
}

fn check_secret(app: &AppRegistration, presented: &str) -> Result<(), EntraError> {
    if app.is_public() {
        return Err(public_client());
    }
    let is_same =
        |value: &str| verify_slices_are_equal(value.as_bytes(), presented.as_bytes()).is_ok();
    let known = app.secrets.iter().find(|secret| is_same(&secret.value));
    let (code, message) = match known {
        Some(secret) if !secret.is_expired => return Ok(()),
        Some(_) => (
            7_000_222,
            format!(
                "The provided client secret keys for app '{}' are expired. Visit the Azure portal \
                 to create new keys for your app, or consider using certificate credentials for \
                 added security.",
                app.id
            ),
        ),
        None => (
            7_000_215,
            format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is \
                 the client secret value, not the client secret ID, for a secret added to app \
                 '{}'.",
                app.id
            ),
        ),
    };
    Err(EntraError::new("invalid_client", code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_form_encodes_is_decoded() {
        assert_eq!(form_decoded("a%3Ab+c%26"), "a:b c&");
        assert_eq!(form_decoded("a&b=c~"), "a&b=c~");
        assert_eq!(form_decoded(""), "");
    }
}
