//! The atoms of which requirements are made.

use super::{ClaimValue, Condition, IntoCondition, Node};

macro_rules! atoms {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[must_use = "nothing is required by an atom alone"]
        #[expect(clippy::exhaustive_structs, reason = "written as a literal, and that is all it is")]
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
            /// Either will do. Read from left to right: `a.or(b).and(c)` is (a or b) and c.
            #[must_use]
            pub fn or(self, other: impl IntoCondition) -> Condition {
                Condition::from(self).or(other)
            }

            /// Both are required. Read from left to right: `a.and(b).or(c)` is (a and b) or c.
            #[must_use]
            pub fn and(self, other: impl IntoCondition) -> Condition {
                Condition::from(self).and(other)
            }
        }
    };
}

atoms! {
    /// A delegated permission, by its short name as it stands in `scp`: `Reports.Read`, not
    /// `api://…/Reports.Read`. Only tokens of users have it, also where an agent acts for them.
    Scope,
    /// An app role that a *user* holds (`roles` of a user's token).
    UserRole,
    /// An application permission that an *application* was granted (`roles` of an app-only token).
    /// A user who holds an app role of the same name does not pass for an application.
    AppPermission,
    /// Membership of a group, by its object id, or by its name where Entra emits names. Fails
    /// where the token does not list the groups: see [`Groups`](crate::token::Groups).
    Group,
    /// Requires that a user is known *not* to be in a group, by its object id. Fails where the
    /// token does not list the groups, or lists names.
    ///
    /// It is only as good as the list: where the API's app registration emits the groups assigned
    /// to the application, assign this one too, and mind that nested groups are not among those.
    NotInGroup,
    /// An authentication context of Conditional Access, `c1` to `c99` (`acrs`).
    AuthenticationContext,
}

/// Any claim that has this value, or an array with it. The value is a text, a number or a boolean.
///
/// Claims that users or other tenants can set, such as `email`, `upn`, `preferred_username` and
/// `name`, are refused when the requirement is built. With several tenants, the administrators of each
/// decide what the other claims of its users are: require a tenant as well. In a
/// [reissued](crate::Validator::reissued) token `azp` is the server, whoever its client is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "nothing is required by an atom alone"]
#[expect(
    clippy::exhaustive_structs,
    reason = "written as a literal, and that is all it is"
)]
pub struct Claim<N, V>(pub N, pub V);

impl<N: Into<String>, V: Into<ClaimValue>> From<Claim<N, V>> for Condition {
    fn from(claim: Claim<N, V>) -> Self {
        Self(Node::Claim(claim.0.into(), claim.1.into()))
    }
}

combinators!(Claim<N, V>, N: Into<String>, V: Into<ClaimValue>);

impl Condition {
    /// Returns the condition that any one of these meets: `Condition::any([Scope("a"), Scope("b")])`. They
    /// have one type; different atoms are joined by [`or`](Self::or), or as
    /// `Condition::any([Condition::from(Scope("a")), UserRole("b").into()])`.
    #[must_use]
    pub fn any(conditions: impl IntoIterator<Item = impl IntoCondition>) -> Self {
        Self(Node::Any(nodes(conditions)))
    }

    /// Returns the condition that only all of these meet: `Condition::all([Scope("a"), Scope("b")])`. They
    /// have one type; see [`any`](Self::any).
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
