//! Reads authorization requests, and refuses those that are wrong.

use super::{AuthorizationRequest, Prompt, Redirect, RequestRefusal, ResponseMode};
use crate::application::{AppRegistration, Platform};
use crate::authority::Authority;
use crate::endpoint::Parameters;
use crate::entra_error::EntraError;
use crate::oauth::{
    Challenge, ClaimsRequest, GRAPH_PERMISSIONS, Permission, RequestedScopes, Resource, Tenant,
};

/// Reads and checks a request.
pub(super) fn read<'t>(
    tenant: &'t Tenant,
    authority: &str,
    parameters: &Parameters,
) -> Result<AuthorizationRequest<'t>, RequestRefusal> {
    let (client, redirect) =
        recipient(tenant, authority, parameters).map_err(RequestRefusal::ToUser)?;
    read_of(tenant, client, redirect.clone(), parameters)
        .map_err(|error| RequestRefusal::ToClient(redirect.with_error(tenant, &error)))
}

fn read_of<'t>(
    tenant: &Tenant,
    client: &'t AppRegistration,
    redirect: Redirect,
    parameters: &Parameters,
) -> Result<AuthorizationRequest<'t>, EntraError> {
    match parameters.required("response_type")? {
        "code" => {}
        other => {
            let message = format!("response_type '{other}' is not enabled for the application");
            return Err(EntraError::new(
                "unsupported_response_type",
                700_051,
                message,
            ));
        }
    }
    response_mode(parameters.get("response_mode"))?;
    let requested = RequestedScopes::parse(tenant, parameters.required("scope")?)?;
    check_exists(tenant, client, &requested)?;
    requested.check_resource_parameter(tenant, parameters.get("resource"))?;
    let prompt = prompt(parameters.get("prompt"))?;
    // The redirect URI is registered.
    let platform = client.platform(&redirect.uri).unwrap_or(Platform::Web);
    let challenge = challenge(parameters)?;
    check_challenge(platform, challenge.as_ref())?;
    Ok(AuthorizationRequest {
        client,
        redirect,
        platform,
        scopes: scopes(tenant, &requested),
        requested,
        challenge,
        nonce: parameters.get("nonce").map(str::to_owned),
        claims: ClaimsRequest::parse(parameters.get("claims"))?,
        login_hint: parameters.get("login_hint").map(str::to_owned),
        prompt,
    })
}

/// Returns the client, and the redirect for its response.
fn recipient<'t>(
    tenant: &'t Tenant,
    authority: &str,
    parameters: &Parameters,
) -> Result<(&'t AppRegistration, Redirect), EntraError> {
    // The users belong to a tenant. There are no personal accounts to sign in with.
    if matches!(
        tenant.issuer.realm.authority(authority)?,
        Authority::Consumers
    ) {
        return Err(EntraError::tenant_not_found(authority));
    }
    parameters.check_each_is_there_once()?;
    let client = tenant.client(parameters.required("client_id")?)?;
    let redirect = Redirect {
        uri: client
            .requested_redirect_uri(parameters.get("redirect_uri"))?
            .to_owned(),
        // The error about an unknown mode is sent by the default mode.
        mode: response_mode(parameters.get("response_mode")).unwrap_or(ResponseMode::Query),
        state: parameters.get("state").map(str::to_owned),
        parameters: Vec::new(),
    };
    Ok((client, redirect))
}

/// Checks that each scope is one that its API exposes.
fn check_exists(
    tenant: &Tenant,
    client: &AppRegistration,
    requested: &RequestedScopes,
) -> Result<(), EntraError> {
    let exists = |permission: &Permission| {
        let exposed = exposed(&permission.resource, tenant);
        permission.is_default()
            || exposed.is_none_or(|exposed| exposed.contains(&&*permission.name))
    };
    match requested.permissions.iter().find(|one| !exists(one)) {
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

/// Lists each scope by its API and short name, with `.default` replaced by the scopes that it
/// stands for.
fn scopes(tenant: &Tenant, requested: &RequestedScopes) -> Vec<(Resource, String)> {
    let of = |permission: &Permission| {
        let names = match permission.is_default() {
            true => default_scopes(&permission.resource, tenant),
            false => vec![&*permission.name],
        };
        let named = |name: &str| (permission.resource.clone(), name.to_owned());
        names.into_iter().map(named).collect::<Vec<_>>()
    };
    requested.permissions.iter().flat_map(of).collect()
}

/// Returns the scopes that an API exposes, or `None` if any scope counts as exposed.
fn exposed<'t>(api: &Resource, tenant: &'t Tenant) -> Option<Vec<&'t str>> {
    match api {
        Resource::Graph => Some(GRAPH_PERMISSIONS.to_vec()),
        Resource::Api(id) => {
            let scopes = &tenant.application(id)?.scopes;
            (!scopes.is_empty()).then(|| scopes.iter().map(String::as_str).collect())
        }
    }
}

/// Returns the scopes that `.default` asks for. For an API, these are all that it exposes. They
/// stand for the permissions that are configured in the client's registration.
fn default_scopes<'t>(api: &Resource, tenant: &'t Tenant) -> Vec<&'t str> {
    match (api, exposed(api, tenant)) {
        (Resource::Graph, _) => vec!["User.Read"],
        (Resource::Api(_), Some(scopes)) => scopes,
        (Resource::Api(_), None) => vec!["user_impersonation"],
    }
}

fn response_mode(mode: Option<&str>) -> Result<ResponseMode, EntraError> {
    match mode {
        None | Some("query") => Ok(ResponseMode::Query),
        Some("fragment") => Ok(ResponseMode::Fragment),
        Some("form_post") => Ok(ResponseMode::FormPost),
        Some(other) => {
            let message = format!("'{other}' is not a supported value of 'response_mode'.");
            Err(EntraError::new("invalid_request", 70_007, message))
        }
    }
}

fn prompt(prompt: Option<&str>) -> Result<Option<Prompt>, EntraError> {
    Ok(Some(match prompt {
        None => return Ok(None),
        Some("none") => Prompt::None,
        Some("login") => Prompt::Login,
        Some("select_account") => Prompt::SelectAccount,
        Some("consent") => Prompt::Consent,
        Some(_) => {
            let message = "Unsupported 'prompt' value.";
            return Err(EntraError::new("invalid_request", 90_023, message));
        }
    }))
}

/// Reads the PKCE challenge. Without a method, it is `plain` (RFC 7636 §4.3).
fn challenge(parameters: &Parameters) -> Result<Option<Challenge>, EntraError> {
    let method = parameters.get("code_challenge_method");
    let Some(challenge) = parameters.get("code_challenge").map(str::to_owned) else {
        return match method {
            None => Ok(None),
            Some(_) => parameters.required("code_challenge").map(|_| None),
        };
    };
    match method {
        None | Some("plain") => Ok(Some(Challenge::Plain(challenge))),
        Some("S256") => Ok(Some(Challenge::S256(challenge))),
        Some(_) => {
            let message = "Invalid code_challenge_method parameter.";
            Err(EntraError::new("invalid_request", 50_149, message))
        }
    }
}

/// Refuses a request of a single-page application without PKCE, which is "required for single page
/// apps using the authorization code flow"
/// (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow>).
fn check_challenge(platform: Platform, challenge: Option<&Challenge>) -> Result<(), EntraError> {
    if platform == Platform::SinglePage && challenge.is_none() {
        let message = "Proof Key for Code Exchange is required for cross-origin authorization code \
            redemption.";
        return Err(EntraError::new("invalid_request", 9_002_325, message));
    }
    Ok(())
}
