//! Names of settings in remedies.

use entra_jwt_core::refusal::Setting;

/// The names that a program or library uses for the settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SettingNames(pub(crate) fn(Setting) -> &'static str);

impl Default for SettingNames {
    fn default() -> Self {
        Self(name_of)
    }
}

/// Returns the builder's name for a setting, with the environment variable if there is one.
pub(crate) fn name_of(setting: Setting) -> &'static str {
    match setting {
        Setting::AcceptV1Tokens => "accept_v1_tokens()",
        Setting::AllowedClients => "allowed_clients(..)",
        Setting::Audience => "audience(..)",
        Setting::ClientId => "client_id (ENTRA_CLIENT_ID)",
        Setting::Cloud => "cloud (ENTRA_CLOUD)",
        Setting::RolelessClients => "allow_roleless_clients(..)",
        Setting::ExternalId => "external_id(..)",
        Setting::MaxTokenLength => "max_token_length(..)",
        Setting::MetadataEndpoint => "metadata_endpoint (ENTRA_METADATA_ENDPOINT)",
        Setting::RefuseAgents => "refuse_agents()",
        Setting::RefuseGuests => "refuse_guests()",
        Setting::Tenant => "tenant (ENTRA_TENANT_ID)",
        Setting::TenantRule => "tenant_rule(..)",
        Setting::CallerRule => "caller_rule(..)",
        other => other.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_has_a_name_of_the_builder() {
        for &setting in Setting::ALL {
            assert_ne!(name_of(setting), setting.name());
        }
    }
}
