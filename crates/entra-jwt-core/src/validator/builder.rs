//! The settings of a validator.

use std::collections::HashSet;
use std::time::Duration;

use super::{Profile, Rules, Validator};
use crate::authority::{Audience, Audiences, Authority, Cloud, Tenancy};
use crate::identifier::ClientId;

/// Settings of a [`Validator`]; begin with [`Validator::entra`].
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`audience`](Self::audience) | the client id and `api://{client id}`, always accepted |
/// | [`cloud`](Self::cloud) | public |
/// | [`external_id`](Self::external_id) | off: a workforce tenant |
/// | [`accept_v1_tokens`](Self::accept_v1_tokens) | off: v2 tokens only |
/// | [`allowed_clients`](Self::allowed_clients) | every client application |
/// | [`allow_roleless_clients`](Self::allow_roleless_clients) | none: every token needs a scope or a role |
/// | [`refuse_guests`](Self::refuse_guests) | off: guests of the tenant are accepted |
/// | [`refuse_agents`](Self::refuse_agents) | off: agents are accepted |
/// | [`clock_skew`](Self::clock_skew) | 5 minutes |
#[derive(Clone, Debug)]
#[must_use = "nothing is validated before build()"]
pub struct ValidatorBuilder {
    rules: Rules,
}

/// A setting of a [`ValidatorBuilder`] is out of bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSettings {
    /// The clock skew is longer than [`Validator::MAX_CLOCK_SKEW`].
    #[error(
        "the clock skew is too long: at most {} s are accepted", Validator::MAX_CLOCK_SKEW.as_secs()
    )]
    ClockSkew,
    /// The list of tenants is empty.
    #[error("no tenant is allowed; name at least one, or organizations")]
    NoTenant,
    /// The list of allowed clients is empty.
    #[error(
        "no client is allowed; name at least one by its application (client) id, or leave the \
         setting out"
    )]
    NoClient,
    /// External ID with another tenancy than one tenant.
    #[error(
        "a tenant of External ID has keys and issuer of its own: name that one tenant by its id"
    )]
    ExternalIdTenancy,
    /// External ID outside the public cloud.
    #[error("External ID is part of the public cloud")]
    ExternalIdCloud,
    /// v1 tokens of External ID.
    #[error("External ID issues v2 tokens only; leave the setting out")]
    ExternalIdV1,
}

impl Validator {
    /// Begins the rules for access tokens of Entra for the API with this application (client) id.
    pub fn entra(tenancy: impl Into<Tenancy>, client_id: ClientId) -> ValidatorBuilder {
        ValidatorBuilder {
            rules: Rules {
                profile: Profile::Entra,
                authority: Authority::new(tenancy.into()),
                audiences: Audiences::new(client_id),
                accepts_v1: false,
                allowed_clients: None,
                refuses_guests: false,
                refuses_agents: false,
                accepts_keys_of_other_clouds: false,
                roleless_clients: HashSet::new(),
                clock_skew: Self::DEFAULT_CLOCK_SKEW,
            },
        }
    }
}

impl ValidatorBuilder {
    /// Accepts a further audience beside `{client id}` and `api://{client id}`, which are always
    /// accepted: the App ID URI, if it is another.
    pub fn audience(mut self, audience: Audience) -> Self {
        self.rules.audiences.add(audience);
        self
    }

    /// The national cloud. Default: [`Cloud::Public`].
    pub fn cloud(mut self, cloud: Cloud) -> Self {
        self.rules.authority.set_cloud(cloud);
        self
    }

    /// The tenant is one of External ID (`ciamlogin.com`): the issuer is
    /// `https://{tenant}.ciamlogin.com/{tenant}/v2.0`, whatever host the users sign in on.
    /// Default: a workforce tenant.
    pub fn external_id(mut self) -> Self {
        self.rules.authority.set_external_id();
        self
    }

    /// Accepts v1 tokens beside v2 tokens. Default: only v2.
    ///
    /// Which of them Entra issues is up to `api.requestedAccessTokenVersion` in the manifest of
    /// the API's app registration.
    pub fn accept_v1_tokens(mut self) -> Self {
        self.rules.accepts_v1 = true;
        self
    }

    /// Accepts tokens of these client applications only (`azp`, in v1 tokens `appid`). The list
    /// restricts; being on it permits nothing. Default: every client. Several calls add up.
    ///
    /// It is about clients of Entra. Of a [reissued](Validator::reissued) token that is the server which
    /// reissued it, so that the list cannot tell that server's clients apart: either it has the server,
    /// and admits all of them, or none. Compare
    /// [`AccessToken::registered_client`](crate::AccessToken::registered_client) for that.
    pub fn allowed_clients(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.rules
            .allowed_clients
            .get_or_insert_default()
            .extend(ids);
        self
    }

    /// Lets these client applications call as themselves without any role: Microsoft calls it
    /// authorization by access control list. It exempts app-only tokens from
    /// [`default_permission`](Validator::default_permission) and from nothing else. Default: none.
    /// Several calls add up.
    pub fn allow_roleless_clients(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.rules.roleless_clients.extend(ids);
        self
    }

    /// Refuses guests of the tenant: users whom another tenant or provider authenticates. Have
    /// the API's app registration emit the optional claim `acct`, which says it best. Default:
    /// guests are accepted.
    pub fn refuse_guests(mut self) -> Self {
        self.rules.refuses_guests = true;
        self
    }

    /// Refuses agents of Entra Agent ID, as far as tokens say that they are of one. Entra leaves the claims
    /// that say it out of tokens for an API of your own, unless its manifest asks for them
    /// ([`CallerKind::Agent`](crate::token::CallerKind::Agent) has the JSON). Default: agents are accepted.
    pub fn refuse_agents(mut self) -> Self {
        self.rules.refuses_agents = true;
        self
    }

    /// Sets the greatest difference between the clocks of Entra and of this machine that is accepted.
    /// Default: 5 minutes, as in Microsoft's libraries.
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.rules.clock_skew = skew;
        self
    }

    /// The settings that weaken the protection.
    pub fn dangerous(self) -> DangerousValidatorBuilder {
        DangerousValidatorBuilder(self)
    }

    /// Returns everything that is wrong with the settings.
    pub fn problems(&self) -> impl Iterator<Item = InvalidSettings> {
        let rules = &self.rules;
        let authority = &rules.authority;
        let (tenancy, is_external_id) = (authority.tenancy(), authority.is_external_id());
        let no_client = rules
            .allowed_clients
            .as_ref()
            .is_some_and(HashSet::is_empty);
        let is_one_tenant = tenancy.single().is_some() && *tenancy != Tenancy::consumers();
        [
            (rules.clock_skew > Validator::MAX_CLOCK_SKEW).then_some(InvalidSettings::ClockSkew),
            tenancy.is_empty().then_some(InvalidSettings::NoTenant),
            no_client.then_some(InvalidSettings::NoClient),
            (is_external_id && !is_one_tenant).then_some(InvalidSettings::ExternalIdTenancy),
            (is_external_id && authority.cloud() != Cloud::Public)
                .then_some(InvalidSettings::ExternalIdCloud),
            (is_external_id && rules.accepts_v1).then_some(InvalidSettings::ExternalIdV1),
        ]
        .into_iter()
        .flatten()
    }

    /// The finished validator.
    ///
    /// # Errors
    /// The first of its [`problems`](Self::problems).
    pub fn build(self) -> Result<Validator, InvalidSettings> {
        if let Some(problem) = self.problems().next() {
            return Err(problem);
        }
        Ok(Validator { rules: self.rules })
    }
}

/// The weakening settings of a [`ValidatorBuilder`]; see [`ValidatorBuilder::dangerous`].
#[derive(Debug)]
#[must_use]
pub struct DangerousValidatorBuilder(ValidatorBuilder);

impl DangerousValidatorBuilder {
    /// Accepts tokens that are signed by a key of another national cloud, as key sets of Entra
    /// publish some beside their own.
    ///
    /// Whoever operates that cloud can then make tokens that are accepted here. For the case that
    /// Entra names the clouds of its keys otherwise than is known here.
    pub fn accept_keys_of_other_clouds(mut self) -> ValidatorBuilder {
        self.0.rules.accepts_keys_of_other_clouds = true;
        self.0
    }
}
