//! What to change, and where, so that the next token is accepted.
//!
//! Places are named as the Entra admin center and the app manifest name them.

use std::borrow::Cow;

use super::Rejection;
use crate::identifier::{ClientId, Guid};
use crate::shown::Shown;

impl Rejection {
    /// What to change, and where, so that the next token is accepted: for the service's log.
    #[must_use]
    pub fn remedy(&self) -> Cow<'static, str> {
        match self {
            Self::TooLarge { .. } => "have the API's app registration emit only the groups \
                assigned to the application (Token configuration, groups claim; in the manifest \
                \"groupMembershipClaims\": \"ApplicationGroup\"), or raise max_token_length"
                .into(),
            Self::NotAToken { .. }
            | Self::InvalidBase64 { .. }
            | Self::InvalidJson { .. }
            | Self::DuplicateMember { .. }
            | Self::WrongType { .. } => {
                "send the access token exactly as Entra's token endpoint returned it".into()
            }
            Self::Encrypted => "remove tokenEncryptionKeyId from the manifest of this API's app \
                registration; encrypted tokens are not supported"
                .into(),
            Self::MissingKeyId
            | Self::UnsupportedHeader { .. }
            | Self::WrongAlgorithm { .. }
            | Self::WrongTokenType { .. }
            | Self::MissingClaim { .. } => "this is no access token of Microsoft Entra ID; \
                request one from its token endpoint"
                .into(),
            Self::GraphToken { api, .. } => format!(
                "request the scope {}, not a Graph scope such as User.Read; only Graph can verify \
                 its tokens",
                scope_of(*api),
            )
            .into(),
            Self::UnknownKey { api: None, .. } => "sign in again; if this happens at every restart, \
                give the authorization server keys that outlast it, and keep the old ones in the \
                list for as long as their tokens live"
                .into(),
            Self::UnknownKey { api: Some(api), .. } => format!(
                "check that the token is of an allowed tenant (personal accounts and other clouds \
                 have keys of their own); if this API has custom signing keys (claims mapping), set \
                 metadata_endpoint to the tenant's \
                 /v2.0/.well-known/openid-configuration?appid={api}",
            )
            .into(),
            Self::BadSignature { .. } => "the token was changed on its way, or forged; send it \
                exactly as Entra's token endpoint returned it"
                .into(),
            Self::Expired { .. } => {
                "get a new token; if this one is new, the clock of this machine is wrong".into()
            }
            Self::NotYetValid { .. } | Self::ImpossibleLifetime => {
                "synchronise the clock of this machine (NTP)".into()
            }
            Self::AmbiguousTenant => {
                "remove the claims mapping that emits a second tenant id".into()
            }
            Self::WrongIssuer { found, .. } => wrong_issuer(found),
            Self::WrongCloud {
                cloud, expected, ..
            } => format!(
                "have the client sign in at https://{}, or set cloud (ENTRA_CLOUD) to {cloud} if \
                 this API's tenant is there",
                host_of(expected),
            )
            .into(),
            Self::InvalidTenant { .. } => NOT_ENTRA.into(),
            Self::TenantNotAllowed {
                found,
                by_tenant_rule: false,
                ..
            } => format!(
                "have the client sign in to an allowed tenant (its authority ends with the tenant's \
                 id), or add {found} to the allowed ones (tenant, ENTRA_TENANT_ID)",
            )
            .into(),
            Self::TenantNotAllowed { found, .. } => format!(
                "if {found} is a customer, have tenant_rule(..) admit it; otherwise the user signs \
                 in to a tenant that is",
            )
            .into(),
            Self::PersonalAccount { .. } => "sign in with a work or school account; to accept \
                personal ones set signInAudience to AzureADandPersonalMicrosoftAccount in the \
                manifest of this API's app registration, and tenant (ENTRA_TENANT_ID) to common"
                .into(),
            Self::V1Token { .. } => "set api.requestedAccessTokenVersion to 2 in the manifest of \
                this API's app registration, or call accept_v1_tokens()"
                .into(),
            Self::KeyIssuerMismatch { .. } => {
                "treat the token as forged: its key may not sign for its issuer".into()
            }
            Self::KeyCloudMismatch { .. } => "if this API's tenant is in the key's cloud, set cloud \
                (ENTRA_CLOUD) to that; otherwise treat the token as forged"
                .into(),
            Self::MicrosoftApiToken { api_name, api, .. } => format!(
                "request the scope {}, not one of {api_name}; a token is for one API only",
                scope_of(*api),
            )
            .into(),
            Self::WrongAudience { found, accepted } => wrong_audience(found, accepted),
            Self::ProofOfPossession => "have the client request a plain bearer token (no \
                token_type=pop, req_cnf or mTLS binding)"
                .into(),
            Self::IdToken { api } => format!(
                "send access_token, not id_token, of Entra's answer; the client must request the \
                 scope {}",
                scope_of(*api),
            )
            .into(),
            Self::ClientNotAllowed { found } => format!(
                "add {found} to allowed_clients(..), or have an allowed client call (Application \
                 (client) ID on the client's Overview page)",
            )
            .into(),
            Self::GrantEnded => "sign in again".into(),
            Self::GuestNotAllowed { tenant } => format!(
                "sign in with an account of the tenant {tenant} itself; if this one counts as a \
                 member (Users, the user, Properties, User type), emit the optional claim acct \
                 (Token configuration); or drop refuse_guests()",
            )
            .into(),
        }
    }

    /// What to change, for the caller who sent the token; as vague as
    /// [`public_code`](Self::public_code).
    #[must_use]
    pub fn public_remedy(&self) -> Cow<'static, str> {
        if self.concerns_the_key() {
            "send the token exactly as Entra's token endpoint returned it; the exact reason is in \
             this service's log"
                .into()
        } else {
            self.remedy()
        }
    }
}

const NOT_ENTRA: &str = "request the token from the tenant and the cloud (public, US Government, \
    China) that this API is configured for";

fn scope_of(api: ClientId) -> String {
    format!("api://{api}/<name> (Expose an API)")
}

fn host_of(issuer: &str) -> &str {
    issuer.split('/').nth(2).unwrap_or_default()
}

fn wrong_issuer(found: &str) -> Cow<'static, str> {
    let host = host_of(found);
    if host.ends_with(".ciamlogin.com") {
        "the token is of an External ID tenant: configure it by external_id(\"NAME.ciamlogin.com\")"
            .into()
    } else if host.contains(".b2clogin.") {
        "tokens of Azure AD B2C are not supported; request one from an Entra ID or External ID \
         tenant"
            .into()
    } else {
        NOT_ENTRA.into()
    }
}

/// Another API of the tenant, an App ID URI that is not configured, or a slip in the settings.
fn wrong_audience(found: &str, accepted: &[String]) -> Cow<'static, str> {
    // A configured one stands behind the two that are always accepted.
    let scope = accepted
        .iter()
        .rfind(|audience| audience.contains("://"))
        .map_or("api://<client id>", String::as_str);
    let found_shown = Shown(found);
    if Guid::from_setting(found).is_some() {
        format!(
            "request the scope {scope}/<name> (Expose an API); if {found_shown} is this API itself, \
             set client_id (ENTRA_CLIENT_ID) to it",
        )
    } else if found.contains("://") {
        format!(
            "if {found_shown} is this API's Application ID URI (Expose an API), configure it by \
             audience(..); otherwise request the scope {scope}/<name>",
        )
    } else {
        format!("request the scope {scope}/<name> (Expose an API)")
    }
    .into()
}
