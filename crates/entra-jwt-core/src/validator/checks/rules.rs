//! The rules of one trusted issuer, as the checks compare with them.

use std::collections::HashSet;
use std::time::Duration;

use crate::authority::{Audiences, Authority};
use crate::denied::Denied;
use crate::identifier::{ClientId, KeyId};
use crate::keys::{ES256, RS256};
use crate::rejection::Rejection;
use crate::requirement::Permissions;
use crate::token::{Claims, Grant, Reissued, Unverified};

/// The rules of one trusted issuer.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) profile: Profile,
    pub(crate) authority: Authority,
    pub(crate) audiences: Audiences,
    pub(crate) accepts_v1: bool,
    /// `None`: every client.
    pub(crate) allowed_clients: Option<HashSet<ClientId>>,
    pub(crate) refuses_guests: bool,
    pub(crate) accepts_keys_of_other_clouds: bool,
    pub(crate) exempt_clients: HashSet<ClientId>,
    pub(crate) clock_skew: Duration,
}

/// The kind of issuer, where that makes a difference.
#[derive(Clone, Debug)]
pub(crate) enum Profile {
    /// Entra's own.
    Entra,
    /// Those of an authorization server in front of Entra (RFC 9068), which has one issuer.
    Reissued { issuer: Box<str> },
}

impl Profile {
    pub(crate) const fn algorithm(&self) -> &'static str {
        match self {
            Self::Entra => RS256,
            Self::Reissued { .. } => ES256,
        }
    }
}

impl Rules {
    pub(crate) fn unknown_key(&self, key_id: KeyId) -> Rejection {
        Rejection::UnknownKey {
            key_id,
            api: match self.profile {
                Profile::Entra => Some(self.audiences.client_id()),
                Profile::Reissued { .. } => None,
            },
        }
    }

    /// Returns the claims of the token, some of which it has under another name than Entra's.
    pub(crate) fn own_claims(&self, token: &Unverified<'_>) -> Claims {
        match self.profile {
            Profile::Entra => token.own_claims(),
            Profile::Reissued { .. } => token.own_reissued_claims(),
        }
    }

    /// Returns what only a reissued token says.
    pub(crate) fn reissued(&self, token: &Unverified<'_>) -> Option<Box<Reissued>> {
        match self.profile {
            Profile::Entra => None,
            Profile::Reissued { .. } => Reissued::read(token).map(Box::new),
        }
    }

    /// The token permits anything at all.
    pub(crate) fn default_permission(&self, token: &Permissions<'_>) -> Result<(), Denied> {
        let claims = token.claims;
        let is_exempt = || {
            let client = claims.client();
            token.grant() == Grant::AppOnly
                && client.is_some_and(|client| self.exempt_clients.contains(&client))
        };
        if claims.scopes().next().is_some() || claims.roles().next().is_some() || is_exempt() {
            Ok(())
        } else {
            Err(Denied::NoPermission)
        }
    }

    pub(crate) fn clock_skew_seconds(&self) -> i64 {
        i64::try_from(self.clock_skew.as_secs()).unwrap_or(i64::MAX)
    }
}
