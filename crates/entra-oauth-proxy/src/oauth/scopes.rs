//! Scopes: short names towards clients, full names towards Entra, words towards people.

use std::collections::BTreeMap;

use crate::oauth::error::{Code, OAuthError};

/// The scopes of OpenID Connect: Entra knows them by these names whatever the resource.
const OF_OPENID: [&str; 6] = [
    "openid",
    "profile",
    "email",
    "offline_access",
    "address",
    "phone",
];

pub(crate) const OFFLINE_ACCESS: &str = "offline_access";

/// What is always asked of Entra beside the API's scopes: an id token for the nonce, who the user is,
/// and a refresh token, whether or not the client asked for one.
const ALWAYS: [&str; 3] = ["openid", "profile", OFFLINE_ACCESS];

/// The scopes that there are.
#[derive(Clone, Debug)]
pub(crate) struct Scopes {
    pub(crate) required: Vec<String>,
    pub(crate) optional: Vec<String>,
    /// Sent to Entra's authorization endpoint as they are, so that they are consented to.
    pub(crate) additional: Vec<String>,
    /// What stands before a scope's name at Entra.
    pub(crate) identifier_uri: String,
    /// What else clients may write there.
    pub(crate) usual_uri: String,
    /// Some of them, in words for people.
    pub(crate) texts: BTreeMap<String, String>,
}

/// What a client gets if the user agrees.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Granted {
    /// Short names, the required ones first.
    pub(crate) names: Vec<String>,
    /// The same as the client wrote them, in its order, with `offline_access` if it asked for that: some
    /// compare.
    pub(crate) shown: Vec<String>,
}

impl Scopes {
    /// What a request comes to: the scopes that are required, always, as no token passes without
    /// them, and the optional ones that were asked for. What is unknown is dropped, unless nothing
    /// known was asked for.
    pub(crate) fn grant(&self, requested: Option<&str>) -> Result<Granted, OAuthError> {
        let mut names: Vec<&str> = Vec::new();
        let mut shown: Vec<&str> = Vec::new();
        let mut has_unknown = false;
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
            } else {
                has_unknown |= !written.is_empty() && !is_of_openid(written);
            }
        }
        if has_unknown && names.is_empty() {
            return Err(OAuthError::new(
                Code::InvalidScope,
                "none of these scopes is known here; leave scope out to get those that are required",
            ));
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
        Ok(Granted {
            names: owned(required.collect(), &optional),
            shown: owned(shown, &missing),
        })
    }

    fn has(&self, name: &str) -> bool {
        let mut all = self.required.iter().chain(&self.optional);
        all.any(|known| known == name)
    }

    /// Returns whether all scopes that are required today are among the names.
    pub(crate) fn has_required(&self, names: &[String]) -> bool {
        self.required.iter().all(|name| names.contains(name))
    }

    /// Returns those of the names that there are today, and none that is not among them: whoever agreed to
    /// them agreed to no others.
    pub(crate) fn known(&self, names: &[String]) -> Vec<String> {
        let known = names.iter().filter(|name| self.has(name));
        known.cloned().collect()
    }

    /// The name of a scope without the API in front of it.
    pub(crate) fn short<'s>(&self, written: &'s str) -> &'s str {
        let mut uris = [&self.identifier_uri, &self.usual_uri].into_iter();
        let name = uris.find_map(|uri| written.strip_prefix(&**uri)?.strip_prefix('/'));
        name.unwrap_or(written)
    }

    /// What it lets a client do, in words, if they were set.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// For Entra's authorization endpoint: may be of several resources.
    pub(crate) fn to_authorize(&self, names: &[String]) -> Vec<String> {
        self.with(names, self.additional.iter())
    }

    /// For Entra's token endpoint: of one resource, and never empty.
    pub(crate) fn to_redeem(&self, names: &[String]) -> Vec<String> {
        let of_openid = self.additional.iter().filter(|scope| is_of_openid(scope));
        self.with(names, of_openid)
    }

    fn with<'s>(&'s self, names: &[String], more: impl Iterator<Item = &'s String>) -> Vec<String> {
        let names = self.known(names);
        let full = names
            .iter()
            .map(|name| format!("{}/{name}", self.identifier_uri));
        let mut scopes: Vec<String> = full.chain(ALWAYS.map(str::to_owned)).collect();
        for scope in more {
            if !scopes.contains(scope) {
                scopes.push(scope.clone());
            }
        }
        scopes
    }
}

pub(crate) fn is_of_openid(scope: &str) -> bool {
    OF_OPENID.contains(&scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes() -> Scopes {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Scopes {
            required: owned(&["read", "list"]),
            optional: owned(&["write"]),
            additional: owned(&["email", "https://graph.microsoft.com/User.Read"]),
            identifier_uri: "api://orders.example.com".to_owned(),
            usual_uri: "api://6e74172b-be56-4843-9ff4-e66a39bb12e3".to_owned(),
            texts: BTreeMap::new(),
        }
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
            assert_eq!(error.code, Code::InvalidScope, "{requested}");
        }
    }

    #[test]
    fn entra_gets_full_names_of_one_resource_where_tokens_are_asked_for() {
        let names = ["read".to_owned()];
        assert_eq!(
            scopes().to_redeem(&names),
            [
                "api://orders.example.com/read",
                "openid",
                "profile",
                "offline_access",
                "email"
            ]
        );
        assert_eq!(
            scopes().to_authorize(&names),
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
