//! Nested JWT mode: each field is a token of its own, signed by its sender and encrypted to its recipient.

use std::sync::Arc;

use serde_json::Value;
use zeroize::Zeroizing;

use super::binding::Binding;
use super::envelope::{self, Claims, Moment, SenderKeys, exactly, object, text};
use super::error::{Bound, Error};
use super::field::{Opener, Sealer};
use super::form::{Form, NESTED};
use super::replay::{Once, ReplayMemory};
use crate::ids::{KeyId, TokenId};
use crate::jose::jwe::{self, ContentEncryption, PayloadOpener};
use crate::jose::jwk::EncryptionKey;
use crate::jose::jws::{self, TokenSigner};
use crate::jose::nested;
use crate::limits;
use crate::random::SecureRandom;
use crate::time::UnixTime;

/// `typ` of the inner token.
pub const FIELD_TYP: &str = "sealed-field+jwt";

/// Seals the fields of one message for one recipient.
pub struct NestedSealer<'k> {
    /// The sender's `sig` key.
    pub signer: &'k dyn TokenSigner,
    /// The recipient's `enc` key: from its published keys, never from a message.
    pub recipient: &'k EncryptionKey,
    /// How the content is encrypted.
    pub encryption: ContentEncryption,
    /// Now.
    pub now: UnixTime,
    /// For `jti` and the encryption.
    pub random: &'k dyn SecureRandom,
}

impl Sealer for NestedSealer<'_> {
    fn seal(&mut self, binding: &Binding<'_>, place: &str, value: &Value) -> Result<String, Error> {
        let also = [
            ("call", Value::Object(binding.claim(place))),
            ("val", value.clone()),
        ];
        let claims = envelope::issue(binding.parties(), also, self.now, self.random)?;
        let token = nested::seal(
            self.signer,
            self.recipient,
            self.encryption,
            FIELD_TYP,
            &claims,
            self.random,
        );
        let mut text = NESTED.to_owned();
        text.push_str(&token.map_err(not_sealed)?);
        Ok(text)
    }
}

/// Our private `enc` key of a name, if it is one of ours: the enabled one, and those before and after it.
pub type Openers<'k> = &'k dyn Fn(&KeyId) -> Option<Arc<dyn PayloadOpener>>;

/// Opens the fields of one message from one sender.
pub struct NestedOpener<'k> {
    sender: SenderKeys<'k>,
    openers: Openers<'k>,
    memory: &'k dyn ReplayMemory,
    moment: Moment,
    /// Who the fields are from, and the tokens so far.
    from: String,
    tokens: Vec<Once>,
}

impl<'k> NestedOpener<'k> {
    /// `sender` and `openers` come from what is known of the two sides, never from the message.
    #[must_use]
    pub fn new(
        sender: SenderKeys<'k>,
        openers: Openers<'k>,
        memory: &'k dyn ReplayMemory,
        moment: Moment,
    ) -> Self {
        Self {
            sender,
            openers,
            memory,
            moment,
            from: String::new(),
            tokens: Vec::new(),
        }
    }
}

impl Opener for NestedOpener<'_> {
    fn open(&mut self, binding: &Binding<'_>, place: &str, form: Form<'_>) -> Result<Value, Error> {
        let Form::Nested(token) = form else {
            return Err(Error::Mode);
        };
        // A field is as large as a message may be at most: the reader of messages is the bound.
        let outer = nested::Unopened::parse_within(token, limits::BODY_BYTES).map_err(not_opened)?;
        let opener = outer
            .kid()
            .and_then(|kid| (self.openers)(kid))
            .ok_or(Error::RecipientKey)?;
        let inner = outer.open(&*opener).map_err(not_opened)?;
        let key = self.sender.find(inner.kid(), inner.algorithm())?;
        let verified = inner.verify(key).map_err(not_opened)?;
        if verified.typ() != Some(FIELD_TYP) {
            return Err(Error::Typ);
        }
        let payload = Zeroizing::new(verified.into_payload());
        let mut claims = envelope::claims(&payload)?;
        let (issuer, audience, sub) = binding.parties();
        issuer.clone_into(&mut self.from);
        let once = envelope::check(&claims, &["call", "val"], (issuer, audience, sub), self.moment)?;
        same_call(object(&claims, "call")?, &binding.claim(place))?;
        let value = claims.remove("val").ok_or(Error::Claims)?;
        self.tokens.push(once);
        Ok(value)
    }

    fn finish(&mut self) -> Result<Vec<TokenId>, Error> {
        let tokens = std::mem::take(&mut self.tokens);
        self.memory.once(&self.from, &tokens, self.moment.now)?;
        Ok(tokens.into_iter().map(|token| token.jti).collect())
    }
}

/// Each member of `call` is what it must be here.
fn same_call(found: &Claims, expected: &Claims) -> Result<(), Error> {
    const MEMBERS: [(&str, Bound); 7] = [
        ("server", Bound::Server),
        ("tool", Bound::Tool),
        ("id", Bound::RequestId),
        ("msg", Bound::Message),
        ("ptr", Bound::Pointer),
        ("dir", Bound::Direction),
        ("digest", Bound::Arguments),
    ];
    exactly(found, &MEMBERS.map(|(name, _)| name), &[])?;
    for (name, bound) in MEMBERS {
        if name != "id" {
            text(found, name)?;
        }
        if found.get(name) != expected.get(name) {
            return Err(Error::Other(bound));
        }
    }
    Ok(())
}

fn not_sealed(error: nested::Error) -> Error {
    match error {
        nested::Error::Signing(unavailable) => unavailable.into(),
        nested::Error::Jwe(jwe::Error::Random(none)) => none.into(),
        nested::Error::Jwe(_)
        | nested::Error::Jws(_)
        | nested::Error::NotNested
        | nested::Error::Deeper
        | nested::Error::KeyUnknown => Error::Bug,
    }
}

fn not_opened(error: nested::Error) -> Error {
    match error {
        nested::Error::Jwe(jwe::Error::Unavailable(why)) => Error::KeyUnavailable(why),
        nested::Error::Jwe(jwe::Error::NotCompact) => Error::Form,
        nested::Error::Jwe(_) => Error::Undecipherable,
        nested::Error::Jws(jws::Error::Signature) => Error::Signature,
        nested::Error::Jws(jws::Error::OtherAlgorithm) | nested::Error::KeyUnknown => Error::SenderKey,
        nested::Error::Jws(_) | nested::Error::NotNested | nested::Error::Deeper => Error::Claims,
        nested::Error::Signing(unavailable) => unavailable.into(),
    }
}
