//! What is kept of a user, to put it into tokens.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tower_entra_auth::Caller;

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

/// What is unique about a user.
const PERSON: [&str; 2] = ["tid", "oid"];

/// The longest claims, in bytes of JSON: with the client's id, and in base64, the token must be one
/// that the Layer reads.
const MOST_BYTES: usize = 9 * 1024;

/// A user who signed in.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct User {
    pub(crate) claims: Map<String, Value>,
    /// Short names.
    pub(crate) scopes: Vec<String>,
}

impl User {
    /// `None` if the token does not say whose it is.
    pub(crate) fn of(caller: &Caller, scopes: Vec<String>) -> Option<Self> {
        caller.object_id()?;
        let all: Map<String, Value> = caller.claims_as().ok()?;
        let mut claims: Map<String, Value> = all
            .into_iter()
            .filter(|(name, _)| COPIED.contains(&&**name))
            .collect();
        let length = |claims: &Map<String, Value>| json!(claims).to_string().len();
        if length(&claims) > MOST_BYTES && claims.remove("groups").is_some() {
            // As Entra says it of groups that it leaves out.
            claims.insert("hasgroups".to_owned(), json!(true));
        }
        if length(&claims) > MOST_BYTES {
            claims.remove("wids");
        }
        claims.insert("idtyp".to_owned(), json!("user"));
        Some(Self { claims, scopes })
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
