//! What is told of each decision: a count, and a span around the request.

use std::fmt;
use std::sync::{Arc, OnceLock};

use entra_jwt_core::AccessToken;
use http::{Request, Response};
use tracing::Span;
use tracing::field::{Empty, display};

use super::metrics;

/// By which subscribers filter the span.
const TARGET: &str = "tower_entra_auth::request";

/// What was decided about a request, in words of a closed set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Decided {
    pub(crate) outcome: &'static str,
    /// The exact code of a refusal.
    pub(crate) code: Option<&'static str>,
}

impl Decided {
    pub(crate) const ACCEPTED: Self = Self {
        outcome: "accepted",
        code: None,
    };
    pub(crate) const ANONYMOUS: Self = Self {
        outcome: "anonymous",
        code: None,
    };

    /// Counts a refusal, and records it in its answer, for the span around the request.
    pub(crate) fn count_and_mark<B>(self, answer: &mut Response<B>) {
        metrics::decision(self);
        answer.extensions_mut().insert(self);
    }
}

/// What was refused of a request within the inner service, whose response does not say so.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefusedWithin(Arc<OnceLock<Decided>>);

impl RefusedWithin {
    /// Records it for the span around the request: the first one counts.
    pub(crate) fn record(&self, decided: Decided) {
        let _ = self.0.set(decided);
    }
}

/// The span around one request: around what is waited for, and the inner service.
///
/// Nothing that an unverified token says becomes part of it, nor a person's claim.
pub(crate) struct RequestSpan {
    span: Span,
    decided: Decided,
    within: Option<RefusedWithin>,
}

impl RequestSpan {
    /// None at all.
    pub(crate) fn none() -> Self {
        Self {
            span: Span::none(),
            decided: Decided::ACCEPTED,
            within: None,
        }
    }

    /// Of a request about which nothing is known yet.
    pub(crate) fn begin() -> Self {
        let span = tracing::info_span!(
            target: TARGET,
            "entra_auth",
            caller = Empty,
            tenant = Empty,
            client_id = Empty,
            registered_client = Empty,
            outcome = Empty,
            code = Empty,
        );
        Self {
            span,
            decided: Decided::ACCEPTED,
            within: None,
        }
    }

    pub(crate) fn anonymous() -> Self {
        Self {
            decided: Decided::ANONYMOUS,
            ..Self::begin()
        }
    }

    pub(crate) fn of(caller: &AccessToken) -> Self {
        let span = Self::begin();
        span.record_caller(caller);
        span
    }

    /// Records who is calling.
    pub(crate) fn record_caller(&self, caller: &AccessToken) {
        if self.span.is_disabled() {
            return;
        }
        self.span.record("caller", display(caller.kind()));
        self.span.record("tenant", display(caller.tenant_id()));
        if let Some(client) = caller.client_id() {
            self.span.record("client_id", display(client));
        }
        if let Some(client) = caller.registered_client() {
            self.span.record("registered_client", client);
        }
    }

    /// Adds to a request that is handed on what a refusal further in is recorded with.
    pub(crate) fn prepare<B>(&mut self, request: &mut Request<B>) {
        if !self.span.is_disabled() {
            let within = self.within.insert(RefusedWithin::default());
            request.extensions_mut().insert(within.clone());
        }
    }

    pub(crate) fn in_scope<T>(&self, run: impl FnOnce() -> T) -> T {
        self.span.in_scope(run)
    }

    /// There is an answer: ours or, if nothing further in has refused, the inner service's.
    pub(crate) fn end<B>(&self, response: &Response<B>) {
        if self.span.is_disabled() {
            return;
        }
        let within = self.within.as_ref().and_then(|within| within.0.get());
        let refused = response.extensions().get::<Decided>().or(within);
        let Decided { outcome, code } = refused.copied().unwrap_or(self.decided);
        self.span.record("outcome", outcome);
        if let Some(code) = code {
            self.span.record("code", code);
        }
    }
}

impl fmt::Debug for RequestSpan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.span.fmt(formatter)
    }
}
