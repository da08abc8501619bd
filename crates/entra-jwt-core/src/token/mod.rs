//! Tokens: as [sent](Unverified), with nothing proven, and as [verified](AccessToken).
//!
//! ```
//! use std::time::SystemTime;
//!
//! use entra_jwt_core::token::Unverified;
//! use entra_jwt_core::{AccessToken, InvalidToken, KeySet, Validator};
//!
//! /// Verifies a token in two steps, so that a key can be fetched in between.
//! fn verify(rules: &Validator, keys: &KeySet, token: &str) -> Result<AccessToken, InvalidToken> {
//!     let now = SystemTime::now();
//!     let token = Unverified::parse(token)?;
//!     rules.precheck(&token, now)?;
//!     let key = keys.key(token.key_ref().key_id); // here, if there is none
//!     rules.verify(token, key, now)
//! }
//! ```

// This file has the types of members, which the whole module shares. Each member is read where it
// is in the text, and not copied. A `Member` holds its position, or its value if that is a number
// or a GUID. Texts are copied into owned values once the signature is verified.

mod access_token;
mod caller;
mod claims;
mod details;
mod groups;
mod object;
#[cfg(test)]
mod tests;
mod unverified;

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use self::access_token::AccessToken;
pub(crate) use self::caller::Grant;
pub use self::caller::{CallerId, CallerKind};
pub(crate) use self::claims::Claims;
pub use self::details::{ClientAuthentication, Details};
pub use self::groups::{GroupList, Groups};
pub use self::unverified::{KeyRef, Unverified};
pub use crate::authority::TokenVersion;
use crate::identifier::{ClientId, Guid, KeyId, ObjectId};
use crate::json::{JsonStr, NotJson, Quoted, Reader};

/// A member of a header or payload, read from an untrusted text.
trait Member: Copy {
    /// The expected type, for refusals: "expected {EXPECTED}".
    const EXPECTED: &'static str;

    /// The member's value, owned.
    type Owned: HeapSize;

    /// Reads the next value.
    ///
    /// If that is an array or object where another type is expected, nothing is read.
    fn read(value: &mut Reader<'_>) -> Result<Self, MemberError>;

    /// Returns the member's value, taken from the text in which it was read.
    fn own(self, text: &str) -> Self::Owned;
}

/// Cause of a failure to read a member.
#[derive(Debug)]
enum MemberError {
    /// The text is not JSON, or the value cannot be represented: half a surrogate pair, or a number
    /// that is too large.
    NotJson,
    /// The value has another type.
    WrongType,
}

impl From<NotJson> for MemberError {
    fn from(NotJson: NotJson) -> Self {
        Self::NotJson
    }
}

/// A value that may hold memory on the heap.
trait HeapSize {
    /// Returns the number of bytes that the value holds on the heap.
    fn heap_size(&self) -> usize {
        0
    }
}

impl HeapSize for () {}

impl HeapSize for Box<str> {
    fn heap_size(&self) -> usize {
        allocation(self.len())
    }
}

impl HeapSize for Box<[Box<str>]> {
    fn heap_size(&self) -> usize {
        let texts: usize = self.iter().map(HeapSize::heap_size).sum();
        texts.saturating_add(allocation(size_of_val::<[Box<str>]>(self)))
    }
}

impl HeapSize for Cow<'static, str> {
    fn heap_size(&self) -> usize {
        match self {
            Cow::Borrowed(_) => 0,
            Cow::Owned(text) => allocation(text.len()),
        }
    }
}

/// Returns the number of bytes that an allocation of `bytes` bytes takes: allocators keep a word
/// beside it, and round up.
const fn allocation(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        _ => bytes.saturating_add(8).next_multiple_of(16),
    }
}

/// Reads a value of the wrong type, and returns the error for it.
///
/// An array or object is left unread. If the value cannot be read as any type, the error is
/// [`MemberError::NotJson`], which is graver.
#[cold]
fn wrong_type(value: &mut Reader<'_>) -> MemberError {
    let read = match value.peek() {
        Some(b'[' | b'{') => Ok(()),
        Some(b'"') => unicode(value).map(|_| ()),
        Some(b'-' | b'0'..=b'9') => number(value).map(|_| ()),
        _ => value.word(),
    };
    match read {
        Ok(()) => MemberError::WrongType,
        Err(NotJson) => MemberError::NotJson,
    }
}

/// Reads a number, and returns its text. Fails if the number is too large for an `f64`.
fn number<'a>(value: &mut Reader<'a>) -> Result<&'a str, NotJson> {
    let text = value.number()?;
    serde_json::from_str::<f64>(text).map_err(|_| NotJson)?;
    Ok(text)
}

/// Reads a string. Fails if it has half a surrogate pair.
#[inline]
fn unicode(value: &mut Reader<'_>) -> Result<Quoted, NotJson> {
    let quoted = value.string()?;
    if quoted.is_unicode {
        Ok(quoted)
    } else {
        Err(NotJson)
    }
}

#[inline]
fn string(value: &mut Reader<'_>) -> Result<Quoted, MemberError> {
    match value.peek() {
        Some(b'"') => Ok(unicode(value)?),
        _ => Err(wrong_type(value)),
    }
}

/// A string on whose value a decision depends.
#[derive(Clone, Copy)]
struct Text(Quoted);

impl Text {
    fn of(self, text: &str) -> JsonStr<'_> {
        self.0.of(text)
    }
}

impl Member for Text {
    const EXPECTED: &'static str = "a string";

    type Owned = Box<str>;

    #[inline]
    fn read(value: &mut Reader<'_>) -> Result<Self, MemberError> {
        string(value).map(Self)
    }

    fn own(self, text: &str) -> Box<str> {
        self.of(text).to_cow().into()
    }
}

/// A string that has one of a few values in most tokens. Those values are not allocated.
#[derive(Clone, Copy)]
struct InternedText(Text);

impl Member for InternedText {
    const EXPECTED: &'static str = Text::EXPECTED;

    type Owned = Cow<'static, str>;

    fn read(value: &mut Reader<'_>) -> Result<Self, MemberError> {
        Text::read(value).map(Self)
    }

    fn own(self, text: &str) -> Cow<'static, str> {
        let word = self.0.of(text);
        let usual = ["user", "app"].into_iter().find(|usual| word == **usual);
        match usual {
            Some(usual) => Cow::Borrowed(usual),
            None => Cow::Owned(word.to_cow().into_owned()),
        }
    }
}

/// A string, or any other value, which counts as absent.
#[derive(Clone, Copy)]
struct LenientString(Option<Quoted>);

impl LenientString {
    fn of(self, text: &str) -> Option<JsonStr<'_>> {
        self.0.map(|quoted| quoted.of(text))
    }
}

impl Member for LenientString {
    const EXPECTED: &'static str = "any value";

    type Owned = ();

    fn read(value: &mut Reader<'_>) -> Result<Self, MemberError> {
        Ok(Self(if value.peek() == Some(b'"') {
            Some(value.string()?).filter(|quoted| quoted.is_unicode)
        } else {
            value.skip()?;
            None
        }))
    }

    fn own(self, _: &str) {}
}

/// An array of strings on whose values a decision depends.
#[derive(Clone, Copy)]
struct TextList {
    /// The position of the opening bracket.
    start: usize,
    /// The number of strings.
    count: usize,
}

impl TextList {
    /// Returns the number of strings, and the strings that are not blank.
    ///
    /// Blank strings are counted, but left out.
    fn of(self, text: &str) -> (usize, impl Iterator<Item = Cow<'_, str>>) {
        let mut reader = Reader::new(text.get(self.start..).unwrap_or_default());
        let list = reader.text();
        reader.takes(b'[');
        let mut is_first = true;
        // `read` has checked that this is an array of strings.
        let texts = std::iter::from_fn(move || {
            let has_next = reader.next_part(b']', &mut is_first).unwrap_or_default();
            let quoted = has_next.then(|| reader.string().ok()).flatten()?;
            Some(quoted.of(list).to_cow())
        });
        (self.count, texts.filter(|text| !text.trim().is_empty()))
    }
}

impl Member for TextList {
    const EXPECTED: &'static str = "an array of strings";

    type Owned = Box<[Box<str>]>;

    fn read(value: &mut Reader<'_>) -> Result<Self, MemberError> {
        if value.peek() != Some(b'[') {
            return Err(wrong_type(value));
        }
        let start = value.position();
        value.takes(b'[');
        let (mut is_first, mut count) = (true, 0_usize);
        while value.next_part(b']', &mut is_first)? {
            match string(value) {
                Ok(_) => count = count.saturating_add(1),
                Err(MemberError::NotJson) => return Err(MemberError::NotJson),
                Err(MemberError::WrongType) => {
                    skip_rest(value)?;
                    return Err(MemberError::WrongType);
                }
            }
        }
        Ok(Self { start, count })
    }

    fn own(self, text: &str) -> Box<[Box<str>]> {
        let (count, texts) = self.of(text);
        let mut list = Vec::with_capacity(count);
        list.extend(texts.map(Box::from));
        list.into()
    }
}

/// Skips the rest of an array that has an element of the wrong type.
///
/// The element itself is skipped, too, if it is an array or object that was left unread.
fn skip_rest(value: &mut Reader<'_>) -> Result<(), NotJson> {
    if matches!(value.peek(), Some(b'[' | b'{')) {
        value.skip()?;
    }
    while value.next_part(b']', &mut false)? {
        value.skip()?;
    }
    Ok(())
}

macro_rules! guid_member {
    ($($type:ident),*) => {$(
        impl HeapSize for $type {}

        impl Member for $type {
            const EXPECTED: &'static str = "a GUID";

            type Owned = Self;

            fn read(value: &mut Reader<'_>) -> Result<Self, MemberError> {
                let text = value.text();
                let mut buffer = [0; 36];
                let guid = string(value)?.of(text);
                let guid = match guid.plain() {
                    Some(guid) => Some(guid),
                    None => guid.within(&mut buffer),
                };
                guid.and_then(Guid::from_setting).map(Self).ok_or(MemberError::WrongType)
            }

            fn own(self, _: &str) -> Self {
                self
            }
        }
    )*};
}
guid_member!(ClientId, ObjectId);

/// Seconds since 1970 as a JSON number (RFC 7519 §2), rounded down to a whole second.
///
/// A string is never accepted, even where the claim is optional: lenient parsing once let tokens
/// without an effective expiry pass (CVE-2026-25537).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct NumericDate(i64);

impl NumericDate {
    /// The last second of the year 9999.
    const LAST: i64 = 253_402_300_799;

    pub(crate) const fn seconds(self) -> i64 {
        self.0
    }

    fn to_system_time(self) -> SystemTime {
        u64::try_from(self.0)
            .ok()
            .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
            .unwrap_or(UNIX_EPOCH)
    }

    /// Returns the whole seconds of a clock's time, negative before 1970.
    pub(crate) fn from_clock(now: SystemTime) -> Self {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        match now.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(seconds(after)),
            Err(before) => Self(seconds(before.duration()).saturating_neg()),
        }
    }
}

impl HeapSize for NumericDate {}

impl Member for NumericDate {
    const EXPECTED: &'static str = "a number of seconds since 1970, before the year 10000";

    type Owned = Self;

    fn read(value: &mut Reader<'_>) -> Result<Self, MemberError> {
        let seconds = match read_number(value)? {
            JsonNumber::Whole(seconds) => seconds,
            JsonNumber::Other(text) => {
                let seconds: f64 = serde_json::from_str(text).map_err(|_| MemberError::NotJson)?;
                #[expect(clippy::cast_precision_loss, reason = "the constant has 38 bits")]
                let last = Self::LAST as f64;
                if !(-last..=last).contains(&seconds) {
                    return Err(MemberError::WrongType);
                }
                #[expect(clippy::cast_possible_truncation, reason = "in range, and floored")]
                let seconds = seconds.floor() as i64;
                seconds
            }
        };
        let range = Self::LAST.saturating_neg()..=Self::LAST;
        range
            .contains(&seconds)
            .then_some(Self(seconds))
            .ok_or(MemberError::WrongType)
    }

    fn own(self, _: &str) -> Self {
        self
    }
}

/// A number of seconds since 1970, or any other value, which counts as absent.
#[derive(Clone, Copy)]
struct LenientDate(Option<NumericDate>);

impl Member for LenientDate {
    const EXPECTED: &'static str = "any value";

    type Owned = ();

    fn read(value: &mut Reader<'_>) -> Result<Self, MemberError> {
        Ok(Self(match value.peek() {
            Some(b'-' | b'0'..=b'9') => NumericDate::read(&mut Reader::new(value.number()?)).ok(),
            _ => {
                value.skip()?;
                None
            }
        }))
    }

    fn own(self, _: &str) {}
}

/// A whole number on whose value a decision depends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Number(i64);

impl HeapSize for Number {}

impl Member for Number {
    const EXPECTED: &'static str = "a whole number";

    type Owned = Self;

    fn read(value: &mut Reader<'_>) -> Result<Self, MemberError> {
        match read_number(value)? {
            JsonNumber::Whole(number) => Ok(Self(number)),
            JsonNumber::Other(_) => Err(MemberError::WrongType),
        }
    }

    fn own(self, _: &str) -> Self {
        self
    }
}

/// A JSON number.
enum JsonNumber<'a> {
    Whole(i64),
    /// A number with a fraction or an exponent, `-0`, or too large to be whole.
    Other(&'a str),
}

fn read_number<'a>(value: &mut Reader<'a>) -> Result<JsonNumber<'a>, MemberError> {
    if !matches!(value.peek(), Some(b'-' | b'0'..=b'9')) {
        return Err(wrong_type(value));
    }
    let text = value.number()?;
    match text.parse() {
        Ok(number) if text != "-0" => Ok(JsonNumber::Whole(number)),
        // A number that is too large for an `f64` is an error of the whole text.
        _ => match serde_json::from_str::<f64>(text) {
            Ok(_) => Ok(JsonNumber::Other(text)),
            Err(_) => Err(MemberError::NotJson),
        },
    }
}

/// A member of which only the presence counts.
#[derive(Clone, Copy, Debug)]
struct Present;

impl HeapSize for Present {}

impl Member for Present {
    const EXPECTED: &'static str = "any value";

    type Owned = Self;

    fn read(value: &mut Reader<'_>) -> Result<Self, MemberError> {
        value.skip()?;
        Ok(Self)
    }

    fn own(self, _: &str) -> Self {
        self
    }
}

/// A mark that every value sets except `false` and `"false"`. Reading it this way errs on the safe
/// side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Flag(bool);

impl HeapSize for Flag {}

impl Member for Flag {
    const EXPECTED: &'static str = "any value";

    type Owned = Self;

    fn read(value: &mut Reader<'_>) -> Result<Self, MemberError> {
        Ok(Self(match value.peek() {
            Some(b'"') => {
                let text = value.text();
                unicode(value)?.of(text) != *"false"
            }
            Some(b'-' | b'0'..=b'9') => {
                number(value)?;
                true
            }
            Some(b'{') => {
                for_each_name(value, |_| {})?;
                true
            }
            Some(b'[') => {
                value.skip()?;
                true
            }
            first => {
                value.word()?;
                first != Some(b'f')
            }
        }))
    }

    fn own(self, _: &str) -> Self {
        self
    }
}

/// Passes the name of each member of the next value, an object, to `look`.
fn for_each_name(value: &mut Reader<'_>, mut look: impl FnMut(JsonStr<'_>)) -> Result<(), NotJson> {
    let text = value.text();
    value.takes(b'{');
    let mut is_first = true;
    while value.next_part(b'}', &mut is_first)? {
        let name = value.name()?;
        if !name.is_unicode {
            return Err(NotJson);
        }
        look(name.of(text));
        value.skip()?;
    }
    Ok(())
}

/// Does the same as [`for_each_name`], but fails if the next value is not an object.
fn names(value: &mut Reader<'_>, look: impl FnMut(JsonStr<'_>)) -> Result<(), MemberError> {
    if value.peek() != Some(b'{') {
        return Err(wrong_type(value));
    }
    Ok(for_each_name(value, look)?)
}

/// The key id in the header: 1 to 256 bytes.
#[derive(Clone, Copy)]
struct HeaderKeyId(Text);

impl HeaderKeyId {
    fn of(self, text: &str) -> Option<KeyId> {
        KeyId::new(&self.0.of(text).to_cow())
    }
}

impl Member for HeaderKeyId {
    const EXPECTED: &'static str = "a string of 1 to 256 bytes";

    type Owned = ();

    fn read(value: &mut Reader<'_>) -> Result<Self, MemberError> {
        let text = value.text();
        let id = Text::read(value)?;
        if id.of(text).is_bounded(KeyId::MAX_LENGTH) {
            Ok(Self(id))
        } else {
            Err(MemberError::WrongType)
        }
    }

    fn own(self, _: &str) {}
}
