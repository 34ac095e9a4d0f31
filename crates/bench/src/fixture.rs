//! What everything that is measured side by side shares: an issuer's keys, its tokens, and a folder for configuration files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_net::clock::{self, Clock as _};
use serde_json::{Value, json};

use crate::load::Failure;

pub(crate) const ISSUER: &str = "https://as.example.com";
/// What callers know the gateway as, whatever it listens on, as behind any proxy.
pub(crate) const PUBLIC_URL: &str = "http://127.0.0.1:8420";
pub(crate) const RESOURCE: &str = "http://127.0.0.1:8420/mcp";

/// A folder that is gone with this value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("portcullis-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is in the system's folder for such things.
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// A key that signs, of an algorithm that every program here knows.
pub(crate) enum Signer {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

#[expect(clippy::disallowed_methods, reason = "throw-away keys of a measurement")]
impl Signer {
    pub(crate) fn es256() -> Result<Self, Failure> {
        Ok(Self::Es256(EcdsaKeyPair::generate(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
        )?))
    }

    /// With 2048 bits, which is what most issuers have.
    pub(crate) fn rs256() -> Result<Self, Failure> {
        Ok(Self::Rs256(RsaKeyPair::generate(
            aws_lc_rs::rsa::KeySize::Rsa2048,
        )?))
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::Rs256(_) => "RS256",
        }
    }

    /// As in RFC 7517, without what says what it is for.
    pub(crate) fn jwk(&self) -> Result<Value, Failure> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Ok(match self {
            Self::Es256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (point.get(1..33).ok_or("no x")?, point.get(33..65).ok_or("no y")?);
                json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
            Self::Rs256(pair) => json!({
                "kty": "RSA",
                "n": encode(pair.public_key().modulus().big_endian_without_leading_zero()),
                "e": encode(pair.public_key().exponent().big_endian_without_leading_zero()),
            }),
        })
    }

    /// The public key as a PEM file.
    pub(crate) fn pem(&self) -> Result<String, Failure> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Es256(pair) => pair.public_key().as_der()?,
            Self::Rs256(pair) => pair.public_key().as_der()?,
        };
        let text = STANDARD.encode(der.as_ref());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for line in text.as_bytes().chunks(64) {
            writeln!(pem, "{}", String::from_utf8_lossy(line))?;
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        Ok(pem)
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let random = SystemRandom::new();
        Ok(match self {
            Self::Es256(pair) => pair.sign(&random, message)?.as_ref().to_vec(),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                signature
            }
        })
    }

    fn jws(&self, header: &Value, claims: &Value) -> Result<String, Failure> {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.signature(message.as_bytes())?);
        Ok(format!("{message}.{signature}"))
    }
}

/// The issuer of every token here.
pub(crate) struct Issuer {
    pub(crate) es256: Signer,
    pub(crate) rs256: Signer,
}

impl Issuer {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            es256: Signer::es256()?,
            rs256: Signer::rs256()?,
        })
    }

    pub(crate) fn jwks(&self) -> Result<String, Failure> {
        let key = |signer: &Signer| -> Result<Value, Failure> {
            let mut key = signer.jwk()?;
            for (name, value) in [("kid", signer.name()), ("use", "sig"), ("alg", signer.name())] {
                key = with(key, name, value.into());
            }
            Ok(key)
        };
        Ok(json!({"keys": [key(&self.es256)?, key(&self.rs256)?]}).to_string())
    }

    /// An access token of one of many clients, for an hour.
    pub(crate) fn token(&self, signer: &Signer, to: &Grant<'_>, client: usize) -> Result<String, Failure> {
        let now = clock::System.now().as_secs();
        let mut claims = json!({
            "iss": to.issuer, "sub": format!("user-{client}"), "client_id": format!("agent-{client}"), "aud": to.audience,
            "scope": to.scope, "jti": format!("t-{client}"), "iat": now, "exp": now + 3600,
        });
        if let Some(key) = to.bound_to {
            claims = with(claims, "cnf", json!({"jkt": thumbprint(key)?}));
        }
        let header = json!({"alg": signer.name(), "typ": "at+jwt", "kid": signer.name()});
        signer.jws(&header, &claims)
    }
}

/// What a token is for.
pub(crate) struct Grant<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
    pub(crate) scope: &'a str,
    pub(crate) bound_to: Option<&'a Signer>,
}

impl Grant<'static> {
    pub(crate) const USUAL: Self = Self {
        issuer: ISSUER,
        audience: RESOURCE,
        scope: "bench:read",
        bound_to: None,
    };
}

/// A DPoP proof of now for a POST to the resource (RFC 9449 §4.2), with an id that no other has.
pub(crate) fn proof(key: &Signer, token: &str, number: usize) -> Result<String, Failure> {
    let now = clock::System.now();
    let header = json!({"typ": "dpop+jwt", "alg": key.name(), "jwk": key.jwk()?});
    let claims = json!({
        "jti": format!("{}-{number}", now.as_millis()), "htm": "POST", "htu": RESOURCE, "iat": now.as_secs(),
        "ath": URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes())),
    });
    key.jws(&header, &claims)
}

/// An object with one member more.
pub(crate) fn with(mut object: Value, name: &str, value: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    object
}

/// RFC 7638.
fn thumbprint(key: &Signer) -> Result<String, Failure> {
    let jwk = key.jwk()?;
    let member = |name: &str| jwk.get(name).cloned().unwrap_or_default();
    let text = match key {
        Signer::Es256(_) => format!(
            r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#,
            member("x"),
            member("y")
        ),
        Signer::Rs256(_) => format!(r#"{{"e":{},"kty":"RSA","n":{}}}"#, member("e"), member("n")),
    };
    Ok(URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes())))
}

/// A configuration of the gateway with one issuer and the servers that `servers` writes out. Everything is at its default but the
/// quotas of single callers: a few of them make all the load there is.
pub(crate) fn gateway_toml(listen: &str, issuers: &str, servers: &str) -> String {
    format!(
        r#"version = 1
[gateway]
listen = "{listen}"
public_url = "{PUBLIC_URL}"
{issuers}
{servers}
[limits]
per_client = "none"
per_user = "none"
[audit]
dir = "audit"
[keys]
dir = "keys"
master_key_file = "master.key"
"#
    )
}

/// An issuer whose keys are in a file.
pub(crate) fn issuer_toml(issuer: &str) -> String {
    format!(
        "[[issuers]]\nissuer = \"{issuer}\"\njwks_file = \"jwks.json\"\nalgorithms = [\"ES256\", \"RS256\"]\n"
    )
}

/// A server of which every tool reads.
pub(crate) fn server_toml(name: &str, behind: &str) -> String {
    format!("[[servers]]\nname = \"{name}\"\nurl = \"http://{behind}/mcp\"\nunlisted = \"read\"\n")
}
