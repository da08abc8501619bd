//! The clients of this server: those that registered themselves, whose registration is in their id,
//! and those that the operator configured.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entra_http::Problems;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Value;
use tower_entra_auth::entra_jwt_core::integration::{Escaped, EscapedUrl};
use url::form_urlencoded;

use super::super::{ErrorCode, OAuthError, Parameters, Scopes};
use super::difference::{by_nearness, difference};
use super::{
    AllowList, AuthMethod, Entry, RedirectTarget, RedirectUri, Registration, UnfitUri, registration,
};
use crate::crypto::{base64url, from_base64url, hash, is_same};
use crate::keys::{Keyring, Purpose, Unreadable};
use crate::telemetry::Finding;

/// Description of `invalid_client` for an id that this server cannot read: the client's remedy, and
/// its user's.
const UNKNOWN: &str = "this client_id is not known here: register again, or remove this server \
                       from the application and add it again";

/// A client that the operator configures in advance.
///
/// It is for products in which a user types in a client id, and perhaps a secret.
#[derive(Clone)]
#[must_use = "a client is unknown to the server until it is passed to the builder"]
pub struct PreregisteredClient {
    id: String,
    secret: Option<String>,
    name: Option<String>,
    redirect_uris: Vec<String>,
}

impl PreregisteredClient {
    /// Creates a client without a secret.
    ///
    /// Only PKCE distinguishes it from other clients.
    pub fn public(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            secret: None,
            name: None,
            redirect_uris: Vec::new(),
        }
    }

    /// Creates a client with a secret, which it sends by `client_secret_basic` or
    /// `client_secret_post`.
    pub fn confidential(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            secret: Some(secret.into()),
            ..Self::public(id)
        }
    }

    /// Adds a redirect URI.
    ///
    /// At least one is required.
    pub fn redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uris.push(uri.into());
        self
    }

    /// Sets the name that users read.
    ///
    /// Default: the client's id.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Returns all faults of pre-registered clients.
    fn problems(clients: &[Self], allow_list: &AllowList) -> Vec<String> {
        let mut problems = Vec::new();
        for (index, client) in clients.iter().enumerate() {
            let id = Escaped(&client.id);
            let is_plain = |byte: u8| matches!(byte, b'!'..=b'~') && byte != b':';
            if client.id.is_empty() || client.id.len() > 256 || !client.id.bytes().all(is_plain) {
                problems.push(format!(
                    "\"{id}\" is not an id of 1 to 256 visible characters without a colon"
                ));
            }
            if clients[..index].iter().any(|other| other.id == client.id) {
                problems.push(format!("two clients have the id \"{id}\""));
            }
            let secret = client.secret.as_ref();
            if secret.is_some_and(|secret| secret.len() < 16) {
                problems.push(format!(
                    "the secret of \"{id}\" has fewer than 16 characters"
                ));
            }
            if client.redirect_uris.is_empty() {
                problems.push(format!("\"{id}\" has no redirect_uri(..)"));
            }
            for uri in &client.redirect_uris {
                if let Err(fault) = RedirectUri::parse(uri, allow_list) {
                    let remedy = match fault {
                        UnfitUri::UnknownScheme => {
                            "; to allow the scheme, add it to private_use_schemes(..)"
                        }
                        UnfitUri::Unsafe(_) | UnfitUri::NotListed => "",
                    };
                    let uri = EscapedUrl(uri);
                    problems.push(format!(
                        "the redirect URI \"{uri}\" of \"{id}\" {fault}{remedy}"
                    ));
                }
            }
        }
        problems
    }
}

impl fmt::Debug for PreregisteredClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redirect_uris = self.redirect_uris.iter().map(|uri| EscapedUrl(uri));
        let redirect_uris: Vec<_> = redirect_uris.collect();
        formatter
            .debug_struct("PreregisteredClient")
            .field("id", &self.id)
            .field("has_secret", &self.secret.is_some())
            .field("redirect_uris", &redirect_uris)
            .finish_non_exhaustive()
    }
}

/// A client, registered by itself or by the operator.
pub(crate) struct Client {
    /// The hash of the client id, used in the store and in the log.
    pub(crate) hash: String,
    pub(crate) name: Option<String>,
    redirect_uris: Vec<String>,
    pub(crate) may_refresh: bool,
    /// `true` if the operator configured the client, and so vouches for it.
    pub(crate) is_preregistered: bool,
    secret: Secret,
}

enum Secret {
    /// The client has no secret.
    None,
    /// The secret is derived from the client id.
    OfId,
    Fixed(String),
}

/// The clients of this server, and their registration.
#[derive(Debug)]
pub(crate) struct ClientRegistry {
    preregistered: Vec<PreregisteredClient>,
    can_register: bool,
    allow_list: AllowList,
    keys: Arc<Keyring>,
    /// The URL of this server.
    issuer: String,
}

/// Maximum length of a client id, in bytes, because it is part of URLs.
pub(crate) const MAX_CLIENT_ID: usize = 2_048;

impl Client {
    /// Returns whether the client proves itself by a secret.
    pub(crate) fn has_secret(&self) -> bool {
        !matches!(self.secret, Secret::None)
    }

    /// Returns the client's redirect URIs, ordered by the number of parts that differ from `sent`.
    pub(crate) fn nearest_redirect_uris(&self, sent: &str) -> Vec<&str> {
        let compared = by_nearness(sent, &self.redirect_uris);
        compared.into_iter().map(|(_, uri)| uri).collect()
    }
}

impl ClientRegistry {
    /// Builds the registry from the pre-registered clients and the settings.
    ///
    /// `can_register` says whether other clients may register themselves. `allow_list` and
    /// `schemes` are the redirect URIs and schemes that the operator permits. Adds every fault to
    /// `problems`, and returns `None` if there is one.
    pub(crate) fn new(
        (preregistered, can_register): (Vec<PreregisteredClient>, bool),
        (allow_list, schemes): (Option<&[String]>, &[String]),
        (keys, issuer): (Arc<Keyring>, &str),
        problems: &mut Problems,
    ) -> Option<Self> {
        let before = problems.len();
        let list = allow_list.map_or_else(|| Ok(AllowList::default()), AllowList::new);
        let list = list.map_err(Entry::problem);
        let list = problems.take("clients.allowed_redirects", list);
        let list = list.unwrap_or_default().with_schemes(schemes);
        let list = list.map_err(|entry| {
            let shown = EscapedUrl(entry);
            format!(
                "\"{shown}\" is not an application's own scheme, such as notes-desk: or \
                 com.example.app:"
            )
        });
        let list = problems.take("clients.private_use_schemes", list);
        let allow_list = list.unwrap_or_default();
        for text in PreregisteredClient::problems(&preregistered, &allow_list) {
            problems.add("clients.preregistered", text);
        }
        if !can_register && preregistered.is_empty() {
            problems.add(
                "clients.preregistered",
                "no client is pre-registered, and clients cannot register themselves, so no user \
                 could sign in",
            );
        }
        (problems.len() == before).then(|| Self {
            preregistered,
            can_register,
            allow_list,
            keys,
            issuer: issuer.to_owned(),
        })
    }

    pub(crate) fn can_register(&self) -> bool {
        self.can_register
    }

    /// Registers a client by its metadata in JSON, and returns the response document (RFC 7591
    /// §3.2.1).
    ///
    /// Nothing is stored.
    pub(crate) fn register(
        &self,
        metadata: &[u8],
        scopes: &Scopes,
        now: u64,
    ) -> Result<Value, OAuthError> {
        let (registration, scope) = registration::parse(metadata, &self.allow_list, now)?;
        let (id, secret) = self.id_of(&registration).ok_or_else(|| {
            OAuthError::new(
                ErrorCode::InvalidClientMetadata,
                "the name and the redirect URIs together are too long",
            )
        })?;
        let granted = scope.and_then(|scope| scopes.grant(Some(&scope)).ok());
        Ok(registration::document(&registration, &id, secret, granted))
    }

    /// Returns the id of a registration, and the secret if the client has one; `None` if the id is
    /// too long.
    fn id_of(&self, registration: &Registration) -> Option<(String, Option<String>)> {
        let id = self.keys.seal(Purpose::ClientId, b"", registration)?;
        let id = Some(base64url(&id)).filter(|id| id.len() <= MAX_CLIENT_ID)?;
        let secret = match registration.method {
            AuthMethod::None => None,
            AuthMethod::Basic | AuthMethod::Post => {
                let tag = self.keys.tag(Purpose::ClientSecret, id.as_bytes());
                Some(base64url(&tag))
            }
        };
        Some((id, secret))
    }

    /// Finds a client by its id.
    pub(crate) fn find(&self, id: &str) -> Result<Client, Unreadable> {
        if let Some(known) = self.preregistered.iter().find(|known| known.id == id) {
            return Ok(Client {
                hash: hash(id),
                name: Some(known.name.clone().unwrap_or_else(|| id.to_owned())),
                redirect_uris: known.redirect_uris.clone(),
                may_refresh: true,
                is_preregistered: true,
                secret: known.secret.clone().map_or(Secret::None, Secret::Fixed),
            });
        }
        if !self.can_register || id.len() > MAX_CLIENT_ID {
            return Err(Unreadable::Malformed);
        }
        let sealed = from_base64url(id).ok_or(Unreadable::Malformed)?;
        let registration: Registration = self.keys.open(Purpose::ClientId, b"", &sealed)?;
        Ok(Client {
            hash: hash(id),
            name: registration.name,
            redirect_uris: registration.redirect_uris,
            may_refresh: registration.may_refresh,
            is_preregistered: false,
            secret: match registration.method {
                AuthMethod::None => Secret::None,
                AuthMethod::Basic | AuthMethod::Post => Secret::OfId,
            },
        })
    }

    /// Returns the redirect target of a request, if the client registered its URI and the operator
    /// permits it today. The error says whether the client registered the URI.
    pub(crate) fn target(
        &self,
        client: &Client,
        uri: &str,
        state: Option<&str>,
    ) -> Result<RedirectTarget, (bool, Finding)> {
        let registered = &client.redirect_uris;
        let uri = match RedirectUri::parse(uri, &self.allow_list) {
            Ok(parsed) if registered.iter().any(|other| parsed.is(other)) => parsed,
            Err(fault) if registered.iter().any(|other| other == uri) => {
                let reason = format!("redirect_uri is registered, but {fault}");
                let finding = Finding::from(reason).found(EscapedUrl(uri).to_string());
                return Err((true, finding));
            }
            _ => return Err((false, difference(uri, registered))),
        };
        Ok(self.target_at(uri, state))
    }

    /// Returns the redirect target of an earlier request again, if its redirect URI is still
    /// permitted.
    pub(crate) fn target_again(&self, uri: &str, state: Option<&str>) -> Option<RedirectTarget> {
        let uri = RedirectUri::parse(uri, &self.allow_list).ok()?;
        Some(self.target_at(uri, state))
    }

    fn target_at(&self, uri: RedirectUri, state: Option<&str>) -> RedirectTarget {
        RedirectTarget {
            uri,
            state: state.map(str::to_owned),
            issuer: self.issuer.clone(),
        }
    }

    /// Returns whether a browser may be redirected to the target before the user agreed to anything
    /// (RFC 9700 §4.11.2).
    ///
    /// An attacker can register any address, and lead users to a request for it.
    pub(crate) fn vouches_for(&self, client: &Client, target: &RedirectTarget) -> bool {
        client.is_preregistered || self.allow_list.vouches_for(&target.uri)
    }

    /// Authenticates the client of a request to the token or revocation endpoint, and returns its
    /// id and the client.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        parameters: &Parameters,
    ) -> Result<(String, Client), OAuthError> {
        let refused = |text: &'static str| OAuthError::new(ErrorCode::InvalidClient, text);
        let basic = basic_credentials(headers)?;
        let in_form = parameters.one("client_id")?;
        let secret_in_form = parameters.one("client_secret")?;
        let (ids, secrets) = match (basic, in_form) {
            (Some(_), _) if secret_in_form.is_some() => {
                return Err(OAuthError::new(
                    ErrorCode::InvalidRequest,
                    "the client uses two methods of authentication; use only one",
                ));
            }
            (Some(basic), in_form) => {
                let mut ids = basic.ids();
                ids.retain(|id| in_form.is_none_or(|other| other == *id));
                if ids.is_empty() {
                    return Err(OAuthError::new(
                        ErrorCode::InvalidRequest,
                        "client_id differs from the id in Authorization",
                    ));
                }
                (ids, basic.secrets())
            }
            (None, Some(id)) => (
                vec![id.to_owned()],
                secret_in_form.into_iter().map(str::to_owned).collect(),
            ),
            (None, None) => return Err(refused("the request has no client_id")),
        };
        let mut found = Err(Unreadable::Malformed);
        let is_document = ids.iter().any(|id| id.starts_with("https://"));
        for id in ids {
            match self.find(&id) {
                Ok(client) => {
                    found = Ok((id, client));
                    break;
                }
                Err(Unreadable::Later) => found = Err(Unreadable::Later),
                Err(Unreadable::Malformed) => {}
            }
        }
        let (id, client) = found.map_err(|unreadable| match unreadable {
            // The URL of such a document is `https` (draft-ietf-oauth-client-id-metadata-document).
            Unreadable::Malformed if is_document && self.can_register => OAuthError::new(
                ErrorCode::InvalidClient,
                "this server does not read client id metadata documents; register at its \
                 registration_endpoint",
            ),
            Unreadable::Malformed => refused(UNKNOWN),
            // With `invalid_client`, the client would discard its registration.
            Unreadable::Later => OAuthError::later(),
        })?;
        let is_right = match &client.secret {
            Secret::None => secrets.iter().all(String::is_empty),
            Secret::OfId => secrets.iter().any(|secret| {
                let tag = from_base64url(secret);
                let is_of = |tag: Vec<u8>| {
                    let purpose = Purpose::ClientSecret;
                    self.keys.has_tag(purpose, id.as_bytes(), &tag)
                };
                tag.is_some_and(is_of)
            }),
            Secret::Fixed(expected) => secrets.iter().any(|secret| is_same(secret, expected)),
        };
        match is_right {
            true => Ok((id, client)),
            false => Err(refused(match client.secret {
                Secret::None => "this client has no secret, so send none",
                _ if secrets.iter().all(String::is_empty) => "the client's secret is missing",
                _ => "the client's secret is wrong",
            })),
        }
    }
}

/// Credentials from `Authorization: Basic` (RFC 7617).
///
/// They are compared as sent, and form-decoded as in RFC 6749 §2.3.1. Clients send either.
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
    // The text is one name without a value. A `&` or `=` would otherwise end it.
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
            ErrorCode::InvalidClient,
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
    use super::super::ApplicationType;
    use super::*;
    use crate::keys::ProxyKeys;

    #[test]
    fn an_id_that_is_too_long_is_unknown_though_it_was_made_here() {
        let keys = Keyring::new(&ProxyKeys::generate(), "https://mcp.example.com").unwrap();
        let keys = (Arc::new(keys), "https://mcp.example.com");
        let mut problems = Problems::new("cannot know clients");
        let clients =
            ClientRegistry::new((Vec::new(), true), (None, &[]), keys, &mut problems).unwrap();
        let registration = |length: usize| Registration {
            redirect_uris: vec![format!("https://client.example/{}", "a".repeat(length))],
            name: None,
            method: AuthMethod::None,
            application_type: ApplicationType::Native,
            may_refresh: true,
            issued_at: 0,
        };
        for (length, is_known) in [(1_300, true), (1_600, false)] {
            let registration = registration(length);
            let sealed = clients.keys.seal(Purpose::ClientId, b"", &registration);
            let id = base64url(&sealed.unwrap());
            assert_eq!(id.len() <= MAX_CLIENT_ID, is_known);
            assert_eq!(clients.id_of(&registration).is_some(), is_known);
            assert_eq!(clients.find(&id).is_ok(), is_known, "{length}");
        }
    }
}
