//! Remedies: the actions of an operator after a failed request.
//!
//! The kind decides. AADSTS numbers only choose a more precise text here; if they change, the text
//! of the kind remains.

use super::kind::TokenErrorKind;
use crate::text::VALUE_NOT_ID;

/// Returns the remedy for an error, in one sentence.
///
/// The error has this kind, this `error` and these AADSTS numbers; the request was for this grant.
pub(super) fn remedy(
    kind: TokenErrorKind,
    (grant_type, error): (&str, &str),
    codes: &[u64],
) -> &'static str {
    let specific = codes.iter().find_map(|code| by_code(kind, *code));
    specific.unwrap_or_else(|| by_kind(kind, grant_type, error))
}

const SCOPES: &str = "request each scope by its full name, such as api://<client id>/<name>, and \
    scopes of one API only; each scope must be on the page Expose an API of the API's app \
    registration, and on the page API permissions of this application's app registration";

const API: &str = "this tenant does not know the API of the scopes: check the API's App ID URI, \
    and that an administrator of the tenant has consented";

fn by_kind(kind: TokenErrorKind, grant_type: &str, error: &str) -> &'static str {
    let is_on_behalf_of = grant_type.ends_with(":jwt-bearer");
    match kind {
        TokenErrorKind::InvalidGrant => match grant_type {
            _ if is_on_behalf_of => {
                "exchange an access token whose audience is this application, before it expires; \
                 otherwise let the user sign in again"
            }
            "refresh_token" => "let the user sign in again",
            _ => {
                "let the user sign in again; if every sign-in ends like this, redirect_uri or \
                 code_verifier does not match the request to the authorization endpoint"
            }
        },
        TokenErrorKind::InteractionRequired => {
            "let the user sign in again, with the claims of this response if it has any"
        }
        TokenErrorKind::ConsentRequired => {
            "grant consent under API permissions of the app registration, or let the user sign in \
             and consent"
        }
        TokenErrorKind::AccessDenied => {
            "if the user declined, no action is needed; otherwise assign the user to the \
             enterprise application, or look up the correlation id in Entra's sign-in log"
        }
        TokenErrorKind::InvalidClient => {
            "compare client id, tenant and credential with the app registration"
        }
        TokenErrorKind::Misconfigured => match error {
            "unsupported_grant_type" if is_on_behalf_of => {
                "this server does not support the on-behalf-of grant (entra-dev-tenant does not): \
                 try the exchange with a tenant of Entra, or in a test with made-up tokens"
            }
            "unsupported_grant_type" => {
                "this server does not support the requested grant, but Entra does: check the \
                 authority"
            }
            "invalid_request" => {
                "a parameter of the request is missing or not acceptable to Entra: look up the \
                 AADSTS number, or the correlation id in Entra's sign-in log"
            }
            "invalid_resource" | "invalid_target" => API,
            _ => SCOPES,
        },
        TokenErrorKind::CredentialUnavailable => {
            "make the file or the identity provider of the credential available"
        }
        TokenErrorKind::Throttled => "send fewer requests, and cache tokens until they expire",
        TokenErrorKind::Unavailable => "wait, and check Microsoft's service health",
        TokenErrorKind::NoResponse => {
            "check DNS, proxy (HTTPS_PROXY), firewall and CA certificates between this machine and \
             the token endpoint"
        }
        TokenErrorKind::InvalidResponse => {
            "check that the authority is Entra's, and that no proxy responds instead"
        }
    }
}

/// Returns the remedy for a number of Microsoft's list of error codes.
fn by_code(kind: TokenErrorKind, code: u64) -> Option<&'static str> {
    Some(match (kind, code) {
        (TokenErrorKind::InvalidClient, 7_000_222) => {
            "the client secret has expired: add a new one under Certificates & secrets of the app \
             registration, and configure its Value"
        }
        (TokenErrorKind::InvalidClient, 7_000_215) => VALUE_NOT_ID,
        (TokenErrorKind::InvalidClient, 7_000_218) => {
            "the app registration requires a credential: a secret, a certificate or a federated \
             credential"
        }
        (TokenErrorKind::InvalidClient, 700_025) => {
            "the app registration is a public client: register the redirect URI under the platform \
             Web, not as mobile, desktop or single-page application"
        }
        (TokenErrorKind::InvalidClient, 700_016 | 700_038) => {
            "client id and tenant do not belong together: copy Application (client) ID and \
             Directory (tenant) ID from the app registration's Overview page"
        }
        (
            TokenErrorKind::InvalidClient,
            700_027 | 7_000_214 | 7_000_274 | 7_000_277 | 1_000_502,
        ) => {
            "add this certificate to Certificates & secrets of the app registration, and check \
             that it has not expired"
        }
        (TokenErrorKind::InvalidClient, 700_024) => {
            "the clock of this machine is wrong: at Entra's time, the assertion is not valid"
        }
        (TokenErrorKind::InvalidClient, 70_021 | 700_211 | 700_212 | 700_213) => {
            "add a federated credential to the app registration whose issuer, subject and audience \
             are exactly those of the assertion"
        }
        (TokenErrorKind::Misconfigured, 28_000 | 700_022) => "request scopes of one API at a time",
        (TokenErrorKind::Misconfigured, 500_011) => API,
        (TokenErrorKind::Misconfigured | TokenErrorKind::InvalidClient, 650_053) => SCOPES,
        (TokenErrorKind::Misconfigured, 90_002) => {
            "the authority or the request names a tenant that does not exist in this cloud"
        }
        (TokenErrorKind::Misconfigured, 1_002_012) => {
            "client_credentials takes one scope, of the form <App ID URI>/.default"
        }
        (TokenErrorKind::InvalidGrant, 700_082) => {
            "the refresh token was not used for 90 days: let the user sign in again"
        }
        (TokenErrorKind::InvalidGrant, 50_173) => {
            "the user's tokens were revoked, for example by a new password: let the user sign in \
             again"
        }
        (TokenErrorKind::Throttled, 50_196) => {
            "the same request was sent 15 times within 5 minutes: wait 5 minutes, and cache tokens \
             until they expire"
        }
        (TokenErrorKind::AccessDenied, 50_057) => {
            "the user's account is disabled: an administrator can enable it"
        }
        (TokenErrorKind::AccessDenied, 50_105) => {
            "assign the user, or a group of the user, to the enterprise application"
        }
        (TokenErrorKind::InvalidGrant, 500_131) => {
            "the assertion must be an access token whose audience is this application"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_changes_the_words_only_within_its_kind() {
        let of_code = ("authorization_code", "");
        let expired = remedy(TokenErrorKind::InvalidClient, of_code, &[7_000_222]);
        assert!(expired.contains("expired"), "{expired}");
        let other = remedy(TokenErrorKind::InvalidGrant, of_code, &[7_000_222]);
        assert_eq!(
            other,
            by_kind(TokenErrorKind::InvalidGrant, "authorization_code", "")
        );
        let unknown = remedy(TokenErrorKind::InvalidClient, of_code, &[1, 7_000_222]);
        assert_eq!(unknown, expired);
    }
}
