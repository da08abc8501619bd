//! Requests to the token endpoint.

use std::fmt;

use bytes::Bytes;
use form_urlencoded::Serializer;

use crate::credential::{Proof, Secret};

/// A request for tokens: a grant, the scopes, and optionally a claims request.
///
/// [`ConfidentialClient::send`](crate::ConfidentialClient::send) sends it.
///
/// The request always names its scopes in full (`api://…/Reports.Read`, `offline_access`), also on
/// a refresh. Without scopes, Entra guesses them, and guesses Microsoft Graph. All scopes belong to
/// one resource. The parameter `resource` is never sent, because Entra v2 refuses it.
///
/// ```
/// use entra_confidential_client::{AuthorizationCode, TokenRequest};
///
/// # let (code, code_verifier, refresh_token, token) = ("", "", "", "");
/// let scopes = ["api://6e74172b-be56-4843-9ff4-e66a39bb12e3/Reports.Read", "offline_access"];
///
/// let code = AuthorizationCode::new(code)
///     .redirect_uri("https://app.contoso.com/callback")
///     .code_verifier(code_verifier);
/// let redeem = TokenRequest::authorization_code(code, scopes);
/// let refresh = TokenRequest::refresh_token(refresh_token, scopes);
/// let app_only = TokenRequest::client_credentials(["https://graph.microsoft.com/.default"]);
/// let downstream = TokenRequest::on_behalf_of(token, ["https://graph.microsoft.com/User.Read"])
///     .tenant("8a4925a9-fd8e-4866-b31c-f719fb05dce6")
///     .claims(r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#);
/// ```
#[derive(Clone)]
pub struct TokenRequest {
    grant: Grant,
    scopes: Vec<String>,
    tenant: Option<String>,
    claims: Option<String>,
    correlation_id: Option<String>,
}

#[derive(Clone)]
enum Grant {
    AuthorizationCode(AuthorizationCode),
    RefreshToken(Secret),
    ClientCredentials,
    OnBehalfOf(Secret),
}

/// The authorization code from a callback, with the values that were sent to the authorization
/// endpoint.
///
/// `redirect_uri` and `code_verifier` are required. If one of them is missing, the request is not
/// sent ([`Misconfigured`](crate::TokenErrorKind::Misconfigured)).
#[derive(Clone)]
pub struct AuthorizationCode {
    code: Secret,
    redirect_uri: Option<String>,
    code_verifier: Option<Secret>,
}

/// The secrets in a request. They are kept out of everything that is printed about its response.
#[derive(Default)]
pub(crate) struct SentSecrets(Vec<Secret>);

impl TokenRequest {
    /// Creates a request that redeems an authorization code.
    ///
    /// Such a request is repeated only if it never left this machine, because a code is valid once.
    pub fn authorization_code<S: Into<String>>(
        code: AuthorizationCode,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::new(Grant::AuthorizationCode(code), scopes)
    }

    /// Creates a request for new tokens in exchange for a refresh token.
    ///
    /// Entra returns another refresh token, and the old one stays valid.
    pub fn refresh_token<S: Into<String>>(
        refresh_token: impl Into<Secret>,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::new(Grant::RefreshToken(refresh_token.into()), scopes)
    }

    /// Creates a request for a token for the application itself.
    ///
    /// Entra accepts one scope here, `{resource}/.default`.
    pub fn client_credentials<S: Into<String>>(scopes: impl IntoIterator<Item = S>) -> Self {
        Self::new(Grant::ClientCredentials, scopes)
    }

    /// Creates a request for a token for a downstream API, on behalf of a user.
    ///
    /// `access_token` is the user's access token for this application. The request must be sent to
    /// the [tenant](Self::tenant) of that token.
    pub fn on_behalf_of<S: Into<String>>(
        access_token: impl Into<Secret>,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::new(Grant::OnBehalfOf(access_token.into()), scopes)
    }

    /// Sets the tenant that receives the request, instead of that of the client's
    /// [authority](crate::ConfidentialClientBuilder::authority).
    ///
    /// The tenant is named by its id or one of its domain names. The assertion of a
    /// [`Certificate`](crate::Certificate) is made for that tenant's token endpoint. Default: the
    /// tenant at the end of the authority.
    ///
    /// The following are [`Misconfigured`](crate::TokenErrorKind::Misconfigured), and nothing is
    /// sent:
    ///
    /// - a text with any character but ASCII letters, digits, `-` and `.`
    /// - a text that is empty, `.` or `..`, or longer than 253 bytes
    /// - `common`, `organizations` and `consumers`, because they are not one tenant
    /// - any tenant, if the authority ends in a user flow of Azure AD B2C
    ///
    /// This crate does not check that the tenant is the right one: for any tenant, it sends the
    /// credential to the authority's host. Take the tenant from a verified token.
    #[must_use]
    pub fn tenant(mut self, id: impl Into<String>) -> Self {
        self.tenant = Some(id.into());
        self
    }

    /// Adds a claims request (OpenID Connect Core §5.5), which is sent unchanged.
    ///
    /// It is, for example, the claims of a claims challenge, or the capability `cp1`. Default:
    /// none.
    #[must_use]
    pub fn claims(mut self, claims: impl Into<String>) -> Self {
        self.claims = Some(claims.into());
        self
    }

    /// Sets the id by which Entra's sign-in log and the caller's own log can be matched
    /// (`client-request-id`).
    ///
    /// It is a GUID, such as the one of the authorization request. Default: a random GUID.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Returns the tenant that [`tenant`](Self::tenant) set.
    pub(crate) fn own_tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Returns the correlation id that [`correlation_id`](Self::correlation_id) set.
    pub(crate) fn own_correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    fn new<S: Into<String>>(grant: Grant, scopes: impl IntoIterator<Item = S>) -> Self {
        Self {
            grant,
            scopes: scopes.into_iter().map(Into::into).collect(),
            tenant: None,
            claims: None,
            correlation_id: None,
        }
    }

    /// Returns the grant's name in OAuth.
    pub(crate) fn grant_type(&self) -> &'static str {
        self.grant.grant_type()
    }

    /// Returns whether Entra responds in the same way if it receives the request twice.
    ///
    /// A code cannot be used again once Entra has seen it: the server takes a second use for theft
    /// (RFC 6749 §4.1.2).
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self.grant, Grant::AuthorizationCode(_))
    }

    /// Returns the request's fault, as far as it can be found without Entra.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if self.scopes.is_empty() {
            return Some("no scope is requested");
        }
        if !self.scopes.iter().all(|scope| is_scope(scope)) {
            return Some("a scope is empty or has a space, a quote or a control character in it");
        }
        let is_guid = |id: &String| uuid::Uuid::try_parse(id).is_ok();
        if !self.correlation_id.iter().all(is_guid) {
            return Some("the correlation id is not a GUID");
        }
        match &self.grant {
            Grant::AuthorizationCode(code) => code.problem(),
            Grant::RefreshToken(token) | Grant::OnBehalfOf(token) => {
                is_empty(token).then_some("the token is empty")
            }
            Grant::ClientCredentials => None,
        }
    }

    /// Builds the form with the client's proof of identity, and the list of the secrets in it.
    pub(crate) fn form(&self, client_id: &str, proof: &Proof) -> (Bytes, SentSecrets) {
        let mut form = Serializer::new(String::new());
        let mut secrets = SentSecrets::default();
        let mut secret = |form: &mut Serializer<'_, String>, name: &str, value: &Secret| {
            form.append_pair(name, value.expose_secret());
            secrets.0.push(value.clone());
        };
        form.append_pair("client_id", client_id);
        form.append_pair("grant_type", self.grant_type());
        form.append_pair("scope", &self.scopes.join(" "));
        match &self.grant {
            Grant::AuthorizationCode(sent) => {
                secret(&mut form, "code", &sent.code);
                if let Some(code_verifier) = &sent.code_verifier {
                    secret(&mut form, "code_verifier", code_verifier);
                }
                if let Some(redirect_uri) = &sent.redirect_uri {
                    form.append_pair("redirect_uri", redirect_uri);
                }
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
            Self::AuthorizationCode(_) => "authorization_code",
            Self::RefreshToken(_) => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::OnBehalfOf(_) => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        }
    }
}

impl AuthorizationCode {
    /// Creates the authorization code from the callback's `code`.
    pub fn new(code: impl Into<Secret>) -> Self {
        Self {
            code: code.into(),
            redirect_uri: None,
            code_verifier: None,
        }
    }

    /// Sets `redirect_uri`, exactly as it was sent to the authorization endpoint.
    #[must_use]
    pub fn redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uri = Some(uri.into());
        self
    }

    /// Sets the PKCE code verifier whose challenge was sent to the authorization endpoint (RFC
    /// 7636).
    #[must_use]
    pub fn code_verifier(mut self, verifier: impl Into<Secret>) -> Self {
        self.code_verifier = Some(verifier.into());
        self
    }

    fn problem(&self) -> Option<&'static str> {
        if is_empty(&self.code) {
            Some("the authorization code is empty")
        } else if self.redirect_uri.as_deref().unwrap_or_default().is_empty() {
            Some("the authorization code has no redirect URI")
        } else if self.code_verifier.as_ref().is_none_or(is_empty) {
            Some("the authorization code has no code verifier")
        } else {
            None
        }
    }
}

impl SentSecrets {
    /// Returns whether a text contains one of the secrets, plain or form-encoded.
    pub(crate) fn are_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| {
            let encoded = form_urlencoded::byte_serialize(secret.expose_secret().as_bytes());
            text.contains(secret.expose_secret()) || text.contains(&encoded.collect::<String>())
        })
    }
}

fn is_empty(secret: &Secret) -> bool {
    secret.expose_secret().is_empty()
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
            .field("grant_type", &self.grant_type())
            .field("scopes", &self.scopes)
            .field("has_tenant", &self.tenant.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AuthorizationCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AuthorizationCode")
            .field("has_redirect_uri", &self.redirect_uri.is_some())
            .finish_non_exhaustive()
    }
}
