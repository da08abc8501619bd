//! The rules of one trusted issuer.

use std::time::{Duration, SystemTime};

use crate::access_token::AccessToken;
use crate::audience::{Audience, Audiences};
use crate::checks::{self, Facts};
use crate::cloud::Cloud;
use crate::denied::Denied;
use crate::identifier::{ClientId, TenantId};
use crate::key::Key;
use crate::key_set::KeySet;
use crate::rejection::Rejection;
use crate::unverified::Unverified;

/// Whose tokens are accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Tenancy {
    /// Tokens of one tenant.
    Tenant(TenantId),
}

impl From<TenantId> for Tenancy {
    fn from(tenant: TenantId) -> Self {
        Self::Tenant(tenant)
    }
}

/// Decides about tokens of Microsoft Entra ID for one API.
///
/// Cheap to keep and to share; it holds no keys and no clock. See the [crate's page](crate) for an
/// example.
#[derive(Clone, Debug)]
pub struct Validator {
    rules: Rules,
}

/// What the checks compare with.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) tenancy: Tenancy,
    pub(crate) audiences: Audiences,
    pub(crate) cloud: Cloud,
    pub(crate) accepts_v1: bool,
    clock_skew: Duration,
}

impl Rules {
    pub(crate) fn clock_skew_seconds(&self) -> i64 {
        i64::try_from(self.clock_skew.as_secs()).unwrap_or(i64::MAX)
    }
}

/// Settings of a [`Validator`]; begin with [`Validator::entra`].
#[derive(Clone, Debug)]
pub struct ValidatorBuilder {
    tenancy: Tenancy,
    client_id: ClientId,
    audiences: Vec<Audience>,
    cloud: Cloud,
    accepts_v1: bool,
    clock_skew: Duration,
}

/// A setting of a [`ValidatorBuilder`] is out of bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRules {
    /// The clock skew is longer than [`Validator::MAX_CLOCK_SKEW`].
    #[error(
        "a clock skew of {} s is too long, at most {} s are accepted",
        .0.as_secs(), Validator::MAX_CLOCK_SKEW.as_secs()
    )]
    ClockSkew(Duration),
}

impl ValidatorBuilder {
    /// Accepts a further audience beside `{client id}` and `api://{client id}`, which are always
    /// accepted: the App ID URI, if it is another.
    #[must_use]
    pub fn audience(mut self, audience: Audience) -> Self {
        self.audiences.push(audience);
        self
    }

    /// The national cloud. Default: [`Cloud::Public`].
    #[must_use]
    pub fn cloud(mut self, cloud: Cloud) -> Self {
        self.cloud = cloud;
        self
    }

    /// Accepts v1 tokens beside v2 tokens. Default: only v2.
    ///
    /// Which of them Entra issues is up to `api.requestedAccessTokenVersion` in the manifest of
    /// the API's app registration.
    #[must_use]
    pub fn accept_v1_tokens(mut self) -> Self {
        self.accepts_v1 = true;
        self
    }

    /// How far the clocks of Entra and of this machine may differ. Default: 5 minutes, as in
    /// Microsoft's libraries.
    #[must_use]
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.clock_skew = skew;
        self
    }

    /// The finished validator.
    ///
    /// # Errors
    /// If a setting is out of its bounds.
    pub fn build(self) -> Result<Validator, InvalidRules> {
        if self.clock_skew > Validator::MAX_CLOCK_SKEW {
            return Err(InvalidRules::ClockSkew(self.clock_skew));
        }
        Ok(Validator {
            rules: Rules {
                tenancy: self.tenancy,
                audiences: Audiences::new(self.client_id, self.audiences),
                cloud: self.cloud,
                accepts_v1: self.accepts_v1,
                clock_skew: self.clock_skew,
            },
        })
    }
}

impl Validator {
    /// The clock skew that is allowed unless set otherwise: 5 minutes.
    pub const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(300);

    /// The longest clock skew that can be set: 10 minutes.
    pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(600);

    /// Begins the rules for access tokens of Entra for the API with this application (client) id.
    #[must_use]
    pub fn entra(tenancy: impl Into<Tenancy>, client_id: ClientId) -> ValidatorBuilder {
        ValidatorBuilder {
            tenancy: tenancy.into(),
            client_id,
            audiences: Vec::new(),
            cloud: Cloud::default(),
            accepts_v1: false,
            clock_skew: Self::DEFAULT_CLOCK_SKEW,
        }
    }

    /// Parses and verifies a token in one call, for whoever has all keys at hand.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn validate(
        &self,
        token: &str,
        keys: &KeySet,
        now: SystemTime,
    ) -> Result<AccessToken, Rejection> {
        let unverified = Unverified::parse(token)?;
        let key = keys.key(unverified.key_ref().key_id);
        self.finish(unverified, key, now)
    }

    /// Whether the token says that an issuer of this validator's cloud issued it, v1 or v2, in a
    /// tenant that is allowed. It may be lying.
    #[must_use]
    pub fn claims_to_be_ours(&self, token: &Unverified<'_>) -> bool {
        let facts = Facts::new(&self.rules, token, None, SystemTime::UNIX_EPOCH);
        match (facts.issued_by(), self.rules.tenancy) {
            (Ok((found, _)), Tenancy::Tenant(allowed)) => found == allowed,
            (Err(_), _) => false,
        }
    }

    /// Runs every check that needs no key on the unverified token. If one fails, no key in the
    /// world makes the token valid, and none need be fetched for it.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn precheck(&self, token: &Unverified<'_>, now: SystemTime) -> Result<(), Rejection> {
        let facts = Facts::new(&self.rules, token, None, now);
        checks::run(&checks::HEADER, &facts)?;
        checks::run(&checks::CLAIMS, &facts)
    }

    /// Verifies a parsed token with the key that it names, `None` if there is no such key.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn finish(
        &self,
        token: Unverified<'_>,
        key: Option<&Key>,
        now: SystemTime,
    ) -> Result<AccessToken, Rejection> {
        let facts = Facts::new(&self.rules, &token, key, now);
        checks::run(&checks::HEADER, &facts)?;
        checks::run(&checks::SIGNATURE, &facts)?;
        checks::run(&checks::CLAIMS, &facts)?;
        let (tenant, version) = facts.issued_by()?;

        Ok(AccessToken::new(
            tenant,
            version,
            token.key_id,
            token.claims,
            token.header_text,
            token.payload_text,
        ))
    }

    /// Whether a token that is valid permits anything at all: it has a scope or a role. Without
    /// this, every application of the tenant could call the API.
    ///
    /// # Errors
    /// [`Denied::NoPermission`] if it has neither.
    pub fn default_permission(&self, token: &AccessToken) -> Result<(), Denied> {
        if token.scopes().next().is_some() || token.roles().next().is_some() {
            Ok(())
        } else {
            Err(Denied::NoPermission)
        }
    }

    /// The national cloud.
    #[must_use]
    pub fn cloud(&self) -> Cloud {
        self.rules.cloud
    }

    /// Whose tokens are accepted.
    #[must_use]
    pub fn tenancy(&self) -> Tenancy {
        self.rules.tenancy
    }

    /// The audiences that are accepted, the client id first.
    pub fn audiences(&self) -> impl Iterator<Item = &Audience> {
        self.rules.audiences.iter()
    }

    /// Whether v1 tokens are accepted beside v2 tokens.
    #[must_use]
    pub fn accepts_v1_tokens(&self) -> bool {
        self.rules.accepts_v1
    }
}
