//! The kinds of errors, and of which kind a refusal is.

use std::fmt;

use http::StatusCode;

/// The kind of a [`TokenError`](super::TokenError), by what can be done about it. The HTTP status and `error`,
/// `suberror` and `claims` of the answer decide it, never an AADSTS number: Microsoft changes those.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TokenErrorKind {
    /// The code, refresh token or assertion is no longer good (`invalid_grant`): the user signs in
    /// again.
    InvalidGrant,
    /// The user must do something that only a sign-in can ask for: another factor, a policy
    /// (`interaction_required`, `login_required`, or an answer with `claims`, which go into the
    /// next sign-in or to the client).
    InteractionRequired,
    /// A user or an administrator has not consented (`consent_required`).
    ConsentRequired,
    /// The user or a policy said no (`access_denied`).
    Denied,
    /// Entra does not accept this application: its id, secret, certificate or assertion
    /// (`invalid_client`, `unauthorized_client`). The operator's fault, no user's.
    ClientRefused,
    /// The request is not as the app registrations say: scopes, resource, parameters
    /// (`invalid_scope`, `invalid_resource`, `invalid_request`, `unsupported_…`), or it was not
    /// even sent because it has no scope.
    Misconfigured,
    /// The credential could not be read or made; nothing was sent.
    NoCredential,
    /// Too many requests (429).
    Throttled,
    /// Entra cannot answer now (5xx, 408, `temporarily_unavailable`, `server_error`).
    Unavailable,
    /// There was no answer: no connection, or not in time. Entra may have seen the request.
    NoAnswer,
    /// A response that is not one of Entra's token endpoint: HTML, too long, a redirect, no token
    /// in it, an unknown `error`.
    BadAnswer,
}

impl TokenErrorKind {
    /// Returns a name that does not change, for metrics and logs: `invalid_grant`,
    /// `interaction_required`, `consent_required`, `denied`, `client_refused`, `misconfigured`,
    /// `no_credential`, `throttled`, `unavailable`, `no_answer`, `bad_answer`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidGrant => "invalid_grant",
            Self::InteractionRequired => "interaction_required",
            Self::ConsentRequired => "consent_required",
            Self::Denied => "denied",
            Self::ClientRefused => "client_refused",
            Self::Misconfigured => "misconfigured",
            Self::NoCredential => "no_credential",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::NoAnswer => "no_answer",
            Self::BadAnswer => "bad_answer",
        }
    }

    /// Returns the kind in words.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::InvalidGrant => "Entra no longer takes the code, refresh token or assertion",
            Self::InteractionRequired => "Entra wants the user to sign in interactively",
            Self::ConsentRequired => "consent is missing",
            Self::Denied => "access was denied",
            Self::ClientRefused => "Entra does not accept this application's id or credential",
            Self::Misconfigured => "Entra does not accept what is requested",
            Self::NoCredential => "this application's credential cannot be had",
            Self::Throttled => "too many requests to Entra",
            Self::Unavailable => "Entra cannot answer now",
            Self::NoAnswer => "no answer from Entra",
            Self::BadAnswer => "the answer is not that of Entra's token endpoint",
        }
    }

    /// Returns the kind of a refusal with this status, `error` and `suberror`, with or without `claims`
    /// (Microsoft identity platform, "Handling error codes in your application").
    pub(super) fn of_refusal(
        status: StatusCode,
        error: Option<&str>,
        suberror: Option<&str>,
        has_claims: bool,
    ) -> Self {
        match status {
            StatusCode::TOO_MANY_REQUESTS => return Self::Throttled,
            StatusCode::REQUEST_TIMEOUT => return Self::Unavailable,
            status if status.is_server_error() => return Self::Unavailable,
            // There are no others that a token endpoint refuses with.
            status if !status.is_client_error() => return Self::BadAnswer,
            _ => {}
        }
        let Some(error) = error else {
            return Self::BadAnswer;
        };
        if error == "consent_required" || suberror == Some("consent_required") {
            return Self::ConsentRequired;
        }
        if has_claims {
            return Self::InteractionRequired;
        }
        match error {
            "interaction_required" | "login_required" | "account_selection_required" => {
                Self::InteractionRequired
            }
            "invalid_grant" => Self::InvalidGrant,
            "invalid_client" | "unauthorized_client" => Self::ClientRefused,
            "access_denied" => Self::Denied,
            "temporarily_unavailable" | "server_error" => Self::Unavailable,
            "invalid_scope" | "invalid_resource" | "invalid_target" | "invalid_request" => {
                Self::Misconfigured
            }
            error if error.starts_with("unsupported_") => Self::Misconfigured,
            _ => Self::BadAnswer,
        }
    }
}

impl fmt::Display for TokenErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, error: &str, suberror: &str, has_claims: bool) -> TokenErrorKind {
        let text = |text| Some(text).filter(|text: &&str| !text.is_empty());
        let status = StatusCode::from_u16(status).unwrap();
        TokenErrorKind::of_refusal(status, text(error), text(suberror), has_claims)
    }

    #[test]
    fn each_refusal_has_its_kind() {
        use TokenErrorKind as Kind;
        for (status, error, suberror, has_claims, expected) in [
            (400, "invalid_grant", "", false, Kind::InvalidGrant),
            (400, "invalid_grant", "bad_token", false, Kind::InvalidGrant),
            (
                400,
                "invalid_grant",
                "consent_required",
                false,
                Kind::ConsentRequired,
            ),
            (
                400,
                "invalid_grant",
                "consent_required",
                true,
                Kind::ConsentRequired,
            ),
            (400, "consent_required", "", false, Kind::ConsentRequired),
            (
                400,
                "interaction_required",
                "",
                true,
                Kind::InteractionRequired,
            ),
            (
                400,
                "interaction_required",
                "basic_action",
                false,
                Kind::InteractionRequired,
            ),
            (400, "login_required", "", false, Kind::InteractionRequired),
            (400, "invalid_grant", "", true, Kind::InteractionRequired),
            (401, "invalid_client", "", false, Kind::ClientRefused),
            (400, "unauthorized_client", "", false, Kind::ClientRefused),
            (400, "access_denied", "", false, Kind::Denied),
            (400, "invalid_scope", "", false, Kind::Misconfigured),
            (400, "invalid_resource", "", false, Kind::Misconfigured),
            (400, "invalid_request", "", false, Kind::Misconfigured),
            (
                400,
                "unsupported_grant_type",
                "",
                false,
                Kind::Misconfigured,
            ),
            (429, "invalid_grant", "", true, Kind::Throttled),
            (429, "", "", false, Kind::Throttled),
            (503, "", "", false, Kind::Unavailable),
            (500, "invalid_grant", "", false, Kind::Unavailable),
            (408, "", "", false, Kind::Unavailable),
            (400, "temporarily_unavailable", "", false, Kind::Unavailable),
            (400, "server_error", "", false, Kind::Unavailable),
            (400, "something_new", "", false, Kind::BadAnswer),
            (400, "", "", false, Kind::BadAnswer),
            (404, "", "", false, Kind::BadAnswer),
            (302, "", "", false, Kind::BadAnswer),
            (302, "invalid_grant", "", false, Kind::BadAnswer),
        ] {
            let found = of(status, error, suberror, has_claims);
            assert_eq!(found, expected, "{status} {error} {suberror} {has_claims}");
        }
    }
}
