//! The requirements of a route on a token beyond being valid.
//!
//! Atoms such as [`Scope`] are joined by `and` and `or` to a [`Condition`]; a [`Requirement`] is a
//! condition that was found to make sense.

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

/// Atoms joined by `and` and `or`: not known yet whether that makes sense.
///
/// [`Requirement::new`] finds out.
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

/// A type that can stand where a condition is wanted: an atom such as [`Scope`], or atoms joined by
/// `and` and `or`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a condition on a token",
    label = "not a condition",
    note = "say which permission it is: `Scope(\"Reports.Read\")` of users, `AppPermission(\"Reports.Read.All\")` of applications, `UserRole(\"Admin\")`",
    note = "join conditions by `.or(..)` and `.and(..)`, or several of one kind by `Condition::any(..)` and `Condition::all(..)`"
)]
pub trait IntoCondition {
    /// The condition.
    fn into_condition(self) -> Condition;
}

impl IntoCondition for Condition {
    fn into_condition(self) -> Condition {
        self
    }
}

impl Condition {
    /// Either will do. Read from left to right: `a.or(b).and(c)` is (a or b) and c.
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

    /// Both are required. Read from left to right: `a.and(b).or(c)` is (a and b) or c.
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

/// A route's requirement on a token: a [`Condition`] that was found to make sense.
///
/// Cheap to clone. Displayed as people would say it: `scope Reports.Read or app permission
/// Reports.Read.All`.
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
    /// Takes a condition, if some token of Entra could meet it and not every one would, and if it does
    /// not decide by a claim that people can change.
    ///
    /// # Errors
    /// Every problem with it, each with the correction.
    pub fn new(condition: impl IntoCondition) -> Result<Self, InvalidRequirement> {
        let node = condition.into_condition().0;
        invalid::check(&node)?;
        Ok(Self(Arc::new(node)))
    }

    /// Checks that the token meets it. Costs no allocation if it does, but for [`Claim`], which
    /// reads the payload.
    ///
    /// # Errors
    /// What is missing. Of several alternatives that fail, the one that comes closest names the
    /// reason.
    pub fn check(&self, token: &AccessToken) -> Result<(), PermissionDenied> {
        evaluate::check(&self.0, &Permissions::of(token))?;
        Ok(())
    }

    /// Checks the claims of a token whose payload this is: for a report, which may be of a token that
    /// is not verified.
    pub(crate) fn check_claims(&self, claims: &Claims, payload: &str) -> Result<(), Lack> {
        let payload = Payload::Text(payload);
        evaluate::check(&self.0, &Permissions { claims, payload })
    }

    /// The scopes that a client should request to meet it, by their short names: of several
    /// alternatives those that come closest to what the token has already, or, without a token,
    /// the first with the fewest. Empty if no scope is required.
    #[must_use]
    pub fn scopes(&self, token: Option<&AccessToken>) -> Vec<&str> {
        evaluate::scopes(&self.0, token.map(Permissions::of).as_ref()).0
    }
}

impl Requirement {
    /// The scopes that the client should request after a refusal, by their short names: those of
    /// the closest alternative, if they would be enough, or if a scope or a user is what the refusal
    /// says is missing. Empty if requesting scopes does not help.
    #[doc(hidden)] // for `tower-entra-auth` and the like
    #[must_use]
    pub fn scopes_after<'r>(
        &'r self,
        denied: &'r PermissionDenied,
        token: &AccessToken,
    ) -> Vec<&'r str> {
        let (scopes, are_enough) = evaluate::scopes(&self.0, Some(&Permissions::of(token)));
        match denied.lack() {
            // An application as itself has no scopes, whatever it requests.
            _ if are_enough && !token.is_app_only() => scopes,
            Lack::MissingScope { any_of, .. } if scopes.is_empty() => {
                any_of.iter().map(String::as_str).collect()
            }
            Lack::MissingScope { .. } | Lack::UserRequired => scopes,
            _ => Vec::new(),
        }
    }
}

/// The parts of a token that a requirement looks at.
struct Permissions<'a> {
    claims: &'a Claims,
    payload: Payload<'a>,
}

/// The payload, for requirements of claims that are not kept.
enum Payload<'a> {
    Text(&'a str),
    /// The claims of a token that keeps only its compact form.
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
    /// Returns those of a verified token.
    fn of(token: &'a AccessToken) -> Self {
        Self {
            claims: token.claims(),
            payload: Payload::Encoded(token),
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
            Grant::Delegated | Grant::Unknown => Err(Lack::AppRequired),
        }
    }

    fn has_role(&self, name: &str) -> bool {
        self.claims.roles().any(|role| role == name)
    }

    /// Returns the groups, in which this one is to be looked for.
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
