//! The limits, at work.

use super::Limits;
use super::bulkhead::Bulkhead;

/// What stands before Entra.
pub(crate) struct Gate {
    /// Calls to Entra that redeem a code.
    pub(crate) redeeming: Bulkhead,
    /// Calls to Entra that renew tokens. Apart from the others: codes come from anybody.
    pub(crate) renewing: Bulkhead,
}

impl Gate {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            redeeming: Bulkhead::new("sign-ins", limits.entra_calls),
            renewing: Bulkhead::new("renewals", limits.entra_calls),
        }
    }
}
