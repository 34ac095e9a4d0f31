//! The README is executable: each command in it is run here, or is the command that runs this test.

use std::fs;
use std::process::Command;

use portcullis_testkit::{Outcome, Running, Scratch};

use crate::{agent, portcullis};

/// Every line of a page's shell blocks, without comments, in order.
pub(crate) fn commands_of(page: &str) -> Outcome<Vec<String>> {
    let readme = fs::read_to_string(format!("{}/../../{page}", env!("CARGO_MANIFEST_DIR")))?;
    let mut commands = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            let command = line.split(" #").next().unwrap_or_default().trim();
            if !command.is_empty() {
                commands.push(command.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    }
    Ok(commands)
}

/// Splits a command line as a shell does, as far as the README needs it: quotes, no expansion.
pub(crate) fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for character in command.chars() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            (None, ' ') => words.push(std::mem::take(&mut word)),
            (_, other) => word.push(other),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// The arguments after the program's name, when the line is a command of ours.
fn ours(command: &str) -> Option<Vec<String>> {
    let rest = command
        .strip_prefix("cargo run --release -- ")
        .or_else(|| command.strip_prefix("portcullis "))?;
    Some(words(rest))
}

async fn up(arguments: &[String]) -> Outcome<Running> {
    arguments
        .iter()
        .skip(1)
        .fold(portcullis(), |portcullis, argument| portcullis.arg(argument))
        .up()
        .await
}

#[tokio::test]
async fn every_command_of_the_readme_runs() -> Outcome {
    let running = crate::demo().await?;
    let url = running.ready().mcp_url.clone();
    let data = running.data().display().to_string();
    let folder = Scratch::new("readme")?;
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/gateway.toml");

    let mut run = 0;
    for command in commands_of("README.md")? {
        if command == "cargo xtask test" {
            continue; // It is what runs this test.
        }
        // Relative to the folder of the example, where there is something to seal.
        let here = |word: &str| {
            let is_file = word.contains('.') && !word.starts_with('-');
            if is_file {
                folder.path().join(word).display().to_string()
            } else {
                word.to_owned()
            }
        };
        if let Some(rest) = command.strip_prefix("openssl ") {
            let made = Command::new("openssl")
                .args(words(rest).iter().map(|word| here(word)))
                .output()?;
            assert!(
                made.status.success(),
                "{command}: {}",
                String::from_utf8_lossy(&made.stderr)
            );
            run += 1;
            continue;
        }
        let arguments = ours(&command).unwrap_or_else(|| panic!("`{command}` is not run by any test"));
        let names: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match names.as_slice() {
            ["up", ..] => drop(up(&arguments).await?),
            ["agent", verb @ ("login" | "call"), _, rest @ ..] => {
                let asked: Vec<&str> = [*verb, url.as_str()]
                    .into_iter()
                    .chain(rest.iter().copied())
                    .chain(["--no-browser"])
                    .collect();
                let (code, said) = agent::with_browser(&running, &folder, &asked).await?;
                assert_eq!(code, Some(0), "{command}: {said}");
            }
            ["agent", verb, _] => {
                let output = agent::agent(&folder, &[*verb, &url]).output()?;
                assert!(
                    output.status.success(),
                    "{command}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            ["keys", "simulate", ..] => {
                let picture = folder.path().join("rotation.svg").display().to_string();
                let ran = portcullis().run(
                    names
                        .iter()
                        .map(|word| if *word == "rotation.svg" { &picture } else { *word }),
                )?;
                assert_eq!(ran.code, Some(0), "{command}: {}", ran.stderr);
                assert!(
                    fs::read_to_string(&picture)?.starts_with("<svg"),
                    "{command} drew nothing"
                );
            }
            ["audit" | "keys" | "registry", ..] => {
                let ran = portcullis().run(names.iter().copied().chain(["--data", &data]))?;
                assert_eq!(ran.code, Some(0), "{command}: {}", ran.stderr);
                assert!(!ran.stdout.is_empty(), "{command} said nothing");
            }
            ["seal", ..] => {
                fs::write(folder.path().join("notes.txt"), "water the plants")?;
                let ran = portcullis().run(names.iter().map(|word| here(word)))?;
                assert_eq!(ran.code, Some(0), "{command}: {}", ran.stderr);
            }
            ["config", "check", _] => {
                let ran = portcullis().run(["config", "check", example])?;
                assert_eq!(ran.code, Some(0), "{command}: {}", ran.stdout);
            }
            ["policy", "explain", ..] => {
                fs::write(folder.path().join("token.txt"), "none\n")?;
                let asked = names.iter().map(|word| match *word {
                    "gateway.toml" => example.to_owned(),
                    word => here(word),
                });
                let ran = portcullis().run(asked)?;
                assert_eq!(ran.code, Some(1), "{command}: {}", ran.stderr);
                assert!(
                    ran.stdout.starts_with("refused: 401 token.not-compact\n"),
                    "{}",
                    ran.stdout
                );
            }
            // Served by `apart.rs` from a file; here, that the words are right.
            ["gateway" | "authority", "--config", file] => {
                let ran = portcullis().run([
                    names[0],
                    "--config",
                    &folder.path().join(file).display().to_string(),
                ])?;
                assert_eq!(ran.code, Some(2), "{command}: {}", ran.stderr);
                assert!(ran.stderr.contains("cannot be read"), "{command}: {}", ran.stderr);
            }
            _ => panic!("`{command}` is not run by any test"),
        }
        run += 1;
    }
    for opened in ["notes.copy", "notes.opened"] {
        assert_eq!(
            fs::read_to_string(folder.path().join(opened))?,
            "water the plants",
            "{opened}"
        );
    }
    assert!(run >= 20, "only {run} commands were found in the README");
    Ok(())
}
