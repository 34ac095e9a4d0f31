//! Sealed sessions: fields of 1 KiB through the functions that agent and gateway call, on one core.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use portcullis_core::ids::{ClientId, Issuer, KeyId, Principal, ResourceUri, ServerName, Subject, ToolName};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwk::{SigningKey, VerificationKey};
use portcullis_core::seal::{
    Answering, Call, CallId, Cipher, Clear, Curve, MessageId, Moment, Offer, Offering, Parties, Pointers,
    Seen, SenderKeys, Session, open_arguments, respond, seal_arguments,
};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::random::System;
use serde_json::{Value, json};

use crate::load::Failure;
use crate::validation::NOW;

/// Fields of one call.
const FIELDS: [usize; 2] = [1, 16];
const KIB: usize = 1024;

/// The section of the page.
pub(crate) fn section(rounds: usize, time: Duration) -> Result<String, Failure> {
    let mut text = format!(
        "## Sealed sessions\n\nFields of 1 KiB in the arguments of a call, sealed and opened by the functions that agent and gateway call: pointers, canonical digest of the arguments, binding, cipher, base64url, counter window. \
         One core, median of {rounds} rounds.\n\n| cipher | fields in a call | sealed per second | opened per second | goal |\n|---|---|---|---|---|\n"
    );
    for cipher in Cipher::ALL {
        for fields in FIELDS {
            let [seal, open] = measure(cipher, fields, rounds, time)?;
            writeln!(
                text,
                "| {} | {fields} | {seal:.0} | {open:.0} | 300,000 |",
                cipher.name()
            )?;
        }
    }
    text.push('\n');
    Ok(text)
}

/// Fields per second, sealed and opened.
fn measure(cipher: Cipher, fields: usize, rounds: usize, time: Duration) -> Result<[f64; 2], Failure> {
    let (agent, gateway) = agreed(cipher)?;
    let now = UnixTime::from_secs(NOW);
    let pointers = Pointers::parse(["/notes/*"])?;
    let plain = json!({ "notes": vec!["x".repeat(KIB); fields], "to": "alice" });
    let (mut sealed_rates, mut opened_rates) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (mut sealing, mut opening, mut done) = (Duration::ZERO, Duration::ZERO, 0_usize);
        while sealing + opening < time * 2 {
            // Copies are made before the clock starts: the callers own what they hand over.
            let batch: Vec<Value> = vec![plain.clone(); 64];
            let started = Instant::now();
            let mut messages = Vec::with_capacity(batch.len());
            for value in batch {
                let (value, _) = seal_arguments(value, &pointers, call()?, &mut agent.sealer(now))?;
                messages.push(value);
            }
            sealing += started.elapsed();
            let started = Instant::now();
            for message in messages {
                let mut opener = gateway.opener(now);
                black_box(open_arguments(
                    message,
                    &pointers,
                    Clear::Refuse,
                    call()?,
                    &mut opener,
                )?);
            }
            opening += started.elapsed();
            done += 64 * fields;
        }
        sealed_rates.push(done as f64 / sealing.as_secs_f64());
        opened_rates.push(done as f64 / opening.as_secs_f64());
    }
    Ok([sealed_rates, opened_rates].map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or_default()
    }))
}

fn parties() -> Result<Parties, Failure> {
    Ok(Parties {
        principal: Principal {
            issuer: Issuer::parse("https://as.example.com")?,
            subject: Subject::parse("alice")?,
            client: ClientId::parse("agent-1")?,
        },
        gateway: Issuer::parse("https://mcp.example.com")?,
        resource: ResourceUri::parse("https://mcp.example.com/mcp")?,
        server: ServerName::parse("notes")?,
    })
}

fn call() -> Result<Call, Failure> {
    Ok(Call {
        parties: parties()?,
        tool: ToolName::parse("add_notes")?,
        id: CallId::parse("7")?,
        message: MessageId::parse("AAAAAAAAAAAAAAAAAAAAAA")?,
    })
}

/// Both ends of a session.
fn agreed(cipher: Cipher) -> Result<(Session, Session), Failure> {
    let key = |name: &str| -> Result<(SigningKey, VerificationKey), Failure> {
        let kid = KeyId::parse(name)?;
        let (key, _) = SigningKey::generate(kid.clone(), SignatureAlgorithm::Es256)?;
        let public = VerificationKey::from_public(key.public(), SignatureAlgorithm::Es256, Some(kid))?;
        Ok((key, public))
    };
    let ((agent, agent_public), (gateway, gateway_public)) = (key("agent")?, key("gateway")?);
    let now = UnixTime::from_secs(NOW);
    let moment = Moment {
        now,
        skew: Lifetime::from_secs(30),
    };
    let ends = now.plus(Lifetime::from_hours(1));
    let offering = Offering {
        curve: Curve::X25519,
        ciphers: vec![cipher],
    };
    let offer = Offer::new(parties()?, offering, &agent, now, &System)?;
    let answering = Answering {
        ciphers: vec![cipher],
        curves: Curve::ALL.to_vec(),
        ends,
    };
    let memory = Seen::new(16, 16);
    let answer = respond(
        offer.text(),
        &parties()?,
        SenderKeys::One(&agent_public),
        &answering,
        &gateway,
        &memory,
        moment,
        &System,
    )?;
    let ours = offer.accept(&answer.text, SenderKeys::One(&gateway_public), ends, moment)?;
    Ok((ours, answer.session))
}
