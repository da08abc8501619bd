//! Splits a JSON text (RFC 8259) into its parts, each of them a slice of the text.
//!
//! A token is read before its signature is verified, so reading must cost little and keep nothing.
//! `serde_json` can skip a value that cheaply, but it does not suffice:
//!
//! - It does not say where the value is.
//! - It copies a string that has escapes in order to look at it.
//! - It cannot go on after a number such as `1e400`, half a surrogate pair in a string, or the
//!   128th bracket.
//!
//! `RawValue` would say where a value is, but its feature applies to the whole program. With it, a
//! `Value` in every other crate takes an object with a member of a certain name for a text to be
//! parsed again.
//!
//! `serde_json` is the reference for which texts are JSON: the tests and the fuzz target `claims`
//! compare with it.

mod string;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub(crate) use self::string::JsonStr;

/// The text is not JSON.
#[derive(Debug)]
pub(crate) struct NotJson;

/// Returns the texts of an array's elements, in order. `None` if the text begins as another value.
pub(crate) fn elements(text: &str) -> Option<impl Iterator<Item = Result<&str, NotJson>>> {
    let mut parts = Parts::of(text, b'[', b']')?;
    Some(std::iter::from_fn(move || parts.next(Parts::value)))
}

/// Returns the texts of the names and values of an object's members, in order. `None` if the text
/// begins as another value.
pub(crate) fn members(text: &str) -> Option<impl Iterator<Item = Result<(&str, &str), NotJson>>> {
    let mut parts = Parts::of(text, b'{', b'}')?;
    Some(std::iter::from_fn(move || parts.next(Parts::member)))
}

/// Returns the text of the value of the member named `wanted`, the last one if there are several.
/// `None` if there is no such member, or the text is not a JSON object.
pub(crate) fn member<'a>(object: &'a str, wanted: &str) -> Option<&'a str> {
    let mut found = None;
    for member in members(object)? {
        let (name, value) = member.ok()?;
        if string(name).is_some_and(|name| name == wanted) {
            found = Some(value);
        }
    }
    found
}

/// Returns the value of a string, from its JSON text.
///
/// Returns `None` if the text is another value, or if the string has half a surrogate pair: JSON
/// allows that, but it is not Unicode.
pub(crate) fn string(text: &str) -> Option<Cow<'_, str>> {
    let mut reader = Reader::new(text);
    let quoted = reader.string().ok()?;
    let is_all = reader.is_at_end();
    (is_all && quoted.is_unicode).then(|| quoted.of(text).to_cow())
}

/// An array or object that is being split into its parts.
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

    /// Returns the next part, or `None` after the end and after an error.
    fn next<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, NotJson>,
    ) -> Option<Result<T, NotJson>> {
        if self.has_ended {
            return None;
        }
        let part = match self.reader.next_part(self.close, &mut self.is_first) {
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

/// A reader of a JSON text from beginning to end, which keeps nothing.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    text: &'a str,
    rest: &'a [u8],
}

/// The position of a string in its text, without the quotes.
#[derive(Clone, Copy)]
pub(crate) struct Quoted {
    start: usize,
    end: usize,
    has_escapes: bool,
    /// Set unless the string has half a surrogate pair, which is not Unicode.
    pub(crate) is_unicode: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            rest: text.as_bytes(),
        }
    }

    /// Returns the whole text, to which the positions refer.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// Returns the number of bytes that were read so far.
    pub(crate) fn position(&self) -> usize {
        self.text.len().saturating_sub(self.rest.len())
    }

    /// Returns the text that was read from the position `start` on.
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.position()).unwrap_or_default()
    }

    /// Skips whitespace, and returns the next byte without reading it.
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

    /// Reads up to the next part of an array or object, and returns whether there is one.
    ///
    /// The opening mark must have been read. The method reads the comma before the part, or the
    /// closing mark.
    #[inline]
    pub(crate) fn next_part(&mut self, close: u8, is_first: &mut bool) -> Result<bool, NotJson> {
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

    /// Returns whether all of the text was read.
    fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Checks that nothing but whitespace is left.
    pub(crate) fn end(&mut self) -> Result<(), NotJson> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(NotJson),
        }
    }

    /// Reads the name of a member, and the colon behind it.
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

    /// Reads a number, and returns its text.
    pub(crate) fn number(&mut self) -> Result<&'a str, NotJson> {
        self.peek();
        let start = self.position();
        self.rest = number(self.rest)?;
        Ok(self.since(start))
    }

    /// Reads `true`, `false` or `null`.
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

/// Returns the text behind leading whitespace.
///
/// Whitespace is four characters (RFC 8259 §2), not all that Unicode has.
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

/// Returns the text behind an array or object.
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
        // Behind a value comes the next one, or the end of the array or object around it.
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

/// Returns the text behind the name of a member and its colon.
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

/// Returns the text behind a value that is neither an array nor an object.
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
        // No digit may follow a leading zero.
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

/// Returns the text behind one digit or more.
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

/// Properties of a string, found while reading to its end.
#[derive(Clone, Copy)]
struct Marks {
    has_escapes: bool,
    is_unicode: bool,
}

/// Reads a string behind its opening quote.
///
/// Returns its properties, the text from its closing quote on, and the text behind that quote.
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

/// Reads an escape behind its backslash. Returns whether the escape is Unicode, and the text behind
/// it.
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
fn unit(text: &[u8]) -> Result<(u16, &[u8]), NotJson> {
    let (digits, rest) = text.split_first_chunk::<4>().ok_or(NotJson)?;
    let value = |digit: u8| HEX.get(usize::from(digit)).copied().unwrap_or(NO_DIGIT);
    let [a, b, c, d] = digits.map(|digit| u16::from(value(digit)));
    if (a | b | c | d) > 0xf {
        return Err(NotJson);
    }
    Ok((a << 12 | b << 8 | c << 4 | d, rest))
}

const NO_DIGIT: u8 = 0xff;

/// Value of each hexadecimal digit. It is a table because a token can consist of escapes only.
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

/// Returns the text from the next mark on: a byte that ends a string, begins an escape, or cannot
/// be in a string unescaped.
#[inline]
fn from_mark(text: &[u8]) -> &[u8] {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; 8]);
    const SPACES: u64 = u64::from_le_bytes([b' '; 8]);

    let mut rest = text;
    while let Some((chunk, behind)) = rest.split_first_chunk::<8>() {
        // Tests eight bytes in one word. The subtractions set the highest bit of each byte that is
        // a mark. The borrow of a mark can also set the bit of a byte behind it, but never of one
        // before the first mark. So only the first bit that is set counts.
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

/// Stack of the brackets around the innermost one, at one bit each. A token can consist of brackets
/// only.
#[derive(Default)]
struct Brackets {
    depth: usize,
    /// The last brackets, up to 64, with the innermost in the lowest bit.
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

    /// Removes the innermost bracket. Returns whether the bracket around it is an object, or `None`
    /// if there is none.
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
