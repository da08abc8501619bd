//! Finds invalid conditions, before the first request.
//!
//! A condition is invalid if no token of Entra can meet it, if every token would meet it, or if it
//! depends on a claim that users or other tenants can set.

use std::fmt;

use super::{ClaimValue, Node};
use crate::authority::Audience;
use crate::identifier::Guid;

/// The error of a condition that no token can meet, that every token meets, or that depends on a
/// claim that others can set.
///
/// Lists every problem, each with the correction.
///
/// `Debug` is the same text as `Display`, because `fn main() -> Result<..>` prints `Debug`.
#[derive(Clone, Eq, PartialEq)]
pub struct InvalidRequirement {
    problems: Vec<RequirementProblem>,
}

/// A problem of a condition: no token can ever meet it, or the wrong tokens would.
///
/// `Display` writes the problem and the correction.
#[derive(Clone, Eq, PartialEq)]
pub struct RequirementProblem(Problem);

/// The kinds of [`RequirementProblem`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum RequirementProblemKind {
    /// A scope or role by its full name, under which clients request it.
    FullName,
    /// A scope or role of one of Microsoft's own APIs, such as Graph, which no token for this API
    /// has.
    MicrosoftApi,
    /// An Application ID URI that is not followed by the name of a scope or role.
    AppIdUri,
    /// `.default`, which requests everything that is granted, and is no scope itself.
    DefaultScope,
    /// A scope of OpenID Connect.
    OpenIdScope,
    /// A name with white space, such as several names in one text.
    SeveralNames,
    /// An empty or blank name, or `/`, which an agent's token may have in place of a scope.
    NoName,
    /// An id of zeros only, as templates have it.
    Placeholder,
    /// A name for the group of a [`NotInGroup`](super::NotInGroup), which needs an object id.
    ///
    /// Entra lists the names of some groups only. A list of names never shows that a user is not in
    /// a group.
    GroupName,
    /// An authentication context other than `c1` to `c99`.
    Context,
    /// A claim that users can change, or that another tenant can set to the same value.
    MutableClaim,
    /// A [`Claim`](super::Claim) for which there is another type with stricter rules, such as
    /// [`Scope`](super::Scope) for `scp`.
    OwnAtom,
    /// A blank text as the required value of a claim.
    ClaimValue,
    /// An empty list of alternatives, which no token can meet.
    NoAlternative,
    /// An empty list of conditions, which every token meets.
    NoCondition,
    /// A condition that requires the user to be in a group, and not to be in it.
    InAndNotIn,
    /// A condition that requires a user and an application at the same time.
    UserAndApp,
}

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum Problem {
    #[error("{atom} \"{found}\": a token has only the last part of this name; use \"{short}\"")]
    FullName {
        atom: &'static str,
        found: String,
        short: String,
    },
    #[error(
        "{atom} \"{found}\": a permission of {api_name}, which no token for this API has; require \
         a scope of this API (Expose an API), and call {api_name} with a separate token \
         (on-behalf-of)"
    )]
    MicrosoftApi {
        atom: &'static str,
        found: String,
        api_name: &'static str,
    },
    #[error(
        "{atom} \"{found}\": this is an Application ID URI; name one of its scopes or roles by the \
         short name that tokens have"
    )]
    AppIdUri { atom: &'static str, found: String },
    #[error(
        "scope \"{found}\": .default is only for requests and never in a token; name the scope \
         that it stands for"
    )]
    DefaultScope { found: String },
    #[error(
        "scope \"{found}\": OpenID Connect's scopes (openid, profile, email, offline_access) are \
         never in an access token; require a scope of this API instead (page Expose an API)"
    )]
    OpenIdScope { found: String },
    #[error(
        "{atom} \"{found}\": names have no white space; for several names use Condition::all([..]) \
         or Condition::any([..])"
    )]
    SeveralNames { atom: &'static str, found: String },
    #[error("{atom} \"{found}\": the name is missing")]
    NoName { atom: &'static str, found: String },
    #[error("{atom} \"{found}\": a placeholder; copy the object id from the group's Overview page")]
    Placeholder { atom: &'static str, found: String },
    #[error(
        "not in group \"{found}\": use the group's object id; a token's list of group names may be \
         incomplete"
    )]
    GroupName { found: String },
    #[error(
        "authentication context \"{found}\": use one of c1 to c99 (Conditional Access, \
         Authentication contexts)"
    )]
    Context { found: String },
    #[error(
        "claim {claim}: it is mutable, and another tenant can issue the same value; decide by a \
         role, a group, or the object id (oid) together with the tenant"
    )]
    MutableClaim { claim: String },
    #[error("claim {claim}: use {atom} instead")]
    OwnAtom { claim: String, atom: &'static str },
    #[error("claim {claim}: the value must not be blank")]
    ClaimValue { claim: String },
    #[error("an empty list of alternatives: no token could pass; name at least one")]
    NoAlternative,
    #[error("an empty list of conditions: every token would pass; name at least one")]
    NoCondition,
    #[error("group {group}: a user cannot be in the group and not in it")]
    InAndNotIn { group: String },
    #[error(
        "{condition}: no token belongs to a user and to an application; use or(..) instead of \
         and(..)"
    )]
    UserAndApp { condition: String },
}

impl RequirementProblem {
    /// Returns the kind, for a `match`.
    #[must_use]
    pub fn kind(&self) -> RequirementProblemKind {
        use RequirementProblemKind as Kind;

        match &self.0 {
            Problem::FullName { .. } => Kind::FullName,
            Problem::MicrosoftApi { .. } => Kind::MicrosoftApi,
            Problem::AppIdUri { .. } => Kind::AppIdUri,
            Problem::DefaultScope { .. } => Kind::DefaultScope,
            Problem::OpenIdScope { .. } => Kind::OpenIdScope,
            Problem::SeveralNames { .. } => Kind::SeveralNames,
            Problem::NoName { .. } => Kind::NoName,
            Problem::Placeholder { .. } => Kind::Placeholder,
            Problem::GroupName { .. } => Kind::GroupName,
            Problem::Context { .. } => Kind::Context,
            Problem::MutableClaim { .. } => Kind::MutableClaim,
            Problem::OwnAtom { .. } => Kind::OwnAtom,
            Problem::ClaimValue { .. } => Kind::ClaimValue,
            Problem::NoAlternative => Kind::NoAlternative,
            Problem::NoCondition => Kind::NoCondition,
            Problem::InAndNotIn { .. } => Kind::InAndNotIn,
            Problem::UserAndApp { .. } => Kind::UserAndApp,
        }
    }
}

impl fmt::Display for RequirementProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl fmt::Debug for RequirementProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for RequirementProblem {}

impl InvalidRequirement {
    /// Returns every problem.
    pub fn problems(&self) -> impl Iterator<Item = &RequirementProblem> {
        self.problems.iter()
    }
}

impl fmt::Display for InvalidRequirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("invalid requirement:")?;
        self.problems
            .iter()
            .try_for_each(|problem| write!(formatter, "\n  - {problem}"))
    }
}

impl fmt::Debug for InvalidRequirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for InvalidRequirement {}

pub(super) fn check(node: &Node) -> Result<(), InvalidRequirement> {
    let mut problems = Vec::new();
    collect(node, &mut problems);
    if problems.is_empty() {
        Ok(())
    } else {
        let problems = problems.into_iter().map(RequirementProblem).collect();
        Err(InvalidRequirement { problems })
    }
}

fn collect(node: &Node, problems: &mut Vec<Problem>) {
    match node {
        Node::Scope(name) => problems.extend(scope(name)),
        Node::UserRole(name) => problems.extend(name_of("user role", name)),
        Node::AppPermission(name) => problems.extend(name_of("app permission", name)),
        Node::Group(group) => problems.extend(group_of(group)),
        Node::NotInGroup(group) => {
            problems.extend(group_of(group).or_else(|| name_of_group(group)));
        }
        Node::AuthenticationContext(id) => problems.extend(context(id)),
        Node::Claim(claim, value) => problems.extend(claim_of(claim, value)),
        Node::Any(nodes) if nodes.is_empty() => problems.push(Problem::NoAlternative),
        Node::All(nodes) if nodes.is_empty() => problems.push(Problem::NoCondition),
        Node::Any(nodes) => nodes.iter().for_each(|node| collect(node, problems)),
        Node::All(nodes) => {
            nodes.iter().for_each(|node| collect(node, problems));
            problems.extend(in_and_not_in(nodes));
            // Only the innermost contradictory condition is reported.
            let is_told = |node: &Node| Callers::of(node).is_nobody();
            if Callers::of(node).is_nobody() && !nodes.iter().any(is_told) {
                problems.push(Problem::UserAndApp {
                    condition: node.to_string(),
                });
            }
        }
    }
}

/// OpenID Connect's scopes, which Entra grants without ever writing them into `scp`.
const OPEN_ID: [&str; 4] = ["openid", "profile", "email", "offline_access"];

fn scope(name: &str) -> Option<Problem> {
    let found = || name.to_owned();
    if OPEN_ID.iter().any(|scope| name.eq_ignore_ascii_case(scope)) {
        return Some(Problem::OpenIdScope { found: found() });
    }
    let resource = name.strip_suffix("/.default");
    if name == ".default"
        || resource.is_some_and(|it| Audience::name_of_microsoft_api(it).is_none())
    {
        return Some(Problem::DefaultScope { found: found() });
    }
    name_of("scope", name)
}

fn name_of(atom: &'static str, name: &str) -> Option<Problem> {
    let found = name.to_owned();
    if name.trim().is_empty() || name == "/" {
        return Some(Problem::NoName { atom, found });
    }
    if name.contains(char::is_whitespace) {
        return Some(Problem::SeveralNames { atom, found });
    }
    // Full names are `{Application ID URI}/{name}` or `{client id}/{name}`. A slash alone may be
    // part of a short name.
    let (resource, short) = name.rsplit_once('/').unwrap_or((name, ""));
    if Guid::from_setting(resource).is_none() && !name.contains("://") {
        return None;
    }
    let api_name =
        Audience::name_of_microsoft_api(resource).or_else(|| Audience::name_of_microsoft_api(name));
    if let Some(api_name) = api_name {
        return Some(Problem::MicrosoftApi {
            atom,
            found,
            api_name,
        });
    }
    let has_name = !short.is_empty() && !resource.ends_with('/') && resource != name;
    Some(if has_name {
        Problem::FullName {
            atom,
            found,
            short: short.to_owned(),
        }
    } else {
        Problem::AppIdUri { atom, found }
    })
}

fn group_of(group: &str) -> Option<Problem> {
    let (atom, found) = ("group", group.to_owned());
    if group.trim().is_empty() {
        return Some(Problem::NoName { atom, found });
    }
    (group == "00000000-0000-0000-0000-000000000000")
        .then_some(Problem::Placeholder { atom, found })
}

fn name_of_group(group: &str) -> Option<Problem> {
    Guid::from_setting(group)
        .is_none()
        .then(|| Problem::GroupName {
            found: group.to_owned(),
        })
}

fn in_and_not_in(nodes: &[Node]) -> Option<Problem> {
    let is_kept_out = |group: &str| {
        nodes.iter().any(
            |node| matches!(node, Node::NotInGroup(other) if other.eq_ignore_ascii_case(group)),
        )
    };
    nodes.iter().find_map(|node| match node {
        Node::Group(group) if is_kept_out(group) => Some(Problem::InAndNotIn {
            group: group.clone(),
        }),
        _ => None,
    })
}

fn context(id: &str) -> Option<Problem> {
    let is_known = id
        .strip_prefix('c')
        .filter(|number| !number.starts_with(['0', '+']))
        .and_then(|number| number.parse::<u8>().ok())
        .is_some_and(|number| (1..=99).contains(&number));
    (!is_known).then(|| Problem::Context {
        found: id.to_owned(),
    })
}

fn claim_of(name: &str, value: &ClaimValue) -> Option<Problem> {
    let claim = name.to_owned();
    let atom = match name {
        "" => {
            return Some(Problem::NoName {
                atom: "claim",
                found: claim,
            });
        }
        "email"
        | "upn"
        | "preferred_username"
        | "unique_name"
        | "name"
        | "given_name"
        | "family_name"
        | "nickname"
        | "login_hint"
        | "verified_primary_email"
        | "verified_secondary_email" => {
            return Some(Problem::MutableClaim { claim });
        }
        "scp" => Some("Scope"),
        "roles" => Some("UserRole or AppPermission"),
        "groups" => Some("Group or NotInGroup"),
        "acrs" => Some("AuthenticationContext"),
        _ => None,
    };
    match atom {
        Some(atom) => Some(Problem::OwnAtom { claim, atom }),
        None => value.is_blank().then_some(Problem::ClaimValue { claim }),
    }
}

/// The kinds of callers that can meet a condition.
#[derive(Clone, Copy)]
struct Callers {
    users: bool,
    apps: bool,
}

impl Callers {
    fn of(node: &Node) -> Self {
        let both = |users, apps| Self { users, apps };
        match node {
            // Entra writes groups and authentication contexts only into tokens of users.
            Node::Scope(_)
            | Node::UserRole(_)
            | Node::Group(_)
            | Node::NotInGroup(_)
            | Node::AuthenticationContext(_) => both(true, false),
            Node::AppPermission(_) => both(false, true),
            Node::Claim(..) => both(true, true),
            Node::Any(nodes) => nodes.iter().map(Self::of).fold(both(false, false), |a, b| {
                both(a.users || b.users, a.apps || b.apps)
            }),
            Node::All(nodes) => nodes.iter().map(Self::of).fold(both(true, true), |a, b| {
                both(a.users && b.users, a.apps && b.apps)
            }),
        }
    }

    fn is_nobody(self) -> bool {
        !self.users && !self.apps
    }
}
