//! The requests to the token endpoint.

use std::fmt;

use bytes::Bytes;
use form_urlencoded::Serializer;

use crate::credential::{Proof, Secret};

/// One request for tokens: a grant, the scopes, and a claims request if there is one. Sent by
/// [`ConfidentialClient::send`](crate::ConfidentialClient::send).
///
/// The scopes are always said, in full (`api://…/Reports.Read`, `offline_access`), also on a
/// refresh: without them Entra guesses, and guesses Microsoft Graph. They are of one resource;
/// `resource` itself is never sent, which Entra v2 refuses.
///
/// ```
/// use entra_confidential_client::{AuthorizationCode, TokenRequest};
///
/// # let (code, code_verifier, refresh_token, token) = ("", "", "", "");
/// let scopes = ["api://6e74172b-be56-4843-9ff4-e66a39bb12e3/Reports.Read", "offline_access"];
///
/// let redeem = TokenRequest::authorization_code(
///     AuthorizationCode {
///         code,
///         redirect_uri: "https://app.contoso.com/callback",
///         code_verifier,
///     },
///     scopes,
/// );
/// let refresh = TokenRequest::refresh_token(refresh_token, scopes);
/// let app_only = TokenRequest::client_credentials(["https://graph.microsoft.com/.default"]);
/// let downstream = TokenRequest::on_behalf_of(token, ["https://graph.microsoft.com/User.Read"])
///     .claims(r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#);
/// ```
#[derive(Clone)]
pub struct TokenRequest {
    grant: Grant,
    scopes: Vec<String>,
    claims: Option<String>,
    correlation_id: Option<String>,
}

#[derive(Clone)]
enum Grant {
    AuthorizationCode {
        code: Secret,
        redirect_uri: String,
        code_verifier: Secret,
    },
    RefreshToken(Secret),
    ClientCredentials,
    OnBehalfOf(Secret),
}

/// The authorization endpoint's answer, with what was sent there.
#[derive(Clone, Copy)]
pub struct AuthorizationCode<'a> {
    /// `code` of the callback.
    pub code: &'a str,
    /// `redirect_uri`, exactly as it was sent to the authorization endpoint.
    pub redirect_uri: &'a str,
    /// The PKCE code verifier whose challenge was sent there (RFC 7636).
    pub code_verifier: &'a str,
}

/// The secrets in a request, to keep them out of what is printed about its answer.
#[derive(Default)]
pub(crate) struct SentSecrets(Vec<Secret>);

impl TokenRequest {
    /// Redeems an authorization code, once: such a request is never repeated.
    pub fn authorization_code<S: Into<String>>(
        code: AuthorizationCode<'_>,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        let AuthorizationCode {
            code,
            redirect_uri,
            code_verifier,
        } = code;
        Self::new(
            Grant::AuthorizationCode {
                code: code.into(),
                redirect_uri: redirect_uri.to_owned(),
                code_verifier: code_verifier.into(),
            },
            scopes,
        )
    }

    /// Requests new tokens for a refresh token. Entra answers with another refresh token and leaves the old
    /// one good.
    pub fn refresh_token<S: Into<String>>(
        refresh_token: impl Into<Secret>,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::new(Grant::RefreshToken(refresh_token.into()), scopes)
    }

    /// Requests a token for the application itself. Entra takes one scope here, `{resource}/.default`.
    pub fn client_credentials<S: Into<String>>(scopes: impl IntoIterator<Item = S>) -> Self {
        Self::new(Grant::ClientCredentials, scopes)
    }

    /// Requests a token for a downstream API on behalf of the user of an access token for this
    /// application. It must be sent to the tenant of that token.
    pub fn on_behalf_of<S: Into<String>>(
        access_token: impl Into<Secret>,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::new(Grant::OnBehalfOf(access_token.into()), scopes)
    }

    /// Adds a claims request (OpenID Connect Core §5.5), sent as it is: what a claims challenge said, or
    /// the capability `cp1`. Default: none.
    #[must_use]
    pub fn claims(mut self, claims: impl Into<String>) -> Self {
        self.claims = Some(claims.into());
        self
    }

    /// Sets the id that Entra's sign-in log and the caller's own have in common (`client-request-id`): a
    /// GUID, such as that of the authorization request. Default: a random one.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Returns the correlation id that was set.
    pub(crate) fn own_correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    fn new<S: Into<String>>(grant: Grant, scopes: impl IntoIterator<Item = S>) -> Self {
        Self {
            grant,
            scopes: scopes.into_iter().map(Into::into).collect(),
            claims: None,
            correlation_id: None,
        }
    }

    /// Returns whether Entra answers the same if it gets the request twice. A code is gone once it was
    /// seen, and a second use of it is taken for theft (RFC 6749 §4.1.2).
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self.grant, Grant::AuthorizationCode { .. })
    }

    /// Returns what is wrong with it, as far as can be told without Entra.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.scopes.is_empty() {
            return Some("no scope is requested");
        }
        if !self.scopes.iter().all(|scope| is_scope(scope)) {
            return Some("a scope is empty or has a space, a quote or a control character in it");
        }
        let is_guid = |id: &String| uuid::Uuid::try_parse(id).is_ok();
        if !self.correlation_id.iter().all(is_guid) {
            return Some("the correlation id is no GUID");
        }
        let required: &[&Secret] = match &self.grant {
            Grant::AuthorizationCode {
                code,
                code_verifier,
                ..
            } => &[code, code_verifier],
            Grant::RefreshToken(token) | Grant::OnBehalfOf(token) => &[token],
            Grant::ClientCredentials => &[],
        };
        let is_empty = |secret: &&Secret| secret.expose_secret().is_empty();
        required
            .iter()
            .any(is_empty)
            .then_some("the code, its verifier or the token is empty")
    }

    /// Makes the form with the proof of who sends it, and the list of what must not be printed of it.
    pub(crate) fn form(&self, client_id: &str, proof: &Proof) -> (Bytes, SentSecrets) {
        let mut form = Serializer::new(String::new());
        let mut secrets = SentSecrets::default();
        let mut secret = |form: &mut Serializer<'_, String>, name: &str, value: &Secret| {
            form.append_pair(name, value.expose_secret());
            secrets.0.push(value.clone());
        };
        form.append_pair("client_id", client_id);
        form.append_pair("grant_type", self.grant.grant_type());
        form.append_pair("scope", &self.scopes.join(" "));
        match &self.grant {
            Grant::AuthorizationCode {
                code,
                redirect_uri,
                code_verifier,
            } => {
                secret(&mut form, "code", code);
                secret(&mut form, "code_verifier", code_verifier);
                form.append_pair("redirect_uri", redirect_uri);
            }
            Grant::RefreshToken(token) => secret(&mut form, "refresh_token", token),
            Grant::ClientCredentials => {}
            Grant::OnBehalfOf(token) => {
                secret(&mut form, "assertion", token);
                form.append_pair("requested_token_use", "on_behalf_of");
            }
        }
        match proof {
            Proof::Secret(value) => secret(&mut form, "client_secret", value),
            Proof::Assertion(assertion) => {
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                form.append_pair("client_assertion_type", kind);
                secret(&mut form, "client_assertion", assertion);
            }
        }
        if let Some(claims) = &self.claims {
            form.append_pair("claims", claims);
        }
        (form.finish().into(), secrets)
    }
}

impl Grant {
    fn grant_type(&self) -> &'static str {
        match self {
            Self::AuthorizationCode { .. } => "authorization_code",
            Self::RefreshToken(_) => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::OnBehalfOf(_) => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        }
    }
}

impl SentSecrets {
    /// Returns whether a text has one of them in it, as it is or as the form has it.
    pub(crate) fn are_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| {
            let encoded = form_urlencoded::byte_serialize(secret.expose_secret().as_bytes());
            text.contains(secret.expose_secret()) || text.contains(&encoded.collect::<String>())
        })
    }
}

/// Returns whether the text is a scope (RFC 6749 §3.3).
fn is_scope(text: &str) -> bool {
    let is_allowed = |byte| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~');
    !text.is_empty() && text.bytes().all(is_allowed)
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TokenRequest")
            .field("grant_type", &self.grant.grant_type())
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AuthorizationCode<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AuthorizationCode")
            .field("redirect_uri", &self.redirect_uri)
            .finish_non_exhaustive()
    }
}
