//! HTML pages for users, without scripts and without external resources.

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entra_http::retry_after_value;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, RETRY_AFTER,
    X_FRAME_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use tower_entra_auth::layer::AnswerBody;

use crate::crypto::random_text;
use crate::http::{Response, empty, set_static};
use crate::telemetry::{Finding, ThrottledLog, log_refusal, set_outcome};

/// Style sheet of every page, and its hash for the content security policy.
///
/// Line ends are those that browsers use, even if this checkout has others.
static STYLE: LazyLock<(String, String)> = LazyLock::new(|| {
    let lines: Vec<&str> = include_str!("style.css").lines().collect();
    let style = format!("\n{}\n", lines.join("\n"));
    let hash = STANDARD.encode(digest(&SHA256, style.as_bytes()));
    (style, hash)
});

/// Way on from a page.
///
/// Browsers apply `form-action` to every redirect that follows a form, through Entra and the
/// client's site: Chromium 156 blocked a redirect from there to an application's scheme (December
/// 2026). So no form is answered with a redirect, and `'self'` is enough. A refresh is a new
/// navigation, to which `form-action` does not apply. Without `form-action`, as FastMCP does it,
/// injected markup could send the form elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then<'u> {
    /// The user reads the page, and may follow its links.
    Stay,
    /// The user sends the page's form to this server.
    Form,
    /// The browser goes to this URL at once.
    GoOn(&'u str),
}

/// The operator's branding on every page. Empty by default.
#[derive(Debug, Default)]
pub(crate) struct Brand {
    /// Name of the organization, if one is set.
    pub(crate) name: Option<String>,
    /// HTML above the title.
    header: String,
    has_logo: bool,
    /// HTML that says where to get help.
    help: Option<String>,
}

impl Brand {
    /// Builds the branding from the name, a logo with its media type, and the support URL and email
    /// address.
    pub(crate) fn new(
        name: &str,
        logo: Option<(&str, &[u8])>,
        [url, email]: [Option<&str>; 2],
    ) -> Self {
        // The alt text is empty, because the name is beside the logo.
        let image = logo.map(|(media_type, image)| {
            let (media_type, image) = (escaped(media_type), STANDARD.encode(image));
            format!("<img alt=\"\" src=\"data:{media_type};base64,{image}\">\n")
        });
        let link = |scheme: &str, to: &str| {
            let to = escaped(to);
            format!("<a href=\"{scheme}{to}\" rel=\"noreferrer\">{to}</a>")
        };
        let url = url.map(|url| format!("go to {}", link("", url)));
        let email = email.map(|email| format!("write to {}", link("mailto:", email)));
        let help: Vec<String> = [url, email].into_iter().flatten().collect();
        Self {
            name: Some(name.to_owned()),
            has_logo: image.is_some(),
            header: format!(
                "<p class=\"brand\">\n{}<bdi>{}</bdi></p>\n",
                image.unwrap_or_default(),
                escaped(name)
            ),
            help: (!help.is_empty()).then(|| help.join(" or ")),
        }
    }

    /// Builds a page with headers that prevent framing, scripts and referrers.
    ///
    /// `body` is HTML, and contains the only `h1`.
    pub(crate) fn page(&self, title: &str, body: &str, then: Then<'_>) -> Response {
        let mut response = empty(StatusCode::OK);
        self.write_page(&mut response, title, body, then);
        response
    }

    fn write_page(&self, response: &mut Response, title: &str, body: &str, then: Then<'_>) {
        let form_action = match then {
            Then::Form => "'self'",
            Then::Stay | Then::GoOn(_) => "'none'",
        };
        let refresh = match then {
            Then::GoOn(url) => format!(
                "<meta http-equiv=\"refresh\" content=\"0; url={}\">\n",
                escaped(url)
            ),
            Then::Stay | Then::Form => String::new(),
        };
        let (style, style_hash) = &*STYLE;
        let (title, header) = (escaped(title), &self.header);
        let text = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n{refresh}<title>{title}</title>\n\
             <style>{style}</style>\n</head>\n<body>\n<main>\n{header}{body}</main>\n</body>\n</html>\n"
        );
        *response.body_mut() = AnswerBody::from(text);
        let images = if self.has_logo { "img-src data:; " } else { "" };
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style_hash}'; {images}form-action {form_action}; \
             frame-ancestors 'none'; base-uri 'none'"
        );
        if let Ok(policy) = HeaderValue::try_from(policy) {
            let headers = response.headers_mut();
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        for (name, value) in [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CACHE_CONTROL, "no-store"),
            (REFERRER_POLICY, "no-referrer"),
            (X_FRAME_OPTIONS, "DENY"),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
        ] {
            set_static(response, name, value);
        }
    }

    /// Writes the error page into a response that has one, and logs its error with a reference.
    pub(crate) fn show_error(&self, log: &ThrottledLog, response: &mut Response) {
        let Some(shown) = response.extensions_mut().remove::<Shown>() else {
            return;
        };
        let Shown {
            title,
            what_to_do,
            more,
            ..
        } = &shown;
        let reference = random_text::<6>();
        let help = match &self.help {
            Some(help) => format!("For help, {help}, and"),
            None => "If you ask for help,".to_owned(),
        };
        let body = format!(
            "<h1>{}</h1>\n<p>{}</p>\n{more}<p class=\"note\">{help} give this reference: \
             <code>{reference}</code></p>\n",
            escaped(title),
            escaped(what_to_do)
        );
        self.write_page(response, title, &body, Then::Stay);
        let (what, status) = ("an error page was shown", response.status().as_u16());
        let page = Some((status, *title));
        log_refusal(
            log,
            (what, &shown.finding),
            shown.error,
            page,
            Some(&reference),
        );
    }
}

/// A page for a user who cannot continue.
///
/// Both texts are whole sentences or titles in everyday words, because their readers have never
/// heard of a redirect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorPage {
    status: StatusCode,
    title: &'static str,
    what_to_do: &'static str,
}

/// Content of an error page that [`Brand::show_error`] writes later.
#[derive(Clone, Debug)]
struct Shown {
    title: &'static str,
    what_to_do: &'static str,
    /// HTML after the instructions.
    more: String,
    error: Option<&'static str>,
    finding: Finding,
}

impl ErrorPage {
    pub(crate) const fn new(
        status: StatusCode,
        title: &'static str,
        what_to_do: &'static str,
    ) -> Self {
        Self {
            status,
            title,
            what_to_do,
        }
    }

    /// Builds the response. The page will show a reference that is also in the log.
    pub(crate) fn response(&self) -> Response {
        self.response_about(Finding::default(), None, String::new())
    }

    /// Builds the response with HTML after the instructions. The log gets the finding and the OAuth
    /// error code.
    pub(crate) fn response_about(
        &self,
        finding: Finding,
        error: Option<&'static str>,
        more: String,
    ) -> Response {
        let mut response = empty(self.status);
        response.extensions_mut().insert(Shown {
            title: self.title,
            what_to_do: self.what_to_do,
            more,
            error,
            finding,
        });
        if let Some(error) = error {
            set_outcome(&mut response, error);
        }
        response
    }

    /// Builds the response for a user who may continue after `wait`, in whole seconds.
    pub(crate) fn response_for_later(&self, wait: Duration) -> Response {
        let mut response = self.response();
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, retry_after_value(wait));
        response
    }
}

/// Escapes text for HTML, including attribute values.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text() {
        assert_eq!(
            escaped("<b a='x' b=\"&\">"),
            "&lt;b a=&#39;x&#39; b=&quot;&amp;&quot;&gt;"
        );
    }
}
