//! Pages for people: without scripts or anything from elsewhere.

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

/// The style of every page, and its hash for their policy. Line ends are as browsers have them,
/// however the file came here.
static STYLE: LazyLock<(String, String)> = LazyLock::new(|| {
    let lines: Vec<&str> = include_str!("style.css").lines().collect();
    let style = format!("\n{}\n", lines.join("\n"));
    let hash = STANDARD.encode(digest(&SHA256, style.as_bytes()));
    (style, hash)
});

/// The parts of every page that are the operator's own. By default there are none.
#[derive(Debug, Default)]
pub(crate) struct Brand {
    /// The name of the organization, if it has one.
    pub(crate) name: Option<String>,
    /// The HTML above the title.
    header: String,
    has_logo: bool,
    /// The HTML that says where to get help.
    help: Option<String>,
}

impl Brand {
    /// Takes the name, a logo with its media type, and the page and the address for help.
    pub(crate) fn new(
        name: &str,
        logo: Option<(&str, &[u8])>,
        [url, email]: [Option<&str>; 2],
    ) -> Self {
        // The name beside it says it all.
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

    /// Makes a page, with what keeps others from framing it, running anything in it or learning of it.
    /// `body` is HTML, and has the one `h1`.
    ///
    /// `form_action` is where its form may lead, redirects included.
    pub(crate) fn page(
        &self,
        status: StatusCode,
        title: &str,
        body: &str,
        form_action: &str,
    ) -> Response {
        let mut response = empty(status);
        self.write_page(&mut response, title, body, form_action);
        response
    }

    fn write_page(&self, response: &mut Response, title: &str, body: &str, form_action: &str) {
        let (style, style_hash) = &*STYLE;
        let (title, header) = (escaped(title), &self.header);
        let text = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n\
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

    /// Writes the page into a response that is to be one about an error, and into the log that a person was
    /// told.
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
        self.write_page(response, title, &body, "'none'");
        let (what, status) = (
            "a page told a person of an error",
            response.status().as_u16(),
        );
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

/// A page for a person who cannot go on. Both texts are whole sentences or titles in words that everybody
/// has: who reads them has never heard of a redirect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorPage {
    status: StatusCode,
    title: &'static str,
    what_to_do: &'static str,
}

/// The parts of such a page that is to be [shown](Brand::show_error).
#[derive(Clone, Debug)]
struct Shown {
    title: &'static str,
    what_to_do: &'static str,
    /// HTML after what to do.
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

    /// Makes the response, which gets a reference that is in the log.
    pub(crate) fn response(&self) -> Response {
        self.response_about(Finding::default(), None, String::new())
    }

    /// Makes the response with HTML after what to do. The log has what was found, and the error of OAuth's
    /// that it is.
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

    /// Makes the response of what may go on after a while, in whole seconds.
    pub(crate) fn response_for_later(&self, wait: Duration) -> Response {
        let mut response = self.response();
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, retry_after_value(wait));
        response
    }
}

/// Escapes text as it may stand in HTML, in an attribute too.
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
