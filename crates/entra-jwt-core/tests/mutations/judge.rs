//! The default policy of the reference (`entra-rules.md` §9), implemented a second time on
//! [`Value`]s.
//!
//! The implementation is simple and slow and has no remedies. Its author is not the author of the
//! crate.

use serde_json::{Map, Value};

use crate::change::CONSUMERS;

/// The tenants whose tokens are accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Admitted {
    Home,
    Organizations,
    Common,
}

/// The settings by which a token is validated.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) home: &'a str,
    pub(crate) admitted: Admitted,
    pub(crate) accepts_v1: bool,
    /// Accepted audiences, without a slash at the end.
    pub(crate) audiences: &'a [&'a str],
    /// The JWKS document.
    pub(crate) keys: &'a Value,
    /// Time in seconds since 1970.
    pub(crate) now: f64,
}

/// A rule that the token breaks.
type Broken = &'static str;

type Members = Map<String, Value>;

const SKEW: f64 = 300.0;

/// The last second of the year 9999.
const LATEST: f64 = 253_402_300_799.0;

impl Judge<'_> {
    /// Applies steps 2 to 10 of the table to a well-formed token that is signed by the key it
    /// names.
    ///
    /// Step 1 and the signature do not depend on the content of the token.
    pub(crate) fn judge(&self, header: &Members, claims: &Members) -> Result<(), Broken> {
        check_header(header)?;
        let key = self.key(header)?;
        check_types(claims)?;
        self.check_lifetime(claims)?;
        let (tenant, issuer) = self.check_issuer(claims)?;
        check_key(key, tenant, issuer)?;
        self.check_audience(claims)?;
        check_kind(claims)
    }

    /// Returns the key that the token names (step 4).
    fn key(&self, header: &Members) -> Result<&Value, Broken> {
        let keys = self.keys["keys"].as_array().unwrap();
        keys.iter()
            .find(|key| key["kid"] == header["kid"])
            .ok_or("unknown kid")
    }

    /// Checks the lifetime (step 6, with §2.6). A time exactly at the edge of the skew passes.
    fn check_lifetime(&self, claims: &Members) -> Result<(), Broken> {
        let exp = time(claims, "exp")?.ok_or("exp is required")?;
        let nbf = time(claims, "nbf")?;
        time(claims, "iat")?;
        if nbf.is_some_and(|nbf| nbf > exp) {
            return Err("nbf > exp");
        }
        if exp < self.now - SKEW {
            return Err("expired");
        }
        if nbf.is_some_and(|nbf| nbf > self.now + SKEW) {
            return Err("too early");
        }
        Ok(())
    }

    /// Returns the only `tid` and the issuer that belongs to it (step 7).
    fn check_issuer<'c>(&self, claims: &'c Members) -> Result<(&'c str, &'c str), Broken> {
        let tenants = claims.keys().filter(|name| name.to_lowercase() == "tid");
        if tenants.count() != 1 {
            return Err("no single tid");
        }
        let tenant = string(claims, "tid")?.ok_or("tid is required")?;
        let issuer = string(claims, "iss")?.ok_or("iss is required")?;
        if !is_lower_case_guid(tenant) {
            return Err("tid is no GUID");
        }
        let is_v2 = issuer == format!("https://login.microsoftonline.com/{tenant}/v2.0");
        let is_v1 = issuer == format!("https://sts.windows.net/{tenant}/");
        let is_admitted = match self.admitted {
            Admitted::Home => tenant == self.home,
            Admitted::Organizations => tenant != CONSUMERS,
            Admitted::Common => true,
        };
        match (is_v2 || is_v1, is_admitted) {
            (false, _) => Err("wrong issuer"),
            (true, false) => Err("tenant not admitted"),
            (true, true) if is_v1 && !self.accepts_v1 => Err("v1"),
            (true, true) => Ok((tenant, issuer)),
        }
    }

    /// Checks the audience (step 9, with §2.7). One slash at the end is tolerated after a scheme.
    fn check_audience(&self, claims: &Members) -> Result<(), Broken> {
        let audience = string(claims, "aud")?.ok_or("aud is required")?;
        let without_slash = match audience.strip_suffix('/') {
            Some(rest) if audience.contains("://") => rest,
            _ => audience,
        };
        let is_ours = self.audiences.contains(&without_slash);
        if is_ours {
            Ok(())
        } else {
            Err("wrong audience")
        }
    }
}

/// Checks the header (step 2).
fn check_header(header: &Members) -> Result<(), Broken> {
    for member in ["crit", "b64", "zip", "enc", "nonce"] {
        if header.contains_key(member) {
            return Err(member);
        }
    }
    if header.get("alg") != Some(&Value::from("RS256")) {
        return Err("alg");
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(typ)) if typ.eq_ignore_ascii_case("JWT") => {}
        Some(_) => return Err("typ"),
    }
    match header.get("kid") {
        Some(Value::String(_)) => Ok(()),
        _ => Err("kid"),
    }
}

/// Checks that each claim on which a decision depends has the type that Entra writes (§1.3).
fn check_types(claims: &Members) -> Result<(), Broken> {
    for name in ["azp", "appid", "oid"] {
        let is_guid = |text: &str| is_lower_case_guid(&text.to_lowercase());
        if string(claims, name)?.is_some_and(|text| !is_guid(text)) {
            return Err("not a GUID");
        }
    }
    for name in [
        "sub",
        "scp",
        "idtyp",
        "idp",
        "xms_idrel",
        "xms_act_fct",
        "xms_sub_fct",
    ] {
        string(claims, name)?;
    }
    for name in ["roles", "groups", "acrs", "xms_cc"] {
        match claims.get(name) {
            None => {}
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => {}
            Some(_) => return Err("not a list of strings"),
        }
    }
    if !matches!(claims.get("_claim_names"), None | Some(Value::Object(_))) {
        return Err("_claim_names is no object");
    }
    match claims.get("acct") {
        None => Ok(()),
        Some(Value::Number(number)) if number.is_i64() => Ok(()),
        Some(_) => Err("acct is no integer"),
    }
}

/// Checks the key's issuer and cloud (step 8, with §2.5). A key without the member passes.
fn check_key(key: &Value, tenant: &str, issuer: &str) -> Result<(), Broken> {
    let v2_issuer = format!("https://login.microsoftonline.com/{tenant}/v2.0");
    if let Some(template) = key["issuer"].as_str().filter(|text| !text.is_empty()) {
        let may_sign_for = template.replace("{tenantid}", tenant);
        if may_sign_for != issuer && may_sign_for != v2_issuer {
            return Err("key of another issuer");
        }
    }
    match key["cloud_instance_name"].as_str() {
        None | Some("" | "microsoftonline.com") => Ok(()),
        Some(_) => Err("key of another cloud"),
    }
}

/// Checks that the token is neither bound to a key (`cnf`) nor an id token (step 10, §1.8).
fn check_kind(claims: &Members) -> Result<(), Broken> {
    for mark in ["cnf", "nonce", "c_hash", "at_hash"] {
        if claims.contains_key(mark) {
            return Err(mark);
        }
    }
    if claims.contains_key("azp") || claims.contains_key("appid") {
        Ok(())
    } else {
        Err("no client")
    }
}

/// Returns whether the token may be that of an application with its own identity (step 10, §1.5),
/// even without a service principal (§1.6).
pub(crate) fn may_be_app_only(claims: &Members) -> bool {
    let text = |name| claims.get(name).and_then(Value::as_str);
    let is_same = match (text("oid"), text("sub")) {
        (Some(oid), Some(sub)) => oid.eq_ignore_ascii_case(sub),
        _ => false,
    };
    let has_no_principal = !claims.contains_key("oid") && !has_scope_or_role(claims);
    match claims.get("idtyp") {
        Some(kind) => kind == "app",
        None => is_same || has_no_principal,
    }
}

/// Returns whether the token permits anything at all (step 10).
pub(crate) fn has_scope_or_role(claims: &Members) -> bool {
    let roles = claims.get("roles").and_then(Value::as_array);
    let is_blank = |role: &Value| role.as_str().unwrap_or_default().trim().is_empty();
    has_scope(claims) || roles.is_some_and(|roles| !roles.iter().all(is_blank))
}

/// Returns whether the token has a scope; blank scopes and `"/"` do not count (§1.7).
fn has_scope(claims: &Members) -> bool {
    let scopes = claims.get("scp").and_then(Value::as_str).unwrap_or("");
    let mut scopes = scopes.split(' ');
    scopes.any(|scope| !scope.trim().is_empty() && scope != "/")
}

fn string<'c>(claims: &'c Members, name: &str) -> Result<Option<&'c str>, Broken> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("not a string"),
    }
}

fn time(claims: &Members, name: &str) -> Result<Option<f64>, Broken> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => match number.as_f64() {
            // Fractions of a second are dropped, as Microsoft's validator does.
            Some(time) if time.abs() <= LATEST => Ok(Some(time.floor())),
            _ => Err("beyond the year 9999"),
        },
        Some(_) => Err("not a number"),
    }
}

fn is_lower_case_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    lengths == [8, 4, 4, 4, 12] && groups.concat().bytes().all(is_hex)
}
