//! Whether a claim has a value, told while reading: nothing is kept of what somebody may have sent.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Whether the member `name` of the object is `expected`, a text, number or boolean, or an array
/// with it.
pub(super) fn has_value(object: &str, name: &str, expected: &Value) -> bool {
    struct Object<'a> {
        name: &'a str,
        expected: &'a Value,
    }

    impl<'de> Visitor<'de> for Object<'_> {
        type Value = bool;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<bool, A::Error> {
            let mut found = false;
            while let Some(name) = object.next_key::<String>()? {
                if name == self.name {
                    found = object.next_value_seed(Matches {
                        expected: self.expected,
                        in_array: false,
                    })?;
                } else {
                    object.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }

    serde_json::Deserializer::from_str(object)
        .deserialize_map(Object { name, expected })
        .unwrap_or(false)
}

/// Reads any value and says whether it is the expected one.
struct Matches<'a> {
    expected: &'a Value,
    in_array: bool,
}

impl<'de> DeserializeSeed<'de> for Matches<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<bool, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Matches<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        Ok(self.expected.as_str() == Some(text))
    }

    fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
        Ok(self.expected.as_bool() == Some(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<bool, E> {
        Ok(self.expected.as_u64() == Some(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<bool, E> {
        Ok(self.expected.as_i64() == Some(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<bool, E> {
        Ok(self.expected.is_f64() && self.expected.as_f64() == Some(value))
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        let mut found = false;
        loop {
            // An array within an array is no value of the claim.
            let element = if self.in_array {
                elements.next_element::<IgnoredAny>()?.map(|_| false)
            } else {
                elements.next_element_seed(Matches {
                    expected: self.expected,
                    in_array: true,
                })?
            };
            match element {
                Some(matches) => found |= matches,
                None => return Ok(found),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(false)
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
