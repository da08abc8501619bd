//! The lines of the log about the settings of an [`EntraAuth`](crate::EntraAuth) that was made.

use entra_jwt_core::{Validator, integration::EscapedUrl, refusal::Setting};

use super::{EntraAuthBuilder, TrustedIssuer};

/// Writes at the start what is trusted; at DEBUG every setting that decides, and where it came from.
pub(super) fn announce(settings: &EntraAuthBuilder, validator: &Validator, keys_from: &str) {
    let source = |setting: Option<&'static str>| setting.unwrap_or("default");
    let audiences = validator.audiences().map(ToString::to_string);
    let audiences: Vec<String> = audiences
        .map(|audience| EscapedUrl(&audience).to_string())
        .collect();
    let issuers: Vec<String> = validator.issuers().collect();
    let tenancy = validator.authority().tenancy();
    let tenants = tenancy.to_string();
    tracing::info!(
        tenants,
        client_id = audiences.first(),
        keys_from,
        "tokens of Microsoft Entra ID are required"
    );
    tracing::debug!(
        issuers = issuers.join(", "),
        audiences = audiences.join(", "),
        cloud = validator.authority().cloud().to_string(),
        versions = if validator.accepts_v1_tokens() {
            "v1, v2"
        } else {
            "v2"
        },
        tenant_rule = settings.tenant_rule.is_some(),
        caller_rule = settings.caller_rule.is_some(),
        trusted = (!settings.trusted.is_empty()).then(|| trusted_issuers(&settings.trusted)),
        token_cache = settings.token_cache.bounds().is_some(),
        settings = format!(
            "tenant: {}, client_id: {}, cloud: {}, metadata_endpoint: {}",
            source(settings.tenancy.as_ref().map(|setting| setting.source)),
            source(settings.client_id.as_ref().map(|setting| setting.source)),
            source(settings.cloud.as_ref().map(|setting| setting.source)),
            source(
                settings
                    .metadata_endpoint
                    .as_ref()
                    .map(|setting| setting.source)
            ),
        ),
        "the settings of the tokens that are required"
    );
    if settings.refuses_agents {
        tracing::info!(
            remedy = "have the API's manifest ask for the claims of agents: optionalClaims, accessToken, \
                xms_par_app_azp, xms_act_fct, xms_sub_fct and idtyp",
            "agents are refused as far as tokens say that they are of one"
        );
    }
    let is_decided = settings.tenant_rule.is_some() || settings.caller_rule.is_some();
    if tenancy.tenant_ids().next().is_none() && !is_decided {
        tracing::warn!(
            tenants,
            remedy = format!(
                "decide about each tenant by {}, or name those that may in {}",
                settings.name_of(Setting::TenantRule),
                settings.name_of(Setting::Tenant)
            ),
            "users of every organization may call: everybody can make a tenant of their own"
        );
    }
}

/// Returns the issuers beside Entra.
fn trusted_issuers(trusted: &[TrustedIssuer]) -> String {
    let names = trusted.iter().map(TrustedIssuer::shown);
    names.collect::<Vec<_>>().join(", ")
}
