//! Agreeing on a session: two signed messages.

use aws_lc_rs::digest;
use serde_json::{Value, json};

use super::super::binding::{Direction, Parties};
use super::super::envelope::{self, Claims, Moment, SenderKeys, exactly, object, text, time};
use super::super::error::{Bound, Error};
use super::super::form::SessionId;
use super::super::replay::ReplayMemory;
use super::SESSION_LIFETIME;
use super::keys::{Cipher, Curve, Ephemeral, PeerKey, derive};
use super::traffic::Session;
use crate::jose::base64url;
use crate::jose::jws::{self, TokenSigner};
use crate::random::SecureRandom;
use crate::time::UnixTime;

/// `typ` of both messages.
pub const HANDSHAKE_TYP: &str = "seal-session+jwt";

/// Longest message read, in bytes. The largest signature (RSA of 8192 bits) takes 1.4 KB of it.
const MESSAGE_BYTES: usize = 16 * 1024;

/// What an agent offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offering {
    /// The curve of its ephemeral key.
    pub curve: Curve,
    /// The ciphers it accepts.
    pub ciphers: Vec<Cipher>,
}

/// An offer that was made and not answered yet. Holds the ephemeral private key, and is spent by the answer.
pub struct Offer {
    text: String,
    parties: Parties,
    offering: Offering,
    ephemeral: Ephemeral,
}

impl Offer {
    /// Makes an offer, signed by the agent's `sig` key.
    ///
    /// # Errors
    /// [`Error::KeyUnavailable`], [`Error::Random`].
    pub fn new(
        parties: Parties,
        offering: Offering,
        signer: &dyn TokenSigner,
        now: UnixTime,
        random: &dyn SecureRandom,
    ) -> Result<Self, Error> {
        let ephemeral = Ephemeral::new(offering.curve, random)?;
        let ciphers: Vec<&str> = offering.ciphers.iter().map(|cipher| cipher.name()).collect();
        let about = json!({
            "ciphers": ciphers,
            "epk": ephemeral.public()?,
            "role": "offer",
            "server": parties.server,
        });
        let text = message(&parties, Direction::Arguments, about, signer, now, random)?;
        Ok(Self {
            text,
            parties,
            offering,
            ephemeral,
        })
    }

    /// What is sent: a compact JWS.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Takes the gateway's answer. `ends` is the latest end that the agent accepts, such as that of its access token.
    ///
    /// # Errors
    /// [`Error`]; the offer is spent in any case.
    pub fn accept(
        self,
        answer: &str,
        gateway: SenderKeys<'_>,
        ends: UnixTime,
        moment: Moment,
    ) -> Result<Session, Error> {
        let claims = signed(answer, gateway)?;
        let (about, _) = checked(&claims, &self.parties, Direction::Result, moment)?;
        exactly(
            about,
            &["role", "server", "offer", "cipher", "epk", "sid", "until"],
            &[],
        )?;
        role(about, "answer", &self.parties)?;
        // The hash of our own words: an answer to another offer is none.
        if text(about, "offer")? != digest_text(&self.text) {
            return Err(Error::NotOurOffer);
        }
        let cipher = Cipher::from_name(text(about, "cipher")?)
            .filter(|cipher| self.offering.ciphers.contains(cipher))
            .ok_or(Error::NotOurOffer)?;
        let peer = PeerKey::parse(object(about, "epk")?)?;
        if peer.curve() != self.ephemeral.curve() {
            return Err(Error::NotOurOffer);
        }
        let id = SessionId::parse(text(about, "sid")?).map_err(|_| Error::Claims)?;
        let until = time(about, "until")?;
        if until > moment.now.plus(SESSION_LIFETIME).plus(moment.skew) {
            return Err(Error::Lifetime);
        }
        let until = until.min(ends);
        if until <= moment.now {
            return Err(Error::SessionOver);
        }
        let shared = self.ephemeral.agree(&peer)?;
        let keys = derive(&shared, &self.text, answer, cipher)?;
        Ok(Session::new(
            id,
            until,
            cipher,
            self.parties,
            keys,
            Direction::Arguments,
        ))
    }
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offer")
            .field("parties", &self.parties)
            .field("offering", &self.offering)
            .finish_non_exhaustive()
    }
}

/// What a gateway accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answering {
    /// The ciphers, the preferred one first.
    pub ciphers: Vec<Cipher>,
    /// The curves.
    pub curves: Vec<Curve>,
    /// The latest end of the session, such as that of the access token.
    pub ends: UnixTime,
}

/// The gateway's side of a new session.
#[derive(Debug)]
pub struct Answer {
    /// What is sent: a compact JWS.
    pub text: String,
    /// The session, to be kept under its id for this principal and this server.
    pub session: Session,
}

/// Answers an offer. The parties are those of the authenticated request that brought it; the agent's keys are those
/// its identity is bound to.
///
/// # Errors
/// [`Error`].
#[expect(
    clippy::too_many_arguments,
    reason = "each is another part of the same one step, and none has a default"
)]
pub fn respond(
    offer: &str,
    parties: &Parties,
    agent: SenderKeys<'_>,
    answering: &Answering,
    signer: &dyn TokenSigner,
    memory: &dyn ReplayMemory,
    moment: Moment,
    random: &dyn SecureRandom,
) -> Result<Answer, Error> {
    let claims = signed(offer, agent)?;
    let (about, once) = checked(&claims, parties, Direction::Arguments, moment)?;
    exactly(about, &["role", "server", "ciphers", "epk"], &[])?;
    role(about, "offer", parties)?;
    let offered = about
        .get("ciphers")
        .and_then(Value::as_array)
        .ok_or(Error::Claims)?;
    // The whole offer is in the transcript: a list that was shortened on the way makes other keys, and no signature.
    let cipher = answering
        .ciphers
        .iter()
        .copied()
        .find(|cipher| {
            offered
                .iter()
                .any(|offered| offered.as_str() == Some(cipher.name()))
        })
        .ok_or(Error::NothingInCommon)?;
    let peer = PeerKey::parse(object(about, "epk")?)?;
    if !answering.curves.contains(&peer.curve()) {
        return Err(Error::NothingInCommon);
    }
    let until = answering.ends.min(moment.now.plus(SESSION_LIFETIME));
    // Whole seconds, rounded down, so that both sides have the same end.
    let until = UnixTime::from_secs(until.as_secs());
    if until <= moment.now {
        return Err(Error::SessionOver);
    }
    memory.once(parties.principal.client.as_str(), &[once], moment.now)?;
    let ephemeral = Ephemeral::new(peer.curve(), random)?;
    let id = SessionId::new(random)?;
    let about = json!({
        "cipher": cipher.name(),
        "epk": ephemeral.public()?,
        "offer": digest_text(offer),
        "role": "answer",
        "server": parties.server,
        "sid": id.to_string(),
        "until": until.as_secs(),
    });
    let shared = ephemeral.agree(&peer)?;
    let text = message(parties, Direction::Result, about, signer, moment.now, random)?;
    let keys = derive(&shared, offer, &text, cipher)?;
    Ok(Answer {
        text,
        session: Session::new(id, until, cipher, parties.clone(), keys, Direction::Result),
    })
}

fn message(
    parties: &Parties,
    direction: Direction,
    about: Value,
    signer: &dyn TokenSigner,
    now: UnixTime,
    random: &dyn SecureRandom,
) -> Result<String, Error> {
    let (issuer, audience) = parties.from_to(direction);
    let claims = envelope::issue(
        (issuer, audience, parties.sub()),
        [("session", about)],
        now,
        random,
    )?;
    Ok(jws::sign(signer, HANDSHAKE_TYP, &claims)?)
}

fn signed(message: &str, keys: SenderKeys<'_>) -> Result<Claims, Error> {
    if message.len() > MESSAGE_BYTES {
        return Err(Error::Claims);
    }
    let token = jws::Unverified::parse(message).map_err(|_| Error::Claims)?;
    let key = keys.find(token.kid(), token.algorithm())?;
    let verified = token.verify(key).map_err(|_| Error::Signature)?;
    if verified.typ() != Some(HANDSHAKE_TYP) {
        return Err(Error::Typ);
    }
    envelope::claims(verified.payload())
}

/// The claims that every message has, and `session`.
fn checked<'o>(
    claims: &'o Claims,
    parties: &Parties,
    direction: Direction,
    moment: Moment,
) -> Result<(&'o Claims, super::super::replay::Once), Error> {
    let (issuer, audience) = parties.from_to(direction);
    let once = envelope::check(claims, &["session"], (issuer, audience, parties.sub()), moment)?;
    Ok((object(claims, "session")?, once))
}

fn role(about: &Claims, role: &str, parties: &Parties) -> Result<(), Error> {
    if text(about, "role")? != role {
        return Err(Error::Other(Bound::Direction));
    }
    if text(about, "server")? != parties.server.as_str() {
        return Err(Error::Other(Bound::Server));
    }
    Ok(())
}

fn digest_text(offer: &str) -> String {
    base64url::encode(digest::digest(&digest::SHA256, offer.as_bytes()))
}
