//! Keys that two sides share for at most a day: a symmetric JWK (RFC 7517, RFC 7518 §6.4) with an end, for `dir`.

use std::path::Path;

use portcullis_core::ids::KeyId;
use portcullis_core::jose::base64url;
use portcullis_core::jose::jwe::{ContentEncryption, SharedKey};
use portcullis_core::random::SecureRandom as _;
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::clock::{self, Clock as _};
use portcullis_net::random;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::files::read_private_key;

/// The longest life of a session key.
const LONGEST: Lifetime = Lifetime::from_hours(24);

/// The JWK of a new key: `kty` `oct`, and when it begins and ends in `iat` and `exp`.
pub(super) fn generate(
    encryption: ContentEncryption,
    lifetime: Lifetime,
) -> Result<Zeroizing<String>, Failure> {
    let mut key = Zeroizing::new(vec![0; encryption.key_bytes()]);
    let mut name = [0; 6];
    let filled = random::System
        .fill(&mut key)
        .and_then(|()| random::System.fill(&mut name));
    filled.map_err(|error| Failure::refused(error.to_string()))?;
    let now = clock::System.now();
    let key = Zeroizing::new(base64url::encode(&*key));
    let jwk = json!({
        "kty": "oct",
        "use": "enc",
        "alg": encryption.name(),
        "kid": format!("session-{}", base64url::encode(name)),
        "iat": now.as_secs(),
        "exp": now.plus(lifetime).as_secs(),
        "k": key.as_str(),
    });
    Ok(Zeroizing::new(format!("{jwk:#}\n")))
}

/// Reads a key that `generate` made, unless it ended.
pub(super) fn read(path: &Path) -> Result<SharedKey, Failure> {
    let text = read_private_key(path)?;
    parse(&text, clock::System.now()).map_err(|failure| match failure {
        Unusable::Key(why) => Failure::usage(format!("the key in {} cannot be used: {why}", path.display())),
        Unusable::Ended(at) => Failure::refused(format!(
            "the session key in {} ended at {at}; a session lasts a day at most",
            path.display()
        ))
        .hint("make a new one with `portcullis seal keygen-session`, and give it to the other side"),
    })
}

#[derive(Debug)]
enum Unusable {
    Key(String),
    Ended(String),
}

fn parse(text: &[u8], now: UnixTime) -> Result<SharedKey, Unusable> {
    // Strictly first: what is read here is the same that the loose reader below sees.
    let key = SharedKey::parse(text).map_err(|problem| Unusable::Key(problem.to_string()))?;
    let jwk: Value = serde_json::from_slice(text).map_err(|error| Unusable::Key(error.to_string()))?;
    let time = |name: &str| {
        jwk.get(name)
            .and_then(Value::as_i64)
            .map(UnixTime::from_secs)
            .ok_or_else(|| Unusable::Key(format!("it has no `{name}`: it was not made by `keygen-session`")))
    };
    let (begins, ends) = (time("iat")?, time("exp")?);
    if begins.plus(LONGEST) < ends || ends <= begins {
        return Err(Unusable::Key("it lives longer than a day".to_owned()));
    }
    if ends <= now {
        return Err(Unusable::Ended(
            jiff::Timestamp::from_second(ends.as_secs())
                .map(|at| at.to_string())
                .unwrap_or_default(),
        ));
    }
    // A clock that is behind by minutes is usual, by more is a key from the future.
    if now.plus(Lifetime::from_minutes(5)) < begins {
        return Err(Unusable::Key(
            "it begins in the future; check this machine's clock".to_owned(),
        ));
    }
    key.kid()
        .map(KeyId::as_str)
        .ok_or_else(|| Unusable::Key("it has no name".to_owned()))?;
    Ok(key)
}

/// `90s`, `30m`, `24h`.
pub(super) fn lifetime(text: &str) -> Result<Lifetime, String> {
    const HELP: &str = "a time such as 90s, 30m or 24h, at most 24h";
    let unit = text.chars().last().ok_or(HELP)?;
    let number = text
        .strip_suffix(unit)
        .and_then(|number| number.parse::<u64>().ok())
        .ok_or(HELP)?;
    let seconds = match unit {
        's' => number.checked_mul(1),
        'm' => number.checked_mul(60),
        'h' => number.checked_mul(3600),
        _ => None,
    };
    seconds
        .filter(|seconds| (1..=LONGEST.as_secs()).contains(seconds))
        .map(Lifetime::from_secs)
        .ok_or_else(|| HELP.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_key_ends_to_the_second_and_never_lives_longer_than_a_day() {
        let text = generate(ContentEncryption::A256Gcm, LONGEST).unwrap();
        let jwk: Value = serde_json::from_str(&text).unwrap();
        let ends = UnixTime::from_secs(jwk["exp"].as_i64().unwrap());
        assert!(parse(text.as_bytes(), ends.minus(Lifetime::from_secs(1))).is_ok());
        assert!(matches!(parse(text.as_bytes(), ends), Err(Unusable::Ended(_))));
        let mut longer = jwk.clone();
        longer["exp"] = (ends.as_secs() + 1).into();
        let refused = parse(longer.to_string().as_bytes(), ends.minus(LONGEST)).unwrap_err();
        assert!(matches!(refused, Unusable::Key(_)), "{refused:?}");
        let mut endless = jwk;
        endless.as_object_mut().unwrap().remove("exp");
        assert!(parse(endless.to_string().as_bytes(), ends.minus(LONGEST)).is_err());
    }

    #[test]
    fn lifetimes_are_read_within_a_day() {
        assert_eq!(lifetime("90s").unwrap(), Lifetime::from_secs(90));
        assert_eq!(lifetime("24h").unwrap(), LONGEST);
        for wrong in [
            "",
            "0s",
            "25h",
            "1441m",
            "10",
            "h",
            "-1h",
            "99999999999999999999h",
            "1d",
            "1\u{e9}",
        ] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
