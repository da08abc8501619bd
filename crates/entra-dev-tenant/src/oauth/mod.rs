//! What a `scope` parameter asks for.

pub(crate) mod authorize;
mod claims_request;
mod consent;
mod directory;
pub(crate) mod token_endpoint;

pub(crate) use self::directory::Directory;
pub(crate) use self::token_endpoint::Grants;

use crate::application::AppRegistration;
use crate::dev_tenant::Inner;
use crate::entra_error::EntraError;
use crate::text::is_guid;

/// Microsoft Graph's application id, by which Entra names it in errors.
pub(crate) const GRAPH: &str = "00000003-0000-0000-c000-000000000000";

/// Of Graph's delegated permissions, those that are asked for most.
const GRAPH_PERMISSIONS: [&str; 16] = [
    "User.Read",
    "User.ReadBasic.All",
    "User.Read.All",
    "User.ReadWrite",
    "Mail.Read",
    "Mail.ReadWrite",
    "Mail.Send",
    "Calendars.Read",
    "Calendars.ReadWrite",
    "Contacts.Read",
    "Files.Read",
    "Files.Read.All",
    "Files.ReadWrite",
    "Group.Read.All",
    "GroupMember.Read.All",
    "Sites.Read.All",
];

const OPEN_ID: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// An API that tokens can be for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Resource {
    Graph,
    /// By its application id.
    Api(String),
}

impl Resource {
    /// The one that the part before the last `/` of a scope names. Every application id counts
    /// as an API that exists, registered or not.
    pub(crate) fn named(tenant: &Inner, name: &str) -> Result<Self, EntraError> {
        let graph = format!("https://{}", tenant.issuer.realm.cloud.graph_host());
        if name == graph || name == GRAPH {
            return Ok(Self::Graph);
        }
        let is_named = |app: &&AppRegistration| app.resource_uri() == name;
        if let Some(app) = tenant.applications.iter().find(is_named) {
            return Ok(Self::Api(app.id.clone()));
        }
        let id = name.strip_prefix("api://").unwrap_or(name);
        let has_other_uri = || {
            tenant
                .application(id)
                .is_some_and(|app| app.app_id_uri.is_some() && id != name)
        };
        if is_guid(id) && !has_other_uri() {
            return Ok(Self::Api(id.to_ascii_lowercase()));
        }
        let message = format!(
            "The resource principal named {name} was not found in the tenant named {}. This can \
             happen if the application has not been installed by the administrator of the tenant \
             or consented to by any user in the tenant. You might have sent your authentication \
             request to the wrong tenant.",
            tenant.issuer.realm.id,
        );
        Err(EntraError::new("invalid_resource", 500_011, message))
    }

    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Graph => GRAPH,
            Self::Api(id) => id,
        }
    }

    /// The App ID URI.
    pub(crate) fn uri(&self, tenant: &Inner) -> String {
        match self {
            Self::Graph => format!("https://{}", tenant.issuer.realm.cloud.graph_host()),
            Self::Api(id) => match tenant.application(id) {
                Some(app) => app.resource_uri(),
                None => format!("api://{id}"),
            },
        }
    }

    /// The scopes that there are; `None` where any is.
    pub(crate) fn exposed<'t>(&self, tenant: &'t Inner) -> Option<Vec<&'t str>> {
        match self {
            Self::Graph => Some(GRAPH_PERMISSIONS.to_vec()),
            Self::Api(id) => {
                let scopes = &tenant.application(id)?.scopes;
                (!scopes.is_empty()).then(|| scopes.iter().map(String::as_str).collect())
            }
        }
    }

    /// What `.default` asks for: of an API all that it exposes, which stands for the permissions
    /// that are configured in the client's registration.
    pub(crate) fn default_scopes<'t>(&self, tenant: &'t Inner) -> Vec<&'t str> {
        match (self, self.exposed(tenant)) {
            (Self::Graph, _) => vec!["User.Read"],
            (Self::Api(_), Some(scopes)) => scopes,
            (Self::Api(_), None) => vec!["user_impersonation"],
        }
    }
}

/// One scope of an API.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Permission {
    pub(crate) resource: Resource,
    /// The short name, as `scp` has it.
    pub(crate) name: String,
    /// How the request named the API; a name without one is Graph's.
    pub(crate) prefix: Option<String>,
}

impl Permission {
    pub(crate) fn parse(tenant: &Inner, scope: &str) -> Result<Self, EntraError> {
        let (prefix, name) = match scope.rsplit_once('/') {
            Some(("", _) | (_, "")) => return Err(invalid(scope)),
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, scope),
        };
        let resource = match prefix {
            Some(prefix) => Resource::named(tenant, prefix)?,
            None => Resource::Graph,
        };
        // Graph's names are the same in any case of their letters.
        let name = match resource {
            Resource::Graph => GRAPH_PERMISSIONS
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(name))
                .unwrap_or(name),
            Resource::Api(_) => name,
        };
        Ok(Self {
            resource,
            name: name.to_owned(),
            prefix: prefix.map(str::to_owned),
        })
    }

    pub(crate) fn is_default(&self) -> bool {
        self.name == ".default"
    }

    fn exists(&self, tenant: &Inner) -> bool {
        let exposed = self.resource.exposed(tenant);
        self.is_default() || exposed.is_none_or(|exposed| exposed.contains(&&*self.name))
    }
}

/// All that one `scope` parameter asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requested {
    /// Of OpenID Connect.
    pub(crate) open_id: Vec<String>,
    pub(crate) permissions: Vec<Permission>,
}

impl Requested {
    pub(crate) fn parse(tenant: &Inner, scope: &str) -> Result<Self, EntraError> {
        let mut requested = Self::default();
        for scope in scope.split(' ').filter(|scope| !scope.is_empty()) {
            // RFC 6749 §3.3.
            if !scope
                .bytes()
                .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
            {
                return Err(invalid(scope));
            }
            if OPEN_ID.contains(&scope) {
                requested.open_id.push(scope.to_owned());
            } else {
                let permission = Permission::parse(tenant, scope)?;
                requested.permissions.push(permission);
            }
        }
        let defaults = requested.permissions.iter().filter(|one| one.is_default());
        if defaults.clone().count() > 0 && defaults.count() < requested.permissions.len() {
            return Err(EntraError::new(
                "invalid_scope",
                70_011,
                format!(
                    "The provided request must include a 'scope' input parameter. The provided \
                     value for the input parameter 'scope' is not valid. The scope {scope} is not \
                     valid. .default scope can't be combined with resource-specific scopes."
                ),
            ));
        }
        Ok(requested)
    }

    pub(crate) fn asks_for(&self, open_id: &str) -> bool {
        self.open_id.iter().any(|scope| scope == open_id)
    }

    pub(crate) fn resources(&self) -> Vec<&Resource> {
        let mut resources = Vec::new();
        for permission in &self.permissions {
            if !resources.contains(&&permission.resource) {
                resources.push(&permission.resource);
            }
        }
        resources
    }

    /// Each scope by its API and short name, `.default` as what it stands for.
    pub(crate) fn scopes(&self, tenant: &Inner) -> Vec<(Resource, String)> {
        let of = |permission: &Permission| {
            let names = match permission.is_default() {
                true => permission.resource.default_scopes(tenant),
                false => vec![&*permission.name],
            };
            let named = |name: &str| (permission.resource.clone(), name.to_owned());
            names.into_iter().map(named).collect::<Vec<_>>()
        };
        self.permissions.iter().flat_map(of).collect()
    }

    /// The one API that a token can be for; with none named it is Graph.
    pub(crate) fn resource(&self) -> Result<Resource, EntraError> {
        match self.resources()[..] {
            [] => Ok(Resource::Graph),
            [one] => Ok(one.clone()),
            [..] => Err(EntraError::new(
                "invalid_request",
                28_000,
                "Provided value for the input parameter scope is not valid because it contains \
                 more than one resource.",
            )),
        }
    }

    /// That every scope is one of its API's.
    pub(crate) fn check_exists(
        &self,
        tenant: &Inner,
        client: &AppRegistration,
    ) -> Result<(), EntraError> {
        match self.permissions.iter().find(|one| !one.exists(tenant)) {
            None => Ok(()),
            Some(permission) => {
                let message = format!(
                    "The application '{}' asked for scope '{}' that doesn't exist on the resource \
                     '{}'. Contact the app vendor.",
                    client.display_name(),
                    permission.name,
                    permission.resource.id(),
                );
                Err(EntraError::new("invalid_client", 650_053, message))
            }
        }
    }

    /// `resource` (RFC 8707) has no use in v2, and is let through where it says the same as the
    /// scopes, to the letter.
    pub(crate) fn check_resource_parameter(
        &self,
        tenant: &Inner,
        parameter: Option<&str>,
    ) -> Result<(), EntraError> {
        let Some(parameter) = parameter else {
            return Ok(());
        };
        if tenant.refuses_resource_parameter {
            let message = "The 'resource' request parameter is not supported.";
            return Err(EntraError::new("invalid_request", 901_002, message));
        }
        match self.resources()[..] {
            [one] if one.uri(tenant) == parameter => Ok(()),
            [..] => Err(EntraError::new(
                "invalid_target",
                9_010_010,
                "The resource parameter provided in the request doesn't match with the requested \
                 scopes.",
            )),
        }
    }
}

pub(crate) fn invalid(scope: &str) -> EntraError {
    let message = format!(
        "The provided request must include a 'scope' input parameter. The provided value for the \
         input parameter 'scope' is not valid. The scope {scope} is not valid."
    );
    EntraError::new("invalid_scope", 70_011, message)
}
