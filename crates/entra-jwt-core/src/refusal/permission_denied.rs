//! Refusals of valid tokens that lack a permission.

use std::borrow::Cow;

use super::Setting;
use crate::shown::Escaped;

/// The refusal of a valid token that does not permit the request: 403, not 401.
///
/// The required names in it come from the requirement, the found names from the token.
#[derive(Clone, Eq, PartialEq)]
pub struct PermissionDenied(Box<Lack>);

/// The permission or the property that a token lacks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Lack {
    #[error("the token has neither a scope nor a role")]
    NoPermission,
    #[error("the scope {} is required; the token has {}", any_of_text(.any_of), shown(.found))]
    MissingScope {
        any_of: Vec<String>,
        found: Vec<String>,
        /// `true` for a [reissued](crate::Validator::reissued) token. Its client is unknown to
        /// Entra.
        is_reissued: bool,
    },
    #[error("the user role {} is required; the token has {}", any_of_text(.any_of), shown(.found))]
    MissingUserRole {
        any_of: Vec<String>,
        found: Vec<String>,
    },
    #[error(
        "the application permission {} is required; the token has {}",
        any_of_text(.any_of), shown(.found)
    )]
    MissingAppPermission {
        any_of: Vec<String>,
        found: Vec<String>,
    },
    #[error("a user's token is required, and this token is not a user's")]
    UserRequired,
    #[error("an app-only token is required, and this token is not app-only")]
    AppRequired {
        /// `true` for a [reissued](crate::Validator::reissued) token.
        is_reissued: bool,
    },
    #[error("membership of the group {} is required", any_of_text(.any_of))]
    MissingGroup {
        any_of: Vec<String>,
        listed: ListedGroups,
    },
    #[error("members of the group {group} are refused")]
    ForbiddenGroup { group: String },
    #[error("the user is in too many groups for the token to list them")]
    GroupsOverage { group: String },
    #[error("the token lists groups by name; such a list may be incomplete")]
    GroupsByName,
    #[error("the token has no groups claim")]
    GroupsNotEmitted,
    #[error("the authentication context {context} is required")]
    StepUp {
        context: String,
        understands_challenges: bool,
    },
    #[error("the claim {claim} must be {expected}")]
    ClaimRequired { claim: String, expected: String },
}

/// The form of a token's groups, compared with the form of the required group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ListedGroups {
    /// The token has at least one group in the form (id or name) of the required group, or no group
    /// at all.
    InThatForm,
    /// All groups are ids, and a name is required.
    AsIds,
    /// All groups are names, and an id is required.
    AsNames,
}

refusal! { PermissionDenied of Lack,
    /// The kinds of [`PermissionDenied`].
    PermissionDeniedKind, named by setting and app_id_uri:

    /// The token has neither a scope nor a role, so its client has no permission for this API.
    ///
    /// Every application of the tenant can get such a token.
    NoPermission => "no_permission" {
        found: "neither scope nor role",
        expected: "a scope or a role",
        remedy: format!(
            "grant the client a scope (for users) or an app role (for applications) of this API: \
             App registrations, the client, API permissions, then Grant admin consent; or name an \
             application in {}",
            setting(Setting::RolelessClients),
        ),
    }
    /// The user's token has none of the accepted scopes.
    MissingScope { any_of, found, is_reissued } => "missing_scope" {
        found: found_text(found),
        expected: any_of_text(any_of),
        remedy: {
            let scope = any_of.first().map(String::as_str).unwrap_or_default();
            if *is_reissued {
                format!(
                    "have the client request the scope {scope} in a new sign-in; the authorization \
                     server must offer it (entra-oauth-proxy: in optional_scopes), and it must be on \
                     the pages Expose an API and API permissions (Delegated permissions) of the \
                     server's app registration",
                )
            } else {
                format!(
                    "have the client request the scope {app_id_uri}/{scope}; it is defined on this \
                     API's page Expose an API, and granted on the client's page API permissions \
                     (Delegated permissions)",
                )
            }
        },
    }
    /// The user has none of the accepted app roles.
    MissingUserRole { any_of, found } => "missing_role" {
        found: found_text(found),
        expected: any_of_text(any_of),
        remedy: format!(
            "assign the user the app role {}: Enterprise applications, this API, Users and groups; if it \
             is not there, create it on this API's page App roles (its Value; allowed member types: \
             Users/Groups); then get a new token",
            any_of_text(any_of),
        ),
    }
    /// The application has none of the accepted application permissions.
    MissingAppPermission { any_of, found } => "missing_app_permission" {
        found: found_text(found),
        expected: any_of_text(any_of),
        remedy: format!(
            "grant the client the application permission {}: App registrations, the client, API \
             permissions, Application permissions, then Grant admin consent; if it is not there, create \
             it on this API's page App roles (its Value; allowed member types: Applications); then get a \
             new token",
            any_of_text(any_of),
        ),
    }
    /// A user is required, but the token is an application's own, or does not say whose it is.
    UserRequired => "user_required" {
        expected: "a user",
        remedy: format!(
            "have the client sign a user in and request the scope {app_id_uri}/<name> (its API \
             permissions, Delegated permissions) instead of client credentials; or require an \
             AppPermission as an alternative",
        ),
    }
    /// An application without a user is required, but the token is a user's, or does not say whose
    /// it is.
    AppRequired { is_reissued } => "app_required" {
        expected: "an application without a user",
        remedy: if *is_reissued {
            format!(
                "call with a token that an application got from Entra itself: it requests \
                 {app_id_uri}/.default by client credentials, and has an app role of this API; or \
                 require a Scope as an alternative",
            )
        } else {
            format!(
                "grant the client an app role of this API (its API permissions, Application \
                 permissions, then Grant admin consent) and have it request {app_id_uri}/.default by \
                 client credentials; or require a Scope as an alternative",
            )
        },
    }
    /// The user is in none of the accepted groups.
    MissingGroup { any_of, listed } => "missing_group" {
        found: match listed {
            ListedGroups::InThatForm => "other groups, or no groups",
            ListedGroups::AsIds => "groups by their ids",
            ListedGroups::AsNames => "groups by their names",
        },
        expected: format!("a member of the group {}", any_of_text(any_of)),
        remedy: match listed {
            ListedGroups::InThatForm => format!(
                "add the user to the group {}: Entra admin center, Groups, the group, Members",
                any_of_text(any_of),
            ),
            ListedGroups::AsIds => format!(
                "require the group by its Object ID (Entra admin center, Groups, the group, \
                 Overview), not by the name {}: the token lists groups by their ids",
                any_of_text(any_of),
            ),
            ListedGroups::AsNames => "emit group ids, as the group is required by its id: App \
                registrations, this API, Token configuration, groups claim, Group ID"
                .to_owned(),
        },
    }
    /// The user is in a forbidden group.
    ForbiddenGroup { group } => "forbidden_group" {
        expected: format!("a user who is not a member of the group {group}"),
        remedy: format!(
            "remove the user from the group {group}: Entra admin center, Groups, the group, Members",
        ),
    }
    /// The token does not say whether the user is in the group, because the user has too many
    /// groups to list.
    ///
    /// Entra then leaves all groups out.
    GroupsOverage { group } => "groups_overage" {
        found: "too many groups to list",
        expected: format!("a list of groups, to check for {group}"),
        remedy: format!(
            "in two steps: (1) emit only the groups assigned to the application: App registrations, \
             this API, Token configuration, groups claim (in the manifest \
             \"groupMembershipClaims\": \"ApplicationGroup\"); (2) assign the group {group}: Enterprise \
             applications, this API, Users and groups (nested groups do not count). Or require an app \
             role instead",
        ),
    }
    /// The token does not say whether the user is outside the group, because it lists groups by
    /// name.
    ///
    /// Entra leaves out groups that have no such name.
    GroupsByName => "groups_by_name" {
        found: "names of groups",
        expected: "a list of groups by their ids",
        remedy: "emit group ids: App registrations, this API, Token configuration, groups claim, \
            Group ID",
    }
    /// The token does not say whether the user is in the group, because it has no groups claim.
    GroupsNotEmitted => "groups_not_emitted" {
        found: "no groups claim",
        expected: "a list of groups",
        remedy: "add the groups claim: App registrations, this API, Token configuration, Add \
            groups claim, Groups assigned to the application (in the manifest \
            \"groupMembershipClaims\": \"ApplicationGroup\"), and assign the group (Enterprise \
            applications, this API, Users and groups); a user who is in none of these groups has \
            no such claim either",
    }
    /// The sign-in did not satisfy the authentication context.
    StepUp { context, understands_challenges } => "step_up" {
        expected: format!("acrs with {context}"),
        remedy: if *understands_challenges {
            format!(
                "sign in again with the claims of the challenge; {context} is defined under \
                 Conditional Access, Authentication contexts",
            )
        } else {
            format!(
                "declare the client capability cp1 in the client, and have this API's app \
                 registration request the optional claim xms_cc for access tokens (manifest, \
                 optionalClaims), so that the client can be challenged for {context}; contexts are \
                 defined under Conditional Access, Authentication contexts",
            )
        },
    }
    /// A claim does not have the required value.
    ClaimRequired { claim, expected } => "claim_required" {
        expected: format!("{claim} = {expected}"),
        remedy: format!(
            "have Entra emit the claim {claim} with that value: App registrations, this API, Token \
             configuration, or a claims mapping policy",
        ),
    }
}

impl PermissionDenied {
    /// Returns the remedy: what to change, and where, so that the next request is permitted.
    ///
    /// It uses this crate's names for the settings, and a placeholder for the API's Application ID
    /// URI in scopes.
    #[must_use]
    pub fn remedy(&self) -> Cow<'static, str> {
        self.remedy_with(Setting::name, "api://<client id>")
    }

    /// Returns the missing authentication context, `c1` to `c99`, or `None` if something else is
    /// missing.
    #[must_use]
    pub fn authentication_context(&self) -> Option<&str> {
        match &*self.0 {
            Lack::StepUp { context, .. } => Some(context),
            _ => None,
        }
    }

    /// Returns whether the client can get an accepted token after a claims challenge.
    ///
    /// This is so if an authentication context is missing and the client declares that it
    /// understands challenges (`cp1`). Any other client would repeat its request endlessly after a
    /// challenge.
    #[must_use]
    pub fn is_challengeable(&self) -> bool {
        match *self.0 {
            Lack::StepUp {
                understands_challenges,
                ..
            } => understands_challenges,
            _ => false,
        }
    }

    pub(crate) fn lack(&self) -> &Lack {
        &self.0
    }

    /// Sets whether the client understands claims challenges, if the service knows more about the
    /// client than the token says.
    #[doc(hidden)] // for crates such as `tower-entra-auth`
    #[must_use]
    pub fn with_understanding(mut self, understands: bool) -> Self {
        if let Lack::StepUp {
            understands_challenges,
            ..
        } = &mut *self.0
        {
            *understands_challenges = understands;
        }
        self
    }
}

fn any_of_text(names: &[String]) -> String {
    names.join(" or ")
}

fn found_text(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(" ")
    }
}

fn shown(names: &[String]) -> String {
    Escaped(&found_text(names)).to_string()
}
