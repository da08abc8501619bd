//! The test of a claim's value, made while reading: nothing is kept of what somebody may have sent.

use serde_json::Value;

use crate::json;

/// Returns whether the member `name` of the object is `expected`, a text, number or boolean, or an array
/// with it.
pub(super) fn has_value(object: &str, name: &str, expected: &Value) -> bool {
    let Some(value) = json::member(object, name) else {
        return false;
    };
    match json::elements(value) {
        // An array within an array is no value of the claim.
        Some(mut elements) => elements.any(|element| element.is_ok_and(|it| is(it, expected))),
        None => is(value, expected),
    }
}

/// Returns whether a JSON text says a text, number or boolean. Not by serde_json's `Value`: how that holds
/// a number depends on the features that some crate of the tree turns on.
fn is(text: &str, expected: &Value) -> bool {
    match expected {
        Value::String(expected) => json::string(text).is_some_and(|text| text == **expected),
        Value::Bool(expected) => text == if *expected { "true" } else { "false" },
        Value::Number(_) => match ClaimNumber::of(text) {
            Some(ClaimNumber::Unsigned(number)) => expected.as_u64() == Some(number),
            Some(ClaimNumber::Signed(number)) => expected.as_i64() == Some(number),
            Some(ClaimNumber::Float(number)) => {
                expected.is_f64() && expected.as_f64() == Some(number)
            }
            None => false,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A number as serde_json tells them apart.
enum ClaimNumber {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl ClaimNumber {
    fn of(text: &str) -> Option<Self> {
        if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return None;
        }
        let float = || serde_json::from_str(text).map(Self::Float).ok();
        match (text.parse(), text.parse()) {
            (Ok(number), _) => Some(Self::Unsigned(number)),
            (_, Ok(number)) if text != "-0" => Some(Self::Signed(number)),
            _ => float(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_found_alone_or_in_an_array_and_nowhere_deeper() {
        let object =
            r#"{"a":"x","b":3,"c":-3,"d":1.5,"e":true,"f":["x",3,["y"]],"g":{"x":"x"},"h":null}"#;
        for (name, expected, found) in [
            ("a", json!("x"), true),
            ("a", json!("y"), false),
            ("b", json!(3), true),
            ("b", json!("3"), false),
            ("b", json!(3.0), false),
            ("c", json!(-3), true),
            ("d", json!(1.5), true),
            ("e", json!(true), true),
            ("e", json!(false), false),
            ("f", json!("x"), true),
            ("f", json!(3), true),
            ("f", json!("y"), false),
            ("g", json!("x"), false),
            ("h", json!("null"), false),
            ("i", json!("x"), false),
        ] {
            assert_eq!(
                has_value(object, name, &expected),
                found,
                "{name} {expected}"
            );
        }
        assert!(!has_value("[]", "a", &json!("x")));
    }
}
