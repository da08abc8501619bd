//! A good token without the permission.

use std::borrow::Cow;

use crate::shown::Shown;

/// The token is valid, but does not permit what was asked: 403, not 401.
///
/// Names in it come from the requirement, those that were found from the token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// The token has neither a scope nor a role, so nobody granted its client anything in this
    /// API. Every application of the tenant can get such a token.
    #[error("the token has neither a scope nor a role")]
    NoPermission,

    /// The user's token has none of the scopes that would do.
    #[error("the scope {} is required; the token has {}", any_of_text(.any_of), shown(.found))]
    MissingScope {
        /// The scopes of which one would do.
        any_of: Vec<String>,
        /// The scopes that the token has; the first twenty.
        found: Vec<String>,
    },

    /// The user holds none of the app roles that would do.
    #[error("the user role {} is required; the token has {}", any_of_text(.any_of), shown(.found))]
    MissingUserRole {
        /// The app roles of which one would do.
        any_of: Vec<String>,
        /// The roles that the token has; the first twenty.
        found: Vec<String>,
    },

    /// The application was granted none of the application permissions that would do.
    #[error(
        "the application permission {} is required; the token has {}",
        any_of_text(.any_of), shown(.found)
    )]
    MissingAppPermission {
        /// The application permissions of which one would do.
        any_of: Vec<String>,
        /// The roles that the token has; the first twenty.
        found: Vec<String>,
    },

    /// A user is required, and the token is an application's own, or does not say.
    #[error("a user is required, and the token is not of one")]
    UserRequired,

    /// An application as itself is required, and the token is a user's, or does not say.
    #[error("an application as itself is required, and the token is not of one")]
    AppRequired,

    /// The user is in none of the groups that would do.
    #[error("membership of the group {} is required", any_of_text(.any_of))]
    MissingGroup {
        /// The groups of which one would do.
        any_of: Vec<String>,
    },

    /// The user is in a group that is kept out.
    #[error("members of the group {group} are kept out")]
    ForbiddenGroup {
        /// The group.
        group: String,
    },

    /// Whether the user is in the group cannot be told: Entra left the groups out, because there
    /// are more than fit into a token.
    #[error("the user is in too many groups for the token to list them")]
    GroupsOverage,

    /// Whether the user is not in the group cannot be told: the token lists names, and Entra leaves
    /// out groups that have none.
    #[error("the token lists groups by name, which leaves some out")]
    GroupsByName,

    /// Whether the user is in the group cannot be told: the token has no groups.
    #[error("the token says nothing about groups")]
    GroupsNotEmitted,

    /// The sign-in did not satisfy the authentication context.
    #[error("the authentication context {context} is required")]
    StepUp {
        /// `c1` to `c99`.
        context: String,
        /// Whether the client declares that it understands claims challenges (`cp1`): without
        /// that, a challenge would make it loop.
        understands_challenges: bool,
    },

    /// A claim does not have the value that is required.
    #[error("the claim {claim} must be {expected}")]
    ClaimRequired {
        /// The claim's name.
        claim: String,
        /// The value that would do, as JSON.
        expected: String,
    },
}

impl Denied {
    /// The machine code, stable across releases.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoPermission => "no_permission",
            Self::MissingScope { .. } => "missing_scope",
            Self::MissingUserRole { .. } => "missing_role",
            Self::MissingAppPermission { .. } => "missing_app_permission",
            Self::UserRequired => "user_required",
            Self::AppRequired => "app_required",
            Self::MissingGroup { .. } => "missing_group",
            Self::ForbiddenGroup { .. } => "forbidden_group",
            Self::GroupsOverage => "groups_overage",
            Self::GroupsByName => "groups_by_name",
            Self::GroupsNotEmitted => "groups_not_emitted",
            Self::StepUp { .. } => "step_up",
            Self::ClaimRequired { .. } => "claim_required",
        }
    }

    /// What to change, and where, so that the next request is permitted: with a placeholder for the
    /// API's name in scopes.
    #[must_use]
    pub fn remedy(&self) -> Cow<'static, str> {
        self.remedy_for("api://<client id>")
    }

    /// The same with the API's App ID URI, such as [`Validator::app_id_uri`] tells.
    ///
    /// [`Validator::app_id_uri`]: crate::Validator::app_id_uri
    #[must_use]
    pub fn remedy_for(&self, app_id_uri: &str) -> Cow<'static, str> {
        match self {
            Self::NoPermission => "grant the client a scope (for users) or an app role (for \
                applications) of this API: App registrations, the client, API permissions, then \
                Grant admin consent; or name an application in exempt_clients(..)"
                .into(),
            Self::MissingScope { any_of, .. } => format!(
                "have the client request the scope {app_id_uri}/{}; it is defined on this \
                 API's page Expose an API, and granted on the client's page API permissions \
                 (Delegated permissions)",
                first(any_of),
            )
            .into(),
            Self::MissingUserRole { any_of, .. } => format!(
                "assign the user the app role {}: Enterprise applications, this API, Users and \
                 groups; the role is defined on this API's page App roles (allowed member types: \
                 Users/Groups)",
                any_of_text(any_of),
            )
            .into(),
            Self::MissingAppPermission { any_of, .. } => format!(
                "grant the client the application permission {}: App registrations, the client, \
                 API permissions, Application permissions, then Grant admin consent; the role is \
                 defined on this API's page App roles (allowed member types: Applications)",
                any_of_text(any_of),
            )
            .into(),
            Self::UserRequired => format!(
                "have the client sign a user in and request the scope {app_id_uri}/<name> (its API \
                 permissions, Delegated permissions) instead of client credentials; or require an \
                 AppPermission as an alternative"
            )
            .into(),
            Self::AppRequired => format!(
                "grant the client an app role of this API (its API permissions, Application \
                 permissions, then Grant admin consent) and have it request {app_id_uri}/.default \
                 by client credentials; or require a Scope as an alternative"
            )
            .into(),
            Self::MissingGroup { any_of } => format!(
                "add the user to the group {}: Entra admin center, Groups, the group, Members",
                any_of_text(any_of),
            )
            .into(),
            Self::ForbiddenGroup { group } => format!(
                "remove the user from the group {group}: Entra admin center, Groups, the group, \
                 Members",
            )
            .into(),
            Self::GroupsOverage => "emit only the groups assigned to the application (App \
                registrations, this API, Token configuration, groups claim; in the manifest \
                \"groupMembershipClaims\": \"ApplicationGroup\") and assign this group (Enterprise \
                applications, this API, Users and groups; nested groups do not count), or use app \
                roles instead of groups"
                .into(),
            Self::GroupsByName => "emit group ids: App registrations, this API, Token \
                configuration, groups claim, Group ID"
                .into(),
            Self::GroupsNotEmitted => "add the groups claim: App registrations, this API, Token \
                configuration, Add groups claim (in the manifest \"groupMembershipClaims\": \
                \"SecurityGroup\"); a user in no group at all has none either"
                .into(),
            Self::StepUp {
                context,
                understands_challenges: true,
            } => format!(
                "sign in again with the claims of the challenge; {context} is defined under \
                 Conditional Access, Authentication contexts"
            )
            .into(),
            Self::StepUp { context, .. } => format!(
                "declare the client capability cp1 in the client, and have this API's app \
                 registration request the optional claim xms_cc for access tokens (manifest, \
                 optionalClaims), so that the client can be challenged for {context}; contexts are \
                 defined under Conditional Access, Authentication contexts"
            )
            .into(),
            Self::ClaimRequired { claim, .. } => format!(
                "have Entra emit the claim {claim} with that value: App registrations, this API, \
                 Token configuration, or a claims mapping policy",
            )
            .into(),
        }
    }

    /// What the token has in the place that was checked, if it is safe to show. It comes from
    /// outside: escape and cut it.
    #[must_use]
    pub fn found(&self) -> Option<String> {
        match self {
            Self::NoPermission => Some("neither scope nor role".to_owned()),
            Self::MissingScope { found, .. }
            | Self::MissingUserRole { found, .. }
            | Self::MissingAppPermission { found, .. } => Some(found_text(found)),
            Self::GroupsOverage => Some("too many groups to list".to_owned()),
            Self::GroupsByName => Some("names of groups".to_owned()),
            Self::GroupsNotEmitted => Some("no groups claim".to_owned()),
            Self::UserRequired
            | Self::AppRequired
            | Self::MissingGroup { .. }
            | Self::ForbiddenGroup { .. }
            | Self::StepUp { .. }
            | Self::ClaimRequired { .. } => None,
        }
    }
}

fn any_of_text(names: &[String]) -> String {
    names.join(" or ")
}

fn first(names: &[String]) -> &str {
    names.first().map(String::as_str).unwrap_or_default()
}

fn found_text(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(" ")
    }
}

fn shown(names: &[String]) -> String {
    Shown(&found_text(names)).to_string()
}
