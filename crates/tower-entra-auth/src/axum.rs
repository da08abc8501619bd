//! [`Caller`] as an extractor of axum.

use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use crate::caller::Caller;
use crate::log::RefusalLog;
use crate::refusal::Refusal;
use crate::respond::{self, Protocol, RefusalDetail};

/// No Layer of ours ran before the handler: the answer is 500, and the log says what to do.
#[derive(Debug)]
pub struct NoCaller {
    protocol: Protocol,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = NoCaller;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoCaller> {
        parts.extensions.get().cloned().ok_or_else(|| NoCaller {
            protocol: Protocol::of(&parts.headers),
        })
    }
}

impl IntoResponse for NoCaller {
    fn into_response(self) -> Response {
        // A fault of the program, not of a request: each one is written.
        RefusalLog::default().refused(&Refusal::WrongLayer);
        respond::response(&Refusal::WrongLayer, RefusalDetail::Code, self.protocol).into_response()
    }
}
