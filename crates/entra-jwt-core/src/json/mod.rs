//! A JSON text (RFC 8259) in its parts, each of them the piece of text that it is.
//!
//! A token is read before its signature holds, so that reading must cost little and keep nothing.
//! `serde_json` can skip a value that cheaply, but does not say where it stands, copies a string
//! that has escapes in order to look at it, and after a number such as `1e400`, half a surrogate
//! pair in a string, or the 128th bracket cannot go on. `RawValue` would say where a value stands,
//! but its feature holds for the whole program: in every other crate a `Value` takes an object with
//! a member of a certain name for a text to be read anew.
//!
//! `serde_json` decides which texts are JSON: the tests compare, and so does the fuzz target `claims`.

mod reader;
mod scan;
mod string;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub(crate) use self::reader::{Quoted, Reader};
pub(crate) use self::string::{JsonStr, unescaped_within};

/// The text is no JSON.
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

/// Returns the text of the value of the member of this name, the last one if there are several. `None`
/// if there is none, or the text is no object.
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

/// Returns the text that a string says, from the text that it is as a part. `None` if the part is
/// another value, or if half a surrogate pair is in it: JSON allows that, but it is no Unicode.
pub(crate) fn string(text: &str) -> Option<Cow<'_, str>> {
    let mut reader = Reader::new(text);
    let quoted = reader.string().ok()?;
    let is_all = reader.is_at_end();
    (is_all && quoted.is_unicode).then(|| quoted.of(text).to_cow())
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

    /// Returns the next part. Nothing comes behind the end, nor behind what is no JSON.
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
