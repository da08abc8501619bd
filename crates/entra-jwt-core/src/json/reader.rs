//! Reads a JSON text from its beginning to its end, and keeps nothing.

use super::NotJson;
use super::scan::{brackets, next, number, quoted, scalar, word};
use super::string::JsonStr;

/// Reads a JSON text from its beginning to its end, and keeps nothing.
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
    /// Half a surrogate pair is none.
    pub(crate) is_unicode: bool,
}

impl Quoted {
    /// Returns the bytes between the quotes, and whether there are escapes among them.
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

    /// Returns all of the text, of which the positions are.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// Returns the number of bytes that were read.
    pub(crate) fn position(&self) -> usize {
        self.text.len().saturating_sub(self.rest.len())
    }

    /// Returns the text of what was read, from that position on.
    pub(crate) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.position()).unwrap_or_default()
    }

    /// Returns the first byte of what comes next.
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

    /// Returns whether another part comes, in an array or object whose opening mark was taken:
    /// takes the comma before it, or the closing mark.
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
    pub(super) fn is_at_end(&self) -> bool {
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

    pub(crate) fn number(&mut self) -> Result<(), NotJson> {
        self.rest = number(next(self.rest))?;
        Ok(())
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
