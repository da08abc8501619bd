//! Compares a claim with a required value while reading the payload, without storing what a client
//! sent.

use std::fmt;

use crate::json;

/// The required value of a claim: a text, a whole number or a boolean.
///
/// Texts, numbers and booleans convert into it as the second part of a [`Claim`](super::Claim):
/// `Claim("department", "sales")`, `Claim("level", 3)`, `Claim("active", true)`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimValue(Scalar);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Scalar {
    Text(String),
    Boolean(bool),
    Unsigned(u64),
    /// A negative number.
    Signed(i64),
}

impl ClaimValue {
    /// Returns whether the value is a text that is empty or has only white space.
    pub(super) fn is_blank(&self) -> bool {
        matches!(&self.0, Scalar::Text(text) if text.trim().is_empty())
    }
}

impl From<String> for ClaimValue {
    fn from(text: String) -> Self {
        Self(Scalar::Text(text))
    }
}

impl From<&str> for ClaimValue {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<&String> for ClaimValue {
    fn from(text: &String) -> Self {
        text.clone().into()
    }
}

impl From<bool> for ClaimValue {
    fn from(value: bool) -> Self {
        Self(Scalar::Boolean(value))
    }
}

impl From<u64> for ClaimValue {
    fn from(number: u64) -> Self {
        Self(Scalar::Unsigned(number))
    }
}

impl From<i64> for ClaimValue {
    fn from(number: i64) -> Self {
        match u64::try_from(number) {
            Ok(number) => number.into(),
            Err(_) => Self(Scalar::Signed(number)),
        }
    }
}

impl From<u32> for ClaimValue {
    fn from(number: u32) -> Self {
        u64::from(number).into()
    }
}

impl From<i32> for ClaimValue {
    fn from(number: i32) -> Self {
        i64::from(number).into()
    }
}

/// Writes the value as JSON.
impl fmt::Display for ClaimValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Scalar::Text(text) => serde_json::Value::from(text.as_str()).fmt(formatter),
            Scalar::Boolean(value) => value.fmt(formatter),
            Scalar::Unsigned(number) => number.fmt(formatter),
            Scalar::Signed(number) => number.fmt(formatter),
        }
    }
}

/// Returns whether the object's member `name` is `expected`, or an array that contains it.
pub(super) fn has_value(object: &str, name: &str, expected: &ClaimValue) -> bool {
    let Some(value) = json::member(object, name) else {
        return false;
    };
    match json::elements(value) {
        // An array within an array does not count as a value of the claim.
        Some(mut elements) => elements.any(|element| element.is_ok_and(|it| is(it, expected))),
        None => is(value, expected),
    }
}

/// Returns whether a JSON text is this value.
///
/// It does not use serde_json's `Value`: its number type depends on features that any crate in the
/// dependency tree can enable.
fn is(text: &str, expected: &ClaimValue) -> bool {
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    match &expected.0 {
        Scalar::Text(expected) => json::string(text).is_some_and(|text| text == **expected),
        Scalar::Boolean(expected) => text == if *expected { "true" } else { "false" },
        Scalar::Unsigned(expected) => is_number && text.parse() == Ok(*expected),
        Scalar::Signed(expected) => is_number && text.parse() == Ok(*expected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_alone_or_in_an_array_and_nowhere_deeper() {
        let object = r#"{"a":"x","b":3,"c":-3,"d":1.5,"e":true,"f":["x",3,["y"]],"g":{"x":"x"},"h":null,"k":3.0,"l":-0,
            "m":18446744073709551615,"n":-9223372036854775808}"#;
        for (name, expected, found) in [
            ("a", ClaimValue::from("x"), true),
            ("a", ClaimValue::from("y"), false),
            ("b", ClaimValue::from(3), true),
            ("b", ClaimValue::from("3"), false),
            ("c", ClaimValue::from(-3), true),
            ("d", ClaimValue::from(1), false),
            ("k", ClaimValue::from(3), false),
            ("l", ClaimValue::from(0), false),
            ("m", ClaimValue::from(u64::MAX), true),
            ("n", ClaimValue::from(i64::MIN), true),
            ("e", ClaimValue::from(true), true),
            ("e", ClaimValue::from(false), false),
            ("f", ClaimValue::from("x"), true),
            ("f", ClaimValue::from(3), true),
            ("f", ClaimValue::from("y"), false),
            ("g", ClaimValue::from("x"), false),
            ("h", ClaimValue::from("null"), false),
            ("i", ClaimValue::from("x"), false),
        ] {
            assert_eq!(
                has_value(object, name, &expected),
                found,
                "{name} {expected}"
            );
        }
        assert!(!has_value("[]", "a", &ClaimValue::from("x")));
    }
}
