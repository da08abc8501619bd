//! Refusals of invalid tokens: a row for each kind, with its code, the found and the expected
//! value, and the remedy.
//!
//! Remedies name pages and settings as the Entra admin center and the app manifest name them.

use std::borrow::Cow;

use super::sent_instead::AS_RETURNED;
use super::{Setting, TokenFault};
use crate::authority::Authority;
use crate::identifier::{ClientId, Guid, TenantId};
use crate::shown::Escaped;

/// The public code of all failures of the key or the signature. Because callers get no other code,
/// they cannot probe the key set.
const UNTRUSTED_SIGNATURE: &str = "untrusted_signature";

/// The refusal of an invalid token: 401.
///
/// [`kind`](Self::kind) is for decisions, [`code`](Self::code) for metrics and log searches,
/// [`remedy`](Self::remedy) for people. The refusal holds neither the token, nor its signature, nor
/// a claim about a person. Values from the token are escaped and cut to 200 characters when
/// displayed, also by `Debug`.
#[derive(Clone, Eq, PartialEq)]
pub struct InvalidToken(Box<TokenFault>);

refusal! { InvalidToken of TokenFault,
    /// The kinds of [`InvalidToken`], one for each fault.
    InvalidTokenKind, named by setting:

    /// The token is longer than the limit.
    TooLarge { length, limit } => "token_too_large" {
        found: format!("{length} bytes"),
        expected: format!("at most {limit} bytes"),
        remedy: format!(
            "have the API's app registration emit only the groups assigned to the application \
             (Token configuration, groups claim; in the manifest \"groupMembershipClaims\": \
             \"ApplicationGroup\"), or raise {}",
            setting(Setting::MaxTokenLength),
        ),
    }
    /// The text is not a token of three segments (RFC 7515 §3.1).
    NotAToken { found } => "not_a_token" {
        found: found.found(),
        expected: "a token of 3 segments",
        remedy: found.remedy(),
    }
    /// The token has five segments: it is encrypted (RFC 7516 §3.1).
    Encrypted => "encrypted_token" {
        remedy: "remove tokenEncryptionKeyId from the manifest of this API's app registration; \
            encrypted tokens are not supported",
    }
    /// A segment is not strict base64url: padding, another alphabet or trailing bits.
    InvalidBase64 { .. } => "invalid_base64" {
        remedy: AS_RETURNED,
    }
    /// A segment is not one JSON object in UTF-8.
    InvalidJson { .. } => "invalid_json" {
        remedy: AS_RETURNED,
    }
    /// A member of the header or payload occurs twice (RFC 7519 §4).
    ///
    /// A duplicate that decides something is refused by the parser. Any other duplicate is refused
    /// once the signature is verified.
    DuplicateMember { member, .. } => "duplicate_member" {
        found: member.as_str(),
        remedy: AS_RETURNED,
    }
    /// A member on which the decision depends has the wrong JSON type.
    WrongType { member, expected, .. } => "wrong_type" {
        found: *member,
        expected: *expected,
        remedy: AS_RETURNED,
    }
    /// The header has no `kid`; Entra always sends one.
    MissingKeyId => "missing_kid" {
        remedy: NO_ACCESS_TOKEN,
    }
    /// The header has a member that changes how the token must be read, such as `crit` (RFC 7515
    /// §4.1.11).
    ///
    /// No such member is supported.
    UnsupportedHeader { member } => "unsupported_header" {
        found: *member,
        remedy: NO_ACCESS_TOKEN,
    }
    /// The header's `alg` is not the one that this issuer signs with.
    WrongAlgorithm { found, expected, other_server } => "wrong_algorithm" {
        found: match other_server {
            Some(server) => format!("{} of {server}", found.as_deref().unwrap_or("no alg")),
            None => found.as_deref().unwrap_or("no alg").to_owned(),
        },
        expected: *expected,
        remedy: match other_server {
            Some(server) => format!(
                "the token is of another authorization server ({}): connect the client to this \
                 service itself, so that it signs in for it",
                Escaped(server),
            ),
            None => NO_ACCESS_TOKEN.to_owned(),
        },
    }
    /// The header's `typ` is wrong: Entra's tokens have `JWT` or no `typ`,
    /// [reissued](crate::Validator::reissued) ones have `at+jwt`.
    WrongTokenType { found, expected } => "wrong_token_type" {
        found: found.as_str(),
        expected: *expected,
        remedy: NO_ACCESS_TOKEN,
    }
    /// The token is for Microsoft Graph, and only Graph can verify it.
    GraphToken { mark, api } => "graph_token" {
        found: mark.to_string(),
        expected: audiences_of(*api),
        remedy: format!(
            "request the scope {}, not a Graph scope such as User.Read; only Graph can verify its \
             tokens",
            scope_of(*api),
        ),
    }
    /// The issuer has no key with the token's `kid`.
    UnknownKey { key_id, api } => "unknown_key", publicly UNTRUSTED_SIGNATURE {
        found: key_id.as_str(),
        remedy: match api {
            Some(api) => format!(
                "check that the token is of an allowed tenant (personal accounts and other clouds \
                 have their own keys); if this API has custom signing keys (claims mapping), set \
                 {} to the tenant's /v2.0/.well-known/openid-configuration?appid={api}",
                setting(Setting::MetadataEndpoint),
            ),
            None => "sign in again; if this happens at every restart, give the authorization \
                server keys that survive a restart, and keep each old key in the list until its \
                tokens have expired"
                .to_owned(),
        },
    }
    /// The signature does not verify with the key that the token names.
    BadSignature { key_id } => "bad_signature", publicly UNTRUSTED_SIGNATURE {
        found: key_id.as_str(),
        remedy: "the token was changed in transit, or forged; send it exactly as Entra's token \
            endpoint returned it",
    }
    /// A claim is missing that every access token of Entra has, or, for a
    /// [reissued](crate::Validator::reissued) token, that every such token has.
    MissingClaim { claim } => "missing_claim" {
        found: format!("no {claim}"),
        remedy: NO_ACCESS_TOKEN,
    }
    /// `exp` is in the past by more than the clock skew.
    Expired { seconds_ago, skew } => "expired" {
        found: format!(
            "expired {seconds_ago} s ago, {} s beyond the clock skew",
            seconds_ago.saturating_sub(*skew),
        ),
        expected: format!("within a clock skew of {skew} s"),
        remedy: "get a new token; if this one is new, the clock of this machine is wrong",
    }
    /// `nbf` is in the future by more than the clock skew.
    NotYetValid { seconds_ahead, skew } => "not_yet_valid" {
        found: format!(
            "valid in {seconds_ahead} s, {} s beyond the clock skew",
            seconds_ahead.saturating_sub(*skew),
        ),
        expected: format!("within a clock skew of {skew} s"),
        remedy: "the clock of this machine is behind: synchronise it (NTP; for a container, \
            synchronise its host)",
    }
    /// `nbf` is later than `exp`.
    ImpossibleLifetime => "impossible_lifetime" {
        remedy: NO_ACCESS_TOKEN,
    }
    /// A second claim has the name `tid` in another letter case, such as `TID`.
    AmbiguousTenant => "ambiguous_tenant" {
        remedy: "remove the claims mapping that emits a second tenant id",
    }
    /// `tid` is not a GUID in the spelling that Entra writes.
    InvalidTenant { found } => "invalid_tenant" {
        found: found.as_str(),
        expected: "a lower-case GUID",
        remedy: NOT_ENTRA,
    }
    /// The issuer does not belong to the token's own `tid` in this cloud.
    WrongIssuer { found, expected } => "wrong_issuer" {
        found: found.as_str(),
        expected: expected.as_str(),
        remedy: if Authority::is_b2c(found) {
            format!(
                "the token is of Azure AD B2C, whose tokens are not supported: for people of your \
                 own organization set the client's authority to https://{}/<tenant id>; for \
                 customers, to an External ID tenant (https://<name>.ciamlogin.com), and set {} to \
                 it; accounts that exist only in B2C must be moved to that tenant",
                host_of(expected),
                setting(Setting::ExternalId),
            )
        } else if host_of(found).ends_with(".ciamlogin.com") {
            format!(
                "the token is of an External ID tenant: configure it with {} (NAME.ciamlogin.com)",
                setting(Setting::ExternalId),
            )
        } else {
            NOT_ENTRA.to_owned()
        },
    }
    /// The issuer belongs to the token's own `tid`, but in another cloud.
    WrongCloud { found, cloud, expected } => "wrong_cloud" {
        found: format!("{found} ({cloud})"),
        expected: expected.as_str(),
        remedy: format!(
            "if this API's tenant is in that cloud, set {} to {cloud}; otherwise have the client sign \
             in at https://{}",
            setting(Setting::Cloud),
            host_of(expected),
        ),
    }
    /// The token's tenant is not allowed.
    TenantNotAllowed { found, allowed, by_tenant_rule, is_the_client_id } => "tenant_not_allowed" {
        found: found.to_string(),
        expected: allowed.as_str(),
        remedy: if *is_the_client_id {
            swapped(setting)
        } else if *by_tenant_rule {
            format!(
                "if {found} is a customer, have {} admit it; otherwise the user has to sign in to \
                 an admitted tenant",
                setting(Setting::TenantRule),
            )
        } else {
            format!(
                "if {found} is this API's own tenant, set {} to it; if it is another tenant that \
                 may call, add it there after a comma; otherwise have the client sign in to an \
                 allowed tenant (its authority ends with the tenant's id)",
                setting(Setting::Tenant),
            )
        },
    }
    /// The token is of a personal Microsoft account, which is not accepted.
    PersonalAccount { allowed, are_all_others_admitted } => "personal_account" {
        found: TenantId::CONSUMERS.to_string(),
        expected: allowed.as_str(),
        remedy: format!(
            "sign in with a work or school account; to accept personal accounts too (anyone can \
             create one), set signInAudience to AzureADandPersonalMicrosoftAccount in the manifest \
             of this API's app registration, and {}",
            if *are_all_others_admitted {
                format!("{} to common", setting(Setting::Tenant))
            } else {
                format!(
                    "add {} to {} (not common, which admits every organization)",
                    TenantId::CONSUMERS,
                    setting(Setting::Tenant),
                )
            },
        ),
    }
    /// The token has Entra's format v1, and only v2 is accepted.
    V1Token { found, expected } => "v1_token" {
        found: found.as_str(),
        expected: expected.as_str(),
        remedy: format!(
            "set api.requestedAccessTokenVersion to 2 in the manifest of this API's app \
             registration (accessTokenAcceptedVersion in the older manifest) and get a new token, or \
             accept v1 tokens with {}",
            setting(Setting::AcceptV1Tokens),
        ),
    }
    /// The key that signed the token was published for another issuer than the token's `iss`.
    KeyIssuerMismatch { found, key_issuer } => "key_issuer_mismatch", publicly UNTRUSTED_SIGNATURE {
        found: found.as_str(),
        expected: key_issuer.as_str(),
        remedy: "treat the token as forged: its key may not sign for its issuer",
    }
    /// The key that signed the token belongs to another cloud.
    KeyCloudMismatch { found, expected } => "key_cloud_mismatch", publicly UNTRUSTED_SIGNATURE {
        found: found.as_str(),
        expected: expected.as_str(),
        remedy: format!(
            "if this API's tenant is in the key's cloud, set {} to that cloud; otherwise treat the \
             token as forged",
            setting(Setting::Cloud),
        ),
    }
    /// The token is for one of Microsoft's own APIs.
    MicrosoftApiToken { found, api_name, api } => "microsoft_api_token" {
        found: format!("{found} ({api_name})"),
        expected: audiences_of(*api),
        remedy: format!(
            "request the scope {}, not a scope of {api_name}; a token is for one API only",
            scope_of(*api),
        ),
    }
    /// The token is for another API.
    WrongAudience { found, accepted, is_the_tenant } => "wrong_audience" {
        found: found.as_str(),
        expected: accepted.join(", "),
        remedy: match is_the_tenant {
            true => swapped(setting),
            false => wrong_audience(found, accepted, setting),
        },
    }
    /// The token is bound to a key of its holder (`cnf`) and must not be accepted as a bearer
    /// token.
    ProofOfPossession => "proof_of_possession" {
        found: "cnf",
        expected: "no cnf",
        remedy: "have the client request a plain bearer token (no token_type=pop, req_cnf or mTLS \
            binding); VS Code on Windows: set \"microsoft-authentication.implementation\" to \
            \"msal-no-broker\", as its broker binds tokens to the device and sends them as plain \
            Bearer",
    }
    /// The token is an id token.
    ///
    /// An id token says to a client who signed in. It does not give access to an API.
    IdToken { api } => "id_token" {
        found: "an id token",
        expected: "an access token",
        remedy: format!(
            "send access_token, not id_token, from Entra's response, and have the client request \
             the scope {}",
            scope_of(*api),
        ),
    }
    /// The client application is not an allowed one.
    ClientNotAllowed { found } => "client_not_allowed" {
        found: found.to_string(),
        expected: "one of the allowed clients",
        remedy: format!(
            "add {found} to {}, or call from an allowed client (its id is Application (client) ID \
             on the client's Overview page)",
            setting(Setting::AllowedClients),
        ),
    }
    /// The user is a guest of the tenant, and guests are refused.
    GuestNotAllowed { tenant } => "guest_not_allowed" {
        found: "a guest",
        expected: "a member",
        remedy: format!(
            "sign in with an account of the tenant {tenant} itself; if this user counts as a \
             member (Users, the user, Properties, User type), emit the optional claim acct (Token \
             configuration); or remove {}",
            setting(Setting::RefuseGuests),
        ),
    }
    /// The caller is an agent of Entra Agent ID, and agents are refused.
    AgentNotAllowed => "agent_not_allowed" {
        found: "an agent",
        expected: "a user or an application",
        remedy: format!(
            "call as a user or as an application, without an agent identity; or remove {}",
            setting(Setting::RefuseAgents),
        ),
    }
    /// The token is a [reissued](crate::Validator::reissued) one, and the grant (the sign-in)
    /// behind it has ended.
    GrantEnded => "grant_ended" {
        remedy: "sign in again",
    }
}

impl InvalidToken {
    /// Returns the remedy for the service's log: what to change, and where, so that the next token
    /// is accepted.
    #[must_use]
    pub fn remedy(&self) -> Cow<'static, str> {
        self.remedy_with(Setting::name)
    }

    /// Returns the remedy for the caller who sent the token.
    ///
    /// It is as unspecific as [`public_code`](Self::public_code).
    #[doc(hidden)] // for crates such as `tower-entra-auth`
    #[must_use]
    pub fn public_remedy(&self) -> Cow<'static, str> {
        self.public_remedy_with(Setting::name)
    }

    /// Returns the remedy for the caller, with other names for the settings.
    #[doc(hidden)] // for crates such as `tower-entra-auth`
    #[must_use]
    pub fn public_remedy_with(&self, setting: fn(Setting) -> &'static str) -> Cow<'static, str> {
        if self.public_code() == UNTRUSTED_SIGNATURE {
            "send the token exactly as Entra's token endpoint returned it; the exact reason is in \
             this service's log"
                .into()
        } else {
            self.remedy_with(setting)
        }
    }
}

/// Refusals for rules that are outside of this crate, such as in `tower-entra-auth`.
#[doc(hidden)]
impl InvalidToken {
    /// Returns the refusal of a tenant that the service's own rule does not admit.
    #[must_use]
    pub fn tenant_rule_said_no(tenant: TenantId) -> Self {
        TokenFault::TenantNotAllowed {
            found: tenant,
            allowed: "a tenant that the tenant rule admits".to_owned(),
            by_tenant_rule: true,
            is_the_client_id: false,
        }
        .into()
    }

    /// Returns the refusal of a [reissued](crate::Validator::reissued) token whose grant (sign-in)
    /// has ended.
    #[must_use]
    pub fn grant_ended() -> Self {
        TokenFault::GrantEnded.into()
    }

    /// Returns the refusal of a token without a required claim.
    #[must_use]
    pub fn missing_claim(claim: &'static str) -> Self {
        TokenFault::MissingClaim { claim }.into()
    }
}

const NO_ACCESS_TOKEN: &str =
    "this is not an access token of Microsoft Entra ID; request one from its token endpoint";

const NOT_ENTRA: &str = "request the token from the tenant and the cloud (public, US Government, \
    China) that this API is configured for";

/// Returns the remedy for swapped settings: the tenant's id is set as the client id, or the client
/// id as the tenant.
fn swapped(setting: fn(Setting) -> &'static str) -> String {
    format!(
        "{} and {} look swapped: one is set to the other's value",
        setting(Setting::Tenant),
        setting(Setting::ClientId),
    )
}

fn scope_of(api: ClientId) -> String {
    format!(
        "api://{api}/<name> (listed on this API's page Expose an API; add one if there is none)"
    )
}

fn audiences_of(api: ClientId) -> String {
    format!("{api}, api://{api}")
}

fn host_of(issuer: &str) -> &str {
    issuer.split('/').nth(2).unwrap_or_default()
}

/// Returns the remedy for a token with a wrong audience.
///
/// The token is for another API of the tenant, the Application ID URI is not configured, or a
/// setting has a mistake.
fn wrong_audience(
    found: &str,
    accepted: &[String],
    setting: fn(Setting) -> &'static str,
) -> String {
    // The list begins with the two audiences that are always accepted; configured ones follow.
    let scope = accepted
        .iter()
        .rfind(|audience| audience.contains("://"))
        .map_or("api://<client id>", String::as_str);
    let found_shown = Escaped(found);
    if Guid::from_setting(found).is_some() {
        format!(
            "if {found_shown} is this API itself, set {} to it; otherwise have the client request the \
             scope {scope}/<name> (listed on this API's page Expose an API)",
            setting(Setting::ClientId),
        )
    } else if found.contains("://") {
        format!(
            "if {found_shown} is this API's Application ID URI (Expose an API), add it with {}; \
             otherwise have the client request the scope {scope}/<name>",
            setting(Setting::Audience),
        )
    } else {
        format!(
            "have the client request the scope {scope}/<name> (listed on this API's page Expose an API)"
        )
    }
}
