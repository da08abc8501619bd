//! Settings that weaken the protection. Each needs a reason; reviewers search for `dangerous()`.

use crate::validator::ValidatorBuilder;

/// The weakening settings of a [`ValidatorBuilder`]; see [`ValidatorBuilder::dangerous`].
#[derive(Debug)]
#[must_use]
pub struct DangerousValidatorBuilder(pub(crate) ValidatorBuilder);

impl DangerousValidatorBuilder {
    /// Accepts tokens that are signed by a key of another national cloud, as key sets of Entra
    /// publish some beside their own.
    ///
    /// Whoever operates that cloud can then make tokens that are accepted here. For the case that
    /// Entra names the clouds of its keys otherwise than is known here.
    pub fn accept_keys_of_other_clouds(mut self) -> ValidatorBuilder {
        self.0.accepts_keys_of_other_clouds = true;
        self.0
    }
}
