//! A PostgreSQL of one test's own: in a folder of its own, on a free port of loopback, ended by its process id.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::custody::shelf::Database;

/// Set to `1` on a machine that cannot have it: the test then says so and passes.
const ALLOW_MISSING: &str = "PORTCULLIS_ALLOW_MISSING";
/// Longest that it may take to answer. No measure of anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// It refuses to run as root. Its package makes this user.
const USER: &str = "postgres";

/// A running server.
pub(crate) struct Postgres {
    folder: PathBuf,
    child: Child,
    url: String,
}

impl Postgres {
    /// `None` where there is none and that is allowed.
    pub(crate) fn start() -> Option<Self> {
        let initdb = program("initdb")?;
        let name = portcullis_core::random::token::<12>(&portcullis_net::random::System).unwrap();
        let folder = std::env::temp_dir().join(format!("portcullis-postgres-{name}"));
        std::fs::create_dir(&folder).unwrap();
        if geteuid().is_root() {
            run(Command::new("chown").arg(USER).arg(&folder));
        }
        let data = folder.join("data");
        run(as_user(&initdb)
            .args([
                "--username",
                USER,
                "--auth",
                "trust",
                "--encoding",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .arg("--pgdata")
            .arg(&data)
            .current_dir(&folder));
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = as_user(&initdb.with_file_name("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(&folder)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-F"])
            .args(["-c", "shared_buffers=16MB", "-c", "log_min_messages=fatal"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut started = Self {
            folder,
            child,
            url: format!("postgres://{USER}@127.0.0.1:{port}/postgres"),
        };
        let begun = Instant::now();
        while let Err(error) = Database::open(&started.url, "") {
            let ended = started.child.try_wait().unwrap();
            assert!(ended.is_none(), "PostgreSQL ended: {ended:?}");
            assert!(begun.elapsed() < PATIENCE, "PostgreSQL does not answer: {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(started)
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, and with its shared memory given back, which a kill does not do.
        kill_process(Pid::from_child(&self.child), Signal::QUIT).ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// A program of PostgreSQL: on the path, or where Debian has it, of the newest version there.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    folders.sort();
    folders.reverse();
    folders.extend(std::env::split_paths(&path));
    // What is on the path may be a link to one that has its other programs beside it.
    let found = folders
        .iter()
        .filter_map(|folder| folder.join(name).canonicalize().ok())
        .find(|path| path.with_file_name("postgres").exists());
    if found.is_some() {
        return found;
    }
    let message = "missing: PostgreSQL (initdb, postgres); apt-get install postgresql";
    if std::env::var_os(ALLOW_MISSING).is_some_and(|value| value == "1") {
        writeln!(std::io::stderr(), "not run ({ALLOW_MISSING}=1): {message}").unwrap();
        return None;
    }
    panic!("{message}");
}

/// As us or, where we are root, as its own user. The process id stays the same.
fn as_user(program: &Path) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"])
        .arg(program);
    command
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}
