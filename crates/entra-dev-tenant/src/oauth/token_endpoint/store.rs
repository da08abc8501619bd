//! The codes and refresh tokens that were given out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};

use super::SignIn;
use crate::oauth::{Requested, Resource};
use crate::text::{base64url, random_bytes};

#[derive(Default)]
pub(crate) struct Grants {
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) codes: HashMap<String, Code>,
    pub(super) refresh_tokens: HashMap<String, RefreshToken>,
}

#[derive(Clone)]
pub(crate) struct Code {
    pub(crate) sign_in: Arc<SignIn>,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: Option<Challenge>,
    pub(crate) nonce: Option<String>,
    pub(crate) is_redeemed: bool,
}

#[derive(Clone)]
pub(super) struct RefreshToken {
    pub(super) sign_in: Arc<SignIn>,
    pub(super) issued_at: i64,
    /// What a request without a scope is about.
    pub(super) resource: Resource,
    pub(super) requested: Requested,
}

/// Of PKCE (RFC 7636).
#[derive(Clone, Debug)]
pub(crate) enum Challenge {
    Plain(String),
    S256(String),
}

impl Challenge {
    pub(super) fn is_met_by(&self, verifier: &str) -> bool {
        match self {
            Self::Plain(challenge) => challenge == verifier,
            Self::S256(challenge) => {
                *challenge == base64url(digest(&SHA256, verifier.as_bytes()).as_ref())
            }
        }
    }
}

impl Grants {
    /// The code's text.
    pub(crate) fn add_code(&self, code: Code) -> String {
        let text = opaque();
        self.lock().codes.insert(text.clone(), code);
        text
    }

    pub(super) fn add_refresh_token(&self, token: RefreshToken) -> String {
        let text = opaque();
        self.lock().refresh_tokens.insert(text.clone(), token);
        text
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It begins as Entra's do.
fn opaque() -> String {
    format!("1.{}", base64url(&random_bytes::<96>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_met_as_in_the_example_of_rfc_7636() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert!(Challenge::S256(challenge.to_owned()).is_met_by(verifier));
        assert!(!Challenge::Plain(challenge.to_owned()).is_met_by(verifier));
    }
}
