//! `portcullis agent`, as a person at a terminal uses it: a browser (here: its form-filling part) opens what it prints.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use portcullis_testkit::login::Browser;
use portcullis_testkit::{Failure, Outcome, Running, Scratch};

use crate::{demo, portcullis};

pub(crate) fn agent(folder: &Scratch, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command
        .arg("agent")
        .args(arguments)
        .env("PORTCULLIS_AGENT_DIR", folder.path());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The authorization URL that the agent prints on stderr, and the rest of its stderr.
fn printed_url(child: &mut Child) -> Outcome<(String, BufReader<std::process::ChildStderr>)> {
    let mut lines = BufReader::new(child.stderr.take().ok_or_else(|| Failure::new("no stderr"))?);
    let mut said = String::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Err(Failure::new(format!("no authorization URL in:\n{said}")));
        }
        if let Some(at) = line.find("http://").filter(|_| line.contains("/authorize?")) {
            let url = line.get(at..).and_then(|rest| rest.split_whitespace().next());
            return Ok((url.unwrap_or_default().to_owned(), lines));
        }
        said.push_str(&line);
    }
}

/// Runs an agent command that needs the browser once, and gives its exit code and stdout.
pub(crate) async fn with_browser(
    running: &Running,
    folder: &Scratch,
    arguments: &[&str],
) -> Outcome<(Option<i32>, String)> {
    let ready = running.ready();
    let password = ready.password.as_deref().unwrap_or_default();
    with_browser_as((&ready.user, password), folder, arguments).await
}

/// The same at any authority.
pub(crate) async fn with_browser_as(
    (user, password): (&str, &str),
    folder: &Scratch,
    arguments: &[&str],
) -> Outcome<(Option<i32>, String)> {
    let mut child = agent(folder, arguments).spawn()?;
    let (url, mut rest) = printed_url(&mut child)?;
    let redirect = ::url::Url::parse(&url)?
        .query_pairs()
        .find(|(name, _)| name == "redirect_uri")
        .map(|(_, value)| value.into_owned());
    let redirect = redirect.ok_or_else(|| Failure::new("no redirect_uri"))?;
    let landed = Browser::default()
        .approve(&url, &redirect, user, password)
        .await?;
    let page = portcullis_testkit::Request::get(&landed).send().await?;
    assert_eq!(page.status, 200, "the page that says what happened");
    let mut said = String::new();
    rest.read_to_string(&mut said)?;
    let output = child.wait_with_output()?;
    Ok((
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &said,
    ))
}

#[tokio::test]
async fn login_list_call_and_step_up() -> Outcome {
    let running = demo().await?;
    let url = running.ready().mcp_url.clone();
    let folder = Scratch::new("agent")?;

    let (code, said) = with_browser(&running, &folder, &["login", &url, "--no-browser"]).await?;
    assert_eq!(code, Some(0), "{said}");

    let tools = agent(&folder, &["tools", &url]).output()?;
    let listed = String::from_utf8_lossy(&tools.stdout).into_owned();
    assert!(
        listed.contains("list_notes") && !listed.contains("delete_all_notes"),
        "{listed}"
    );

    // The tool needs more than was granted: the agent asks for it and the retry succeeds.
    let (code, said) = with_browser(
        &running,
        &folder,
        &[
            "call",
            &url,
            "add_note",
            "{\"text\": \"stepped up\"}",
            "--no-browser",
        ],
    )
    .await?;
    assert_eq!(code, Some(0), "{said}");
    let read = agent(&folder, &["call", &url, "list_notes"]).output()?;
    assert!(
        String::from_utf8_lossy(&read.stdout).contains("stepped up"),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );

    let token = agent(&folder, &["token", &url]).output()?;
    assert_eq!(
        String::from_utf8_lossy(&token.stdout).trim().split('.').count(),
        3
    );

    let status = agent(&folder, &["status"]).output()?;
    assert!(String::from_utf8_lossy(&status.stdout).contains(&url));
    assert_eq!(agent(&folder, &["logout", &url]).output()?.status.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn tokens_are_kept_in_a_private_file_encrypted() -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    let running = demo().await?;
    let url = running.ready().mcp_url.clone();
    let folder = Scratch::new("agent")?;
    let (code, said) = with_browser(&running, &folder, &["login", &url, "--no-browser"]).await?;
    assert_eq!(code, Some(0), "{said}");
    let token = String::from_utf8_lossy(&agent(&folder, &["token", &url]).output()?.stdout)
        .trim()
        .to_owned();
    let mut folders = vec![folder.path().to_path_buf()];
    let mut files = 0;
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(at)?.flatten() {
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                continue;
            }
            files += 1;
            assert_eq!(
                entry.metadata()?.permissions().mode() & 0o077,
                0,
                "{}",
                entry.path().display()
            );
            let bytes = std::fs::read(entry.path())?;
            assert!(
                !String::from_utf8_lossy(&bytes).contains(token.rsplit('.').next().unwrap_or_default()),
                "{}",
                entry.path().display()
            );
        }
    }
    assert!(files > 0);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_plainly() -> Outcome {
    let folder = Scratch::new("agent")?;
    let output = agent(&folder, &["tools", "http://127.0.0.1:9/mcp", "--no-browser"]).output()?;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("127.0.0.1:9") && !said.contains("panicked"),
        "{said}"
    );
    assert_eq!(portcullis().run(["agent", "tools", "not a url"])?.code, Some(2));
    Ok(())
}
