//! A small response body that inflates to a very large one.

use flate2::{Compress, Compression, Crc, FlushCompress};

/// Mebibytes of white space before the JSON.
const MEBIBYTES: u32 = 100;
const MEBIBYTE: usize = 1 << 20;

/// Returns `json` after 100 MiB of white space, in the gzip format (RFC 1952).
///
/// The result has about 100 KiB. One mebibyte is compressed once, on its own, and the result is
/// repeated, because compressing all of them would take seconds.
pub(super) fn around(json: &[u8]) -> Vec<u8> {
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let spaces = vec![b' '; MEBIBYTE];
    let compressed = deflate(&spaces, FlushCompress::Full);
    let checksum_of = |bytes: &[u8]| {
        let mut checksum = Crc::new();
        checksum.update(bytes);
        checksum
    };
    let one = checksum_of(&spaces);

    let mut bomb = HEADER.to_vec();
    let mut checksum = Crc::new();
    for _ in 0..MEBIBYTES {
        bomb.extend(&compressed);
        checksum.combine(&one);
    }
    bomb.extend(deflate(json, FlushCompress::Finish));
    checksum.combine(&checksum_of(json));
    bomb.extend(checksum.sum().to_le_bytes());
    bomb.extend(checksum.amount().to_le_bytes());
    bomb
}

fn deflate(bytes: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(bytes.len() + 1_024);
    // A new compressor has no invalid state, and the buffer has room: deflate adds at most a few
    // bytes to data that it cannot compress.
    Compress::new(Compression::best(), false)
        .compress_vec(bytes, &mut compressed, flush)
        .expect("enough room for the uncompressed data");
    compressed
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn it_is_small_and_inflates_to_a_hundred_mebibytes_before_the_json() {
        let bomb = around(br#"{"keys":[]}"#);
        assert!(bomb.len() < 200 << 10, "{}", bomb.len());
        let mut inflated = flate2::read::GzDecoder::new(&*bomb);
        let mut chunk = vec![0; MEBIBYTE];
        for _ in 0..MEBIBYTES {
            inflated.read_exact(&mut chunk).unwrap();
            assert!(chunk.trim_ascii().is_empty());
        }
        let mut rest = String::new();
        inflated.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, r#"{"keys":[]}"#);
    }
}
