//! Reads the top level of a JSON object: each member once, each known one with its type.
//!
//! The object may be untrusted, so nothing is copied: a field holds the position of its member in
//! the text. The code is written by hand, because it does three things that a derived struct does
//! not do:
//!
//! - It refuses a member that occurs twice, whether it is a known one or not (RFC 7519 §4,
//!   RFC 8725 §2.4).
//! - It names the member that has the wrong type.
//! - It reads the decisive members in the same way, no matter which features of `serde_json`
//!   another crate in the tree turns on for all.

use std::borrow::Cow;

use super::{Member, MemberError};
use crate::json::{self, NotJson, Reader};
use crate::refusal::{TokenFault, TokenPart};
use crate::shown::Escaped;

/// Maximum length of a known member's name, in bytes.
pub(super) const LONGEST_NAME: usize = 24;

/// A struct whose fields are the known members of one JSON object.
pub(super) trait Members: Default {
    /// Reads the value behind `name` into the field of that name, and returns whether there is such
    /// a field.
    ///
    /// `fingerprint` is that of the name.
    fn read(
        &mut self,
        name: &[u8],
        fingerprint: u64,
        value: &mut Reader<'_>,
        reading: &mut Reading,
    ) -> Result<bool, TokenFault>;
}

/// Declares a struct of optional fields, each with the position of the member of the given name.
///
/// If the caller names a second struct, that one is declared, too. Its fields hold the owned
/// values.
macro_rules! members {
    (
        $(#[$meta:meta])*
        $visible:vis struct $name:ident {
            $($(#[$field_meta:meta])* $member:literal => $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Default)]
        $visible struct $name {
            $($(#[$field_meta])* $visible $field: Option<$type>,)*
        }

        #[expect(non_upper_case_globals, reason = "the names of the fields")]
        impl $crate::token::object::Members for $name {
            fn read(
                &mut self,
                name: &[u8],
                fingerprint: u64,
                value: &mut $crate::json::Reader<'_>,
                reading: &mut $crate::token::object::Reading,
            ) -> Result<bool, $crate::refusal::TokenFault> {
                #[expect(non_camel_case_types, reason = "the names of the fields")]
                enum Position {
                    $($field,)*
                }
                $(
                    const _: () = assert!($member.len() <= $crate::token::object::LONGEST_NAME);
                    const $field: u64 = $crate::token::object::fingerprint($member.as_bytes());
                )*
                // Matched by number first, because an object can have thousands of unknown names.
                match fingerprint {
                    $($field if name == $member.as_bytes() => {
                        let field = &mut self.$field;
                        reading.member(field, $member, Position::$field as u32, value)?;
                    })*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
    (
        $(#[$meta:meta])*
        $visible:vis struct $name:ident;
        $(#[$owned_meta:meta])*
        $owned_visible:vis struct $owned:ident {
            $($(#[$field_meta:meta])* $member:literal => $field:ident: $type:ty,)*
        }
    ) => {
        $crate::token::object::members! {
            $(#[$meta])*
            $visible struct $name {
                $($(#[$field_meta])* $member => $field: $type,)*
            }
        }

        $(#[$owned_meta])*
        #[derive(Default)]
        $owned_visible struct $owned {
            $($(#[$field_meta])*
            $visible $field: Option<<$type as $crate::token::Member>::Owned>,)*
        }

        impl $name {
            /// Returns the owned values of the members, taken from the text in which they were
            /// read.
            $visible fn own(&self, text: &str) -> $owned {
                $owned {
                    $($field: self.$field.map(|member| $crate::token::Member::own(member, text)),)*
                }
            }
        }

        impl $owned {
            /// Returns the number of bytes that the fields hold on the heap.
            $visible fn heap_size(&self) -> usize {
                let sizes = [$(
                    self.$field.as_ref().map_or(0, $crate::token::HeapSize::heap_size),
                )*];
                sizes.iter().sum()
            }
        }
    };
}
pub(super) use members;

/// Reads an object, which usually has no more than `USUAL` unknown members.
///
/// Returns the known members, the names of the unknown ones, and the fault of the first known
/// member of the wrong type, if that did not end the reading.
///
/// A wrong type of a member that `is_decisive` names ends the reading with an error. After a wrong
/// type of another member, only the decisive members are read.
pub(super) fn read<T: Members, const USUAL: usize>(
    text: &str,
    part: TokenPart,
    is_decisive: fn(&str) -> bool,
) -> Result<(T, UnknownNames<USUAL>, Option<TokenFault>), TokenFault> {
    let mut reading = Reading {
        part,
        is_decisive,
        seen: 0,
        type_error: None,
        duplicate: None,
    };
    let no_json = |NotJson| TokenFault::InvalidJson { part };
    let (mut members, mut unknown) = (T::default(), UnknownNames::default());

    let mut reader = Reader::new(text);
    if !reader.takes(b'{') {
        return Err(no_json(NotJson));
    }
    let mut is_first = true;
    while reader.next_part(b'}', &mut is_first).map_err(no_json)? {
        let name = reader.name().map_err(no_json)?;
        if !name.is_unicode {
            return Err(no_json(NotJson));
        }
        // A name that does not fit into the buffer is not a known one.
        let mut buffer = [0; LONGEST_NAME];
        if let Some(name) = name.bytes_within(text, &mut buffer) {
            let fingerprint = fingerprint(name);
            if members.read(name, fingerprint, &mut reader, &mut reading)? {
                continue;
            }
            unknown.add(name, fingerprint);
        } else {
            unknown.has_another = true;
        }
        reader.skip().map_err(no_json)?;
    }
    reader.end().map_err(no_json)?;
    match reading.duplicate {
        Some(member) => Err(duplicate(part, member)),
        None => Ok((members, unknown, reading.type_error)),
    }
}

fn duplicate(part: TokenPart, member: &str) -> TokenFault {
    TokenFault::DuplicateMember {
        part,
        member: Escaped::cut(member),
    }
}

/// The state of an object that is being read.
pub(super) struct Reading {
    part: TokenPart,
    is_decisive: fn(&str) -> bool,
    /// A bit for each known member that was read.
    seen: u64,
    type_error: Option<TokenFault>,
    /// A repeated member that does not end the reading. It is refused at the end, unless another
    /// fault ends the reading before.
    duplicate: Option<&'static str>,
}

impl Reading {
    /// Reads the value of the known member with this position among all known members.
    #[inline]
    pub(super) fn member<M: Member>(
        &mut self,
        field: &mut Option<M>,
        name: &'static str,
        position: u32,
        value: &mut Reader<'_>,
    ) -> Result<(), TokenFault> {
        let part = self.part;
        let mark = 1_u64.wrapping_shl(position);
        let is_duplicate = self.seen & mark != 0;
        self.seen |= mark;
        let counts = self.type_error.is_none() || (self.is_decisive)(name);
        if is_duplicate && counts {
            return Err(duplicate(part, name));
        }
        let read = if counts {
            value.peek();
            let start = value.position();
            match M::read(value) {
                Ok(member) => {
                    *field = Some(member);
                    Ok(())
                }
                Err(MemberError::NotJson) => Err(NotJson),
                Err(MemberError::WrongType) => {
                    let fault = TokenFault::WrongType {
                        part,
                        member: name,
                        expected: M::EXPECTED,
                    };
                    if (self.is_decisive)(name) {
                        return Err(fault);
                    }
                    self.type_error = Some(fault);
                    // `M::read` leaves an array or object unread where it expects another type.
                    if value.position() == start {
                        value.skip()
                    } else {
                        Ok(())
                    }
                }
            }
        } else {
            if is_duplicate {
                self.duplicate.get_or_insert(name);
            }
            value.skip()
        };
        read.map_err(|NotJson| TokenFault::InvalidJson { part })
    }
}

/// The names of unknown members, as far as they are remembered.
///
/// They suffice to know that no name occurs twice, unless there are more than `USUAL` names, or a
/// long name is written with escapes.
pub(super) struct UnknownNames<const USUAL: usize> {
    fingerprints: [u64; USUAL],
    count: usize,
    /// Set if there is a name without a fingerprint.
    has_another: bool,
    /// Set if a name is `tid` except for its case.
    pub(super) has_tid: bool,
}

impl<const USUAL: usize> Default for UnknownNames<USUAL> {
    fn default() -> Self {
        Self {
            fingerprints: [0; USUAL],
            count: 0,
            has_another: false,
            has_tid: false,
        }
    }
}

impl<const USUAL: usize> UnknownNames<USUAL> {
    #[inline]
    fn add(&mut self, name: &[u8], fingerprint: u64) {
        match self.fingerprints.get_mut(self.count) {
            Some(place) => *place = fingerprint,
            None => self.has_another = true,
        }
        self.count = self.count.saturating_add(1);
        self.has_tid |= name.len() == 3 && name.eq_ignore_ascii_case(b"tid");
    }

    /// Returns whether a name may occur twice.
    fn may_repeat(&self) -> bool {
        let mut fingerprints = self.fingerprints;
        let known = fingerprints.get_mut(..self.count).unwrap_or_default();
        known.sort_unstable();
        self.has_another || known.windows(2).any(|pair| pair.first() == pair.get(1))
    }

    /// Refuses the object if a member occurs in its text twice.
    ///
    /// With many names, this costs an allocation for each. So the crate does it after the signature
    /// check.
    pub(super) fn check(&self, text: &str, part: TokenPart) -> Result<(), TokenFault> {
        if !self.may_repeat() {
            return Ok(());
        }
        let members = json::members(text).into_iter().flatten().flatten();
        let names = members.filter_map(|(name, _)| json::string(name));
        let mut names: Vec<Cow<'_, str>> = names.collect();
        names.sort_unstable();
        let repeated = names.windows(2).find_map(|pair| match pair {
            [first, second] if first == second => Some(first),
            _ => None,
        });
        match repeated {
            Some(member) => Err(duplicate(part, member)),
            None => Ok(()),
        }
    }
}

/// Returns a number that is equal for equal names, and nearly always different for different names.
///
/// It also depends on the end of a name, because directory extensions share their beginning.
#[inline]
pub(super) const fn fingerprint(name: &[u8]) -> u64 {
    let length = (name.len() as u64) << 56;
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return u64::from_le_bytes(*first).rotate_left(13) ^ u64::from_le_bytes(*last) ^ length;
    }
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return (first as u64 | (last as u64) << 32) ^ length;
    }
    match name {
        [a, b, c] => (*a as u64 | (*b as u64) << 8 | (*c as u64) << 16) ^ length,
        [a, b] => (*a as u64 | (*b as u64) << 8) ^ length,
        [a] => *a as u64 ^ length,
        _ => length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    members! {
        struct One {
            "known" => known: crate::token::Present,
        }
    }

    fn names(text: &str) -> UnknownNames<8> {
        let (_, unknown, _) = read::<One, 8>(text, TokenPart::Payload, |_| true).unwrap();
        unknown
    }

    fn code(text: &str) -> &'static str {
        let checked = names(text).check(text, TokenPart::Payload);
        checked.map_or_else(
            |fault| crate::refusal::InvalidToken::from(fault).code(),
            |()| "once",
        )
    }

    #[test]
    fn the_usual_names_need_no_second_look_and_others_have_one() {
        let usual = r#"{"aio":1,"rh":2,"uti":3,"ver":4,"xms_ftd":5,"preferred_username":6,
            "extension_0a1b2c3d4e5f4a6b8c7d9e0f1a2b3c4d_department":7,
            "extension_0a1b2c3d4e5f4a6b8c7d9e0f1a2b3c4d_costcenter":8}"#;
        assert!(!names(usual).may_repeat());
        let of = |count: usize| {
            let members: Vec<String> = (0..count).map(|name| format!("\"m{name}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(!names(&of(8)).may_repeat());
        assert!(names(&of(9)).may_repeat());
        assert!(!names(r#"{"\u0061":1}"#).may_repeat());
        let long = format!(r#"{{"\u0061{}":1}}"#, "b".repeat(24));
        assert!(names(&long).may_repeat());
        for text in [usual, &of(9), &long, "{}"] {
            assert_eq!(code(text), "once");
        }
    }

    #[test]
    fn a_name_twice_is_found_whatever_its_length_and_spelling() {
        for name in ["", "a", "seven77", "eight888", "sixteen_letters_", "é"] {
            let twice = format!(r#"{{"{name}":1,"x":{{}},"{name}":1}}"#);
            assert_eq!(code(&twice), "duplicate_member", "{name}");
        }
        assert_eq!(code(r#"{"name":1,"n\u0061me":1}"#), "duplicate_member");
        let many: Vec<String> = (0..100).map(|name| format!("\"m{name}\":0")).collect();
        let many = format!("{{{},\"m50\":1}}", many.join(","));
        assert_eq!(code(&many), "duplicate_member");
        // Two names with the same fingerprint.
        let (one, other) = ("aaaaaaaa_b_bbbbbbbb", "aaaaaaaa_c_bbbbbbbb");
        assert_eq!(fingerprint(one.as_bytes()), fingerprint(other.as_bytes()));
        assert_eq!(code(&format!(r#"{{"{one}":1,"{other}":1}}"#)), "once");
    }

    #[test]
    fn tid_in_another_case_is_seen_whatever_its_spelling() {
        for (name, is_like) in [
            ("TID", true),
            ("Tid", true),
            (r"\u0054id", true),
            ("tide", false),
            ("td", false),
            (r"\u0054", false),
        ] {
            let found = names(&format!(r#"{{"{name}":1}}"#)).has_tid;
            assert_eq!(found, is_like, "{name}");
        }
    }

    /// Checks that different names have different fingerprints: two names with one fingerprint
    /// would cost an allocation for each member of the token.
    #[test]
    fn names_of_any_length_are_told_apart() {
        use std::collections::HashMap;

        let mut names: Vec<String> = (0..2_000).map(|number| format!("{number:x}")).collect();
        for length in [4, 5, 7, 8, 9, 12, 16, 40] {
            let padding = "a".repeat(length - 3);
            for number in 0..500 {
                names.push(format!("{padding}{number:03}"));
                names.push(format!("{number:03}{padding}"));
            }
            names.push("a".repeat(length));
        }
        names.extend(["", "a", "\0", "a\0", "aa", "aaa"].map(str::to_owned));
        names.sort_unstable();
        names.dedup();
        let mut of = HashMap::new();
        for name in &names {
            let fingerprint = fingerprint(name.as_bytes());
            if let Some(other) = of.insert(fingerprint, name) {
                panic!("{name:?} and {other:?}");
            }
        }
    }
}
