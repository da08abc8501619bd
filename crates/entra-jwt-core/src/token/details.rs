//! Claims for display, statistics and logs, on which no decision depends.

use std::time::SystemTime;

use crate::identifier::{ClientId, DirectoryRoleId, Guid};
use crate::json;

/// Declares a struct of optional fields, each read from the JSON text of the claim of that name.
///
/// A value that cannot be read costs only its own claim.
macro_rules! claims {
    (
        $(#[$meta:meta])*
        struct $name:ident {
            $($claim:literal => $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Default)]
        struct $name {
            $($field: Option<$type>,)*
        }

        impl $name {
            fn keep(&mut self, claim: &str, value: &str) {
                match claim {
                    $($claim => self.$field = Some(<$type>::read(value)),)*
                    _ => {}
                }
            }
        }
    };
}

claims! {
    /// Claims for display, read leniently.
    ///
    /// A claim of another type than Entra writes counts as absent. Source: "Access token claims
    /// reference" and "Optional claims reference" of Microsoft's identity platform.
    struct DetailClaims {
        "ver" => version: DisplayText,
        "uti" => token_id: DisplayText,
        "sid" => session_id: DisplayText,
        "login_hint" => login_hint: DisplayText,
        "auth_time" => authenticated_at: DisplayText,
        "acr" => authentication_class: DisplayText,
        "amr" => authentication_methods: DisplayList,
        "azpacr" => client_authentication: DisplayText,
        "appidacr" => client_authentication_v1: DisplayText,
        "xms_par_app_azp" => agent_blueprint: DisplayText,
        "wids" => directory_roles: DisplayList,
        "name" => name: DisplayText,
        "preferred_username" => preferred_username: DisplayText,
        "unique_name" => unique_name: DisplayText,
        "upn" => user_principal_name: DisplayText,
        "email" => email: DisplayText,
        "xms_edov" => email_domain_is_verified: DisplayText,
        "given_name" => given_name: DisplayText,
        "family_name" => family_name: DisplayText,
        "ipaddr" => ip_address: DisplayText,
        "onprem_sid" => on_premises_sid: DisplayText,
        "ctry" => country: DisplayText,
        "tenant_ctry" => tenant_country: DisplayText,
        "tenant_region_scope" => tenant_region: DisplayText,
    }
}

/// Further claims about user, client and sign-in, on which no decision depends.
///
/// [`AccessToken::details`](crate::AccessToken::details) returns them. Names and addresses are
/// mutable, and another tenant can issue the same ones. Authorization by them is the vulnerability
/// known as nOAuth.
///
/// In a [reissued](crate::Validator::reissued) token, these are the claims of Entra's token that
/// the server copies, if it copies them. Claims about a client, its
/// [authentication](Self::client_authentication) or its [session](Self::session_id) then refer to
/// that server.
#[derive(Default)]
pub struct Details(DetailClaims);

/// The client's method of authentication to Entra (`azpacr`, in v1 tokens `appidacr`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ClientAuthentication {
    /// `0`: no authentication, as for an app on a phone or in a browser.
    Public,
    /// `1`: a client secret.
    Secret,
    /// `2`: a certificate or another assertion.
    Certificate,
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(&self) -> Option<&str> {
                self.0.$name.as_ref().and_then(DisplayText::as_str)
            }
        )*
    };
}

impl Details {
    /// Reads the details from a payload that was parsed before.
    pub(crate) fn read(payload: &str) -> Self {
        let mut claims = DetailClaims::default();
        for (name, value) in json::members(payload).into_iter().flatten().flatten() {
            if let Some(name) = json::string(name) {
                claims.keep(&name, value);
            }
        }
        Self(claims)
    }

    texts! {
        /// Returns `ver`: `1.0` or `2.0`.
        ///
        /// The issuer decides the version, never this claim.
        version,
        /// Returns `uti`: Entra's id of this token, which Entra's sign-in logs contain.
        token_id,
        /// Returns `sid`: the id of the session.
        session_id,
        /// Returns `login_hint`: an opaque text to pass to Entra when the user signs in again or
        /// signs out.
        login_hint,
        /// Returns `acr` of v1 tokens: the authentication context class of the sign-in.
        authentication_class,
        /// Returns `name`: the user's name.
        name,
        /// Returns `preferred_username`: the user name.
        preferred_username,
        /// Returns `unique_name` of v1 tokens: a name of the user.
        unique_name,
        /// Returns `upn`: the user principal name.
        user_principal_name,
        /// Returns `email`: the user's email address.
        ///
        /// The address is not verified, unless
        /// [`email_domain_is_verified`](Self::email_domain_is_verified) returns `true`.
        email,
        /// Returns `given_name`: the user's first name.
        given_name,
        /// Returns `family_name`: the user's last name.
        family_name,
        /// Returns `ipaddr`: the address from which the user signed in.
        ip_address,
        /// Returns `onprem_sid`: the security identifier of the user in the on-premises directory.
        on_premises_sid,
        /// Returns `ctry`: the user's country.
        country,
        /// Returns `tenant_ctry`: the tenant's country.
        tenant_country,
        /// Returns `tenant_region_scope`: the region of the tenant's data.
        tenant_region,
    }

    /// Returns whether the domain of [`email`](Self::email) is verified by its owner (`xms_edov`).
    #[must_use]
    pub fn email_domain_is_verified(&self) -> bool {
        let mark = self.0.email_domain_is_verified.as_ref();
        matches!(mark.and_then(DisplayText::as_str), Some("true" | "1"))
    }

    /// Returns the time at which the user signed in (`auth_time`).
    #[must_use]
    pub fn authenticated_at(&self) -> Option<SystemTime> {
        let seconds = self.0.authenticated_at.as_ref()?.as_str()?.parse().ok()?;
        SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))
    }

    /// Returns the authentication methods of the sign-in, such as `pwd` and `mfa` (`amr` of v1
    /// tokens).
    pub fn authentication_methods(&self) -> impl Iterator<Item = &str> {
        let methods = self.0.authentication_methods.iter();
        methods.flat_map(DisplayList::iter)
    }

    /// Returns the client's method of authentication to Entra.
    ///
    /// `None` if the token has no such claim, or one with another value than `0`, `1` or `2`.
    #[must_use]
    pub fn client_authentication(&self) -> Option<ClientAuthentication> {
        let claims = &self.0;
        let claim = claims.client_authentication.as_ref();
        match claim
            .or(claims.client_authentication_v1.as_ref())?
            .as_str()?
        {
            "0" => Some(ClientAuthentication::Public),
            "1" => Some(ClientAuthentication::Secret),
            "2" => Some(ClientAuthentication::Certificate),
            _ => None,
        }
    }

    /// Returns the blueprint from which the calling agent was made (`xms_par_app_azp`).
    ///
    /// It is for logs.
    #[must_use]
    pub fn agent_blueprint(&self) -> Option<ClientId> {
        self.0.agent_blueprint.as_ref()?.as_str()?.parse().ok()
    }

    /// Returns the directory roles that the user holds in the tenant (`wids`).
    ///
    /// A token has them if the app registration emits them (`groupMembershipClaims`).
    pub fn directory_roles(&self) -> impl Iterator<Item = DirectoryRoleId> {
        let roles = self.0.directory_roles.iter();
        roles
            .flat_map(DisplayList::iter)
            .filter_map(|role| Guid::from_setting(role).map(DirectoryRoleId))
    }
}

/// Shows no claim, because nearly all of them are about a person.
impl std::fmt::Debug for Details {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Details").finish_non_exhaustive()
    }
}

/// A text on which no decision depends: a string, or a number or boolean in its JSON form.
///
/// Any other value counts as absent.
#[derive(Clone, Debug, Default)]
struct DisplayText(Option<Box<str>>);

impl DisplayText {
    /// Reads the JSON text of any value.
    fn read(value: &str) -> Self {
        Self(match value.as_bytes().first() {
            Some(b'"') => json::string(value).map(Into::into),
            Some(b't' | b'f') => Some(value.into()),
            // Not with serde_json's `Value`: its number type depends on features that other crates
            // turn on.
            Some(b'-' | b'0'..=b'9') if is_whole(value) => Some(value.into()),
            Some(b'-' | b'0'..=b'9') => {
                let number: Option<f64> = serde_json::from_str(value).ok();
                number.map(|number| number.to_string().into())
            }
            _ => None,
        })
    }

    fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

fn is_whole(number: &str) -> bool {
    number != "-0" && (number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok())
}

/// Texts on which no decision depends: those of an array, or one text.
///
/// Blank texts and other values are left out.
#[derive(Clone, Debug, Default)]
struct DisplayList(Vec<Box<str>>);

impl DisplayList {
    /// Reads the JSON text of any value.
    fn read(value: &str) -> Self {
        let texts = match json::elements(value) {
            Some(elements) => elements.flatten().filter_map(text).collect(),
            None => text(value).into_iter().collect(),
        };
        Self(texts)
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

fn text(value: &str) -> Option<Box<str>> {
    let text = json::string(value)?;
    (!text.trim().is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_cannot_be_read_costs_only_itself() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for exotic in ["1e400", r#""\ud800""#, r#"{"\ud800":1e400}"#, &deep] {
            for claim in ["amr", "wids", "name", "xms_edov", "unknown", "\\ud800"] {
                let payload = format!(r#"{{"{claim}":{exotic},"email":"ada@contoso.com"}}"#);
                let details = Details::read(&payload);
                let found = format!("{claim} {exotic:.20}");
                assert_eq!(details.email(), Some("ada@contoso.com"), "{found}");
                assert_eq!(details.name(), None, "{found}");
                assert_eq!(details.authentication_methods().count(), 0, "{found}");
                assert!(!details.email_domain_is_verified(), "{found}");
            }
        }
    }

    #[test]
    fn what_is_no_text_in_a_list_is_left_out_and_one_text_is_a_list() {
        for (list, texts) in [
            (
                r#"["pwd",1e400,"\ud800",null,["x"],5,"mf\u0061"]"#,
                &["pwd", "mfa"][..],
            ),
            (r#""pwd""#, &["pwd"]),
            ("[]", &[]),
            ("{}", &[]),
            ("null", &[]),
            ("5", &[]),
        ] {
            let details = Details::read(&format!(r#"{{"amr":{list}}}"#));
            let methods: Vec<&str> = details.authentication_methods().collect();
            assert_eq!(methods, texts, "{list}");
        }
    }

    #[test]
    fn a_number_or_boolean_is_a_text_where_one_text_is_expected() {
        for (value, text) in [
            (r#""1""#, Some("1")),
            ("1", Some("1")),
            ("-1", Some("-1")),
            ("1.0", Some("1")),
            ("true", Some("true")),
            (r#""\u0031""#, Some("1")),
            ("null", None),
            ("[1]", None),
            (r#"{"a":1}"#, None),
        ] {
            let details = Details::read(&format!(r#"{{"acr":{value}}}"#));
            assert_eq!(details.authentication_class(), text, "{value}");
        }
    }

    #[test]
    fn blank_texts_in_a_list_are_none() {
        let list = DisplayList::read(r#"["", "pwd", " "]"#);
        assert_eq!(list.iter().collect::<Vec<_>>(), ["pwd"]);
        assert_eq!(DisplayList::read(r#""""#).iter().count(), 0);
    }
}
