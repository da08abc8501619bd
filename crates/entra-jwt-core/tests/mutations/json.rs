//! Other texts of a JSON object: duplicate members, and spellings with the same meaning.

use std::fmt::Write as _;

use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use serde_json::{Map, Value};

/// A duplicate of one member.
#[derive(Clone, Debug)]
pub(crate) struct Duplicate {
    member: Index,
    /// Value of the duplicate; `None` repeats the original value.
    value: Option<&'static str>,
    /// Bit mask of the characters of the name that are written as `\u…`.
    escaped: u32,
    /// `true` puts the duplicate before the other members, `false` after them.
    is_first: bool,
}

impl Duplicate {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let values = [
            "null",
            "0",
            "\"none\"",
            "[]",
            "{}",
            "\"6e74172b\"",
            "9999999999",
        ];
        let value = proptest::option::of(select(values.to_vec()));
        let escaped = prop_oneof![proptest::strategy::Just(0), any::<u32>()];
        (any::<Index>(), value, escaped, any::<bool>()).prop_map(
            |(member, value, escaped, is_first)| Self {
                member,
                value,
                escaped,
                is_first,
            },
        )
    }

    pub(crate) fn has_another_value(&self) -> bool {
        self.value.is_some()
    }

    /// Adds the duplicate to `object`, the text of a JSON object with at least one member.
    pub(crate) fn apply(&self, object: &str) -> String {
        let members: Map<String, Value> = serde_json::from_str(object).unwrap();
        let members: Vec<(&String, &Value)> = members.iter().collect();
        let (name, value) = self.member.get(&members);
        let value = self.value.map_or(value.to_string(), str::to_owned);
        let mut spelling = String::new();
        for (position, character) in name.chars().enumerate() {
            if self.escaped.rotate_right(position as u32) & 1 == 1 {
                write!(spelling, "\\u{:04x}", u32::from(character)).unwrap();
            } else {
                spelling.push(character);
            }
        }
        let inner = &object[1..object.len() - 1];
        if self.is_first {
            format!("{{\"{spelling}\":{value},{inner}}}")
        } else {
            format!("{{{inner},\"{spelling}\":{value}}}")
        }
    }
}

/// A way to write JSON.
#[derive(Clone, Debug)]
pub(crate) struct Spelling {
    /// White space between all tokens of the text.
    space: &'static str,
    /// Sort keys of the members, used in turn.
    order: Vec<u8>,
    escapes: Escapes,
    number: NumberForm,
}

#[derive(Clone, Copy, Debug)]
enum Escapes {
    None,
    /// Every character as `\u…` with lower-case hex digits.
    Lower,
    /// Every character as `\u…` with upper-case hex digits.
    Upper,
    /// Short escapes of one letter for `"` and `\`, and for `/`, which needs none.
    Short,
    /// Every second character as `\u…`.
    Some,
}

/// The form of an integer.
#[derive(Clone, Copy, Debug)]
enum NumberForm {
    Plain,
    /// `1.0`
    Fraction,
    /// `1e0`
    Exponent,
    /// `10E-1`
    NegativeExponent,
    /// `0.1e+1`
    PositiveExponent,
}

impl Spelling {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        (
            select(vec!["", " ", "\n", "\t", "\r\n  "]),
            proptest::collection::vec(any::<u8>(), 1..12),
            select(vec![
                Escapes::None,
                Escapes::Lower,
                Escapes::Upper,
                Escapes::Short,
                Escapes::Some,
            ]),
            select(vec![
                NumberForm::Plain,
                NumberForm::Fraction,
                NumberForm::Exponent,
                NumberForm::NegativeExponent,
                NumberForm::PositiveExponent,
            ]),
        )
            .prop_map(|(space, order, escapes, number)| Self {
                space,
                order,
                escapes,
                number,
            })
    }

    pub(crate) fn apply(&self, text: &str) -> String {
        let value: Value = serde_json::from_str(text).unwrap();
        format!("{0}{1}{0}", self.space, self.write(&value))
    }

    fn write(&self, value: &Value) -> String {
        let space = self.space;
        let between = format!("{space},{space}");
        match value {
            Value::Null | Value::Bool(_) => value.to_string(),
            Value::Number(number) => match number.as_i64() {
                Some(integer) => self.integer(integer),
                None => number.to_string(),
            },
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.write(item)).collect();
                format!("[{space}{}{space}]", items.join(&between))
            }
            Value::Object(members) => {
                let keys = self.order.iter().copied().cycle();
                let mut members: Vec<_> = keys.zip(members).collect();
                members.sort_by_key(|(key, _)| *key);
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(_, (name, value))| {
                        format!("{}{space}:{space}{}", self.string(name), self.write(value))
                    })
                    .collect();
                format!("{{{space}{}{space}}}", members.join(&between))
            }
        }
    }

    fn integer(&self, integer: i64) -> String {
        match self.number {
            NumberForm::Plain => integer.to_string(),
            NumberForm::Fraction => format!("{integer}.0"),
            NumberForm::Exponent => format!("{integer}e0"),
            NumberForm::NegativeExponent => format!("{integer}0E-1"),
            NumberForm::PositiveExponent => {
                let (tens, ones) = (integer / 10, integer.unsigned_abs() % 10);
                let sign = if integer < 0 && tens == 0 { "-" } else { "" };
                format!("{sign}{tens}.{ones}e+1")
            }
        }
    }

    fn string(&self, text: &str) -> String {
        let mut written = String::from("\"");
        for (position, character) in text.chars().enumerate() {
            match (self.escapes, character) {
                (Escapes::Lower, _) => escape(&mut written, character, false),
                (Escapes::Upper, _) => escape(&mut written, character, true),
                (Escapes::Some, _) if position % 2 == 0 => escape(&mut written, character, false),
                (Escapes::Short, '/' | '"' | '\\') | (_, '"' | '\\') => {
                    written.push('\\');
                    written.push(character);
                }
                (_, '\0'..' ') => escape(&mut written, character, false),
                _ => written.push(character),
            }
        }
        written.push('"');
        written
    }
}

fn escape(text: &mut String, character: char, upper: bool) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        if upper {
            write!(text, "\\u{unit:04X}").unwrap();
        } else {
            write!(text, "\\u{unit:04x}").unwrap();
        }
    }
}
