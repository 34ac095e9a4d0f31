//! `portcullis agent login|logout|status|tools|call|token`

use std::io::{IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use portcullis_agent::{
    Agent, Called, Error, LoggedOut, Login, Network, Preregistered, Presenter, SealMode, Settings, Status,
    browser, printable,
};
use portcullis_core::fault::Fault;
use portcullis_core::ids::{ClientId, ScopeSet};
use portcullis_core::oauth::client::Error as OAuth;
use portcullis_core::secret::Secret;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// Arguments of `portcullis agent`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where tokens are kept [default: the per-user data folder]
    #[arg(long, global = true, value_name = "DIR", env = "PORTCULLIS_AGENT_DIR")]
    data: Option<PathBuf>,
    /// Print the address of a login page, and do not open a browser
    #[arg(long, global = true)]
    no_browser: bool,
    /// The port on 127.0.0.1 that the browser returns to [default: a free one]
    #[arg(
        long,
        global = true,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    callback_port: u16,
    /// Let the server name addresses of your own network (its authorization server, say)
    #[arg(long, global = true)]
    private_network: bool,
    /// The URL of this program's client metadata document, for authorization servers that take one
    #[arg(long, global = true, value_name = "URL")]
    client_metadata: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Log in to a server, in the browser
    #[command(after_help = "Example:\n  portcullis agent login http://127.0.0.1:8420/mcp")]
    Login {
        /// The server's MCP address
        url: String,
        /// Ask for these scopes, separated by spaces, instead of those the server names
        #[arg(long, value_name = "SCOPES")]
        scope: Option<String>,
        /// The id of a client that you registered by hand
        #[arg(long, value_name = "ID")]
        client_id: Option<String>,
        /// The file with that client's secret
        #[arg(long, value_name = "FILE", requires = "client_id")]
        client_secret_file: Option<PathBuf>,
    },
    /// Forget the tokens of a server, and have them revoked
    #[command(after_help = "Example:\n  portcullis agent logout http://127.0.0.1:8420/mcp")]
    Logout {
        /// The server's MCP address
        url: String,
    },
    /// Show which servers you are logged in to
    #[command(after_help = "Example:\n  portcullis agent status --json")]
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the tools of a server
    #[command(after_help = "Example:\n  portcullis agent tools http://127.0.0.1:8420/mcp")]
    Tools {
        /// The server's MCP address
        url: String,
        /// Print JSON, with the schemas of the arguments
        #[arg(long)]
        json: bool,
    },
    /// Call a tool; if it needs more than you allowed so far, log in for that too
    #[command(
        after_help = "Examples:\n  portcullis agent call http://127.0.0.1:8420/mcp add_note '{\"text\": \"hello\"}'\n  jq -n '{text: \"hello\"}' | portcullis agent call http://127.0.0.1:8420/mcp add_note -"
    )]
    Call {
        /// The server's MCP address
        url: String,
        /// The tool's name
        tool: String,
        /// Its arguments, a JSON object; `-` reads it from standard input
        #[arg(default_value = "{}", hide_default_value = true)]
        arguments: String,
        /// How sealed fields are sealed, for tools that have them: each by itself, or with the keys of a session
        #[arg(long, value_enum, value_name = "HOW", default_value_t = Seal::Field)]
        seal: Seal,
        /// Print the whole result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print an access token for a server, refreshed if need be
    #[command(
        after_help = "Example:\n  curl -H \"Authorization: Bearer $(portcullis agent token http://127.0.0.1:8420/mcp)\" …"
    )]
    Token {
        /// The server's MCP address
        url: String,
    },
}

/// How sealed fields are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Seal {
    /// Each for the gateway's published key
    Field,
    /// With the keys of a session, agreed on for this call
    Session,
}

/// Runs the command.
pub(crate) async fn run(args: &Args) -> Result<ExitCode, Failure> {
    let agent = Agent::open(settings(args)?).await.map_err(failure)?;
    match &args.command {
        Command::Login {
            url,
            scope,
            client_id,
            client_secret_file,
        } => {
            let login = login(
                scope.as_deref(),
                client_id.as_deref(),
                client_secret_file.as_deref(),
            )?;
            let status = agent.login(url, &login).await.map_err(failure)?;
            let scope = status
                .scope
                .map_or_else(String::new, |scope| format!(" for {scope}"));
            writeln!(std::io::stdout(), "logged in to {url}{scope}")?;
        }
        Command::Logout { url } => {
            let text = match agent.logout(url).await.map_err(failure)? {
                LoggedOut::Revoked => "logged out, and the tokens are revoked",
                LoggedOut::Forgotten => {
                    "logged out here; the authorization server could not be told to revoke the tokens"
                }
                LoggedOut::NotLoggedIn => "there was no login to this server",
            };
            writeln!(std::io::stdout(), "{text}")?;
        }
        Command::Status { json } => write_status(&agent.status().await.map_err(failure)?, *json)?,
        Command::Tools { url, json } => {
            let tools = agent.tools(url).await.map_err(failure)?;
            let mut out = std::io::stdout().lock();
            if *json {
                writeln!(out, "{:#}", serde_json::to_value(&tools).unwrap_or_default())?;
                return Ok(ExitCode::SUCCESS);
            }
            if tools.is_empty() {
                let hint = "no tools: a guarded server shows those that your scopes open; ask for more with `portcullis agent login URL --scope SCOPES`";
                writeln!(std::io::stderr(), "{hint}")?;
            }
            for tool in tools {
                writeln!(out, "{}", printable(&tool.name))?;
                if let Some(description) = &tool.description {
                    writeln!(out, "    {}", printable(description).trim())?;
                }
            }
        }
        Command::Call {
            url,
            tool,
            arguments,
            json,
            seal: _,
        } => {
            let called = agent
                .call(url, tool, read_arguments(arguments)?)
                .await
                .map_err(failure)?;
            write_called(&called, *json)?;
            if called.failed {
                return Ok(ExitCode::from(1));
            }
        }
        Command::Token { url } => {
            let token = agent.token(url).await.map_err(failure)?;
            if std::io::stdout().is_terminal() {
                writeln!(
                    std::io::stderr(),
                    "warning: whoever sees this token can act as you until it ends"
                )?;
            }
            writeln!(std::io::stdout(), "{}", token.reveal())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &Args) -> Result<Settings, Failure> {
    let presenter = Arc::new(Terminal {
        opens: !args.no_browser,
    });
    let mut settings = Settings::new(folder(args.data.as_deref())?, presenter);
    settings.callback_port = args.callback_port;
    if let Command::Call {
        seal: Seal::Session, ..
    } = args.command
    {
        settings.seal = SealMode::Session;
    }
    settings.network = if args.private_network {
        Network::Private
    } else {
        Network::Public
    };
    if let Some(url) = &args.client_metadata {
        let id = ClientId::parse(url).ok().filter(|_| url.starts_with("https://"));
        settings.client_metadata_document = Some(id.ok_or_else(|| {
            Failure::usage(format!("`{url}` is no https URL of a client metadata document"))
        })?);
    }
    Ok(settings)
}

/// The given folder, or the user's own: `$XDG_DATA_HOME/portcullis/agent`, else `~/.local/share/portcullis/agent`.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line may read the environment"
)]
fn folder(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let base = std::env::var("XDG_DATA_HOME")
        .ok()
        .filter(|dir| dir.starts_with('/'))
        .map(PathBuf::from);
    let base = base.or_else(|| {
        std::env::var("HOME")
            .ok()
            .map(|home| PathBuf::from(home).join(".local/share"))
    });
    base.map(|base| base.join("portcullis/agent")).ok_or_else(|| {
        Failure::usage("there is no place to keep tokens: neither XDG_DATA_HOME nor HOME is set")
            .hint("name a folder with --data DIR")
    })
}

fn login(scope: Option<&str>, client_id: Option<&str>, secret_file: Option<&Path>) -> Result<Login, Failure> {
    let scope = scope.map(ScopeSet::parse).transpose();
    let scope = scope.map_err(|error| Failure::usage(format!("--scope: {error}")))?;
    let Some(id) = client_id else {
        return Ok(Login { scope, client: None });
    };
    let id = ClientId::parse(id).map_err(|error| Failure::usage(format!("--client-id: {error}")))?;
    let secret = secret_file.map(|file| {
        std::fs::read_to_string(file)
            .map(|text| Secret::new(text.trim_end_matches(['\r', '\n'])))
            .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))
    });
    Ok(Login {
        scope,
        client: Some(Preregistered {
            id,
            secret: secret.transpose()?,
        }),
    })
}

fn read_arguments(given: &str) -> Result<Map<String, Value>, Failure> {
    let mut text = given.to_owned();
    if given == "-" {
        text.clear();
        let _bytes = std::io::stdin().read_to_string(&mut text).map_err(|error| {
            Failure::usage(format!(
                "the arguments cannot be read from standard input: {error}"
            ))
        })?;
    }
    serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("the arguments are not a JSON object: {error}"))
            .hint("such as '{\"text\": \"hello\"}'")
    })
}

fn write_status(logins: &[Status], json: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{:#}", serde_json::to_value(logins).unwrap_or_default())?;
        return Ok(());
    }
    if logins.is_empty() {
        writeln!(std::io::stderr(), "not logged in anywhere")?;
    }
    for login in logins {
        writeln!(out, "{}", login.server)?;
        writeln!(out, "    authorization server  {}", login.issuer)?;
        writeln!(
            out,
            "    scope                 {}",
            login.scope.as_deref().unwrap_or("not known")
        )?;
        let end = login
            .expires_at
            .and_then(|end| jiff::Timestamp::from_second(end).ok());
        writeln!(
            out,
            "    access token ends     {}",
            end.map_or_else(|| "not known".to_owned(), |end| end.to_string())
        )?;
        let renewal = if login.renewable {
            "by itself"
        } else {
            "by logging in again"
        };
        writeln!(out, "    renewed               {renewal}")?;
    }
    Ok(())
}

/// Text as text, anything else as JSON. On a terminal the text cannot move the cursor.
fn write_called(called: &Called, json: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{:#}", called.result)?;
        return Ok(());
    }
    for block in &called.content {
        match block
            .get("text")
            .and_then(Value::as_str)
            .filter(|_| block.get("type") == Some(&Value::from("text")))
        {
            Some(text) if out.is_terminal() => {
                for line in text.lines() {
                    writeln!(out, "{}", printable(line))?;
                }
            }
            Some(text) => writeln!(out, "{text}")?,
            None => writeln!(out, "{block:#}")?,
        }
    }
    Ok(())
}

/// Shows login pages on stderr, and in the browser unless told not to.
struct Terminal {
    opens: bool,
}

impl Presenter for Terminal {
    fn authorize(&self, url: &str) {
        let opened = self.opens && browser::open(url).is_ok();
        let what = if opened {
            "Your browser opens to log in. If it does not, open"
        } else {
            "To log in, open"
        };
        // Without a stderr there is nobody to tell.
        let _told = writeln!(std::io::stderr(), "{what}\n\n  {url}\n");
    }
}

/// What happened, whose doing it is, what to do. Addresses, and what is wrong with this machine, are exit code 2.
fn failure(error: Error) -> Failure {
    let fault = error.fault();
    let failure = match (&error, fault) {
        (Error::OAuth(OAuth::Address { .. }), _) | (_, Fault::Operator) => Failure::usage(error.to_string()),
        (_, Fault::Caller | Fault::Peer | Fault::Bug) => Failure::refused(error.to_string()),
    };
    let whose = match fault {
        Fault::Caller => None,
        Fault::Peer => Some("this is on the server's side"),
        Fault::Operator => Some("this is about the setup of this machine"),
        Fault::Bug => Some("this is a bug in portcullis; please report it"),
    };
    match (whose, error.hint()) {
        (None, None) => failure,
        (Some(whose), None) => failure.hint(whose),
        (None, Some(hint)) => failure.hint(hint),
        (Some(whose), Some(hint)) => failure.hint(format!("{whose}: {hint}")),
    }
}
