//! The pages for those who cannot go on.

use http::StatusCode;

use super::{escaped, page};
use crate::http::response::Answer;
use crate::keys::keyring::random_text;
use crate::telemetry::log::{RefusalLog, throttled};

/// What a person is told who cannot go on. Both are whole sentences or titles in words that everybody
/// has: who reads them has never heard of a redirect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Obstacle {
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    pub(crate) what_to_do: &'static str,
}

/// The parts of such a page that are in the log.
#[derive(Clone, Debug)]
struct Shown {
    title: &'static str,
    reference: String,
}

/// A later version of this server, which ran here before or runs beside this one, made what the
/// browser sent.
pub(crate) const LATER_VERSION: Obstacle = Obstacle {
    status: StatusCode::SERVICE_UNAVAILABLE,
    title: "This server is being changed",
    what_to_do: "What your application or browser sent was made by a newer version of this server than \
        the one that answered. Nothing was lost or changed. Load this page again in a minute. If that does \
        not help, tell whoever runs this server that an older version of it answers.",
};

/// A page that says what went wrong and what to do, with a reference that is in the log.
pub(crate) fn error_page(obstacle: &Obstacle) -> Answer {
    error_page_with(obstacle, "")
}

/// Makes an error page with HTML after what to do.
pub(crate) fn error_page_with(obstacle: &Obstacle, more: &str) -> Answer {
    let Obstacle {
        status,
        title,
        what_to_do,
    } = *obstacle;
    let reference = random_text::<6>();
    let body = format!(
        "<h1>{}</h1>\n<p>{}</p>\n{more}<p class=\"note\">If you ask for help, give this reference: \
         <code>{reference}</code></p>\n",
        escaped(title),
        escaped(what_to_do)
    );
    let mut answer = page(status, title, &body, "'none'");
    answer.extensions_mut().insert(Shown { title, reference });
    answer
}

/// Writes into the log that a person was told, if the answer is such a page.
pub(crate) fn log_error_page(log: &RefusalLog, answer: &Answer) {
    let Some(Shown { title, reference }) = answer.extensions().get::<Shown>() else {
        return;
    };
    let (what, status) = ("a page told a person of an error", answer.status().as_u16());
    throttled!(info, log, (what, title), status, reference, title, "{what}");
}
