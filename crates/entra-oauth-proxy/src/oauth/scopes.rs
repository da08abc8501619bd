//! Scopes, with short names for clients, full names for Entra, and descriptions for users.

use std::collections::BTreeMap;

use entra_http::Problems;
use serde::{Deserialize, Serialize};
use tower_entra_auth::entra_jwt_core::integration::{Escaped, EscapedUrl};

use super::{ErrorCode, OAuthError};
use crate::telemetry::Finding;

/// Scopes of OpenID Connect, whose names are the same for every resource at Entra.
const OF_OPENID: [&str; 6] = [
    "openid",
    "profile",
    "email",
    "offline_access",
    "address",
    "phone",
];

const OFFLINE_ACCESS: &str = "offline_access";

/// Scopes that every request to Entra contains, in addition to the API's.
///
/// They request an id token for the nonce, the user's identity, and a refresh token, even if the
/// client did not ask for one.
const ALWAYS: [&str; 3] = ["openid", "profile", OFFLINE_ACCESS];

/// The configured scopes.
#[derive(Clone, Debug)]
pub(crate) struct Scopes {
    required: Vec<String>,
    optional: Vec<String>,
    /// Sent to Entra's authorization endpoint unchanged, so that users consent to them.
    additional: Vec<String>,
    /// Prefix of the scopes' names at Entra.
    app_id_uri: String,
    /// The default prefix, which clients may also write.
    usual_uri: String,
    /// Descriptions of some of the scopes, for users.
    texts: BTreeMap<String, String>,
    /// `true` if clients receive Entra's own tokens, with the scopes that Entra gave them.
    are_of_entra: bool,
}

/// Scopes that a client receives.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct GrantedScopes {
    /// Short names, as the resource knows them. Required scopes come first.
    pub(crate) names: Vec<String>,
    /// Scopes as the client wrote them, in its order, with `offline_access` if it asked for that.
    ///
    /// Required scopes that it left out follow. Some clients compare this list with their request.
    pub(crate) shown: Vec<String>,
}

/// Maximum length of a scope's description, in characters.
const MAX_TEXT: usize = 200;

impl Scopes {
    /// Checks the names of required, optional and additional scopes, and the descriptions of some
    /// of them.
    ///
    /// Adds every fault to `problems`. If a name is invalid, returns no names.
    pub(crate) fn check(
        [required, optional, additional]: [&[String]; 3],
        texts: &[(String, String)],
        problems: &mut Problems,
    ) -> (Option<[Vec<String>; 3]>, BTreeMap<String, String>) {
        let texts = checked_texts([required, optional], texts, problems);
        let before = problems.len();
        let mut of_openid = Vec::new();
        let mut checked = |setting: &str, scopes: &[String]| {
            let mut names: Vec<String> = Vec::new();
            for scope in scopes {
                let scope = scope.trim();
                if is_of_openid(scope) {
                    of_openid.push(scope.to_owned());
                } else if let Some(problem) = scope_problem(scope) {
                    problems.add(setting, problem);
                } else if !names.iter().any(|name| name == scope) {
                    names.push(scope.to_owned());
                }
            }
            names
        };
        let required = checked("resource.required_scopes", required);
        let mut optional = checked("resource.optional_scopes", optional);
        optional.retain(|name| !required.contains(name));
        if required.is_empty() && problems.len() == before {
            problems.add(
                "resource.required_scopes",
                "set at least one scope that is not of OpenID Connect: the short name of a scope \
                 that the app registration exposes (Expose an API), such as Mcp.Access",
            );
        }
        for scope in additional {
            let is_plain = |byte: u8| matches!(byte, b'!'..=b'~') && !b"\"\\".contains(&byte);
            if scope.is_empty() || !scope.bytes().all(is_plain) {
                let shown = EscapedUrl(scope);
                problems.add(
                    "additional_authorize_scopes",
                    format_args!(
                        "\"{shown}\" is not a scope such as https://graph.microsoft.com/User.Read"
                    ),
                );
            }
        }
        let additional = [&of_openid, additional].concat();
        let names = (problems.len() == before).then_some([required, optional, additional]);
        (names, texts)
    }

    /// Builds the scopes from [checked](Self::check) names and descriptions.
    ///
    /// The Application ID URI of the scopes is `api://{client id}` by default.
    pub(crate) fn new(
        [required, optional, additional]: [Vec<String>; 3],
        texts: BTreeMap<String, String>,
        client_id: &str,
        app_id_uri: Option<&str>,
        are_of_entra: bool,
    ) -> Self {
        let usual_uri = format!("api://{client_id}");
        let uri = app_id_uri.map(|uri| uri.trim().trim_end_matches('/'));
        Self {
            required,
            optional,
            additional,
            app_id_uri: uri.unwrap_or(&usual_uri).to_owned(),
            usual_uri,
            texts,
            are_of_entra,
        }
    }

    /// Returns the scopes for the metadata: the required ones, and `offline_access`.
    pub(crate) fn offered(&self) -> Vec<&str> {
        let required = self.required.iter().map(String::as_str);
        required.chain([OFFLINE_ACCESS]).collect()
    }

    /// Returns the scopes that are granted for a request.
    ///
    /// All required scopes are granted, because no token is accepted without them, and those
    /// optional ones that the client requested. Unknown scopes are dropped. If the client requested
    /// unknown scopes only, the result is an error.
    pub(crate) fn grant(&self, requested: Option<&str>) -> Result<GrantedScopes, OAuthError> {
        let mut names: Vec<&str> = Vec::new();
        let mut shown: Vec<&str> = Vec::new();
        let mut unknown: Vec<&str> = Vec::new();
        for written in requested.unwrap_or_default().split(' ') {
            let name = self.short(written);
            if self.has(name) {
                if !names.contains(&name) {
                    names.push(name);
                    shown.push(written);
                }
            } else if written == OFFLINE_ACCESS {
                if !shown.contains(&written) {
                    shown.push(written);
                }
            } else if !written.is_empty() && !is_of_openid(written) {
                unknown.push(written);
            }
        }
        if !unknown.is_empty() && names.is_empty() {
            let finding = Finding::from(
                "none of these scopes is known here; omit scope to get the required scopes",
            );
            let offered = [&*self.required, &*self.optional].concat();
            let finding = finding
                .found(Escaped(&unknown.join(" ")).to_string())
                .expected(offered.join(" "));
            return Err(OAuthError::new(ErrorCode::InvalidScope, finding));
        }
        let missing = self.required.iter().map(String::as_str);
        let missing: Vec<&str> = missing.filter(|name| !names.contains(name)).collect();
        let optional = names
            .iter()
            .filter(|name| !self.required.iter().any(|one| one == *name));
        let optional: Vec<&str> = optional.copied().collect();
        let required = self.required.iter().map(String::as_str);
        let owned = |names: Vec<&str>, more: &[&str]| {
            let all = names.iter().chain(more);
            all.map(|name| (*name).to_owned()).collect()
        };
        Ok(GrantedScopes {
            names: owned(required.collect(), &optional),
            shown: owned(shown, &missing),
        })
    }

    fn has(&self, name: &str) -> bool {
        let mut all = self.required.iter().chain(&self.optional);
        all.any(|known| known == name)
    }

    /// Returns whether the names contain all scopes that are required today.
    pub(crate) fn has_required(&self, names: &[String]) -> bool {
        self.required.iter().all(|name| names.contains(name))
    }

    /// Returns those names that are configured today, and adds none: the user agreed to no others.
    fn known(&self, names: &[String]) -> Vec<String> {
        let known = names.iter().filter(|name| self.has(name));
        known.cloned().collect()
    }

    /// Returns the scopes of a grant's tokens, or the requested part of them (RFC 6749 §6).
    ///
    /// They are scopes that the user agreed to, that Entra granted, and that are configured today.
    /// If clients receive Entra's own tokens, they are all scopes that Entra granted.
    pub(crate) fn downscoped(
        &self,
        (agreed, agreed_shown): (&[String], &[String]),
        by_entra: &[String],
        requested: Option<&str>,
    ) -> Result<GrantedScopes, OAuthError> {
        let is_of = |names: &[String], shown: &str| {
            shown == OFFLINE_ACCESS || names.iter().any(|name| name == self.short(shown))
        };
        let shown_of = |names: Vec<String>| {
            let of_names = agreed_shown.iter().filter(|shown| is_of(&names, shown));
            let mut shown: Vec<String> = of_names.cloned().collect();
            let is_there =
                |name: &&String| shown.iter().any(|shown| self.short(shown) == name.as_str());
            let more: Vec<String> = names
                .iter()
                .filter(|name| !is_there(name))
                .cloned()
                .collect();
            shown.extend(more);
            GrantedScopes { names, shown }
        };
        if self.are_of_entra {
            return Ok(shown_of(by_entra.to_vec()));
        }
        let mut names = self.known(agreed);
        names.retain(|name| by_entra.contains(name));
        let Some(requested) = requested else {
            return Ok(shown_of(names));
        };
        let granted = self.grant(Some(requested))?;
        if !granted.names.iter().all(|name| agreed.contains(name)) {
            let finding = Finding::from(
                "the user was not asked for one of these scopes; sign in again to get it",
            );
            let finding = finding
                .found(granted.names.join(" "))
                .expected(agreed.join(" "));
            return Err(OAuthError::new(ErrorCode::InvalidScope, finding));
        }
        names.retain(|name| granted.names.contains(name));
        let mut shown = granted.shown;
        shown.retain(|shown| is_of(&names, shown));
        Ok(GrantedScopes { names, shown })
    }

    /// Returns the requested scopes that Entra granted to a user.
    ///
    /// If clients receive Entra's own tokens, returns all scopes that Entra granted. The error is a
    /// required scope that Entra did not grant.
    pub(crate) fn granted_by_entra<'n, I: Iterator<Item = &'n str>>(
        &'n self,
        asked: &[String],
        granted: impl Fn() -> I,
    ) -> Result<Vec<String>, &'n str> {
        let has = |name: &&String| granted().any(|scope| scope == name.as_str());
        if let Some(missing) = self.required.iter().find(|name| !has(name)) {
            return Err(missing);
        }
        Ok(match self.are_of_entra {
            true => granted().map(str::to_owned).collect(),
            false => self
                .known(asked)
                .into_iter()
                .filter(|name| has(&name))
                .collect(),
        })
    }

    /// Returns a scope's name without the prefix of the API.
    fn short<'s>(&self, written: &'s str) -> &'s str {
        let mut uris = [&self.app_id_uri, &self.usual_uri].into_iter();
        let name = uris.find_map(|uri| written.strip_prefix(&**uri)?.strip_prefix('/'));
        name.unwrap_or(written)
    }

    /// Returns the configured description of a scope, if any.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// Returns the scopes for a request to Entra's authorization endpoint, which may name several
    /// resources.
    pub(crate) fn for_authorization(&self, names: &[String]) -> Vec<String> {
        self.with(names, self.additional.iter())
    }

    /// Returns the scopes for a request to Entra's token endpoint: those of one resource, and never
    /// none.
    pub(crate) fn for_tokens(&self, names: &[String]) -> Vec<String> {
        let of_openid = self.additional.iter().filter(|scope| is_of_openid(scope));
        self.with(names, of_openid)
    }

    fn with<'s>(&'s self, names: &[String], more: impl Iterator<Item = &'s String>) -> Vec<String> {
        let full = self
            .known(names)
            .into_iter()
            .map(|name| format!("{}/{name}", self.app_id_uri));
        let mut scopes: Vec<String> = full.chain(ALWAYS.map(str::to_owned)).collect();
        for scope in more {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
        scopes
    }
}

/// Returns the valid descriptions by scope name, and adds every fault to `problems`.
fn checked_texts(
    [required, optional]: [&[String]; 2],
    texts: &[(String, String)],
    problems: &mut Problems,
) -> BTreeMap<String, String> {
    let mut checked = BTreeMap::new();
    for (scope, text) in texts {
        let (scope, text) = (scope.trim(), text.trim());
        let mut known = required.iter().chain(optional);
        let is_known = known.any(|name| name.trim() == scope) && !is_of_openid(scope);
        let is_plain = !text.is_empty() && !text.contains(char::is_control);
        let fault = match () {
            () if !is_known => "is neither in required_scopes(..) nor in optional_scopes(..)",
            () if !is_plain || text.chars().count() > MAX_TEXT => {
                "needs a text of 1 to 200 characters in one line, such as \"Read your notes\""
            }
            () if checked.contains_key(scope) => "has two texts",
            () => {
                checked.insert(scope.to_owned(), text.to_owned());
                continue;
            }
        };
        let shown = EscapedUrl(scope);
        problems.add(
            "resource.describe_scope",
            format_args!("\"{shown}\" {fault}"),
        );
    }
    checked
}

fn scope_problem(scope: &str) -> Option<String> {
    let shown = EscapedUrl(scope);
    if let Some((_, name)) = scope.rsplit_once('/') {
        return Some(format!(
            "\"{shown}\" includes the API; use its short name, \"{}\"",
            EscapedUrl(name)
        ));
    }
    let is_plain = |byte: u8| matches!(byte, b'!'..=b'~') && !b"\"\\=".contains(&byte);
    let is_good = !scope.is_empty() && scope != ".default" && scope.bytes().all(is_plain);
    (!is_good).then(|| format!("\"{shown}\" is not a scope such as Mcp.Access"))
}

/// Returns whether OpenID Connect defines this scope.
fn is_of_openid(scope: &str) -> bool {
    OF_OPENID.contains(&scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes() -> Scopes {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Scopes::new(
            [
                owned(&["read", "list"]),
                owned(&["write"]),
                owned(&["email", "https://graph.microsoft.com/User.Read"]),
            ],
            BTreeMap::new(),
            "6e74172b-be56-4843-9ff4-e66a39bb12e3",
            Some("api://orders.example.com"),
            false,
        )
    }

    fn granted(requested: &str) -> (String, String) {
        let granted = scopes().grant(Some(requested)).unwrap();
        (granted.names.join(" "), granted.shown.join(" "))
    }

    #[test]
    fn without_a_scope_the_required_ones_are_granted() {
        assert_eq!(scopes().grant(None).unwrap().names, ["read", "list"]);
        for requested in ["", "openid", "openid profile email", "read", "list read"] {
            assert_eq!(granted(requested).0.len(), "read list".len(), "{requested}");
        }
    }

    #[test]
    fn what_is_asked_for_is_returned_as_it_was_written() {
        let (names, shown) = granted("api://orders.example.com/write offline_access read read");
        assert_eq!(names, "read list write");
        assert_eq!(
            shown,
            "api://orders.example.com/write offline_access read list"
        );
        let (names, shown) = granted("api://6e74172b-be56-4843-9ff4-e66a39bb12e3/read");
        assert_eq!(names, "read list");
        assert_eq!(
            shown,
            "api://6e74172b-be56-4843-9ff4-e66a39bb12e3/read list"
        );
    }

    #[test]
    fn what_is_unknown_is_dropped_unless_nothing_else_was_asked_for() {
        assert_eq!(granted("read User.Read write").0, "read list write");
        for requested in [
            "admin",
            "openid admin",
            "https://graph.microsoft.com/User.Read",
            "Read",
        ] {
            let error = scopes().grant(Some(requested)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidScope, "{requested}");
        }
    }

    #[test]
    fn entra_gets_full_names_of_one_resource_where_tokens_are_asked_for() {
        let names = ["read".to_owned()];
        assert_eq!(
            scopes().for_tokens(&names),
            [
                "api://orders.example.com/read",
                "openid",
                "profile",
                "offline_access",
                "email"
            ]
        );
        assert_eq!(
            scopes().for_authorization(&names),
            [
                "api://orders.example.com/read",
                "openid",
                "profile",
                "offline_access",
                "email",
                "https://graph.microsoft.com/User.Read",
            ]
        );
    }
}
