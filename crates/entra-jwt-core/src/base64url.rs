//! Strict base64url: no padding, no trailing bits, no other alphabet (RFC 7515 §2).

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::GeneralPurposeConfig;

const STRICT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_allow_trailing_bits(false)
    .with_decode_padding_mode(DecodePaddingMode::RequireNone);

/// The engine that uses the CPU's vector instructions where it has them.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static ENGINE: std::sync::LazyLock<base64::engine::simd::Simd> =
    std::sync::LazyLock::new(|| base64::engine::simd::Simd::url_safe(STRICT));

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static ENGINE: base64::engine::general_purpose::GeneralPurpose =
    base64::engine::general_purpose::GeneralPurpose::new(&base64::alphabet::URL_SAFE, STRICT);

/// Decodes `text`, or `None` if it is not the one spelling of its bytes.
pub(crate) fn decode(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok()
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
}
