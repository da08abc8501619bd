//! The atoms of requirements.

use super::{ClaimValue, Condition, IntoCondition, Node};

macro_rules! atoms {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[must_use = "an atom does nothing until it is part of a requirement"]
        #[expect(clippy::exhaustive_structs, reason = "users write it as a literal")]
        pub struct $name<S>(pub S);

        impl<S: Into<String>> From<$name<S>> for Condition {
            fn from(atom: $name<S>) -> Self {
                Self(Node::$name(atom.0.into()))
            }
        }

        combinators!($name<S>, S: Into<String>);
    )*};
}

macro_rules! combinators {
    ($type:ty, $($bounds:tt)*) => {
        impl<$($bounds)*> IntoCondition for $type {
            fn into_condition(self) -> Condition {
                self.into()
            }
        }

        impl<$($bounds)*> $type {
            /// Returns a condition that is met if either condition is met.
            ///
            /// Conditions are read from left to right: `a.or(b).and(c)` is (a or b) and c.
            #[must_use]
            pub fn or(self, other: impl IntoCondition) -> Condition {
                Condition::from(self).or(other)
            }

            /// Returns a condition that is met only if both conditions are met.
            ///
            /// Conditions are read from left to right: `a.and(b).or(c)` is (a and b) or c.
            #[must_use]
            pub fn and(self, other: impl IntoCondition) -> Condition {
                Condition::from(self).and(other)
            }
        }
    };
}

atoms! {
    /// A delegated permission, by its short name in `scp`: `Reports.Read`, not
    /// `api://…/Reports.Read`.
    ///
    /// Only tokens of users have scopes, also if an agent acts for the user.
    Scope,
    /// An app role that a *user* has (`roles` of a user's token).
    UserRole,
    /// An application permission that an *application* was granted (`roles` of an app-only token).
    ///
    /// A user with an app role of the same name does not count as an application.
    AppPermission,
    /// Membership of a group, by the group's object id, or by its name if Entra emits names.
    ///
    /// The check fails if the token does not list the groups: see [`Groups`](crate::token::Groups).
    Group,
    /// Requires that the user is known *not* to be in a group, named by its object id.
    ///
    /// The check fails if the token does not list the groups, or lists names.
    ///
    /// It is only as good as the list. If the API's app registration emits only the groups assigned
    /// to the application, assign this group too. Nested groups are not in that list.
    NotInGroup,
    /// An authentication context of Conditional Access, `c1` to `c99` (`acrs`).
    AuthenticationContext,
}

/// Requires that the claim with this name has this value, or is an array that contains it.
///
/// The value is a text, a whole number or a boolean.
///
/// Claims that users or other tenants can set, such as `email`, `upn`, `preferred_username` and
/// `name`, are refused when the requirement is built. With several tenants, the administrators of
/// each tenant decide the other claims of its users, so require a tenant as well. In a
/// [reissued](crate::Validator::reissued) token, `azp` is always the server, for every client of
/// that server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "an atom does nothing until it is part of a requirement"]
#[expect(clippy::exhaustive_structs, reason = "users write it as a literal")]
pub struct Claim<N, V>(pub N, pub V);

impl<N: Into<String>, V: Into<ClaimValue>> From<Claim<N, V>> for Condition {
    fn from(claim: Claim<N, V>) -> Self {
        Self(Node::Claim(claim.0.into(), claim.1.into()))
    }
}

combinators!(Claim<N, V>, N: Into<String>, V: Into<ClaimValue>);

impl Condition {
    /// Returns a condition that is met if any of these conditions is met.
    ///
    /// An example is `Condition::any([Scope("a"), Scope("b")])`. The conditions have one type. Join
    /// different atoms with [`or`](Self::or), or convert them:
    /// `Condition::any([Condition::from(Scope("a")), UserRole("b").into()])`.
    #[must_use]
    pub fn any(conditions: impl IntoIterator<Item = impl IntoCondition>) -> Self {
        Self(Node::Any(nodes(conditions)))
    }

    /// Returns a condition that is met only if all of these conditions are met.
    ///
    /// An example is `Condition::all([Scope("a"), Scope("b")])`. The conditions have one type; see
    /// [`any`](Self::any).
    #[must_use]
    pub fn all(conditions: impl IntoIterator<Item = impl IntoCondition>) -> Self {
        Self(Node::All(nodes(conditions)))
    }
}

fn nodes(conditions: impl IntoIterator<Item = impl IntoCondition>) -> Vec<Node> {
    conditions
        .into_iter()
        .map(|condition| condition.into_condition().0)
        .collect()
}
