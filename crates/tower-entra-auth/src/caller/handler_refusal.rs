//! A refusal that a handler returns.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response};
use http_body_util::Full;

use super::{AuthContext, Caller};
use crate::respond::{Format, Refusal, grpc_metadata};
use crate::telemetry::RefusedWithin;

/// The reason for which a handler does not serve a caller: of
/// [`Caller::challenge`](crate::Caller::challenge),
/// [`RequireLayer::check`](crate::RequireLayer::check) or
/// [`RequireLayer::authorize`](crate::RequireLayer::authorize).
///
/// It is answered as the Layer answers. With the feature `axum`, handlers return it as an error;
/// elsewhere [`response_to`](Self::response_to) makes the response, and
/// [`grpc_metadata`](Self::grpc_metadata) the status of gRPC. An error type of your own needs a
/// variant for it that is answered by it: a blanket conversion of every error would make it a 500.
#[must_use = "nothing is refused unless it is returned"]
pub struct HandlerRefusal(Box<RefusedCaller>);

struct RefusedCaller {
    context: Arc<AuthContext>,
    caller: Option<Caller>,
    refusal: Refusal,
    /// Records it for the span around the request, as the response will not say that it is a refusal.
    within: Option<RefusedWithin>,
}

impl HandlerRefusal {
    pub(crate) fn new(
        context: &Arc<AuthContext>,
        caller: Option<&Caller>,
        refusal: Refusal,
        within: Option<&RefusedWithin>,
    ) -> Self {
        Self(Box::new(RefusedCaller {
            context: Arc::clone(context),
            caller: caller.cloned(),
            refusal,
            within: within.cloned(),
        }))
    }

    /// Returns the machine code that the caller may learn.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.refusal.code()
    }

    /// Returns whether it says nothing about the token: what is needed to judge it cannot be had now.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self.0.refusal, Refusal::Unavailable { .. })
    }

    /// Returns what to change, and where: for the service's own log, not for the caller.
    #[must_use]
    pub fn remedy(&self) -> String {
        self.0
            .context
            .responder
            .remedy(&self.0.refusal)
            .into_owned()
    }

    /// Makes the answer to this request, whose method and headers say whether it is to be JSON or gRPC,
    /// and whether it has a body. Each call makes an answer, which is logged and counted.
    #[must_use]
    pub fn response_to(&self, request: &Parts) -> Response<Full<Bytes>> {
        let (caller, method) = (self.0.caller.as_ref(), &request.method);
        let context = &self.0.context;
        context.refuse(&self.0.refusal, caller, method, &request.headers)
    }

    /// Makes the answer in gRPC, as the headers or trailers that it is made of: `grpc-status`,
    /// `grpc-message`, and the challenge as a HTTP client gets it. Of tonic's `Status`,
    /// `from_header_map` takes it. Each call makes an answer, which is logged and counted.
    #[must_use]
    pub fn grpc_metadata(&self) -> HeaderMap {
        if let Some(within) = &self.0.within {
            within.record(self.0.refusal.decided());
        }
        grpc_metadata(&self.0.refusal, self.refuse_in(Format::Grpc))
    }

    fn refuse_in(&self, format: Format) -> Response<Full<Bytes>> {
        let (caller, headers) = (self.0.caller.as_ref(), HeaderMap::new());
        let context = &self.0.context;
        context.refuse_in(format, &self.0.refusal, caller, &headers)
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

/// Answers in the form that the request asked for when the caller was extracted; in text if the
/// caller was taken from the extensions.
#[cfg(feature = "axum")]
impl axum_core::response::IntoResponse for HandlerRefusal {
    fn into_response(self) -> axum_core::response::Response {
        let caller = self.0.caller.as_ref();
        let format = caller.map_or(Format::Text, |caller| caller.format);
        self.refuse_in(format).into_response()
    }
}
