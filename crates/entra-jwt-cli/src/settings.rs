//! From arguments to rules: through the Layer's builder, so that a service and this program read
//! the same settings in the same way.

use std::error::Error;
use std::time::SystemTime;

use entra_jwt_core::{
    AppPermission, AuthenticationContext, Condition, Group, Requirement, Scope, UserRole,
    Validator, any,
};
use tower_entra_auth::{BuildError, EntraAuth};

use crate::arguments::{Arguments, Keys, Required};

pub(crate) fn auth(arguments: &Arguments) -> Result<EntraAuth, SettingsError> {
    // By the name that people know it by, as the variable does.
    let given = |name: &str| (name == "ENTRA_CLOUD").then(|| arguments.cloud.clone())?;
    let mut builder = EntraAuth::builder()
        .audiences(&arguments.audiences)
        .exempt_clients(&arguments.exempt_clients)
        .variables(given)
        .clock({
            let now = arguments.now;
            move || now.unwrap_or_else(SystemTime::now)
        });
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
    match (&arguments.keys, &arguments.metadata_endpoint) {
        (Keys::Live, None) => {}
        (Keys::Live, Some(url)) => builder = builder.metadata_endpoint(url),
        // Nobody is asked for keys: an address that needs no certificates on this machine.
        (Keys::None | Keys::File(_), _) => builder = builder.metadata_endpoint("http://127.0.0.1"),
    }
    builder
        .environment()
        .build()
        .map_err(|error| SettingsError {
            error,
            cloud_is_given: arguments.cloud.is_some(),
        })
}

/// The time that was named, or now.
pub(crate) fn now(arguments: &Arguments) -> SystemTime {
    arguments.now.unwrap_or_else(SystemTime::now)
}

/// The rules of the one authority that was configured.
pub(crate) fn rules(auth: &EntraAuth) -> Result<&Validator, &'static str> {
    auth.validators().next().ok_or("no rules")
}

/// Any of what was asked for, if anything was.
pub(crate) fn requirement(arguments: &Arguments) -> Result<Option<Requirement>, Box<dyn Error>> {
    let conditions: Vec<Condition> = arguments
        .required
        .iter()
        .map(|required| match required {
            Required::Scope(name) => Scope(name).into(),
            Required::UserRole(name) => UserRole(name).into(),
            Required::AppPermission(name) => AppPermission(name).into(),
            Required::Group(id) => Group(id).into(),
            Required::AuthenticationContext(id) => AuthenticationContext(id).into(),
        })
        .collect();
    if conditions.is_empty() {
        return Ok(None);
    }
    Ok(Some(Requirement::new(any(conditions))?))
}

/// Wrong settings, in the words of this program's options.
#[derive(Debug)]
pub(crate) struct SettingsError {
    error: BuildError,
    cloud_is_given: bool,
}

impl std::fmt::Display for SettingsError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the settings are wrong:")?;
        for (setting, text) in self.error.problems() {
            let (name, rest) = setting.split_once(' ').unwrap_or((setting, ""));
            let option = match name {
                "allowed_clients" => "--allowed-client".to_owned(),
                "exempt_clients" => "--exempt-client".to_owned(),
                "tenancy" => "--tenant".to_owned(),
                other => format!("--{}", other.replace('_', "-")),
            };
            let rest = if name == "cloud" && self.cloud_is_given {
                ""
            } else {
                rest
            };
            let space = if rest.is_empty() { "" } else { " " };
            write!(formatter, "\n  {option}{space}{rest}: {text}")?;
        }
        Ok(())
    }
}

impl Error for SettingsError {}
