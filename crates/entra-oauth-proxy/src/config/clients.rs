//! The settings of clients.

use std::fmt;

use crate::oauth::PreregisteredClient;

/// The clients that may connect: for
/// [`EntraOAuthProxyBuilder::clients`](crate::EntraOAuthProxyBuilder::clients).
///
/// ```
/// use entra_oauth_proxy::{Clients, EntraOAuthProxy};
///
/// let settings = EntraOAuthProxy::builder()
///     .clients(Clients::default().allowed_redirects(["https://claude.ai", "cursor:"]));
/// ```
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`allowed_redirects`](Self::allowed_redirects) | none: every address that is safe, and errors before a person agreed are redirected to loopback alone |
/// | [`private_use_schemes`](Self::private_use_schemes) | none beside domain names in reverse and known products |
/// | [`without_registration`](Self::without_registration) | off: clients register themselves |
/// | [`preregistered`](Self::preregistered) | none |
#[derive(Clone, Default)]
#[must_use = "they count once they are given to the builder"]
pub struct Clients {
    allowed_redirects: Option<Vec<String>>,
    private_use_schemes: Vec<String>,
    are_all_preregistered: bool,
    preregistered: Vec<PreregisteredClient>,
}

/// The addresses, if there is a list, and the schemes.
type Allowed<'c> = (Option<&'c [String]>, &'c [String]);

impl Clients {
    /// Limits the addresses to which answers are sent to these; several calls add up. An entry is one of:
    ///
    /// | entry | allows |
    /// |---|---|
    /// | an origin: `https://claude.ai`, or `http://localhost` for any port there | every address of it |
    /// | a URI with a path: `https://claude.ai/api/mcp/auth_callback` | that text alone, without another query or slash; the port of loopback is any where the entry has none |
    /// | a scheme of an application: `cursor:` | every URI of it, also at another place than where the product takes answers |
    ///
    /// A URI with a path also *vouches*: where a client's request is refused before a person agreed to
    /// anything, the browser is sent there with the error, as it is to loopback and to [pre-registered
    /// clients](Self::preregistered). An origin or a scheme does not, as there may be anything in it
    /// (`https://claude.ai/redirect?to=…`): there, as everywhere else, a person reads what is wrong,
    /// and carries the error to the client by a button (RFC 9700 §4.11.2).
    ///
    /// At its registration a client needs one address on the list; the others that it registers are
    /// refused when they are used.
    ///
    /// # Errors
    /// [`build`](crate::EntraOAuthProxyBuilder::build) refuses entries that could not be registered, such as `javascript:` and
    /// `http://example.com`, wildcards, and hosts without a scheme, such as `claude.ai`. A scheme that could be a host, too, such as
    /// `com.example.app:`, needs its colon.
    pub fn allowed_redirects<S: Into<String>>(
        mut self,
        entries: impl IntoIterator<Item = S>,
    ) -> Self {
        let entries = entries.into_iter().map(Into::into);
        self.allowed_redirects
            .get_or_insert_default()
            .extend(entries);
        self
    }

    /// Adds schemes of applications that clients may register beside the known ones: `notes-desk:`, or
    /// `notes-desk`. Several calls add up. Without, a scheme must be a domain name in reverse, as
    /// `com.example.app` (RFC 8252 §7.1), or that of a product that is known to use it with MCP:
    /// `cursor`, `raycast`, `vscode`, `vscode-insiders`, `warp` and `windsurf`, each only where it takes
    /// answers. Any application on a device can claim any scheme, and PKCE is what protects the code.
    ///
    /// Once [`allowed_redirects`](Self::allowed_redirects) are given, they alone decide: a scheme must be
    /// among them, and needs no other permission.
    ///
    /// ```
    /// # use entra_oauth_proxy::Clients;
    /// let clients = Clients::default().private_use_schemes(["notes-desk"]);
    /// ```
    ///
    /// # Errors
    /// [`build`](crate::EntraOAuthProxyBuilder::build) refuses schemes that browsers run or read (`javascript`, `data`, `file`,
    /// …) and those of systems (`ms-settings`, `com.apple.notes`, …).
    pub fn private_use_schemes<S: Into<String>>(
        mut self,
        schemes: impl IntoIterator<Item = S>,
    ) -> Self {
        self.private_use_schemes
            .extend(schemes.into_iter().map(Into::into));
        self
    }

    /// Lets no client register itself: only [pre-registered ones](Self::preregistered) are known.
    pub fn without_registration(mut self) -> Self {
        self.are_all_preregistered = true;
        self
    }

    /// Adds a client that is known in advance. Several calls add up.
    pub fn preregistered(mut self, client: PreregisteredClient) -> Self {
        self.preregistered.push(client);
        self
    }

    /// Returns the pre-registered clients, whether others register themselves, and the addresses and the
    /// schemes that are allowed.
    pub(super) fn parts(&self) -> (&[PreregisteredClient], bool, Allowed<'_>) {
        let allowed = (
            self.allowed_redirects.as_deref(),
            &*self.private_use_schemes,
        );
        (&self.preregistered, !self.are_all_preregistered, allowed)
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Clients")
            .field("preregistered", &self.preregistered)
            .finish_non_exhaustive()
    }
}
