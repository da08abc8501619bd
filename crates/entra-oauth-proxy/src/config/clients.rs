//! Settings for clients.

use std::fmt;

use crate::oauth::PreregisteredClient;

/// Settings that decide which clients may connect.
///
/// Pass them to [`EntraOAuthProxyBuilder::clients`](crate::EntraOAuthProxyBuilder::clients).
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
/// | [`allowed_redirects`](Self::allowed_redirects) | none: every safe redirect URI is allowed; before the user has agreed, errors are redirected only to loopback and to pre-registered clients |
/// | [`private_use_schemes`](Self::private_use_schemes) | none, except domain names in reverse and the schemes of known products |
/// | [`without_registration`](Self::without_registration) | off: clients register themselves |
/// | [`preregistered`](Self::preregistered) | none |
/// | [`shared_sign_ins`](Self::shared_sign_ins) | off: a rotated refresh token is refused |
#[derive(Clone, Default)]
#[must_use = "client settings have no effect until they are passed to the builder"]
pub struct Clients {
    allowed_redirects: Option<Vec<String>>,
    private_use_schemes: Vec<String>,
    are_all_preregistered: bool,
    preregistered: Vec<PreregisteredClient>,
    has_shared_sign_ins: bool,
}

/// The allowed redirect URIs, if a list is set, and the private-use schemes.
type Allowed<'c> = (Option<&'c [String]>, &'c [String]);

impl Clients {
    /// Limits redirect URIs to these origins, schemes and exact URIs.
    ///
    /// Several calls add up. An entry is one of:
    ///
    /// | entry | allows |
    /// |---|---|
    /// | an origin: `https://claude.ai`, or `http://localhost` for any port there | every URI of that origin |
    /// | a URI with a path: `https://claude.ai/api/mcp/auth_callback` | only that exact URI, without another query or slash; on loopback, an entry without a port allows any port |
    /// | a scheme of an application: `cursor:` | every URI of that scheme, also one where the product takes no responses |
    ///
    /// A URI with a path also *vouches* for that URI. If this server refuses a client's request
    /// before the user has agreed to anything, it redirects the browser there with the error. It
    /// does the same for loopback and for [pre-registered clients](Self::preregistered).
    ///
    /// An origin or a scheme does not vouch, because anything may be under it
    /// (`https://claude.ai/redirect?to=…`). In this case, as for all other redirect URIs, the user
    /// sees a page with the error. A button on the page takes the user, with the error, to the
    /// client (RFC 9700 §4.11.2).
    ///
    /// A client needs at least one redirect URI on the list to register. The server refuses the
    /// client's other URIs when they are used.
    ///
    /// # Errors
    /// [`build`](crate::EntraOAuthProxyBuilder::build) refuses entries that could not be
    /// registered, such as `javascript:` and `http://example.com`. It also refuses wildcards, and
    /// hosts without a scheme, such as `claude.ai`. A scheme that could also be a host, such as
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

    /// Adds private-use schemes that clients may register, in addition to the known ones.
    ///
    /// An entry is written `notes-desk:` or `notes-desk`. Several calls add up.
    ///
    /// Without this setting, a scheme must be a domain name in reverse, such as `com.example.app`
    /// (RFC 8252 §7.1), or belong to a product that is known to use it with MCP. These products'
    /// schemes are `cursor`, `raycast`, `vscode`, `vscode-insiders`, `warp` and `windsurf`. Each is
    /// allowed only in URIs where the product takes responses. Any application on a device can
    /// claim any scheme. PKCE protects the code.
    ///
    /// If [`allowed_redirects`](Self::allowed_redirects) are set, they alone decide: a scheme must
    /// be among them, and needs no other permission.
    ///
    /// ```
    /// # use entra_oauth_proxy::Clients;
    /// let clients = Clients::default().private_use_schemes(["notes-desk"]);
    /// ```
    ///
    /// # Errors
    /// [`build`](crate::EntraOAuthProxyBuilder::build) refuses schemes that browsers run or read
    /// (`javascript`, `data`, `file`, …) and schemes of operating systems (`ms-settings`,
    /// `com.apple.notes`, …).
    pub fn private_use_schemes<S: Into<String>>(
        mut self,
        schemes: impl IntoIterator<Item = S>,
    ) -> Self {
        self.private_use_schemes
            .extend(schemes.into_iter().map(Into::into));
        self
    }

    /// Disables registration, so that only [pre-registered clients](Self::preregistered) are known.
    pub fn without_registration(mut self) -> Self {
        self.are_all_preregistered = true;
        self
    }

    /// Adds a client that is known in advance.
    ///
    /// Several calls add up.
    pub fn preregistered(mut self, client: PreregisteredClient) -> Self {
        self.preregistered.push(client);
        self
    }

    /// Lets several processes of a client with a secret share a sign-in, each with its own copy of
    /// the refresh token.
    ///
    /// Every refresh token of the sign-in then works until the sign-in ends, and its holder receives
    /// the current one. It is for clients that run on several machines without shared storage.
    ///
    /// This has no effect on clients without a secret. Of their tokens, only the current one works
    /// and the one before it, and the use of any other ends the sign-in. By default, a rotated token
    /// of a client with a secret is refused, and the sign-in continues: such a token is useless
    /// without the secret, so its use is no sign of a theft (RFC 9700 §4.14.2).
    pub fn shared_sign_ins(mut self) -> Self {
        self.has_shared_sign_ins = true;
        self
    }

    /// Returns whether processes of a client with a secret may share a sign-in.
    pub(super) fn shares_sign_ins(&self) -> bool {
        self.has_shared_sign_ins
    }

    /// Returns the pre-registered clients, whether clients may register themselves, and the allowed
    /// redirect URIs and schemes.
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
