//! The rules of one trusted issuer.

mod checks;
mod danger;
mod report;

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

pub use self::checks::CheckName;
use self::checks::{Facts, Profile, Rules};
pub use self::danger::DangerousValidatorBuilder;
#[cfg(feature = "testing")]
pub use self::danger::trusted_token;
pub use self::report::{Explain, Finding, Outcome, Report, Verdict};
use crate::authority::{Audience, Audiences, Authority, Cloud, InvalidAudience, Tenancy};
use crate::denied::Denied;
use crate::identifier::ClientId;
use crate::keys::{Key, KeySet};
use crate::rejection::Rejection;
use crate::requirement::Permissions;
use crate::token::{AccessToken, NumericDate, Unverified};

/// Decides about tokens of Microsoft Entra ID for one API.
///
/// Cheap to keep and to share: it holds no keys, no clock, and nothing per tenant, however many
/// tenants it admits. See the [crate's page](crate) for an
/// example.
#[derive(Clone, Debug)]
pub struct Validator {
    rules: Rules,
}

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
/// | [`exempt_clients`](Self::exempt_clients) | none: every token needs a scope or a role |
/// | [`refuse_guests`](Self::refuse_guests) | off: guests of the tenant are accepted |
/// | [`clock_skew`](Self::clock_skew) | 5 minutes |
#[derive(Clone, Debug)]
#[must_use = "nothing is validated before build()"]
pub struct ValidatorBuilder {
    tenancy: Tenancy,
    client_id: ClientId,
    audiences: Vec<Audience>,
    cloud: Cloud,
    is_external_id: bool,
    accepts_v1: bool,
    allowed_clients: Option<HashSet<ClientId>>,
    exempt_clients: HashSet<ClientId>,
    refuses_guests: bool,
    pub(crate) accepts_keys_of_other_clouds: bool,
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
    #[error("External ID issues v2 tokens only: leave out accept_v1_tokens()")]
    ExternalIdV1,
}

impl ValidatorBuilder {
    /// Accepts a further audience beside `{client id}` and `api://{client id}`, which are always
    /// accepted: the App ID URI, if it is another.
    pub fn audience(mut self, audience: Audience) -> Self {
        self.audiences.push(audience);
        self
    }

    /// The national cloud. Default: [`Cloud::Public`].
    pub fn cloud(mut self, cloud: Cloud) -> Self {
        self.cloud = cloud;
        self
    }

    /// The tenant is one of External ID (`ciamlogin.com`): the issuer is
    /// `https://{tenant}.ciamlogin.com/{tenant}/v2.0`, whatever host the users sign in on.
    /// Default: a workforce tenant.
    pub fn external_id(mut self) -> Self {
        self.is_external_id = true;
        self
    }

    /// Accepts v1 tokens beside v2 tokens. Default: only v2.
    ///
    /// Which of them Entra issues is up to `api.requestedAccessTokenVersion` in the manifest of
    /// the API's app registration.
    pub fn accept_v1_tokens(mut self) -> Self {
        self.accepts_v1 = true;
        self
    }

    /// Accepts tokens of these client applications only (`azp`, in v1 tokens `appid`). The list
    /// restricts; being on it permits nothing. Default: every client. Several calls add up.
    ///
    /// It is about clients of Entra. Of a [reissued](Validator::reissued) token that is the server which
    /// reissued it, so that the list cannot tell that server's clients apart: either it has the server,
    /// and admits all of them, or none. Compare [`AccessToken::registered_client`] for that.
    pub fn allowed_clients(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.allowed_clients.get_or_insert_default().extend(ids);
        self
    }

    /// Lets these client applications call as themselves without any role: Microsoft calls it
    /// authorization by access control list. It exempts app-only tokens from
    /// [`default_permission`](Validator::default_permission) and from nothing else. Default: none.
    /// Several calls add up.
    pub fn exempt_clients(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.exempt_clients.extend(ids);
        self
    }

    /// Refuses guests of the tenant: users whom another tenant or provider authenticates. Have
    /// the API's app registration emit the optional claim `acct`, which says it best. Default:
    /// guests are accepted.
    pub fn refuse_guests(mut self) -> Self {
        self.refuses_guests = true;
        self
    }

    /// How far the clocks of Entra and of this machine may differ. Default: 5 minutes, as in
    /// Microsoft's libraries.
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.clock_skew = skew;
        self
    }

    /// The settings that weaken the protection.
    pub fn dangerous(self) -> DangerousValidatorBuilder {
        DangerousValidatorBuilder(self)
    }

    /// What is wrong with the settings: everything at once.
    pub fn problems(&self) -> impl Iterator<Item = InvalidRules> {
        let no_client = self.allowed_clients.as_ref().is_some_and(HashSet::is_empty);
        let is_one_tenant = self.tenancy.single().is_some() && self.tenancy != Tenancy::consumers();
        [
            (self.clock_skew > Validator::MAX_CLOCK_SKEW)
                .then_some(InvalidRules::ClockSkew(self.clock_skew)),
            self.tenancy.is_empty().then_some(InvalidRules::NoTenant),
            no_client.then_some(InvalidRules::NoClient),
            (self.is_external_id && !is_one_tenant).then_some(InvalidRules::ExternalIdTenancy),
            (self.is_external_id && self.cloud != Cloud::Public)
                .then_some(InvalidRules::ExternalIdCloud),
            (self.is_external_id && self.accepts_v1).then_some(InvalidRules::ExternalIdV1),
        ]
        .into_iter()
        .flatten()
    }

    /// The finished validator.
    ///
    /// # Errors
    /// The first of its [`problems`](Self::problems).
    pub fn build(self) -> Result<Validator, InvalidRules> {
        if let Some(problem) = self.problems().next() {
            return Err(problem);
        }
        Ok(Validator {
            rules: Rules {
                authority: Authority::new(self.tenancy, self.cloud, self.is_external_id),
                audiences: Audiences::new(self.client_id, self.audiences),
                accepts_v1: self.accepts_v1,
                allowed_clients: self.allowed_clients,
                refuses_guests: self.refuses_guests,
                accepts_keys_of_other_clouds: self.accepts_keys_of_other_clouds,
                exempt_clients: self.exempt_clients,
                clock_skew: self.clock_skew,
                profile: Profile::Entra,
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
    pub fn entra(tenancy: impl Into<Tenancy>, client_id: ClientId) -> ValidatorBuilder {
        ValidatorBuilder {
            tenancy: tenancy.into(),
            client_id,
            audiences: Vec::new(),
            cloud: Cloud::default(),
            is_external_id: false,
            accepts_v1: false,
            allowed_clients: None,
            exempt_clients: HashSet::new(),
            refuses_guests: false,
            accepts_keys_of_other_clouds: false,
            clock_skew: Self::DEFAULT_CLOCK_SKEW,
        }
    }

    /// The rules for tokens of an authorization server in front of Entra, which it issues in place
    /// of the tokens that these rules admit (RFC 9068): signed with [ES256](Key::es256), of the type
    /// `at+jwt`, of exactly this issuer and for exactly this audience. Their `tid`, `oid`, `azp` and
    /// what else they have of Entra's claims is judged by the same rules, and read by the same
    /// accessors; their scopes stand in `scope`, their client in `client_id`
    /// ([`AccessToken::registered_client`]), and the time of the token of Entra that they are of in
    /// `entra_iat` ([`AccessToken::issued_at`]). `client_id` and `sub` are required (RFC 9068 §2.2).
    ///
    /// # Errors
    /// If the audience cannot be one, or the issuer is longer than an audience may be.
    pub fn reissued(&self, issuer: &str, audience: &str) -> Result<Self, InvalidAudience> {
        let audience = Audience::new(audience)?;
        if issuer.len() > Audience::MAX_LENGTH {
            return Err(InvalidAudience::TooLong);
        }
        let mut rules = self.rules.clone();
        rules.audiences = Audiences::only(rules.audiences.client_id(), audience);
        rules.accepts_v1 = false;
        // Of Entra's clients, and for tokens without a scope.
        rules.exempt_clients.clear();
        rules.profile = Profile::Reissued {
            issuer: issuer.into(),
        };
        Ok(Self { rules })
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

    /// Returns whether the token says that an issuer of this validator's cloud issued it, v1 or v2,
    /// whether its tenant is allowed or not. It may be lying.
    #[must_use]
    pub fn claims_to_be_ours(&self, token: &Unverified<'_>) -> bool {
        let facts = Facts::new(&self.rules, token, None, SystemTime::UNIX_EPOCH);
        facts.issued_by().is_ok()
    }

    /// Runs the checks of the header and the claims on the unverified token. If one fails, no key in
    /// the world makes the token valid, and none need be fetched for it.
    ///
    /// Its tenant, its client and whether its user is a guest are looked at only by
    /// [`finish`](Self::finish), once the signature holds: otherwise anybody could find out by made-up
    /// tokens who is admitted.
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
    /// In this order: the header; the key and its signature; that no member stands twice; the claims;
    /// whether tenant, client and user are admitted.
    ///
    /// # Errors
    /// The first check that fails. Without the key, a fault of the claims comes first: then no key
    /// could make the token valid, and the fault explains more. Whether a member that decides nothing
    /// stands twice, and who is admitted, is not looked at then.
    pub fn finish(
        &self,
        token: Unverified<'_>,
        key: Option<&Key>,
        now: SystemTime,
    ) -> Result<AccessToken, Rejection> {
        let facts = Facts::new(&self.rules, &token, key, now);
        checks::run(&checks::HEADER, &facts)?;
        if facts.key_is_known() {
            checks::run(&checks::SIGNATURE, &facts)?;
            checks::run(&checks::CLAIMS, &facts)?;
        } else {
            checks::run(&checks::CLAIMS, &facts)?;
            checks::run(&checks::SIGNATURE, &facts)?;
        }
        checks::run(&checks::ADMISSION, &facts)?;
        let (tenant, version) = facts.issued_by()?;

        Ok(AccessToken::new(
            tenant,
            version,
            token.compact().into(),
            self.rules.own_claims(&token),
            self.rules.reissued(&token),
            token.into_key_id(),
        ))
    }

    /// The refusal of a token that passes the [`precheck`](Self::precheck), and whose key turned
    /// out not to be there: what [`finish`](Self::finish) without a key comes to, without running
    /// the checks again.
    #[must_use]
    pub fn unknown_key(&self, token: Unverified<'_>) -> Rejection {
        self.rules.unknown_key(token.into_key_id())
    }

    /// Whether a token that was verified before is valid at this moment, too.
    ///
    /// # Errors
    /// [`Rejection::Expired`] or [`Rejection::NotYetValid`].
    pub fn check_lifetime(&self, token: &AccessToken, now: SystemTime) -> Result<(), Rejection> {
        let claims = token.claims();
        let now = NumericDate::from_clock(now);
        checks::lifetime(&self.rules, claims.expires_at, claims.not_before, now)
    }

    /// Whether a token that is valid permits anything at all: it has a scope or a role, or is an
    /// app-only token of an [exempt client](ValidatorBuilder::exempt_clients). Without this, every
    /// application of the tenant could call the API.
    ///
    /// # Errors
    /// [`Denied::NoPermission`] if it does not.
    pub fn default_permission(&self, token: &AccessToken) -> Result<(), Denied> {
        self.rules.default_permission(&Permissions::of(token))
    }

    /// Runs every check to its end and reports on each: for people who look for the reason, and
    /// never to decide by. The first failure in it is what [`validate`](Self::validate) and
    /// [`default_permission`](Self::default_permission) refuse with.
    ///
    /// Without keys the signature is not checked, and the verdict is never that the token is
    /// accepted. A requirement of a route can be judged along with the rest.
    #[must_use]
    pub fn explain(&self, token: &str, with: &Explain<'_>) -> Report {
        Report::new(&self.rules, token, with)
    }

    /// Whose tokens are accepted, of which cloud.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.rules.authority
    }

    /// The issuers that are accepted, with `{tenantid}` where those of several tenants are: of v2
    /// tokens, and of v1 tokens where they are accepted.
    pub fn issuers(&self) -> impl Iterator<Item = String> {
        let authority = &self.rules.authority;
        let v2 = match &self.rules.profile {
            Profile::Entra => authority.v2_issuer_template(),
            Profile::Reissued { issuer } => issuer.to_string(),
        };
        let v1 = self
            .rules
            .accepts_v1
            .then(|| authority.v1_issuer_templates());
        std::iter::once(v2).chain(v1.into_iter().flatten())
    }

    /// The audiences that are accepted, the client id first.
    pub fn audiences(&self) -> impl Iterator<Item = &Audience> {
        self.rules.audiences.iter()
    }

    /// By which clients request scopes of this API, as `{app_id_uri}/Reports.Read`: the first
    /// [audience](ValidatorBuilder::audience) with a scheme that was added, else
    /// `api://{client id}`. Without a slash at its end.
    #[must_use]
    pub fn app_id_uri(&self) -> String {
        self.rules.audiences.app_id_uri()
    }

    /// Returns the greatest difference between the clocks of Entra and of this machine that is borne: 5 minutes
    /// unless [set](ValidatorBuilder::clock_skew).
    #[must_use]
    pub fn clock_skew(&self) -> Duration {
        self.rules.clock_skew
    }

    /// Whether v1 tokens are accepted beside v2 tokens.
    #[must_use]
    pub fn accepts_v1_tokens(&self) -> bool {
        self.rules.accepts_v1
    }
}
