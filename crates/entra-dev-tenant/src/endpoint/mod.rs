//! One endpoint: what it was asked, how it answers, and how it fails.
//!
//! In the order in which a request meets them: it is [`recorded`]; the [`fault`] that is set, if
//! one is, decides; [`play`] turns that and the right answer into a response, with the headers of
//! [`caching`], by the slow and the broken [`body`] or the [`gzip_bomb`] where asked to.

mod body;
mod caching;
mod fault;
mod gzip_bomb;
mod parameters;
mod play;
mod recorded;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::fault::Fault;
pub(crate) use self::parameters::Parameters;
pub use self::recorded::RecordedRequest;

use self::caching::Caching;
use self::fault::{Active, Answer};

/// One kind of endpoint of a [`DevTenant`](crate::DevTenant): what it was asked, and how it fails.
///
/// A method that sets a [`Fault`] replaces the one before. A fault lasts until
/// [`recovers`](Self::recovers), or for as many requests as [`Fault::for_next`] says.
#[derive(Clone, Default)]
pub struct Endpoint {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    hits: usize,
    requests: VecDeque<RecordedRequest>,
    fault: Option<Active>,
    caching: Caching,
}

impl Endpoint {
    /// How many requests are kept.
    const RECORDED: usize = 1_000;

    /// How many requests have arrived, faults included.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.lock().hits
    }

    /// The latest 1,000 requests, the oldest first, faults included.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.lock().requests.iter().cloned().collect()
    }

    /// Records a request that no fault touches.
    pub(crate) fn record(&self, request: RecordedRequest) {
        self.lock().record(request);
    }

    /// Records a request and says what to do instead of the work, if anything.
    fn hit(&self, request: RecordedRequest) -> Option<Answer> {
        let mut state = self.lock();
        state.record(request);
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn record(&mut self, request: RecordedRequest) {
        self.hits += 1;
        if self.requests.len() == Endpoint::RECORDED {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        formatter
            .debug_struct("Endpoint")
            .field("hits", &state.hits)
            .field("fault", &state.fault.as_ref().map(|active| &active.answer))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> RecordedRequest {
        RecordedRequest::of(&axum::http::Request::new(()))
    }

    #[tokio::test]
    async fn a_fault_lasts_for_the_requests_it_was_given() {
        let endpoint = Endpoint::default();
        endpoint.fails_with(503).for_next(2);
        let answers: Vec<_> = (0..3).map(|_| endpoint.hit(request()).is_some()).collect();
        assert_eq!(answers, [true, true, false]);
        assert_eq!(endpoint.hits(), 3);
    }

    #[tokio::test]
    async fn a_fault_without_a_count_lasts_until_it_recovers() {
        let endpoint = Endpoint::default();
        endpoint.hangs();
        assert!((0..5).all(|_| endpoint.hit(request()).is_some()));
        endpoint.recovers();
        assert!(endpoint.hit(request()).is_none());
    }

    #[tokio::test]
    async fn the_latest_thousand_requests_are_kept() {
        let endpoint = Endpoint::default();
        for number in 0..1_002 {
            let request = axum::http::Request::get(format!("/{number}")).body(());
            endpoint.hit(RecordedRequest::of(&request.unwrap()));
        }
        let paths: Vec<_> = endpoint
            .requests()
            .into_iter()
            .map(|request| request.path_and_query)
            .collect();
        assert_eq!(paths.len(), 1_000);
        assert_eq!((&*paths[0], &*paths[999]), ("/2", "/1001"));
        assert_eq!(endpoint.hits(), 1_002);
    }
}
