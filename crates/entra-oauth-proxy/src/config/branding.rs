//! Branding of the pages: the operator's name, logo and support contact.

use std::fmt;

use entra_http::{Problems, is_loopback_host};
use tower_entra_auth::entra_jwt_core::integration::{Escaped, EscapedUrl};
use url::Url;

use crate::pages::Brand;

/// Name, logo and support contact that the server's pages show.
///
/// Pass it to [`EntraOAuthProxyBuilder::branding`](crate::EntraOAuthProxyBuilder::branding).
///
/// ```
/// use entra_oauth_proxy::{Branding, EntraOAuthProxy};
///
/// let settings = EntraOAuthProxy::builder().branding(
///     Branding::new("Contoso")
///         .support_url("https://intranet.contoso.com/help")
///         .support_email("help@contoso.com"),
/// );
/// ```
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`logo`](Self::logo) | none |
/// | [`support_url`](Self::support_url) | none |
/// | [`support_email`](Self::support_email) | none |
#[derive(Clone)]
#[must_use = "branding has no effect until it is passed to the builder"]
pub struct Branding {
    name: String,
    logo: Option<(String, Vec<u8>)>,
    support_url: Option<String>,
    support_email: Option<String>,
}

/// Maximum size of the logo in bytes. Every page contains the logo.
const MAX_LOGO: usize = 64 * 1024;

impl Branding {
    /// Creates the branding with the name of the organization: 1 to 60 characters in one line.
    ///
    /// The name is at the top of each page. If all users belong to one organization's tenant, the
    /// consent page also says that users sign in with their account of this organization.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            logo: None,
            support_url: None,
            support_email: None,
        }
    }

    /// Sets the logo beside the name: `image/png` or `image/svg+xml`, at most 64 KiB.
    ///
    /// Each page contains the logo itself, so that browsers fetch nothing. Pages show it 40 px
    /// high.
    ///
    /// ```
    /// # use entra_oauth_proxy::Branding;
    /// const LOGO: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><path d="M0 0h1v1z"/></svg>"#;
    /// let branding = Branding::new("Contoso").logo("image/svg+xml", LOGO);
    /// ```
    pub fn logo(mut self, media_type: impl Into<String>, image: impl Into<Vec<u8>>) -> Self {
        self.logo = Some((media_type.into(), image.into()));
        self
    }

    /// Sets the page where users get help: `https`, or `http` on loopback.
    ///
    /// Error pages link to it.
    pub fn support_url(mut self, url: impl Into<String>) -> Self {
        self.support_url = Some(url.into());
        self
    }

    /// Sets the email address where users get help, in addition to or instead of the support page.
    pub fn support_email(mut self, address: impl Into<String>) -> Self {
        self.support_email = Some(address.into());
        self
    }

    /// Returns the branding for the pages, and adds every problem with it to `problems`.
    pub(super) fn checked(&self, problems: &mut Problems) -> Brand {
        let name = self.name.trim();
        let is_name = !name.contains(char::is_control) && (1..=60).contains(&name.chars().count());
        if !is_name {
            let shown = Escaped(name);
            problems.add(
                "branding",
                format_args!(
                    "\"{shown}\" is not a name of 1 to 60 characters in one line, such as Contoso"
                ),
            );
        }
        let logo = self.logo.as_ref().map(|(media_type, image)| {
            let fault = fault_of_logo(media_type, image);
            if let Some(fault) = fault {
                problems.add("branding.logo", fault);
            }
            (&**media_type, &**image)
        });
        let url = self.support_url.as_deref().map(str::trim);
        if let Some(url) = url.filter(|url| !is_page(url)) {
            let shown = EscapedUrl(url);
            problems.add(
                "branding.support_url",
                format_args!(
                    "\"{shown}\" is not an https URL without a user name, such as \
                     https://intranet.contoso.com/help"
                ),
            );
        }
        let email = self.support_email.as_deref().map(str::trim);
        if let Some(email) = email.filter(|email| !is_email(email)) {
            let shown = Escaped(email);
            problems.add(
                "branding.support_email",
                format_args!("\"{shown}\" is not an email address such as help@contoso.com"),
            );
        }
        Brand::new(name, logo, [url, email])
    }
}

fn fault_of_logo(media_type: &str, image: &[u8]) -> Option<String> {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

    let is_svg = || std::str::from_utf8(image).is_ok_and(|text| text.contains("<svg"));
    let is_of_type = match media_type {
        "image/png" => image.starts_with(PNG),
        "image/svg+xml" => is_svg(),
        _ => {
            let shown = Escaped(media_type);
            return Some(format!(
                "\"{shown}\" is neither image/png nor image/svg+xml"
            ));
        }
    };
    match image.len() {
        length if length > MAX_LOGO => Some(format!("{length} bytes; at most {MAX_LOGO}")),
        _ if !is_of_type => Some(format!("the image is not {media_type}")),
        _ => None,
    }
}

fn is_page(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        let is_local = url.host_str().is_some_and(is_loopback_host);
        let is_plain = url.username().is_empty() && url.password().is_none();
        is_plain && (url.scheme() == "https" || url.scheme() == "http" && is_local)
    })
}

fn is_email(address: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$*+-./=^_`{|}~".contains(&byte);
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(is_plain);
    address
        .split_once('@')
        .is_some_and(|(name, host)| is_part(name) && is_part(host))
}

impl fmt::Debug for Branding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Branding")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
