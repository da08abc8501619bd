//! The kinds of errors, and the mapping of refusals to kinds.

use std::fmt;

use http::StatusCode;

use super::numbers::refine;

/// The kind of a [`TokenError`](super::TokenError), by what can be done about it.
///
/// The HTTP status and the response's `error`, `suberror` and `claims` decide the kind. Microsoft
/// changes its AADSTS numbers, so only a short list of them counts, with a source for each
/// (`src/error/numbers.rs`):
///
/// - A number that passes by itself, such as 50196 or 90033, makes any refusal
///   [`Throttled`](Self::Throttled) or [`Unavailable`](Self::Unavailable), unless the response has
///   claims, or a suberror or number of the list that speaks against it.
/// - Another number or suberror of the list makes an `invalid_grant` more precise, such as
///   [`InteractionRequired`](Self::InteractionRequired) or [`AccessDenied`](Self::AccessDenied).
///
/// No number makes a refusal a success.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum TokenErrorKind {
    /// The code, refresh token or assertion is no longer valid (`invalid_grant`): the user must
    /// sign in again.
    InvalidGrant,
    /// The user must do something that only an interactive sign-in can request: another factor, or
    /// what a policy demands.
    ///
    /// The response has `interaction_required`, `login_required`, `account_selection_required` or
    /// `claims`, or is an `invalid_grant` about a factor or an expired password. The claims belong
    /// in the next sign-in, or are passed to the client.
    InteractionRequired,
    /// A user or an administrator has not consented (`consent_required`).
    ConsentRequired,
    /// The user, an administrator or a policy denied access (`access_denied`, or an
    /// `invalid_grant` about an account that is disabled, not assigned or blocked).
    AccessDenied,
    /// Entra does not accept this application's id, secret, certificate or assertion
    /// (`invalid_client`, `unauthorized_client`).
    ///
    /// The operator can correct it, a user cannot.
    InvalidClient,
    /// The request does not match the app registrations, or was not sent because a part of it is
    /// missing or malformed.
    ///
    /// Entra refuses the scopes, the resource or the parameters (`invalid_scope`,
    /// `invalid_resource`, `invalid_target`, `invalid_request`, `unsupported_…`).
    Misconfigured,
    /// The credential could not be read or made; nothing was sent.
    CredentialUnavailable,
    /// Too many requests (429), or the same one too often.
    ///
    /// Entra sends the latter as an `invalid_grant` with AADSTS50196, after 15 requests in 5
    /// minutes. The refresh token stays valid: try again [later](super::TokenError::retry_after).
    Throttled,
    /// Entra cannot respond now (5xx, 408, `temporarily_unavailable`, `server_error`, or a number
    /// that says so).
    Unavailable,
    /// There was no response: no connection, or not in time.
    ///
    /// Entra may have received the request.
    NoResponse,
    /// The response does not come from Entra's token endpoint, or has no tokens: HTML, too long, a
    /// redirect, no token in it, an unknown `error`.
    InvalidResponse,
}

impl TokenErrorKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::InvalidGrant,
        Self::InteractionRequired,
        Self::ConsentRequired,
        Self::AccessDenied,
        Self::InvalidClient,
        Self::Misconfigured,
        Self::CredentialUnavailable,
        Self::Throttled,
        Self::Unavailable,
        Self::NoResponse,
        Self::InvalidResponse,
    ];

    /// Returns the code, which does not change, for metrics and logs.
    ///
    /// There is no public code, because Entra's responses to this application are not meant for its
    /// callers. The codes are `invalid_grant`, `interaction_required`, `consent_required`,
    /// `access_denied`, `invalid_client`, `misconfigured`, `credential_unavailable`, `throttled`,
    /// `unavailable`, `no_response`, `invalid_response`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidGrant => "invalid_grant",
            Self::InteractionRequired => "interaction_required",
            Self::ConsentRequired => "consent_required",
            Self::AccessDenied => "access_denied",
            Self::InvalidClient => "invalid_client",
            Self::Misconfigured => "misconfigured",
            Self::CredentialUnavailable => "credential_unavailable",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::NoResponse => "no_response",
            Self::InvalidResponse => "invalid_response",
        }
    }

    /// Returns the description of the kind for people.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::InvalidGrant => "Entra no longer accepts the code, refresh token or assertion",
            Self::InteractionRequired => "Entra requires an interactive sign-in",
            Self::ConsentRequired => "consent is missing",
            Self::AccessDenied => "access was denied",
            Self::InvalidClient => "Entra does not accept this application's id or credential",
            Self::Misconfigured => "Entra does not accept the request",
            Self::CredentialUnavailable => "this application's credential is not available",
            Self::Throttled => "too many requests to Entra",
            Self::Unavailable => "Entra is temporarily unavailable",
            Self::NoResponse => "no response from Entra",
            Self::InvalidResponse => {
                "the response is not a valid response of Entra's token endpoint"
            }
        }
    }

    /// Returns the kind of a refusal with this status, `error` and `suberror`, with these AADSTS
    /// numbers, and with or without `claims`.
    ///
    /// Source: Microsoft identity platform, "Handling error codes in your application".
    pub(super) fn of_refusal(
        status: StatusCode,
        (error, suberror): (Option<&str>, Option<&str>),
        codes: &[u64],
        has_claims: bool,
    ) -> Self {
        match status {
            StatusCode::TOO_MANY_REQUESTS => return Self::Throttled,
            StatusCode::REQUEST_TIMEOUT => return Self::Unavailable,
            status if status.is_server_error() => return Self::Unavailable,
            // A token endpoint refuses with no other status.
            status if !status.is_client_error() => return Self::InvalidResponse,
            _ => {}
        }
        let Some(error) = error else {
            return Self::InvalidResponse;
        };
        if error == "consent_required" || suberror == Some("consent_required") {
            return Self::ConsentRequired;
        }
        if has_claims {
            return Self::InteractionRequired;
        }
        let by_error = match error {
            "interaction_required" | "login_required" | "account_selection_required" => {
                Self::InteractionRequired
            }
            "invalid_grant" => Self::InvalidGrant,
            "invalid_client" | "unauthorized_client" => Self::InvalidClient,
            "access_denied" => Self::AccessDenied,
            "temporarily_unavailable" | "server_error" => Self::Unavailable,
            "invalid_scope" | "invalid_resource" | "invalid_target" | "invalid_request" => {
                Self::Misconfigured
            }
            error if error.starts_with("unsupported_") => Self::Misconfigured,
            _ => Self::InvalidResponse,
        };
        refine(by_error, suberror, codes)
    }
}

impl fmt::Display for TokenErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::super::TokenError;
    use super::*;

    fn of(status: u16, error: &str, suberror: &str, has_claims: bool) -> TokenErrorKind {
        let text = |text| Some(text).filter(|text: &&str| !text.is_empty());
        let status = StatusCode::from_u16(status).unwrap();
        TokenErrorKind::of_refusal(status, (text(error), text(suberror)), &[], has_claims)
    }

    #[test]
    fn each_kind_keeps_its_code() {
        for (kind, code) in [
            (TokenErrorKind::InvalidGrant, "invalid_grant"),
            (TokenErrorKind::InteractionRequired, "interaction_required"),
            (TokenErrorKind::ConsentRequired, "consent_required"),
            (TokenErrorKind::AccessDenied, "access_denied"),
            (TokenErrorKind::InvalidClient, "invalid_client"),
            (TokenErrorKind::Misconfigured, "misconfigured"),
            (
                TokenErrorKind::CredentialUnavailable,
                "credential_unavailable",
            ),
            (TokenErrorKind::Throttled, "throttled"),
            (TokenErrorKind::Unavailable, "unavailable"),
            (TokenErrorKind::NoResponse, "no_response"),
            (TokenErrorKind::InvalidResponse, "invalid_response"),
        ] {
            assert_eq!(kind.code(), code);
            assert_eq!(kind.to_string(), code);
            assert_eq!(TokenError::new(kind, "text").code(), code);
        }
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
            (401, "invalid_client", "", false, Kind::InvalidClient),
            (400, "unauthorized_client", "", false, Kind::InvalidClient),
            (400, "access_denied", "", false, Kind::AccessDenied),
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
            (400, "something_new", "", false, Kind::InvalidResponse),
            (400, "", "", false, Kind::InvalidResponse),
            (404, "", "", false, Kind::InvalidResponse),
            (302, "", "", false, Kind::InvalidResponse),
            (302, "invalid_grant", "", false, Kind::InvalidResponse),
        ] {
            let found = of(status, error, suberror, has_claims);
            assert_eq!(found, expected, "{status} {error} {suberror} {has_claims}");
        }
    }
}
