//! Responses to refusals, made in the same way for the Layer, requirements and handlers.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, Response};

use super::{AuthContext, Caller};
use crate::respond::{ClaimsChallenge, Format, Reason, Responder};
use crate::service::{AnswerBody, Asked, for_method};

/// A refused request, as the [`on_refusal`](crate::EntraAuthBuilder::on_refusal) hook receives it.
pub struct RefusalContext<'r> {
    refusal: &'r Reason,
    caller: Option<&'r Caller>,
    request: &'r HeaderMap,
    format: Format,
    responder: &'r Responder,
    /// The latest challenge to which the hook has made a response.
    challenge: Mutex<Option<ClaimsChallenge>>,
}

impl AuthContext {
    /// Logs and counts a refusal to which no response is made.
    pub(crate) fn record(&self, refusal: &Reason) {
        self.responder.log(refusal, None);
        refusal.decided().count();
    }

    /// Logs and counts the refusal, and makes the response to the request.
    pub(crate) fn refuse(
        &self,
        refusal: &Reason,
        caller: Option<&Caller>,
        asked: Asked<'_>,
    ) -> Response<AnswerBody> {
        let format = Format::of(asked.method, asked.headers);
        for_method(
            asked.method,
            self.refuse_in(format, refusal, caller, Some(asked)),
        )
    }

    /// Logs and counts the refusal, and makes the response in a known format. The caller of this
    /// function, or the framework, removes the body for HEAD.
    pub(crate) fn refuse_in(
        &self,
        format: Format,
        refusal: &Reason,
        caller: Option<&Caller>,
        asked: Option<Asked<'_>>,
    ) -> Response<AnswerBody> {
        self.responder.log(refusal, asked);
        let none = HeaderMap::new();
        let headers = asked.map_or(&none, |asked| asked.headers);
        let mut response = self.response(refusal, caller, headers, format);
        refusal.decided().count_and_mark(&mut response);
        response
    }

    /// Returns the response, which the `on_refusal` hook may replace. Passes a claims challenge to
    /// the server that reissued the token.
    fn response(
        &self,
        refusal: &Reason,
        caller: Option<&Caller>,
        headers: &HeaderMap,
        format: Format,
    ) -> Response<AnswerBody> {
        let response = self.responder.response(refusal, format);
        let Some(hook) = &self.on_refusal else {
            Self::call_challenge_hook(refusal.challenge().as_deref(), caller);
            return response;
        };
        let refused = RefusalContext {
            refusal,
            caller,
            request: headers,
            format,
            responder: &self.responder,
            challenge: Mutex::default(),
        };
        // A hook holds no state of this crate that a panic could leave inconsistent.
        match catch_unwind(AssertUnwindSafe(|| hook(&refused, response))) {
            Ok(response) => {
                let of_hook = refused.challenge.into_inner();
                let of_hook = of_hook.unwrap_or_else(PoisonError::into_inner);
                let challenge = of_hook.map(Cow::Owned).or_else(|| refusal.challenge());
                Self::call_challenge_hook(challenge.as_deref(), caller);
                response
            }
            Err(_) => {
                self.record(&Reason::HookPanicked);
                self.responder.response(&Reason::HookPanicked, format)
            }
        }
    }

    /// Passes the claims challenge to the server that reissued the caller's token, if there is one.
    fn call_challenge_hook(challenge: Option<&ClaimsChallenge>, caller: Option<&Caller>) {
        let (Some(challenge), Some(caller)) = (challenge, caller) else {
            return;
        };
        let Some(hook) = caller.on_challenge() else {
            return;
        };
        // If the hook panics, the client still receives the challenge and sends another request.
        if catch_unwind(AssertUnwindSafe(|| hook(caller, challenge))).is_err() {
            tracing::error!(
                remedy = "find out why the function of on_challenge(..) panicked",
                "the on_challenge function panicked; the reissuing server did not receive the \
                 challenge"
            );
        }
    }
}

impl RefusalContext<'_> {
    /// Returns the code that the caller may see; `None` if no token was sent.
    ///
    /// The configured [`RefusalDetail`](crate::refusal::RefusalDetail) does not change this code.
    #[must_use]
    pub fn public_code(&self) -> Option<&'static str> {
        self.refusal.public_code()
    }

    /// Returns the exact code, for your own logs and metrics; never send it to callers.
    ///
    /// It may show an attacker how far a forged token got.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.refusal.code()
    }

    /// Returns the remedy, in words that the caller may see.
    ///
    /// The configured [`RefusalDetail`](crate::refusal::RefusalDetail) does not change these words.
    #[must_use]
    pub fn remedy(&self) -> Cow<'static, str> {
        self.responder.public_remedy(self.refusal)
    }

    /// Returns the caller, if a requirement, an extractor, a handler or an
    /// [`ExpiryLayer`](crate::expiry::ExpiryLayer) refuses the request.
    ///
    /// `None` if [`EntraLayer`](crate::EntraLayer) itself refuses the request, also with
    /// `no_permission`.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.caller
    }

    /// Returns the headers of the request.
    ///
    /// They are empty if the request is no longer available: when a handler that was called returns
    /// a [`Refusal`](crate::Refusal), or when an [`ExpiryLayer`](crate::expiry::ExpiryLayer) ends
    /// the response.
    #[must_use]
    pub fn request_headers(&self) -> &HeaderMap {
        self.request
    }

    /// Makes the response that asks the client for a new token that satisfies a claims request.
    ///
    /// If the client does not understand claims challenges, or if the [`caller`](Self::caller) is
    /// not known, the response is 403 without a challenge for claims.
    #[must_use]
    pub fn challenge(&self, claims: ClaimsChallenge) -> Response<AnswerBody> {
        let refusal = Reason::Challenged {
            claims,
            is_understood: self.caller.is_some_and(Caller::understands_challenges),
        };
        let response = self.responder.response(&refusal, self.format);
        if let Some(claims) = refusal.challenge() {
            let mut challenge = self
                .challenge
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *challenge = Some(claims.into_owned());
        }
        response
    }
}

impl fmt::Debug for RefusalContext<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RefusalContext")
            .field("code", &self.refusal.code())
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}
