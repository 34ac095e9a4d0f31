//! What the tests need and a machine may lack: Debian packages through apt, published MCP parts through npm and pip.
//! The latter go into `.tools/`, from the lock files of `conformance/`; nothing is installed twice.

use std::fs;

use crate::failure::{Failure, Outcome};
use crate::process::Program;
use crate::repository::Repository;
use crate::terminal;

/// A command that must be there, how to ask for it, and the Debian packages that bring it.
const COMMANDS: &[(&str, &[&str], &[&str])] = &[
    ("cc", &["--version"], &["gcc", "libc6-dev"]),
    ("c++", &["--version"], &["g++"]),
    ("git", &["--version"], &["git"]),
    ("npm", &["--version"], &["nodejs", "npm"]),
    (
        "python3",
        &["-c", "import venv, ensurepip"],
        &["python3", "python3-venv"],
    ),
    ("chromium", &["--version"], &["chromium"]),
];

/// The files that say which versions; a change of any of them installs anew.
const PINS: [&str; 3] = [
    "conformance/package.json",
    "conformance/package-lock.json",
    "conformance/requirements.txt",
];

/// Installs what is missing, and says what it does.
pub(crate) fn run(repository: &Repository) -> Outcome {
    packages()?;
    let tools = repository.path(".tools");
    let stamp = tools.join("installed");
    let pins = PINS
        .iter()
        .map(|path| repository.read(path))
        .collect::<Outcome<Vec<_>>>()?
        .concat();
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == pins) {
        terminal::say("published parts in .tools/: already installed");
        return Ok(());
    }
    terminal::say(
        "published parts: installing the npm packages of conformance/package-lock.json into .tools/",
    );
    fs::create_dir_all(&tools)?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(repository.path("conformance").join(name), tools.join(name))?;
    }
    let npm = [
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel",
        "error",
    ];
    Program::new("npm").args(npm).within(&tools).run()?;
    terminal::say(
        "published parts: installing the PyPI packages of conformance/requirements.txt into .tools/venv",
    );
    let venv = tools.join("venv");
    Program::new("python3").args(["-m", "venv"]).arg(&venv).run()?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ];
    Program::new(venv.join("bin/python"))
        .args(pip)
        .arg(repository.path("conformance/requirements.txt"))
        .run()?;
    // Last, so that an installation that was interrupted is done again.
    fs::write(stamp, pins)?;
    Ok(())
}

fn packages() -> Outcome {
    let missing: Vec<_> = COMMANDS
        .iter()
        .filter(|(command, question, _)| !Program::new(command).args(*question).works())
        .collect();
    if missing.is_empty() {
        terminal::say("commands: all there");
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(command, ..)| *command).collect();
    let packages: Vec<_> = missing
        .iter()
        .flat_map(|(_, _, packages)| *packages)
        .copied()
        .collect();
    terminal::say(&format!(
        "commands: {} missing, installing {}",
        names.join(", "),
        packages.join(", ")
    ));
    if !Program::new("apt-get").arg("--version").works() {
        let advice = "this machine has no apt-get; install them with its own package manager";
        return Err(Failure::new(format!("missing: {}; {advice}", names.join(", "))));
    }
    apt(&["update", "--quiet"])?;
    apt(&[
        &["install", "--yes", "--no-install-recommends"],
        packages.as_slice(),
    ]
    .concat())
}

fn apt(arguments: &[&str]) -> Outcome {
    // `sudo --non-interactive` fails at once where it would ask for a password.
    let root = Program::new("id").arg("-u").output()?.trim() == "0";
    let apt = if root {
        Program::new("apt-get")
    } else {
        Program::new("sudo").args(["--non-interactive", "apt-get"])
    };
    apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").run()
}
