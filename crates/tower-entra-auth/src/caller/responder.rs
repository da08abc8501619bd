//! How one `EntraAuth` answers what it refuses: its log, its words, its hook.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(feature = "axum")]
use std::sync::LazyLock;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body_util::Full;

use crate::caller::{AuthId, Caller};
use crate::config::Clock;
use crate::policy::AfterChecks;
use crate::respond::{self, ClaimsChallenge, Form, Refusal, RefusalLog, Words};
use crate::telemetry::{Decided, metrics};

/// Shared by an `EntraAuth`, its callers and its anonymous requests, so that whoever refuses later
/// than the Layer answers as it does.
pub(crate) struct Answers {
    id: AuthId,
    words: Words,
    log: RefusalLog,
    time: Time,
    /// What is asked about callers again while they are served.
    after_checks: AfterChecks,
    hook: Option<Hook>,
    on_challenge: Option<OnChallenge>,
}

/// By which tokens expire.
pub(crate) struct Time {
    /// The wall clock.
    pub(crate) clock: Clock,
    /// For how long after it an expired token is accepted yet.
    pub(crate) skew: Duration,
}

/// Makes the answer to a refused request, from the one that it would get.
pub(crate) type Hook = Box<
    dyn Fn(&Refused<'_>, Response<Full<Bytes>>) -> Response<Full<Bytes>> + Send + Sync + 'static,
>;

/// Hears of each challenge to the caller of a reissued token.
pub(crate) type OnChallenge = Box<dyn Fn(&Caller, &ClaimsChallenge) + Send + Sync + 'static>;

/// A request that is refused, as the hook of
/// [`on_refusal`](crate::EntraAuthBuilder::on_refusal) sees it.
pub struct Refused<'r> {
    refusal: &'r Refusal,
    caller: Option<&'r Caller>,
    request: &'r HeaderMap,
    form: Form,
    words: &'r Words,
    /// What the hook has an answer to ask the client for, the last one.
    challenge: Mutex<Option<ClaimsChallenge>>,
}

impl Answers {
    pub(crate) fn new(
        id: AuthId,
        words: Words,
        time: Time,
        after_checks: AfterChecks,
        hook: Option<Hook>,
    ) -> Self {
        Self {
            id,
            words,
            log: RefusalLog::default(),
            time,
            after_checks,
            hook,
            on_challenge: None,
        }
    }

    pub(crate) fn telling(self, on_challenge: Option<OnChallenge>) -> Self {
        Self {
            on_challenge,
            ..self
        }
    }

    /// Returns whether somebody hears of challenges to the callers of reissued tokens.
    pub(crate) fn tells_of_challenges(&self) -> bool {
        self.on_challenge.is_some()
    }

    pub(crate) fn id(&self) -> AuthId {
        self.id
    }

    pub(crate) fn time(&self) -> &Time {
        &self.time
    }

    pub(crate) fn after_checks(&self) -> &AfterChecks {
        &self.after_checks
    }

    /// What to change, for the log.
    pub(crate) fn remedy(&self, refusal: &Refusal) -> String {
        refusal.remedy(&self.words).into_owned()
    }

    /// Writes a refusal into the log and counts it, where there is nobody left to answer.
    pub(crate) fn note(&self, refusal: &Refusal) {
        self.log.refused(refusal, &self.words);
        metrics::decision(Decided::of(refusal));
    }

    /// Writes the refusal into the log, counts it and makes the answer to the request.
    pub(crate) fn answer(
        &self,
        refusal: &Refusal,
        caller: Option<&Caller>,
        method: &Method,
        headers: &HeaderMap,
    ) -> Response<Full<Bytes>> {
        let form = Form::of(method, headers);
        for_method(method, self.answer_in(form, refusal, caller, headers))
    }

    /// The same, where the form is known already, and the framework sees to HEAD.
    pub(crate) fn answer_in(
        &self,
        form: Form,
        refusal: &Refusal,
        caller: Option<&Caller>,
        headers: &HeaderMap,
    ) -> Response<Full<Bytes>> {
        self.log.refused(refusal, &self.words);
        let mut answer = self.made(refusal, caller, headers, form);
        Decided::of(refusal).mark(&mut answer);
        answer
    }

    /// The answer, by the hook if there is one.
    fn made(
        &self,
        refusal: &Refusal,
        caller: Option<&Caller>,
        headers: &HeaderMap,
        form: Form,
    ) -> Response<Full<Bytes>> {
        let answer = respond::response(refusal, &self.words, form);
        let Some(hook) = &self.hook else {
            self.tell_of(refusal.challenge().as_deref(), caller);
            return answer;
        };
        let refused = Refused {
            refusal,
            caller,
            request: headers,
            form,
            words: &self.words,
            challenge: Mutex::default(),
        };
        // A hook has no state of ours to leave half changed.
        match catch_unwind(AssertUnwindSafe(|| hook(&refused, answer))) {
            Ok(answer) => {
                let of_hook = refused.challenge.into_inner();
                let of_hook = of_hook.unwrap_or_else(PoisonError::into_inner);
                let challenge = of_hook.map(Cow::Owned).or_else(|| refusal.challenge());
                self.tell_of(challenge.as_deref(), caller);
                answer
            }
            Err(_) => {
                self.note(&Refusal::HookPanicked);
                respond::response(&Refusal::HookPanicked, &self.words, form)
            }
        }
    }

    /// Tells the server that reissued the caller's token what the client is asked for.
    fn tell_of(&self, challenge: Option<&ClaimsChallenge>, caller: Option<&Caller>) {
        let caller = caller.filter(|caller| caller.grant().is_some());
        let (Some(tell), Some(challenge), Some(caller)) = (&self.on_challenge, challenge, caller)
        else {
            return;
        };
        // The client is challenged all the same, and asks again.
        if catch_unwind(AssertUnwindSafe(|| tell(caller, challenge))).is_err() {
            tracing::error!(
                remedy = "see why the function of on_challenge(..) panicked",
                "no word of a challenge to the server that reissued the token"
            );
        }
    }
}

impl Refused<'_> {
    /// The machine code that the caller may learn, whatever
    /// [`RefusalDetail`](crate::RefusalDetail) is set; none where no token was sent.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        self.refusal.public_code()
    }

    /// The exact code, for logs and metrics of your own: it may tell an attacker how far a forgery
    /// got.
    #[must_use]
    pub fn exact_code(&self) -> &'static str {
        self.refusal.code()
    }

    /// What to change, in words that the caller may learn, whatever
    /// [`RefusalDetail`](crate::RefusalDetail) is set.
    #[must_use]
    pub fn remedy(&self) -> Cow<'static, str> {
        self.refusal.public_remedy(self.words)
    }

    /// Who is calling, where a requirement, an extractor or a handler refuses. `None` where the
    /// Layer itself does, also for `no_permission`.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.caller
    }

    /// The headers of the request; none of them where a handler refuses after it was called
    /// ([`HandlerRefusal`](crate::HandlerRefusal)).
    #[must_use]
    pub fn request_headers(&self) -> &HeaderMap {
        self.request
    }

    /// The answer that asks the client for more claims, if it understands that, else the 403 that
    /// it gets otherwise: for a request whose [`caller`](Self::caller) is known. Without a valid
    /// token a 403 is all that it makes.
    #[must_use]
    pub fn challenge(&self, claims: ClaimsChallenge) -> Response<Full<Bytes>> {
        let refusal = Refusal::challenged(claims, self.caller);
        let answer = respond::response(&refusal, self.words, self.form);
        if let Some(claims) = refusal.challenge() {
            let mut challenge = self
                .challenge
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *challenge = Some(claims.into_owned());
        }
        answer
    }
}

impl fmt::Debug for Refused<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Refused")
            .field("code", &self.refusal.code())
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

/// The answer as the method wants it.
pub(crate) fn for_method(method: &Method, answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    match *method {
        Method::HEAD => respond::without_body(answer),
        _ => answer,
    }
}

/// The answer, with word that the connection ends, if the request has a body. Nobody reads it, and a
/// server closes where it has not arrived yet: a client that is not told (RFC 9112 §9.6) sends its
/// next request into that.
pub(crate) fn for_body<B>(
    request: &Request<B>,
    mut answer: Response<Full<Bytes>>,
) -> Response<Full<Bytes>> {
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH);
    let has_body =
        headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0");
    if has_body && request.version() <= Version::HTTP_11 {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
    }
    answer
}

/// The answer where no Layer of ours ran, which is a fault of the program, not of a request.
#[cfg(feature = "axum")]
pub(crate) fn wrong_layer(
    refusal: &Refusal,
    method: &Method,
    headers: &HeaderMap,
) -> Response<Full<Bytes>> {
    /// Of the whole process, as there is no `EntraAuth` that it could be of.
    static LOG: LazyLock<RefusalLog> = LazyLock::new(RefusalLog::default);

    let words = Words::default();
    LOG.refused(refusal, &words);
    let mut answer = respond::response(refusal, &words, Form::of(method, headers));
    Decided::of(refusal).mark(&mut answer);
    answer
}
