//! The audiences that a token may have.

use std::fmt;

use crate::identifier::ClientId;
use crate::json::JsonStr;
use crate::shown::EscapedUrl;

/// An accepted value of the claim `aud`, such as the API's Application ID URI.
#[derive(Clone, Eq, PartialEq)]
pub struct Audience(Box<str>);

/// The text cannot be the `aud` of an Entra token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .0)]
pub struct InvalidAudience(AudienceFault);

impl InvalidAudience {
    pub(crate) const TOO_LONG: Self = Self(AudienceFault::TooLong);
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum AudienceFault {
    /// The text is empty, or has white space or control characters.
    #[error("is empty or has white space; an App ID URI looks like api://orders.contoso.com")]
    Malformed,
    /// The text is longer than [`Audience::MAX_LENGTH`].
    #[error("longer than {} bytes", Audience::MAX_LENGTH)]
    TooLong,
    /// The text is a URI with a user name or password. Every client that asks for a token would see
    /// them.
    #[error("has a user name or password; remove it")]
    UserInfo,
    /// The text is a scope such as `api://…/.default`. Only the first part of it is the audience.
    #[error("this is a scope; remove /.default")]
    Scope,
    /// The audience is one of Microsoft's own APIs. Anyone with a token for that API could send it
    /// here, too.
    #[error("this is {0}, whose tokens are not meant for this API; name this API's own App ID URI")]
    MicrosoftApi(&'static str),
    /// The audience is Microsoft Graph, whose tokens only Graph can verify.
    #[error(
        "this is Microsoft Graph, whose tokens only Graph can verify; name this API's own App ID URI"
    )]
    Graph,
}

// The longest audience, with the slash that a token may have behind it, is compared whole.
const _: () = assert!(Audience::MAX_LENGTH < JsonStr::SHORT);

impl Audience {
    /// Maximum length of an audience, in bytes.
    pub const MAX_LENGTH: usize = 1_000;

    /// Builds an audience, which must equal the token's `aud` byte for byte, except for one slash
    /// at the end.
    ///
    /// The slash at the end may be missing on either side, but only if the value has a scheme
    /// (`api://…`, `https://…`).
    ///
    /// # Errors
    /// If no token for this API can have this audience, or it is longer than
    /// [`MAX_LENGTH`](Self::MAX_LENGTH).
    pub fn new(text: &str) -> Result<Self, InvalidAudience> {
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(InvalidAudience(AudienceFault::Malformed));
        }
        if text.len() > Self::MAX_LENGTH {
            return Err(InvalidAudience(AudienceFault::TooLong));
        }
        if has_user_info(text) {
            return Err(InvalidAudience(AudienceFault::UserInfo));
        }
        if text.ends_with("/.default") {
            return Err(InvalidAudience(AudienceFault::Scope));
        }
        if Self::is_graph(text) {
            return Err(InvalidAudience(AudienceFault::Graph));
        }
        if let Some(name) = Self::microsoft_api_of(text) {
            return Err(InvalidAudience(AudienceFault::MicrosoftApi(name)));
        }
        Ok(Self(text.into()))
    }

    /// Returns whether the audience is Microsoft Graph of any cloud, by Application ID URI or
    /// application id.
    pub(crate) fn is_graph(audience: &str) -> bool {
        matches!(
            without_slash(audience),
            "00000003-0000-0000-c000-000000000000"
                | "https://graph.microsoft.com"
                | "https://graph.microsoft.us"
                | "https://dod-graph.microsoft.us"
                | "https://microsoftgraph.chinacloudapi.cn"
        )
    }

    /// Returns the name of the API of Microsoft that the audience belongs to, Graph included.
    pub(crate) fn name_of_microsoft_api(audience: &str) -> Option<&'static str> {
        match Self::is_graph(audience) {
            true => Some("Microsoft Graph"),
            false => Self::microsoft_api_of(audience),
        }
    }

    fn accepts(&self, audience: &str) -> bool {
        without_slash(&self.0) == without_slash(audience)
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Audience {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = EscapedUrl(&self.0);
        formatter.debug_tuple("Audience").field(&shown).finish()
    }
}

/// Returns whether the text is a URI with a user name or password before its host
/// (RFC 3986 §3.2.1).
fn has_user_info(text: &str) -> bool {
    let rest = text.split_once("://").map(|(_, rest)| rest);
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    authority.is_some_and(|authority| authority.contains('@'))
}

/// Removes one trailing slash, if the value has a scheme.
///
/// Entra's v1 tokens have the slash or not, as the client asked.
fn without_slash(audience: &str) -> &str {
    if audience.contains("://") {
        audience.strip_suffix('/').unwrap_or(audience)
    } else {
        audience
    }
}

/// Recognises Microsoft's own APIs, whose tokens are often sent to another API by mistake.
impl Audience {
    /// Returns the name of the API of Microsoft that the audience belongs to, if the API is known
    /// and is not Graph.
    ///
    /// Sources: "Verify first-party Microsoft applications in sign-in reports" for the ids, each
    /// service's own page on authentication for the URIs.
    pub(crate) fn microsoft_api_of(audience: &str) -> Option<&'static str> {
        Some(match without_slash(audience) {
            "https://graph.windows.net" | "00000002-0000-0000-c000-000000000000" => {
                "Azure AD Graph, which is retired"
            }
            "https://management.azure.com"
            | "https://management.core.windows.net"
            | "https://management.usgovcloudapi.net"
            | "https://management.core.usgovcloudapi.net"
            | "https://management.chinacloudapi.cn"
            | "https://management.core.chinacloudapi.cn"
            | "797f4846-ba00-4fd7-ba43-dac1f8f63013" => "Azure Resource Manager",
            "https://vault.azure.net"
            | "https://vault.usgovcloudapi.net"
            | "https://vault.azure.cn"
            | "cfa8b339-82a2-471a-a3c9-0fc0be7a4093" => "Azure Key Vault",
            "https://storage.azure.com" | "e406a681-f3d4-42a8-90b6-c2b029497af1" => "Azure Storage",
            "https://database.windows.net"
            | "https://database.usgovcloudapi.net"
            | "https://database.chinacloudapi.cn"
            | "022907d3-0f1b-48f7-badc-1ba6abab6d66" => "Azure SQL Database",
            "https://ossrdbms-aad.database.windows.net" => "Azure Database",
            "https://cosmos.azure.com" => "Azure Cosmos DB",
            "https://servicebus.azure.net" => "Azure Service Bus",
            "https://eventhubs.azure.net" => "Azure Event Hubs",
            "https://cognitiveservices.azure.com"
            | "https://cognitiveservices.azure.us"
            | "https://cognitiveservices.azure.cn"
            | "7d312290-28c8-473c-a0ed-8e53749b6d6d" => "Azure AI services",
            "https://ai.azure.com" => "Azure AI Foundry",
            "https://search.azure.com" => "Azure AI Search",
            "https://api.loganalytics.io" | "https://monitor.azure.com" => "Azure Monitor",
            "https://app.vssps.visualstudio.com" | "499b84ac-1321-427f-aa17-267ca6975798" => {
                "Azure DevOps"
            }
            "https://analysis.windows.net/powerbi/api" | "00000009-0000-0000-c000-000000000000" => {
                "Power BI"
            }
            "https://outlook.office365.com"
            | "https://outlook.office.com"
            | "00000002-0000-0ff1-ce00-000000000000" => "Exchange Online",
            "00000003-0000-0ff1-ce00-000000000000" => "SharePoint Online",
            "api://AzureADTokenExchange"
            | "api://AzureADTokenExchangeUSGov"
            | "api://AzureADTokenExchangeChina"
            | "fb60f99c-7a34-4190-8149-302f77469936" => {
                "Entra's token exchange (federated credentials)"
            }
            other => {
                let host = other.strip_prefix("https://")?;
                let is_sharepoint = [".sharepoint.com", ".sharepoint.us", ".sharepoint.cn"]
                    .into_iter()
                    .any(|suffix| host.ends_with(suffix));
                return is_sharepoint.then_some("SharePoint Online");
            }
        })
    }
}

/// The audiences of one API: `{client id}`, `api://{client id}` and the configured ones, or one
/// alone.
#[derive(Clone, Debug)]
pub(crate) struct Audiences {
    client_id: ClientId,
    all: Vec<Audience>,
}

impl Audiences {
    pub(crate) fn new(client_id: ClientId) -> Self {
        let id = Audience(client_id.to_string().into());
        let uri = Audience(format!("api://{client_id}").into());
        Self {
            client_id,
            all: vec![id, uri],
        }
    }

    pub(crate) fn add(&mut self, audience: Audience) {
        if !self.all.contains(&audience) {
            self.all.push(audience);
        }
    }

    /// Builds the audiences of tokens that are not Entra's: only the given one.
    pub(crate) fn only(client_id: ClientId, audience: Audience) -> Self {
        Self {
            client_id,
            all: vec![audience],
        }
    }

    pub(crate) fn client_id(&self) -> ClientId {
        self.client_id
    }

    /// Returns the Application ID URI with which clients request scopes of this API.
    ///
    /// It is the first URI that was configured, else the one that Entra proposes.
    pub(crate) fn app_id_uri(&self) -> String {
        let is_uri = |audience: &&Audience| audience.0.contains("://");
        let configured = self.all.iter().skip(2).find(is_uri);
        match configured {
            Some(uri) => uri.0.trim_end_matches('/').to_owned(),
            None => format!("api://{}", self.client_id),
        }
    }

    pub(crate) fn accept(&self, audience: &str) -> bool {
        self.all.iter().any(|accepted| accepted.accepts(audience))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Audience> {
        self.all.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";

    fn audiences(configured: &[&str]) -> Audiences {
        let mut audiences = Audiences::new(CLIENT.parse().unwrap());
        for text in configured {
            audiences.add(Audience::new(text).unwrap());
        }
        audiences
    }

    #[test]
    fn the_client_id_and_its_uri_are_always_accepted() {
        let audiences = audiences(&["https://api.contoso.com/orders"]);
        for audience in [
            CLIENT,
            "api://6e74172b-be56-4843-9ff4-e66a39bb12e3",
            "https://api.contoso.com/orders",
        ] {
            assert!(audiences.accept(audience), "{audience}");
        }
    }

    #[test]
    fn scopes_are_requested_by_the_first_configured_uri_or_the_usual_one() {
        let usual = format!("api://{CLIENT}");
        for (configured, expected) in [
            (&[][..], &*usual),
            (&[&*usual], &usual),
            (&["not-a-uri"], &usual),
            (&["x", "api://orders/", "api://other"], "api://orders"),
        ] {
            assert_eq!(audiences(configured).app_id_uri(), expected);
        }
    }

    #[test]
    fn one_trailing_slash_is_tolerated_only_behind_a_scheme() {
        let audiences = audiences(&["https://api.contoso.com/"]);
        assert!(audiences.accept("https://api.contoso.com"));
        assert!(audiences.accept("https://api.contoso.com/"));
        assert!(audiences.accept(&format!("api://{CLIENT}/")));
        assert!(!audiences.accept("https://api.contoso.com//"));
        assert!(!audiences.accept(&format!("{CLIENT}/")));
    }

    #[test]
    fn nothing_else_is_accepted() {
        let audiences = audiences(&["https://api.contoso.com"]);
        for audience in [
            "",
            "6e74172b-be56-4843-9ff4-e66a39bb12e",
            "6E74172B-BE56-4843-9FF4-E66A39BB12E3",
            "API://6e74172b-be56-4843-9ff4-e66a39bb12e3",
            "https://api.contoso.com.evil",
            "https://api.contoso.com/orders",
            "https://api.contoso.com,other",
        ] {
            assert!(!audiences.accept(audience), "{audience}");
        }
    }

    #[test]
    fn an_audience_that_no_token_can_have_is_refused_when_it_is_made() {
        assert_eq!(
            Audience::new(""),
            Err(InvalidAudience(AudienceFault::Malformed))
        );
        assert_eq!(
            Audience::new("api://a b"),
            Err(InvalidAudience(AudienceFault::Malformed))
        );
        for text in ["https://user:password@host/", "api://name@host?x"] {
            assert_eq!(
                Audience::new(text),
                Err(InvalidAudience(AudienceFault::UserInfo))
            );
        }
        for text in ["https://host/@name", "name@host", "urn:a@b"] {
            assert!(Audience::new(text).is_ok(), "{text}");
        }
        let longest = format!("api://{}", "a".repeat(994));
        assert!(Audience::new(&longest).is_ok());
        let longer = format!("{longest}a");
        assert_eq!(
            Audience::new(&longer),
            Err(InvalidAudience(AudienceFault::TooLong))
        );
        assert_eq!(
            InvalidAudience(AudienceFault::TooLong).to_string(),
            "longer than 1000 bytes"
        );
        assert_eq!(
            Audience::new("api://a/.default"),
            Err(InvalidAudience(AudienceFault::Scope))
        );
        assert_eq!(
            Audience::new("https://graph.microsoft.com/"),
            Err(InvalidAudience(AudienceFault::Graph))
        );
        assert_eq!(
            Audience::new("https://management.azure.com"),
            Err(InvalidAudience(AudienceFault::MicrosoftApi(
                "Azure Resource Manager"
            )))
        );
    }

    #[test]
    fn an_api_of_microsoft_is_known_by_uri_or_id_with_or_without_slash() {
        for (audience, name) in [
            (
                "https://management.azure.com",
                Some("Azure Resource Manager"),
            ),
            (
                "https://management.azure.com/",
                Some("Azure Resource Manager"),
            ),
            (
                "797f4846-ba00-4fd7-ba43-dac1f8f63013",
                Some("Azure Resource Manager"),
            ),
            ("https://contoso.sharepoint.com", Some("SharePoint Online")),
            ("https://management.azure.com//", None),
            ("api://orders", None),
            ("6e74172b-be56-4843-9ff4-e66a39bb12e3", None),
            ("", None),
        ] {
            assert_eq!(Audience::microsoft_api_of(audience), name, "{audience}");
        }
    }
}
