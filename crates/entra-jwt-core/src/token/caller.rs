//! The caller: a user, an application or an agent, at home or as a guest.

use std::fmt;

use super::{Claims, Groups, Number};
use crate::identifier::{ClientId, ObjectId, TenantId};

named! {
    /// The kind of caller.
    #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
    #[non_exhaustive]
    pub enum CallerKind {
        /// A client application that acts on behalf of a signed-in user.
        User = "user",
        /// An application or managed identity that acts as itself, without a user.
        App = "app",
        /// An agent identity of Entra Agent ID.
        ///
        /// It acts as itself, on behalf of a user, or with a user account of its own.
        /// [`AccessToken::is_app_only`](crate::AccessToken::is_app_only) and
        /// [`is_delegated`](crate::AccessToken::is_delegated) distinguish the first case from the
        /// others.
        ///
        /// Entra omits the claims that mark an agent from tokens for your own API, unless the
        /// manifest of the API's app registration asks for them. Without these claims, an agent
        /// appears here as an [`App`](Self::App) or a [`User`](Self::User). So a rule that refuses
        /// agents needs this setting:
        ///
        /// ```json
        /// "optionalClaims": { "accessToken": [
        ///   { "name": "xms_par_app_azp" }, { "name": "xms_act_fct" },
        ///   { "name": "xms_sub_fct" }, { "name": "idtyp" }
        /// ] }
        /// ```
        Agent = "agent",
        /// A caller of unknown kind: treat it as neither a user nor an application.
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

/// The owner of the permissions in a token, who decides the meaning of `roles`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Grant {
    /// The permissions are a user's, as far as they were delegated to the client.
    Delegated,
    /// The permissions are the client's own.
    AppOnly,
    Unknown,
}

impl Grant {
    /// Returns the owner by `idtyp` where it is configured, else by `scp`, else by whether `oid`
    /// equals `sub`.
    ///
    /// Source: "Claims validation".
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
            // No object id, no scope and no role: an application without a service principal. With
            // a role, it could be a user's token without the scope `profile`.
            (None, _) if claims.roles().next().is_none() && !has_mark_of_user(claims) => {
                Self::AppOnly
            }
            _ => Self::Unknown,
        }
    }
}

/// Returns whether there is a claim that only tokens of users have.
///
/// Relations 7, 13 and 33 are those of applications.
fn has_mark_of_user(claims: &Claims) -> bool {
    let relations = claims.identity_relations.as_deref();
    let relations = relations.filter(|relations| !relations.trim().is_empty());
    let is_related = relations.is_some() && !has(relations, &["7", "13", "33"]);
    is_related
        || claims.account_status.is_some()
        || claims.authentication_contexts().next().is_some()
        || !matches!(claims.groups(), Groups::NotEmitted)
}

/// Returns whether the claims mark an agent: its blueprint, or a facet of the actor or the subject.
///
/// Source: "Agent ID token claims" (facet 11: agent identity, 13: agent's user account;
/// `xms_par_app_azp` is "present in agent identity tokens and absent in standard app-only tokens").
pub(super) fn is_agent(has_blueprint: bool, actor: Option<&str>, subject: Option<&str>) -> bool {
    has_blueprint || has(actor, &["11"]) || has(subject, &["11", "13"])
}

/// Returns whether the claims mark a guest of the token's tenant.
///
/// Sources: "Optional claims reference" (`acct`: 0 member, 1 guest), "Agent ID token claims"
/// (`xms_idrel`: 5 guest; 11, 15 and 31 act from outside, as partners or by pass-through), "Access
/// token claims reference" (`idp`: who authenticated the user, if not the token's own tenant).
///
/// The relations of a guest decide first, then `acct`, then `idp`. An `acct` of 0 wins over `idp`:
/// a member may well be authenticated elsewhere, as in multi-tenant organizations.
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

/// Returns whether the URI has the tenant as a segment, such as `https://sts.windows.net/{tid}/`.
fn names_tenant(uri: &str, tenant: TenantId) -> bool {
    uri.split('/').any(|segment| segment.parse() == Ok(tenant))
}

/// Returns whether a claim of space-separated numbers has one of the wanted numbers.
fn has(numbers: Option<&str>, wanted: &[&str]) -> bool {
    numbers
        .unwrap_or_default()
        .split(' ')
        .any(|number| wanted.contains(&number))
}

/// Returns the numbers of a claim that separates them by spaces. Entries that are not numbers are
/// left out.
pub(super) fn numbers(claim: &Option<Box<str>>) -> impl Iterator<Item = u32> {
    claim
        .as_deref()
        .unwrap_or_default()
        .split(' ')
        .filter_map(|number| number.parse().ok())
}

/// The identity that a token speaks for within its tenant, printable and never ambiguous.
///
/// Store data under this identity together with [`tenant_id`](crate::AccessToken::tenant_id). Its
/// `Debug` output names only the form.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CallerId<'a> {
    /// The object id, printed as the GUID. Nearly every token has one.
    Object(ObjectId),
    /// The subject, if there is no object id, printed as `sub:…`. It differs from application to
    /// application.
    Subject(&'a str),
    /// The client application, if there is neither of these, printed as `client:…`.
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
