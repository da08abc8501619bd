//! Settings of the resource that tokens are for.

use std::fmt;

use tower_entra_auth::entra_jwt_core::integration::EscapedUrl;

/// A resource that tokens are for: the API or the MCP server behind the proxy.
///
/// Pass it to [`EntraOAuthProxyBuilder::resource`](crate::EntraOAuthProxyBuilder::resource).
///
/// ```
/// use entra_oauth_proxy::Resource;
///
/// let notes = Resource::at("https://mcp.example.com/mcp")
///     .name("Notes")
///     .required_scopes(["Mcp.Access"])
///     .optional_scopes(["Notes.Write"])
///     .describe_scope("Mcp.Access", "Read your notes")
///     .describe_scope("Notes.Write", "Write notes in your name");
/// ```
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`name`](Self::name) | the host |
/// | [`required_scopes`](Self::required_scopes) | none: at least one is required |
/// | [`optional_scopes`](Self::optional_scopes) | none |
/// | [`describe_scope`](Self::describe_scope) | none: users see the scope's name |
/// | [`require_indicator`](Self::require_indicator) | off: a client may omit `resource` |
/// | [`accept_parent`](Self::accept_parent) | off |
#[derive(Clone)]
#[must_use = "a resource has no effect until it is passed to the builder"]
pub struct Resource {
    url: String,
    name: Option<String>,
    required_scopes: Vec<String>,
    optional_scopes: Vec<String>,
    scope_texts: Vec<(String, String)>,
    requires_indicator: bool,
    accepts_parents: bool,
}

impl Resource {
    /// Creates a resource with the URL of the API as clients know it.
    ///
    /// The URL is `https`, or `http` on loopback, such as `https://mcp.example.com/mcp`.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name: None,
            required_scopes: Vec::new(),
            optional_scopes: Vec::new(),
            scope_texts: Vec::new(),
            requires_indicator: false,
            accepts_parents: false,
        }
    }

    /// Sets the name of the resource that the consent page and the metadata show.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds scopes that every token needs, by their short names (`Mcp.Access`).
    ///
    /// This server requests them for every client, even if the client does not ask for them, and
    /// [the Layer](crate::EntraOAuthProxy::layer) requires them. OpenID Connect scopes are allowed
    /// here, but are only sent to Entra.
    pub fn required_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.required_scopes
            .extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Adds scopes that a token may have, by their short names.
    ///
    /// No metadata lists them. A client learns of such a scope from the 403 response of a route
    /// that [requires](tower_entra_auth::EntraAuth::require) it, and then requests it.
    pub fn optional_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.optional_scopes
            .extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Sets the description of a scope for users, such as "Read your notes".
    ///
    /// The consent page shows it before the scope's name. It is plain text, 1 to 200 characters.
    /// Several calls add up. Each describes one [required](Self::required_scopes) or
    /// [optional](Self::optional_scopes) scope.
    pub fn describe_scope(mut self, scope: impl Into<String>, text: impl Into<String>) -> Self {
        self.scope_texts.push((scope.into(), text.into()));
        self
    }

    /// Requires that clients name the resource in the parameter `resource` (RFC 8707).
    pub fn require_indicator(mut self) -> Self {
        self.requires_indicator = true;
        self
    }

    /// Accepts a parent path of the resource in the parameter `resource`, which some clients send
    /// by mistake.
    ///
    /// The parent path must be on the same origin.
    pub fn accept_parent(mut self) -> Self {
        self.accepts_parents = true;
        self
    }

    /// Returns the URL, the name, and `[requires_indicator, accepts_parents]`.
    pub(super) fn identity(&self) -> (&str, Option<&str>, [bool; 2]) {
        let name = self.name.as_deref().filter(|name| !name.trim().is_empty());
        (
            &self.url,
            name,
            [self.requires_indicator, self.accepts_parents],
        )
    }

    /// Returns the required scopes, the optional scopes, and the descriptions of some of them.
    pub(super) fn scopes(&self) -> ([&[String]; 2], &[(String, String)]) {
        (
            [&self.required_scopes, &self.optional_scopes],
            &self.scope_texts,
        )
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let required_scopes = self.required_scopes.iter().map(|scope| EscapedUrl(scope));
        formatter
            .debug_struct("Resource")
            .field("url", &EscapedUrl(&self.url))
            .field("required_scopes", &required_scopes.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
