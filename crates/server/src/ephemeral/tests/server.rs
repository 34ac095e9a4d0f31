//! A real `redis-server`, on a port and in a folder of its own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::redis::{Client, cmd};
use rustix::process::{Pid, Signal, kill_process};

static STARTED: AtomicU32 = AtomicU32::new(0);

pub(super) struct Server {
    child: Child,
    folder: PathBuf,
    port: u16,
    tls_port: u16,
    arguments: Vec<String>,
}

impl Server {
    pub(super) async fn start(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        Self::in_folder(folder(), 0, arguments.collect()).await
    }

    /// Also with TLS, and the certificate of its CA.
    pub(super) async fn with_tls() -> (Self, PathBuf) {
        let folder = folder();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let (ca, private) = (folder.join("ca.pem"), folder.join("key.pem"));
        fs::write(&ca, certificate.pem()).unwrap();
        fs::write(&private, key.serialize_pem()).unwrap();
        let tls_port = free_port();
        let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let mut arguments = vec!["--tls-port".to_owned(), tls_port.to_string()];
        for (name, file) in [
            ("--tls-cert-file", &ca),
            ("--tls-key-file", &private),
            ("--tls-ca-cert-file", &ca),
        ] {
            arguments.extend([name.to_owned(), path(file)]);
        }
        arguments.extend(["--tls-auth-clients".to_owned(), "no".to_owned()]);
        (Self::in_folder(folder, tls_port, arguments).await, ca)
    }

    async fn in_folder(folder: PathBuf, tls_port: u16, arguments: Vec<String>) -> Self {
        let port = free_port();
        let child = spawn(&folder, port, &arguments);
        let mut server = Self {
            child,
            folder,
            port,
            tls_port,
            arguments,
        };
        server.serving().await;
        server
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn tls_url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.tls_port)
    }

    /// A file that its owner alone can read.
    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(super) fn hang(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    pub(super) fn go_on(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// After [`Self::kill`]: on the same port, with nothing in it.
    pub(super) async fn again(&mut self) {
        self.child = spawn(&self.folder, self.port, &self.arguments);
        self.serving().await;
    }

    pub(super) async fn tell(&self, words: &[&str]) {
        self.ask::<::redis::Value>(words).await.unwrap();
    }

    pub(super) async fn keys(&self) -> Vec<String> {
        self.ask(&["KEYS", "*"]).await.unwrap()
    }

    /// How often a command came.
    pub(super) async fn count(&self, command: &str) -> u64 {
        let stats: String = self.ask(&["INFO", "commandstats"]).await.unwrap();
        let field = format!("cmdstat_{command}:calls=");
        stats
            .lines()
            .find_map(|line| line.strip_prefix(&field)?.split(',').next()?.parse().ok())
            .unwrap_or(0)
    }

    /// How many connections came.
    pub(super) async fn connections(&self) -> u64 {
        let stats: String = self.ask(&["INFO", "stats"]).await.unwrap();
        stats
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:")?.parse().ok())
            .unwrap()
    }

    /// Has it copy another one, and follow it.
    pub(super) async fn follow(&self, leader: &Self) {
        self.tell(&["REPLICAOF", "127.0.0.1", &leader.port.to_string()])
            .await;
    }

    /// Whether it has copied the one that it follows.
    pub(super) async fn follows(&self) -> bool {
        let said: String = self.ask(&["INFO", "replication"]).await.unwrap();
        said.contains("master_link_status:up")
    }

    async fn ask<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> ::redis::RedisResult<T> {
        let info = Client::open(self.url())?.get_connection_info().clone();
        let password = self
            .arguments
            .iter()
            .skip_while(|word| *word != "--requirepass")
            .nth(1);
        let info = match password {
            Some(password) => {
                let settings = info.redis_settings().clone().set_password(password);
                info.set_redis_settings(settings)
            }
            None => info,
        };
        let mut connection = Client::open(info)?.get_multiplexed_async_connection().await?;
        let (name, rest) = words.split_first().unwrap();
        let mut command = cmd(name);
        for word in rest {
            command.arg(word);
        }
        command.query_async(&mut connection).await
    }

    async fn serving(&mut self) {
        for _ in 0..1_000 {
            if self.ask::<String>(&["PING"]).await.is_ok() {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("redis-server ended with {status}: {log}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("redis-server does not serve");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn spawn(folder: &PathBuf, port: u16, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .arg("--dir")
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(fs::File::create(folder.join("log")).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .expect("`redis-server` is there; `cargo xtask test` installs it")
}

fn folder() -> PathBuf {
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("portcullis-redis-{}-{number}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    folder
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
