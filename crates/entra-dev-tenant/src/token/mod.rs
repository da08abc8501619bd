//! Tokens of every kind, right and wrong.
//!
//! In the order in which a token meets them: [`presets`] begin it, [`builder`] and [`modifiers`]
//! say what it has, [`claims`] writes that down, [`mint`] signs it, and each [`flaw`] spoils it on
//! the way: its members in [`flawed_members`], its texts in [`flawed_texts`].

mod builder;
mod claims;
mod compact;
mod flaw;
mod flawed_members;
mod flawed_texts;
mod mint;
mod modifiers;
mod presets;

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

pub use self::flaw::Flaw;
pub use self::presets::B2cPolicy;

pub(crate) use self::compact::compact;

use self::modifiers::Modifier;
use crate::dev_tenant::Inner;

/// A token to be minted; begin with [`DevTenant::user`](crate::DevTenant::user),
/// [`app`](crate::DevTenant::app), [`personal`](crate::DevTenant::personal),
/// [`b2c_token`](crate::DevTenant::b2c_token), [`id_token`](crate::DevTenant::id_token) or
/// [`graph_token`](crate::DevTenant::graph_token).
///
/// # Defaults
/// v2; for the API that [`for_api`](Self::for_api) names; begun five minutes ago and valid for
/// another 59 min 59 s, as Entra's are; no scope, no role, no optional claim, no flaw.
#[must_use = "a token exists only once it is minted"]
pub struct TokenBuilder<'a> {
    tenant: &'a Inner,
    kind: Kind,
    version: Version,
    tenant_id: String,
    client_id: String,
    audience: Option<String>,
    api: Option<String>,
    scopes: Vec<String>,
    roles: Vec<String>,
    modifiers: Vec<Modifier>,
    issued_ago: Duration,
    expires_in: i64,
    header: Vec<Change>,
    claims: Vec<Change>,
    flaws: Vec<Flaw>,
}

enum Kind {
    User { name: String },
    Personal { name: String },
    B2c { name: String, policy: B2cPolicy },
    App,
    IdToken { name: String },
    Graph { name: String },
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Version {
    V1,
    V2,
}

/// What the caller wants otherwise, in the caller's order: the last word counts.
enum Change {
    Set(String, Value),
    Remove(String),
    Spoil(Flaw),
}

type Members = Map<String, Value>;

impl fmt::Debug for TokenBuilder<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TokenBuilder")
            .finish_non_exhaustive()
    }
}
