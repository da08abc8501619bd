//! A JSON text (RFC 8259) in its parts, each of them the piece of text that it is.
//!
//! A token is read before its signature holds, so that reading must cost little and keep nothing.
//! `serde_json` can skip a value that cheaply, but does not say where it stands, copies a string
//! that has escapes in order to look at it, and after a number such as `1e400`, half a surrogate
//! pair in a string, or the 128th bracket cannot go on. `RawValue` would say where a value stands,
//! but its feature holds for the whole program: in every other crate a `Value` takes an object with
//! a member of a certain name for a text to be read anew.
//!
//! What is JSON is for `serde_json` to say: the tests compare, and so does the fuzz target `claims`.

use std::borrow::Cow;

use crate::json_string::JsonStr;

/// The text is no JSON.
#[derive(Debug)]
pub(crate) struct NotJson;

/// The texts of an array's elements, in order. `None` if the text begins as another value.
pub(crate) fn elements(text: &str) -> Option<impl Iterator<Item = Result<&str, NotJson>>> {
    let mut parts = Parts::of(text, b'[', b']')?;
    Some(std::iter::from_fn(move || parts.next(Parts::value)))
}

/// The texts of the names and values of an object's members, in order. `None` if the text begins
/// as another value.
pub(crate) fn members(text: &str) -> Option<impl Iterator<Item = Result<(&str, &str), NotJson>>> {
    let mut parts = Parts::of(text, b'{', b'}')?;
    Some(std::iter::from_fn(move || parts.next(Parts::member)))
}

/// What a string says, from the text that it is as a part. `None` if the part is another value, or
/// if half a surrogate pair is in it: JSON allows that, but it is no Unicode.
pub(crate) fn string(text: &str) -> Option<Cow<'_, str>> {
    let mut reader = Reader::new(text);
    let quoted = reader.string().ok()?;
    let is_all = reader.rest.is_empty();
    (is_all && quoted.is_unicode).then(|| quoted.of(text).to_cow())
}

/// Reads a JSON text from its beginning to its end, and keeps nothing.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    rest: &'a [u8],
}

/// Where in its text a string stands, without the quotes.
#[derive(Clone, Copy)]
pub(crate) struct Quoted {
    start: usize,
    end: usize,
    has_escapes: bool,
    /// Half a surrogate pair is none.
    pub(crate) is_unicode: bool,
}

impl Quoted {
    /// The bytes between the quotes, and whether there are escapes among them.
    pub(crate) fn bytes_of(self, text: &str) -> (&[u8], bool) {
        let written = text.as_bytes().get(self.start..self.end);
        (written.unwrap_or_default(), self.has_escapes)
    }

    pub(crate) fn of(self, text: &str) -> JsonStr<'_> {
        let written = text.get(self.start..self.end).unwrap_or_default();
        JsonStr::new(written, self.has_escapes)
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            rest: text.as_bytes(),
        }
    }

    /// All of the text, of which the positions are.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// How many bytes were read.
    pub(crate) fn position(&self) -> usize {
        self.text.len().saturating_sub(self.rest.len())
    }

    /// The text of what was read, from that position on.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.position()).unwrap_or_default()
    }

    /// The first byte of what comes next.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        self.rest = next(self.rest);
        self.rest.first().copied()
    }

    #[inline]
    pub(crate) fn takes(&mut self, mark: u8) -> bool {
        let is_next = self.peek() == Some(mark);
        if is_next {
            self.advance();
        }
        is_next
    }

    /// Whether another part comes, in an array or object whose opening mark was taken: takes the
    /// comma before it, or the closing mark.
    #[inline]
    pub(crate) fn has_next(&mut self, close: u8, is_first: &mut bool) -> Result<bool, NotJson> {
        let is_first = std::mem::take(is_first);
        match self.peek() {
            Some(mark) if mark == close => {
                self.advance();
                Ok(false)
            }
            Some(b',') if !is_first => {
                self.advance();
                Ok(true)
            }
            Some(_) if is_first => Ok(true),
            _ => Err(NotJson),
        }
    }

    /// Nothing but whitespace is left.
    pub(crate) fn end(&mut self) -> Result<(), NotJson> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(NotJson),
        }
    }

    /// The name of a member, and the colon behind it.
    #[inline]
    pub(crate) fn name(&mut self) -> Result<Quoted, NotJson> {
        let name = self.string()?;
        if self.takes(b':') {
            Ok(name)
        } else {
            Err(NotJson)
        }
    }

    #[inline]
    pub(crate) fn string(&mut self) -> Result<Quoted, NotJson> {
        let [b'"', written @ ..] = next(self.rest) else {
            return Err(NotJson);
        };
        let (marks, end, rest) = quoted(written)?;
        self.rest = rest;
        let position = |rest: &[u8]| self.text.len().saturating_sub(rest.len());
        Ok(Quoted {
            start: position(written),
            end: position(end),
            has_escapes: marks.has_escapes,
            is_unicode: marks.is_unicode,
        })
    }

    pub(crate) fn number(&mut self) -> Result<(), NotJson> {
        self.rest = number(next(self.rest))?;
        Ok(())
    }

    /// `true`, `false` or `null`.
    pub(crate) fn word(&mut self) -> Result<(), NotJson> {
        self.rest = word(next(self.rest))?;
        Ok(())
    }

    /// Skips any value, however deep, without recursion.
    #[inline]
    pub(crate) fn skip(&mut self) -> Result<(), NotJson> {
        self.rest = match next(self.rest) {
            [b'[' | b'{', ..] => brackets(self.rest)?,
            value => scalar(value)?,
        };
        Ok(())
    }

    #[inline]
    fn advance(&mut self) {
        if let [_, rest @ ..] = self.rest {
            self.rest = rest;
        }
    }
}

/// What comes behind whitespace, of which there are four characters (RFC 8259 §2), not all of
/// Unicode's.
#[inline]
fn next(text: &[u8]) -> &[u8] {
    match text {
        [first, ..] if *first > b' ' => text,
        _ => behind_whitespace(text),
    }
}

fn behind_whitespace(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let [b' ' | b'\t' | b'\n' | b'\r', behind @ ..] = rest {
        rest = behind;
    }
    rest
}

/// What comes behind an array or object.
fn brackets(text: &[u8]) -> Result<&[u8], NotJson> {
    let mut around = Brackets::default();
    // The mark that closes the innermost bracket.
    let mut close = b'\0';
    let mut rest = text;
    loop {
        rest = match next(rest) {
            [open @ (b'[' | b'{'), behind @ ..] => {
                around.push(close == b'}');
                close = if *open == b'[' { b']' } else { b'}' };
                rest = next(behind);
                if rest.first() != Some(&close) {
                    if close == b'}' {
                        rest = name(rest)?;
                    }
                    continue;
                }
                rest
            }
            value => scalar(value)?,
        };
        // Behind a value: the next one, or the end of what it is in.
        loop {
            match next(rest) {
                [b',', behind @ ..] => {
                    rest = if close == b'}' {
                        name(next(behind))?
                    } else {
                        behind
                    };
                    break;
                }
                [mark, behind @ ..] if *mark == close => {
                    rest = behind;
                    close = match around.pop() {
                        None => return Ok(rest),
                        Some(true) => b'}',
                        Some(false) => b']',
                    };
                }
                _ => return Err(NotJson),
            }
        }
    }
}

/// What comes behind the name of a member and its colon.
#[inline]
fn name(text: &[u8]) -> Result<&[u8], NotJson> {
    let [b'"', written @ ..] = text else {
        return Err(NotJson);
    };
    let (_, _, behind) = quoted(written)?;
    match next(behind) {
        [b':', behind @ ..] => Ok(behind),
        _ => Err(NotJson),
    }
}

/// What comes behind a value that is neither an array nor an object.
#[inline]
fn scalar(text: &[u8]) -> Result<&[u8], NotJson> {
    match text {
        [b'"', written @ ..] => quoted(written).map(|(_, _, behind)| behind),
        [b'-' | b'0'..=b'9', ..] => number(text),
        _ => word(text),
    }
}

#[inline]
fn number(text: &[u8]) -> Result<&[u8], NotJson> {
    let whole = match text {
        [b'-', behind @ ..] => behind,
        _ => text,
    };
    let rest = match whole {
        // Nothing stands behind a zero at the beginning.
        [b'0', b'0'..=b'9', ..] => return Err(NotJson),
        [b'0', behind @ ..] => behind,
        _ => digits(whole)?,
    };
    match rest {
        [b'.' | b'e' | b'E', ..] => fraction(rest),
        _ => Ok(rest),
    }
}

fn fraction(text: &[u8]) -> Result<&[u8], NotJson> {
    let rest = match text {
        [b'.', behind @ ..] => digits(behind)?,
        _ => text,
    };
    match rest {
        [b'e' | b'E', b'+' | b'-', behind @ ..] | [b'e' | b'E', behind @ ..] => digits(behind),
        _ => Ok(rest),
    }
}

/// What comes behind one digit or more.
#[inline]
fn digits(text: &[u8]) -> Result<&[u8], NotJson> {
    let [b'0'..=b'9', rest @ ..] = text else {
        return Err(NotJson);
    };
    let mut rest = rest;
    while let [b'0'..=b'9', behind @ ..] = rest {
        rest = behind;
    }
    Ok(rest)
}

fn word(text: &[u8]) -> Result<&[u8], NotJson> {
    let words = [&b"true"[..], b"false", b"null"];
    let mut behind = words.iter().map(|word| text.strip_prefix(*word));
    behind.find_map(|rest| rest).ok_or(NotJson)
}

/// What was seen of a string on the way to its end.
#[derive(Clone, Copy)]
struct Marks {
    has_escapes: bool,
    is_unicode: bool,
}

/// Reads a string behind its opening quote: to its closing one, and behind that.
#[inline]
fn quoted(text: &[u8]) -> Result<(Marks, &[u8], &[u8]), NotJson> {
    let mut marks = Marks {
        has_escapes: false,
        is_unicode: true,
    };
    let mut rest = text;
    loop {
        rest = from_mark(rest);
        match rest {
            [b'"', behind @ ..] => return Ok((marks, rest, behind)),
            [b'\\', behind @ ..] => {
                let (is_unicode, behind) = escape(behind)?;
                marks.has_escapes = true;
                marks.is_unicode &= is_unicode;
                rest = behind;
            }
            _ => return Err(NotJson),
        }
    }
}

/// Reads an escape behind its backslash. Says whether it is Unicode, and what comes behind it.
#[inline]
fn escape(text: &[u8]) -> Result<(bool, &[u8]), NotJson> {
    match text {
        [
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
            rest @ ..,
        ] => Ok((true, rest)),
        [b'u', rest @ ..] => match unit(rest)? {
            (0xd800..=0xdbff, [b'\\', b'u', rest @ ..]) => {
                let (low, rest) = unit(rest)?;
                Ok((matches!(low, 0xdc00..=0xdfff), rest))
            }
            (0xd800..=0xdfff, rest) => Ok((false, rest)),
            (_, rest) => Ok((true, rest)),
        },
        _ => Err(NotJson),
    }
}

/// Reads the four hexadecimal digits of a UTF-16 code unit.
#[inline]
pub(crate) fn unit(text: &[u8]) -> Result<(u16, &[u8]), NotJson> {
    let (digits, rest) = text.split_first_chunk::<4>().ok_or(NotJson)?;
    let value = |digit: u8| HEX.get(usize::from(digit)).copied().unwrap_or(NO_DIGIT);
    let [a, b, c, d] = digits.map(|digit| u16::from(value(digit)));
    if (a | b | c | d) > 0xf {
        return Err(NotJson);
    }
    Ok((a << 12 | b << 8 | c << 4 | d, rest))
}

const NO_DIGIT: u8 = 0xff;

/// The value of each hexadecimal digit. Looked up, as a token can be nothing but escapes.
#[expect(clippy::indexing_slicing, reason = "in bounds, or it does not compile")]
static HEX: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut digit = 0_u8;
    while digit < u8::MAX {
        values[digit as usize] = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => NO_DIGIT,
        };
        digit += 1;
    }
    values
};

/// What stands from the next byte on that ends a string or cannot be in one as it is.
#[inline]
fn from_mark(text: &[u8]) -> &[u8] {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);
    const SPACES: u64 = u64::from_le_bytes([b' '; 8]);

    let mut rest = text;
    while let Some((chunk, behind)) = rest.split_first_chunk::<8>() {
        // Eight bytes at once: of each that is a mark, and up to the first one of no other, the
        // highest bit is borrowed from.
        let word = u64::from_le_bytes(*chunk);
        let borrowed = (word ^ QUOTES).wrapping_sub(ONES)
            | (word ^ BACKSLASHES).wrapping_sub(ONES)
            | word.wrapping_sub(SPACES);
        let marks = borrowed & !word & HIGH;
        if marks != 0 {
            let before = (marks.trailing_zeros() / 8) as usize;
            return rest.get(before..).unwrap_or_default();
        }
        rest = behind;
    }
    let is_mark = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
    let before = rest.iter().position(is_mark).unwrap_or(rest.len());
    rest.get(before..).unwrap_or_default()
}

/// The brackets around the innermost one, at one bit each: a token can be nothing but brackets.
#[derive(Default)]
struct Brackets {
    depth: usize,
    /// The last up to 64, the innermost in the lowest bit.
    last: u64,
    before: Vec<u64>,
}

impl Brackets {
    #[inline]
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth % 64 == 0 {
            self.before.push(self.last);
        }
        self.last = self.last << 1 | u64::from(is_object);
        self.depth = self.depth.wrapping_add(1);
    }

    /// Whether the innermost one is an object; `None` behind the outermost.
    #[inline]
    fn pop(&mut self) -> Option<bool> {
        let is_object = self.last & 1 == 1;
        self.last >>= 1;
        self.depth = self.depth.wrapping_sub(1);
        if self.depth == 0 {
            return None;
        }
        if self.depth % 64 == 0 {
            self.last = self.before.pop().unwrap_or_default();
        }
        Some(is_object)
    }
}

/// An array or object that is being cut up.
struct Parts<'a> {
    reader: Reader<'a>,
    close: u8,
    is_first: bool,
    has_ended: bool,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str, open: u8, close: u8) -> Option<Self> {
        let mut reader = Reader::new(text);
        reader.takes(open).then_some(Self {
            reader,
            close,
            is_first: true,
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
        let part = match self.reader.has_next(self.close, &mut self.is_first) {
            Ok(true) => Some(read(self)),
            Ok(false) => self.reader.end().err().map(Err),
            Err(NotJson) => Some(Err(NotJson)),
        };
        self.has_ended = !matches!(part, Some(Ok(_)));
        part
    }

    fn member(&mut self) -> Result<(&'a str, &'a str), NotJson> {
        self.reader.peek();
        let start = self.reader.position();
        self.reader.string()?;
        let name = self.reader.since(start);
        if !self.reader.takes(b':') {
            return Err(NotJson);
        }
        Ok((name, self.value()?))
    }

    fn value(&mut self) -> Result<&'a str, NotJson> {
        self.reader.peek();
        let start = self.reader.position();
        self.reader.skip()?;
        Ok(self.reader.since(start))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any};
    use proptest::prop_oneof;
    use proptest::sample::select;
    use proptest::test_runner::{Config, TestRunner};
    use serde::de::IgnoredAny;
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

    /// Pieces that make JSON now and then, and what nearly is JSON often.
    fn near_json() -> impl Strategy<Value = String> {
        let pieces = &[
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\"a\"",
            "\"b\":",
            "\\",
            "\\n",
            "\\u0041",
            "\\ud83d",
            "\\ude00",
            "\"\\u00e9é\"",
            "\"a long string of plain text\"",
            "0",
            "-",
            "-0",
            "12",
            "1.5",
            ".",
            "e",
            "e9",
            "E+9",
            "e-400",
            "1e400",
            "01",
            "true",
            "false",
            "null",
            "nul",
            " ",
            "\t",
            "\n",
            "\r",
            "\u{a0}",
            "\u{0}",
            "\u{7f}",
            "\u{feff}",
            "{}",
            "[]",
            "{\"x\":[1,{\"y\":null}]}",
        ][..];
        let piece = prop_oneof![
            12 => select(pieces).prop_map(str::to_owned),
            1 => any::<char>().prop_map(String::from),
        ];
        let pieces = proptest::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat());
        // As a value, and within each kind of bracket and string.
        (pieces, 0..6_usize).prop_map(|(pieces, place)| match place {
            0 => pieces,
            1 => format!("[{pieces}]"),
            2 => format!("{{\"a\":{pieces}}}"),
            3 => format!("\"{pieces}\""),
            4 => format!("[[{pieces}],0,\"{pieces}\"]"),
            _ => format!("{{{pieces}}}"),
        })
    }

    /// Whether all of it is one value.
    fn is_json(text: &str) -> bool {
        let mut reader = Reader::new(text);
        reader.skip().is_ok() && reader.end().is_ok()
    }

    #[test]
    fn what_is_json_is_what_serde_json_says() {
        let config = Config {
            cases: 20_000,
            failure_persistence: None,
            ..Config::default()
        };
        let counts = std::cell::Cell::new([0_u32; 2]);
        TestRunner::new(config)
            .run(&near_json(), |text| {
                let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
                proptest::prop_assert_eq!(is_json(&text), expected, "{:?}", text);
                if let Ok(Value::String(expected)) = serde_json::from_str(&text) {
                    let trimmed = text.trim_matches([' ', '\t', '\n', '\r']);
                    let found = string(trimmed);
                    proptest::prop_assert_eq!(found.as_deref(), Some(&*expected));
                }
                let mut found = counts.get();
                found[usize::from(expected)] += 1;
                counts.set(found);
                Ok(())
            })
            .unwrap();
        let [not, is] = counts.get();
        assert!(not > 2_000 && is > 2_000, "{not} {is}");
    }

    #[test]
    fn each_byte_of_a_string_is_looked_at_wherever_it_stands() {
        for length in 0..40 {
            for place in 0..=length {
                for byte in (0..0x80).chain([0xe9]) {
                    let mut text = "x".repeat(length);
                    text.insert(place, char::from(byte));
                    let text = format!("\"{text}\"");
                    let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
                    assert_eq!(is_json(&text), expected, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn brackets_close_in_the_order_in_which_they_opened_however_deep() {
        let open = |depth: usize, is_object: fn(usize) -> bool| -> (String, String) {
            let kinds = (0..depth).map(is_object);
            let (opened, closed): (Vec<_>, Vec<_>) = kinds
                .map(|is_object| {
                    if is_object {
                        ("{\"a\":", "}")
                    } else {
                        ("[", "]")
                    }
                })
                .unzip();
            (opened.concat(), closed.into_iter().rev().collect())
        };
        let patterns: [fn(usize) -> bool; 4] = [
            |_| true,
            |_| false,
            |level| level % 2 == 0,
            |level| level % 63 == 0 || level % 5 == 1,
        ];
        for depth in [1, 2, 63, 64, 65, 66, 127, 128, 129, 192, 193, 1_000] {
            for pattern in patterns {
                let (opened, closed) = open(depth, pattern);
                let text = format!("{opened}0{closed}");
                assert!(is_json(&text), "{depth}");
                assert!(is_json(&format!("[{text},{text}]")), "{depth}");
                assert!(!is_json(&format!("{opened}0{}", &closed[1..])), "{depth}");
                for wrong in 0..depth {
                    let mut closed = closed.clone();
                    let other = if &closed[wrong..=wrong] == "]" {
                        "}"
                    } else {
                        "]"
                    };
                    closed.replace_range(wrong..=wrong, other);
                    assert!(!is_json(&format!("{opened}0{closed}")), "{depth} {wrong}");
                }
            }
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
