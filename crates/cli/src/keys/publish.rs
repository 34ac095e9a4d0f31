//! `portcullis keys publish`: the JWK Set as a file, for a web server or a CDN.

use std::io::Write;
use std::path::PathBuf;

use portcullis_server::custody::ring;

use super::scope::{Where, refused};
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder to write `jwks.json` to; with several rings, into a folder for each in it
    dir: PathBuf,
    /// Only the keys of this role, straight into the folder
    #[arg(long, value_parser = ["authority", "gateway"])]
    role: Option<String>,
    #[command(flatten)]
    place: Where,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let rings = args.place.rings()?;
    let found = rings.of(args.role.as_deref())?;
    let apart = args.role.is_none() && found.len() > 1;
    for ring in found {
        let dir = if apart {
            args.dir.join(ring.role)
        } else {
            args.dir.clone()
        };
        let path = ring::publish(&*ring.shelf, &dir, rings.now()).map_err(refused)?;
        writeln!(out, "{}", path.display())?;
    }
    let maturity = rings.policy()?.maturity();
    // On standard error, so that scripts get the paths alone.
    drop(writeln!(
        std::io::stderr(),
        "serve it as application/jwk-set+json with `Cache-Control: public, max-age=300`, and publish again on a timer: a new key \
         may sign {maturity} after it is staged, and servers do not wait for this copy"
    ));
    Ok(())
}
