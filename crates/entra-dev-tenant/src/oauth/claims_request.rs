//! The `claims` parameter: what a client asks an access token to have.

use serde_json::Value;

use crate::entra_error::EntraError;
use crate::token::TokenBuilder;

/// What a claims request (OpenID Connect Core §5.5) asks of the access token, as far as Entra
/// knows it. Whatever authentication context that is, it counts as satisfied.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClaimsRequest {
    capabilities: Vec<String>,
    contexts: Vec<String>,
}

impl ClaimsRequest {
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, EntraError> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let claims: Value = serde_json::from_str(text).map_err(|_| EntraError::malformed())?;
        let asked = &claims["access_token"];
        Ok(Self {
            capabilities: values(&asked["xms_cc"]),
            contexts: values(&asked["acrs"]),
        })
    }

    /// What the sign-in has satisfied stays satisfied for every token that comes of it.
    pub(crate) fn after(&self, sign_in: &Self) -> Self {
        let mut all = sign_in.clone();
        for (list, more) in [
            (&mut all.capabilities, &self.capabilities),
            (&mut all.contexts, &self.contexts),
        ] {
            for value in more {
                if !list.contains(value) {
                    list.push(value.clone());
                }
            }
        }
        all
    }

    pub(crate) fn write<'t>(&self, token: TokenBuilder<'t>) -> TokenBuilder<'t> {
        let token = self
            .capabilities
            .iter()
            .fold(token, |token, name| token.capability(name));
        self.contexts
            .iter()
            .fold(token, |token, id| token.authentication_context(id))
    }
}

/// What a claim is asked to have: one `value`, or any of `values` (OpenID Connect Core §5.5.1).
fn values(claim: &Value) -> Vec<String> {
    let one = claim["value"].as_str();
    let several = claim["values"].as_array().into_iter().flatten();
    let all = one.into_iter().chain(several.filter_map(Value::as_str));
    all.map(str::to_owned).collect()
}
