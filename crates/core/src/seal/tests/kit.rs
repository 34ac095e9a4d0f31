//! Two parties, their keys, a call between them, and randomness that can be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Value, json};

use super::super::*;
use crate::ids::{ClientId, Issuer, KeyId, Principal, ResourceUri, ServerName, Subject, ToolName};
use crate::jose::jwe::{ContentEncryption, PayloadOpener};
use crate::jose::jwk::{DecryptionKey, EncryptionKey, SigningKey, VerificationKey};
use crate::random::{RandomUnavailable, SecureRandom};
use crate::time::{Lifetime, UnixTime};

/// The first draw is all ones, the second all twos, and so on.
#[derive(Default)]
pub(super) struct Counted(AtomicU8);

impl SecureRandom for Counted {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
        out.fill(self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
        Ok(())
    }
}

/// 2026-11-21T12:00:00Z
pub(super) const NOW: i64 = 1_795_262_400;
pub(super) const SKEW: i64 = 30;

pub(super) fn at(secs: i64) -> Moment {
    Moment {
        now: UnixTime::from_secs(secs),
        skew: Lifetime::from_secs(30),
    }
}

/// RFC 8037 appendix A.1.
pub(super) const AGENT_SIG: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"agent-sig","use":"sig","alg":"EdDSA",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}"#;
/// RFC 8032 §7.1, test 2.
pub(super) const GATEWAY_SIG: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"gateway-sig","use":"sig","alg":"EdDSA",
    "x":"PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw","d":"TM0Imyj_ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U-4pvs"}"#;
/// RFC 7518 appendix C, Bob.
pub(super) const GATEWAY_ENC: &str = r#"{"kty":"EC","crv":"P-256","kid":"gateway-enc","use":"enc","alg":"ECDH-ES",
    "x":"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ","y":"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck",
    "d":"VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw"}"#;
/// The private half is 32 bytes of 0x42.
pub(super) const AGENT_ENC: &str = r#"{"kty":"OKP","crv":"X25519","kid":"agent-enc","use":"enc","alg":"ECDH-ES",
    "x":"EyxEK-AQ-9V-cmAzKKp25x_MwVA6riGTJ9FNnJmT9HI","d":"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"}"#;

pub(super) fn signer(jwk: &str) -> SigningKey {
    SigningKey::from_jwk(jwk.as_bytes()).unwrap()
}

fn public(jwk: &str) -> Vec<u8> {
    let mut jwk: Value = serde_json::from_str(jwk).unwrap();
    jwk.as_object_mut().unwrap().remove("d");
    jwk.to_string().into_bytes()
}

pub(super) fn verifier(jwk: &str) -> VerificationKey {
    VerificationKey::parse(&public(jwk)).unwrap()
}

pub(super) fn recipient(jwk: &str) -> EncryptionKey {
    EncryptionKey::parse(&public(jwk)).unwrap()
}

/// The private key under its own name, and nothing under another.
pub(super) fn opener_of(jwk: &str) -> impl Fn(&KeyId) -> Option<Arc<dyn PayloadOpener>> + use<> {
    let key: Arc<dyn PayloadOpener> = Arc::new(DecryptionKey::from_jwk(jwk.as_bytes()).unwrap());
    move |kid| (kid == key.kid()).then(|| Arc::clone(&key))
}

pub(super) fn parties() -> Parties {
    Parties {
        principal: Principal {
            issuer: Issuer::parse("https://gw.example").unwrap(),
            subject: Subject::parse("alice").unwrap(),
            client: ClientId::parse("agent-1").unwrap(),
        },
        gateway: Issuer::parse("https://gw.example").unwrap(),
        resource: ResourceUri::parse("https://gw.example/bank/mcp").unwrap(),
        server: ServerName::parse("bank").unwrap(),
    }
}

pub(super) fn call() -> Call {
    Call {
        parties: parties(),
        tool: ToolName::parse("pay").unwrap(),
        id: CallId::parse("7").unwrap(),
        message: MessageId::parse("CQkJCQkJCQkJCQkJCQkJCQ").unwrap(),
    }
}

pub(super) fn arguments() -> Value {
    json!({ "amount": 12.5, "card": { "cvc": 123, "number": "4111111111111111" }, "notes": ["a", { "b": null }] })
}

pub(super) fn argument_pointers() -> Pointers {
    Pointers::parse(["/card", "/notes/*"]).unwrap()
}

pub(super) fn result() -> Value {
    json!({ "structuredContent": { "iban": "DE02120300000000202051", "ok": true }, "content": [] })
}

pub(super) fn result_pointers() -> Pointers {
    Pointers::parse(["/structuredContent/iban"]).unwrap()
}

/// Every way in which a call can be another call.
pub(super) fn other_calls() -> Vec<(Call, Bound)> {
    let changed = |change: &dyn Fn(&mut Call)| {
        let mut other = call();
        change(&mut other);
        other
    };
    vec![
        (
            changed(&|call| call.tool = ToolName::parse("refund").unwrap()),
            Bound::Tool,
        ),
        (
            changed(&|call| call.id = CallId::parse("8").unwrap()),
            Bound::RequestId,
        ),
        (
            changed(&|call| call.id = CallId::parse("\"7\"").unwrap()),
            Bound::RequestId,
        ),
        (
            changed(&|call| call.message = MessageId::parse("CQkJCQkJCQkJCQkJCQkJCA").unwrap()),
            Bound::Message,
        ),
        (
            changed(&|call| call.parties.server = ServerName::parse("shop").unwrap()),
            Bound::Server,
        ),
        (
            changed(&|call| {
                call.parties.resource = ResourceUri::parse("https://gw.example/shop/mcp").unwrap()
            }),
            Bound::Audience,
        ),
        (
            changed(&|call| call.parties.principal.subject = Subject::parse("mallory").unwrap()),
            Bound::Principal,
        ),
        (
            changed(&|call| call.parties.principal.issuer = Issuer::parse("https://other.example").unwrap()),
            Bound::Principal,
        ),
        (
            changed(&|call| call.parties.principal.client = ClientId::parse("agent-2").unwrap()),
            Bound::Issuer,
        ),
    ]
}

pub(super) fn nested_sealer<'k>(
    signer: &'k SigningKey,
    recipient: &'k EncryptionKey,
    random: &'k dyn SecureRandom,
) -> NestedSealer<'k> {
    NestedSealer {
        signer,
        recipient,
        encryption: ContentEncryption::A256Gcm,
        now: at(NOW).now,
        random,
    }
}
