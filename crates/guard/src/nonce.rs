//! Nonces that clients put into their proofs (RFC 9449 §9).
//!
//! Nothing is remembered: a nonce is the time at which it was given out and a code over it, which everyone can check who
//! has the key. What it shows is that a proof was made after that time; that it is used once is for the
//! [`crate::ReplayLog`].

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use http::HeaderValue;
use portcullis_core::jose::base64url;
use portcullis_core::random::{RandomUnavailable, SecureRandom};
use portcullis_core::time::{Lifetime, UnixTime};

/// How long a nonce is good.
pub(crate) const GOOD_FOR: Lifetime = Lifetime::from_secs(120);
/// How far ahead the clock of the replica may be that gave a nonce out.
const AHEAD: Lifetime = Lifetime::from_secs(60);
/// Length of the code in a nonce, in bytes: far from guessable in two minutes.
const CODE: usize = 16;
/// Milliseconds since 1970, and the code.
const BYTES: usize = 8 + CODE;

/// The secret under which nonces are made. Replicas that have the same one take each other's nonces.
pub struct NonceKey(hmac::Key);

impl NonceKey {
    /// From 32 secret bytes, which serve no other purpose.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A new one, for a guard that has no replicas.
    ///
    /// # Errors
    /// [`RandomUnavailable`].
    pub fn random(random: &dyn SecureRandom) -> Result<Self, RandomUnavailable> {
        let mut secret = [0; 32];
        random.fill(&mut secret)?;
        Ok(Self::new(&secret))
    }

    /// A nonce of this moment.
    pub(crate) fn nonce(&self, now: UnixTime) -> HeaderValue {
        let time = now.as_millis().to_be_bytes();
        let text = base64url::encode([time.as_slice(), &self.code(time)].concat());
        // base64url is visible ASCII, so that this always is a header value.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
    }

    /// When this nonce was given out; `None` for one that is not of this key, or not good any more.
    pub(crate) fn given_out(&self, nonce: &str, now: UnixTime) -> Option<UnixTime> {
        let mut bytes = [0; BYTES];
        let (time, code) = base64url::decode_into(nonce, &mut bytes)
            .ok()?
            .split_first_chunk::<8>()?;
        verify_slices_are_equal(code, &self.code(*time)).ok()?;
        let time = UnixTime::from_millis(i64::from_be_bytes(*time));
        (now < time.plus(GOOD_FOR) && time <= now.plus(AHEAD)).then_some(time)
    }

    fn code(&self, time: [u8; 8]) -> [u8; CODE] {
        let tag = hmac::sign(&self.0, &time);
        let mut code = [0; CODE];
        for (to, from) in code.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        code
    }
}

impl std::fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NonceKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dpop_19_a_nonce_is_good_for_two_minutes_and_under_its_key_alone() {
        let (ours, others) = (NonceKey::new(&[7; 32]), NonceKey::new(&[8; 32]));
        let at = |secs: i64| UnixTime::from_secs(1_800_000_000 + secs);
        let nonce = ours.nonce(at(0));
        let nonce = nonce.to_str().unwrap();
        for (secs, good) in [(-61, false), (-60, true), (0, true), (119, true), (120, false)] {
            let expected = good.then_some(at(0));
            assert_eq!(ours.given_out(nonce, at(secs)), expected, "{secs}");
        }
        assert_ne!(ours.nonce(at(1)), nonce);
        assert_eq!(others.given_out(nonce, at(0)), None, "of another server");
        let replica = NonceKey::new(&[7; 32]);
        assert_eq!(replica.given_out(nonce, at(0)), Some(at(0)), "of a replica");
        // The time cannot be put forward.
        let mut bytes = base64url::decode(nonce).unwrap();
        bytes[7] ^= 1;
        let later = base64url::encode(&bytes);
        for wrong in [
            "",
            "A",
            nonce.get(1..).unwrap(),
            &format!("{nonce}="),
            &format!("{nonce}AA"),
            "none",
            &later,
        ] {
            assert_eq!(ours.given_out(wrong, at(0)), None, "{wrong:?}");
        }
        let random = NonceKey::random(&portcullis_net::random::System).unwrap();
        assert_eq!(random.given_out(nonce, at(0)), None);
    }
}
