//! The state that a client carries between two rounds of one call: which held call it is, sealed, and good for whom it was given
//! to, at this server, for the same call, for a short time.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::ids::{Principal, ServerName};
use crate::jose::base64url;
use crate::random::{RandomUnavailable, SecureRandom};
use crate::time::UnixTime;

/// Length of what names a held call, in bytes.
const NAME: usize = 16;
/// The name, and when it ends in milliseconds since 1970.
const PLAIN: usize = NAME + 8;
/// Of an AES-GCM tag, in bytes.
const TAG: usize = 16;
/// Of a whole state, in bytes, before it is written as text.
const BYTES: usize = NONCE_LEN + PLAIN + TAG;

/// What states are sealed with: AES-256-GCM under a key of this process, because the calls are held by it.
pub struct StateKey(LessSafeKey);

/// To what a state is bound.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// Whose call it is.
    pub principal: &'a Principal,
    /// At which server.
    pub server: &'a ServerName,
    /// [`super::Request::digest`].
    pub request: &'a [u8; 32],
}

/// No state of ours, or not good for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request state is not good")]
pub struct InvalidState;

impl StateKey {
    /// A new one.
    ///
    /// # Errors
    /// [`RandomUnavailable`], also when the library takes no key.
    pub fn random(random: &dyn SecureRandom) -> Result<Self, RandomUnavailable> {
        let mut secret = [0; 32];
        random.fill(&mut secret)?;
        let key = UnboundKey::new(&AES_256_GCM, &secret).map_err(|_| RandomUnavailable)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Names a call that is held until then, and gives the state that says so.
    ///
    /// # Errors
    /// [`RandomUnavailable`], also when the library does not seal.
    pub fn seal(
        &self,
        random: &dyn SecureRandom,
        bound: Bound<'_>,
        until: UnixTime,
    ) -> Result<([u8; NAME], String), RandomUnavailable> {
        let (mut name, mut nonce) = ([0; NAME], [0; NONCE_LEN]);
        random.fill(&mut name)?;
        random.fill(&mut nonce)?;
        let mut sealed = Vec::with_capacity(BYTES);
        sealed.extend_from_slice(&name);
        sealed.extend_from_slice(&until.as_millis().to_be_bytes());
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound.bytes()),
                &mut sealed,
            )
            .map_err(|_| RandomUnavailable)?;
        Ok((name, base64url::encode([&nonce[..], &sealed].concat())))
    }

    /// Which held call a state names.
    ///
    /// # Errors
    /// [`InvalidState`].
    pub fn open(&self, state: &str, bound: Bound<'_>, now: UnixTime) -> Result<[u8; NAME], InvalidState> {
        let mut bytes = [0; BYTES];
        let read = base64url::decode_into(state, &mut bytes).map_err(|_| InvalidState)?;
        let (nonce, sealed) = read.split_first_chunk::<NONCE_LEN>().ok_or(InvalidState)?;
        let mut sealed = sealed.to_vec();
        let plain = self
            .0
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(bound.bytes()),
                &mut sealed,
            )
            .map_err(|_| InvalidState)?;
        let (name, until) = plain.split_first_chunk::<NAME>().ok_or(InvalidState)?;
        let until = until.try_into().map_err(|_| InvalidState)?;
        if now < UnixTime::from_millis(i64::from_be_bytes(until)) {
            Ok(*name)
        } else {
            Err(InvalidState)
        }
    }
}

impl Bound<'_> {
    fn bytes(&self) -> Vec<u8> {
        let Principal {
            issuer,
            subject,
            client,
        } = self.principal;
        let mut bytes = Vec::new();
        for part in [
            issuer.as_str(),
            subject.as_str(),
            client.as_str(),
            self.server.as_str(),
        ] {
            // The length first, so that no two lists of parts run together to the same bytes.
            bytes.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(self.request);
        bytes
    }
}

impl std::fmt::Debug for StateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StateKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClientId, Issuer, Subject};
    use crate::random::RandomUnavailable;

    /// Another one at each call, and none to be used outside of tests.
    struct Counting(std::sync::atomic::AtomicU8);

    impl SecureRandom for Counting {
        fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
            out.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            Ok(())
        }
    }

    fn principal(subject: &str) -> Principal {
        Principal {
            issuer: Issuer::parse("https://as.example").unwrap(),
            subject: Subject::parse(subject).unwrap(),
            client: ClientId::parse("agent").unwrap(),
        }
    }

    #[test]
    fn a_state_is_good_for_whom_and_what_and_how_long_it_was_given() {
        let random = Counting(1.into());
        let key = StateKey::random(&random).unwrap();
        let (alice, bob) = (principal("alice"), principal("bob"));
        let (server, other) = (ServerName::parse("a").unwrap(), ServerName::parse("b").unwrap());
        let at = UnixTime::from_millis;
        let bound = Bound {
            principal: &alice,
            server: &server,
            request: &[7; 32],
        };
        let (name, state) = key.seal(&random, bound, at(1_000)).unwrap();
        assert_eq!(key.open(&state, bound, at(999)), Ok(name));
        assert_eq!(key.open(&state, bound, at(1_000)), Err(InvalidState), "over");
        let wrong = [
            Bound {
                principal: &bob,
                ..bound
            },
            Bound {
                server: &other,
                ..bound
            },
            Bound {
                request: &[8; 32],
                ..bound
            },
        ];
        for bound in wrong {
            assert_eq!(key.open(&state, bound, at(0)), Err(InvalidState), "{bound:?}");
        }
        let mut bytes = base64url::decode(&state).unwrap();
        for at_byte in 0..bytes.len() {
            bytes[at_byte] ^= 1;
            assert_eq!(
                key.open(&base64url::encode(&bytes), bound, at(0)),
                Err(InvalidState)
            );
            bytes[at_byte] ^= 1;
        }
        for text in ["", "AAAA", &format!("{state}A"), state.get(4..).unwrap()] {
            assert_eq!(key.open(text, bound, at(0)), Err(InvalidState), "{text}");
        }
        let restarted = StateKey::random(&random).unwrap();
        assert_eq!(restarted.open(&state, bound, at(0)), Err(InvalidState));
    }
}
