//! Programs of this machine, folders, ports, and a test inside of a process of its own.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Set to `1` on a machine that cannot have the parts: the tests then say so and pass.
const ALLOW_MISSING: &str = "PORTCULLIS_ALLOW_MISSING";
/// Set for the test inside.
const INSIDE: &str = "PORTCULLIS_HSM_INSIDE";

/// The first of these paths that exists. `None` when nothing is there and that is allowed.
pub(crate) fn part(name: &str, how: &str, candidates: &[PathBuf]) -> Option<PathBuf> {
    if let Some(found) = candidates.iter().find(|path| path.exists()) {
        return Some(found.clone());
    }
    let message = format!("missing: {name}; {how}");
    if std::env::var_os(ALLOW_MISSING).is_some_and(|value| value == "1") {
        writeln!(std::io::stderr(), "not run ({ALLOW_MISSING}=1): {message}").unwrap();
        return None;
    }
    panic!("{message}");
}

/// A program of the system.
pub(crate) fn program(name: &str, package: &str) -> Option<PathBuf> {
    let candidates: Vec<_> = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .collect();
    part(name, &format!("apt-get install {package}"), &candidates)
}

/// A shared library of the system.
pub(crate) fn library(name: &str, package: &str) -> Option<PathBuf> {
    let mut candidates = vec![Path::new("/usr/lib/softhsm").join(name)];
    for machine in ["x86_64-linux-gnu", "aarch64-linux-gnu"] {
        for below in ["", "pkcs11", "softhsm"] {
            candidates.push(Path::new("/usr/lib").join(machine).join(below).join(name));
        }
    }
    part(name, &format!("apt-get install {package}"), &candidates)
}

/// A folder for one test, removed at its end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("portcullis-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A started program; ended, by its process id, when dropped.
pub(crate) struct Started(Child);

impl Started {
    pub(crate) fn new(command: &mut Command) -> Self {
        command.stdin(Stdio::null());
        Self(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?}: {error}")),
        )
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs to its end, which must be a good one.
pub(crate) fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `count` ports next to each other that nobody listens on now.
pub(crate) fn ports(count: u16) -> u16 {
    loop {
        let first = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let others: Vec<_> = (1..count)
            .map(|next| {
                port.checked_add(next)
                    .map(|port| TcpListener::bind(("127.0.0.1", port)))
            })
            .collect();
        if others.iter().all(|other| matches!(other, Some(Ok(_)))) {
            return port;
        }
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, patience: Duration, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < patience, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether this process is the one inside of `test`.
pub(crate) fn inside(test: &str) -> bool {
    std::env::var_os(INSIDE).is_some_and(|name| name == test)
}

/// Runs the test `test` of this binary in a process of its own, with these variables: a module reads its configuration
/// from the environment, and a process cannot change its own.
pub(crate) fn run_inside(test: &str, variables: &[(&str, &str)]) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "`{test}` inside: {status}");
}

/// A variable that the process outside has set.
pub(crate) fn variable(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")))
}
