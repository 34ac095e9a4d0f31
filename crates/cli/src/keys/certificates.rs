//! `portcullis keys csr` and `portcullis keys import`: certificates of an outside CA, and keys that were made elsewhere.

use std::io::Write;
use std::path::{Path, PathBuf};

use portcullis_core::ids::KeyId;
use portcullis_core::jose::jwk::Use;
use portcullis_net::random;
use portcullis_server::custody::ring::{Import, RequestFor};

use super::change::record;
use super::scope::{Ring, Rings, Where, refused};
use crate::failure::Failure;
use crate::files::{Draft, Readers, read_key};

#[derive(Debug, clap::Args)]
pub(super) struct Csr {
    /// The key; without one, a new signing key is staged
    #[arg(value_name = "KID", value_parser = KeyId::parse)]
    kid: Option<KeyId>,
    /// Whose ring, where there are several
    #[arg(long, value_parser = ["authority", "gateway"])]
    role: Option<String>,
    /// The file to write; nothing for standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The certificate chain in PEM, the key's own first
    #[arg(long, value_name = "FILE")]
    chain: PathBuf,
    /// The key that the chain is for
    #[arg(long, value_name = "KID", value_parser = KeyId::parse, required_unless_present = "key")]
    kid: Option<KeyId>,
    /// A private key (PKCS#8) that was made elsewhere
    #[arg(long, value_name = "FILE", conflicts_with = "kid", requires = "purpose")]
    key: Option<PathBuf>,
    /// What the private key is for, from now on and for good: `sig` or `enc`
    #[arg(long, value_parser = super::purpose)]
    purpose: Option<Use>,
    /// Whose ring, where there are several
    #[arg(long, value_parser = ["authority", "gateway"])]
    role: Option<String>,
    #[command(flatten)]
    place: Where,
}

pub(super) async fn csr(args: &Csr, out: &mut dyn Write) -> Result<(), Failure> {
    let rings = args.place.rings()?;
    let ring = one(&rings, args.role.as_deref(), args.kid.as_ref())?;
    let of = args
        .kid
        .clone()
        .map_or(RequestFor::New(Use::Signature), RequestFor::Key);
    // What cannot be written is told before a key is staged for it.
    let cannot = |file: &Path, error: std::io::Error| {
        Failure::refused(format!(
            "{} cannot be written: {error}; nothing was done",
            file.display()
        ))
    };
    let draft = match &args.out {
        Some(file) => {
            let draft = Draft::begin(file, Readers::Everyone).map_err(|error| cannot(file, error))?;
            Some((draft, file))
        }
        None => None,
    };
    let operator = rings.operator(&ring)?;
    let made = operator.csr(&of, rings.now(), &random::System);
    record(&rings, &operator.take_changes()).await?;
    let (kid, request) = made.map_err(refused)?;
    match draft {
        Some((mut draft, file)) => {
            let written = draft.write_all(request.as_bytes()).and_then(|()| draft.finish());
            written.map_err(|error| {
                let message = format!("{} cannot be written: {error}", file.display());
                Failure::refused(message)
                    .hint(format!("ask again with the same key: portcullis keys csr {kid}"))
            })?;
            writeln!(out, "{kid}: the request is in {}", file.display())?;
            writeln!(
                out,
                "when the CA has answered: portcullis keys import --kid {kid} --chain CHAIN.pem"
            )?;
        }
        None => write!(out, "{request}")?,
    }
    Ok(())
}

pub(super) async fn import(args: &ImportArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let rings = args.place.rings()?;
    let ring = one(&rings, args.role.as_deref(), args.kid.as_ref())?;
    let chain = read_key(&args.chain)?;
    let private = args.key.as_deref().map(read_key).transpose()?;
    let what = match (&args.kid, &private, args.purpose) {
        (Some(kid), _, _) => Import::ChainFor(kid),
        (None, Some(pkcs8), Some(purpose)) => Import::PrivateKey { purpose, pkcs8 },
        (None, _, _) => return Err(Failure::usage("neither --kid nor --key with --purpose is given")),
    };
    let operator = rings.operator(&ring)?;
    let imported = operator.import(what, &chain, rings.now(), &random::System);
    record(&rings, &operator.take_changes()).await?;
    let kid = imported.map_err(refused)?;
    match private {
        Some(_) => writeln!(
            out,
            "{kid} is staged: published now, and used after the next rotation (`portcullis keys rotate`); destroy the file that it came in"
        )?,
        None => writeln!(
            out,
            "{kid} has the new chain, and the JWK Set shows it within a second"
        )?,
    }
    Ok(())
}

/// The ring that is meant: of the role, else the one that has the key, else the only one.
fn one(rings: &Rings, role: Option<&str>, kid: Option<&KeyId>) -> Result<Ring, Failure> {
    let mut found = rings.of(role)?;
    if let Some(kid) = kid {
        found.retain(|ring| ring.keys.iter().any(|key| key.kid == *kid));
        if found.is_empty() {
            return Err(Failure::usage(format!("there is no key `{kid}`"))
                .hint("`portcullis keys list` names those that there are"));
        }
    }
    let names: Vec<_> = found.iter().map(|ring| ring.role).collect();
    match <[Ring; 1]>::try_from(found) {
        Ok([ring]) => Ok(ring),
        Err(_) => Err(
            Failure::usage(format!("there are several rings: {}", names.join(", ")))
                .hint("name the one that is meant with --role"),
        ),
    }
}
