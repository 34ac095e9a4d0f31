//! `portcullis policy explain`: what the gateway would answer to a token and a call, and why, without a gateway and without a
//! network.

mod explain;
mod offline;

use std::io::Write;
use std::process::ExitCode;

use crate::failure::Failure;

/// Arguments of `portcullis policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// What the gateway would answer to this token and this call, whose turn it is, and what would help
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::Args),
}

/// Runs the command. 0 is an allowed call, 1 a refused one.
pub(crate) async fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Explain(args) => explain::run(args, out).await,
    }
}
