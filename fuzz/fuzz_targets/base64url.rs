//! Fuzzes base64url decoding: the engine of the core's feature `simd` and the engine without
//! `unsafe` must return the same result for any bytes.

#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::simd::Simd;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use libfuzzer_sys::fuzz_target;

/// The core's own configuration.
const STRICT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_allow_trailing_bits(false)
    .with_decode_padding_mode(DecodePaddingMode::RequireNone);

static SIMD: LazyLock<Simd> = LazyLock::new(|| Simd::url_safe(STRICT));

const SCALAR: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, STRICT);

fuzz_target!(|input: &[u8]| {
    decoded(input);
    let mut text = SCALAR.encode(input).into_bytes();
    assert_eq!(decoded(&text).as_deref(), Some(input));
    // Decodes valid text with one changed byte, which random input rarely produces.
    let [place, byte, ..] = *input else { return };
    let place = usize::from(place) * text.len() / 256;
    text[place] = byte;
    decoded(&text);
});

fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let expected = SCALAR.decode(text);
    // The buffer ends with the text, so that AddressSanitizer reports any read beyond it.
    let text = text.to_vec().into_boxed_slice();
    assert_eq!(SIMD.decode(&text), expected);
    expected.ok()
}
