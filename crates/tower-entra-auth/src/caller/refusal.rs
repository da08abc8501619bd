//! Refusals outside of the Layer: by a handler, an extractor or a requirement.

use std::fmt;
use std::sync::{Arc, LazyLock};

use http::request::Parts;
use http::{HeaderMap, Response};

use super::{AuthContext, Caller};
use crate::respond::{Format, Reason, Responder, grpc_metadata};
use crate::service::{AnswerBody, Asked, for_method};
use crate::telemetry::RefusedWithin;

/// The refusal of a request by a handler, an extractor or a requirement, with its response.
///
/// [`Caller::forbid`], [`Caller::unavailable`], [`Caller::challenge`](crate::Caller::challenge),
/// [`RequireLayer::check`](crate::RequireLayer::check),
/// [`RequireLayer::authorize`](crate::RequireLayer::authorize) and the extractors return refusals.
///
/// The response is made as for refusals by the Layer. With the feature `axum`, handlers return the
/// refusal as an error. Elsewhere, [`response_to`](Self::response_to) makes the response, and
/// [`grpc_metadata`](Self::grpc_metadata) makes the gRPC status. An error type of your own needs a
/// variant for refusals, and must use the refusal's response for that variant. A blanket conversion
/// of every error would make it a 500.
#[must_use = "it refuses nothing unless the handler returns it"]
pub struct Refusal(Box<RefusedRequest>);

struct RefusedRequest {
    /// `None` if no Layer of an `EntraAuth` ran.
    context: Option<Arc<AuthContext>>,
    caller: Option<Caller>,
    reason: Reason,
    /// Records the refusal for the span around the request, because a gRPC response does not show
    /// it.
    within: Option<RefusedWithin>,
    /// The response, if it was made together with the refusal.
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

    /// Makes a refusal together with the response to this request. The response is that of the
    /// Layer with this `context`, or that without a Layer.
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

    /// Returns the exact code, for your own logs and metrics; never send it to callers.
    ///
    /// It may show an attacker how far a forged token got.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.reason.code()
    }

    /// Returns the code that the caller may see; `None` if no token was sent.
    #[must_use]
    pub fn public_code(&self) -> Option<&'static str> {
        self.0.reason.public_code()
    }

    /// Returns whether the refusal says nothing about the caller, because a dependency is
    /// unavailable.
    ///
    /// The Layer lacks what it needs to validate the token, or the handler lacks what it needs to
    /// decide about the caller.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self.0.reason,
            Reason::Unavailable { .. } | Reason::NotNow { .. }
        )
    }

    /// Returns the remedy, for the service's own log and not for the caller.
    #[must_use]
    pub fn remedy(&self) -> String {
        let remedy = match &self.0.context {
            Some(context) => context.responder.remedy(&self.0.reason),
            None => WITHOUT_LAYER.remedy(&self.0.reason),
        };
        remedy.into_owned()
    }

    /// Makes the response to this request.
    ///
    /// The request's method and headers decide whether the response is text, JSON or gRPC, and
    /// whether it has a body. Every call logs and counts the refusal.
    #[must_use]
    pub fn response_to(&self, request: &Parts) -> Response<AnswerBody> {
        let format = Format::of(&request.method, &request.headers);
        for_method(&request.method, self.refuse(format, Some(request.into())))
    }

    /// Makes the gRPC response, as headers or trailers.
    ///
    /// They are `grpc-status`, `grpc-message`, and the challenge as an HTTP client receives it.
    /// With the feature `tonic`, a refusal converts to a `tonic::Status`. Every call logs and
    /// counts the refusal.
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

/// Responder for requests without a Layer of an `EntraAuth`, which is a fault of the program. It
/// exists once per process, because no `EntraAuth` belongs to the request.
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

/// Returns the response in the format that the request asked for, as the extractor of the caller
/// noted it.
///
/// If the handler took the caller from the extensions, the response is text.
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

/// Converts to the gRPC status in the [table of responses](crate#answers), with the challenge in
/// its metadata; logs and counts the refusal.
#[cfg(feature = "tonic")]
impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> Self {
        let status = Self::from_header_map(&refusal.grpc_metadata());
        // Never happens: every refusal has a gRPC status, even after a hook changed the response.
        status.unwrap_or_else(|| Self::internal("refused"))
    }
}
