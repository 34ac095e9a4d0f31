//! The range: one real gateway with issuers of the test's own, a server behind it that counts what it hears, and the rule by
//! which every attack is judged.
//!
//! An attack holds up when all of this is so: the status and the challenge are exactly those of the answer's code, the caller
//! is told what it may be told, the server behind heard nothing, the record has the stable code and whose fault it is, and a
//! correct request passed before the row's attacks and after them. What does not hold is noted, and told all at once at the
//! end.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use portcullis_testkit::proofs::now;
use portcullis_testkit::{Answer, Failure, Outcome, Request, Scratch, Site, mcp};
use serde_json::{Value, json};

use super::catalogue;
use super::expect::{Expect, HOME, HOST, RESOURCE};
use super::forge::{Key, with};
use crate::apart::{Server, free_ports};

/// Where the gateway's log goes.
const LOG: &str = "gateway.log";
/// What `rules.cedar` has, for a configuration that names it.
const RULES: &str = "forbid (principal, action, resource == Tool::\"crm/find\") when { context.arguments has name && context.arguments.name == \"nobody\" };\n";
/// Parts of tokens that are longer than this are looked for where they must not be.
const TELLING: usize = 24;

/// An issuer that the gateway trusts.
pub(super) struct Issuer {
    /// TOML lines below `[[issuers]]`.
    lines: String,
    /// A file with its keys.
    jwks: Option<(String, String)>,
}

impl Issuer {
    /// With these keys in a file. `name` is that of the file, and the issuer's host.
    pub(super) fn of(name: &str, keys: &Value) -> Self {
        Self::with_text(name, &json!({ "keys": keys }).to_string())
    }

    /// With this text for a JWK Set.
    pub(super) fn with_text(name: &str, text: &str) -> Self {
        let lines = format!(
            "issuer = \"https://{name}.example\"\njwks_file = \"{name}.json\"\nalgorithms = [\"ES256\", \"ES384\", \"RS256\", \"PS256\", \"EdDSA\"]\n"
        );
        Self {
            lines,
            jwks: Some((format!("{name}.json"), text.to_owned())),
        }
    }

    /// With its keys at a URL.
    pub(super) fn at(name: &str, jwks_uri: &str) -> Self {
        let lines = format!(
            "issuer = \"https://{name}.example\"\njwks_uri = \"{jwks_uri}\"\nalgorithms = [\"ES256\"]\n"
        );
        Self { lines, jwks: None }
    }

    pub(super) fn and(mut self, line: &str) -> Self {
        self.lines.push_str(line);
        self.lines.push('\n');
        self
    }
}

/// A refusal that was sent, to be found on record.
struct Judged {
    what: String,
    request: String,
    reason: &'static str,
    fault: &'static str,
}

/// One gateway, and what was seen of it.
pub(super) struct Range {
    section: &'static str,
    scratch: Scratch,
    gateway: Server,
    /// Where it listens.
    pub(super) origin: String,
    /// The server behind.
    pub(super) behind: Site,
    /// The key of [`HOME`].
    pub(super) home: Key,
    row: &'static str,
    ran: BTreeSet<&'static str>,
    judged: Vec<Judged>,
    problems: Vec<String>,
    /// Parts of every token and proof that was sent.
    sent: BTreeSet<String>,
}

impl Range {
    /// A gateway that trusts [`HOME`] and these issuers, with this in its configuration besides.
    pub(super) async fn start(section: &'static str, issuers: Vec<Issuer>, more: &str) -> Outcome<Self> {
        let home = Key::p256()?;
        let keys = json!([home.published("es", "ES256")]);
        Self::with_home(section, home, Issuer::of("home", &keys), issuers, more).await
    }

    /// The same, with keys of [`HOME`] that the test chooses. `home` is published as `es` among them.
    pub(super) async fn with_home(
        section: &'static str,
        home: Key,
        of_home: Issuer,
        issuers: Vec<Issuer>,
        more: &str,
    ) -> Outcome<Self> {
        let scratch = Scratch::new("attacks")?;
        let behind = Site::mcp().await?;
        let [port] = free_ports()?;
        let origin = format!("http://127.0.0.1:{port}");
        let mut file = format!(
            r#"version = 1
[gateway]
listen = "127.0.0.1:{port}"
public_url = "https://{HOST}"
[[servers]]
name = "crm"
url = "{}/mcp"
credential_env = "CRM_TOKEN"
[servers.tools.find]
effect = "read"
[servers.tools.merge]
effect = "write"
[servers.tools.wipe]
effect = "irreversible"
[keys]
dir = "keys"
master_key_file = "master.key"
[audit]
dir = "audit"
"#,
            behind.origin()
        );
        for issuer in std::iter::once(of_home).chain(issuers) {
            file.push_str("[[issuers]]\n");
            file.push_str(&issuer.lines);
            if let Some((name, text)) = issuer.jwks {
                fs::write(scratch.path().join(name), text)?;
            }
        }
        let secret = scratch.path().join("secret");
        fs::write(&secret, "s3cr3t\n")?;
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
        // Rules of the operator's own, which say no to one argument.
        fs::write(scratch.path().join("rules.cedar"), RULES)?;
        file.push_str(more);
        if !more.contains("[limits]") {
            // These are thousands of bad credentials from one address.
            file.push_str("[limits]\nper_address = \"none\"\n");
        }
        fs::write(scratch.path().join("gateway.toml"), file)?;
        let gateway = Server::start_telling("gateway", scratch.path(), &scratch.path().join(LOG))?;
        if let Err(failure) = crate::apart::serves(&origin).await {
            let said = fs::read_to_string(scratch.path().join(LOG))?;
            return Err(Failure::new(format!("{failure}\n{said}")));
        }
        Ok(Self {
            section,
            scratch,
            gateway,
            origin,
            behind,
            home,
            row: "",
            ran: BTreeSet::new(),
            judged: Vec::new(),
            problems: Vec::new(),
            sent: BTreeSet::new(),
        })
    }

    pub(super) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// From here on it is this row's attacks. A correct request passes before.
    pub(super) async fn row(&mut self, row: &'static str) -> Outcome {
        self.control().await?;
        self.row = row;
        self.ran.insert(row);
        Ok(())
    }

    async fn control(&mut self) -> Outcome {
        let token = self.good();
        self.passes("the control request", self.call(&token)).await
    }

    /// What the issuer says of a caller who may.
    pub(super) fn claims() -> Value {
        json!({
            "iss": HOME, "aud": RESOURCE, "sub": "ada", "client_id": "agent", "jti": "t-1", "scope": "crm:read",
            "iat": now(), "exp": now() + 300,
        })
    }

    pub(super) fn header() -> Value {
        json!({"alg": "ES256", "typ": "at+jwt", "kid": "es"})
    }

    /// A token that is good.
    pub(super) fn good(&self) -> String {
        self.home
            .token(Self::header().to_string(), Self::claims().to_string())
    }

    /// A token whose header differs.
    pub(super) fn with_header(&self, members: &[(&str, Value)]) -> String {
        self.home.token(
            with(Self::header(), members).to_string(),
            Self::claims().to_string(),
        )
    }

    /// A token whose claims differ.
    pub(super) fn with_claims(&self, members: &[(&str, Value)]) -> String {
        self.home.token(
            Self::header().to_string(),
            with(Self::claims(), members).to_string(),
        )
    }

    /// A call of the tool `find` without a credential.
    pub(super) fn bare(&self) -> Request {
        self.tool("find")
    }

    pub(super) fn tool(&self, tool: &str) -> Request {
        mcp::call(&format!("{}/mcp", self.origin), tool, &json!({})).header("host", HOST)
    }

    /// A call of the tool `find`.
    pub(super) fn call(&self, token: &str) -> Request {
        self.bare().bearer(token)
    }

    fn note(&mut self, what: &str, problem: impl std::fmt::Display) {
        self.problems.push(format!("{} {what}: {problem}", self.row));
    }

    /// Notes what has to be so and is not.
    pub(super) fn holds(&mut self, what: &str, held: Result<(), String>) {
        if let Err(problem) = held {
            self.note(what, problem);
        }
    }

    /// Notes two values that differ.
    pub(super) fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            self.note(what, format!("{found:?} in place of {expected:?}"));
        }
    }

    /// Sends what is correct, or harmless: it arrives, once.
    pub(super) async fn passes(&mut self, what: &str, request: Request) -> Outcome {
        self.arrives(what, request).await.map(drop)
    }

    /// As [`Self::passes`], and gives the answer.
    pub(super) async fn arrives(&mut self, what: &str, request: Request) -> Outcome<Answer> {
        let before = self.behind.count();
        self.remember(&request);
        let answer = request.send().await?;
        let heard = self.behind.count().saturating_sub(before);
        if !matches!(answer.status, 200 | 202) || heard != 1 {
            let said = format!(
                "does not pass: {} {}, heard {heard}",
                answer.status,
                answer.text()
            );
            self.note(what, said);
        }
        Ok(answer)
    }

    /// Sends an attack.
    pub(super) async fn refuses(
        &mut self,
        what: &str,
        request: Request,
        expected: Expect,
    ) -> Outcome<Answer> {
        let before = self.behind.count();
        self.remember(&request);
        let answer = request.send().await?;
        self.judge(what, &answer, &expected);
        let heard = self.behind.count().saturating_sub(before);
        if heard != 0 {
            self.note(what, "THE SERVER BEHIND HEARD OF IT");
        }
        Ok(answer)
    }

    /// Sends a token that is to be refused.
    pub(super) async fn refuses_token(&mut self, what: &str, token: &str, expected: Expect) -> Outcome {
        self.refuses(what, self.call(token), expected).await.map(drop)
    }

    /// Sends bytes that are no request: one of these statuses is the only answer, before anybody judged anything.
    pub(super) async fn refuses_unread(&mut self, what: &str, bytes: &[u8], statuses: &[u16]) -> Outcome {
        let answer = self.unheard(what, bytes).await?;
        if !statuses.contains(&answer.status) {
            self.note(what, format!("{} is not one of {statuses:?}", answer.status));
        }
        self.same(what, answer.header("x-request-id"), "");
        Ok(())
    }

    /// The same, with an answer of ours.
    pub(super) async fn refuses_as_bytes(&mut self, what: &str, bytes: &[u8], expected: Expect) -> Outcome {
        let answer = self.unheard(what, bytes).await?;
        self.judge(what, &answer, &expected);
        Ok(())
    }

    async fn unheard(&mut self, what: &str, bytes: &[u8]) -> Outcome<Answer> {
        let before = self.behind.count();
        let text = portcullis_testkit::http::raw(&self.origin, bytes).await?;
        if text.matches("HTTP/1.1 ").count() != 1 {
            self.note(what, format!("not one answer: {text}"));
        }
        if self.behind.count() != before {
            self.note(what, "THE SERVER BEHIND HEARD OF IT");
        }
        parsed(&text)
    }

    /// The head and the body of a call of `find`, for the end of a connection. `lines` are headers, with their line ends.
    pub(super) fn bytes(target: &str, lines: &str) -> Vec<u8> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "find", "arguments": {}, "_meta": {
                "io.modelcontextprotocol/protocolVersion": mcp::MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        }});
        let body = body.to_string();
        format!(
            "POST {target} HTTP/1.1\r\nConnection: close\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nMCP-Protocol-Version: {}\r\nMcp-Method: tools/call\r\nMcp-Name: find\r\n{lines}Content-Length: {}\r\n\r\n{body}",
            mcp::MODERN,
            body.len()
        )
        .into_bytes()
    }

    /// What must be in no log and no record.
    fn remember(&mut self, request: &Request) {
        for name in ["authorization", "dpop"] {
            let values = request.values(name);
            let parts = values.iter().flat_map(|value| value.split([' ', '.']));
            let telling = parts.filter(|part| part.len() > TELLING);
            self.sent.extend(telling.map(str::to_owned));
        }
    }

    fn judge(&mut self, what: &str, answer: &Answer, expected: &Expect) {
        if answer.status != expected.status {
            let said = format!(
                "{} in place of {}: {}",
                answer.status,
                expected.status,
                answer.text()
            );
            return self.note(what, said);
        }
        self.same(what, all(answer, "www-authenticate"), expected.challenge.clone());
        let body = answer.json().unwrap_or_default();
        self.same(
            what,
            crate::text(&body, "/error/data/reason"),
            expected.told.to_owned(),
        );
        if let Some(code) = expected.json_rpc {
            self.same(what, body.pointer("/error/code").cloned(), Some(json!(code)));
        }
        if let Some((reason, fault)) = expected.recorded {
            self.same(what, crate::text(&body, "/error/data/fault"), fault.to_owned());
            self.judged.push(Judged {
                what: format!("{} {what}", self.row),
                request: answer.header("x-request-id").to_owned(),
                reason,
                fault,
            });
        }
    }

    /// The decisions on record, by the name of their request.
    pub(super) fn records(&self) -> Outcome<HashMap<String, Value>> {
        let mut records = HashMap::new();
        for entry in fs::read_dir(self.folder().join("audit"))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "jsonl") {
                continue;
            }
            for line in fs::read_to_string(path)?.lines() {
                let record: Value = serde_json::from_str(line)?;
                if crate::text(&record, "/kind") == "decision" {
                    records.insert(crate::text(&record, "/request"), record);
                }
            }
        }
        Ok(records)
    }

    /// The last control, the records, and whether every row of the section had its turn.
    pub(super) async fn finish(mut self) -> Outcome {
        self.control().await?;
        self.gateway.stop()?;
        let records = self.records()?;
        for Judged {
            what,
            request,
            reason,
            fault,
        } in std::mem::take(&mut self.judged)
        {
            let Some(record) = records.get(&request) else {
                self.problems.push(format!("{what}: is not on record"));
                continue;
            };
            let found = ["/verdict", "/reason", "/fault"].map(|member| crate::text(record, member));
            if found != ["denied", reason, fault] {
                self.problems.push(format!(
                    "{what}: on record as {found:?} in place of {reason}, {fault}"
                ));
            }
        }
        let mut told = fs::read_to_string(self.folder().join(LOG))?;
        if told.is_empty() {
            self.problems.push("there is no log".to_owned());
        }
        for record in records.values() {
            told.push_str(&record.to_string());
        }
        // RS-28: headers are alike and say nothing; what is signed, and the signature, are the token.
        let header = super::forge::text(Self::header().to_string());
        for part in self.sent.iter().filter(|part| **part != header) {
            if told.contains(part.as_str()) {
                self.problems.push(format!("a part of a token was told: {part}"));
            }
        }
        if told.contains("panicked") {
            self.problems.push(format!("something panicked: {told}"));
        }
        let claimed = catalogue::rows_of(self.section);
        for row in claimed.symmetric_difference(&self.ran) {
            self.problems
                .push(format!("{row}: is not in both the catalogue and the test"));
        }
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(format!("\n{}", self.problems.join("\n"))))
        }
    }
}

/// One whole answer, of a connection that was closed after it.
fn parsed(text: &str) -> Outcome<Answer> {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.get(9..12)).unwrap_or_default();
    let mut headers = http::HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name: http::HeaderName = name
            .parse()
            .map_err(|_| Failure::new(format!("{name} is no header")))?;
        headers.append(
            name,
            value
                .parse()
                .map_err(|_| Failure::new(format!("{value} is no value")))?,
        );
    }
    Ok(Answer {
        status: status.parse().unwrap_or(0),
        headers,
        body: body.to_owned().into(),
    })
}

/// Every value of a header, joined as one.
fn all(answer: &Answer, name: &str) -> String {
    let values = answer.headers.get_all(name).iter();
    let values: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
    values.join(", ")
}
