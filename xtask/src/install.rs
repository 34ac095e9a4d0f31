//! What the tests need and a machine may lack: Debian packages through apt, published MCP parts through npm and pip.
//! The latter go into `.tools/`, from the lock files of `conformance/`; nothing is installed twice.

use std::{env, fs};

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
    // A hardware security module in software, and the tool that looks into it.
    ("softhsm2-util", &["--version"], &["softhsm2"]),
    ("opensc-tool", &["--version"], &["opensc"]),
    // A TPM in software, its resource manager on a private bus, and PKCS#11 in front of it.
    ("swtpm", &["--version"], &["swtpm"]),
    ("swtpm_setup", &["--help"], &["swtpm-tools"]),
    ("tpm2_getrandom", &["--version"], &["tpm2-tools"]),
    ("tpm2-abrmd", &["--version"], &["tpm2-abrmd"]),
    ("tpm2_ptool", &["--help"], &["libtpm2-pkcs11-tools"]),
    ("dbus-run-session", &["--version"], &["dbus"]),
    // Libraries that are loaded by name: no command asks for them, so the file is.
    (
        "sh",
        &["-c", "ls /usr/lib/*/libtpm2_pkcs11.so.1"],
        &["libtpm2-pkcs11-1"],
    ),
    (
        "sh",
        &["-c", "ls /usr/lib/*/libtss2-tcti-tabrmd.so.0"],
        &["libtss2-tcti-tabrmd0"],
    ),
    // Other TLS than ours, as clients and as a proxy in front.
    ("openssl", &["version"], &["openssl"]),
    ("curl", &["--version"], &["curl"]),
    ("haproxy", &["-v"], &["haproxy"]),
    // What replicas share their keys in. Debian keeps its programs beside each other, and off the path.
    (
        "sh",
        &["-c", "command -v initdb || ls /usr/lib/postgresql/*/bin/initdb"],
        &["postgresql"],
    ),
    // What replicas share their replay log in.
    ("redis-server", &["--version"], &["redis-server"]),
];

/// The files that say which versions; a change of any of them installs anew.
const PINS: [&str; 5] = [
    "conformance/package.json",
    "conformance/package-lock.json",
    "conformance/requirements.txt",
    "conformance/requirements-kms.txt",
    "conformance/requirements-issuers.txt",
];

/// The Python environments in `.tools/`, and what is in each: the packages of the key services and of the
/// authorization servers are pinned against others.
const ENVIRONMENTS: [(&str, &str); 3] = [
    ("venv", "conformance/requirements.txt"),
    ("kms", "conformance/requirements-kms.txt"),
    ("issuers", "conformance/requirements-issuers.txt"),
];

/// Installs what is missing, and says what it does.
pub(crate) fn run(repository: &Repository) -> Outcome {
    packages()?;
    vectors(repository);
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
    for (name, requirements) in ENVIRONMENTS {
        make(repository, name, requirements)?;
    }
    // Last, so that an installation that was interrupted is done again.
    fs::write(stamp, pins)?;
    Ok(())
}

/// A Python environment in `.tools/` that only some command needs, unless it is there as `requirements` has it.
pub(crate) fn environment(repository: &Repository, name: &str, requirements: &str) -> Outcome {
    let stamp = repository.path(".tools").join(name).join("installed");
    let pins = repository.read(requirements)?;
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == pins) {
        return Ok(());
    }
    make(repository, name, requirements)?;
    fs::write(stamp, pins)?;
    Ok(())
}

/// Debian packages.
pub(crate) fn debian(names: &[&str]) -> Outcome {
    apt(&["update", "--quiet"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], names].concat())
}

fn make(repository: &Repository, name: &str, requirements: &str) -> Outcome {
    terminal::say(&format!(
        "published parts: installing the PyPI packages of {requirements} into .tools/{name}"
    ));
    let environment = repository.path(".tools").join(name);
    Program::new("python3")
        .args(["-m", "venv"])
        .arg(&environment)
        .run()?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--requirement",
    ];
    Program::new(environment.join("bin/python"))
        .args(pip)
        .arg(repository.path(requirements))
        .run()
}

/// Test vectors are not installed and not in the repository: says whether they are here. At the end of the tests each file
/// that was not run is named.
fn vectors(repository: &Repository) {
    let folder = env::var_os("PORTCULLIS_VECTORS")
        .map_or_else(|| repository.path("../shared/vectors"), std::path::PathBuf::from);
    if folder.is_dir() {
        terminal::say(&format!("test vectors: at {}", folder.display()));
    } else {
        terminal::say(
            "test vectors: NOT here, so the tests `vectors::` run nothing. Put them into a folder and name it in \
             PORTCULLIS_VECTORS",
        );
    }
}

/// What the tests need and this machine lacks, with the packages that bring it.
pub(crate) fn missing() -> Vec<(&'static str, &'static [&'static str])> {
    COMMANDS
        .iter()
        .filter(|(command, question, _)| !Program::new(command).args(*question).works())
        .map(|(command, _, packages)| match *command {
            // A question about a file, asked through the shell: the package is the better name.
            "sh" => (packages.first().copied().unwrap_or(*command), *packages),
            _ => (*command, *packages),
        })
        .collect()
}

fn packages() -> Outcome {
    let missing = missing();
    if missing.is_empty() {
        terminal::say("commands: all there");
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
    let packages: Vec<_> = missing
        .iter()
        .flat_map(|(_, packages)| *packages)
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
    debian(&packages)
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
