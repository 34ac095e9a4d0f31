//! RSA moduli that a faulty library made of primes which can be guessed (CVE-2017-15361, "ROCA").
//!
//! Its primes are k·M + (65537^a mod M), with M the product of the first primes (Nemec, Sys, Svenda, Klinec, Matyas:
//! The Return of Coppersmith's Attack, CCS 2017, §2.1). So their product, too, is a power of 65537 modulo every one of
//! those primes, which another modulus is with a probability of about 2^-28 (§2.2).

/// The generator.
const GENERATOR: u64 = 65_537;

/// Of the primes that divide M whatever the length of the key, those modulo which not every number is a power of the
/// generator.
const PRIMES: [u8; 17] = [
    11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157,
];

/// Whether the modulus (big-endian) has the fingerprint. Most others are told apart at the first prime.
pub(super) fn has_fingerprint(modulus: &[u8]) -> bool {
    PRIMES
        .iter()
        .all(|prime| is_power(remainder(modulus, u64::from(*prime)), u64::from(*prime)))
}

fn remainder(modulus: &[u8], prime: u64) -> u64 {
    modulus
        .iter()
        .fold(0, |rest, byte| ((rest << 8) | u64::from(*byte)) % prime)
}

/// Whether a number is a power of the generator modulo this prime.
fn is_power(number: u64, prime: u64) -> bool {
    let mut power = 1;
    loop {
        if power == number {
            return true;
        }
        power = power * GENERATOR % prime;
        if power == 1 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sets that the authors of the attack publish with their tool, as bits, for the first of the primes.
    #[test]
    fn the_powers_are_those_of_the_published_fingerprint() {
        for (prime, published) in [
            (11, 1_026_u64),
            (13, 5_658),
            (17, 107_286),
            (19, 199_410),
            (37, 67_109_890),
            (53, 5_310_023_542_746_834),
            (61, 1_455_791_217_086_302_986),
        ] {
            let powers = (0..prime)
                .filter(|number| is_power(*number, prime))
                .fold(0, |bits, number| bits | 1 << number);
            assert_eq!(powers, published, "{prime}");
        }
    }

    #[test]
    fn every_prime_tells_moduli_apart() {
        for prime in PRIMES.map(u64::from) {
            assert!((1..prime).any(|number| !is_power(number, prime)), "{prime}");
        }
    }

    #[test]
    fn a_power_of_the_generator_has_the_fingerprint_and_its_neighbour_not() {
        let mut power = [0; 24];
        power[13..].copy_from_slice(&65_537_u128.pow(5).to_be_bytes()[5..]);
        assert!(has_fingerprint(&power));
        power[23] ^= 2;
        assert!(!has_fingerprint(&power));
    }
}
