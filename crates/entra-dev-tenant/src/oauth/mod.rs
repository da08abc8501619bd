//! The tenant as an authorization server: its applications, users and consents, and the endpoints
//! at which users sign in and clients get tokens.
//!
//! A request to [`authorize`](mod@authorize) leads to a [`Code`] for a [`SignIn`]. A request to the
//! [`token_endpoint`] exchanges the code for tokens. Both requests ask for [`RequestedScopes`], and
//! the [`directory`] decides what is granted.

mod authorize;
mod directory;
mod token_endpoint;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

pub(crate) use self::authorize::{authorize, pick_user, sign_out};
pub(crate) use self::token_endpoint::respond_to_token_request;

use self::directory::Directory;
use crate::application::{AppRegistration, Platform};
use crate::entra_error::EntraError;
use crate::text::{base64url, is_guid, random_bytes};
use crate::token::{Issuer, TokenBuilder};

/// The shared state of all endpoints of a tenant.
pub(crate) struct Tenant {
    pub(crate) issuer: Issuer,
    applications: Vec<AppRegistration>,
    refuses_resource_parameter: bool,
    users: Vec<String>,
    directory: Mutex<Directory>,
    grants: Mutex<Grants>,
}

/// A change of one user.
#[derive(Clone, Copy)]
pub(crate) enum UserChange {
    /// Starts a session of the user in every browser, in place of any other user's.
    StartSession,
    /// Ends the user's sessions, and revokes all codes and refresh tokens so far.
    RevokeSessions,
    Disable,
    Enable,
    /// Requires another sign-in.
    RequireInteraction,
}

/// A change of the consent to a scope.
#[derive(Clone, Copy)]
pub(crate) enum ScopeChange {
    /// Ends the consent of all users.
    Withdraw,
    /// Lets only an administrator consent, and ends the consent of all users.
    RequireAdmin,
    /// Approves the scope as the administrator.
    Approve,
}

/// The codes and refresh tokens that the tenant has issued, by their texts.
#[derive(Default)]
struct Grants {
    codes: HashMap<String, Code>,
    refresh_tokens: HashMap<String, RefreshToken>,
}

#[derive(Clone)]
struct Code {
    sign_in: Arc<SignIn>,
    redirect_uri: String,
    requested: RequestedScopes,
    challenge: Option<Challenge>,
    nonce: Option<String>,
    is_redeemed: bool,
}

#[derive(Clone)]
struct RefreshToken {
    sign_in: Arc<SignIn>,
    issued_at: i64,
    /// The API of a refresh request without a scope.
    resource: Resource,
    requested: RequestedScopes,
}

/// A sign-in of a user to an application, shared by a code and the refresh tokens that follow
/// from it.
struct SignIn {
    user: String,
    client_id: String,
    /// The platform of the redirect URI.
    platform: Platform,
    at: i64,
    claims: ClaimsRequest,
    /// The [generation](Directory::generation) of the user's sign-ins to which this one belongs.
    generation: u64,
}

/// A challenge of PKCE (RFC 7636).
#[derive(Clone)]
enum Challenge {
    Plain(String),
    S256(String),
}

/// Microsoft Graph's application id, which names Graph in Entra's errors.
const GRAPH: &str = "00000003-0000-0000-c000-000000000000";

/// The delegated permissions of Graph that clients request most.
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

impl Tenant {
    pub(crate) fn new(
        issuer: Issuer,
        applications: Vec<AppRegistration>,
        users: Vec<String>,
        refuses_resource_parameter: bool,
    ) -> Self {
        Self {
            issuer,
            applications,
            refuses_resource_parameter,
            users,
            directory: Mutex::default(),
            grants: Mutex::default(),
        }
    }

    /// Changes a user. Panics if no user has this name.
    pub(crate) fn change_user(&self, name: &str, change: UserChange) {
        let user = self.user(name);
        let user = user.unwrap_or_else(|| panic!("{name:?} is not a user of the tenant"));
        self.directory().change_user(user, change);
    }

    /// Changes a scope. Panics if the scope is malformed, or its API does not exist.
    pub(crate) fn change_scope(&self, scope: &str, change: ScopeChange) {
        let permission = Permission::parse(self, scope).unwrap_or_else(|error| panic!("{error}"));
        let scope = (permission.resource, permission.name);
        self.directory().change_scope(scope, change);
    }

    /// Returns the user with this name. The name may also be a mail address, of which only the part
    /// before `@` counts.
    fn user(&self, name: &str) -> Option<&str> {
        let name = name.split('@').next().unwrap_or(name);
        let found = self.users.iter().find(|one| one.eq_ignore_ascii_case(name));
        found.map(String::as_str)
    }

    /// Returns the application that is registered with this id.
    fn application(&self, id: &str) -> Option<&AppRegistration> {
        let mut applications = self.applications.iter();
        applications.find(|app| app.id.eq_ignore_ascii_case(id))
    }

    /// Returns the application that a request names as its client.
    fn client(&self, id: &str) -> Result<&AppRegistration, EntraError> {
        if !is_guid(id) {
            let message = format!("{id} is not a valid application identifier.");
            return Err(EntraError::new("unauthorized_client", 700_038, message));
        }
        self.application(id).ok_or_else(|| {
            let message = format!(
                "Application with identifier '{id}' was not found in the directory '{}'. This can \
                 happen if the application has not been installed by the administrator of the tenant \
                 or consented to by any user in the tenant. You may have sent your authentication \
                 request to the wrong tenant.",
                self.issuer.realm.id,
            );
            EntraError::new("unauthorized_client", 700_016, message)
        })
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn grants(&self) -> MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An API for which the tenant can issue tokens.
#[derive(Clone, Eq, PartialEq)]
enum Resource {
    Graph,
    /// The API with this application id.
    Api(String),
}

impl Resource {
    /// Returns the API that a scope names by the part before its last `/`. Every application id
    /// counts as an API that exists, registered or not.
    fn named(tenant: &Tenant, name: &str) -> Result<Self, EntraError> {
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

    fn id(&self) -> &str {
        match self {
            Self::Graph => GRAPH,
            Self::Api(id) => id,
        }
    }

    /// Returns the Application ID URI.
    fn uri(&self, tenant: &Tenant) -> String {
        match self {
            Self::Graph => format!("https://{}", tenant.issuer.realm.cloud.graph_host()),
            Self::Api(id) => match tenant.application(id) {
                Some(app) => app.resource_uri(),
                None => format!("api://{id}"),
            },
        }
    }
}

/// A scope of an API.
#[derive(Clone)]
struct Permission {
    resource: Resource,
    /// The short name, as in `scp`.
    name: String,
    /// The API's name in the request. A scope without one is Graph's.
    prefix: Option<String>,
}

impl Permission {
    fn parse(tenant: &Tenant, scope: &str) -> Result<Self, EntraError> {
        let (prefix, name) = match scope.rsplit_once('/') {
            Some(("", _) | (_, "")) => return Err(invalid_scope(scope)),
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, scope),
        };
        let resource = match prefix {
            Some(prefix) => Resource::named(tenant, prefix)?,
            None => Resource::Graph,
        };
        // Graph's names are not case-sensitive.
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

    fn is_default(&self) -> bool {
        self.name == ".default"
    }
}

/// All scopes that one `scope` parameter asks for.
#[derive(Clone, Default)]
struct RequestedScopes {
    /// Scopes of OpenID Connect.
    open_id: Vec<String>,
    permissions: Vec<Permission>,
}

impl RequestedScopes {
    fn parse(tenant: &Tenant, scope: &str) -> Result<Self, EntraError> {
        let mut requested = Self::default();
        for scope in scope.split(' ').filter(|scope| !scope.is_empty()) {
            // RFC 6749 §3.3 permits these characters.
            if !scope
                .bytes()
                .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
            {
                return Err(invalid_scope(scope));
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

    fn asks_for(&self, open_id: &str) -> bool {
        self.open_id.iter().any(|scope| scope == open_id)
    }

    fn resources(&self) -> Vec<&Resource> {
        let mut resources = Vec::new();
        for permission in &self.permissions {
            if !resources.contains(&&permission.resource) {
                resources.push(&permission.resource);
            }
        }
        resources
    }

    /// Refuses `resource` (RFC 8707), which has no use in v2, unless it equals the Application ID
    /// URI of the scopes' API exactly.
    fn check_resource_parameter(
        &self,
        tenant: &Tenant,
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

fn invalid_scope(scope: &str) -> EntraError {
    let message = format!(
        "The provided request must include a 'scope' input parameter. The provided value for the \
         input parameter 'scope' is not valid. The scope {scope} is not valid."
    );
    EntraError::new("invalid_scope", 70_011, message)
}

/// The claims that a `claims` parameter (OpenID Connect Core §5.5) requests for the access token,
/// as far as Entra supports them. Every authentication context counts as satisfied.
#[derive(Clone, Default)]
struct ClaimsRequest {
    capabilities: Vec<String>,
    contexts: Vec<String>,
}

impl ClaimsRequest {
    fn parse(text: Option<&str>) -> Result<Self, EntraError> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let claims: Value = serde_json::from_str(text).map_err(|_| EntraError::malformed())?;
        let asked = &claims["access_token"];
        Ok(Self {
            capabilities: requested_values(&asked["xms_cc"]),
            contexts: requested_values(&asked["acrs"]),
        })
    }

    /// Returns these claims together with those of the sign-in. Claims that the sign-in has
    /// satisfied stay satisfied for every token that follows from it.
    fn after(&self, sign_in: &Self) -> Self {
        let mut all = sign_in.clone();
        for (list, more) in [
            (&mut all.capabilities, &self.capabilities),
            (&mut all.contexts, &self.contexts),
        ] {
            for value in more {
                if !list.contains(value) {
                    list.push(value.clone());
                }
            }
        }
        all
    }

    fn write<'t>(&self, token: TokenBuilder<'t>) -> TokenBuilder<'t> {
        let token = self
            .capabilities
            .iter()
            .fold(token, |token, name| token.capability(name));
        self.contexts
            .iter()
            .fold(token, |token, id| token.authentication_context(id))
    }
}

/// Lists the requested values of a claim: one `value`, or any of `values` (OpenID Connect Core
/// §5.5.1).
fn requested_values(claim: &Value) -> Vec<String> {
    let one = claim["value"].as_str();
    let several = claim["values"].as_array().into_iter().flatten();
    let all = one.into_iter().chain(several.filter_map(Value::as_str));
    all.map(str::to_owned).collect()
}

/// Makes the random text of a code or of a refresh token, which begins as Entra's do.
fn opaque() -> String {
    format!("1.{}", base64url(&random_bytes::<96>()))
}
