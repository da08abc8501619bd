//! Clients: those that registered themselves, whose registration is in their id, and those that an
//! operator named.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use tower_entra_auth::entra_jwt_core::ShownUrl;
use url::form_urlencoded;

use crate::keys::format::{self, Format, Kept, Unread};
use crate::keys::keyring::{Keyring, Purpose, base64url, from_base64url, hash, is_same};
use crate::oauth::error::{Code, OAuthError};
use crate::oauth::parameters::Params;

/// A client that is known in advance: for products that want an id, and perhaps a secret, typed in.
#[derive(Clone)]
#[must_use = "it is not known before it is given to the builder"]
pub struct FixedClient {
    pub(crate) id: String,
    pub(crate) secret: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) redirect_uris: Vec<String>,
}

impl FixedClient {
    /// A client without a secret: PKCE alone tells it from others.
    pub fn public(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: None,
            name: None,
            redirect_uris: Vec::new(),
        }
    }

    /// A client with a secret, which it sends by `client_secret_basic` or `client_secret_post`.
    pub fn confidential(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            secret: Some(secret.into()),
            ..Self::public(id)
        }
    }

    /// Where its answers may be sent: at least one.
    pub fn redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uris.push(uri.into());
        self
    }

    /// What people read as its name. Default: its id.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl fmt::Debug for FixedClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redirect_uris = self.redirect_uris.iter().map(|uri| ShownUrl(uri));
        let redirect_uris: Vec<_> = redirect_uris.collect();
        formatter
            .debug_struct("FixedClient")
            .field("id", &self.id)
            .field("has_secret", &self.secret.is_some())
            .field("redirect_uris", &redirect_uris)
            .finish_non_exhaustive()
    }
}

/// What a registration says: kept in the client's id, encrypted. The names are short, as it is in
/// every URL.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Registration {
    #[serde(rename = "r")]
    pub(crate) redirect_uris: Vec<String>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(rename = "m")]
    pub(crate) method: Method,
    #[serde(rename = "a")]
    pub(crate) application_type: ApplicationType,
    /// Whether it asked for refresh tokens.
    #[serde(rename = "g")]
    pub(crate) may_refresh: bool,
    #[serde(rename = "t")]
    pub(crate) issued_at: u64,
}

impl Kept for Registration {
    const FORMAT: Format = format::REGISTRATION;
}

/// How a client proves at the token endpoint who it is (RFC 7591 §2).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Method {
    #[serde(rename = "n")]
    None,
    #[serde(rename = "b")]
    Basic,
    #[serde(rename = "p")]
    Post,
}

impl Method {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }
}

/// OpenID Connect Dynamic Registration §2. Kept and returned; it decides nothing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum ApplicationType {
    #[serde(rename = "n")]
    Native,
    #[serde(rename = "w")]
    Web,
}

/// A client, however it is known.
pub(crate) struct Client {
    /// What is stored and logged in place of the id.
    pub(crate) hash: String,
    pub(crate) name: Option<String>,
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) may_refresh: bool,
    /// Whether an operator vouches for it.
    pub(crate) is_fixed: bool,
    secret: Secret,
}

enum Secret {
    /// It has none.
    None,
    /// It follows from the id.
    OfId,
    Fixed(String),
}

/// The clients that there are.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) fixed: Vec<FixedClient>,
    /// Whether clients may register themselves.
    pub(crate) registration: bool,
}

/// The longest id of a client: it goes into URLs.
pub(crate) const MOST_ID: usize = 2_048;

/// The id of a registration; `None` if it would be too long.
pub(crate) fn id_of(registration: &Registration, keys: &Keyring) -> Option<String> {
    let id = base64url(&keys.seal_versioned(Purpose::ClientId, b"", registration)?);
    (id.len() <= MOST_ID).then_some(id)
}

pub(crate) fn secret_of(id: &str, keys: &Keyring) -> String {
    base64url(&keys.tag(Purpose::ClientSecret, id.as_bytes()))
}

impl Clients {
    pub(crate) fn find(&self, id: &str, keys: &Keyring) -> Result<Client, Unread> {
        if let Some(fixed) = self.fixed.iter().find(|fixed| fixed.id == id) {
            return Ok(Client {
                hash: hash(id),
                name: Some(fixed.name.clone().unwrap_or_else(|| id.to_owned())),
                redirect_uris: fixed.redirect_uris.clone(),
                may_refresh: true,
                is_fixed: true,
                secret: fixed.secret.clone().map_or(Secret::None, Secret::Fixed),
            });
        }
        if !self.registration || id.len() > MOST_ID {
            return Err(Unread::Malformed);
        }
        let sealed = from_base64url(id).ok_or(Unread::Malformed)?;
        let registration: Registration = keys.open_versioned(Purpose::ClientId, b"", &sealed)?;
        Ok(Client {
            hash: hash(id),
            name: registration.name,
            redirect_uris: registration.redirect_uris,
            may_refresh: registration.may_refresh,
            is_fixed: false,
            secret: match registration.method {
                Method::None => Secret::None,
                Method::Basic | Method::Post => Secret::OfId,
            },
        })
    }

    /// The client that a request to the token endpoint is of, with its id.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        params: &Params,
        keys: &Keyring,
    ) -> Result<(String, Client), OAuthError> {
        let refused = || {
            OAuthError::new(
                Code::InvalidClient,
                "the client is unknown, or its secret is wrong",
            )
        };
        let basic = basic_credentials(headers)?;
        let in_form = params.one("client_id")?;
        let secret_in_form = params.one("client_secret")?;
        let (ids, secrets) = match (basic, in_form) {
            (Some(_), _) if secret_in_form.is_some() => {
                return Err(OAuthError::new(
                    Code::InvalidRequest,
                    "the client is authenticated in two ways; use one",
                ));
            }
            (Some(basic), in_form) => {
                let mut ids = basic.ids();
                ids.retain(|id| in_form.is_none_or(|other| other == *id));
                if ids.is_empty() {
                    return Err(OAuthError::new(
                        Code::InvalidRequest,
                        "client_id is not that of Authorization",
                    ));
                }
                (ids, basic.secrets())
            }
            (None, Some(id)) => (
                vec![id.to_owned()],
                secret_in_form.into_iter().map(str::to_owned).collect(),
            ),
            (None, None) => return Err(refused()),
        };
        let mut found = Err(Unread::Malformed);
        for id in ids {
            match self.find(&id, keys) {
                Ok(client) => {
                    found = Ok((id, client));
                    break;
                }
                Err(Unread::Later) => found = Err(Unread::Later),
                Err(Unread::Malformed) => {}
            }
        }
        let (id, client) = found.map_err(|unread| match unread {
            Unread::Malformed => refused(),
            // Told that it is unknown, it would forget its registration.
            Unread::Later => OAuthError::later(),
        })?;
        let is_right = match &client.secret {
            Secret::None => secrets.iter().all(String::is_empty),
            Secret::OfId => secrets.iter().any(|secret| {
                from_base64url(secret)
                    .is_some_and(|tag| keys.has_tag(Purpose::ClientSecret, id.as_bytes(), &tag))
            }),
            Secret::Fixed(expected) => secrets.iter().any(|secret| is_same(secret, expected)),
        };
        match is_right {
            true => Ok((id, client)),
            false => Err(refused()),
        }
    }
}

/// `Authorization: Basic` (RFC 7617), as it is and as RFC 6749 §2.3.1 would have it, form-encoded:
/// clients do either.
struct Basic {
    plain: (String, String),
}

impl Basic {
    fn ids(&self) -> Vec<String> {
        vec![self.plain.0.clone(), decoded(&self.plain.0)]
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.plain.1.clone(), decoded(&self.plain.1)]
    }
}

fn decoded(text: &str) -> String {
    // One value without a name: everything else would end it.
    let text = text.replace('&', "%26").replace('=', "%3D");
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    pairs
        .next()
        .map(|(value, _)| value.into_owned())
        .unwrap_or_default()
}

fn basic_credentials(headers: &HeaderMap) -> Result<Option<Basic>, OAuthError> {
    let malformed = || {
        OAuthError::new(
            Code::InvalidClient,
            "Authorization is not Basic with id and secret",
        )
    };
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(malformed());
    }
    let value = value.to_str().map_err(|_| malformed())?;
    let (scheme, credentials) = value.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Err(malformed());
    }
    let text = STANDARD.decode(credentials.trim()).ok();
    let text = text
        .and_then(|text| String::from_utf8(text).ok())
        .ok_or_else(malformed)?;
    let (id, secret) = text.split_once(':').ok_or_else(malformed)?;
    Ok(Some(Basic {
        plain: (id.to_owned(), secret.to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::keyring::ProxyKeys;

    #[test]
    fn an_id_that_is_too_long_is_unknown_though_it_was_made_here() {
        let keys = Keyring::new(&ProxyKeys::generate(), "https://mcp.example.com").unwrap();
        let clients = Clients {
            fixed: Vec::new(),
            registration: true,
        };
        let registration = |length: usize| Registration {
            redirect_uris: vec![format!("https://client.example/{}", "a".repeat(length))],
            name: None,
            method: Method::None,
            application_type: ApplicationType::Native,
            may_refresh: true,
            issued_at: 0,
        };
        for (length, is_known) in [(1_300, true), (1_600, false)] {
            let sealed = keys.seal_versioned(Purpose::ClientId, b"", &registration(length));
            let id = base64url(&sealed.unwrap());
            assert_eq!(id.len() <= MOST_ID, is_known);
            assert_eq!(id_of(&registration(length), &keys).is_some(), is_known);
            assert_eq!(clients.find(&id, &keys).is_ok(), is_known, "{length}");
        }
    }
}
