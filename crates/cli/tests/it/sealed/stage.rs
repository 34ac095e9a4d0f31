//! A gateway with sealed tools, its authority, a server behind it, and a wire between agent and gateway that remembers
//! everything that went over it.

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_testkit::{Failure, Outcome, Request, Scratch, Upstream, mcp};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::agent::{agent, with_browser_as};
use crate::apart::{Server, free_ports, serves};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// What a proxy, a log or a cache on the way sees.
pub(crate) struct Wire {
    seen: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Wire {
    /// Between `port`, where agents connect, and the gateway.
    async fn between(port: u16, gateway: u16) -> Outcome<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let record = Arc::clone(&record);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", gateway)).await else {
                        return;
                    };
                    let ((client_in, client_out), (server_in, server_out)) =
                        (client.into_split(), server.into_split());
                    tokio::join!(
                        copy(client_in, server_out, Arc::clone(&record)),
                        copy(server_in, client_out, record)
                    );
                });
            }
        });
        Ok(Self { seen, task })
    }

    pub(crate) fn seen(&self) -> Vec<u8> {
        lock(&self.seen).clone()
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        contains(&self.seen(), text.as_bytes())
    }

    /// The last body of a `tools/call` that went over it, as the agent sent it.
    pub(crate) fn last_call(&self) -> Outcome<Value> {
        let seen = self.seen();
        let text = String::from_utf8_lossy(&seen);
        let at = text.rfind("\"method\":\"tools/call\"");
        let at = at.ok_or_else(|| Failure::new("no call went over the wire"))?;
        let head = text.get(..at).and_then(|before| before.rfind("\r\n\r\n"));
        let body = text.get(head.map_or(0, |head| head + 4)..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(body).into_iter::<Value>();
        match values.next() {
            Some(Ok(call)) => Ok(call),
            other => Err(Failure::new(format!("not a call: {other:?}"))),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn member(value: &Value, pointer: &str) -> Value {
    value.pointer(pointer).cloned().unwrap_or_default()
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    record: Arc<Mutex<Vec<u8>>>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let bytes = buffer.get(..read).unwrap_or_default();
        lock(&record).extend_from_slice(bytes);
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
    to.shutdown().await.ok();
}

/// The server behind the gateway: answers everything, and keeps what it heard.
pub(crate) struct Behind {
    heard: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
    url: String,
}

impl Behind {
    async fn start() -> Outcome<Self> {
        let mut upstream = Upstream::start().await?;
        let url = upstream.url().to_owned();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok(request) = upstream.next().await {
                let Ok(message) = request.json() else {
                    request.answer(405, &[], "").ok();
                    continue;
                };
                lock(&kept).push(message.clone());
                let tool = message.pointer("/params/name").and_then(Value::as_str);
                match (crate::text(&message, "/method").as_str(), tool) {
                    ("server/discover", _) => request.result(&json!({
                        "resultType": "complete", "supportedVersions": [mcp::MODERN],
                        "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private",
                        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "bank", "version": "1"}},
                    })),
                    ("tools/list", _) => request.result(&tools()),
                    ("tools/call", Some("stream")) => {
                        let id = member(&message, "/id");
                        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}});
                        let result = json!({"jsonrpc": "2.0", "id": id, "result": outcome(&message)});
                        match request.stream(&[]) {
                            Ok(feed) => {
                                feed.send(format!("data: {progress}\n\n")).await.ok();
                                feed.send(format!("id: 1\ndata: {result}\n\n")).await
                            }
                            Err(error) => Err(error),
                        }
                    }
                    ("tools/call", Some("complain")) => {
                        let said = format!("I do not like {}", member(&message, "/params/arguments"));
                        let error = json!({"jsonrpc": "2.0", "id": member(&message, "/id"), "error": {"code": -32602, "message": said, "data": said}});
                        request.answer(200, &[("content-type", "application/json")], error.to_string())
                    }
                    ("tools/call", _) => request.result(&outcome(&message)),
                    _ => request.answer(404, &[], ""),
                }
                .ok();
            }
        });
        Ok(Self { heard, task, url })
    }

    /// The calls of tools that it heard, since the last time.
    pub(crate) fn calls(&self) -> Vec<Value> {
        let heard = std::mem::take(&mut *lock(&self.heard));
        heard
            .into_iter()
            .filter(|message| crate::text(message, "/method") == "tools/call")
            .collect()
    }

    /// Everything it heard, as text.
    pub(crate) fn everything(&self) -> String {
        lock(&self.heard).iter().map(Value::to_string).collect()
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn tools() -> Value {
    let schema = json!({"type": "object"});
    let tool = |name: &str| json!({"name": name, "inputSchema": schema});
    let tools = ["pay", "pay_too", "stream", "complain", "lenient", "plain"].map(tool);
    json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": tools})
}

/// Repeats what it was told, in all the places where a result can have it.
fn outcome(message: &Value) -> Value {
    let text = message
        .pointer("/params/arguments/text")
        .cloned()
        .unwrap_or_default();
    let said = text
        .as_str()
        .unwrap_or_default()
        .chars()
        .rev()
        .collect::<String>();
    json!({
        "resultType": "complete",
        "content": [{"type": "text", "text": said}, {"type": "text", "text": format!("again {said}")}],
        "structuredContent": {"balance": 8_031_977, "open": true},
    })
}

pub(crate) struct Stage {
    pub(crate) scratch: Scratch,
    pub(crate) behind: Behind,
    pub(crate) wire: Wire,
    pub(crate) gateway_url: String,
    /// Where the gateway itself listens.
    pub(crate) gateway: Option<Server>,
    _authority: Server,
}

impl Stage {
    pub(crate) async fn set() -> Outcome<Self> {
        let scratch = Scratch::new("sealed")?;
        let behind = Behind::start().await?;
        let [listen, public, authority] = free_ports()?;
        let gateway_url = format!("http://127.0.0.1:{public}");
        let authority_url = format!("http://127.0.0.1:{authority}");
        let folder = scratch.path();
        for user in ["ada", "eve"] {
            fs::write(folder.join(format!("{user}.password")), format!("{PASSWORD}\n"))?;
        }
        let seal = "arguments = [\"/text\", \"/card/number\"]\nresult = [\"/content/*/text\", \"/structuredContent/balance\"]";
        let mut tools = String::new();
        for name in ["pay", "pay_too", "stream", "complain", "lenient"] {
            let clear = if name == "lenient" {
                "clear = \"allow\"\n"
            } else {
                ""
            };
            tools += &format!(
                "[servers.tools.{name}]\neffect = \"read\"\n[servers.tools.{name}.seal]\n{seal}\n{clear}"
            );
        }
        tools += "[servers.tools.plain]\neffect = \"read\"\n";
        let servers = ["bank", "shop"].map(|name| {
            format!(
                "[[servers]]\nname = \"{name}\"\nurl = \"{}\"\n{tools}",
                behind.url
            )
        });
        let resources = ["bank", "shop"].map(|name| {
            format!("[[authority.resources]]\nuri = \"{gateway_url}/s/{name}/mcp\"\nserver = \"{name}\"\n")
        });
        let file = format!(
            r#"version = 1
[gateway]
listen = "127.0.0.1:{listen}"
public_url = "{gateway_url}"
[gateway.seal]
ciphers = ["C20P", "A256GCM"]
session_lifetime = "1h"
[[issuers]]
issuer = "{authority_url}"
algorithms = ["ES256"]
{}
[authority]
listen = "127.0.0.1:{authority}"
public_url = "{authority_url}"
{}
[[authority.users]]
name = "ada"
password_file = "ada.password"
[[authority.users]]
name = "eve"
password_file = "eve.password"
[store]
url = "sqlite:authority.db"
[keys]
dir = "keys"
master_key_file = "master.key"
[audit]
dir = "audit"
"#,
            servers.concat(),
            resources.concat()
        );
        fs::write(folder.join("gateway.toml"), &file)?;
        fs::write(
            folder.join("authority.toml"),
            file.replace("dir = \"audit\"", "dir = \"authority-audit\""),
        )?;
        let authority = Server::start("authority", folder)?;
        serves(&authority_url).await?;
        let gateway = Server::start("gateway", folder)?;
        serves(&format!("http://127.0.0.1:{listen}")).await?;
        let wire = Wire::between(public, listen).await?;
        Ok(Self {
            scratch,
            behind,
            wire,
            gateway_url,
            gateway: Some(gateway),
            _authority: authority,
        })
    }

    /// Ends the gateway and starts it again.
    pub(crate) async fn restart(&mut self) -> Outcome {
        drop(self.gateway.take());
        self.gateway = Some(Server::start("gateway", self.scratch.path())?);
        let file = fs::read_to_string(self.scratch.path().join("gateway.toml"))?;
        let listen = file
            .split("listen = \"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        serves(&format!("http://{}", listen.unwrap_or_default())).await
    }

    pub(crate) fn url(&self, server: &str) -> String {
        format!("{}/s/{server}/mcp", self.gateway_url)
    }

    /// An agent that a person has logged in.
    pub(crate) async fn logged_in(&self, user: &str, server: &str) -> Outcome<Scratch> {
        let folder = Scratch::new("sealed-agent")?;
        self.log_in(&folder, user, server).await?;
        Ok(folder)
    }

    pub(crate) async fn log_in(&self, folder: &Scratch, user: &str, server: &str) -> Outcome {
        let arguments = ["login", &self.url(server), "--no-browser"];
        let (code, said) = with_browser_as((user, PASSWORD), folder, &arguments).await?;
        if code == Some(0) {
            Ok(())
        } else {
            Err(Failure::new(said))
        }
    }

    pub(crate) fn call(
        &self,
        folder: &Scratch,
        tool: &str,
        more: &[&str],
    ) -> Outcome<(Option<i32>, String, String)> {
        let url = self.url("bank");
        let arguments =
            json!({"text": SECRET, "card": {"number": CARD, "name": "ada"}, "amount": 1.50}).to_string();
        let command: Vec<&str> = ["call", &url, tool, &arguments, "--json"]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        let output = agent(folder, &command).output()?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((output.status.code(), text(output.stdout), text(output.stderr)))
    }

    pub(crate) fn token(&self, folder: &Scratch, server: &str) -> Outcome<String> {
        let output = agent(folder, &["token", &self.url(server)]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Revokes the key of the gateway that does this work now, as an operator does, and waits until it is not published.
    pub(crate) async fn revoke(&self, purpose: &str) -> Outcome<String> {
        let file = self.scratch.path().join("gateway.toml").display().to_string();
        let listed = crate::portcullis().run(["keys", "list", "--json", "--config", &file])?;
        let listed: Vec<Value> = serde_json::from_str(&listed.stdout)?;
        let current =
            |key: &&Value| key["role"] == "gateway" && key["purpose"] == purpose && key["state"] == "enabled";
        let key = listed.iter().find(current);
        let kid = key.map(|key| crate::text(key, "/kid")).unwrap_or_default();
        let revoke = [
            "keys",
            "revoke",
            &kid,
            "--reason",
            "seen in a log",
            "--config",
            &file,
        ];
        let ran = crate::portcullis().run(revoke)?;
        if ran.code != Some(0) {
            return Err(Failure::new(format!("{ran:?}")));
        }
        for _ in 0..500 {
            let jwks = format!("{}/.well-known/jwks.json", self.gateway_url);
            if !Request::get(jwks).send().await?.text().contains(&kid) {
                return Ok(kid);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Err(Failure::new(format!("{kid} is still published")))
    }

    /// The records of the gateway.
    pub(crate) fn records(&self) -> Outcome<String> {
        let log = self.scratch.path().join("audit").display().to_string();
        let ran = crate::portcullis().run(["audit", "query", "--json", "--dir", &log])?;
        if ran.code == Some(0) {
            Ok(ran.stdout)
        } else {
            Err(Failure::new(ran.stderr))
        }
    }
}

/// What nobody on the way may read; and what the server says, which nobody may read either.
pub(crate) const SECRET: &str = "the-garden-gate-code-is-4711";
pub(crate) const REVERSED: &str = "1174-si-edoc-etag-nedrag-eht";
pub(crate) const CARD: &str = "4929-1111-2222-3333";
pub(crate) const BALANCE: &str = "8031977";
