//! Detects RSA keys whose private half can be computed from the public half, by their fingerprint
//! (ROCA, CVE-2017-15361).
//!
//! Source: Nemec, Sys, Svenda, Klinec, Matyas, "The Return of Coppersmith's Attack" (CCS 2017), §2.
//! Infineon's library made primes of the form `k · M + (65537^a mod M)`, where `M` is the product
//! of the first primes. For moduli of 1984 to 3936 bits these are 126 primes, up to 701. For longer
//! moduli they are more. So the modulus is a power of 65537 modulo each of these primes. Another
//! modulus has that property by chance with a probability of 2^-167.

/// The greatest prime that divides `M` for every modulus of 2048 bits or more.
const LAST_PRIME: u64 = 701;

/// Returns whether the modulus, an odd number in big-endian bytes, has the fingerprint.
///
/// The first five primes already exclude nine of ten other moduli.
pub(crate) fn has_fingerprint(modulus: &[u8]) -> bool {
    let mut candidates = (3..=LAST_PRIME).step_by(2);
    candidates
        .all(|candidate| !is_prime(candidate) || is_power(remainder(modulus, candidate), candidate))
}

fn is_prime(odd: u64) -> bool {
    let mut divisors = (3..odd)
        .step_by(2)
        .take_while(|divisor| divisor.pow(2) <= odd);
    divisors.all(|divisor| odd.checked_rem(divisor) != Some(0))
}

fn remainder(modulus: &[u8], prime: u64) -> u64 {
    modulus.iter().fold(0, |before, byte| {
        // Below 701 · 256, so it does not overflow.
        (before << 8 | u64::from(*byte))
            .checked_rem(prime)
            .unwrap_or_default()
    })
}

/// Returns whether the remainder is a power of 65537 modulo the prime.
fn is_power(remainder: u64, prime: u64) -> bool {
    let next = |power: &u64| power.saturating_mul(65_537).checked_rem(prime);
    let powers = std::iter::successors(Some(1), next);
    // The powers repeat after at most as many steps as the prime has remainders other than zero.
    let most = usize::try_from(prime).unwrap_or_default();
    powers.take(most).any(|power| power == remainder)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::test_support::ROCA_MODULUS;

    fn known() -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(ROCA_MODULUS).unwrap()
    }

    #[test]
    fn a_known_weak_modulus_has_the_fingerprint() {
        assert!(has_fingerprint(&known()));
    }

    #[test]
    fn the_weak_modulus_plus_or_minus_a_little_has_it_not() {
        for place in 0..known().len() {
            for bit in 0..8 {
                let mut other = known();
                other[place] ^= 1 << bit;
                assert!(!has_fingerprint(&other), "{place} {bit}");
            }
        }
    }

    #[test]
    fn the_primes_are_those_of_the_paper() {
        let primes: Vec<u64> = (3..=LAST_PRIME)
            .step_by(2)
            .filter(|odd| is_prime(*odd))
            .collect();
        assert_eq!(primes.len() + 1, 126);
        assert_eq!(primes[..8], [3, 5, 7, 11, 13, 17, 19, 23]);
        // The residues modulo 11 and 13, as in the public detectors.
        let residues = |prime| {
            (0..prime)
                .filter(|r| is_power(*r, prime))
                .collect::<Vec<_>>()
        };
        assert_eq!(residues(11), [1, 10]);
        assert_eq!(residues(13), [1, 3, 4, 9, 10, 12]);
    }

    #[test]
    fn no_other_odd_number_has_it() {
        // Splitmix64: different numbers in each place, and the same ones in each run.
        let mut state = 0_u64;
        let mut random = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)).to_be_bytes()
        };
        for length in [256, 384, 512, 1_024] {
            for _ in 0..5_000 {
                let mut modulus: Vec<u8> = (0..length / 8).flat_map(|_| random()).collect();
                modulus[0] |= 0x80;
                modulus[length - 1] |= 1;
                assert!(!has_fingerprint(&modulus));
            }
        }
    }
}
