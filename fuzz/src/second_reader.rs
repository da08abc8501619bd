//! Reads accepted tokens a second time, with another reader and independently written rules.

use std::fmt;

use entra_jwt_core::{
    AccessToken,
    refusal::InvalidTokenKind,
    token::{TokenVersion, Unverified},
};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::cases::Case;
use crate::signer::{KEY_ID, segment};
use crate::{NOW, handler};

/// Checks that the validator was right to accept the token, then uses the token as a service would.
///
/// # Panics
/// If the validator was wrong.
pub fn check_accepted(case: &Case, text: &str, token: &AccessToken) {
    let header = Claims::read(&segment(text, 0));
    let claims = Claims::read(&segment(text, 1));
    assert!(!header.has_twins() && !claims.has_twins(), "a member twice");
    check_header(&header);
    check_times(case, &claims);
    check_issuer(case, token, &claims);
    check_kind(case, &claims);
    check_permission(case, token, &claims);
    handler::handle(case, text, token, &claims);
}

/// Checks that a parsed token has a JSON object as its payload, and that a payload refused as
/// invalid JSON is one that `serde_json` cannot hold.
///
/// # Panics
/// If either condition is violated.
pub fn check_form(payload: &[u8], token: &str) {
    match Unverified::parse(token) {
        Ok(_) => assert!(
            serde_json::from_slice::<Claims>(payload).is_ok(),
            "parsed, and no JSON object"
        ),
        Err(invalid)
            if invalid.kind() == InvalidTokenKind::InvalidJson
                && invalid.to_string().contains("payload") =>
        {
            assert!(
                serde_json::from_slice::<Map<String, Value>>(payload).is_err(),
                "a JSON object, and not parsed"
            )
        }
        Err(_) => {}
    }
}

fn check_header(header: &Claims) {
    assert_eq!(header.text("alg").as_deref(), Some("RS256"));
    assert_eq!(header.text("kid").as_deref(), Some(KEY_ID));
    let is_jwt = |text: String| text.eq_ignore_ascii_case("JWT");
    assert!(!header.has("typ") || header.text("typ").is_some_and(is_jwt));
    for name in ["nonce", "crit", "b64", "zip", "enc"] {
        assert!(!header.has(name), "{name}");
    }
}

fn check_times(case: &Case, claims: &Claims) {
    let skew = case.admits.clock_skew;
    let expires = claims.seconds("exp").expect("a number exp");
    assert!(expires >= NOW - skew, "{}: expired", case.name);
    if claims.has("nbf") {
        let begins = claims.seconds("nbf").expect("a number nbf");
        assert!(
            begins <= NOW + skew && begins <= expires,
            "{}: not yet",
            case.name
        );
    }
    assert!(!claims.has("iat") || claims.seconds("iat").is_some());
}

fn check_issuer(case: &Case, token: &AccessToken, claims: &Claims) {
    let tenant = claims.text("tid").expect("a text tid");
    assert!((case.admits.tenant)(&tenant), "{}: of {tenant}", case.name);
    assert!(tenant.len() == 36 && !tenant.contains(|c: char| c.is_ascii_uppercase()));
    let twins = claims
        .names()
        .filter(|name| name.eq_ignore_ascii_case("tid"));
    assert_eq!(twins.count(), 1, "{}: another tenant", case.name);

    let issuer = claims.text("iss").expect("a text iss");
    let is_of = |template: &str| template.replace("{}", &tenant) == issuer;
    assert!(
        match token.version() {
            TokenVersion::V2 => is_of(case.admits.v2_issuer),
            TokenVersion::V1 => case
                .admits
                .v1_issuers
                .iter()
                .any(|template| is_of(template)),
            _ => false,
        },
        "{}: issued by {issuer}",
        case.name
    );
    let audience = claims.text("aud").expect("a text aud");
    assert!(
        case.admits.audiences.contains(&&*audience),
        "{}: for {audience}",
        case.name
    );
}

fn check_kind(case: &Case, claims: &Claims) {
    for name in ["cnf", "nonce", "c_hash", "at_hash"] {
        assert!(!claims.has(name), "{}: {name}", case.name);
    }
    let client = claims.client().expect("azp or appid");
    assert!(
        (case.admits.client)(&client),
        "{}: from {client}",
        case.name
    );
    assert!(
        case.admits.guests || is_member(claims),
        "{}: a guest",
        case.name
    );
}

/// Returns whether no claim marks the user as a guest.
fn is_member(claims: &Claims) -> bool {
    let related = claims.text("xms_idrel").unwrap_or_default();
    let home = claims.text("tid").unwrap_or_default();
    let is_home = |provider: String| {
        let mut segments = provider.split('/');
        segments.any(|segment| segment.eq_ignore_ascii_case(&home))
    };
    !related
        .split(' ')
        .any(|mark| ["5", "11", "15", "31"].contains(&mark))
        && match claims.get("acct") {
            Some(status) => status == 0,
            None => claims.text("idp").is_none_or(is_home),
        }
}

fn check_permission(case: &Case, token: &AccessToken, claims: &Claims) {
    if case.validator.default_permission(token).is_ok() {
        let is_exempt = claims
            .client()
            .is_some_and(|client| (case.admits.is_exempt)(&client));
        assert!(
            !claims.scopes().is_empty()
                || !claims.texts("roles").is_empty()
                || token.is_app_only() && is_exempt,
            "{}: nothing is permitted",
            case.name
        );
    }
}

/// The members of a JSON object.
///
/// Each value is parsed only on lookup, because `serde_json`'s own type cannot hold some values
/// that are never looked up, such as `1e400` or a hundred brackets.
#[derive(Debug)]
pub struct Claims(Vec<(String, Box<RawValue>)>);

impl Claims {
    /// Parses a JSON object.
    ///
    /// # Panics
    /// If the text is not a JSON object.
    #[must_use]
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).expect("an accepted JSON object")
    }

    fn has_twins(&self) -> bool {
        let mut names: Vec<&str> = self.names().collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// Returns every name, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Returns whether the member exists, even if it is `null`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|found| found == name)
    }

    /// Returns the value if it exists and `serde_json` can hold it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value> {
        let (_, raw) = self.0.iter().find(|(found, _)| found == name)?;
        serde_json::from_str(raw.get()).ok()
    }

    /// Returns the value if it is a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name)?.as_str().map(str::to_owned)
    }

    /// Returns each string of an array of strings, without blank ones. The result is empty if the
    /// value is not such an array.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        let texts = self.get(name).map(serde_json::from_value::<Vec<String>>);
        let mut texts = texts.and_then(Result::ok).unwrap_or_default();
        texts.retain(|text| !text.trim().is_empty());
        texts
    }

    /// Returns the whole seconds of a number.
    #[must_use]
    pub fn seconds(&self, name: &str) -> Option<i64> {
        let number = self.get(name)?;
        number
            .as_i64()
            .or_else(|| Some(number.as_f64()?.floor() as i64))
    }

    /// Returns the client: `azp`, or `appid` if that is missing.
    #[must_use]
    pub fn client(&self) -> Option<String> {
        self.text("azp").or_else(|| self.text("appid"))
    }

    /// Returns each scope.
    #[must_use]
    pub fn scopes(&self) -> Vec<String> {
        let scopes = self.text("scp").unwrap_or_default();
        let is_named = |scope: &&str| !scope.trim().is_empty() && *scope != "/";
        let named = scopes.split(' ').filter(is_named);
        named.map(str::to_owned).collect()
    }

    /// Returns each number of a string that lists numbers.
    #[must_use]
    pub fn numbers(&self, name: &str) -> Vec<u32> {
        let text = self.text(name).unwrap_or_default();
        text.split(' ').flat_map(str::parse).collect()
    }

    /// Returns whether the token lists all groups of the user.
    #[must_use]
    pub fn lists_groups(&self) -> bool {
        let absent = self.get("_claim_names");
        let is_absent = absent.is_some_and(|names| names.get("groups").is_some());
        let has_more = self.has("hasgroups") && self.get("hasgroups") != Some(Value::Bool(false));
        self.has("groups")
            && !is_absent
            && !(has_more && self.text("hasgroups").as_deref() != Some("false"))
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(object: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Claims;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Claims, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = object.next_entry()? {
                    members.push(member);
                }
                Ok(Claims(members))
            }
        }

        object.deserialize_map(MembersVisitor)
    }
}
