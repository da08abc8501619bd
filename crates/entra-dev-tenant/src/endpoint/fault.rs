//! The ways in which an endpoint fails.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::Endpoint;

/// A fault that was just set; without more it lasts until [`Endpoint::recovers`].
#[derive(Debug)]
pub struct Fault<'a> {
    endpoint: &'a Endpoint,
}

pub(super) struct Active {
    pub(super) answer: Answer,
    /// For how many more requests; `None` without end.
    pub(super) remaining: Option<usize>,
}

/// What an endpoint does instead of its work.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Answers exactly this.
    Reply {
        status: StatusCode,
        headers: HeaderMap,
        body: String,
    },
    /// Never answers.
    Hang,
    /// Answers rightly, and yet not well.
    Right(Manner),
}

/// What is wrong with the right answer.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    /// It comes that much later.
    Late(Duration),
    /// One byte a second.
    Trickling,
    /// The connection is closed after half of it.
    Truncated,
    /// Half of it is sent as if that were all.
    CutInTheMiddle,
    /// It is at least that many bytes long.
    Oversized(usize),
    /// It is compressed, together with very much white space.
    GzipBomb,
}

impl Endpoint {
    /// From now on answers with this status and an empty body.
    ///
    /// # Panics
    /// If no status has this number: those are 100 to 999.
    pub fn fails_with(&self, status: u16) -> Fault<'_> {
        self.answers_with(status, "text/plain", "")
    }

    /// From now on answers with exactly this.
    ///
    /// # Panics
    /// If no status has this number, or if the content type cannot be the value of a header.
    pub fn answers_with(&self, status: u16, content_type: &str, body: &str) -> Fault<'_> {
        self.reply(status, [(header::CONTENT_TYPE, content_type)], body)
    }

    /// From now on answers with 200 and the HTML page of a proxy that wants something first.
    pub fn answers_html(&self) -> Fault<'_> {
        const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Sign in to the network</title>\
            </head><body><h1>Sign in to the network</h1><p>Your browser must be signed in to \
            reach this site.</p></body></html>\n";
        self.answers_with(200, "text/html; charset=utf-8", PAGE)
    }

    /// From now on answers with the first half of the right answer, as if that were all of it:
    /// status, content type and content length are right, the JSON ends in the middle.
    pub fn answers_invalid_json(&self) -> Fault<'_> {
        self.set(Answer::Right(Manner::CutInTheMiddle))
    }

    /// From now on answers with 200 and an object that is an error, as some gateways do.
    pub fn answers_error_json(&self) -> Fault<'_> {
        let body = r#"{"error":"temporarily_unavailable"}"#;
        self.answers_with(200, "application/json", body)
    }

    /// From now on gives the right answer, with a member that nobody knows added as its last, so
    /// that its body is at least `bytes` bytes long.
    pub fn answers_oversized(&self, bytes: usize) -> Fault<'_> {
        self.set(Answer::Right(Manner::Oversized(bytes)))
    }

    /// From now on gives the right answer with `Content-Encoding: gzip`, whether or not that was
    /// accepted: less than 200 KiB as it is sent, 100 MiB of white space and then the right JSON
    /// when it is inflated.
    pub fn answers_gzip_bomb(&self) -> Fault<'_> {
        self.set(Answer::Right(Manner::GzipBomb))
    }

    /// From now on answers 304 without a body, whether or not the request was conditional.
    pub fn answers_not_modified(&self) -> Fault<'_> {
        self.reply(304, [], "")
    }

    /// From now on answers with this status, such as 429 or 503, and this `Retry-After`: seconds,
    /// or a date such as [`http_date_in`](crate::DevTenant::http_date_in) writes. Both that and
    /// the `Date`, which every answer has, are of the tenant's clock.
    ///
    /// # Panics
    /// If no status has this number, or if `retry_after` cannot be the value of a header.
    pub fn throttles(&self, status: u16, retry_after: &str) -> Fault<'_> {
        self.reply(status, [(header::RETRY_AFTER, retry_after)], "")
    }

    /// From now on answers with a redirect (302) to this URL.
    ///
    /// # Panics
    /// If it cannot be the value of a header.
    pub fn redirects_to(&self, url: &str) -> Fault<'_> {
        self.reply(302, [(header::LOCATION, url)], "")
    }

    /// From now on takes requests and never answers.
    pub fn hangs(&self) -> Fault<'_> {
        self.set(Answer::Hang)
    }

    /// From now on gives the right answer so much later, by tokio's clock: that of the time when
    /// it was asked, whatever has changed since.
    pub fn takes(&self, delay: Duration) -> Fault<'_> {
        self.set(Answer::Right(Manner::Late(delay)))
    }

    /// From now on gives the right answer slowly: its headers at once, its body one byte a second,
    /// by tokio's clock.
    pub fn trickles(&self) -> Fault<'_> {
        self.set(Answer::Right(Manner::Trickling))
    }

    /// From now on gives the right answer with its whole `Content-Length`, and closes the
    /// connection after half the body.
    pub fn truncates(&self) -> Fault<'_> {
        self.set(Answer::Right(Manner::Truncated))
    }

    /// Ends the fault for requests yet to come; those that hang keep hanging.
    pub fn recovers(&self) {
        self.lock().fault = None;
    }

    /// Panics for a status or a header that is none, as each of its callers documents.
    fn reply<const N: usize>(
        &self,
        status: u16,
        headers: [(HeaderName, &str); N],
        body: &str,
    ) -> Fault<'_> {
        let headers = headers.map(|(name, value)| {
            let value = HeaderValue::from_str(value);
            (name, value.expect("the value of a header"))
        });
        self.set(Answer::Reply {
            status: StatusCode::from_u16(status).expect("a status of 100 to 999"),
            headers: HeaderMap::from_iter(headers),
            body: body.to_owned(),
        })
    }

    fn set(&self, answer: Answer) -> Fault<'_> {
        self.lock().fault = Some(Active {
            answer,
            remaining: None,
        });
        Fault { endpoint: self }
    }
}

impl Fault<'_> {
    /// Only for this many requests; after them the endpoint works again.
    pub fn for_next(self, requests: usize) {
        if let Some(active) = &mut self.endpoint.lock().fault {
            active.remaining = Some(requests);
        }
    }
}
