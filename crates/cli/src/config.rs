//! `portcullis config check|schema|show`

mod named;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portcullis_server::config::{self, Config};

use self::named::Named;
use crate::failure::Failure;

/// Arguments of `portcullis config`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Report everything wrong with a configuration file at once
    #[command(after_help = "Example:\n  portcullis config check portcullis.toml")]
    Check {
        /// The file
        #[arg(default_value = "portcullis.toml")]
        file: PathBuf,
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the configuration file, or its reference page
    #[command(after_help = "Example:\n  portcullis config schema > portcullis.schema.json")]
    Schema {
        /// What to print
        #[arg(long, value_enum, default_value_t = Format::Json)]
        format: Format,
    },
    /// Print what a configuration file means as TOML, with what is not written in it; secrets stay where they are
    #[command(
        after_help = "Examples:\n  portcullis config show portcullis.toml\n  portcullis config show --json portcullis.toml"
    )]
    Show {
        /// The file
        #[arg(default_value = "portcullis.toml")]
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Json,
    Markdown,
}

/// Runs the command.
pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Check { file, json } => check(file, *json, out),
        Command::Schema { format } => {
            match format {
                Format::Json => writeln!(out, "{:#}", config::json_schema())?,
                Format::Markdown => write!(out, "{}", config::reference_page())?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Show { file, json } => show(file, *json, out),
    }
}

fn show(file: &Path, json: bool, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let shown = config::Shown::parse(&text(file)?).map_err(|report| does_not_load(file, &report))?;
    if json {
        writeln!(out, "{:#}", shown.json())?;
    } else {
        writeln!(
            out,
            "# What {} means. Relative paths start in its folder.",
            file.display()
        )?;
        write!(out, "{}", shown.toml())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn does_not_load(file: &Path, report: &config::Report) -> Failure {
    Failure::usage(format!("{} does not load:\n{report}", file.display()))
        .hint("nothing was started; correct the file and check it with `portcullis config check`")
}

/// Reads and validates a configuration file; its relative paths become relative to the file's folder.
pub(crate) fn load(file: &Path) -> Result<Config, Failure> {
    let config = Config::parse(&text(file)?).map_err(|report| does_not_load(file, &report))?;
    Ok(at_home(config, file))
}

fn at_home(mut config: Config, file: &Path) -> Config {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    config.relative_to(folder.unwrap_or(Path::new(".")));
    config
}

fn text(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))
}

fn check(file: &Path, json: bool, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let report = match Config::parse(&text(file)?) {
        Ok(config) => return referred(&at_home(config, file), file, json, out),
        Err(report) => report,
    };
    if json {
        let findings: Vec<_> = report
            .findings()
            .iter()
            .map(|finding| {
                serde_json::json!({
                    "line": finding.line,
                    "column": finding.column,
                    "path": finding.path,
                    "message": finding.message,
                    "hint": finding.hint,
                })
            })
            .collect();
        writeln!(out, "{:#}", serde_json::Value::from(findings))?;
    } else {
        for finding in report.findings() {
            writeln!(out, "{}:{finding}", file.display())?;
        }
    }
    Ok(ExitCode::from(2))
}

/// A file that says nothing wrong itself: do the policies that it names load, and is the rest of what it names there?
fn referred(config: &Config, file: &Path, json: bool, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let named = Named::look(config);
    let code = if named.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    };
    if json {
        let findings = named.findings.iter().map(|finding| {
            serde_json::json!({ "path": finding.path, "message": finding.message, "hint": finding.hint })
        });
        writeln!(out, "{:#}", serde_json::Value::from_iter(findings))?;
        return Ok(code);
    }
    for finding in &named.findings {
        writeln!(
            out,
            "{}: {}: {}\n    hint: {}",
            file.display(),
            finding.path,
            finding.message,
            finding.hint
        )?;
    }
    if named.findings.is_empty() {
        writeln!(out, "{}: good", file.display())?;
    }
    for note in &named.notes {
        writeln!(out, "  {note}")?;
    }
    Ok(code)
}
