//! What a client asks for, and what is wrong with it.

use super::redirect::{Redirect, ResponseMode};
use crate::application::AppRegistration;
use crate::application::registered;
use crate::authority::Authority;
use crate::dev_tenant::Inner;
use crate::endpoint::Parameters;
use crate::entra_error::EntraError;
use crate::oauth::Requested;
use crate::oauth::claims_request::ClaimsRequest;
use crate::oauth::token_endpoint::Challenge;

pub(super) struct AuthorizationRequest<'t> {
    pub(super) client: &'t AppRegistration,
    pub(super) redirect: Redirect,
    pub(super) requested: Requested,
    pub(super) challenge: Option<Challenge>,
    pub(super) nonce: Option<String>,
    pub(super) claims: ClaimsRequest,
    pub(super) login_hint: Option<String>,
    /// `prompt=none`.
    pub(super) is_silent: bool,
    /// `prompt=consent`.
    pub(super) asks_consent_again: bool,
}

pub(super) enum Refusal {
    /// Until the client and its redirect URI are known to be registered.
    ToUser(EntraError),
    ToClient(Redirect),
}

impl<'t> AuthorizationRequest<'t> {
    pub(super) fn parse(
        tenant: &'t Inner,
        authority: &str,
        parameters: &Parameters,
    ) -> Result<Self, Refusal> {
        let (client, redirect) =
            recipient(tenant, authority, parameters).map_err(Refusal::ToUser)?;
        Self::of(tenant, client, redirect.clone(), parameters)
            .map_err(|error| Refusal::ToClient(redirect.with_error(tenant, &error)))
    }

    fn of(
        tenant: &Inner,
        client: &'t AppRegistration,
        redirect: Redirect,
        parameters: &Parameters,
    ) -> Result<Self, EntraError> {
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
        let requested = Requested::parse(tenant, parameters.required("scope")?)?;
        requested.check_exists(tenant, client)?;
        requested.check_resource_parameter(tenant, parameters.get("resource"))?;
        let prompt = parameters.get("prompt");
        if !matches!(
            prompt,
            None | Some("none" | "login" | "consent" | "select_account")
        ) {
            let message = "Unsupported 'prompt' value.";
            return Err(EntraError::new("invalid_request", 90_023, message));
        }
        Ok(Self {
            client,
            redirect,
            requested,
            challenge: challenge(parameters)?,
            nonce: parameters.get("nonce").map(str::to_owned),
            claims: ClaimsRequest::parse(parameters.get("claims"))?,
            login_hint: parameters.get("login_hint").map(str::to_owned),
            is_silent: prompt == Some("none"),
            asks_consent_again: prompt == Some("consent"),
        })
    }
}

/// Who is to be answered, if anybody may be.
fn recipient<'t>(
    tenant: &'t Inner,
    authority: &str,
    parameters: &Parameters,
) -> Result<(&'t AppRegistration, Redirect), EntraError> {
    // The users here are a tenant's; there are no personal accounts to sign in with.
    if matches!(
        tenant.issuer.realm.authority(authority)?,
        Authority::Consumers
    ) {
        return Err(EntraError::tenant_not_found(authority));
    }
    parameters.check_each_is_there_once()?;
    let client = registered(tenant, parameters.required("client_id")?)?;
    let redirect = Redirect {
        uri: redirect_uri(client, parameters.get("redirect_uri"))?.to_owned(),
        // A mode that there is not is said by the usual one.
        mode: response_mode(parameters.get("response_mode")).unwrap_or(ResponseMode::Query),
        state: parameters.get("state").map(str::to_owned),
        parameters: Vec::new(),
    };
    Ok((client, redirect))
}

fn redirect_uri<'a>(
    client: &'a AppRegistration,
    asked: Option<&'a str>,
) -> Result<&'a str, EntraError> {
    match (&client.redirect_uris[..], asked) {
        ([], _) => Err(EntraError::new(
            "invalid_request",
            500_113,
            "No reply address is registered for the application.",
        )),
        ([only], None) => Ok(only),
        (_, None) => {
            let message = "No reply address provided.";
            Err(EntraError::new("invalid_request", 900_971, message))
        }
        (_, Some(asked)) if client.has_redirect_uri(asked) => Ok(asked),
        (_, Some(asked)) => {
            let message = format!(
                "The redirect URI '{asked}' specified in the request does not match the redirect \
                 URIs configured for the application '{}'. Make sure the redirect URI sent in the \
                 request matches one added to your application in the Azure portal.",
                client.id,
            );
            Err(EntraError::new("invalid_request", 50_011, message))
        }
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

/// RFC 7636 §4.3: without a method it is `plain`.
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
