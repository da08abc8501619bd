//! Strings of a JSON text, compared without a copy.

use std::borrow::Cow;

use super::{Quoted, unit};

impl Quoted {
    /// Returns the string, taken from the text in which it was read.
    ///
    /// The string must be Unicode: no half of a surrogate pair may be alone in it.
    pub(crate) fn of(self, text: &str) -> JsonStr<'_> {
        JsonStr {
            written: text.get(self.start..self.end).unwrap_or_default(),
            has_escapes: self.has_escapes,
        }
    }

    /// Returns the bytes of the string's value, as a slice of the text or copied into the buffer.
    ///
    /// Only a string with escapes is copied. Returns `None` if it does not fit into the buffer.
    #[inline]
    pub(crate) fn bytes_within<'b, const LENGTH: usize>(
        self,
        text: &'b str,
        buffer: &'b mut [u8; LENGTH],
    ) -> Option<&'b [u8]> {
        let written = text.as_bytes().get(self.start..self.end);
        let written = written.unwrap_or_default();
        if self.has_escapes {
            unescaped_within(written, buffer)
        } else {
            Some(written)
        }
    }
}

/// A string of a JSON text, without its quotes, compared by its value.
#[derive(Clone, Copy)]
pub(crate) struct JsonStr<'a> {
    written: &'a str,
    has_escapes: bool,
}

impl<'a> JsonStr<'a> {
    /// Maximum number of characters that [`short`](Self::short) copies. Every text with which a
    /// token's text is compared is shorter.
    pub(crate) const SHORT: usize = 1_024;

    /// Returns the text as it is written, if it has no escapes.
    pub(crate) fn plain(self) -> Option<&'a str> {
        (!self.has_escapes).then_some(self.written)
    }

    /// Returns the text, copied if it is written with escapes.
    pub(crate) fn to_cow(self) -> Cow<'a, str> {
        match self.plain() {
            Some(text) => Cow::Borrowed(text),
            None => {
                let mut text = String::with_capacity(self.written.len());
                text.extend(self.chars());
                Cow::Owned(text)
            }
        }
    }

    /// Returns the text for a comparison with a shorter one.
    ///
    /// The function copies only the beginning of an untrusted text with escapes. `…` marks that
    /// the text goes on.
    pub(crate) fn short(self) -> Cow<'a, str> {
        match self.plain() {
            Some(text) => Cow::Borrowed(text),
            None => {
                let mut characters = self.chars();
                let mut text: String = characters.by_ref().take(Self::SHORT).collect();
                if characters.next().is_some() {
                    text.push('…');
                }
                Cow::Owned(text)
            }
        }
    }

    /// Returns the text, copied into the caller's buffer, or `None` if it does not fit.
    pub(crate) fn within<const LENGTH: usize>(self, buffer: &mut [u8; LENGTH]) -> Option<&str> {
        let text = unescaped_within(self.written.as_bytes(), buffer)?;
        std::str::from_utf8(text).ok()
    }

    /// Returns whether the text has at least one byte and at most `max` bytes.
    pub(crate) fn is_bounded(self, max: usize) -> bool {
        match self.plain() {
            Some(text) => !text.is_empty() && text.len() <= max,
            None => {
                // A character has at least one byte, so more than `max` characters are too long.
                let characters = self.chars().take(max.saturating_add(1));
                let length: usize = characters.map(char::len_utf8).sum();
                (1..=max).contains(&length)
            }
        }
    }

    fn chars(self) -> impl Iterator<Item = char> {
        let mut written = self.written.chars();
        std::iter::from_fn(move || match written.next()? {
            '\\' => {
                let (character, behind) = unescaped(written.as_str().as_bytes())?;
                // An escape is ASCII, so a character begins behind it.
                let read = written.as_str().len().checked_sub(behind.len())?;
                written = written.as_str().get(read..)?.chars();
                Some(character)
            }
            character => Some(character),
        })
    }
}

impl PartialEq<str> for JsonStr<'_> {
    fn eq(&self, text: &str) -> bool {
        match self.plain() {
            Some(plain) => plain == text,
            None => self.chars().eq(text.chars()),
        }
    }
}

/// Returns the bytes of a string's value, copied into the caller's buffer, or `None` if they do not
/// fit.
///
/// The function is not inlined, so that its caller is: few names are written with escapes.
#[inline(never)]
fn unescaped_within<'b, const LENGTH: usize>(
    written: &[u8],
    buffer: &'b mut [u8; LENGTH],
) -> Option<&'b [u8]> {
    // The longest escape of a byte has six bytes.
    if written.len() > LENGTH.saturating_mul(6) {
        return None;
    }
    let mut rest = written;
    let mut length = 0_usize;
    while let [first, behind @ ..] = rest {
        if *first == b'\\' {
            let (character, behind) = unescaped(behind)?;
            let end = length.wrapping_add(character.len_utf8());
            character.encode_utf8(buffer.get_mut(length..end)?);
            (length, rest) = (end, behind);
        } else {
            *buffer.get_mut(length)? = *first;
            (length, rest) = (length.wrapping_add(1), behind);
        }
    }
    buffer.get(..length)
}

/// Returns the character of an escape whose backslash was read, and the text behind the escape
/// (RFC 8259 §7).
fn unescaped(text: &[u8]) -> Option<(char, &[u8])> {
    let (escape, rest) = text.split_first()?;
    let character = match escape {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(rest),
        itself => char::from(*itself),
    };
    Some((character, rest))
}

fn unicode(text: &[u8]) -> Option<(char, &[u8])> {
    let (high, rest) = unit(text).ok()?;
    match (char::from_u32(high.into()), rest) {
        (Some(character), _) => Some((character, rest)),
        (None, [b'\\', b'u', rest @ ..]) => {
            let (low, rest) = unit(rest).ok()?;
            let character = char::decode_utf16([high, low]).next()?.ok()?;
            Some((character, rest))
        }
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 9] = [
        r#""""#,
        r#""plain é""#,
        r#""\u006bid""#,
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\u0000\uFFFF\uffff""#,
        r#""\ud83d\ude00!""#,
        r#""\uD83D\uDE00""#,
        r#""a\u00e9é\u20ac""#,
        r#""\\u0041""#,
    ];

    fn of(text: &str) -> JsonStr<'_> {
        let quoted = super::super::Reader::new(text).string().unwrap();
        assert!(quoted.is_unicode);
        quoted.of(text)
    }

    #[test]
    fn a_string_says_what_serde_json_says() {
        for text in TEXTS {
            let expected: String = serde_json::from_str(text).unwrap();
            let found = of(text);
            assert_eq!(found.to_cow(), expected);
            assert_eq!(found.short(), expected);
            assert!(found == *expected);
            assert!(found != *format!("{expected}x"));
            assert_eq!(found.within(&mut [0; 32]), Some(&*expected), "{text}");
            assert_eq!(found.is_bounded(32), !expected.is_empty());
        }
    }

    #[test]
    fn a_long_string_is_copied_no_further_than_it_is_compared() {
        let long = format!(r#""\u0061{}""#, "é".repeat(5_000));
        let short = of(&long).short();
        assert_eq!(short.chars().count(), 1_025);
        assert!(short.ends_with('…'));
        assert_eq!(of(&long).to_cow().chars().count(), 5_001);
        let whole = format!(r#""\u0061{}""#, "é".repeat(1_023));
        assert!(!of(&whole).short().ends_with('…'));

        assert_eq!(of(r#""\u0061bc""#).within(&mut [0; 3]), Some("abc"));
        assert_eq!(of(r#""\u0061bcd""#).within(&mut [0; 3]), None);
        assert_eq!(of(r#""ab\u00e9""#).within(&mut [0; 3]), None);
        assert!(of(r#""\u0061\u00e9""#).is_bounded(3));
        assert!(!of(r#""\u0061\u00e9""#).is_bounded(2));
        assert!(!of(r#""abc""#).is_bounded(2) && of(r#""abc""#).is_bounded(3));
    }
}
