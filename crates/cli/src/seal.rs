//! `portcullis seal`: encrypt a file or a pipe to the owner of a key, and open what was encrypted to one's own.

mod keys;
mod session;
mod streams;

use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_core::ids::KeyId;
use portcullis_core::jose::jwe::{self, ContentEncryption, KeyManagement, Protected};
use portcullis_core::time::Lifetime;
use portcullis_net::random;

use crate::failure::Failure;
use crate::files::refuse_existing;

/// What to do where a file is in the way.
const REPLACE: &str = "name another file, or replace it with --force";

const EXAMPLES: &str = "Examples:\n  \
    portcullis seal seal --to https://mcp.example.com/.well-known/jwks.json report.pdf --out report.jwe\n  \
    portcullis seal open --key mine.jwk report.jwe --out report.pdf\n  \
    portcullis seal keygen-session --out today.jwk\n  \
    tar c notes | portcullis seal seal --session today.jwk | ssh host 'portcullis seal open --session today.jwk | tar x'\n\n\
    Exit codes: 0 done, 1 what was sealed cannot be opened or an answer is missing, 2 a mistake in usage.";

/// `portcullis seal`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Encrypt a file or standard input (JWE, RFC 7516)
    #[command(
        after_help = "Examples:\n  portcullis seal seal --to partner.jwk report.pdf --out report.jwe\n  portcullis seal seal --to https://mcp.example.com/.well-known/jwks.json report.pdf --out report.jwe\n\nThe recipient's key is a JWK, a JWK Set (its one key with `use` `enc`) or the https address of one, or a public key in PEM."
    )]
    Seal(Seal),
    /// Decrypt what was encrypted to a key of yours
    #[command(
        after_help = "Examples:\n  portcullis seal open --key mine.jwk report.jwe --out report.pdf\n  portcullis seal open --session today.jwk < today.jwe\n\nA file with a private key or a session key must be its owner's alone (chmod 600).\n\nExit codes: 0 opened, 1 it is not for this key or was changed, 2 a mistake in usage."
    )]
    Open(Open),
    /// Make a key that two sides share for at most a day
    #[command(
        after_help = "Example:\n  portcullis seal keygen-session --lifetime 8h --out today.jwk\n\nWhoever has the file can read and write what is sealed with it until it ends."
    )]
    KeygenSession(KeygenSession),
}

#[derive(Debug, clap::Args)]
struct Seal {
    /// The file to encrypt; `-` or nothing for standard input
    file: Option<PathBuf>,
    /// Whom to encrypt to: a file with a JWK, a JWK Set or a public key in PEM, or the URL of a JWK Set. Several make one
    /// message for all of them, in JSON
    #[arg(long, value_name = "KEY", required_unless_present = "session")]
    to: Vec<String>,
    /// Encrypt with a shared key that `keygen-session` made
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    session: Option<PathBuf>,
    /// Which key of the set
    #[arg(long, value_parser = KeyId::parse)]
    kid: Option<KeyId>,
    /// How the content key reaches the recipient, where the key does not say
    #[arg(long, value_name = "NAME", value_parser = algorithm)]
    alg: Option<KeyManagement>,
    /// How the content is encrypted
    #[arg(long, value_name = "NAME", value_parser = encryption, default_value = "A256GCM")]
    enc: ContentEncryption,
    /// Write the JSON form instead of the compact one
    #[arg(long)]
    json: bool,
    /// The file to write, for its owner alone; `-` or nothing for standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Take the place of the file that is there
    #[arg(long, requires = "out")]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct Open {
    /// The file to decrypt; `-` or nothing for standard input
    file: Option<PathBuf>,
    /// Your private key: a JWK, or PKCS#8 in PEM; a file that only you can read (chmod 600)
    #[arg(long, value_name = "FILE", required_unless_present = "session")]
    key: Option<PathBuf>,
    /// A shared key that `keygen-session` made
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    session: Option<PathBuf>,
    /// What the key is for, where it does not say
    #[arg(long, value_name = "NAME", value_parser = algorithm)]
    alg: Option<KeyManagement>,
    /// The file to write, for its owner alone; `-` or nothing for standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Take the place of the file that is there
    #[arg(long, requires = "out")]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct KeygenSession {
    /// After which time it ends, such as 90s, 30m or 8h: at most 24h
    #[arg(long, value_name = "TIME", value_parser = session::lifetime, default_value = "24h")]
    lifetime: Lifetime,
    /// What is encrypted with it
    #[arg(long, value_name = "NAME", value_parser = encryption, default_value = "A256GCM")]
    enc: ContentEncryption,
    /// The file to write, for its owner alone; `-` or nothing for standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Seal(seal) => seal.run(out).await?,
        Command::Open(open) => open.run(out)?,
        Command::KeygenSession(keygen) => {
            if let Some(file) = &keygen.out {
                let hint =
                    "what was sealed with the key in it would be lost: name another file, or remove it first";
                refuse_existing(file, hint)?;
            }
            let key = session::generate(keygen.enc, keygen.lifetime)?;
            streams::write(keygen.out.as_deref(), key.as_bytes(), out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Seal {
    async fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        if let Some(file) = self.out.as_deref().filter(|_| !self.force) {
            refuse_existing(file, REPLACE)?;
        }
        let protected = Protected::new(self.enc);
        let message = if let Some(file) = &self.session {
            // The key first: a mistake in it is told before anything long begins.
            let key = session::read(file)?;
            let protected = Protected::new(key.encryption());
            let plaintext = streams::read(self.file.as_deref())?;
            jwe::encrypt_shared(&key, &protected, &plaintext, &random::System)
        } else {
            let mut recipients = Vec::with_capacity(self.to.len());
            for to in &self.to {
                recipients.push(keys::recipient(to, self.kid.as_ref(), self.alg).await?);
            }
            let plaintext = streams::read(self.file.as_deref())?;
            let besides = jwe::json::Besides::default();
            match recipients.as_slice() {
                [one] if self.json => {
                    jwe::json::flattened(one, &protected, besides, &plaintext, &random::System)
                }
                [one] => jwe::encrypt(one, &protected, &plaintext, &random::System),
                several => {
                    let several: Vec<_> = several.iter().collect();
                    jwe::json::general(&several, &protected, besides, &plaintext, &random::System)
                }
            }
        };
        let mut message = message.map_err(|error| {
            if error == jwe::Error::OtherAlgorithm {
                return Failure::usage("the recipients' keys are not of one algorithm").hint(
                    "for several recipients, name one that carries a content key to each: --alg ECDH-ES+A256KW",
                );
            }
            Failure::refused(error.to_string())
        })?;
        if self.out.is_none() && std::io::stdout().is_terminal() {
            message.push('\n');
        }
        streams::write(self.out.as_deref(), message.as_bytes(), out)
    }
}

impl Open {
    fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        if let Some(file) = self.out.as_deref().filter(|_| !self.force) {
            refuse_existing(file, REPLACE)?;
        }
        let key = match (&self.key, &self.session) {
            (Some(file), _) => keys::OpeningKey::Own(keys::private(file, self.alg)?),
            (None, Some(file)) => keys::OpeningKey::Shared(session::read(file)?),
            (None, None) => return Err(Failure::usage("neither --key nor --session is given")),
        };
        let sealed = streams::read(self.file.as_deref())?;
        let plaintext = key.open(&sealed)?;
        drop(sealed);
        streams::write(self.out.as_deref(), &plaintext, out)
    }
}

fn algorithm(text: &str) -> Result<KeyManagement, String> {
    let offered = KeyManagement::ALL
        .into_iter()
        .filter(|algorithm| *algorithm != KeyManagement::Dir);
    offered
        .clone()
        .find(|algorithm| algorithm.name() == text)
        .ok_or_else(|| format!("one of: {}", names(offered.map(KeyManagement::name))))
}

fn encryption(text: &str) -> Result<ContentEncryption, String> {
    ContentEncryption::from_name(text).ok_or_else(|| {
        format!(
            "one of: {}",
            names(ContentEncryption::ALL.into_iter().map(ContentEncryption::name))
        )
    })
}

fn names(names: impl Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
