//! `POST /token`: what a code or a refresh token comes to.

pub(crate) mod code;
pub(crate) mod refresh;

use http::HeaderMap;
use serde_json::{Value, json};

use crate::endpoints::consent::Asked;
use crate::engine::Engine;
use crate::keys::format::Unread;
use crate::keys::keyring::{hash, is_same};
use crate::oauth::client::Client;
use crate::oauth::error::{Code, OAuthError};
use crate::oauth::parameters::Params;
use crate::oauth::scopes::OFFLINE_ACCESS;
use crate::tokens::grant::{Grant, RefreshToken};

/// A request to the token endpoint, of a client that is who it says.
pub(crate) struct Requested {
    pub(crate) client_id: String,
    pub(crate) client: Client,
    pub(crate) by: By,
}

/// What the client has.
pub(crate) enum By {
    Code(CodeProof),
    Refresh {
        token: RefreshToken,
        /// Which scopes it wants, if not all.
        scope: Option<String>,
    },
}

/// A code, and what shows that it was meant for whoever sends it.
pub(crate) struct CodeProof {
    pub(crate) code: String,
    redirect_uri: String,
    verifier: String,
}

/// The scopes of tokens that are issued.
pub(crate) struct Narrowed {
    /// The names by which the resource knows them.
    names: Vec<String>,
    /// The spelling of the client.
    shown: Vec<String>,
}

/// When a refresh token came.
pub(crate) struct Arrival {
    /// In seconds since 1970, as the next.
    pub(crate) came: u64,
    /// The last moment at which the token that was replaced last works.
    pub(crate) grace_until: Option<u64>,
    /// True if it waited here while another request replaced it.
    pub(crate) was_overtaken: bool,
}

/// What is to be done with a refresh token that is of a grant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rotation {
    /// It is the current one: the next takes its place.
    Next,
    /// It was replaced a moment ago, and the answer may have been lost: the current one again.
    Again,
    /// It was replaced before: two have it, and one of them is not the client.
    Stolen,
}

pub(crate) fn invalid_grant(what: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidGrant, what)
}

/// The error for a sign-in whose user was not asked for all that is required today.
pub(crate) fn begin_again() -> OAuthError {
    invalid_grant("this server requires more than the user agreed to; sign in again")
}

impl Engine {
    pub(crate) fn requested(
        &self,
        headers: &HeaderMap,
        form: &str,
    ) -> Result<Requested, OAuthError> {
        let params = Params::parse(form)?;
        let (client_id, client) = self.clients.authenticate(headers, &params, &self.keys)?;
        let by = match params.required("grant_type")? {
            "authorization_code" => By::Code(CodeProof {
                code: params.required("code")?.to_owned(),
                redirect_uri: params.required("redirect_uri")?.to_owned(),
                verifier: params.required("code_verifier")?.to_owned(),
            }),
            "refresh_token" => {
                let token = self.read_refresh_token(params.required("refresh_token")?);
                By::Refresh {
                    token: token.map_err(|unread| match unread {
                        Unread::Malformed => invalid_grant("the refresh token is not known"),
                        Unread::Later => OAuthError::later(),
                    })?,
                    scope: params.one("scope")?.map(str::to_owned),
                }
            }
            _ => {
                return Err(OAuthError::new(
                    Code::UnsupportedGrantType,
                    "grant_type is authorization_code or refresh_token",
                ));
            }
        };
        // After the grant, so that a token that is good for nothing says so first.
        match &by {
            By::Code(_) => self.resource.check(&params)?,
            By::Refresh { .. } => self.resource.check_named(&params)?,
        }
        Ok(Requested {
            client_id,
            client,
            by,
        })
    }

    /// Whether the code was meant for this client, and is proven by it.
    pub(crate) fn check_code(
        &self,
        asked: &Asked,
        proof: &CodeProof,
        client: &Client,
    ) -> Result<(), OAuthError> {
        if !is_same(&asked.client, &client.hash) {
            return Err(invalid_grant("the code is another client's"));
        }
        if asked.redirect_uri != proof.redirect_uri {
            return Err(invalid_grant(
                "redirect_uri is not the one that the code was sent to",
            ));
        }
        match is_verifier(&proof.verifier) && is_same(&hash(&proof.verifier), &asked.challenge) {
            true => Ok(()),
            false => Err(invalid_grant("code_verifier does not fit the challenge")),
        }
    }

    /// Decides what is to be done with a refresh token of this grant.
    pub(crate) fn rotation(
        &self,
        grant: &Grant,
        token: &RefreshToken,
        client: &Client,
        arrival: &Arrival,
    ) -> Result<Rotation, OAuthError> {
        let now = arrival.came;
        if !is_same(&grant.client, &client.hash) {
            return Err(invalid_grant("the refresh token is another client's"));
        }
        if now >= grant.ends_at {
            return Err(invalid_grant("the sign-in is over"));
        }
        let is_in_grace = arrival.grace_until.is_some_and(|until| now <= until);
        Ok(match grant.generation.checked_sub(token.generation) {
            // A later one than is known: its tag says that it was made here, so the store has lost
            // that.
            Some(0) | None => Rotation::Next,
            Some(1) if arrival.was_overtaken || is_in_grace => Rotation::Again,
            Some(_) => Rotation::Stolen,
        })
    }

    /// Returns whether the scopes that are required today are among those that the user agreed to and that Entra
    /// granted. If not, the sign-in has to begin again, with the page.
    pub(crate) fn has_required(&self, grant: &Grant) -> bool {
        let of_both = [&grant.names, &grant.user.scopes];
        of_both.iter().all(|names| self.scopes.has_required(names))
    }

    /// Returns the scopes of a grant's tokens, or those of them that are requested (RFC 6749 §6): those
    /// that the user agreed to, that Entra granted, and that the settings know today.
    pub(crate) fn narrowed(
        &self,
        grant: &Grant,
        requested: Option<&str>,
    ) -> Result<Narrowed, OAuthError> {
        let shown_of = |names: &[String]| -> Vec<String> {
            let of_names = |shown: &&String| {
                *shown == OFFLINE_ACCESS
                    || names.iter().any(|name| name == self.scopes.short(shown))
            };
            let shown: Vec<String> = grant.shown.iter().filter(of_names).cloned().collect();
            let is_there =
                |name: &&String| shown.iter().any(|shown| self.scopes.short(shown) == **name);
            let more: Vec<String> = names
                .iter()
                .filter(|name| !is_there(name))
                .cloned()
                .collect();
            shown.into_iter().chain(more).collect()
        };
        // Entra's own token has what it has.
        if self.pass_through {
            let names = grant.user.scopes.clone();
            let shown = shown_of(&names);
            return Ok(Narrowed { names, shown });
        }
        let mut names = self.scopes.known(&grant.names);
        names.retain(|name| grant.user.scopes.contains(name));
        let Some(requested) = requested else {
            let shown = shown_of(&names);
            return Ok(Narrowed { names, shown });
        };
        let granted = self.scopes.grant(Some(requested))?;
        if !granted.names.iter().all(|name| grant.names.contains(name)) {
            return Err(OAuthError::new(
                Code::InvalidScope,
                "the user was not asked for a scope of these; sign in again for it",
            ));
        }
        names.retain(|name| granted.names.contains(name));
        let of_names = |shown: &String| {
            shown == OFFLINE_ACCESS || names.iter().any(|name| name == self.scopes.short(shown))
        };
        let shown = granted.shown.into_iter().filter(of_names).collect();
        Ok(Narrowed { names, shown })
    }

    /// The answer with the tokens.
    pub(crate) fn tokens(
        &self,
        requested: &Requested,
        grant_id: &str,
        grant: &Grant,
        scopes: &Narrowed,
        now: u64,
    ) -> Result<Value, OAuthError> {
        let (access_token, expires_in) = match self.pass_through {
            true => {
                let upstream = &grant.upstream;
                let left = upstream.expires_at.saturating_sub(now);
                (Some(upstream.access_token.clone()), left)
            }
            false => {
                // Never longer than the sign-in.
                let left = grant.ends_at.saturating_sub(now);
                let lifetime = self.lifetimes.access_token.as_secs().min(left);
                let of = (requested.client_id.as_str(), grant_id);
                let token = self.access_token(of, &grant.user, &scopes.names, now, lifetime);
                (token, lifetime)
            }
        };
        let access_token = access_token.ok_or_else(|| OAuthError::unavailable(None))?;
        let mut answer = json!({
            "token_type": "Bearer",
            "access_token": access_token,
            "expires_in": expires_in,
            "scope": scopes.shown.join(" "),
        });
        if grant.may_refresh {
            let token = RefreshToken {
                grant: grant_id.to_owned(),
                generation: grant.generation,
            };
            answer["refresh_token"] = json!(self.refresh_token(&token));
        }
        Ok(answer)
    }
}

/// RFC 7636 §4.1.
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
