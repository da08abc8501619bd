//! Validates tokens by the rules of one trusted issuer.

mod builder;
mod check_name;
mod checks;
mod report;
mod words;

use std::cell::OnceCell;
use std::collections::HashSet;
use std::time::{Duration, SystemTime};

pub use self::builder::{DangerousValidatorBuilder, InvalidSettings, ValidatorBuilder};
pub use self::check_name::CheckName;
pub use self::report::{ExplainOptions, Finding, Outcome, Report, Verdict};
use crate::authority::{Audience, Audiences, Authority, Cloud, InvalidAudience, TokenVersion};
use crate::identifier::{ClientId, Guid, KeyId, TenantId};
use crate::keys::{ES256, Key, KeySet, RS256};
use crate::refusal::{InvalidToken, Lack, PermissionDenied, TokenFault};
use crate::shown::Escaped;
use crate::token::{AccessToken, Claims, Grant, NumericDate, Unverified};

/// A validator of Microsoft Entra ID's access tokens for one API.
///
/// It is cheap to keep and to share: it holds no keys and no clock, and it needs no memory per
/// tenant when it admits many tenants. See the [crate's page](crate) for an example.
#[derive(Clone, Debug)]
pub struct Validator {
    rules: Rules,
}

impl Validator {
    /// Default clock skew: 5 minutes.
    pub const DEFAULT_CLOCK_SKEW: Duration = Duration::from_secs(300);

    /// Maximum clock skew that can be set: 10 minutes.
    pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(600);

    /// Returns a validator of reissued tokens: those that an authorization server issues in place
    /// of Entra's (RFC 9068).
    ///
    /// The server is in front of Entra. It issues each token in place of a token that this
    /// validator accepts.
    ///
    /// A reissued token is signed with [ES256](Key::es256), has the type `at+jwt`, and has exactly
    /// this issuer and this audience. The claims that it has from Entra, such as `tid`, `oid` and
    /// `azp`, are checked by the same rules and read by the same accessors. These claims are its
    /// own:
    ///
    /// - `scope` has its scopes.
    /// - `client_id` has its client ([`AccessToken::registered_client`]).
    /// - `entra_iat` has the time at which Entra issued the token that it replaces
    ///   ([`AccessToken::issued_at`]).
    ///
    /// `client_id` and `sub` are required (RFC 9068 §2.2).
    ///
    /// # Errors
    /// If the audience is not a valid one, or the issuer is longer than [`Audience::MAX_LENGTH`].
    pub fn reissued(&self, issuer: &str, audience: &str) -> Result<Self, InvalidAudience> {
        let audience = Audience::new(audience)?;
        if issuer.len() > Audience::MAX_LENGTH {
            return Err(InvalidAudience::TOO_LONG);
        }
        let mut rules = self.rules.clone();
        rules.audiences = Audiences::only(rules.audiences.client_id(), audience);
        rules.accepts_v1 = false;
        // That setting is about clients of Entra and tokens without a scope, so it does not apply
        // to reissued tokens.
        rules.roleless_clients.clear();
        rules.profile = Profile::Reissued {
            issuer: issuer.into(),
        };
        Ok(Self { rules })
    }

    /// Parses and verifies a token in one call, for programs that have all keys.
    ///
    /// # Errors
    /// The fault of the first check that fails.
    pub fn validate(
        &self,
        token: &str,
        keys: &KeySet,
        now: SystemTime,
    ) -> Result<AccessToken, InvalidToken> {
        let unverified = Unverified::parse(token)?;
        let key = keys.key(unverified.key_ref().key_id);
        self.verify(unverified, key, now)
    }

    /// Returns whether the token names an issuer of this validator's cloud, v1 or v2, of any
    /// tenant.
    ///
    /// The tenant need not be allowed. The token is unverified, so the issuer may be forged.
    #[doc(hidden)] // for crates such as `tower-entra-auth`
    #[must_use]
    pub fn matches_issuer(&self, token: &Unverified<'_>) -> bool {
        let context = CheckContext::new(&self.rules, token, None, SystemTime::UNIX_EPOCH);
        context.issued_by().is_ok()
    }

    /// Runs the checks of the header and the claims on the unverified token.
    ///
    /// If one of them fails, no key can make the token valid, and no key need be fetched for it.
    ///
    /// Only [`verify`](Self::verify) checks the tenant, the client, and whether the caller is a
    /// guest or an agent, once the signature is verified. Otherwise an attacker could find out with
    /// made-up tokens who is admitted.
    ///
    /// # Errors
    /// The fault of the first check that fails.
    pub fn precheck(&self, token: &Unverified<'_>, now: SystemTime) -> Result<(), InvalidToken> {
        let context = CheckContext::new(&self.rules, token, None, now);
        context.pass(&checks::HEADER)?;
        context.pass(&checks::CLAIMS)?;
        Ok(())
    }

    /// Verifies a parsed token with the key that it names.
    ///
    /// `key` is `None` if there is no such key.
    ///
    /// The order of the checks is: the header; the key and the signature; duplicate members; the
    /// claims; the admission of tenant, client, user and agent.
    ///
    /// # Errors
    /// The fault of the first check that fails.
    ///
    /// Without the key, a fault of the claims comes first: it explains more, and no key could make
    /// the token valid. Then admission is not checked, nor are duplicates of members that decide
    /// nothing.
    pub fn verify(
        &self,
        token: Unverified<'_>,
        key: Option<&Key>,
        now: SystemTime,
    ) -> Result<AccessToken, InvalidToken> {
        let context = CheckContext::new(&self.rules, &token, key, now);
        context.pass(&checks::HEADER)?;
        if context.key_is_known() {
            context.pass(&checks::SIGNATURE)?;
            context.pass(&checks::CLAIMS)?;
        } else {
            context.pass(&checks::CLAIMS)?;
            context.pass(&checks::SIGNATURE)?;
        }
        context.pass(&checks::ADMISSION)?;
        let (tenant, version) = context.issued_by()?;

        let is_reissued = self.rules.profile.is_reissued();
        Ok(AccessToken::new(tenant, version, token, is_reissued))
    }

    /// Returns the refusal of a token that passed the [`precheck`](Self::precheck), but whose key
    /// does not exist.
    ///
    /// It is the error that [`verify`](Self::verify) returns without a key, but the checks do not
    /// run again.
    #[doc(hidden)] // for crates such as `tower-entra-auth`
    #[must_use]
    pub fn unknown_key(&self, token: Unverified<'_>) -> InvalidToken {
        self.rules.unknown_key(token.into_key_id()).into()
    }

    /// Checks that a token that was verified earlier is still within its lifetime.
    ///
    /// # Errors
    /// [`Expired`](crate::refusal::InvalidTokenKind::Expired) or
    /// [`NotYetValid`](crate::refusal::InvalidTokenKind::NotYetValid).
    #[doc(hidden)] // for crates such as `tower-entra-auth`
    pub fn check_lifetime(&self, token: &AccessToken, now: SystemTime) -> Result<(), InvalidToken> {
        let (expires_at, not_before) = token.claims().lifetime();
        let now = NumericDate::from_clock(now);
        self.rules.check_lifetime(expires_at, not_before, now)?;
        Ok(())
    }

    /// Checks that a valid token has at least one permission.
    ///
    /// It must have a scope or a role, or be an app-only token of a client that [needs
    /// none](ValidatorBuilder::allow_roleless_clients). Without this check, every application of
    /// the tenant could call the API.
    ///
    /// # Errors
    /// [`NoPermission`](crate::refusal::PermissionDeniedKind::NoPermission) if the token has no
    /// permission.
    pub fn default_permission(&self, token: &AccessToken) -> Result<(), PermissionDenied> {
        self.rules.default_permission(token.claims())?;
        Ok(())
    }

    /// Runs every check to its end and reports each result.
    ///
    /// The report is for people who look for the cause of a refusal. No program should decide by
    /// it. If a check fails, [`Report::cause`] is the failure that [`validate`](Self::validate) or
    /// [`default_permission`](Self::default_permission) returns.
    ///
    /// Without keys the signature is not checked, and the verdict is never that the token is
    /// accepted. The requirement of a route can be checked together with the rest.
    #[must_use]
    pub fn explain(&self, token: &str, with: &ExplainOptions<'_>) -> Report {
        Report::new(&self.rules, token, with)
    }

    /// Returns the tenants and the cloud whose tokens are accepted.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.rules.authority
    }

    /// Returns the accepted issuers: of v2 tokens, and of v1 tokens if they are accepted.
    ///
    /// If several tenants are accepted, an issuer has `{tenantid}` in place of the tenant.
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

    /// Returns the accepted audiences, the client id first.
    ///
    /// For [reissued](Self::reissued) tokens there is only the one audience.
    pub fn audiences(&self) -> impl Iterator<Item = &Audience> {
        self.rules.audiences.iter()
    }

    /// Returns the Application ID URI, under which clients request scopes of this API
    /// (`{app_id_uri}/Reports.Read`).
    ///
    /// It is the first added [audience](ValidatorBuilder::audience) that has a scheme, otherwise
    /// `api://{client id}`. It has no slash at its end.
    #[must_use]
    pub fn app_id_uri(&self) -> String {
        self.rules.audiences.app_id_uri()
    }

    /// Returns how far the clocks of Entra and of this machine may differ.
    ///
    /// It is 5 minutes unless [set](ValidatorBuilder::clock_skew).
    #[must_use]
    pub fn clock_skew(&self) -> Duration {
        self.rules.clock_skew
    }

    /// Returns whether v1 tokens are accepted in addition to v2 tokens.
    #[must_use]
    pub fn accepts_v1_tokens(&self) -> bool {
        self.rules.accepts_v1
    }
}

/// The rules of one trusted issuer.
#[derive(Clone, Debug)]
struct Rules {
    profile: Profile,
    authority: Authority,
    audiences: Audiences,
    accepts_v1: bool,
    /// `None` if every client is allowed.
    allowed_clients: Option<HashSet<ClientId>>,
    refuses_guests: bool,
    refuses_agents: bool,
    accepts_keys_of_other_clouds: bool,
    roleless_clients: HashSet<ClientId>,
    clock_skew: Duration,
}

/// The kind of issuer, for the rules that depend on it.
#[derive(Clone, Debug)]
enum Profile {
    /// Entra itself.
    Entra,
    /// An authorization server in front of Entra (RFC 9068), which has one issuer.
    Reissued { issuer: Box<str> },
}

impl Profile {
    const fn is_reissued(&self) -> bool {
        matches!(self, Self::Reissued { .. })
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Entra => RS256,
            Self::Reissued { .. } => ES256,
        }
    }
}

impl Rules {
    fn unknown_key(&self, key_id: KeyId) -> TokenFault {
        TokenFault::UnknownKey {
            key_id,
            api: match self.profile {
                Profile::Entra => Some(self.audiences.client_id()),
                Profile::Reissued { .. } => None,
            },
        }
    }

    /// Checks that the token has at least one permission.
    fn default_permission(&self, claims: &Claims) -> Result<(), Lack> {
        let is_exempt = || {
            let client = claims.client();
            Grant::of(claims) == Grant::AppOnly
                && client.is_some_and(|client| self.roleless_clients.contains(&client))
        };
        if claims.scopes().next().is_some() || claims.roles().next().is_some() || is_exempt() {
            Ok(())
        } else {
            Err(Lack::NoPermission)
        }
    }

    /// Checks `exp`, which is required, and `nbf` if present.
    fn check_lifetime(
        &self,
        expires_at: Option<NumericDate>,
        not_before: Option<NumericDate>,
        now: NumericDate,
    ) -> Result<(), TokenFault> {
        let now = now.seconds();
        let skew = self.clock_skew_seconds();

        let expires_at = expires_at
            .ok_or(TokenFault::MissingClaim { claim: "exp" })?
            .seconds();
        let not_before = not_before.map(NumericDate::seconds);
        if not_before.is_some_and(|not_before| not_before > expires_at) {
            return Err(TokenFault::ImpossibleLifetime);
        }
        let seconds_ago = now.saturating_sub(expires_at);
        if seconds_ago > skew {
            return Err(TokenFault::Expired { seconds_ago, skew });
        }
        let seconds_ahead = not_before.map_or(0, |not_before| not_before.saturating_sub(now));
        if seconds_ahead > skew {
            return Err(TokenFault::NotYetValid {
                seconds_ahead,
                skew,
            });
        }
        Ok(())
    }

    fn clock_skew_seconds(&self) -> i64 {
        i64::try_from(self.clock_skew.as_secs()).unwrap_or(i64::MAX)
    }
}

/// The inputs of a check: rules, token, key and time.
struct CheckContext<'a> {
    rules: &'a Rules,
    token: &'a Unverified<'a>,
    /// The key that the token names; `None` while the key is not known.
    key: Option<&'a Key>,
    now: NumericDate,
    /// The token's tenant and version, found once because several checks need them.
    issued_by: OnceCell<(TenantId, TokenVersion)>,
}

impl<'a> CheckContext<'a> {
    fn new(
        rules: &'a Rules,
        token: &'a Unverified<'a>,
        key: Option<&'a Key>,
        now: SystemTime,
    ) -> Self {
        Self {
            rules,
            token,
            key,
            now: NumericDate::from_clock(now),
            issued_by: OnceCell::new(),
        }
    }

    /// Runs these checks up to the first one that fails.
    fn pass(&self, checks: &[Check]) -> Result<(), TokenFault> {
        checks.iter().try_for_each(|check| (check.run)(self))
    }

    /// Returns whether the key has the id that the token names.
    fn key_is_known(&self) -> bool {
        self.key.is_some_and(|key| key.id() == self.token.key_id())
    }

    /// Returns the token's tenant and version, or the fault of an issuer that does not belong to
    /// that tenant.
    fn issued_by(&self) -> Result<(TenantId, TokenVersion), TokenFault> {
        match self.issued_by.get() {
            Some(known) => Ok(*known),
            None => {
                let found = issued_by(self.rules, self.token)?;
                Ok(*self.issued_by.get_or_init(|| found))
            }
        }
    }
}

/// Returns the token's tenant and version, by comparing its issuer with the expected ones.
///
/// The issuer's template is filled with the token's own `tid` and compared byte for byte, first the
/// v2 template, then v1. A reissued token has the one configured issuer, and counts as a v2 token.
fn issued_by(
    rules: &Rules,
    token: &Unverified<'_>,
) -> Result<(TenantId, TokenVersion), TokenFault> {
    if token.tenant_is_ambiguous() {
        return Err(TokenFault::AmbiguousTenant);
    }
    let Some(tid) = token.tenant() else {
        return Err(without_tenant(rules, token));
    };
    let tid = &*tid;
    let tenant = Guid::from_token(tid)
        .map(TenantId)
        .ok_or_else(|| TokenFault::InvalidTenant {
            found: Escaped::cut(tid),
        })?;
    let issuer = token
        .issuer()
        .ok_or(TokenFault::MissingClaim { claim: "iss" })?;
    if let Profile::Reissued { issuer: expected } = &rules.profile {
        return match issuer == &**expected {
            true => Ok((tenant, TokenVersion::V2)),
            false => Err(TokenFault::WrongIssuer {
                found: Escaped::cut(issuer),
                expected: expected.to_string(),
            }),
        };
    }
    match rules.authority.version_of(issuer, tid) {
        Some(version) => Ok((tenant, version)),
        None => {
            let found = Escaped::cut(issuer);
            let expected = rules.authority.v2_issuer(tenant);
            let other = (!rules.authority.is_external_id())
                .then(|| Cloud::of_issuer(issuer, tid))
                .flatten();
            Err(match other {
                Some(cloud) => TokenFault::WrongCloud {
                    found,
                    cloud,
                    expected,
                },
                None => TokenFault::WrongIssuer { found, expected },
            })
        }
    }
}

/// Returns the fault of a token without `tid`.
///
/// The default tokens of Azure AD B2C have no `tid` and are recognised by their issuer.
fn without_tenant(rules: &Rules, token: &Unverified<'_>) -> TokenFault {
    match token.issuer().filter(|issuer| Authority::is_b2c(issuer)) {
        Some(issuer) => TokenFault::WrongIssuer {
            found: Escaped::cut(issuer),
            expected: rules.authority.v2_issuer_template(),
        },
        None => TokenFault::MissingClaim { claim: "tid" },
    }
}

/// A check with its name.
struct Check {
    name: CheckName,
    run: fn(&CheckContext<'_>) -> Result<(), TokenFault>,
    /// The checks that must pass first, because otherwise this check has nothing to look at.
    ///
    /// Only `explain` uses the list: everywhere else the first failure ends the checks.
    needs: &'static [CheckName],
}
