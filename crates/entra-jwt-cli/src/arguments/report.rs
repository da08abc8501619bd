//! The rules that the arguments ask for. The Layer's builder makes them, so that a service and this
//! program read the same settings in the same way.

use std::error::Error;
use std::time::SystemTime;

use entra_jwt_core::{
    KeySet,
    explain::{ExplainOptions, Report},
    refusal::Setting,
    require::{
        AppPermission, AuthenticationContext, Claim, Condition, Group, NotInGroup, Requirement,
        Scope, UserRole,
    },
};
use tower_entra_auth::{BuildError, EntraAuth};

use super::{Arguments, Keys, Required};
use crate::input;

/// The token, notes on how it was found, and the report about it.
type Explained = (String, Vec<&'static str>, Report);

/// Reads the keys and the token, and returns the token with the report about it.
pub(crate) fn report(arguments: &Arguments) -> Result<Explained, Box<dyn Error>> {
    let auth = auth(arguments)?;
    let requirement = requirement(arguments)?;
    let keys = match &arguments.keys {
        Keys::File(path) => Some(input::keys(path)?),
        Keys::Live => {
            fetch_keys(&auth)?;
            None
        }
        Keys::None => None,
    };
    let (token, notes) = input::token(arguments.token_file.as_deref())?;
    let requirement = requirement.as_ref();
    let report = match keys {
        Some(keys) => explain_with(arguments, &auth, &keys, &token, requirement)?,
        None => auth.explain(&token, requirement),
    };
    Ok((token, notes, report))
}

fn auth(arguments: &Arguments) -> Result<EntraAuth, SettingsError> {
    let now = arguments.now;
    let mut builder = EntraAuth::builder()
        .allow_roleless_clients(&arguments.roleless_clients)
        .setting_names(option_of)
        .clock(move || now.unwrap_or_else(SystemTime::now));
    for audience in &arguments.audiences {
        builder = builder.audience(audience);
    }
    if let Some(cloud) = arguments.cloud {
        builder = builder.cloud(cloud);
    }
    if let Some(skew) = arguments.clock_skew {
        builder = builder.clock_skew(skew);
    }
    if let Some(bytes) = arguments.max_token_length {
        builder = builder.max_token_length(bytes);
    }
    if let Some(tenant) = &arguments.tenant {
        builder = builder.tenant(tenant);
    }
    if let Some(id) = &arguments.client_id {
        builder = builder.client_id(id);
    }
    if let Some(host) = &arguments.external_id {
        builder = builder.external_id(host);
    }
    if !arguments.allowed_clients.is_empty() {
        builder = builder.allowed_clients(&arguments.allowed_clients);
    }
    if arguments.accepts_v1 {
        builder = builder.accept_v1_tokens();
    }
    if arguments.refuses_guests {
        builder = builder.refuse_guests();
    }
    if arguments.refuses_agents {
        builder = builder.refuse_agents();
    }
    match (&arguments.keys, &arguments.metadata_endpoint) {
        (Keys::Live, None) => {}
        (Keys::Live, Some(url)) => builder = builder.metadata_endpoint(url),
        // No keys are fetched. With this address, the Layer needs no certificates on this machine.
        (Keys::None | Keys::File(_), _) => builder = builder.metadata_endpoint("http://127.0.0.1"),
    }
    builder.env().build().map_err(SettingsError)
}

/// Returns the report, with keys that were read from a file.
fn explain_with(
    arguments: &Arguments,
    auth: &EntraAuth,
    keys: &KeySet,
    token: &str,
    requirement: Option<&Requirement>,
) -> Result<Report, &'static str> {
    let mut with = ExplainOptions::at(arguments.now.unwrap_or_else(SystemTime::now))
        .keys(keys)
        .setting_names(option_of);
    if let Some(bytes) = arguments.max_token_length {
        with = with.max_length(bytes);
    }
    if let Some(requirement) = requirement {
        with = with.requirement(requirement);
    }
    // The arguments configure one authority.
    let rules = auth.validators().next().ok_or("there are no rules")?;
    Ok(rules.explain(token, &with))
}

/// Fetches the keys that Entra publishes now.
fn fetch_keys(auth: &EntraAuth) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(auth.ready()).map_err(|error| {
        let remedy = error.remedy_with(option_of);
        format!("cannot fetch the keys: {error}; {remedy}").into()
    })
}

/// Returns the option that sets a setting, for the remedies that name it.
fn option_of(setting: Setting) -> &'static str {
    match setting {
        Setting::AcceptV1Tokens => "--accept-v1-tokens",
        Setting::AllowedClients => "--allowed-client",
        Setting::Audience => "--audience",
        Setting::ClientId => "--client-id",
        Setting::Cloud => "--cloud",
        Setting::RolelessClients => "--allow-roleless-client",
        Setting::ExternalId => "--external-id",
        Setting::MaxTokenLength => "--max-token-length",
        Setting::MetadataEndpoint => "--metadata-endpoint",
        Setting::RefuseAgents => "--refuse-agents",
        Setting::RefuseGuests => "--refuse-guests",
        Setting::Tenant => "--tenant",
        // Rules about tenants and callers are a service's own, and this program has no option for
        // them.
        other => other.name(),
    }
}

/// Returns the requirement that any of the given conditions is met, or `None` if there are none.
fn requirement(arguments: &Arguments) -> Result<Option<Requirement>, Box<dyn Error>> {
    let conditions: Vec<Condition> = arguments
        .required
        .iter()
        .map(|required| match required {
            Required::Scope(name) => Scope(name).into(),
            Required::UserRole(name) => UserRole(name).into(),
            Required::AppPermission(name) => AppPermission(name).into(),
            Required::Group(id) => Group(id).into(),
            Required::NotInGroup(id) => NotInGroup(id).into(),
            Required::Claim(name, value) => Claim(name, value.as_str()).into(),
            Required::AuthenticationContext(id) => AuthenticationContext(id).into(),
        })
        .collect();
    if conditions.is_empty() {
        return Ok(None);
    }
    Ok(Some(Requirement::new(Condition::any(conditions))?))
}

/// Wrong settings, reported by the names of this program's options.
#[derive(Debug)]
struct SettingsError(BuildError);

impl std::fmt::Display for SettingsError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("invalid settings:")?;
        for problem in self.0.problems() {
            let (setting, text) = (problem.setting(), problem.text());
            let (name, rest) = setting.split_once(' ').unwrap_or((setting, ""));
            let option = match name {
                "allowed_clients" => "--allowed-client".to_owned(),
                "allow_roleless_clients" => "--allow-roleless-client".to_owned(),
                other => format!("--{}", other.replace('_', "-")),
            };
            let space = if rest.is_empty() { "" } else { " " };
            write!(formatter, "\n  {option}{space}{rest}: {text}")?;
        }
        Ok(())
    }
}

impl Error for SettingsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::USAGE;

    #[test]
    fn a_remedy_names_options_that_there_are() {
        for &setting in Setting::ALL {
            let option = option_of(setting);
            let is_in_usage =
                USAGE.contains(&format!("  {option} ")) || USAGE.contains(&format!("  {option}\n"));
            let is_of_services = matches!(setting, Setting::TenantRule | Setting::CallerRule);
            assert!(is_in_usage || is_of_services, "{option}");
        }
    }
}
