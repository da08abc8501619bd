//! Strict base64url: no padding, no trailing bits, no other alphabet (RFC 7515 §2).

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::GeneralPurposeConfig;

const STRICT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_allow_trailing_bits(false)
    .with_decode_padding_mode(DecodePaddingMode::RequireNone);

/// Base64url engine without `unsafe` code.
#[cfg(not(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64"))))]
static ENGINE: base64::engine::GeneralPurpose =
    base64::engine::GeneralPurpose::new(&base64::alphabet::URL_SAFE, STRICT);

/// Base64url engine that uses the CPU's vector instructions where available.
#[cfg(all(feature = "simd", any(target_arch = "x86_64", target_arch = "aarch64")))]
static ENGINE: std::sync::LazyLock<base64::engine::simd::Simd> =
    std::sync::LazyLock::new(|| base64::engine::simd::Simd::url_safe(STRICT));

/// Decodes `text`, or returns `None` if it is not the canonical encoding of its bytes.
pub(crate) fn decode(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok()
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    ENGINE.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_decodes() {
        assert_eq!(decode("AQAB"), Some(vec![1, 0, 1]));
        assert_eq!(decode("_-8"), Some(vec![0xff, 0xef]));
        for text in [
            "AQAB=", "_-8=", "/+8", "_-9", "A", "AQ AB", "AQAB\n", "ÄQAB",
        ] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    /// Tries every length up to several times the longest vector, with every kind of wrong byte at
    /// every position.
    #[cfg(feature = "simd")]
    #[test]
    fn vector_instructions_decode_what_the_scalar_engine_decodes() {
        use base64::engine::GeneralPurpose;

        let scalar = GeneralPurpose::new(&base64::alphabet::URL_SAFE, STRICT);
        let bytes: Vec<u8> = (0..150_u32).map(|n| (n * 89 + n / 7) as u8).collect();
        let (mut decoded, mut refused) = (0, 0);
        for length in 0..=bytes.len() {
            let text = scalar.encode(&bytes[..length]).into_bytes();
            assert_eq!(decode(&text).as_deref(), Some(&bytes[..length]));
            for place in 0..text.len() {
                for byte in *b"AZaz09-_+/=@[`{:,.\0\x7f\x80\xff \n" {
                    let mut text = text.clone();
                    text[place] = byte;
                    let expected = scalar.decode(&text).ok();
                    match expected {
                        Some(_) => decoded += 1,
                        None => refused += 1,
                    }
                    assert_eq!(decode(&text), expected, "{length} {place} {byte}");
                }
            }
        }
        assert!(decoded > 10_000 && refused > 10_000, "{decoded} {refused}");
    }
}
