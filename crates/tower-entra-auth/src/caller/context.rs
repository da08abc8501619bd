//! The answers to what is refused, the same wherever that is: by the Layer, a requirement or a handler.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, Response};

use super::{AuthContext, Caller};
use crate::respond::{ClaimsChallenge, Format, Reason, Responder};
use crate::service::{AnswerBody, Asked, for_method};

/// A request that is refused, as the hook of
/// [`on_refusal`](crate::EntraAuthBuilder::on_refusal) sees it.
pub struct RefusalContext<'r> {
    refusal: &'r Reason,
    caller: Option<&'r Caller>,
    request: &'r HeaderMap,
    format: Format,
    responder: &'r Responder,
    /// The latest challenge for which the hook has made an answer.
    challenge: Mutex<Option<ClaimsChallenge>>,
}

impl AuthContext {
    /// Writes a refusal into the log and counts it, where there is nobody left to answer.
    pub(crate) fn record(&self, refusal: &Reason) {
        self.responder.log(refusal, None);
        refusal.decided().count();
    }

    /// Writes the refusal into the log, counts it and makes the answer to the request.
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

    /// Does the same where the format is known already, and the framework sees to HEAD.
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

    /// Returns the response, by the hook if there is one.
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
        // A hook has no state of ours to leave half changed.
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

    /// Passes what the client is asked for to the server that reissued the caller's token.
    fn call_challenge_hook(challenge: Option<&ClaimsChallenge>, caller: Option<&Caller>) {
        let (Some(challenge), Some(caller)) = (challenge, caller) else {
            return;
        };
        let Some(hook) = caller.on_challenge() else {
            return;
        };
        // The client is challenged all the same, and asks again.
        if catch_unwind(AssertUnwindSafe(|| hook(caller, challenge))).is_err() {
            tracing::error!(
                remedy = "see why the function of on_challenge(..) panicked",
                "no word of a challenge to the server that reissued the token"
            );
        }
    }
}

impl RefusalContext<'_> {
    /// Returns the machine code that the caller may learn, whatever
    /// [`RefusalDetail`](crate::refusal::RefusalDetail) is set; none where no token was sent.
    #[must_use]
    pub fn public_code(&self) -> Option<&'static str> {
        self.refusal.public_code()
    }

    /// Returns the exact code, for logs and metrics of your own: it may tell an attacker how far a
    /// forgery got.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.refusal.code()
    }

    /// Returns what to change, in words that the caller may learn, whatever
    /// [`RefusalDetail`](crate::refusal::RefusalDetail) is set.
    #[must_use]
    pub fn remedy(&self) -> Cow<'static, str> {
        self.responder.public_remedy(self.refusal)
    }

    /// Returns who is calling, where a requirement, an extractor or a handler refuses. `None` where the
    /// Layer itself does, also for `no_permission`.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.caller
    }

    /// Returns the headers of the request; none of them where a handler refuses after it was called
    /// ([`Refusal`](crate::Refusal)).
    #[must_use]
    pub fn request_headers(&self) -> &HeaderMap {
        self.request
    }

    /// Makes the answer that asks the client for more claims, if it understands that, else the 403 that
    /// it gets otherwise: for a request whose [`caller`](Self::caller) is known. Without a valid
    /// token a 403 is all that it makes.
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
