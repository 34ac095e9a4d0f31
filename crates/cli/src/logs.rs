//! Logs: for the operator, on stderr, never a secret. What must be kept goes to the audit log instead.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Libraries that write whole messages, arguments included, when they are asked for more than this.
const TALKATIVE: [&str; 2] = ["rmcp=info", "sqlx=info"];

/// Starts logging at `warn`, or as `PORTCULLIS_LOG` says (`info`, `debug`, `portcullis_guard=debug`).
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("PORTCULLIS_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let filter = TALKATIVE
        .into_iter()
        .filter_map(|cap| cap.parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let terminal = std::io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .finish();
    // A second start in one process keeps the first subscriber.
    let _first = tracing::subscriber::set_global_default(subscriber);
}
