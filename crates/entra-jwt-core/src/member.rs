//! The types of the members that a token's header and claims have.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::identifier::{ClientId, KeyId, ObjectId};
use crate::json_text;
use crate::object::MemberType;

/// A string on whose value something depends.
pub(crate) type Text = Box<str>;

/// An array of strings on whose values something depends.
pub(crate) type TextList = Box<[Box<str>]>;

impl MemberType for Text {
    const EXPECTED: &'static str = "a string";

    fn heap_size(&self) -> usize {
        allocation(self.len())
    }
}

impl MemberType for TextList {
    const EXPECTED: &'static str = "an array of strings";

    fn heap_size(&self) -> usize {
        let texts: usize = self.iter().map(MemberType::heap_size).sum();
        texts.saturating_add(allocation(size_of_val::<[Text]>(self)))
    }
}

/// A string that has one of a few values in most tokens, and is not allocated then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Word(Cow<'static, str>);

impl Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl MemberType for Word {
    const EXPECTED: &'static str = Text::EXPECTED;

    fn heap_size(&self) -> usize {
        match &self.0 {
            Cow::Borrowed(_) => 0,
            Cow::Owned(text) => allocation(text.len()),
        }
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_str(WordVisitor)
    }
}

struct WordVisitor;

impl Visitor<'_> for WordVisitor {
    type Value = Word;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(Word::EXPECTED)
    }

    fn visit_str<E>(self, text: &str) -> Result<Word, E> {
        let usual = ["RS256", "JWT", "user", "app"];
        let usual = usual.into_iter().find(|usual| *usual == text);
        Ok(Word(match usual {
            Some(usual) => Cow::Borrowed(usual),
            None => Cow::Owned(text.to_owned()),
        }))
    }
}

/// What an allocation of so many bytes takes: allocators keep a word beside it, and round up.
pub(crate) const fn allocation(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        _ => bytes.saturating_add(8).next_multiple_of(16),
    }
}

macro_rules! guid_member {
    ($($type:ty),*) => {$(
        impl MemberType for $type {
            const EXPECTED: &'static str = "a GUID";
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
                struct GuidVisitor;

                impl Visitor<'_> for GuidVisitor {
                    type Value = $type;

                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str(<$type>::EXPECTED)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                value.deserialize_str(GuidVisitor)
            }
        }
    )*};
}
guid_member!(ClientId, ObjectId);

/// Seconds since 1970 as a JSON number (RFC 7519 §2); a fraction is cut off.
///
/// Never a string, even where the claim is optional: a lenient reading once let tokens without
/// an effective expiry pass (CVE-2026-25537).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct NumericDate(i64);

impl NumericDate {
    /// The last second of the year 9999.
    const LAST: i64 = 253_402_300_799;

    pub(crate) const fn seconds(self) -> i64 {
        self.0
    }

    pub(crate) fn to_system_time(self) -> SystemTime {
        u64::try_from(self.0)
            .ok()
            .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
            .unwrap_or(UNIX_EPOCH)
    }

    /// The whole seconds of a clock's reading; before 1970 they are negative.
    pub(crate) fn from_clock(now: SystemTime) -> Self {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        match now.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(seconds(after)),
            Err(before) => Self(seconds(before.duration()).saturating_neg()),
        }
    }
}

impl MemberType for NumericDate {
    const EXPECTED: &'static str = "a number of seconds since 1970, before the year 10000";
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        // The typed hint, not `deserialize_any`, because serde_json's feature
        // `arbitrary_precision` turns numbers into maps for the latter.
        value.deserialize_f64(NumericDateVisitor)
    }
}

struct NumericDateVisitor;

impl Visitor<'_> for NumericDateVisitor {
    type Value = NumericDate;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(NumericDate::EXPECTED)
    }

    fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<NumericDate, E> {
        let range = NumericDate::LAST.saturating_neg()..=NumericDate::LAST;
        if range.contains(&seconds) {
            Ok(NumericDate(seconds))
        } else {
            Err(E::custom("out of range"))
        }
    }

    fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<NumericDate, E> {
        i64::try_from(seconds)
            .map_err(E::custom)
            .and_then(|seconds| self.visit_i64(seconds))
    }

    fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<NumericDate, E> {
        #[expect(clippy::cast_precision_loss, reason = "the constant has 38 bits")]
        let last = NumericDate::LAST as f64;
        if (-last..=last).contains(&seconds) {
            #[expect(clippy::cast_possible_truncation, reason = "in range, and floored")]
            self.visit_i64(seconds.floor() as i64)
        } else {
            Err(E::custom("out of range"))
        }
    }
}

/// A member of which only the presence counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Present;

impl MemberType for Present {
    const EXPECTED: &'static str = "any value";
}

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(value).map(|_| Self)
    }
}

/// A mark that is set by anything but `false`: reading it so errs on the safe side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Flag(pub(crate) bool);

impl MemberType for Flag {
    const EXPECTED: &'static str = "any value";
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let value = Informal::deserialize(value)?;
        Ok(Self(value.as_str() != Some("false")))
    }
}

/// A whole number on whose value something depends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Number(pub(crate) i64);

impl MemberType for Number {
    const EXPECTED: &'static str = "a whole number";
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        i64::deserialize(value).map(Self)
    }
}

/// A text on which nothing depends: a string, or a number or boolean in its JSON form; anything
/// else counts as absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Informal(Option<Box<str>>);

impl Informal {
    /// From the JSON text of any value.
    pub(crate) fn read(value: &str) -> Self {
        serde_json::from_str(value).unwrap_or_default()
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<'de> Deserialize<'de> for Informal {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(InformalVisitor)
    }
}

struct InformalVisitor;

impl<'de> Visitor<'de> for InformalVisitor {
    type Value = Informal;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Informal, E> {
        Ok(Informal(Some(text.into())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Informal, E> {
        Ok(Informal(Some(value.to_string().into())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Informal, E> {
        Ok(Informal(Some(value.to_string().into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Informal, E> {
        Ok(Informal(Some(value.to_string().into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Informal, E> {
        Ok(Informal(Some(value.to_string().into())))
    }

    fn visit_unit<E>(self) -> Result<Informal, E> {
        Ok(Informal(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Informal, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Informal(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Informal, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Informal(None))
    }
}

/// Texts on which nothing depends: an array, of which what is no text is left out, or one text.
#[derive(Clone, Debug, Default)]
pub(crate) struct InformalList(Vec<Box<str>>);

impl InformalList {
    /// From the JSON text of any value.
    pub(crate) fn read(value: &str) -> Self {
        let texts = match json_text::elements(value) {
            Some(elements) => elements.flatten().filter_map(text).collect(),
            None => text(value).into_iter().collect(),
        };
        Self(texts)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

fn text(value: &str) -> Option<Box<str>> {
    json_text::string(value).map(Into::into)
}

/// The key id in the header: 1 to 256 bytes.
pub(crate) struct HeaderKeyId(pub(crate) KeyId);

impl MemberType for HeaderKeyId {
    const EXPECTED: &'static str = "a string of 1 to 256 bytes";
}

impl<'de> Deserialize<'de> for HeaderKeyId {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        KeyId::from_box(Text::deserialize(value)?)
            .map(Self)
            .ok_or_else(|| D::Error::custom(Self::EXPECTED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_what_it_says_whether_it_is_usual_or_not() {
        for text in ["RS256", "JWT", "user", "app", "jwt", "rs256", "", "HS256"] {
            let word: Word = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(&*word, text);
        }
        let word: Word = serde_json::from_str("\"\\u004aWT\"").unwrap();
        assert_eq!((&*word, word.heap_size()), ("JWT", 0));
        assert!(serde_json::from_str::<Word>("5").is_err());
        assert!(serde_json::from_str::<Word>("null").is_err());
    }
}
