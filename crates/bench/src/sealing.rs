//! Hybrid encryption against RSA alone in blocks, against the bare cipher, and against two other implementations.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use portcullis_core::ids::KeyId;
use portcullis_core::jose::jwe::{
    self, ContentEncryption, Detached, KeyManagement, Protected, Unopened, open_detached, seal_detached,
};
use portcullis_core::jose::jwk::{DecryptionKey, DecryptionKind, EncryptionKey};
use portcullis_net::random::System;

use crate::load::Failure;

const KIB: usize = 1024;
const MIB: usize = 1024 * 1024;
const SIZES: [usize; 4] = [KIB, 64 * KIB, MIB, 64 * MIB];
/// RSA-OAEP-256 with 2048 bits takes 256 - 2·32 - 2 bytes at a time (RFC 8017 §7.1.1).
const BLOCK: usize = 190;
/// Blocks that are measured at most; the time of the rest is that of as many times more.
const BLOCKS: usize = 400;

/// The two directions of one way to encrypt.
#[derive(Clone, Copy, Default)]
struct Both {
    seal: Duration,
    open: Duration,
}

struct Row {
    size: usize,
    compact: Both,
    bytes: Both,
    bare: Both,
    rsa: Both,
}

/// The section of the page. `tools` has `node_modules` and `venv` with the other implementations.
pub(crate) fn section(rounds: usize, time: Duration, tools: Option<&Path>) -> Result<String, Failure> {
    let bench = Bench::new(KeyManagement::EcdhEsA256Kw, DecryptionKind::P256)?;
    let rows = SIZES
        .into_iter()
        .map(|size| bench.row(size, rounds, time))
        .collect::<Result<Vec<_>, _>>()?;
    let mut text = format!(
        "## Hybrid encryption\n\nECDH-ES+A256KW on P-256 with A256GCM. *Compact* is the whole of RFC 7516 §7.1 with its base64url, *bytes* the same message with the ciphertext kept as bytes; \
         *bare* is the crypto library's AES-256-GCM with a ready key, and *RSA alone* is RSA-OAEP-256 with 2048 bits in blocks of {BLOCK} bytes (at most {BLOCKS} blocks measured, the rest in proportion). \
         Median of {rounds} alternating rounds.\n\n"
    );
    for (direction, pick) in [
        ("Encrypt", (|both: Both| both.seal) as fn(Both) -> Duration),
        ("Decrypt", |both| both.open),
    ] {
        writeln!(
            text,
            "| {direction} | compact | bytes | bare AES-256-GCM | RSA alone | RSA alone / compact | bare / bytes |\n|---|---|---|---|---|---|---|"
        )?;
        for row in &rows {
            let [compact, bytes, bare, rsa] = [row.compact, row.bytes, row.bare, row.rsa].map(pick);
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {:.0} x | {:.2} |",
                size(row.size),
                span(compact),
                span(bytes),
                span(bare),
                span(rsa),
                rsa.as_secs_f64() / compact.as_secs_f64(),
                bare.as_secs_f64() / bytes.as_secs_f64()
            )?;
        }
        text.push('\n');
    }
    text.push_str("Goals at 1 MiB: RSA alone / compact at least 100, bare / bytes at least 0.85.\n\n");
    text.push_str(&managements(rounds, time)?);
    text.push_str(&others(&rows, tools)?);
    Ok(text)
}

/// What the one asymmetric operation of a message costs beside a MiB of the cipher, per way to manage keys.
fn managements(rounds: usize, time: Duration) -> Result<String, Failure> {
    let mut text = format!(
        "One message of 1 MiB as bytes, per key management (RFC 7518 §4). Each message has an ephemeral key of its own, as §4.6 demands, so its price is paid once a message: \
         it is why the ratio cannot be near 1 where the cipher takes {} for the whole MiB.\n\n\
         | | encrypt | bare / bytes | decrypt | bare / bytes |\n|---|---|---|---|---|\n",
        span(
            Bench::new(KeyManagement::EcdhEs, DecryptionKind::X25519)?
                .bare(time, &mut vec![0x5a; MIB])?
                .seal
        )
    );
    for (name, algorithm, kind) in [
        ("ECDH-ES, P-256", KeyManagement::EcdhEs, DecryptionKind::P256),
        ("ECDH-ES, X25519", KeyManagement::EcdhEs, DecryptionKind::X25519),
        (
            "ECDH-ES+A256KW, X25519",
            KeyManagement::EcdhEsA256Kw,
            DecryptionKind::X25519,
        ),
        (
            "RSA-OAEP-256, 2048 bits",
            KeyManagement::RsaOaep256,
            DecryptionKind::Rsa2048,
        ),
    ] {
        let bench = Bench::new(algorithm, kind)?;
        let protected = Protected::new(ContentEncryption::A256Gcm);
        let mut buffer = vec![0x5a; MIB];
        let (mut bytes, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            bytes.push(bench.bytes(time / 5, &protected, &mut buffer)?);
            bare.push(bench.bare(time / 5, &mut buffer)?);
        }
        let (bytes, bare) = (median(bytes), median(bare));
        let ratio = |pick: fn(Both) -> Duration| pick(bare).as_secs_f64() / pick(bytes).as_secs_f64();
        writeln!(
            text,
            "| {name} | {} | {:.2} | {} | {:.2} |",
            span(bytes.seal),
            ratio(|both| both.seal),
            span(bytes.open),
            ratio(|both| both.open)
        )?;
    }
    text.push('\n');
    Ok(text)
}

struct Bench {
    own: DecryptionKey,
    recipient: EncryptionKey,
    cipher: LessSafeKey,
    rsa_public: OaepPublicEncryptingKey,
    rsa_private: OaepPrivateDecryptingKey,
}

impl Bench {
    fn new(algorithm: KeyManagement, kind: DecryptionKind) -> Result<Self, Failure> {
        let kid = KeyId::parse("bench")?;
        let own = DecryptionKey::generate(kid.clone(), algorithm, kind, &System)?;
        let recipient = EncryptionKey::from_public(own.public().clone(), algorithm, Some(kid))?;
        let rsa = PrivateDecryptingKey::generate(KeySize::Rsa2048)?;
        Ok(Self {
            own,
            recipient,
            cipher: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32])?),
            rsa_public: OaepPublicEncryptingKey::new(rsa.public_key())?,
            rsa_private: OaepPrivateDecryptingKey::new(rsa)?,
        })
    }

    fn row(&self, size: usize, rounds: usize, time: Duration) -> Result<Row, Failure> {
        // A size at which one call takes long is measured by fewer calls, never by none.
        let time = time / u32::try_from(rounds.max(1))?;
        let protected = Protected::new(ContentEncryption::A256Gcm);
        let plaintext = vec![0x5a; size];
        let sealed = jwe::encrypt(&self.recipient, &protected, &plaintext, &System)?;
        let mut buffer = plaintext.clone();
        let mut runs: [Vec<Both>; 4] = Default::default();
        for _ in 0..rounds {
            let compact = Both {
                seal: mean(time, || {
                    black_box(jwe::encrypt(
                        &self.recipient,
                        &protected,
                        black_box(&plaintext),
                        &System,
                    )?);
                    Ok(Duration::ZERO)
                })?,
                open: mean(time, || {
                    let message = Unopened::parse_within(black_box(&sealed), usize::MAX)?;
                    black_box(message.open(&self.own)?);
                    Ok(Duration::ZERO)
                })?,
            };
            let bytes = self.bytes(time, &protected, &mut buffer)?;
            let bare = self.bare(time, &mut buffer)?;
            let rsa = self.rsa(size)?;
            for (run, both) in runs.iter_mut().zip([compact, bytes, bare, rsa]) {
                run.push(both);
            }
        }
        let [compact, bytes, bare, rsa] = runs.map(median);
        Ok(Row {
            size,
            compact,
            bytes,
            bare,
            rsa,
        })
    }

    fn bytes(&self, time: Duration, protected: &Protected<'_>, buffer: &mut [u8]) -> Result<Both, Failure> {
        let seal = mean(time, || {
            black_box(seal_detached(
                &self.recipient,
                protected,
                black_box(buffer),
                &System,
            )?);
            Ok(Duration::ZERO)
        })?;
        let open = mean(time, || {
            // What is opened has to be sealed anew each time, which does not count.
            let started = Instant::now();
            let message: Detached = seal_detached(&self.recipient, protected, buffer, &System)?;
            let besides = started.elapsed();
            open_detached(&self.own, &message, black_box(buffer))?;
            Ok(besides)
        })?;
        Ok(Both { seal, open })
    }

    fn bare(&self, time: Duration, buffer: &mut [u8]) -> Result<Both, Failure> {
        let nonce = || Nonce::assume_unique_for_key([3; 12]);
        let seal = mean(time, || {
            let tag = self
                .cipher
                .seal_in_place_separate_tag(nonce(), Aad::empty(), black_box(buffer))?;
            let _seen = black_box(tag);
            Ok(Duration::ZERO)
        })?;
        let open = mean(time, || {
            let started = Instant::now();
            let tag = self
                .cipher
                .seal_in_place_separate_tag(nonce(), Aad::empty(), buffer)?;
            let besides = started.elapsed();
            self.cipher
                .open_in_place_separate_tag(nonce(), Aad::empty(), tag.as_ref(), black_box(buffer))?;
            Ok(besides)
        })?;
        Ok(Both { seal, open })
    }

    fn rsa(&self, size: usize) -> Result<Both, Failure> {
        let all = size.div_ceil(BLOCK);
        let measured = u32::try_from(all.min(BLOCKS))?;
        let (plaintext, mut ciphertext, mut opened) = ([0x5a; BLOCK], [0; 256], [0; 256]);
        let started = Instant::now();
        for _ in 0..measured {
            self.rsa_public.encrypt(
                &OAEP_SHA256_MGF1SHA256,
                black_box(&plaintext),
                &mut ciphertext,
                None,
            )?;
        }
        let seal = started.elapsed();
        let started = Instant::now();
        for _ in 0..measured {
            self.rsa_private
                .decrypt(&OAEP_SHA256_MGF1SHA256, black_box(&ciphertext), &mut opened, None)?;
        }
        let open = started.elapsed();
        let whole = |part: Duration| part.mul_f64(all as f64 / f64::from(measured));
        Ok(Both {
            seal: whole(seal),
            open: whole(open),
        })
    }
}

/// Mean time of a call over at least `time`, and one call, without what the call says was besides.
fn mean(time: Duration, mut call: impl FnMut() -> Result<Duration, Failure>) -> Result<Duration, Failure> {
    let (mut spent, mut besides, mut calls) = (Duration::ZERO, Duration::ZERO, 0_u32);
    while calls == 0 || spent < time {
        let started = Instant::now();
        besides += call()?;
        spent += started.elapsed();
        calls += 1;
    }
    Ok(spent.saturating_sub(besides) / calls)
}

fn median(mut runs: Vec<Both>) -> Both {
    let middle = runs.len() / 2;
    let mut take = |pick: fn(&Both) -> Duration| {
        runs.sort_by_key(pick);
        runs.get(middle).map(pick).unwrap_or_default()
    };
    Both {
        seal: take(|both| both.seal),
        open: take(|both| both.open),
    }
}

/// The same data with other people's programs.
fn others(rows: &[Row], tools: Option<&Path>) -> Result<String, Failure> {
    let Some(tools) = tools else {
        return Ok(
            "npm `jose` and PyPI `jwcrypto` were not measured: run `cargo xtask install` first.\n\n"
                .to_owned(),
        );
    };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let mut node = Command::new(tools.join("node_modules/.bin/node"));
    node.arg(scripts.join("jose.mjs")).env("PORTCULLIS_TOOLS", tools);
    let mut python = Command::new(tools.join("venv/bin/python"));
    python.arg(scripts.join("with_jwcrypto.py"));
    let mut text = String::from(
        "The same messages (compact, same algorithms, same sizes) by two other implementations, times of one operation:\n\n\
         | | encrypt | Portcullis is faster by | decrypt | Portcullis is faster by |\n|---|---|---|---|---|\n",
    );
    for (name, command) in [("npm `jose`", &mut node), ("PyPI `jwcrypto`", &mut python)] {
        let output = command.args(SIZES.map(|size| size.to_string())).output()?;
        if !output.status.success() {
            return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        for line in String::from_utf8(output.stdout)?.lines() {
            let measured: serde_json::Value = serde_json::from_str(line)?;
            let seconds = |member: &str| {
                measured
                    .get(member)
                    .and_then(serde_json::Value::as_f64)
                    .ok_or("a peer printed no number")
            };
            let bytes = seconds("size")? as usize;
            let ours = rows
                .iter()
                .find(|row| row.size == bytes)
                .ok_or("a peer measured another size")?;
            let (seal, open) = (seconds("seal")?, seconds("open")?);
            writeln!(
                text,
                "| {name} {}, {} | {} | {:.1} x | {} | {:.1} x |",
                measured
                    .get("version")
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or(""),
                size(bytes),
                span(Duration::from_secs_f64(seal)),
                seal / ours.compact.seal.as_secs_f64(),
                span(Duration::from_secs_f64(open)),
                open / ours.compact.open.as_secs_f64()
            )?;
        }
    }
    text.push('\n');
    Ok(text)
}

fn size(bytes: usize) -> String {
    if bytes >= MIB {
        format!("{} MiB", bytes / MIB)
    } else {
        format!("{} KiB", bytes / KIB)
    }
}

/// `12.3 µs`, `4.56 ms`, `7.89 s`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1e-3 {
        format!("{:.1} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}
