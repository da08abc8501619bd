//! Settings from environment variables.
//!
//! `ENTRA_*` comes first. The Azure SDK's `AZURE_*` is the fallback; on AKS with workload identity
//! those name the pod, not the API, so that `ENTRA_*` must be set there.

use super::{CloudSetting, EntraAuthBuilder, Setting, TenancySetting};

/// Fills what the code has not set.
pub(super) fn fill(
    mut builder: EntraAuthBuilder,
    variable: impl Fn(&str) -> Option<String>,
) -> EntraAuthBuilder {
    // An empty variable counts as unset, as with the Azure SDK.
    let first = |names: &[&'static str]| {
        names.iter().find_map(|source| {
            let value = variable(source).filter(|value| !value.trim().is_empty())?;
            Some(Setting {
                value: value.trim().to_owned(),
                source,
            })
        })
    };

    if builder.tenancy.is_none() {
        builder.tenancy = first(&["ENTRA_TENANT_ID", "AZURE_TENANT_ID"])
            .map(|setting| setting.map(TenancySetting::Text));
    }
    if builder.client_id.is_none() {
        builder.client_id = first(&["ENTRA_CLIENT_ID", "AZURE_CLIENT_ID"]);
    }
    if builder.metadata_endpoint.is_none() {
        builder.metadata_endpoint = first(&["ENTRA_METADATA_ENDPOINT"]);
    }
    if builder.cloud.is_none() {
        builder.cloud = first(&["ENTRA_CLOUD"])
            .map(|setting| setting.map(CloudSetting::Name))
            .or_else(|| {
                first(&["AZURE_AUTHORITY_HOST"])
                    .map(|setting| setting.map(CloudSetting::AuthorityHost))
            });
    }
    builder
}
