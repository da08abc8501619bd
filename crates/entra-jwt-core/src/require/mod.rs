//! The requirements of a route on valid tokens.
//!
//! Atoms such as [`Scope`] are joined by `and` and `or` to a [`Condition`]. A [`Requirement`] is a
//! condition that passed the checks of [`Requirement::new`].

mod atom;
mod claim;
mod evaluate;
mod invalid;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

pub use self::atom::{
    AppPermission, AuthenticationContext, Claim, Group, NotInGroup, Scope, UserRole,
};
pub use self::claim::ClaimValue;
pub use self::invalid::{InvalidRequirement, RequirementProblem, RequirementProblemKind};
use crate::refusal::{Lack, PermissionDenied};
use crate::token::{AccessToken, Claims, Grant, GroupList, Groups};

/// A condition on tokens: atoms joined by `and` and `or`.
///
/// The condition is unchecked: [`Requirement::new`] checks it.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition(Node);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Scope(String),
    UserRole(String),
    AppPermission(String),
    Group(String),
    NotInGroup(String),
    AuthenticationContext(String),
    Claim(String, ClaimValue),
    Any(Vec<Node>),
    All(Vec<Node>),
}

/// A type that converts into a condition: an atom such as [`Scope`], or atoms joined by `and` and
/// `or`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a condition on a token",
    label = "not a condition",
    note = "name the permission: `Scope(\"Reports.Read\")` for users, \
        `AppPermission(\"Reports.Read.All\")` for applications, `UserRole(\"Admin\")`",
    note = "join conditions by `.or(..)` and `.and(..)`, or several of one kind by `Condition::any(..)` and `Condition::all(..)`"
)]
pub trait IntoCondition {
    /// Converts the value into a condition.
    fn into_condition(self) -> Condition;
}

impl IntoCondition for Condition {
    fn into_condition(self) -> Condition {
        self
    }
}

impl Condition {
    /// Returns a condition that is met if either condition is met.
    ///
    /// Conditions are read from left to right: `a.or(b).and(c)` is (a or b) and c.
    #[must_use]
    pub fn or(self, other: impl IntoCondition) -> Self {
        let mut nodes = match self.0 {
            Node::Any(nodes) => nodes,
            node => vec![node],
        };
        match other.into_condition().0 {
            Node::Any(more) => nodes.extend(more),
            node => nodes.push(node),
        }
        Self(Node::Any(nodes))
    }

    /// Returns a condition that is met only if both conditions are met.
    ///
    /// Conditions are read from left to right: `a.and(b).or(c)` is (a and b) or c.
    #[must_use]
    pub fn and(self, other: impl IntoCondition) -> Self {
        let mut nodes = match self.0 {
            Node::All(nodes) => nodes,
            node => vec![node],
        };
        match other.into_condition().0 {
            Node::All(more) => nodes.extend(more),
            node => nodes.push(node),
        }
        Self(Node::All(nodes))
    }
}

/// A route's requirement on a token: a [`Condition`] that passed the checks of
/// [`Requirement::new`].
///
/// It is cheap to clone. `Display` writes it as people would say it:
/// `scope Reports.Read or app permission Reports.Read.All`.
///
/// ```
/// use entra_jwt_core::require::{AppPermission, Requirement, Scope};
///
/// # fn main() -> Result<(), entra_jwt_core::require::InvalidRequirement> {
/// let readers = Requirement::new(Scope("Reports.Read").or(AppPermission("Reports.Read.All")))?;
/// assert_eq!(
///     readers.to_string(),
///     "scope Reports.Read or app permission Reports.Read.All"
/// );
/// // Full names are for requests; tokens have short ones.
/// let error = Requirement::new(Scope("api://orders/Reports.Read")).unwrap_err();
/// assert!(error.to_string().contains("use \"Reports.Read\""));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Requirement(Arc<Node>);

impl Requirement {
    /// Checks a condition, and makes a requirement of it.
    ///
    /// Some tokens of Entra must meet the condition, but not all of them. The condition must not
    /// depend on a claim that users or other tenants can set.
    ///
    /// # Errors
    /// All problems of the condition, each with the correction.
    pub fn new(condition: impl IntoCondition) -> Result<Self, InvalidRequirement> {
        let node = condition.into_condition().0;
        invalid::check(&node)?;
        Ok(Self(Arc::new(node)))
    }

    /// Checks that the token meets the requirement.
    ///
    /// A successful check allocates no memory, except for [`Claim`], which reads the payload.
    ///
    /// # Errors
    /// The missing permission. If several alternatives fail, the one that is closest to being met
    /// gives the reason.
    pub fn check(&self, token: &AccessToken) -> Result<(), PermissionDenied> {
        evaluate::check(&self.0, &Permissions::of(token))?;
        Ok(())
    }

    /// Checks the claims of a token with this payload, for a report. The token may be unverified.
    pub(crate) fn check_claims(
        &self,
        claims: &Claims,
        payload: &str,
        is_reissued: bool,
    ) -> Result<(), Lack> {
        let permissions = Permissions {
            claims,
            payload: Payload::Text(payload),
            is_reissued,
        };
        evaluate::check(&self.0, &permissions)
    }

    /// Returns the short names of the scopes that a client should request to meet the requirement.
    ///
    /// If the requirement has alternatives, those come first that scopes alone can meet. Of these,
    /// the alternative that is closest to the token's scopes is taken, or, without a token, the
    /// first one with the fewest scopes. The list is empty if no scope is required.
    #[must_use]
    pub fn scopes(&self, token: Option<&AccessToken>) -> Vec<&str> {
        evaluate::scopes(&self.0, token.map(Permissions::of).as_ref()).0
    }
}

impl Requirement {
    /// Returns the short names of the scopes that the client should request after a refusal.
    ///
    /// They are the scopes of the closest alternative, if these are sufficient, or if the refusal
    /// says that a scope or a user is missing. The list is empty if requesting scopes does not
    /// help.
    #[doc(hidden)] // for crates such as `tower-entra-auth`
    #[must_use]
    pub fn scopes_after<'r>(
        &'r self,
        denied: &'r PermissionDenied,
        token: &AccessToken,
    ) -> Vec<&'r str> {
        let (scopes, are_enough) = evaluate::scopes(&self.0, Some(&Permissions::of(token)));
        match denied.lack() {
            // An app-only token never has scopes, even if the client requests some.
            _ if are_enough && !token.is_app_only() => scopes,
            Lack::MissingScope { any_of, .. } if scopes.is_empty() => {
                any_of.iter().map(String::as_str).collect()
            }
            Lack::MissingScope { .. } | Lack::UserRequired => scopes,
            _ => Vec::new(),
        }
    }
}

/// The parts of a token that a requirement uses.
struct Permissions<'a> {
    claims: &'a Claims,
    payload: Payload<'a>,
    /// `true` if an authorization server in front of Entra issued the token.
    is_reissued: bool,
}

/// The payload, for conditions on claims that are not kept in [`Claims`].
enum Payload<'a> {
    Text(&'a str),
    /// A token whose payload is kept only as base64url.
    Encoded(&'a AccessToken),
}

impl Payload<'_> {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Encoded(token) => Cow::Owned(token.payload()),
        }
    }
}

impl<'a> Permissions<'a> {
    /// Returns the parts of a verified token.
    fn of(token: &'a AccessToken) -> Self {
        Self {
            claims: token.claims(),
            payload: Payload::Encoded(token),
            is_reissued: token.registered_client().is_some(),
        }
    }
}

impl Permissions<'_> {
    fn grant(&self) -> Grant {
        Grant::of(self.claims)
    }

    fn must_be_user(&self) -> Result<(), Lack> {
        match self.grant() {
            Grant::Delegated => Ok(()),
            Grant::AppOnly | Grant::Unknown => Err(Lack::UserRequired),
        }
    }

    fn must_be_app(&self) -> Result<(), Lack> {
        match self.grant() {
            Grant::AppOnly => Ok(()),
            Grant::Delegated | Grant::Unknown => Err(Lack::AppRequired {
                is_reissued: self.is_reissued,
            }),
        }
    }

    fn has_role(&self, name: &str) -> bool {
        self.claims.roles().any(|role| role == name)
    }

    /// Returns the token's groups, or the refusal if the token does not show whether the user is in
    /// `group`.
    fn groups(&self, group: &str) -> Result<&GroupList, Lack> {
        self.must_be_user()?;
        match self.claims.groups() {
            Groups::Listed(groups) => Ok(groups),
            Groups::Overage => Err(Lack::GroupsOverage {
                group: group.to_owned(),
            }),
            Groups::NotEmitted => Err(Lack::GroupsNotEmitted),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.0, formatter)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope(name) => write!(formatter, "scope {name}"),
            Self::UserRole(name) => write!(formatter, "user role {name}"),
            Self::AppPermission(name) => write!(formatter, "app permission {name}"),
            Self::Group(group) => write!(formatter, "member of group {group}"),
            Self::NotInGroup(group) => write!(formatter, "not a member of group {group}"),
            Self::AuthenticationContext(id) => write!(formatter, "authentication context {id}"),
            Self::Claim(name, value) => write!(formatter, "claim {name} = {value}"),
            Self::Any(nodes) => joined(formatter, nodes, " or "),
            Self::All(nodes) => joined(formatter, nodes, " and "),
        }
    }
}

fn joined(formatter: &mut fmt::Formatter<'_>, nodes: &[Node], word: &str) -> fmt::Result {
    for (position, node) in nodes.iter().enumerate() {
        if position > 0 {
            formatter.write_str(word)?;
        }
        match node {
            Node::Any(inner) | Node::All(inner) if inner.len() > 1 && nodes.len() > 1 => {
                write!(formatter, "({node})")?;
            }
            _ => fmt::Display::fmt(node, formatter)?,
        }
    }
    Ok(())
}
