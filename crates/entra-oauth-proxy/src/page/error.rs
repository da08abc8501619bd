//! The page for whoever cannot go on.

use http::StatusCode;

use super::{escaped, page};
use crate::answer::Answer;
use crate::keys::random_text;

/// What a person is told who cannot go on. Both are whole sentences or titles in words that everybody
/// has: who reads them has never heard of a redirect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Obstacle {
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    pub(crate) what_to_do: &'static str,
}

/// A page that says what went wrong and what to do, with a reference that is in the log.
pub(crate) fn error_page(obstacle: &Obstacle) -> Answer {
    let Obstacle {
        status,
        title,
        what_to_do,
    } = *obstacle;
    let reference = random_text::<6>();
    tracing::info!(
        status = status.as_u16(),
        reference,
        title,
        "a page told a person of an error"
    );
    let body = format!(
        "<h1>{}</h1>\n<p>{}</p>\n<p class=\"note\">If you ask for help, give this reference: \
         <code>{reference}</code></p>\n",
        escaped(title),
        escaped(what_to_do)
    );
    page(status, title, &body, "'none'")
}
