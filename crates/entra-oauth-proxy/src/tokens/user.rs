//! What is kept of a user, to put it into tokens.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tower_entra_auth::Caller;
use tower_entra_auth::entra_jwt_core::Unverified;

use crate::engine::Engine;
use crate::oauth::client::MOST_ID;

/// The claims of Entra's token that go into ours: what the rules and accessors of a `Caller` read.
/// Not `email` and `upn`, by which nothing may be decided; and not `xms_cc`, which says what this server
/// understands as a client of Entra's, not what its own clients do.
const COPIED: [&str; 16] = [
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
    "xms_idrel",
    "xms_sub_fct",
];

/// The claim that says when Entra issued the token behind ours: `iat` is that of ours (RFC 9068).
const ENTRA_ISSUED_AT: &str = "entra_iat";

/// What is unique about a user.
const PERSON: [&str; 2] = ["tid", "oid"];

/// The longest claims, in bytes of JSON, however much room there is.
const MOST_BYTES: usize = 9 * 1024;

/// The longest payload, in bytes of JSON: in base64, with header and signature, the token must be one
/// that the Layer reads.
const MOST_PAYLOAD: usize = (Unverified::DEFAULT_MAX_LENGTH - 160) / 4 * 3;

/// The names and numbers of a token's own claims, and its ids of a fixed length.
const OWN: usize = 350;

/// Why a token of Entra's makes no user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoUser {
    /// It does not say whose it is.
    Nobody,
    /// Its claims do not fit into a token of this server.
    TooLong {
        /// The longest of them.
        claim: &'static str,
        bytes: usize,
    },
}

impl Engine {
    /// Returns how many bytes of JSON the claims of a user may have, so that the Layer reads a token
    /// with them and these scopes, whichever client gets it.
    pub(crate) fn room_for_claims(&self, scopes: &[String]) -> usize {
        // Entra's own token has what it has.
        if self.pass_through {
            return usize::MAX;
        }
        let text = |text: &str| json!(text).to_string().len();
        let others = text(&self.urls.public) + text(&self.resource.url) + text(&scopes.join(" "));
        let room = MOST_PAYLOAD.saturating_sub(OWN + MOST_ID + others);
        room.min(MOST_BYTES)
    }
}

/// A user who signed in.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct User {
    pub(crate) claims: Map<String, Value>,
    /// Short names.
    pub(crate) scopes: Vec<String>,
}

impl User {
    /// The user of a token of Entra's, with claims of so many bytes of JSON at most. Left out are those
    /// alone that say so themselves, or that allow something only where a handler asks for them by name:
    /// groups, and directory roles. App roles are all there, or there is no user: a handler that lets
    /// somebody in for want of a role must not do so as it was left out.
    pub(crate) fn of(caller: &Caller, scopes: Vec<String>, room: usize) -> Result<Self, NoUser> {
        caller.object_id().ok_or(NoUser::Nobody)?;
        let mut all: Map<String, Value> = caller.claims_as().map_err(|_| NoUser::Nobody)?;
        let issued_at = all.remove("iat");
        let mut claims: Map<String, Value> = all
            .into_iter()
            .filter(|(name, _)| COPIED.contains(&&**name))
            .collect();
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

    /// Returns the tenant's id, for the log.
    pub(crate) fn tenant(&self) -> &str {
        self.ids()[0]
    }

    /// Returns the tenant and the object id.
    pub(crate) fn ids(&self) -> [&str; 2] {
        PERSON.map(|claim| {
            let id = self.claims.get(claim).and_then(Value::as_str);
            id.unwrap_or_default()
        })
    }

    /// Whether both are of one user: tenant and object id.
    pub(crate) fn is_same_person(&self, other: &Self) -> bool {
        PERSON.iter().all(|claim| {
            let ours = self.claims.get(*claim);
            ours.is_some() && ours == other.claims.get(*claim)
        })
    }
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
            let other = user(other);
            assert!(!ada.is_same_person(&other), "{other:?}");
            assert!(!other.is_same_person(&ada), "{other:?}");
        }
        let nobody = user(json!({}));
        assert!(!nobody.is_same_person(&nobody));
    }
}
