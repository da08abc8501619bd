//! One endpoint's counter and faults.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One kind of endpoint of a [`DevTenant`](crate::DevTenant): what it was asked, and how it fails.
#[derive(Clone, Default)]
pub struct Endpoint {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    hits: usize,
    fault: Option<Active>,
}

struct Active {
    answer: Answer,
    /// For how many more requests; `None` without end.
    remaining: Option<usize>,
}

/// What an endpoint does instead of its work.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Answers so.
    Reply {
        status: u16,
        content_type: String,
        body: String,
    },
    /// Sends the client there (302).
    Redirect { location: String },
    /// Never answers.
    Hang,
}

/// A fault that was just set; without more it lasts until [`Endpoint::recovers`].
#[derive(Debug)]
pub struct Fault<'a> {
    endpoint: &'a Endpoint,
}

impl Endpoint {
    /// How many requests have arrived, faults included.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.lock().hits
    }

    /// From now on answers with this status and an empty body.
    pub fn fails_with(&self, status: u16) -> Fault<'_> {
        self.answers_with(status, "text/plain", "")
    }

    /// From now on answers with exactly this.
    pub fn answers_with(&self, status: u16, content_type: &str, body: &str) -> Fault<'_> {
        self.set(Answer::Reply {
            status,
            content_type: content_type.to_owned(),
            body: body.to_owned(),
        })
    }

    /// From now on answers with a redirect (302) to this URL.
    pub fn redirects_to(&self, url: &str) -> Fault<'_> {
        self.set(Answer::Redirect {
            location: url.to_owned(),
        })
    }

    /// From now on takes requests and never answers.
    pub fn hangs(&self) -> Fault<'_> {
        self.set(Answer::Hang)
    }

    /// Ends the fault for requests yet to come; those that hang keep hanging.
    pub fn recovers(&self) {
        self.lock().fault = None;
    }

    /// Counts a request and says what to do instead of the work, if anything.
    pub(crate) fn hit(&self) -> Option<Answer> {
        let mut state = self.lock();
        state.hits += 1;
        let active = state.fault.as_mut()?;
        let answer = active.answer.clone();
        match &mut active.remaining {
            Some(0) => {
                state.fault = None;
                return None;
            }
            Some(remaining) => *remaining -= 1,
            None => {}
        }
        Some(answer)
    }

    fn set(&self, answer: Answer) -> Fault<'_> {
        self.lock().fault = Some(Active {
            answer,
            remaining: None,
        });
        Fault { endpoint: self }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        formatter
            .debug_struct("Endpoint")
            .field("hits", &state.hits)
            .field("fault", &state.fault.as_ref().map(|active| &active.answer))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_lasts_for_the_requests_it_was_given() {
        let endpoint = Endpoint::default();
        endpoint.fails_with(503).for_next(2);
        let answers: Vec<_> = (0..3).map(|_| endpoint.hit().is_some()).collect();
        assert_eq!(answers, [true, true, false]);
        assert_eq!(endpoint.hits(), 3);
    }

    #[test]
    fn a_fault_without_a_count_lasts_until_it_recovers() {
        let endpoint = Endpoint::default();
        endpoint.hangs();
        assert!((0..5).all(|_| endpoint.hit().is_some()));
        endpoint.recovers();
        assert!(endpoint.hit().is_none());
    }
}
