//! One token, one call, one answer.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use portcullis_core::audit::Decision;
use portcullis_core::secret::Secret;
use portcullis_core::time::UnixTime;
use portcullis_core::wire::MODERN_VERSIONS;
use portcullis_guard::{Endpoint, Refusal, Sessions};
use portcullis_net::clock::{self, Clock as _};
use portcullis_server::config::{Config, GatewayConfig};
use portcullis_server::gateway::{Address, addresses};
use serde_json::{Map, Value, json};

use super::offline::Offline;
use crate::failure::Failure;
use crate::home::Home;
use crate::join::cannot;

pub(super) const EXAMPLES: &str = "Examples:
  portcullis policy explain --token token.txt --call '{\"name\": \"add_note\", \"arguments\": {\"text\": \"x\"}}' --config gateway.toml
  portcullis policy explain --token token.txt --call '{\"method\": \"tools/list\"}' --config gateway.toml --jwks issuer.json --json

Exit codes: 0 the call would be allowed, 1 it would be refused, 2 the question cannot be answered.";

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file with the access token, and nothing else
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    /// The call: a JSON-RPC message, or only its method and params, or only the name and arguments of a tool
    #[arg(long, value_name = "JSON")]
    call: String,
    /// The configuration of the gateway
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "data",
        conflicts_with = "data"
    )]
    config: Option<PathBuf>,
    /// The data folder that `portcullis up` made; its server is `notes` (the demo), or `upstream`
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The server that is called, where there are several
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// The resource that is called, where a server has several addresses [default: its first]
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// A file with the DPoP proof that comes with the token
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// When it is called, such as 2026-11-21T10:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The JWK Set of the token's issuer, where the configuration has none in a file
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let config = match (&args.config, &args.data) {
        (Some(file), _) => crate::config::load(file)?,
        (None, data) => crate::up::remembered(&Home::find(data.as_deref())?, args.server.as_deref())?,
    };
    let Some(gateway) = &config.gateway else {
        return Err(Failure::usage("the configuration has no `[gateway]` section"));
    };
    let now = args.at.map_or_else(
        || clock::System.now(),
        |at| UnixTime::from_millis(at.as_millisecond()),
    );
    let endpoint = endpoint(args, &config, gateway)?;
    let (head, body) = request(args, gateway, &endpoint)?;
    let offline = Offline::new(&config, gateway, now, args.jwks.as_deref())?;

    let arrival = offline.guard.arrival(None);
    let refused = match offline.guard.authenticate(&endpoint, &arrival, &head).await {
        Err(refusal) => Some(refusal),
        Ok(who) => offline
            .guard
            .admit(&endpoint, &arrival, &who, &head, body.into())
            .await
            .err(),
    };
    let decision = offline
        .decision()
        .ok_or_else(|| Failure::refused("no decision was made"))?;
    cannot_tell(&config, args, &decision)?;
    let answer = Answer {
        decision: &decision,
        refused: refused.as_ref(),
        notes: notes(args, &config, &decision),
    };
    if args.json {
        writeln!(out, "{:#}", answer.json())?;
    } else {
        answer.tell(out)?;
    }
    Ok(if refused.is_some() {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

/// The address that is called.
fn endpoint(args: &Args, config: &Config, gateway: &GatewayConfig) -> Result<Endpoint, Failure> {
    let names: Vec<_> = config.servers.iter().map(|server| server.name.clone()).collect();
    let all = addresses(&gateway.public_url, &names).map_err(cannot("use the public URL"))?;
    let named = |address: &&Address| {
        args.server
            .as_deref()
            .is_none_or(|name| address.server.as_str() == name)
            && args
                .resource
                .as_deref()
                .is_none_or(|resource| address.resource.as_str() == resource)
    };
    let found: Vec<_> = all.iter().filter(named).collect();
    let several = found
        .iter()
        .any(|address| Some(&address.server) != found.first().map(|first| &first.server));
    let Some(address) = found.first().filter(|_| !several) else {
        let known: Vec<_> = all
            .iter()
            .map(|address| format!("{} ({})", address.server, address.resource))
            .collect();
        return Err(
            Failure::usage("which server is called is not clear").hint(format!(
                "say --server NAME or --resource URI; there are {}",
                known.join(", ")
            )),
        );
    };
    Ok(Endpoint::new(
        address.server.clone(),
        address.resource.clone(),
        format!("{}{}", gateway.public_url, address.metadata_path()),
        std::sync::Arc::new(Sessions::default()),
    ))
}

/// The request that a client would send.
fn request(args: &Args, gateway: &GatewayConfig, endpoint: &Endpoint) -> Result<(Parts, String), Failure> {
    let token = secret(&args.token)?;
    let scheme = if args.proof.is_some() { "DPoP" } else { "Bearer" };
    let path = endpoint
        .resource()
        .as_str()
        .strip_prefix(&gateway.public_url)
        .unwrap_or("/");
    let host = gateway.public_url.split_once("://").map_or("", |(_, host)| host);
    let message = Message::read(&args.call)?;
    let mut request = http::Request::post(path)
        .header("host", host)
        .header("content-type", "application/json")
        .header(
            "authorization",
            header(&args.token, &format!("{scheme} {}", token.reveal()))?,
        );
    if let Some(file) = &args.proof {
        request = request.header("dpop", header(file, secret(file)?.reveal())?);
    }
    for (name, value) in message.mirrored() {
        request = request.header(name, value);
    }
    let request = request.body(()).map_err(cannot("make a request of it"))?;
    Ok((request.into_parts().0, message.text))
}

fn secret(file: &Path) -> Result<Secret, Failure> {
    crate::join::secret_file(file).map(|secret| Secret::new(secret.reveal().trim()))
}

fn header(file: &Path, text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| {
        Failure::usage(format!(
            "{} has characters that no header can hold",
            file.display()
        ))
    })
}

/// The message, and what its headers repeat of it.
struct Message {
    text: String,
    value: Value,
}

impl Message {
    /// A whole message is taken as it is written. What is shorter becomes one of the newest revision.
    fn read(text: &str) -> Result<Self, Failure> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Failure::usage(format!("--call is not JSON: {error}")))?;
        let Some(given) = value.as_object() else {
            return Err(Failure::usage("--call is not a JSON object"));
        };
        if given.contains_key("jsonrpc") {
            return Ok(Self {
                text: text.to_owned(),
                value,
            });
        }
        let (method, mut params) = match (given.get("method"), given.get("name")) {
            (Some(method), _) => (
                method.clone(),
                given.get("params").cloned().unwrap_or_else(|| json!({})),
            ),
            (None, Some(_)) => (json!("tools/call"), value.clone()),
            (None, None) => {
                return Err(Failure::usage(
                    "--call has neither a `method` nor the `name` of a tool",
                ));
            }
        };
        if let (Some(params), Some(version)) = (params.as_object_mut(), MODERN_VERSIONS.last()) {
            let meta = params.entry("_meta").or_insert_with(|| Value::Object(Map::new()));
            if let Some(meta) = meta.as_object_mut() {
                meta.entry(META_VERSION).or_insert_with(|| json!(version));
                meta.entry(META_CAPABILITIES).or_insert_with(|| json!({}));
            }
        }
        let value = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        Ok(Self {
            text: value.to_string(),
            value,
        })
    }

    /// The headers of a stateless message (MCP 2026-07-28, Streamable HTTP). One of before needs none.
    fn mirrored(&self) -> Vec<(HeaderName, HeaderValue)> {
        let text = |pointer: &str| self.value.pointer(pointer).and_then(Value::as_str);
        let meta = format!("/params/_meta/{}", META_VERSION.replace('/', "~1"));
        let Some(version) = text(&meta) else {
            return Vec::new();
        };
        let target = ["/params/name", "/params/uri", "/params/taskId"]
            .into_iter()
            .find_map(text);
        [
            ("mcp-protocol-version", Some(version)),
            ("mcp-method", text("/method")),
            ("mcp-name", target),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), encoded(value?))))
        .collect()
    }
}

/// As it is where a header can hold it, else in base64.
fn encoded(text: &str) -> HeaderValue {
    let plain = text.trim() == text
        && !text.starts_with("=?")
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let text = if plain {
        text.to_owned()
    } else {
        format!("=?base64?{}?=", STANDARD.encode(text))
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What only the network could say is no answer.
fn cannot_tell(config: &Config, args: &Args, decision: &Decision) -> Result<(), Failure> {
    if decision.reason == "issuer.keys-unavailable" {
        let message = match &args.jwks {
            Some(file) => format!("the keys in {} cannot be used", file.display()),
            None => "the keys of the token's issuer are not at hand, and nothing is fetched here".to_owned(),
        };
        return Err(Failure::usage(message).hint(
            "save the JWK Set at the issuer's `jwks_uri` to a file and give it with --jwks FILE; `portcullis keys publish` writes that of an authority of one's own",
        ));
    }
    let asks = config.issuers.iter().any(|issuer| issuer.introspection.is_some());
    if decision.reason == "token.not-compact" && asks {
        return Err(Failure::usage(
            "the token is opaque: only its issuer can say what it is worth, and nobody is asked here",
        ));
    }
    Ok(())
}

/// What the running gateway knows and this does not.
fn notes(args: &Args, config: &Config, decision: &Decision) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if args.proof.is_some() {
        notes.push("whether the proof was used before, and whether its nonce is the gateway's, only the gateway knows");
    }
    let sealed = config
        .servers
        .iter()
        .any(|server| server.name.as_str() == decision.server && !server.seals.is_empty());
    if sealed {
        notes.push("the server has sealed fields; they are not opened here");
    }
    notes
}

struct Answer<'a> {
    decision: &'a Decision,
    refused: Option<&'a Refusal>,
    notes: Vec<&'static str>,
}

impl Answer<'_> {
    /// The record that the gateway would make, and what the caller would be told.
    fn json(&self) -> Value {
        let mut answer = serde_json::to_value(self.decision).unwrap_or_default();
        if let Some(members) = answer.as_object_mut() {
            // Those are of a request, and this is none.
            for name in ["request", "peer", "arguments"] {
                members.remove(name);
            }
            if let Some(refused) = self.refused {
                members.insert("cause".to_owned(), refused.cause().into());
                members.insert("hint".to_owned(), refused.hint().into());
                members.insert("told".to_owned(), refused.code().into());
                if let Some(challenge) = refused.challenge() {
                    members.insert("challenge".to_owned(), challenge.into());
                }
            }
            if !self.notes.is_empty() {
                members.insert("notes".to_owned(), json!(self.notes));
            }
        }
        answer
    }

    fn tell(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let answer = self.json();
        let text = |name: &str| {
            answer
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        match self.refused {
            None => writeln!(out, "allowed")?,
            Some(refused) => {
                writeln!(out, "refused: {} {}", refused.status().as_u16(), text("reason"))?;
                writeln!(out, "  {}", text("cause"))?;
                writeln!(out, "  whose turn: {}", text("fault"))?;
                writeln!(out, "  what helps: {}", text("hint"))?;
                if text("told") != text("reason") {
                    writeln!(out, "  the caller is told no more than: {}", text("told"))?;
                }
            }
        }
        let rules = self.decision.rules.join(" ");
        let called = [text("method"), text("target"), text("effect")].join(" ");
        for (label, value) in [
            ("challenge", text("challenge")),
            ("server", text("server")),
            ("call", called.trim().to_owned()),
            ("agent", text("agent")),
            ("user", text("user")),
            ("issuer", text("issuer")),
            ("scopes held", text("scopes_held")),
            ("scopes needed", text("scopes_needed")),
            ("rules", rules),
        ] {
            if !value.is_empty() {
                writeln!(out, "  {label}: {value}")?;
            }
        }
        for note in &self.notes {
            writeln!(out, "  note: {note}")?;
        }
        Ok(())
    }
}
