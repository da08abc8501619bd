//! A refusal outside of the Layer: of a handler, an extractor or a requirement.

use std::fmt;
use std::sync::{Arc, LazyLock};

use http::request::Parts;
use http::{HeaderMap, Response};

use super::{AuthContext, Caller};
use crate::respond::{Format, Reason, Responder, grpc_metadata};
use crate::service::{AnswerBody, Asked, for_method};
use crate::telemetry::RefusedWithin;

/// The reason for which a request is not served, and its answer: of [`Caller::forbid`],
/// [`Caller::unavailable`], [`Caller::challenge`](crate::Caller::challenge),
/// [`RequireLayer::check`](crate::RequireLayer::check),
/// [`RequireLayer::authorize`](crate::RequireLayer::authorize) or an extractor.
///
/// It is answered as the Layer answers. With the feature `axum`, handlers return it as an error;
/// elsewhere [`response_to`](Self::response_to) makes the response, and
/// [`grpc_metadata`](Self::grpc_metadata) the status of gRPC. An error type of your own needs a
/// variant for it that is answered by it: a blanket conversion of every error would make it a 500.
#[must_use = "nothing is refused unless it is returned"]
pub struct Refusal(Box<RefusedRequest>);

struct RefusedRequest {
    /// `None` where no Layer of ours ran.
    context: Option<Arc<AuthContext>>,
    caller: Option<Caller>,
    reason: Reason,
    /// Records it for the span around the request, as the response will not say that it is a refusal.
    within: Option<RefusedWithin>,
    /// The answer, if it was made when the request was at hand.
    #[cfg(feature = "axum")]
    answer: Option<Response<AnswerBody>>,
}

impl Refusal {
    pub(crate) fn new(
        context: &Arc<AuthContext>,
        caller: Option<&Caller>,
        reason: Reason,
        within: Option<&RefusedWithin>,
    ) -> Self {
        Self(Box::new(RefusedRequest {
            context: Some(Arc::clone(context)),
            caller: caller.cloned(),
            reason,
            within: within.cloned(),
            #[cfg(feature = "axum")]
            answer: None,
        }))
    }

    /// Refuses a request that is at hand, as the nearest Layer answers: that of the context, or none.
    #[cfg(feature = "axum")]
    pub(crate) fn of_request(
        context: Option<&Arc<AuthContext>>,
        caller: Option<&Caller>,
        reason: Reason,
        request: &Parts,
    ) -> Self {
        let mut refusal = Self(Box::new(RefusedRequest {
            context: context.cloned(),
            caller: caller.cloned(),
            reason,
            within: None,
            answer: None,
        }));
        refusal.0.answer = Some(refusal.response_to(request));
        refusal
    }

    /// Returns the exact machine code, for logs and metrics of your own: it may tell an attacker how far
    /// a forgery got.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.reason.code()
    }

    /// Returns the machine code that the caller may learn; none where no token was sent.
    #[must_use]
    pub fn public_code(&self) -> Option<&'static str> {
        self.0.reason.public_code()
    }

    /// Returns whether it says nothing about the caller: what is needed to judge the token, or for a handler to
    /// judge the caller, cannot be had now.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self.0.reason,
            Reason::Unavailable { .. } | Reason::NotNow { .. }
        )
    }

    /// Returns what to change, and where: for the service's own log, not for the caller.
    #[must_use]
    pub fn remedy(&self) -> String {
        let remedy = match &self.0.context {
            Some(context) => context.responder.remedy(&self.0.reason),
            None => WITHOUT_LAYER.remedy(&self.0.reason),
        };
        remedy.into_owned()
    }

    /// Makes the answer to this request, whose method and headers say whether it is to be JSON or gRPC,
    /// and whether it has a body. Each call makes an answer, which is logged and counted.
    #[must_use]
    pub fn response_to(&self, request: &Parts) -> Response<AnswerBody> {
        let format = Format::of(&request.method, &request.headers);
        for_method(&request.method, self.refuse(format, Some(request.into())))
    }

    /// Makes the answer in gRPC, as the headers or trailers that it is made of: `grpc-status`,
    /// `grpc-message`, and the challenge as a HTTP client gets it. With the feature `tonic` a
    /// `tonic::Status` is made from the refusal itself. Each call makes an answer, which is logged and counted.
    #[must_use]
    pub fn grpc_metadata(&self) -> HeaderMap {
        if let Some(within) = &self.0.within {
            within.record(self.0.reason.decided());
        }
        grpc_metadata(&self.0.reason, self.refuse(Format::Grpc, None))
    }

    fn refuse(&self, format: Format, asked: Option<Asked<'_>>) -> Response<AnswerBody> {
        let reason = &self.0.reason;
        match &self.0.context {
            Some(context) => context.refuse_in(format, reason, self.0.caller.as_ref(), asked),
            None => {
                WITHOUT_LAYER.log(reason, asked);
                let mut response = WITHOUT_LAYER.response(reason, format);
                reason.decided().count_and_mark(&mut response);
                response
            }
        }
    }
}

/// Answers where no Layer of ours ran, which is a fault of the program, not of a request: for the whole
/// process, as there is no `EntraAuth` that it could belong to.
static WITHOUT_LAYER: LazyLock<Responder> = LazyLock::new(Responder::default);

impl fmt::Debug for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Refusal")
            .field("caller", &self.0.caller)
            .field("code", &self.code())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.public_code().unwrap_or(self.code());
        write!(formatter, "the caller is refused: {code}")
    }
}

impl std::error::Error for Refusal {}

/// The answer in the form that the request asked for when the caller was extracted; in text if the
/// caller was taken from the extensions.
#[cfg(feature = "axum")]
impl ::axum::response::IntoResponse for Refusal {
    fn into_response(mut self) -> ::axum::response::Response {
        if let Some(answer) = self.0.answer.take() {
            return answer.into_response();
        }
        let caller = self.0.caller.as_ref();
        let format = caller.map_or(Format::Text, |caller| caller.format);
        self.refuse(format, None).into_response()
    }
}

/// The status of the [table](crate#answers), with the challenge in its metadata; logged and counted.
#[cfg(feature = "tonic")]
impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> Self {
        let status = Self::from_header_map(&refusal.grpc_metadata());
        // Never: a refusal has a status of gRPC, whatever a hook made of it.
        status.unwrap_or_else(|| Self::internal("refused"))
    }
}
