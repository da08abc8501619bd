//! A JSON text (RFC 8259) in its parts, each of them the piece of text that it is.
//!
//! `serde_json` reads a value or fails for good: after a number such as `1e400`, half a surrogate
//! pair in a string, or the 128th bracket it cannot go on behind. What it can do with any value is
//! to skip it, without building anything and without recursion. So where one part must not cost
//! the others, the text is cut up by skipping, and only what is wanted is read, each by itself.
//! `RawValue` would do the same, but its feature holds for the whole program: in every other crate
//! a `Value` takes an object with a member of a certain name for a text to be read anew.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// The text is no JSON.
#[derive(Debug)]
pub(crate) struct NotJson;

/// The texts of an array's elements, in order. `None` if the text begins as another value.
pub(crate) fn elements(text: &str) -> Option<impl Iterator<Item = Result<&str, NotJson>>> {
    let mut parts = Parts::of(text, '[', ']')?;
    Some(std::iter::from_fn(move || parts.next(Parts::value)))
}

/// The texts of the names and values of an object's members, in order. `None` if the text begins
/// as another value.
pub(crate) fn members(text: &str) -> Option<impl Iterator<Item = Result<(&str, &str), NotJson>>> {
    let mut parts = Parts::of(text, '{', '}')?;
    Some(std::iter::from_fn(move || parts.next(Parts::member)))
}

/// What a string says, from the text that it is as a part. `None` if the part is another value, or
/// if half a surrogate pair is in it: JSON allows that, but it is no Unicode.
pub(crate) fn string(text: &str) -> Option<Cow<'_, str>> {
    let between = text.strip_prefix('"')?.strip_suffix('"')?;
    if between.contains('\\') {
        serde_json::from_str(text).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(between))
    }
}

/// An array or object that is being cut up.
struct Parts<'a> {
    rest: &'a str,
    close: char,
    has_begun: bool,
    has_ended: bool,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str, open: char, close: char) -> Option<Self> {
        let rest = without_whitespace(text).strip_prefix(open)?;
        Some(Self {
            rest,
            close,
            has_begun: false,
            has_ended: false,
        })
    }

    /// The next part. Nothing comes behind the end, nor behind what is no JSON.
    fn next<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, NotJson>,
    ) -> Option<Result<T, NotJson>> {
        if self.has_ended {
            return None;
        }
        let part = match self.has_next() {
            Ok(true) => Some(read(self)),
            Ok(false) => None,
            Err(NotJson) => Some(Err(NotJson)),
        };
        self.has_begun = true;
        self.has_ended = !matches!(part, Some(Ok(_)));
        part
    }

    fn has_next(&mut self) -> Result<bool, NotJson> {
        if self.has_begun && self.takes(',') {
            return Ok(true);
        }
        if self.takes(self.close) {
            return match without_whitespace(self.rest) {
                "" => Ok(false),
                _ => Err(NotJson),
            };
        }
        if self.has_begun {
            return Err(NotJson);
        }
        Ok(true)
    }

    fn member(&mut self) -> Result<(&'a str, &'a str), NotJson> {
        let name = self.value()?;
        if !name.starts_with('"') || !self.takes(':') {
            return Err(NotJson);
        }
        Ok((name, self.value()?))
    }

    fn value(&mut self) -> Result<&'a str, NotJson> {
        let text = without_whitespace(self.rest);
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
        let Some(Ok(IgnoredAny)) = values.next() else {
            return Err(NotJson);
        };
        let (value, rest) = text.split_at_checked(values.byte_offset()).ok_or(NotJson)?;
        self.rest = rest;
        Ok(value)
    }

    fn takes(&mut self, mark: char) -> bool {
        self.rest = without_whitespace(self.rest);
        let behind = self.rest.strip_prefix(mark);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }
}

/// Whitespace before a value is four characters (RFC 8259 §2), not all of Unicode's.
fn without_whitespace(text: &str) -> &str {
    text.trim_start_matches([' ', '\t', '\n', '\r'])
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn elements_of(text: &str) -> Result<Vec<&str>, NotJson> {
        elements(text).ok_or(NotJson)?.collect()
    }

    fn members_of(text: &str) -> Result<Vec<(&str, &str)>, NotJson> {
        members(text).ok_or(NotJson)?.collect()
    }

    #[test]
    fn each_part_is_the_text_that_it_is() {
        let text = " [ 1e400 ,\"\\ud800\", [ [\"]\" ] ] ,{\"a\" : {} },null,-0.5e-1\n]\t";
        assert_eq!(
            elements_of(text).unwrap(),
            [
                "1e400",
                "\"\\ud800\"",
                "[ [\"]\" ] ]",
                "{\"a\" : {} }",
                "null",
                "-0.5e-1"
            ]
        );
        let text = "{ \"a\" :1 , \"\\\"}\":\"{\\\\\" ,\"a\":[ ]}";
        assert_eq!(
            members_of(text).unwrap(),
            [("\"a\"", "1"), ("\"\\\"}\"", "\"{\\\\\""), ("\"a\"", "[ ]")]
        );
        assert!(elements_of("[ ]").unwrap().is_empty());
        assert!(members_of("{\r\n}").unwrap().is_empty());
    }

    #[test]
    fn a_part_may_be_as_deep_as_it_likes() {
        let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(elements_of(&format!("[{deep},0]")).unwrap(), [&deep, "0"]);
    }

    #[test]
    fn what_is_no_json_ends_in_one_error() {
        for text in [
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1]]",
            "[1}",
            "[1]x",
            "[01]",
            "[1.]",
            "[nul]",
            "[\"\n\"]",
            "[\"\\x\"]",
            "[\"\\ud8\"]",
            "[[1]",
            "[{]",
            "[\u{a0}1]",
            "[NaN]",
            "[1e]",
            "[1][2]",
        ] {
            let mut parts = elements(text).unwrap();
            assert!(parts.any(|part| part.is_err()), "{text}");
            assert!(parts.next().is_none(), "{text}");
            assert!(serde_json::from_str::<IgnoredAny>(text).is_err(), "{text}");
        }
        for text in [
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{\"a\",1}",
            "{\"a\" 1}",
            "{a:1}",
            "{1:1}",
            "{[]:1}",
            "{\"a\":1]",
            "{\"a\":1}}",
            "{\"a\":1 \"b\":2}",
        ] {
            let mut parts = members(text).unwrap();
            assert!(parts.any(|part| part.is_err()), "{text}");
            assert!(parts.next().is_none(), "{text}");
            assert!(serde_json::from_str::<IgnoredAny>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn another_value_has_no_such_parts() {
        for text in ["", "null", "1", "\"[]\"", "{}", "\u{feff}[]"] {
            assert!(elements(text).is_none(), "{text}");
        }
        for text in ["", "null", "1", "\"{}\"", "[]", "\u{feff}{}"] {
            assert!(members(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_string_is_what_serde_json_says_and_nothing_else_is_one() {
        for text in [
            "\"\"",
            "\"a\"",
            "\"\\u006bid\\n\"",
            "\"\\ud83d\\ude00\"",
            "\"é\"",
        ] {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(string(text).as_deref(), expected.as_str(), "{text}");
        }
        for text in [
            "",
            "a",
            "null",
            "1e400",
            "[\"a\"]",
            "{}",
            "\"\\ud800\"",
            "\"\\udc00a\"",
        ] {
            assert_eq!(string(text), None, "{text}");
        }
    }
}
