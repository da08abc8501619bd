//! Checks a token against a condition, and finds the scopes that would help if the check fails.

use super::claim::has_value;
use super::{Node, Permissions};
use crate::identifier::Guid;
use crate::refusal::{Lack, ListedGroups};
use crate::token::GroupList;

pub(super) fn check(node: &Node, permissions: &Permissions<'_>) -> Result<(), Lack> {
    match node {
        Node::Scope(name) => {
            permissions.must_be_user()?;
            met(
                permissions.claims.scopes().any(|scope| scope == name),
                || Lack::MissingScope {
                    any_of: vec![name.clone()],
                    found: owned(permissions.claims.scopes()),
                    is_reissued: permissions.is_reissued,
                },
            )
        }
        Node::UserRole(name) => {
            permissions.must_be_user()?;
            met(permissions.has_role(name), || Lack::MissingUserRole {
                any_of: vec![name.clone()],
                found: owned(permissions.claims.roles()),
            })
        }
        Node::AppPermission(name) => {
            permissions.must_be_app()?;
            met(permissions.has_role(name), || Lack::MissingAppPermission {
                any_of: vec![name.clone()],
                found: owned(permissions.claims.roles()),
            })
        }
        Node::Group(group) => {
            let groups = permissions.groups(group)?;
            met(groups.contains(group), || Lack::MissingGroup {
                any_of: vec![group.clone()],
                listed: form_of(groups, group),
            })
        }
        Node::NotInGroup(group) => {
            let groups = permissions.groups(group)?;
            // Entra lists names by one attribute, and leaves out groups that lack the attribute.
            if !groups.has_ids_alone() {
                return Err(Lack::GroupsByName);
            }
            met(!groups.contains(group), || Lack::ForbiddenGroup {
                group: group.clone(),
            })
        }
        Node::AuthenticationContext(id) => {
            permissions.must_be_user()?;
            let claims = permissions.claims;
            let is_satisfied = claims
                .authentication_contexts()
                .any(|context| context == id);
            met(is_satisfied, || Lack::StepUp {
                context: id.clone(),
                understands_challenges: claims.handles_claims_challenges(),
            })
        }
        Node::Claim(name, expected) => met(
            has_value(&permissions.payload.text(), name, expected),
            || Lack::ClaimRequired {
                claim: name.clone(),
                expected: expected.to_string(),
            },
        ),
        Node::Any(nodes) => any(nodes, permissions),
        Node::All(nodes) => all(nodes, permissions),
    }
}

fn met(is_met: bool, denied: impl FnOnce() -> Lack) -> Result<(), Lack> {
    if is_met { Ok(()) } else { Err(denied()) }
}

/// Compares the form of a token's groups with the form of the required group. An id never equals a
/// name.
fn form_of(groups: &GroupList, required: &str) -> ListedGroups {
    let requires_id = Guid::from_setting(required).is_some();
    let (ids, names) = (groups.ids().count(), groups.names().count());
    match (requires_id, ids, names) {
        (false, 1.., 0) => ListedGroups::AsIds,
        (true, 0, 1..) => ListedGroups::AsNames,
        _ => ListedGroups::InThatForm,
    }
}

/// Returns the token's names for the refusal, at most 20, because a client may send any number.
fn owned<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    const MOST: usize = 20;

    names.take(MOST).map(str::to_owned).collect()
}

/// Checks that one of the alternatives is met.
///
/// If all fail, the one that is closest to being met gives the reason. Others of the same kind are
/// added to it.
fn any(nodes: &[Node], permissions: &Permissions<'_>) -> Result<(), Lack> {
    let mut closest: Option<Lack> = None;
    for node in nodes {
        let Err(denied) = check(node, permissions) else {
            return Ok(());
        };
        closest = Some(match closest {
            Some(before) if closeness(&before) >= closeness(&denied) => merged(before, denied),
            _ => denied,
        });
    }
    // The list is never empty, because a requirement with an empty list cannot be built.
    Err(closest.unwrap_or(Lack::NoPermission))
}

/// Checks that all conditions are met.
///
/// The first failure gives the reason. A failure that a new sign-in would correct gives the reason
/// only if there is no other.
fn all(nodes: &[Node], permissions: &Permissions<'_>) -> Result<(), Lack> {
    let mut step_up = Ok(());
    for node in nodes {
        match check(node, permissions) {
            Ok(()) => {}
            Err(denied @ Lack::StepUp { .. }) if step_up.is_ok() => step_up = Err(denied),
            Err(Lack::StepUp { .. }) => {}
            Err(denied) => return Err(denied),
        }
    }
    step_up
}

/// Returns how close a refused token is to passing: the less it lacks, the higher the number.
fn closeness(denied: &Lack) -> u8 {
    match denied {
        Lack::UserRequired | Lack::AppRequired { .. } => 0,
        Lack::NoPermission
        | Lack::MissingScope { .. }
        | Lack::MissingUserRole { .. }
        | Lack::MissingAppPermission { .. }
        | Lack::MissingGroup { .. }
        | Lack::ForbiddenGroup { .. }
        | Lack::ClaimRequired { .. } => 1,
        // The condition may be met, but the token does not say.
        Lack::GroupsOverage { .. } | Lack::GroupsNotEmitted | Lack::GroupsByName => 2,
        Lack::StepUp { .. } => 3,
    }
}

fn merged(mut before: Lack, other: Lack) -> Lack {
    match (&mut before, other) {
        (Lack::MissingScope { any_of, .. }, Lack::MissingScope { any_of: more, .. })
        | (Lack::MissingUserRole { any_of, .. }, Lack::MissingUserRole { any_of: more, .. })
        | (
            Lack::MissingAppPermission { any_of, .. },
            Lack::MissingAppPermission { any_of: more, .. },
        )
        | (Lack::MissingGroup { any_of, .. }, Lack::MissingGroup { any_of: more, .. }) => {
            any_of.extend(more);
        }
        _ => {}
    }
    before
}

/// Returns the scopes of the closest way to meet a condition, and whether they are sufficient.
pub(super) fn scopes<'n>(
    node: &'n Node,
    permissions: Option<&Permissions<'_>>,
) -> (Vec<&'n str>, bool) {
    let way = Request::of(node, permissions);
    (way.scopes, way.beyond_scopes == 0)
}

/// A way to meet a condition by requesting scopes.
struct Request<'n> {
    scopes: Vec<&'n str>,
    /// Number of unmet conditions that no scope can meet.
    beyond_scopes: usize,
    /// Number of scopes that the token lacks.
    missing: usize,
}

impl<'n> Request<'n> {
    fn of(node: &'n Node, permissions: Option<&Permissions<'_>>) -> Self {
        match node {
            Node::Scope(name) => {
                let has =
                    |permissions: &Permissions<'_>| permissions.claims.scopes().any(|s| s == name);
                Self {
                    scopes: vec![name],
                    beyond_scopes: 0,
                    missing: usize::from(!permissions.is_some_and(has)),
                }
            }
            Node::Any(nodes) => nodes
                .iter()
                .map(|node| Self::of(node, permissions))
                .min_by_key(|way| (way.beyond_scopes, way.missing))
                .unwrap_or(Self::without_scopes(1)),
            Node::All(nodes) => nodes
                .iter()
                .map(|node| Self::of(node, permissions))
                .fold(Self::without_scopes(0), Self::together),
            other => {
                let is_met =
                    permissions.is_some_and(|permissions| check(other, permissions).is_ok());
                Self::without_scopes(usize::from(!is_met))
            }
        }
    }

    fn without_scopes(beyond_scopes: usize) -> Self {
        Self {
            scopes: Vec::new(),
            beyond_scopes,
            missing: 0,
        }
    }

    fn together(mut self, other: Self) -> Self {
        for scope in other.scopes {
            if !self.scopes.contains(&scope) {
                self.scopes.push(scope);
            }
        }
        self.beyond_scopes = self.beyond_scopes.saturating_add(other.beyond_scopes);
        self.missing = self.missing.saturating_add(other.missing);
        self
    }
}
