//! The `portcullis` command: the only place where the rooms are joined.

mod addresses;
mod agent;
mod audit;
mod config;
mod demo;
mod failure;
mod files;
mod home;
mod issuers;
mod join;
mod keys;
mod limits;
mod logs;
mod policy;
mod registry;
mod reload;
mod revocations;
mod rings;
mod seal;
mod senders;
mod serve;
mod signals;
mod up;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use failure::Failure;

/// Password hashing takes 19 MiB at a time. The system's allocator keeps such blocks for each thread that ever hashed; this one
/// gives them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Identity and access for AI agents and the MCP servers they call.
#[derive(Debug, clap::Parser)]
#[command(
    name = "portcullis",
    version,
    max_term_width = 110,
    after_help = "Start here:\n  portcullis up\n\nExit codes: 0 done, 1 a finding or a refusal, 2 a mistake in usage or configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Everything on loopback: authority, gateway, keys and audit log, in front of your server or the built-in demo
    #[command(after_help = up::EXAMPLES)]
    Up(up::Args),
    /// The gateway alone, from a configuration file
    #[command(after_help = "Example:\n  portcullis gateway --config portcullis.toml")]
    Gateway(serve::Args),
    /// The authority alone, from a configuration file
    #[command(after_help = "Example:\n  portcullis authority --config portcullis.toml")]
    Authority(serve::Args),
    /// Log in to guarded MCP servers and call their tools
    Agent(agent::Args),
    /// Keys and certificates
    Keys(keys::Args),
    /// Which agents, users, grants, tokens and servers count no more
    Registry(registry::Args),
    /// Encrypt files and pipes to a key, and open them
    Seal(seal::Args),
    /// What a call would be answered, and why
    Policy(policy::Args),
    /// Read and verify the audit log
    Audit(audit::Args),
    /// Check and describe configuration files
    Config(config::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli.command) {
        Ok(code) => code,
        Err(failure) => {
            // Nothing is left to tell it to when stderr is gone.
            let _told = writeln!(std::io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}

fn run(command: &Command) -> Result<ExitCode, Failure> {
    let mut out = std::io::stdout().lock();
    match command {
        Command::Up(args) => {
            drop(out);
            on_runtime(up::run(args))
        }
        Command::Gateway(args) => {
            drop(out);
            on_runtime(serve::gateway(args))
        }
        Command::Authority(args) => {
            drop(out);
            on_runtime(serve::authority(args))
        }
        Command::Agent(args) => {
            drop(out);
            on_runtime(agent::run(args))
        }
        Command::Keys(args) => {
            drop(out);
            on_runtime(async { keys::run(args, &mut std::io::stdout()).await })
        }
        Command::Registry(args) => {
            drop(out);
            on_runtime(async { registry::run(args, &mut std::io::stdout()).await })
        }
        Command::Seal(args) => {
            drop(out);
            on_runtime(async { seal::run(args, &mut std::io::stdout()).await })
        }
        Command::Policy(args) => {
            drop(out);
            on_runtime(async { policy::run(args, &mut std::io::stdout()).await })
        }
        Command::Audit(args) => audit::run(args, &mut out),
        Command::Config(args) => config::run(args, &mut out),
    }
}

fn on_runtime(work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::refused(format!("the system gave no threads: {error}")))?;
    runtime.block_on(work)
}
