//! `POST /token`: exchanges a code for a stored grant and its first tokens, or a refresh token for
//! the next ones.

use std::sync::Arc;
use std::time::Duration;

use entra_http::BoxError;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use serde_json::Value;
use tower_entra_auth::entra_jwt_core::integration::{Escaped, EscapedUrl};

use super::{AuthorizationRequest, CodeRecord, SIGN_IN_LIFETIME, Server, invalid_request};
use crate::crypto::{hash, is_same};
use crate::http::{Response, UnreadBody, json};
use crate::keys::Unreadable;
use crate::oauth::{Client, ErrorCode, OAuthError, Parameters};
use crate::telemetry::{Event, Finding, count, record};
use crate::tokens::RefreshToken;

/// A token request of an authenticated client.
struct AuthenticatedRequest {
    client_id: String,
    client: Client,
    grant_type: GrantType,
}

/// An authorization code, and the proof that it was issued to the client that sends it.
struct CodeProof {
    code: String,
    redirect_uri: String,
    verifier: String,
}

/// The grant type of a token request, with its parameters.
enum GrantType {
    Code(CodeProof),
    Refresh {
        token: RefreshToken,
        /// The scopes that the client wants. `None` means all of them.
        scope: Option<String>,
    },
}

const REFUSED: &str = "a token request was refused";

pub(super) async fn answer<B>(
    server: &Arc<Server>,
    head: &Parts,
    body: UnreadBody<'_, B>,
) -> Response
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let form = match body.form(&head.headers).await {
        Ok(form) => form,
        Err(finding) => return server.refuse(REFUSED, &invalid_request(finding)),
    };
    let tokens = match parse(server, &head.headers, &form) {
        Ok(request) => tokens(server, request).await,
        Err(error) => Err(error),
    };
    match tokens {
        Ok(tokens) => json(StatusCode::OK, &tokens),
        Err(error) => server.refuse(REFUSED, &error),
    }
}

fn parse(
    server: &Server,
    headers: &HeaderMap,
    form: &str,
) -> Result<AuthenticatedRequest, OAuthError> {
    let parameters = form.parse::<Parameters>()?;
    let (client_id, client) = server.clients.authenticate(headers, &parameters)?;
    let grant_type = match parameters.required("grant_type")? {
        "authorization_code" => GrantType::Code(CodeProof {
            code: parameters.required("code")?.to_owned(),
            redirect_uri: parameters.required("redirect_uri")?.to_owned(),
            verifier: parameters.required("code_verifier")?.to_owned(),
        }),
        "refresh_token" => {
            let token = parameters.required("refresh_token")?;
            let token = server.grants.read_refresh_token(token);
            GrantType::Refresh {
                token: token.map_err(|unreadable| match unreadable {
                    Unreadable::Malformed => {
                        OAuthError::invalid_grant("the refresh token is unknown")
                    }
                    Unreadable::Later => OAuthError::later(),
                })?,
                scope: parameters.one("scope")?.map(str::to_owned),
            }
        }
        other => {
            let finding = Finding::from("grant_type must be authorization_code or refresh_token")
                .found(Escaped(other).to_string())
                .expected("authorization_code or refresh_token");
            return Err(OAuthError::new(ErrorCode::UnsupportedGrantType, finding));
        }
    };
    // Check the resource after the grant, so that an invalid refresh token is reported first.
    match &grant_type {
        GrantType::Code(_) => server.resource.check(&parameters)?,
        GrantType::Refresh { .. } => server.resource.check_named(&parameters)?,
    }
    Ok(AuthenticatedRequest {
        client_id,
        client,
        grant_type,
    })
}

async fn tokens(server: &Arc<Server>, request: AuthenticatedRequest) -> Result<Value, OAuthError> {
    record("client", &request.client.hash);
    let work = {
        let server = Arc::clone(server);
        async move {
            match &request.grant_type {
                GrantType::Code(proof) => redeem_code(&server, &request, proof).await,
                GrantType::Refresh { token, scope } => {
                    let client = &request.client;
                    let of = (&*request.client_id, &*client.hash, client.has_secret());
                    let Server {
                        grants,
                        rate_limiter,
                        ..
                    } = &*server;
                    grants
                        .refresh(of, token, scope.as_deref(), rate_limiter)
                        .await
                }
            }
        }
    };
    server.work.for_clients(work).await?
}

/// Time for which the store remembers a used code, longer than any client resends a code by
/// mistake.
const REMEMBERED: Duration = Duration::from_secs(2 * SIGN_IN_LIFETIME);

/// Redeems a code that the client has proven: creates its grant, and returns the first tokens.
async fn redeem_code(
    server: &Server,
    request: &AuthenticatedRequest,
    proof: &CodeProof,
) -> Result<Value, OAuthError> {
    let Server {
        grants, records, ..
    } = server;
    let client = &request.client;
    let key = CodeRecord::key(&proof.code);
    let unknown = || OAuthError::invalid_grant("the code is unknown or has expired");
    let (code, stored) = records.get::<CodeRecord>(&key).await?;
    let code = code.ok_or_else(unknown)?;
    let asked = code.asked();
    // Check the proof first: an attacker who has only the code can neither use it nor end a
    // sign-in.
    check(asked, proof, client)?;
    record("sign_in", &asked.id);
    let pending = match &code {
        CodeRecord::Fresh(pending) => pending,
        CodeRecord::Used { .. } => return used_again(server, request, &code).await,
    };
    server.rate_limiter.admit(&client.hash, None)?;
    let use_code = async |grant: String, used_by: String| {
        let used = CodeRecord::Used {
            grant,
            asked: Box::new(asked.clone()),
            used_at: server.clock.now(),
            used_by,
        };
        records.swap(&key, stored.clone(), &used, REMEMBERED).await
    };
    let of = (&*request.client_id, &*client.hash, asked.may_refresh);
    let tokens = grants.create(of, &asked.scopes, &pending.signed_in, use_code);
    if let Some(tokens) = tokens.await? {
        return Ok(tokens);
    }
    // Another request was faster.
    let (used, _) = records.get::<CodeRecord>(&key).await?;
    used_again(server, request, &used.ok_or_else(unknown)?).await
}

/// Checks that the code was issued to this client, and that the client's proof is correct.
fn check(
    asked: &AuthorizationRequest,
    proof: &CodeProof,
    client: &Client,
) -> Result<(), OAuthError> {
    if !is_same(&asked.client, &client.hash) {
        return Err(OAuthError::invalid_grant(
            "the code belongs to another client",
        ));
    }
    if asked.redirect_uri != proof.redirect_uri {
        let finding = Finding::from("redirect_uri differs from the one that the code was sent to")
            .found(EscapedUrl(&proof.redirect_uri).to_string())
            .expected(EscapedUrl(&asked.redirect_uri).to_string());
        return Err(OAuthError::new(ErrorCode::InvalidGrant, finding));
    }
    match is_code_verifier(&proof.verifier, &asked.challenge) {
        true => Ok(()),
        false => Err(OAuthError::invalid_grant(
            "code_verifier does not match code_challenge",
        )),
    }
}

/// Responds to a client that redeems a used code, with a valid proof.
///
/// Within seconds, the client has perhaps not received the response, and gets the tokens of the
/// same grant, unless they were refreshed meanwhile. Later, two parties have the code, and the
/// grant ends (RFC 6749 §4.1.2).
async fn used_again(
    server: &Server,
    request: &AuthenticatedRequest,
    code: &CodeRecord,
) -> Result<Value, OAuthError> {
    let before = || OAuthError::invalid_grant("the code was used before");
    let CodeRecord::Used {
        grant,
        used_at,
        used_by,
        ..
    } = code
    else {
        return Err(before());
    };
    let of = (&*request.client_id, &*request.client.hash);
    let used = (*used_at, &**used_by);
    let repeated = server.grants.repeat(of, grant, used, &server.rate_limiter);
    if let Some(tokens) = repeated.await? {
        return Ok(tokens);
    }
    // Only once, however often the code is sent.
    if server.grants.end(grant).await? {
        count(Event::CodeReused);
        tracing::warn!(grant, "a code was used twice; its sign-in was ended");
    }
    Err(before())
}

/// Returns whether a verifier matches the challenge (RFC 7636 §4.6).
fn is_code_verifier(verifier: &str, challenge: &str) -> bool {
    is_verifier(verifier) && is_same(&hash(verifier), challenge)
}

/// Returns whether the text has the form of a code verifier (RFC 7636 §4.1).
fn is_verifier(text: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (43..=128).contains(&text.len()) && text.bytes().all(is_unreserved)
}

#[cfg(test)]
mod tests {
    use super::is_verifier;

    #[test]
    fn a_verifier_has_43_to_128_characters_that_need_no_escape() {
        for (text, is_one) in [
            ("a".repeat(42), false),
            ("a".repeat(43), true),
            ("aZ09-._~".repeat(16), true),
            ("a".repeat(129), false),
            (format!("{} ", "a".repeat(43)), false),
            (format!("{}é", "a".repeat(43)), false),
            ("+".repeat(43), false),
        ] {
            assert_eq!(is_verifier(&text), is_one, "{text}");
        }
    }
}
