//! The caller: a user, an application or an agent, at home or as a guest.

use std::fmt;

use super::{Claims, Groups, Number};
use crate::identifier::{ClientId, ObjectId, TenantId};

named! {
    /// The kind of caller.
    #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
    #[non_exhaustive]
    pub enum CallerKind {
        /// A client application on behalf of a signed-in user.
        User = "user",
        /// An application or managed identity as itself, without a user.
        App = "app",
        /// An agent identity of Entra Agent ID: as itself, on behalf of a user, or with a user account
        /// of its own. [`AccessToken::is_app_only`](crate::AccessToken::is_app_only) and
        /// [`is_delegated`](crate::AccessToken::is_delegated) tell the first from the others.
        ///
        /// Entra leaves the claims that mark an agent out of tokens for an API of your own, unless its app
        /// registration asks for them in the manifest; without that an agent is an
        /// [`App`](Self::App) or a [`User`](Self::User) here, so that a rule that refuses agents needs
        /// it:
        ///
        /// ```json
        /// "optionalClaims": { "accessToken": [
        ///   { "name": "xms_par_app_azp" }, { "name": "xms_act_fct" },
        ///   { "name": "xms_sub_fct" }, { "name": "idtyp" }
        /// ] }
        /// ```
        Agent = "agent",
        /// The token does not say: treat it as neither a user nor an application.
        Unknown = "unknown",
    }
    /// Returns a stable lower-case name: `user`, `app`, `agent`, `unknown`.
    name
}

impl CallerKind {
    pub(crate) fn of(claims: &Claims) -> Self {
        if claims.is_of_agent() {
            return Self::Agent;
        }
        match Grant::of(claims) {
            Grant::Delegated => Self::User,
            Grant::AppOnly => Self::App,
            Grant::Unknown => Self::Unknown,
        }
    }
}

/// The owner of the permissions in a token: what `roles` mean depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Grant {
    /// A user's, as far as the client was delegated them.
    Delegated,
    /// The client's own.
    AppOnly,
    Unknown,
}

impl Grant {
    /// Source: "Claims validation": `idtyp` where it is configured, else `oid` equals `sub`.
    pub(crate) fn of(claims: &Claims) -> Self {
        match claims.token_type.as_deref() {
            Some("app") => return Self::AppOnly,
            Some("user") => return Self::Delegated,
            Some(_) => return Self::Unknown,
            None => {}
        }
        if claims.scopes().next().is_some() {
            return Self::Delegated;
        }
        match (claims.object_id, claims.subject.as_deref()) {
            (Some(object), Some(subject)) if subject.parse() == Ok(object) => Self::AppOnly,
            (Some(_), Some(_)) => Self::Delegated,
            // Neither object id nor scope nor role: an application without a service principal.
            // With a role it could be a user's, without the scope `profile`.
            (None, _) if claims.roles().next().is_none() && !has_mark_of_user(claims) => {
                Self::AppOnly
            }
            _ => Self::Unknown,
        }
    }
}

/// Returns whether the claims have one that only tokens of users have. Relations 7, 13 and 33 are
/// those of applications.
fn has_mark_of_user(claims: &Claims) -> bool {
    let relations = claims.identity_relations.as_deref();
    let relations = relations.filter(|relations| !relations.trim().is_empty());
    let is_related = relations.is_some() && !has(relations, &["7", "13", "33"]);
    is_related
        || claims.account_status.is_some()
        || claims.authentication_contexts().next().is_some()
        || !matches!(claims.groups(), Groups::NotEmitted)
}

/// Returns whether these claims mark an agent: its blueprint, or a facet of the actor or the subject.
///
/// Sources: "Agent ID token claims" (facet 11: agent identity, 13: agent's user account; `xms_par_app_azp` is
/// "present in agent identity tokens and absent in standard app-only tokens").
pub(super) fn is_agent(has_blueprint: bool, actor: Option<&str>, subject: Option<&str>) -> bool {
    has_blueprint || has(actor, &["11"]) || has(subject, &["11", "13"])
}

/// Returns whether these claims mark a guest of the token's tenant.
///
/// Sources: "Optional claims reference" (`acct`: 0 member, 1 guest), "Agent ID token claims"
/// (`xms_idrel`: 5 guest; 11, 15 and 31 act from outside, as partners or by pass-through), "Access
/// token claims reference" (`idp`: who authenticated the user, if not the token's own tenant). What
/// marks a guest wins, but for `acct` 0: a member may well be authenticated elsewhere, as in
/// multi-tenant organizations.
pub(super) fn is_guest(
    relations: Option<&str>,
    account_status: Option<Number>,
    provider: Option<&str>,
    tenant: TenantId,
) -> bool {
    if tenant == TenantId::CONSUMERS {
        return false;
    }
    if has(relations, &["5", "11", "15", "31"]) {
        return true;
    }
    match (account_status, provider) {
        (Some(status), _) => status.0 != 0,
        (None, Some(provider)) => !names_tenant(provider, tenant),
        (None, None) => false,
    }
}

/// Returns whether a URI such as `https://sts.windows.net/{tid}/` has the tenant as a segment.
fn names_tenant(uri: &str, tenant: TenantId) -> bool {
    uri.split('/').any(|segment| segment.parse() == Ok(tenant))
}

/// Returns whether a claim of numbers separated by spaces has one of them.
fn has(numbers: Option<&str>, wanted: &[&str]) -> bool {
    numbers
        .unwrap_or_default()
        .split(' ')
        .any(|number| wanted.contains(&number))
}

/// The numbers of a claim that lists them separated by spaces; what is none is left out.
pub(super) fn numbers(claim: &Option<Box<str>>) -> impl Iterator<Item = u32> {
    claim
        .as_deref()
        .unwrap_or_default()
        .split(' ')
        .filter_map(|number| number.parse().ok())
}

/// Whom a token speaks for within its tenant, printable and never ambiguous.
///
/// Together with [`tenant_id`](crate::AccessToken::tenant_id) it is the identity to store data
/// under. Its `Debug` names only the form.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CallerId<'a> {
    /// The object id; printed as the GUID. Nearly every token has one.
    Object(ObjectId),
    /// Without an object id, the subject, which differs from application to application; printed
    /// as `sub:…`.
    Subject(&'a str),
    /// Without either, the client application; printed as `client:…`.
    Client(ClientId),
}

impl fmt::Display for CallerId<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(id) => fmt::Display::fmt(id, formatter),
            Self::Subject(subject) => write!(formatter, "sub:{subject}"),
            Self::Client(id) => write!(formatter, "client:{id}"),
        }
    }
}

impl fmt::Debug for CallerId<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Object(_) => "Object(..)",
            Self::Subject(_) => "Subject(..)",
            Self::Client(_) => "Client(..)",
        })
    }
}
