//! Changes to the text of a token and to the decoded bytes of its segments.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};

/// A change to a token.
#[derive(Clone, Debug)]
pub(crate) enum TextMutation {
    FlipBitOfText(Index, u8),
    /// Flips a bit of the decoded header, payload or signature.
    FlipBitOfBytes(usize, Index, u8),
    Insert(Index, char),
    Delete(Index, usize),
    Duplicate(Index, usize),
    SwapCharacters(Index, Index),
    Truncate(Index),
    UpperCase(usize),
    LowerCase(usize),
    /// Puts the segments into another order, with some of them missing or repeated.
    Segments(Vec<usize>),
    /// Takes each segment from another token.
    Mix([Index; 3]),
    OtherBase64(usize, Base64Variant),
}

/// A text that a lenient reader decodes to the same bytes.
#[derive(Clone, Debug)]
pub(crate) enum Base64Variant {
    Padding,
    /// More padding than the length permits.
    TooMuchPadding,
    /// `+` and `/` in place of `-` and `_`.
    StandardAlphabet,
    /// Non-zero bits of the last character that belong to no byte.
    TrailingBits(u8),
    WhiteSpace(Index, char),
}

impl TextMutation {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let segment = || 0..3_usize;
        let character = || {
            let special = select(vec![
                '.', '=', '-', '_', '+', '/', ' ', '\n', '\0', '%', 'é', '\u{202e}',
            ]);
            let alphabet = select(
                ('A'..='Z')
                    .chain('a'..='z')
                    .chain('0'..='9')
                    .collect::<Vec<_>>(),
            );
            prop_oneof![special, alphabet, any::<char>()]
        };
        let index = any::<Index>;
        prop_oneof![
            4 => (index(), 0..8_u8).prop_map(|(at, bit)| Self::FlipBitOfText(at, bit)),
            4 => (segment(), index(), 0..8_u8)
                .prop_map(|(segment, at, bit)| Self::FlipBitOfBytes(segment, at, bit)),
            2 => (index(), character()).prop_map(|(at, character)| Self::Insert(at, character)),
            2 => (index(), 1..40_usize).prop_map(|(at, length)| Self::Delete(at, length)),
            2 => (index(), 1..40_usize).prop_map(|(at, length)| Self::Duplicate(at, length)),
            1 => (index(), index()).prop_map(|(one, other)| Self::SwapCharacters(one, other)),
            1 => index().prop_map(Self::Truncate),
            1 => segment().prop_map(Self::UpperCase),
            1 => segment().prop_map(Self::LowerCase),
            1 => proptest::collection::vec(segment(), 0..6).prop_map(Self::Segments),
            3 => [index(), index(), index()].prop_map(Self::Mix),
            2 => (segment(), Base64Variant::any())
                .prop_map(|(segment, variant)| Self::OtherBase64(segment, variant)),
        ]
    }

    /// Returns the changed token; `others` are valid tokens too.
    pub(crate) fn apply(&self, token: &str, others: &[String]) -> String {
        let bytes = token.as_bytes();
        let segments: Vec<&str> = token.split('.').collect();
        let with_segment = |position: usize, text: &str| {
            let mut segments = segments.clone();
            segments[position] = text;
            segments.join(".")
        };
        match self {
            Self::FlipBitOfText(at, bit) => {
                let mut bytes = bytes.to_vec();
                flip(&mut bytes, *at, *bit);
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::FlipBitOfBytes(segment, at, bit) => {
                let mut bytes = decode(segments[*segment]);
                flip(&mut bytes, *at, *bit);
                with_segment(*segment, &URL_SAFE_NO_PAD.encode(bytes))
            }
            Self::Insert(at, character) => {
                let at = at.index(token.len() + 1);
                format!("{}{character}{}", &token[..at], &token[at..])
            }
            Self::Delete(at, length) => {
                let at = at.index(token.len());
                let end = token.len().min(at + length);
                format!("{}{}", &token[..at], &token[end..])
            }
            Self::Duplicate(at, length) => {
                let at = at.index(token.len());
                let end = token.len().min(at + length);
                format!("{}{}", &token[..end], &token[at..])
            }
            Self::SwapCharacters(one, other) => {
                let mut bytes = bytes.to_vec();
                bytes.swap(one.index(token.len()), other.index(token.len()));
                String::from_utf8(bytes).unwrap()
            }
            Self::Truncate(at) => token[..at.index(token.len())].to_owned(),
            Self::UpperCase(segment) => {
                with_segment(*segment, &segments[*segment].to_ascii_uppercase())
            }
            Self::LowerCase(segment) => {
                with_segment(*segment, &segments[*segment].to_ascii_lowercase())
            }
            Self::Segments(order) => {
                let chosen: Vec<&str> = order.iter().map(|position| segments[*position]).collect();
                chosen.join(".")
            }
            Self::Mix(sources) => {
                let chosen: Vec<&str> = sources
                    .iter()
                    .enumerate()
                    .map(|(position, source)| {
                        let mut segments = source.get(others).split('.');
                        segments.nth(position).unwrap()
                    })
                    .collect();
                chosen.join(".")
            }
            Self::OtherBase64(segment, variant) => {
                with_segment(*segment, &variant.apply(segments[*segment]))
            }
        }
    }
}

fn flip(bytes: &mut [u8], at: Index, bit: u8) {
    if !bytes.is_empty() {
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
    }
}

/// Decodes a segment. The result is empty if an earlier mutation has left invalid base64url.
fn decode(segment: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(segment).unwrap_or_default()
}

impl Base64Variant {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            Just(Self::Padding),
            Just(Self::TooMuchPadding),
            Just(Self::StandardAlphabet),
            (1..16_u8).prop_map(Self::TrailingBits),
            (any::<Index>(), select(vec![' ', '\t', '\r', '\n']))
                .prop_map(|(at, space)| Self::WhiteSpace(at, space)),
        ]
    }

    /// Changes the segment, unless the variant has nothing to change in it.
    pub(crate) fn apply(&self, segment: &str) -> String {
        match self {
            Self::Padding => {
                let missing = segment.len().next_multiple_of(4) - segment.len();
                format!("{segment}{}", "=".repeat(missing))
            }
            Self::TooMuchPadding => format!("{segment}===="),
            Self::StandardAlphabet => STANDARD_NO_PAD.encode(decode(segment)),
            Self::TrailingBits(bits) => with_trailing_bits(segment, *bits),
            Self::WhiteSpace(at, space) => {
                let at = at.index(segment.len() + 1);
                format!("{}{space}{}", &segment[..at], &segment[at..])
            }
        }
    }
}

fn with_trailing_bits(segment: &str, bits: u8) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // The last character has six bits. Two of them are unused if three characters encode two bytes,
    // and four if two characters encode one byte.
    let free = match segment.len() % 4 {
        3 => 0b11,
        2 => 0b1111,
        _ => 0,
    };
    let (rest, last) = segment.split_at(segment.len().saturating_sub(1));
    let value = ALPHABET
        .iter()
        .position(|letter| last.as_bytes() == [*letter]);
    let value = value.map(|value| value | usize::from(bits & free));
    match value {
        Some(value) => format!("{rest}{}", char::from(ALPHABET[value])),
        None => segment.to_owned(),
    }
}
