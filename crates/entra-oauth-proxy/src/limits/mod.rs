//! How much is asked of Entra at a time.
//!
//! [`Limits`] are the settings, and [`bulkheads`](bulkhead) what they come to.

mod bulkhead;
mod gate;
mod log;

pub(crate) use self::gate::Gate;

/// How many calls to Entra there are at a time; for
/// [`EntraOAuthProxyBuilder::limits`](crate::EntraOAuthProxyBuilder::limits).
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`entra_calls`](Self::entra_calls) | 64 at a time for sign-ins, and 64 for renewals |
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "they count once they are given to the builder"]
pub struct Limits {
    entra_calls: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entra_calls: Self::ENTRA_CALLS,
        }
    }
}

impl Limits {
    const ENTRA_CALLS: usize = 64;

    /// How many calls to Entra there may be at a time: 1 to 10 000, for sign-ins and, apart from them,
    /// for renewals, so that neither waits for the other. Four times as many may wait, for 2 s; then,
    /// and for whoever comes beyond, it is as if Entra did not answer.
    pub fn entra_calls(mut self, most: usize) -> Self {
        self.entra_calls = most;
        self
    }

    /// What is wrong with them.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=10_000).contains(&self.entra_calls) {
            problems.push(format!(
                "entra_calls({}) is not from 1 to 10000; good is entra_calls({})",
                self.entra_calls,
                Self::ENTRA_CALLS
            ));
        }
        problems
    }
}
