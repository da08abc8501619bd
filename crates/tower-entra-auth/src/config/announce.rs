//! Log lines about the settings of a newly built [`EntraAuth`](crate::EntraAuth).

use entra_jwt_core::{Validator, integration::EscapedUrl, refusal::Setting};

use super::{EntraAuthBuilder, TrustedIssuer};

/// Log lines about the settings of an `EntraAuth`, to be written once everything around it is
/// built.
#[derive(Debug)]
#[doc(hidden)] // for `entra-oauth-proxy` and similar crates
#[must_use = "nothing is logged until write() is called"]
pub struct Announcement {
    tenants: String,
    audiences: Vec<String>,
    keys_from: String,
    issuers: String,
    cloud: String,
    versions: &'static str,
    has_tenant_rule: bool,
    has_caller_rule: bool,
    refuses_agents: bool,
    trusted: Option<String>,
    has_token_cache: bool,
    /// Source of each setting: `builder`, an environment variable or `default`.
    sources: String,
    /// Remedy, if the users of every organization are admitted and no rule decides.
    remedy_of_openness: Option<String>,
}

impl Announcement {
    pub(super) fn of(settings: &EntraAuthBuilder, validator: &Validator, keys_from: &str) -> Self {
        let audiences = validator.audiences().map(ToString::to_string);
        let audiences = audiences.map(|audience| EscapedUrl(&audience).to_string());
        let issuers: Vec<String> = validator.issuers().collect();
        let authority = validator.authority();
        let (has_tenant_rule, has_caller_rule) = (
            settings.tenant_rule.is_some(),
            settings.caller_rule.is_some(),
        );
        let is_open = authority.tenancy().tenant_ids().next().is_none();
        let source = |setting: Option<&'static str>| setting.unwrap_or("default");
        Self {
            tenants: authority.tenancy().to_string(),
            audiences: audiences.collect(),
            keys_from: keys_from.to_owned(),
            issuers: issuers.join(", "),
            cloud: authority.cloud().to_string(),
            versions: match validator.accepts_v1_tokens() {
                true => "v1, v2",
                false => "v2",
            },
            has_tenant_rule,
            has_caller_rule,
            refuses_agents: settings.refuses_agents,
            trusted: (!settings.trusted.is_empty()).then(|| trusted_issuers(&settings.trusted)),
            has_token_cache: settings.token_cache.bounds().is_some(),
            sources: format!(
                "tenant: {}, client_id: {}, cloud: {}, metadata_endpoint: {}",
                source(settings.tenancy.as_ref().map(|it| it.source)),
                source(settings.client_id.as_ref().map(|it| it.source)),
                source(settings.cloud.as_ref().map(|it| it.source)),
                source(settings.metadata_endpoint.as_ref().map(|it| it.source)),
            ),
            remedy_of_openness: (is_open && !has_tenant_rule && !has_caller_rule).then(|| {
                format!(
                    "list the tenants that may call in {}, by their ids, separated by commas; or \
                     decide about each tenant with {}",
                    settings.name_of(Setting::Tenant),
                    settings.name_of(Setting::TenantRule)
                )
            }),
        }
    }

    /// Logs the tenants whose tokens are accepted; at DEBUG also the settings for the validation of
    /// tokens, and the sources of the main ones.
    pub fn write(self) {
        tracing::info!(
            tenants = self.tenants,
            client_id = self.audiences.first(),
            keys_from = self.keys_from,
            "tokens of Microsoft Entra ID are required"
        );
        tracing::debug!(
            issuers = self.issuers,
            audiences = self.audiences.join(", "),
            cloud = self.cloud,
            versions = self.versions,
            tenant_rule = self.has_tenant_rule,
            caller_rule = self.has_caller_rule,
            trusted = self.trusted,
            token_cache = self.has_token_cache,
            settings = self.sources,
            "settings for the validation of tokens"
        );
        if self.refuses_agents {
            tracing::info!(
                remedy = "request the claims of agents in the API's manifest: optionalClaims, \
                    accessToken, xms_par_app_azp, xms_act_fct, xms_sub_fct and idtyp",
                "agents are refused, if the token marks them"
            );
        }
        if let Some(remedy) = self.remedy_of_openness {
            tracing::warn!(
                tenants = self.tenants,
                remedy,
                "users of every organization may call: anyone can create a tenant"
            );
        }
    }
}

/// Returns the issuers that are trusted in addition to Entra.
fn trusted_issuers(trusted: &[TrustedIssuer]) -> String {
    let names = trusted.iter().map(TrustedIssuer::shown);
    names.collect::<Vec<_>>().join(", ")
}
