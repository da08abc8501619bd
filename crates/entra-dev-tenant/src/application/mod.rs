//! Applications: their registration and their credentials.

mod authentication;
mod certificate;
mod external_issuer;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(crate) use self::authentication::authenticate;
pub use self::external_issuer::{ExternalIssuer, ExternalToken};

use self::certificate::from_der;

use crate::entra_error::EntraError;
use crate::text::is_guid;

/// An application that is registered in the tenant.
///
/// It is a client that asks for tokens, an API that they are for, or, as in most cases, both.
///
/// ```
/// use entra_dev_tenant::{AppRegistration, DevTenant};
///
/// # async fn start() -> std::io::Result<DevTenant> {
/// let app = AppRegistration::new("6e74172b-be56-4843-9ff4-e66a39bb12e3")
///     .secret("dev-secret")
///     .redirect_uri("http://127.0.0.1:8080/auth/callback")
///     .scope("Reports.Read");
/// DevTenant::builder().register(app).start().await
/// # }
/// ```
///
/// # Defaults
/// The application has no credential, so that it is a public client. It has no redirect URI, no
/// application permission and no app role of users. Its Application ID URI is `api://` and its id.
/// Any scope counts as exposed, until [`scope`](Self::scope) names one. Tokens for it are v2.
#[derive(Clone)]
#[must_use = "an application has no effect until it is registered with a tenant"]
pub struct AppRegistration {
    pub(crate) id: String,
    name: Option<String>,
    secrets: Vec<Secret>,
    certificates: Vec<Certificate>,
    federated: Vec<FederatedCredential>,
    redirect_uris: Vec<RedirectUri>,
    pub(crate) roles: Vec<String>,
    pub(crate) user_roles: Vec<String>,
    pub(crate) app_id_uri: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) has_v1_tokens: bool,
    /// `true` if one of the given certificates cannot be used.
    has_unreadable_certificate: bool,
}

#[derive(Clone)]
struct Secret {
    value: String,
    is_expired: bool,
}

/// The public half of a certificate. Its private key signs an application's assertions.
#[derive(Clone)]
struct Certificate {
    /// The value of `x5t`.
    sha1: String,
    /// The value of `x5t#S256`.
    sha256: String,
    /// `SubjectPublicKeyInfo` of an RSA key, in DER.
    public_key: Vec<u8>,
}

/// A federated credential: an issuer and a subject whose tokens an application trusts.
#[derive(Clone)]
struct FederatedCredential {
    issuer: ExternalIssuer,
    subject: String,
    audience: String,
}

/// A redirect URI and its platform.
#[derive(Clone)]
struct RedirectUri {
    uri: String,
    platform: Platform,
}

/// The platform of a redirect URI. It determines who may redeem the codes that are sent there.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Platform {
    /// "Web", or "Mobile and desktop applications": the client is a program.
    Web,
    /// "Single-page application": the client is a script in a browser.
    SinglePage,
}

/// The default audience of federated credentials.
const TOKEN_EXCHANGE: &str = "api://AzureADTokenExchange";

impl AppRegistration {
    /// Creates the registration of an application with this application (client) id, which must be
    /// a GUID.
    ///
    /// With any other text, the tenant does not [start](crate::DevTenantBuilder::start).
    pub fn new(client_id: &str) -> Self {
        Self {
            id: client_id.to_ascii_lowercase(),
            name: None,
            secrets: Vec::new(),
            certificates: Vec::new(),
            federated: Vec::new(),
            redirect_uris: Vec::new(),
            roles: Vec::new(),
            user_roles: Vec::new(),
            app_id_uri: None,
            scopes: Vec::new(),
            has_v1_tokens: false,
            has_unreadable_certificate: false,
        }
    }

    /// Sets the name that the sign-in page shows.
    ///
    /// Default: the application's id.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Adds a client secret.
    pub fn secret(self, value: &str) -> Self {
        self.with_secret(value, false)
    }

    /// Adds a client secret that has expired.
    ///
    /// A client that uses it gets AADSTS7000222.
    pub fn expired_secret(self, value: &str) -> Self {
        self.with_secret(value, true)
    }

    /// Adds a certificate, as PEM, of an RSA key of 2048 bits or more.
    ///
    /// The key signs client assertions (`private_key_jwt`) with PS256 or RS256. They name the
    /// certificate by `x5t#S256` or `x5t`.
    pub fn certificate(self, pem: &str) -> Self {
        self.with_certificate(der_of(pem).and_then(|der| from_der(&der)))
    }

    /// Adds a certificate like [`certificate`](Self::certificate), as DER.
    pub fn certificate_der(self, der: &[u8]) -> Self {
        self.with_certificate(from_der(der))
    }

    /// Adds a federated credential for this issuer and subject.
    ///
    /// A token of the issuer for the subject, with the audience `api://AzureADTokenExchange`,
    /// authenticates the application like an assertion signed with a certificate's key.
    pub fn trust(self, issuer: &ExternalIssuer, subject: &str) -> Self {
        self.trust_for_audience(issuer, subject, TOKEN_EXCHANGE)
    }

    /// Adds a federated credential like [`trust`](Self::trust), with another audience.
    pub fn trust_for_audience(
        mut self,
        issuer: &ExternalIssuer,
        subject: &str,
        audience: &str,
    ) -> Self {
        self.federated.push(FederatedCredential {
            issuer: issuer.clone(),
            subject: subject.to_owned(),
            audience: audience.to_owned(),
        });
        self
    }

    /// Adds a redirect URI of the platform "Web" or "Mobile and desktop applications". The tenant
    /// treats both alike.
    ///
    /// A request's redirect URI must be the same text. Only the port of `http://localhost` and
    /// `http://127.0.0.1` is ignored, as Entra ignores it. A program redeems the codes that are sent
    /// there: a token request with an `Origin` header is refused (AADSTS9002326).
    pub fn redirect_uri(self, uri: &str) -> Self {
        self.with_redirect_uri(uri, Platform::Web)
    }

    /// Adds a redirect URI of the platform "Single-page application" (`spa`).
    ///
    /// It is compared like a [`redirect_uri`](Self::redirect_uri). An authorization request needs
    /// PKCE (AADSTS9002325). A script redeems the codes that are sent there: the token request must
    /// have an `Origin` header (AADSTS9002327) and no credential of the application (AADSTS700025).
    /// The refresh tokens expire 24 hours after the sign-in (AADSTS700084).
    pub fn spa_redirect_uri(self, uri: &str) -> Self {
        self.with_redirect_uri(uri, Platform::SinglePage)
    }

    /// Adds an application permission that is granted to the application.
    ///
    /// It is a role of the application's `client_credentials` tokens.
    pub fn role(mut self, name: &str) -> Self {
        self.roles.push(name.to_owned());
        self
    }

    /// Adds an app role of this API that every user is assigned.
    ///
    /// It is a role of the access tokens that users who sign in get for this API.
    pub fn user_role(mut self, name: &str) -> Self {
        self.user_roles.push(name.to_owned());
        self
    }

    /// Adds a scope of this API that clients can request.
    ///
    /// The API exposes this scope. A request for a scope that is not exposed is refused with
    /// AADSTS650053.
    pub fn scope(mut self, name: &str) -> Self {
        self.scopes.push(name.to_owned());
        self
    }

    /// Sets the Application ID URI of this API, which is the prefix of its scopes in requests.
    pub fn app_id_uri(mut self, uri: &str) -> Self {
        self.app_id_uri = Some(uri.to_owned());
        self
    }

    /// Gives the tokens for this API the v1 format.
    ///
    /// New registrations at Entra get v1 tokens until `requestedAccessTokenVersion` is set to 2.
    pub fn v1_tokens(mut self) -> Self {
        self.has_v1_tokens = true;
        self
    }

    fn with_secret(mut self, value: &str, is_expired: bool) -> Self {
        self.secrets.push(Secret {
            value: value.to_owned(),
            is_expired,
        });
        self
    }

    fn with_redirect_uri(mut self, uri: &str, platform: Platform) -> Self {
        self.redirect_uris.push(RedirectUri {
            uri: uri.to_owned(),
            platform,
        });
        self
    }

    fn with_certificate(mut self, certificate: Option<Certificate>) -> Self {
        self.has_unreadable_certificate |= certificate.is_none();
        self.certificates.extend(certificate);
        self
    }

    /// Adds the settings of another registration with the same id.
    pub(crate) fn extend(&mut self, more: Self) {
        self.name = more.name.or(self.name.take());
        self.secrets.extend(more.secrets);
        self.certificates.extend(more.certificates);
        self.federated.extend(more.federated);
        self.redirect_uris.extend(more.redirect_uris);
        self.roles.extend(more.roles);
        self.user_roles.extend(more.user_roles);
        self.app_id_uri = more.app_id_uri.or(self.app_id_uri.take());
        self.scopes.extend(more.scopes);
        self.has_v1_tokens |= more.has_v1_tokens;
        self.has_unreadable_certificate |= more.has_unreadable_certificate;
    }

    /// Returns the reason why the application cannot be registered, if there is one.
    pub(crate) fn problem(&self) -> Option<String> {
        if !is_guid(&self.id) {
            return Some(format!(
                "application id: {:?} is not a GUID such as 6e74172b-be56-4843-9ff4-e66a39bb12e3",
                self.id
            ));
        }
        self.has_unreadable_certificate.then(|| {
            format!(
                "certificate of {}: expected an X.509 certificate with an RSA key of 2048 bits or \
                 more, as PEM that begins with -----BEGIN CERTIFICATE-----, or as DER",
                self.id
            )
        })
    }

    fn is_public(&self) -> bool {
        self.secrets.is_empty() && self.certificates.is_empty() && self.federated.is_empty()
    }

    pub(crate) fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }

    pub(crate) fn resource_uri(&self) -> String {
        match &self.app_id_uri {
            Some(uri) => uri.clone(),
            None => format!("api://{}", self.id),
        }
    }

    /// Returns the redirect URI that a request asks for, or the only registered one.
    pub(crate) fn requested_redirect_uri<'a>(
        &'a self,
        asked: Option<&'a str>,
    ) -> Result<&'a str, EntraError> {
        match (&self.redirect_uris[..], asked) {
            ([], _) => Err(EntraError::new(
                "invalid_request",
                500_113,
                "No reply address is registered for the application.",
            )),
            ([only], None) => Ok(&only.uri),
            (_, None) => {
                let message = "No reply address provided.";
                Err(EntraError::new("invalid_request", 900_971, message))
            }
            (_, Some(asked)) if self.platform(asked).is_some() => Ok(asked),
            (_, Some(asked)) => {
                let message = format!(
                    "The redirect URI '{asked}' specified in the request does not match the redirect \
                     URIs configured for the application '{}'. Make sure the redirect URI sent in the \
                     request matches one added to your application in the Azure portal.",
                    self.id,
                );
                Err(EntraError::new("invalid_request", 50_011, message))
            }
        }
    }

    /// Returns the platform of a redirect URI, or `None` if the URI is not registered. If several
    /// registered URIs differ only in a loopback port, the one with the same port counts, or else
    /// the first.
    pub(crate) fn platform(&self, uri: &str) -> Option<Platform> {
        let mut registered = self.redirect_uris.iter();
        let same = registered.find(|registered| registered.uri == uri);
        let found = same.or_else(|| {
            let asked = without_loopback_port(uri)?;
            let mut registered = self.redirect_uris.iter();
            registered.find(|registered| without_loopback_port(&registered.uri) == Some(asked))
        });
        found.map(|registered| registered.platform)
    }
}

/// Returns the first certificate in the text, in DER.
fn der_of(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (base64, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let base64: String = base64.split_ascii_whitespace().collect();
    STANDARD.decode(base64).ok()
}

/// Returns host and path of a loopback URI, without the port. A native application listens on any
/// free port (RFC 8252 §7.3).
fn without_loopback_port(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match authority.split_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) => return None,
        None => authority,
    };
    matches!(host, "localhost" | "127.0.0.1").then_some((host, path))
}

impl fmt::Debug for AppRegistration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uris = self.redirect_uris.iter().map(|registered| &registered.uri);
        formatter
            .debug_struct("AppRegistration")
            .field("id", &self.id)
            .field("redirect_uris", &uris.collect::<Vec<_>>())
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_port_of_loopback_is_ignored() {
        let app = AppRegistration::new("6e74172b-be56-4843-9ff4-e66a39bb12e3")
            .redirect_uri("http://localhost:1/callback")
            .redirect_uri("https://app.example/callback")
            .redirect_uri("http://app.example/callback");
        for (uri, is_registered) in [
            ("http://localhost:1/callback", true),
            ("http://localhost/callback", true),
            ("http://localhost:40401/callback", true),
            ("http://localhost:40401/Callback", false),
            ("http://localhost:1@evil.example/callback", false),
            ("http://localhost.evil.example/callback", false),
            ("http://127.0.0.1:1/callback", false),
            ("https://app.example/callback", true),
            ("https://app.example:8443/callback", false),
            ("http://app.example/callback", true),
            ("http://app.example:8080/callback", false),
            ("https://app.example/callback/", false),
        ] {
            assert_eq!(app.platform(uri).is_some(), is_registered, "{uri}");
        }
    }

    #[test]
    fn of_two_platforms_that_differ_in_the_port_the_same_port_decides_or_the_first_does() {
        let app = AppRegistration::new("6e74172b-be56-4843-9ff4-e66a39bb12e3")
            .redirect_uri("http://localhost:1/callback")
            .spa_redirect_uri("http://localhost:2/callback")
            .spa_redirect_uri("http://localhost:3/page");
        for (uri, is_single_page) in [
            ("http://localhost:1/callback", false),
            ("http://localhost:2/callback", true),
            ("http://localhost:4/callback", false),
            ("http://localhost:4/page", true),
        ] {
            let found = app.platform(uri) == Some(Platform::SinglePage);
            assert_eq!(found, is_single_page, "{uri}");
        }
    }
}
