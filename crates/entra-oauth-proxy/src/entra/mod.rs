//! Entra, as this server asks it: the tokens and users that come of it, and the words of its refusals for
//! clients and operators. [`Entra`] asks, and checks what it is given.

mod client;

use entra_confidential_client::{TokenError, TokenErrorKind, TokenResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tower_entra_auth::entra_jwt_core::integration::Escaped;
use tower_entra_auth::{Caller, Refusal};

pub(crate) use self::client::{Entra, NoTokens};
use crate::oauth::{ErrorCode, OAuthError};
use crate::telemetry::{Finding, ThrottledLog, throttled};

/// Entra's tokens of a user: never handed to anybody, unless `issue_entra_tokens` is set.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct EntraTokens {
    access_token: String,
    /// The end of its validity, in seconds since 1970.
    expires_at: u64,
    refresh_token: Option<String>,
}

impl EntraTokens {
    /// The longest time between two questions at Entra whether the user still counts, in seconds: the longest
    /// lifetime that it gives to tokens of clients without continuous access evaluation
    /// (<https://learn.microsoft.com/entra/identity-platform/configurable-token-lifetimes>).
    const MAX_LIFETIME: u64 = 90 * 60;

    /// The time before the end of its access token from which on it is renewed, in seconds.
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

    /// Makes those that Entra gave for the refresh token of these, which stays if it gave no other.
    fn renewed(&self, tokens: &TokenResponse, now: u64) -> Self {
        let mut renewed = Self::of(tokens, now);
        let kept = || self.refresh_token.clone();
        renewed.refresh_token = renewed.refresh_token.or_else(kept);
        renewed
    }

    /// Returns whether Entra has to be asked again: its token ends soon, or later than any that this version
    /// keeps, on whichever instance's clock.
    fn is_due(&self, now: u64, skew: u64) -> bool {
        let left = self.left(now);
        left < Self::LAST || left > Self::MAX_LIFETIME.saturating_add(skew)
    }

    /// Returns for how many seconds the access token is good.
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
    /// Short names.
    scopes: Vec<String>,
}

impl User {
    /// Makes the user of a token of Entra's, with claims of so many bytes of JSON at most. Left out are those
    /// alone that say so themselves, or that allow something only where a handler asks for them by name:
    /// groups, and directory roles. App roles are all there, or there is no user: a handler that lets
    /// somebody in for want of a role must not do so as it was left out.
    fn of(caller: &Caller, scopes: Vec<String>, room: usize) -> Result<Self, NoUser> {
        let object_id = caller.object_id().ok_or(NoUser::Nobody)?;
        let mut all: Map<String, Value> = caller.claims_as().map_err(|_| NoUser::Nobody)?;
        let issued_at = all.remove("iat");
        let mut claims: Map<String, Value> = all
            .into_iter()
            .filter(|(name, _)| COPIED.contains(&&**name))
            .collect();
        // As an operator writes it who ends the user's sign-ins, in whichever case it came.
        claims.insert("oid".to_owned(), json!(object_id.to_string()));
        claims.insert("idtyp".to_owned(), json!("user"));
        if let Some(issued_at) = issued_at {
            claims.insert(ENTRA_ISSUED_AT.to_owned(), issued_at);
        }
        let length = |claims: &Map<String, Value>| json!(claims).to_string().len();
        if length(&claims) > room && claims.remove("groups").is_some() {
            // As Entra says it of groups that it leaves out.
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

    /// Returns the tenant and the object id.
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

    /// Returns whether both are of one user: tenant and object id.
    fn is_same_person(&self, other: &Self) -> bool {
        PERSON.iter().all(|claim| {
            let ours = self.claims.get(*claim);
            ours.is_some() && ours == other.claims.get(*claim)
        })
    }
}

/// The claims of Entra's token that go into ours: what the rules and accessors of a `Caller` read.
/// Not `email` and `upn`, by which nothing may be decided; and not `xms_cc`, which says what this server
/// understands as a client of Entra's, not what its own clients do.
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

/// The claim that says when Entra issued the token behind ours: `iat` is that of ours (RFC 9068).
const ENTRA_ISSUED_AT: &str = "entra_iat";

/// The claims that are unique to a user.
const PERSON: [&str; 2] = ["tid", "oid"];

/// The longest claims, in bytes of JSON, however much room there is.
const MAX_CLAIMS: usize = 9 * 1024;

/// The reason for which a token of Entra's makes no user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NoUser {
    /// It does not say whose it is.
    Nobody,
    /// Its claims do not fit into a token of this server.
    TooLong {
        /// The longest of them.
        claim: &'static str,
        bytes: usize,
    },
}

/// The errors of Entra that have a line of their own in the log
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

/// Returns what a client is told where Entra sent the browser back with an error, and tells the operator.
fn refused_authorization(
    log: &ThrottledLog,
    error: &str,
    subcode: Option<&str>,
    description: Option<&str>,
) -> OAuthError {
    let known = ERRORS_OF_ENTRA.into_iter().find(|known| *known == error);
    // Nothing but the number: the rest names users.
    let number = description.and_then(aadsts).unwrap_or_default();
    let finding = Finding::from(known.unwrap_or_default()).found(&*number);
    let remedy = remedy(error, &number);
    let shown = Escaped(error).to_string();
    let (told, reference) = match (error, subcode) {
        ("access_denied", _) | (_, Some("cancel")) => OAuthError::with_reference(
            ErrorCode::AccessDenied,
            "the user did not sign in or did not agree, or an administrator has to",
        ),
        ("consent_required" | "interaction_required" | "login_required", _) => {
            OAuthError::with_reference(
                ErrorCode::AccessDenied,
                "the user or an administrator has to consent first",
            )
        }
        ("temporarily_unavailable" | "server_error", _) => {
            (OAuthError::unavailable(None), String::new())
        }
        _ => {
            let (told, reference) = misconfigured();
            let what = "Entra does not take the request of this server";
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

/// Returns what an operator can do about an error of Entra's authorization endpoint with this number
/// (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>).
fn remedy(error: &str, number: &str) -> &'static str {
    match (error, number) {
        ("invalid_scope", _) | (_, "AADSTS650053" | "AADSTS70011") => {
            "add the scope under Expose an API of the app registration, by the short name in \
             required_scopes(..) or optional_scopes(..); its Application ID URI is that of app_id_uri(..)"
        }
        ("invalid_resource", _) | (_, "AADSTS500011") => {
            "set app_id_uri(..) to the Application ID URI of Expose an API, and add a service principal of \
             the app registration to this tenant"
        }
        (_, "AADSTS700016") => {
            "client id and tenant do not belong together: copy both from the app registration's Overview \
             page"
        }
        (_, "AADSTS65004") => "nothing: the user declined",
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
        ) => "search Entra's sign-in log for the correlation id, which is sign_in",
        _ => "compare scopes, client id and redirect URI with the app registration",
    }
}

/// Returns the number of Entra's error, at the beginning of its description.
fn aadsts(description: &str) -> Option<String> {
    let digits = description.strip_prefix("AADSTS")?;
    let digits = digits.chars().take_while(char::is_ascii_digit);
    Some(format!("AADSTS{}", digits.take(9).collect::<String>()))
}

/// Returns what a client is told where Entra's token endpoint refuses. What the operator has to know was
/// logged with the request, but for what this is about.
fn refused_tokens(log: &ThrottledLog, error: &TokenError) -> OAuthError {
    let denied = |text| OAuthError::with_reference(ErrorCode::AccessDenied, text);
    let finding = Finding::from(error.code()).found(error.error_codes().unwrap_or_default());
    let (told, reference) = match error.kind() {
        TokenErrorKind::AccessDenied => denied("the user or a policy said no"),
        TokenErrorKind::InteractionRequired | TokenErrorKind::ConsentRequired => {
            denied("Entra demands more of this sign-in")
        }
        TokenErrorKind::InvalidGrant => denied("Entra did not accept this sign-in; begin again"),
        // What does not speak as Entra does stands in between, and goes away again.
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
                ("Entra does not accept this server", &finding),
                class = kind.code(),
                error_codes = error.error_codes(),
                correlation_id = error.correlation_id(),
                remedy = error.remedy(),
                reference,
                "Entra does not accept this server; nobody signs in until that is mended"
            );
            // A file or a function that fails now may be there in a moment.
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

/// Makes the error where this server and Entra do not agree: never `invalid_client`, whatever Entra says of
/// us, as the client would forget its registration.
fn misconfigured() -> (OAuthError, String) {
    OAuthError::with_reference(
        ErrorCode::ServerError,
        "this server and Entra do not agree; the reason is in the server's log",
    )
}

/// Refuses tokens that are not of this sign-in, or not as they should be.
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

/// Refuses a user of whom Entra says more than fits into a token that the Layer reads.
fn too_long(log: &ThrottledLog, claim: &'static str, bytes: usize) -> OAuthError {
    let (told, reference) = OAuthError::with_reference(
        ErrorCode::AccessDenied,
        "this account has more app roles than fit into a token; an administrator has to take some away",
    );
    throttled!(
        warn,
        log,
        ("a token would be too long", claim),
        claim,
        bytes,
        reference,
        "an account has more claims than fit into a token of this server, and is not signed in without \
         them; if it is roles, give it fewer app roles, or app roles with shorter values"
    );
    told
}

/// Makes the error where the Layer does not accept a token of Entra's.
fn not_accepted() -> OAuthError {
    OAuthError::new(
        ErrorCode::ServerError,
        "the token that Entra sent is not accepted here; the reason is in the server's log",
    )
}

/// Returns what a client is told of a user whose token the Layer refuses.
fn refused_user(log: &ThrottledLog, refusal: &Refusal) -> OAuthError {
    let (code, remedy) = (refusal.code(), refusal.remedy());
    // The remedy has what was found.
    let finding = Finding::from(code).found(&*remedy);
    if refusal.is_unavailable() {
        throttled!(
            error,
            log,
            ("a token cannot be judged", code),
            code,
            remedy,
            "the token that Entra sent cannot be judged now"
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

/// Refuses a user without a scope that is required.
fn missing_scope(log: &ThrottledLog, scope: &str) -> OAuthError {
    throttled!(
        warn,
        log,
        ("a scope was not granted", &Finding::default().found(scope)),
        scope,
        "Entra did not grant a required scope; have the API expose it, and an administrator or the user \
         consent to it (App registrations, API permissions)"
    );
    OAuthError::new(
        ErrorCode::AccessDenied,
        "a scope that is required was not granted",
    )
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
