//! The settings of a validator.

use std::collections::HashSet;
use std::time::Duration;

use super::{Profile, Rules, Validator};
use crate::authority::{Audience, Audiences, Authority, Cloud, Tenancy};
use crate::identifier::ClientId;

/// The settings of a [`Validator`]; begin with [`Validator::entra`].
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | [`audience`](Self::audience) | the client id and `api://{client id}`, which are always accepted |
/// | [`cloud`](Self::cloud) | public |
/// | [`external_id`](Self::external_id) | off: a workforce tenant |
/// | [`accept_v1_tokens`](Self::accept_v1_tokens) | off: v2 tokens only |
/// | [`allowed_clients`](Self::allowed_clients) | every client application |
/// | [`allow_roleless_clients`](Self::allow_roleless_clients) | none: every token needs a scope or a role |
/// | [`refuse_guests`](Self::refuse_guests) | off: guests of the tenant are accepted |
/// | [`refuse_agents`](Self::refuse_agents) | off: agents are accepted |
/// | [`clock_skew`](Self::clock_skew) | 5 minutes |
#[derive(Clone, Debug)]
#[must_use = "the builder does nothing until build() is called"]
pub struct ValidatorBuilder {
    rules: Rules,
}

/// An invalid setting of a [`ValidatorBuilder`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSettings {
    /// The clock skew is longer than [`Validator::MAX_CLOCK_SKEW`].
    #[error(
        "the clock skew is too long: at most {} s are accepted", Validator::MAX_CLOCK_SKEW.as_secs()
    )]
    ClockSkew,
    /// The list of tenants is empty.
    #[error("the list of tenants is empty; name at least one tenant, or organizations")]
    NoTenant,
    /// The list of allowed clients is empty.
    #[error(
        "the list of allowed clients is empty; add at least one application (client) id, or remove \
         the setting"
    )]
    NoClient,
    /// External ID is set together with a tenancy other than one tenant.
    #[error(
        "an External ID tenant has its own keys and its own issuer: name exactly one tenant, by \
         its id"
    )]
    ExternalIdTenancy,
    /// External ID is set together with a cloud other than the public one.
    #[error("External ID is part of the public cloud")]
    ExternalIdCloud,
    /// External ID is set together with v1 tokens.
    #[error("External ID issues v2 tokens only; remove the setting")]
    ExternalIdV1,
}

impl Validator {
    /// Returns a builder of the rules for Entra's access tokens for the API with this application
    /// (client) id.
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
    /// Adds an audience: the Application ID URI, if it is not `api://{client id}`.
    ///
    /// `{client id}` and `api://{client id}` are always accepted.
    pub fn audience(mut self, audience: Audience) -> Self {
        self.rules.audiences.add(audience);
        self
    }

    /// Sets the cloud of the tenant.
    ///
    /// Default: [`Cloud::Public`].
    pub fn cloud(mut self, cloud: Cloud) -> Self {
        self.rules.authority.set_cloud(cloud);
        self
    }

    /// Declares that the tenant is an External ID tenant (`ciamlogin.com`).
    ///
    /// Its issuer is `https://{tenant}.ciamlogin.com/{tenant}/v2.0`, on any host where the users
    /// sign in. Default: a workforce tenant.
    pub fn external_id(mut self) -> Self {
        self.rules.authority.set_external_id();
        self
    }

    /// Accepts v1 tokens in addition to v2 tokens.
    ///
    /// `api.requestedAccessTokenVersion` in the manifest of the API's app registration decides
    /// which version Entra issues. Default: only v2.
    pub fn accept_v1_tokens(mut self) -> Self {
        self.rules.accepts_v1 = true;
        self
    }

    /// Accepts only tokens of these client applications (`azp`, in v1 tokens `appid`).
    ///
    /// The list restricts; being on it permits nothing. Default: every client. Several calls add
    /// up.
    ///
    /// The list is about clients of Entra. In a [reissued](Validator::reissued) token, Entra's
    /// client is the server that reissued the token. The list cannot distinguish that server's own
    /// clients: it admits all of them if the server is on it, otherwise none. To distinguish them,
    /// compare [`AccessToken::registered_client`](crate::AccessToken::registered_client).
    pub fn allowed_clients(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.rules
            .allowed_clients
            .get_or_insert_default()
            .extend(ids);
        self
    }

    /// Accepts app-only tokens of these client applications even if they have no role.
    ///
    /// Microsoft calls this authorization by access control list. The setting exempts the clients'
    /// app-only tokens from [`default_permission`](Validator::default_permission), and from nothing
    /// else. Default: none. Several calls add up.
    pub fn allow_roleless_clients(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.rules.roleless_clients.extend(ids);
        self
    }

    /// Refuses guests of the tenant: users whom another tenant or provider authenticates.
    ///
    /// Configure the API's app registration to emit the optional claim `acct`, which marks guests
    /// most reliably. Default: guests are accepted.
    pub fn refuse_guests(mut self) -> Self {
        self.rules.refuses_guests = true;
        self
    }

    /// Refuses agents of Entra Agent ID, as far as the token's claims show that the caller is one.
    ///
    /// Entra leaves these claims out of tokens for your own API, unless the API's manifest requests
    /// them ([`CallerKind::Agent`](crate::token::CallerKind::Agent) has the JSON). Default: agents
    /// are accepted.
    pub fn refuse_agents(mut self) -> Self {
        self.rules.refuses_agents = true;
        self
    }

    /// Sets how far the clocks of Entra and of this machine may differ.
    ///
    /// Default: 5 minutes, as in Microsoft's libraries. Maximum: [`Validator::MAX_CLOCK_SKEW`].
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.rules.clock_skew = skew;
        self
    }

    /// Gives access to the settings that weaken the protection.
    pub fn dangerous(self) -> DangerousValidatorBuilder {
        DangerousValidatorBuilder(self)
    }

    /// Returns all problems with the settings.
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

    /// Builds the validator.
    ///
    /// # Errors
    /// The first of the [`problems`](Self::problems).
    pub fn build(self) -> Result<Validator, InvalidSettings> {
        if let Some(problem) = self.problems().next() {
            return Err(problem);
        }
        Ok(Validator { rules: self.rules })
    }
}

/// The settings of a [`ValidatorBuilder`] that weaken the protection; see
/// [`ValidatorBuilder::dangerous`].
#[derive(Debug)]
#[must_use]
pub struct DangerousValidatorBuilder(ValidatorBuilder);

impl DangerousValidatorBuilder {
    /// Accepts tokens that are signed by a key of another national cloud.
    ///
    /// Entra's key sets contain some keys of other clouds. With this setting, the operator of such
    /// a cloud can make tokens that are accepted here. Use it only if Entra names the clouds of its
    /// keys differently than this crate does.
    pub fn accept_keys_of_other_clouds(mut self) -> ValidatorBuilder {
        self.0.rules.accepts_keys_of_other_clouds = true;
        self.0
    }
}
