//! `portcullis registry`: which agents, users, grants, tokens and servers count no more. Servers may run meanwhile: those on the same
//! store follow within a second.

mod list;
mod revoke;
mod scope;

use std::io::Write;
use std::process::ExitCode;

use crate::failure::Failure;

/// `portcullis registry`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 a finding or a refusal, 2 a mistake in usage or configuration."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Revoke an agent, a user, a grant, a token or a server, now
    #[command(
        after_help = "Examples:\n  portcullis registry revoke agent agent-7 --reason \"laptop stolen\" --data ./data\n  portcullis registry revoke user ada --reason \"left the company\" --until-lifted --config gateway.toml"
    )]
    Revoke(revoke::Revoke),
    /// What is revoked
    #[command(
        after_help = "Examples:\n  portcullis registry list --data ./data\n  portcullis registry list --all --json --config gateway.toml"
    )]
    List(list::Args),
    /// End a revocation that lasts until it is lifted
    #[command(
        after_help = "Example:\n  portcullis registry lift rTq2vJ0cXl3wq8u3jW0pBNg --reason \"the laptop was found\" --data ./data"
    )]
    Lift(revoke::Lift),
}

/// Runs the command.
pub(crate) async fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    crate::logs::start();
    match &args.command {
        Command::Revoke(args) => revoke::revoke(args, out).await?,
        Command::List(args) => list::run(args, out)?,
        Command::Lift(args) => revoke::lift(args, out).await?,
    }
    Ok(ExitCode::SUCCESS)
}
