//! One client following a plan, and what it said on the way.

use std::process::Stdio;
use std::time::Duration;

use portcullis_testkit::{Failure, Outcome, Portcullis, Running};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::parts::{Language, Parts};

/// The scripts give up before this.
const PATIENCE: Duration = Duration::from_secs(150);

/// Who does what.
pub(crate) struct Scene<'a> {
    pub(crate) name: &'a str,
    pub(crate) language: Language,
    /// `auto` finds the server's era, `legacy` begins with `initialize`.
    pub(crate) era: &'a str,
    pub(crate) steps: Vec<Step>,
}

/// One thing a client does.
pub(crate) enum Step {
    List,
    Call(String, Value),
}

impl Step {
    pub(crate) fn call(tool: &str, arguments: &Value) -> Self {
        Self::Call(tool.to_owned(), arguments.clone())
    }

    fn as_json(&self) -> Value {
        match self {
            Self::List => json!({"list": true}),
            Self::Call(tool, arguments) => json!({"call": tool, "arguments": arguments}),
        }
    }
}

/// One line of what a client said.
#[derive(Debug)]
pub(crate) enum Line {
    Login(Login),
    Protocol(String),
    Tools(Vec<String>),
    Called(Called),
}

/// A person signed in and approved.
#[derive(Debug, Deserialize)]
pub(crate) struct Login {
    /// The scopes that the client asked for.
    pub(crate) asked: String,
    /// What the browser's console said.
    pub(crate) complaints: Vec<String>,
}

/// A tool was called.
#[derive(Debug, Deserialize)]
pub(crate) struct Called {
    pub(crate) error: bool,
    pub(crate) text: String,
}

impl Line {
    fn parse(line: &str) -> Outcome<Self> {
        let value: Value = serde_json::from_str(line)?;
        let has = |member: &str| value.get(member).is_some();
        if has("login") {
            Ok(Self::Login(serde_json::from_value(value)?))
        } else if has("called") {
            Ok(Self::Called(serde_json::from_value(value)?))
        } else if let Some(tools) = value.get("tools") {
            Ok(Self::Tools(serde_json::from_value(tools.clone())?))
        } else if let Some(protocol) = value.get("protocol").and_then(Value::as_str) {
            Ok(Self::Protocol(protocol.to_owned()))
        } else {
            Err(Failure::new(format!("the client said `{line}`")))
        }
    }
}

/// Everything a client said.
#[derive(Debug)]
pub(crate) struct Played(Vec<Line>);

impl Played {
    pub(crate) fn lines(&self) -> &[Line] {
        &self.0
    }

    /// The revision that was negotiated.
    pub(crate) fn protocol(&self) -> Option<&str> {
        self.0.iter().find_map(|line| match line {
            Line::Protocol(protocol) => Some(protocol.as_str()),
            Line::Login(_) | Line::Tools(_) | Line::Called(_) => None,
        })
    }
}

impl Scene<'_> {
    /// Plays it against `running`.
    ///
    /// # Errors
    /// When the client ends with an error; the message carries its stderr and the log of Portcullis.
    pub(crate) async fn play(self, parts: &Parts, running: &Running) -> Outcome<Played> {
        let ready = running.ready();
        let steps: Vec<_> = self.steps.iter().map(Step::as_json).collect();
        let plan = json!({
            "name": self.name,
            "url": ready.mcp_url,
            "era": self.era,
            "steps": steps,
            "user": ready.user,
            "password": ready.password,
            "screens": parts.screens(),
            "node": parts.node(),
            "browser": parts.browser(),
        });
        let (program, script) = parts.client(self.language);
        let mut child = Command::new(program)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(plan.to_string().as_bytes()).await?;
        }
        let output = timeout(PATIENCE, child.wait_with_output()).await;
        let output =
            output.map_err(|_| Failure::new(format!("`{}` took longer than {PATIENCE:?}", self.name)))??;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            let log = running.logs();
            let message = format!(
                "`{}`: {}\n{said}\n{error}\n-- portcullis:\n{log}",
                self.name, output.status
            );
            return Err(Failure::new(message));
        }
        Ok(Played(said.lines().map(Line::parse).collect::<Outcome<_>>()?))
    }
}

/// What must hold after every scene: the chain of records verifies, and there is no token in what was written.
///
/// # Errors
/// Says which record, or which file.
pub(crate) fn check_records(portcullis: &Portcullis, running: &Running) -> Outcome {
    let data = running.data().display().to_string();
    let verified = portcullis.run(["audit", "verify", "--data", &data])?;
    if verified.code != Some(0) {
        return Err(Failure::new(format!("audit verify: {verified:?}")));
    }
    // Every access token here is a JWT: three parts, of which the first begins with `{"`.
    let token = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let word = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        text.split(word)
            .any(|word| word.starts_with("eyJ") && word.split('.').count() == 3)
    };
    let found = running
        .everything_written()?
        .into_iter()
        .find(|(_, bytes)| token(bytes));
    match found {
        Some((path, _)) => Err(Failure::new(format!("a token in `{}`", path.display()))),
        None => Ok(()),
    }
}
