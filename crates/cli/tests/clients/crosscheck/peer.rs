//! Another implementation in a process of its own: tasks go in as lines of JSON, answers come out.

use std::process::Stdio;

use portcullis_testkit::{Failure, Outcome};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::ours::with;
use crate::parts::{Language, Parts};

pub(super) struct Peer {
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    name: String,
}

impl Peer {
    pub(super) async fn start(parts: &Parts, language: Language) -> Outcome<Self> {
        let (program, script) = parts.crosscheck(language);
        let mut child = Command::new(program)
            .arg(script)
            // ML-DSA is experimental there, and it says so each time.
            .env("NODE_NO_WARNINGS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("no pipes"));
        };
        let mut peer = Self {
            _child: child,
            stdin,
            lines: BufReader::new(stdout).lines(),
            name: String::new(),
        };
        let said = answer(&mut peer.lines).await?;
        text(&said, "peer")?.clone_into(&mut peer.name);
        Ok(peer)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// One task.
    pub(super) async fn ask(&mut self, task: Value) -> Outcome<Value> {
        let mut answers = self.ask_all(&[task]).await?;
        answers.pop().ok_or_else(|| Failure::new("no answer"))
    }

    /// Many, written while the answers are read: neither side waits for the other's pipe.
    pub(super) async fn ask_all(&mut self, tasks: &[Value]) -> Outcome<Vec<Value>> {
        let (stdin, lines) = (&mut self.stdin, &mut self.lines);
        let write = async {
            for task in tasks {
                stdin.write_all(format!("{task}\n").as_bytes()).await?;
            }
            stdin.flush().await
        };
        let read = async {
            let mut answers = Vec::with_capacity(tasks.len());
            for _ in tasks {
                answers.push(answer(lines).await?);
            }
            Ok::<_, Failure>(answers)
        };
        let (written, answers) = tokio::join!(write, read);
        written?;
        answers
    }

    /// Gives the peer a public key, and checks that both sides know it by the same thumbprint. The peers of the versions that
    /// are installed have every algorithm, so one that lacks it is a failure.
    pub(super) async fn import(&mut self, key: &str, jwk: &Value, thumbprint: Option<&str>) -> Outcome {
        let said = self
            .ask(json!({ "do": "import", "key": key, "jwk": jwk }))
            .await?;
        let theirs = text(&said, "thumbprint")?;
        assert_eq!(theirs, thumbprint.unwrap_or(theirs), "{}: {key}", self.name);
        Ok(())
    }

    /// Has the peer make a key; its public half and the thumbprint that the peer computes.
    pub(super) async fn generate(
        &mut self,
        key: &str,
        alg: &str,
        crv: Option<&str>,
    ) -> Outcome<(Value, String)> {
        let task = json!({ "do": "generate", "key": key, "alg": alg, "crv": crv });
        let said = self.ask(task).await?;
        let jwk = with(member(&said, "jwk")?, &[("kid", key), ("alg", alg)]);
        Ok((jwk, text(&said, "thumbprint")?.to_owned()))
    }
}

async fn answer(lines: &mut Lines<BufReader<ChildStdout>>) -> Outcome<Value> {
    let line = lines.next_line().await?;
    let line = line.ok_or_else(|| Failure::new("the peer ended; its last words are above"))?;
    Ok(serde_json::from_str(&line)?)
}

/// A member of an answer, which is otherwise the failure.
pub(super) fn member<'a>(answer: &'a Value, name: &str) -> Outcome<&'a Value> {
    answer
        .get(name)
        .ok_or_else(|| Failure::new(format!("the peer gave no `{name}`: {answer}")))
}

pub(super) fn text<'a>(answer: &'a Value, name: &str) -> Outcome<&'a str> {
    member(answer, name)?
        .as_str()
        .ok_or_else(|| Failure::new(format!("`{name}` is not text: {answer}")))
}
