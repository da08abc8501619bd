//! Entra's tokens and users, and its errors in a form for clients and operators.
//!
//! [`Entra`] sends the requests, and validates the responses.

mod client;

use entra_confidential_client::{TokenError, TokenErrorKind, TokenResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tower_entra_auth::entra_jwt_core::integration::Escaped;
use tower_entra_auth::{Caller, Refusal};

pub(crate) use self::client::{Entra, NoTokens};
use crate::oauth::{ErrorCode, OAuthError, Parameters};
use crate::telemetry::{Finding, ThrottledLog, throttled};

/// Entra's tokens for a user. Clients receive them only if `issue_entra_tokens` is set.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(crate) struct EntraTokens {
    access_token: String,
    /// Time of the access token's expiry, in seconds since 1970.
    expires_at: u64,
    refresh_token: Option<String>,
}

impl EntraTokens {
    /// Maximum time until this server asks Entra again whether the user may still sign in, in
    /// seconds.
    ///
    /// It is the longest lifetime that Entra gives to tokens of clients without continuous access
    /// evaluation
    /// (<https://learn.microsoft.com/entra/identity-platform/configurable-token-lifetimes>).
    const MAX_LIFETIME: u64 = 90 * 60;

    /// Time before the access token's expiry from which it is renewed, in seconds.
    const LAST: u64 = 5 * 60;

    fn of(tokens: &TokenResponse, now: u64) -> Self {
        let lifetime = tokens.expires_in.as_secs().min(Self::MAX_LIFETIME);
        let refresh_token = tokens.refresh_token.as_ref();
        Self {
            access_token: tokens.access_token.expose_secret().to_owned(),
            expires_at: now.saturating_add(lifetime),
            refresh_token: refresh_token.map(|token| token.expose_secret().to_owned()),
        }
    }

    /// Returns the tokens that Entra issued for this refresh token, which stays if Entra sent no
    /// other.
    fn renewed(&self, tokens: &TokenResponse, now: u64) -> Self {
        let mut renewed = Self::of(tokens, now);
        let kept = || self.refresh_token.clone();
        renewed.refresh_token = renewed.refresh_token.or_else(kept);
        renewed
    }

    /// Returns whether the tokens must be renewed.
    ///
    /// This is so if the access token expires soon, or later than any that this version stores. The
    /// check allows for the skew of another instance's clock.
    pub(crate) fn must_be_renewed(&self, now: u64, skew: u64) -> bool {
        let left = self.left(now);
        left < Self::LAST || left > Self::MAX_LIFETIME.saturating_add(skew)
    }

    /// Returns the remaining lifetime of the access token in seconds.
    pub(crate) fn left(&self, now: u64) -> u64 {
        self.expires_at.saturating_sub(now)
    }

    pub(crate) fn access_token(&self) -> &str {
        &self.access_token
    }
}

/// A user who signed in.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct User {
    claims: Map<String, Value>,
    /// Short names of the scopes that Entra granted.
    scopes: Vec<String>,
}

impl User {
    /// Builds the user from a token of Entra, with claims of at most `room` bytes of JSON.
    ///
    /// If the claims are longer, groups and then directory roles are left out. Another claim says
    /// that groups are missing, and directory roles allow something only where a handler asks for
    /// them by name. App roles are never left out: if they do not fit, there is no user. A handler
    /// that admits users because they do not have a role must not admit a user because the role was
    /// left out.
    fn of(caller: &Caller, scopes: Vec<String>, room: usize) -> Result<Self, NoUser> {
        let object_id = caller.object_id().ok_or(NoUser::Nobody)?;
        let mut all: Map<String, Value> = caller.claims_as().map_err(|_| NoUser::Nobody)?;
        let issued_at = all.remove("iat");
        let mut claims: Map<String, Value> = all
            .into_iter()
            .filter(|(name, _)| COPIED.contains(&&**name))
            .collect();
        // Normalized: an operator who ends the user's sign-ins gives the id in this form.
        claims.insert("oid".to_owned(), json!(object_id.to_string()));
        claims.insert("idtyp".to_owned(), json!("user"));
        if let Some(issued_at) = issued_at {
            claims.insert(ENTRA_ISSUED_AT.to_owned(), issued_at);
        }
        let length = |claims: &Map<String, Value>| json!(claims).to_string().len();
        if length(&claims) > room && claims.remove("groups").is_some() {
            // Entra sets the same claim when it leaves out groups.
            claims.insert("hasgroups".to_owned(), json!(true));
        }
        if length(&claims) > room {
            claims.remove("wids");
        }
        if length(&claims) > room {
            let longest = COPIED.map(|claim| {
                let value = claims.get(claim);
                (value.map_or(0, |value| value.to_string().len()), claim)
            });
            let (bytes, claim) = longest.into_iter().max().unwrap_or_default();
            return Err(NoUser::TooLong { claim, bytes });
        }
        Ok(Self { claims, scopes })
    }

    /// Returns the tenant id and the object id.
    pub(crate) fn ids(&self) -> [&str; 2] {
        PERSON.map(|claim| {
            let id = self.claims.get(claim).and_then(Value::as_str);
            id.unwrap_or_default()
        })
    }

    /// Returns the claims that go into tokens.
    pub(crate) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Returns the short names of the scopes that Entra granted.
    pub(crate) fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// Returns whether both users have the same tenant id and object id.
    fn is_same_person(&self, other: &Self) -> bool {
        PERSON.iter().all(|claim| {
            let ours = self.claims.get(*claim);
            ours.is_some() && ours == other.claims.get(*claim)
        })
    }
}

/// Claims that this server copies from Entra's token: those that rules and accessors of a `Caller`
/// read.
///
/// `email` and `upn` are not copied, because nothing may be decided by them. `xms_cc` is not
/// copied, because it describes this server as a client of Entra, not this server's own clients.
const COPIED: [&str; 18] = [
    "_claim_names",
    "acct",
    "acrs",
    "azp",
    "groups",
    "hasgroups",
    "idp",
    "name",
    "oid",
    "preferred_username",
    "roles",
    "sub",
    "tid",
    "wids",
    "xms_act_fct",
    "xms_idrel",
    "xms_par_app_azp",
    "xms_sub_fct",
];

/// Claim for the time when Entra issued its own token. `iat` is the time of this server's token
/// (RFC 9068).
const ENTRA_ISSUED_AT: &str = "entra_iat";

/// Claims that together identify a user.
const PERSON: [&str; 2] = ["tid", "oid"];

/// Maximum size of the claims in bytes of JSON, even if a token has more room.
const MAX_CLAIMS: usize = 9 * 1024;

/// Cause of a failure to build a user from a token of Entra.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NoUser {
    /// The token does not identify its user.
    Nobody,
    /// The claims do not fit into a token of this server.
    TooLong {
        /// Name of the longest claim.
        claim: &'static str,
        bytes: usize,
    },
}

/// Errors of Entra that each have a line of their own in the log
/// (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#error-codes-for-authorization-endpoint-errors>).
const ERRORS_OF_ENTRA: [&str; 11] = [
    "access_denied",
    "consent_required",
    "interaction_required",
    "invalid_client",
    "invalid_request",
    "invalid_resource",
    "invalid_scope",
    "login_required",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
];

/// Logs an error with which Entra sent the browser back, and returns the client's error.
fn refused_authorization(
    log: &ThrottledLog,
    error: &str,
    subcode: Option<&str>,
    description: Option<&str>,
) -> OAuthError {
    let known = ERRORS_OF_ENTRA.into_iter().find(|known| *known == error);
    // Only the number: the rest names users.
    let number = description.and_then(aadsts).unwrap_or_default();
    let finding = Finding::from(known.unwrap_or_default()).found(&*number);
    let remedy = remedy(error, &number);
    let shown = Escaped(error).to_string();
    let (told, reference) = match (denial(error, subcode, &number), error) {
        (Some(text), _) => OAuthError::with_reference(ErrorCode::AccessDenied, text),
        (None, "temporarily_unavailable" | "server_error") => {
            (OAuthError::unavailable(None), String::new())
        }
        (None, _) => {
            let (told, reference) = misconfigured();
            let what = "Entra does not accept this server's authorization request";
            throttled!(
                error,
                log,
                (what, &finding),
                error = shown,
                number,
                reference,
                remedy,
                "{what}"
            );
            return told;
        }
    };
    let what = "Entra refused a sign-in";
    throttled!(
        warn,
        log,
        (what, &finding),
        error = shown,
        number,
        reference,
        remedy,
        "{what}"
    );
    told
}

/// Returns the text for a client whose user Entra did not sign in, or `None` for an error that is
/// not about the user.
///
/// Entra's number is more exact than its error: `access_denied` has several causes
/// (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).
fn denial(error: &str, subcode: Option<&str>, number: &str) -> Option<&'static str> {
    let is_of_user = matches!(
        error,
        "access_denied" | "consent_required" | "interaction_required" | "login_required"
    );
    match (error, number) {
        _ if subcode == Some("cancel") => Some("the user declined at Entra"),
        _ if !is_of_user => None,
        (_, "AADSTS65004") => Some("the user declined at Entra"),
        (_, "AADSTS90094" | "AADSTS90095") => {
            Some("an administrator must consent to this application first")
        }
        (_, "AADSTS50105") => {
            Some("this account is not assigned to the application; an administrator must assign it")
        }
        (_, "AADSTS50057") => Some("this account is disabled at Entra"),
        (_, "AADSTS53003") => Some("a Conditional Access policy of Entra blocks this sign-in"),
        ("consent_required", _) | (_, "AADSTS65001") => {
            Some("the user or an administrator must consent first")
        }
        ("interaction_required", _) => {
            Some("Entra requires the user to sign in interactively; sign in again")
        }
        ("login_required", _) => Some("the user has no session at Entra; sign in again"),
        _ => Some(DENIED),
    }
}

const DENIED: &str = "Entra denied access to this account; the reason is in the server's log";

/// Returns the finding for an error with which Entra sent a browser back outside of a sign-in.
pub(crate) fn unnamed_error(brought: &Parameters) -> Finding {
    let one = |name| brought.one(name).ok().flatten();
    let error = one("error");
    let known = ERRORS_OF_ENTRA
        .into_iter()
        .find(|known| error == Some(known));
    let number = one("error_description")
        .and_then(aadsts)
        .unwrap_or_default();
    Finding::from(known.unwrap_or_default()).found(number)
}

/// Returns the operator's remedy for an error of Entra's authorization endpoint with this number
/// (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).
fn remedy(error: &str, number: &str) -> &'static str {
    match (error, number) {
        ("invalid_scope", _) | (_, "AADSTS650053" | "AADSTS70011") => {
            "add the scope under Expose an API of the app registration, by the short name in \
             required_scopes(..) or optional_scopes(..); the Application ID URI there must be that \
             of app_id_uri(..)"
        }
        ("invalid_resource", _) | (_, "AADSTS500011") => {
            "set app_id_uri(..) to the Application ID URI of Expose an API, and add a service principal of \
             the app registration to this tenant"
        }
        (_, "AADSTS700016") => {
            "client id and tenant do not belong together: copy both from the app registration's Overview \
             page"
        }
        (_, "AADSTS65004") => "no action is needed: the user declined",
        ("consent_required", _) | (_, "AADSTS65001" | "AADSTS90094" | "AADSTS90095") => {
            "have an administrator grant consent under API permissions of the app registration"
        }
        (_, "AADSTS50105") => {
            "assign the user, or a group of the user, to the enterprise application"
        }
        (
            "access_denied"
            | "interaction_required"
            | "login_required"
            | "server_error"
            | "temporarily_unavailable",
            _,
        ) => "search Entra's sign-in log for the correlation id, which is the field sign_in",
        _ => "compare scopes, client id and redirect URI with the app registration",
    }
}

/// Returns the AADSTS number at the start of a description of Entra's error.
fn aadsts(description: &str) -> Option<String> {
    let digits = description.strip_prefix("AADSTS")?;
    let digits = digits.chars().take_while(char::is_ascii_digit);
    Some(format!("AADSTS{}", digits.take(9).collect::<String>()))
}

/// Logs a refusal by Entra's token endpoint, and returns the client's error.
///
/// Most of what the operator needs was logged with the request. This line adds what the request was
/// for.
fn refused_tokens(log: &ThrottledLog, error: &TokenError) -> OAuthError {
    let denied = |text| OAuthError::with_reference(ErrorCode::AccessDenied, text);
    let finding = Finding::from(error.code()).found(error.error_codes().unwrap_or_default());
    let (told, reference) = match error.kind() {
        TokenErrorKind::AccessDenied => {
            let numbers = error.error_codes().unwrap_or_default();
            let number = numbers.split(", ").next().unwrap_or_default();
            denied(denial("access_denied", error.suberror(), number).unwrap_or(DENIED))
        }
        TokenErrorKind::InteractionRequired => {
            denied("Entra requires the user to sign in interactively; sign in again")
        }
        TokenErrorKind::ConsentRequired => {
            denied("the user or an administrator must consent first")
        }
        TokenErrorKind::InvalidGrant => denied("Entra did not accept this sign-in; sign in again"),
        // A response that is not in Entra's form comes from a server in between, and is temporary.
        TokenErrorKind::Throttled
        | TokenErrorKind::Unavailable
        | TokenErrorKind::NoResponse
        | TokenErrorKind::InvalidResponse => {
            return OAuthError::unavailable(error.retry_after());
        }
        kind => {
            let (told, reference) = misconfigured();
            throttled!(
                error,
                log,
                ("Entra rejects this server", &finding),
                class = kind.code(),
                error_codes = error.error_codes(),
                correlation_id = error.correlation_id(),
                remedy = error.remedy(),
                reference,
                "Entra rejects this server's configuration or credential; users cannot sign in \
                 until it is fixed"
            );
            // The file or the function of the credential may work again in a moment.
            if kind == TokenErrorKind::CredentialUnavailable {
                return OAuthError::unavailable(None);
            }
            return told;
        }
    };
    throttled!(
        info,
        log,
        ("Entra refused tokens", &finding),
        class = error.code(),
        error_codes = error.error_codes(),
        correlation_id = error.correlation_id(),
        reference,
        "Entra refused tokens for a user"
    );
    told
}

/// Builds the error for a mismatch between this server's configuration and Entra.
///
/// It is never `invalid_client`, even if Entra reports this about this server, because the client
/// would delete its registration.
fn misconfigured() -> (OAuthError, String) {
    OAuthError::with_reference(
        ErrorCode::ServerError,
        "this server could not complete the sign-in with Entra; the reason is in the server's log",
    )
}

/// Logs and returns the error for tokens that do not belong to this sign-in or are malformed.
fn mismatch(log: &ThrottledLog, what: &'static str) -> OAuthError {
    let (told, reference) = misconfigured();
    throttled!(
        error,
        log,
        ("the tokens are refused", what),
        what,
        reference,
        "the tokens that Entra sent are refused"
    );
    told
}

/// Logs and returns the error for a user with more claims than fit into a token for the Layer.
fn too_long(log: &ThrottledLog, claim: &'static str, bytes: usize) -> OAuthError {
    let (told, reference) = OAuthError::with_reference(
        ErrorCode::AccessDenied,
        "this account has more app roles than fit into a token; an administrator must remove some",
    );
    throttled!(
        warn,
        log,
        ("a token would be too long", claim),
        claim,
        bytes,
        reference,
        "an account has more claims than fit into a token of this server, so it cannot sign in; if \
         the claim is roles, assign fewer app roles, or app roles with shorter values"
    );
    told
}

/// Builds the error for a token of Entra that the Layer refuses.
fn not_accepted() -> OAuthError {
    OAuthError::new(
        ErrorCode::ServerError,
        "the token that Entra sent is not accepted here; the reason is in the server's log",
    )
}

/// Logs the Layer's refusal of a user's token, and returns the client's error.
fn refused_user(log: &ThrottledLog, refusal: &Refusal) -> OAuthError {
    let (code, remedy) = (refusal.code(), refusal.remedy());
    // The remedy contains the value that was found.
    let finding = Finding::from(code).found(&*remedy);
    if refusal.is_unavailable() {
        throttled!(
            error,
            log,
            ("a token cannot be validated", code),
            code,
            remedy,
            "the token that Entra sent cannot be validated now"
        );
        return OAuthError::unavailable(None);
    }
    match code {
        "tenant_not_allowed" | "personal_account" | "guest_not_allowed" | "agent_not_allowed"
        | "caller_not_allowed" => {
            throttled!(
                warn,
                log,
                ("an account is not allowed", &finding),
                code,
                remedy,
                "an account is not allowed to sign in"
            );
            OAuthError::new(ErrorCode::AccessDenied, "this account is not allowed here")
        }
        _ => {
            throttled!(
                error,
                log,
                ("an access token is refused", &finding),
                code,
                remedy,
                "the access token that Entra sent is refused"
            );
            not_accepted()
        }
    }
}

/// Logs and returns the error for a user without a required scope.
fn missing_scope(log: &ThrottledLog, scope: &str) -> OAuthError {
    throttled!(
        warn,
        log,
        ("a scope was not granted", &Finding::default().found(scope)),
        scope,
        "Entra did not grant a required scope; expose the scope in the API's app registration, and \
         have an administrator or the user consent to it (App registrations, API permissions)"
    );
    OAuthError::new(ErrorCode::AccessDenied, "a required scope was not granted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_one_object_of_one_tenant() {
        let user = |claims: Value| User {
            claims: claims.as_object().unwrap().clone(),
            scopes: Vec::new(),
        };
        let ada = user(json!({ "tid": "t", "oid": "a", "name": "Ada" }));
        assert!(ada.is_same_person(&user(json!({ "tid": "t", "oid": "a" }))));
        for other in [
            json!({ "tid": "t", "oid": "b" }),
            json!({ "tid": "u", "oid": "a" }),
            json!({ "oid": "a" }),
            json!({ "tid": "t" }),
            json!({}),
        ] {
            let of_other = user(other.clone());
            assert!(!ada.is_same_person(&of_other), "{other}");
            assert!(!of_other.is_same_person(&ada), "{other}");
        }
        let nobody = user(json!({}));
        assert!(!nobody.is_same_person(&nobody));
    }
}
