//! A refusal that a handler returns.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
#[cfg(feature = "axum")]
use http::HeaderMap;
use http::Response;
use http::request::Parts;
use http_body_util::Full;

use crate::answers::Answers;
use crate::caller::Caller;
use crate::refusal::Refusal;

/// Why a handler does not serve a caller: of [`Caller::challenge`](crate::Caller::challenge) or
/// [`RequireLayer::check`](crate::RequireLayer::check).
///
/// It is answered as the Layer answers. With the feature `axum`, handlers return it as an error;
/// elsewhere [`response_to`](Self::response_to) makes the response. An error type of your own needs a
/// variant for it that is answered by it: a blanket conversion of every error would make it a 500.
#[must_use = "nothing is refused unless it is returned"]
pub struct HandlerRefusal(Box<Refused>);

struct Refused {
    answers: Arc<Answers>,
    caller: Caller,
    refusal: Refusal,
}

impl HandlerRefusal {
    pub(crate) fn new(answers: &Arc<Answers>, caller: &Caller, refusal: Refusal) -> Self {
        Self(Box::new(Refused {
            answers: Arc::clone(answers),
            caller: caller.clone(),
            refusal,
        }))
    }

    /// The machine code that the caller may learn.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.refusal.code()
    }

    /// The answer to this request, whose method and headers say whether it is to be JSON or gRPC,
    /// and whether it has a body.
    #[must_use]
    pub fn response_to(&self, request: &Parts) -> Response<Full<Bytes>> {
        let Refused {
            answers,
            caller,
            refusal,
        } = &*self.0;
        answers.answer(refusal, Some(caller), &request.method, &request.headers)
    }

    /// The answer in the form that was seen when the caller was extracted.
    #[cfg(feature = "axum")]
    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let Refused {
            answers,
            caller,
            refusal,
        } = &*self.0;
        answers.answer_in(caller.form(), refusal, Some(caller), &HeaderMap::new())
    }
}

impl fmt::Debug for HandlerRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HandlerRefusal")
            .field("caller", &self.0.caller)
            .field("code", &self.code())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for HandlerRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the caller is refused: {}", self.code())
    }
}

impl std::error::Error for HandlerRefusal {}
