//! Where the keys of a command come from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use portcullis_core::ids::KeyId;
use portcullis_core::jose::jwe::{self, KeyManagement, NoRecipient, SharedKey};
use portcullis_core::jose::jwk::{DecryptionKey, EncryptionKey, KeyProblem, PublicKey};
use portcullis_core::limits;
use portcullis_net::fetch::{Fetcher, Limits, Reach};
use zeroize::Zeroizing;

use super::streams;
use crate::failure::Failure;
use crate::files::{read_key, read_private_key};

/// Longest wait for a JWK Set.
const PATIENCE: Duration = Duration::from_secs(10);

/// The key to encrypt to: in a file (JWK, JWK Set, or public key in PEM), or in the set at a URL.
pub(super) async fn recipient(
    from: &str,
    kid: Option<&KeyId>,
    algorithm: Option<KeyManagement>,
) -> Result<EncryptionKey, Failure> {
    let text = if from.starts_with("https://") || from.starts_with("http://") {
        fetch(from).await?.to_vec()
    } else {
        read_key(Path::new(from))?.to_vec()
    };
    let text = if text.trim_ascii_start().starts_with(b"-----BEGIN") {
        let public = pem(&text, "PUBLIC KEY").and_then(|der| {
            let key = PublicKey::from_spki(&der).ok_or(KeyProblem::Unsupported)?;
            let members: BTreeMap<&str, &str> = key.members().into_iter().collect();
            serde_json::to_vec(&members).map_err(|_| KeyProblem::Malformed)
        });
        public.map_err(|problem| {
            unusable(from, &problem)
                .hint("a PEM file with a recipient's key says `BEGIN PUBLIC KEY`: openssl pkey -pubout")
        })?
    } else {
        text
    };
    let is_set =
        serde_json::from_slice::<serde_json::Value>(&text).is_ok_and(|json| json.get("keys").is_some());
    let set = if is_set {
        text
    } else {
        // A lone JWK is a set of one: whoever names it means it, so its `use` may be left out.
        alone(&text, algorithm).map_err(|problem| unusable(from, &problem))?
    };
    jwe::recipient_of(&set, kid, algorithm).map_err(|problem| {
        let failure = unusable(from, &problem);
        if problem == NoRecipient::Several {
            return failure.hint("name one with --kid, or its algorithm with --alg");
        }
        failure
    })
}

/// The set that has this key alone.
fn alone(jwk: &[u8], algorithm: Option<KeyManagement>) -> Result<Vec<u8>, KeyProblem> {
    let mut members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(jwk).map_err(|_| KeyProblem::Malformed)?;
    // The strict reader has the last word on the text itself, and on what else the key says it is for.
    if members.contains_key("alg") || algorithm.is_none() {
        EncryptionKey::parse(jwk)?;
    }
    members.entry("use").or_insert_with(|| "enc".into());
    serde_json::to_vec(&serde_json::json!({ "keys": [members] })).map_err(|_| KeyProblem::Malformed)
}

async fn fetch(url: &str) -> Result<Bytes, Failure> {
    let cannot = |detail: String| Failure::refused(format!("the key set at {url} cannot be had: {detail}"));
    let request = http::Request::get(url)
        .header(http::header::ACCEPT, "application/jwk-set+json, application/json")
        .body(Bytes::new())
        .map_err(|error| Failure::usage(format!("`{url}` is not a URL: {error}")))?;
    let limits = Limits {
        body: limits::JWKS_BYTES,
        time: PATIENCE,
    };
    // Whoever could change the key on its way could read what is sealed for it.
    let reach = if url.starts_with("https://") {
        Reach::Configured
    } else if is_here(request.uri()) {
        Reach::LoopbackToo
    } else {
        return Err(Failure::usage(format!(
            "the key set at {url} would come unprotected, and so could be anybody's"
        ))
        .hint("name an `https:` address; `http:` is for this machine alone"));
    };
    let fetcher = Fetcher::new(reach).map_err(|error| cannot(error.to_string()))?;
    let answer = fetcher
        .send(request, limits)
        .await
        .map_err(|error| cannot(error.to_string()))?;
    if answer.status() != http::StatusCode::OK {
        return Err(cannot(format!("it answered {}", answer.status())));
    }
    Ok(answer.into_body())
}

/// Whether an address says that it is on this machine.
fn is_here(uri: &http::Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A private key of the user's own.
pub(super) fn private(path: &Path, algorithm: Option<KeyManagement>) -> Result<DecryptionKey, Failure> {
    let name = path.display().to_string();
    let text = read_private_key(path)?;
    let key = if text.trim_ascii_start().starts_with(b"-----BEGIN") {
        from_pem(&text, algorithm)
    } else {
        from_jwk(&text, algorithm)
    };
    key.map_err(|problem| {
        if problem == KeyProblem::Public {
            return Failure::usage(format!(
                "{name} holds a public key, and opening needs the private one"
            ));
        }
        unusable(&name, &problem)
    })
}

fn from_jwk(text: &[u8], algorithm: Option<KeyManagement>) -> Result<DecryptionKey, KeyProblem> {
    let Some(algorithm) = algorithm else {
        return DecryptionKey::from_jwk(text);
    };
    // As it is written first, so that what the key says of itself is never overruled.
    DecryptionKey::from_jwk(text)?;
    let mut members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(text).map_err(|_| KeyProblem::Malformed)?;
    members.entry("alg").or_insert_with(|| algorithm.name().into());
    let named = Zeroizing::new(serde_json::to_vec(&members).map_err(|_| KeyProblem::Malformed)?);
    DecryptionKey::from_jwk(&named)
}

fn from_pem(text: &[u8], algorithm: Option<KeyManagement>) -> Result<DecryptionKey, KeyProblem> {
    let der = pem(text, "PRIVATE KEY")?;
    // PKCS#8 has no name, and the message's `kid` needs to match none where the user chose the key.
    let kid = KeyId::parse("own").map_err(|_| KeyProblem::Malformed)?;
    match algorithm {
        Some(algorithm) => DecryptionKey::from_pkcs8(kid, algorithm, &der),
        None => DecryptionKey::from_pkcs8(kid.clone(), KeyManagement::EcdhEs, &der)
            .or_else(|_| DecryptionKey::from_pkcs8(kid, KeyManagement::RsaOaep256, &der)),
    }
}

/// What is in a PEM text (RFC 7468 §2) under this label.
fn pem(text: &[u8], label: &str) -> Result<Zeroizing<Vec<u8>>, KeyProblem> {
    use base64::Engine as _;
    let text = std::str::from_utf8(text).map_err(|_| KeyProblem::Malformed)?;
    let body = text
        .split_once(&format!("-----BEGIN {label}-----"))
        .and_then(|(_, rest)| rest.split_once(&format!("-----END {label}-----")))
        .map(|(body, _)| body)
        .ok_or(KeyProblem::Unsupported)?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
    base64::engine::general_purpose::STANDARD
        .decode(body.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| KeyProblem::Malformed)
}

/// A key that opens.
pub(super) enum OpeningKey {
    /// The user's private key.
    Own(DecryptionKey),
    /// A key that both sides have.
    Shared(SharedKey),
}

impl OpeningKey {
    /// Opens a message in whichever form it is.
    pub(super) fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let limit = usize::try_from(streams::LARGEST.saturating_mul(2)).unwrap_or(usize::MAX);
        let text = sealed.trim_ascii();
        let opened = if text.first() == Some(&b'{') {
            let message =
                jwe::json::Unopened::parse_within(text, limit).map_err(|error| unreadable(&error))?;
            match self {
                Self::Own(key) => message.open(key),
                Self::Shared(key) => message.open_shared(key),
            }
            .map(|opened| opened.message)
        } else {
            let text = std::str::from_utf8(text).map_err(|_| unreadable(&jwe::Error::NotCompact))?;
            let message = jwe::Unopened::parse_within(text, limit).map_err(|error| unreadable(&error))?;
            match self {
                Self::Own(key) => message.open(key),
                Self::Shared(key) => message.open_shared(key),
            }
        };
        match opened {
            Ok(opened) => Ok(Zeroizing::new(opened.into_plaintext())),
            Err(error @ jwe::Error::OtherAlgorithm) => Err(Failure::refused(error.to_string())
                .hint("where the key does not say what it is for, say it: --alg ECDH-ES+A256KW")),
            Err(error) => Err(Failure::refused(error.to_string())),
        }
    }
}

fn unreadable(error: &jwe::Error) -> Failure {
    Failure::refused(format!("the input is not a message that can be opened: {error}"))
}

fn unusable(name: &str, problem: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("the key in {name} cannot be used: {problem}"))
}

#[cfg(test)]
mod tests {
    use portcullis_core::jose::jwe::{ContentEncryption, Protected};
    use portcullis_net::random;

    use super::*;

    #[tokio::test]
    async fn a_key_set_comes_over_https_or_from_this_machine() {
        for url in [
            "http://example.com/jwks.json",
            "http://10.0.0.1/jwks.json",
            "http://192.168.1.7:8080/jwks.json",
            "http://[fd00::1]/jwks.json",
            "http://localhost.example/jwks.json",
            "http://127.0.0.1.example/jwks.json",
            "http://127.0.0.1@10.0.0.1/jwks.json",
        ] {
            let failure = recipient(url, None, None).await.unwrap_err();
            assert!(failure.to_string().contains("unprotected"), "{url}: {failure}");
        }
        for here in ["http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost:1/"] {
            assert!(is_here(&here.parse().unwrap()), "{here}");
        }
    }

    #[test]
    fn a_shared_key_opens_the_json_form_too() {
        let encryption = ContentEncryption::A256Gcm;
        let key = SharedKey::generate(None, encryption, &random::System).unwrap();
        let compact =
            jwe::encrypt_shared(&key, &Protected::new(encryption), b"hello", &random::System).unwrap();
        let parts: Vec<&str> = compact.split('.').collect();
        let json = serde_json::json!({
            "protected": parts[0], "iv": parts[2], "ciphertext": parts[3], "tag": parts[4],
        });
        let opening = OpeningKey::Shared(key);
        assert_eq!(*opening.open(compact.as_bytes()).unwrap(), b"hello");
        assert_eq!(*opening.open(json.to_string().as_bytes()).unwrap(), b"hello");
        let other = SharedKey::generate(None, encryption, &random::System).unwrap();
        assert!(
            OpeningKey::Shared(other)
                .open(json.to_string().as_bytes())
                .is_err()
        );
    }
}
