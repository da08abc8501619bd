//! Steps over the parts of a JSON text (RFC 8259), byte by byte.

use super::NotJson;

/// Returns the text behind whitespace, of which there are four characters (RFC 8259 §2), not all of
/// Unicode's.
#[inline]
pub(super) fn next(text: &[u8]) -> &[u8] {
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
pub(super) fn brackets(text: &[u8]) -> Result<&[u8], NotJson> {
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
pub(super) fn scalar(text: &[u8]) -> Result<&[u8], NotJson> {
    match text {
        [b'"', written @ ..] => quoted(written).map(|(_, _, behind)| behind),
        [b'-' | b'0'..=b'9', ..] => number(text),
        _ => word(text),
    }
}

#[inline]
pub(super) fn number(text: &[u8]) -> Result<&[u8], NotJson> {
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

pub(super) fn word(text: &[u8]) -> Result<&[u8], NotJson> {
    let words = [&b"true"[..], b"false", b"null"];
    let mut behind = words.iter().map(|word| text.strip_prefix(*word));
    behind.find_map(|rest| rest).ok_or(NotJson)
}

/// The properties of a string, found on the way to its end.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    pub(super) has_escapes: bool,
    pub(super) is_unicode: bool,
}

/// Reads a string behind its opening quote: to its closing one, and behind that.
#[inline]
pub(super) fn quoted(text: &[u8]) -> Result<(Marks, &[u8], &[u8]), NotJson> {
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
pub(super) fn unit(text: &[u8]) -> Result<(u16, &[u8]), NotJson> {
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

/// Returns the text from the next byte on that ends a string or cannot be in one as it is.
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

    /// Takes the innermost bracket away, and returns whether the one around it is an object; `None`
    /// behind the outermost.
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
