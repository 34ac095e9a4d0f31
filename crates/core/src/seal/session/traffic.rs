//! A session's two directions.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use serde_json::Value;
use zeroize::Zeroizing;

use super::super::binding::{Binding, Direction, Parties};
use super::super::canonical;
use super::super::error::Error;
use super::super::field::{Opener, Sealer};
use super::super::form::{Form, SESSION, SessionId};
use super::keys::{Cipher, Keys};
use super::window::Window;
use crate::ids::TokenId;
use crate::jose::base64url;
use crate::time::UnixTime;

/// Most fields in one direction of one session.
///
/// NIST SP 800-38D §8.3 allows 2^32 for AES-GCM even with random nonces; with a counter it is a wide margin.
pub const FIELDS: u64 = 1 << 32;

/// Length of the tag of both ciphers, in bytes.
const TAG_BYTES: usize = 16;

/// One end of a session: what it sends with, and what it receives with. Usable from several threads at once.
///
/// The keys are wiped when it is dropped. Whoever shares it ends it by dropping the last share.
pub struct Session {
    id: SessionId,
    until: UnixTime,
    cipher: Cipher,
    sending: Sending,
    receiving: Receiving,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        until: UnixTime,
        cipher: Cipher,
        parties: Parties,
        keys: Keys,
        sends: Direction,
    ) -> Self {
        let parties = Arc::new(parties);
        let half = |direction, key| Half {
            id,
            until,
            parties: Arc::clone(&parties),
            direction,
            key,
        };
        let arguments = half(Direction::Arguments, keys.arguments);
        let result = half(Direction::Result, keys.result);
        let (sending, receiving) = match sends {
            Direction::Arguments => (arguments, result),
            Direction::Result => (result, arguments),
        };
        Self {
            id,
            until,
            cipher,
            sending: Sending {
                half: sending,
                next: AtomicU64::new(0),
            },
            receiving: Receiving {
                half: receiving,
                window: Mutex::default(),
            },
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// At this instant it is over.
    #[must_use]
    pub fn until(&self) -> UnixTime {
        self.until
    }

    /// Its cipher.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Seals what this end sends.
    #[must_use]
    pub fn sealer(&self, now: UnixTime) -> SessionSealer<'_> {
        self.sending.sealer(now)
    }

    /// Opens what this end receives.
    #[must_use]
    pub fn opener(&self, now: UnixTime) -> SessionOpener<'_> {
        self.receiving.opener(now)
    }

    /// The two halves, for an end that sends and receives in different places.
    #[must_use]
    pub fn into_halves(self) -> (Sending, Receiving) {
        (self.sending, self.receiving)
    }

    /// Ends it: both keys are wiped.
    pub fn end(self) {
        drop(self);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("until", &self.until)
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}

struct Half {
    id: SessionId,
    until: UnixTime,
    /// Whose session it is. Another call of the same two parties is told apart by the additional data.
    parties: Arc<Parties>,
    direction: Direction,
    /// In memory of the crypto library, which wipes what it frees.
    key: LessSafeKey,
}

impl Half {
    /// Whether it may be used for this field, now.
    fn usable(&self, binding: &Binding<'_>, now: UnixTime) -> Result<(), Error> {
        if *binding.shared_by() != *self.parties {
            return Err(Error::SessionUnknown);
        }
        if binding.direction() != self.direction {
            return Err(Error::Bug);
        }
        if now >= self.until {
            return Err(Error::SessionOver);
        }
        Ok(())
    }
}

/// The sending half: no counter is ever used twice.
pub struct Sending {
    half: Half,
    next: AtomicU64,
}

impl Sending {
    /// Seals what is sent in this direction.
    #[must_use]
    pub fn sealer(&self, now: UnixTime) -> SessionSealer<'_> {
        SessionSealer { sending: self, now }
    }

    fn seal(
        &self,
        binding: &Binding<'_>,
        place: &str,
        value: &Value,
        now: UnixTime,
    ) -> Result<String, Error> {
        self.half.usable(binding, now)?;
        let counter = self.counter()?;
        let mut buffer = Vec::with_capacity(expected_bytes(value) + TAG_BYTES);
        serde_json::to_writer(&mut buffer, value).map_err(|_| Error::Bug)?;
        let additional = binding.text(place);
        self.half
            .key
            .seal_in_place_append_tag(nonce(counter), Aad::from(&additional), &mut buffer)
            .map_err(|_| Error::Bug)?;
        let mut text = String::with_capacity(SESSION.len() + 44 + buffer.len().div_ceil(3) * 4);
        text.push_str(SESSION);
        text.push_str(&self.half.id.to_string());
        text.push('.');
        text.push_str(&counter.to_string());
        text.push('.');
        base64url::encode_onto(&mut text, &buffer);
        Ok(text)
    }

    fn counter(&self) -> Result<u64, Error> {
        let taken = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                if next < FIELDS { next.checked_add(1) } else { None }
            });
        taken.map_err(|_| Error::SessionSpent)
    }
}

/// The receiving half: each counter opens once, in any order within the window.
pub struct Receiving {
    half: Half,
    window: Mutex<Window>,
}

impl Receiving {
    /// Opens what is received in this direction.
    #[must_use]
    pub fn opener(&self, now: UnixTime) -> SessionOpener<'_> {
        SessionOpener {
            receiving: self,
            now,
            counters: BTreeSet::new(),
        }
    }

    /// The value that was sealed for this place of this call, and its counter, which is not taken in yet.
    fn decrypt(
        &self,
        binding: &Binding<'_>,
        place: &str,
        form: Form<'_>,
        now: UnixTime,
    ) -> Result<(Value, u64), Error> {
        let Form::Session { id, counter, sealed } = form else {
            return Err(Error::Mode);
        };
        if id != self.half.id {
            return Err(Error::SessionUnknown);
        }
        self.half.usable(binding, now)?;
        if counter >= FIELDS {
            return Err(Error::Undecipherable);
        }
        // Early, so that a flood of repeats costs no decryption; it is asked again at the end.
        self.window().verdict(counter)?;
        let mut buffer = Zeroizing::new(base64url::decode(sealed).map_err(|_| Error::Form)?);
        let additional = binding.text(place);
        let clear = self
            .half
            .key
            .open_in_place(nonce(counter), Aad::from(&additional), &mut buffer)
            .map_err(|_| Error::Undecipherable)?;
        Ok((canonical::read(clear)?, counter))
    }

    /// Takes in the counters of one message whose fields were all authentic, or none of them.
    fn take(&self, counters: &BTreeSet<u64>) -> Result<(), Error> {
        let mut window = self.window();
        for counter in counters {
            window.verdict(*counter)?;
        }
        // Upwards, so that none pushes another out of the window.
        for counter in counters {
            window.mark(*counter)?;
        }
        Ok(())
    }

    fn window(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending")
            .field("id", &self.half.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Receiving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving")
            .field("id", &self.half.id)
            .finish_non_exhaustive()
    }
}

/// Seals the fields of one message with a session.
#[derive(Debug)]
pub struct SessionSealer<'s> {
    sending: &'s Sending,
    now: UnixTime,
}

impl Sealer for SessionSealer<'_> {
    fn seal(&mut self, binding: &Binding<'_>, place: &str, value: &Value) -> Result<String, Error> {
        self.sending.seal(binding, place, value, self.now)
    }
}

/// Opens the fields of one message with a session.
#[derive(Debug)]
pub struct SessionOpener<'s> {
    receiving: &'s Receiving,
    now: UnixTime,
    /// Of the message so far.
    counters: BTreeSet<u64>,
}

impl Opener for SessionOpener<'_> {
    fn open(&mut self, binding: &Binding<'_>, place: &str, form: Form<'_>) -> Result<Value, Error> {
        let (value, counter) = self.receiving.decrypt(binding, place, form, self.now)?;
        if self.counters.insert(counter) {
            Ok(value)
        } else {
            Err(Error::Replayed)
        }
    }

    /// Only authentic messages move the window, and of two at once that share a counter one does.
    fn finish(&mut self) -> Result<Vec<TokenId>, Error> {
        self.receiving.take(&std::mem::take(&mut self.counters))?;
        Ok(Vec::new())
    }
}

/// 32 zero bits, then the counter. The key is of one direction of one session, so no nonce is used twice under it.
fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    let (_, last) = bytes.split_at_mut(4);
    last.copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// A guess at the length of the JSON text, so that a text is allocated once.
fn expected_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + text.len() / 16 + 16,
        Value::Null | Value::Bool(_) | Value::Number(_) => 32,
        Value::Array(_) | Value::Object(_) => 512,
    }
}

#[cfg(test)]
impl Session {
    /// As if so many fields had been sent.
    pub(in crate::seal) fn sent(&self, fields: u64) {
        self.sending.next.store(fields, Ordering::Relaxed);
    }
}
