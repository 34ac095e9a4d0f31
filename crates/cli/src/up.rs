//! `portcullis up`: everything on loopback with embedded defaults, in front of one MCP server.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_core::identity::{Profile, TokenProfile};
use portcullis_core::ids::{ClientId, Issuer, ScopeSet, ServerName, ToolName};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::policy::{Effect, ToolRule};
use portcullis_core::random::token;
use portcullis_core::secret::Secret;
use portcullis_core::time::Lifetime;
use portcullis_guard::{CallsOfToken, Serves};
use portcullis_net::random;
use portcullis_server::authority::{clients, people};
use portcullis_server::config::{
    AuditConfig, AuthorityConfig, Config, DpopConfig, EphemeralConfig, GatewayConfig, IssuerConfig,
    LimitsConfig, MtlsRequired, PolicyConfig, ResourceConfig, SealConfig, SecretFrom, ServerConfig,
    StoreConfig, Transport,
};
use portcullis_server::gateway::{Counted, addresses, stdio};
use portcullis_server::http::{Limits, guard_host, raise_descriptors, serve};

use crate::addresses::{DEFAULT, Listeners, bind};
use crate::failure::Failure;
use crate::files::write_private;
use crate::home::Home;
use crate::join::{self, World, cannot};
use crate::serve::{close, public_host, reap, stop_on_signal};
use crate::{demo, logs, rings};

pub(crate) const EXAMPLES: &str = "Examples:
  portcullis up
  portcullis up --upstream http://127.0.0.1:3000/mcp
  portcullis up --stdio \"npx -y @modelcontextprotocol/server-filesystem /tmp\"";

/// The demo user, who logs in at the embedded authority.
const USER: &str = "demo";
/// The confidential client for scripts.
const SCRIPT_CLIENT: &str = "portcullis-script";

/// Arguments of `portcullis up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Guard the MCP server at this URL (Streamable HTTP)
    #[arg(long, value_name = "URL", conflicts_with = "stdio", value_parser = upstream)]
    upstream: Option<String>,
    /// Guard the MCP server that this command starts (stdio)
    #[arg(long, value_name = "CMD ARGS…")]
    stdio: Option<String>,
    /// What tools that nobody listed do: read, write or irreversible. Needs --upstream or --stdio
    #[arg(long, value_name = "EFFECT", default_value = "irreversible", value_parser = effect)]
    unlisted: Effect,
    /// Where everything is kept [default: a per-user data folder]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the gateway listens; the authority and the admin endpoints get the next two ports. Port 0 picks free ones
    #[arg(long, value_name = "ADDR:PORT", default_value = DEFAULT)]
    listen: SocketAddr,
    /// Write a JSON description of what serves to this file, once it serves
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Make a new password for the demo user, and print it
    #[arg(long)]
    new_password: bool,
    /// Never open a browser. (This version opens none.)
    #[arg(long)]
    no_browser: bool,
}

fn upstream(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(text.to_owned()),
        Ok(_) => Err("not an http or https URL".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn effect(text: &str) -> Result<Effect, &'static str> {
    Effect::from_name(text).ok_or("one of read, write, irreversible")
}

/// Runs until it is told to stop.
pub(crate) async fn run(args: &Args) -> Result<ExitCode, Failure> {
    logs::start();
    let limits = Limits::sharing(raise_descriptors(), 3);
    let home = Home::find(args.data.as_deref())?;
    let _held = home.hold()?;
    let listeners = bind(&home, args.listen).await?;
    let credential = Secret::new(token::<32>(&random::System).map_err(cannot("make a credential"))?);
    let demo_stop = tokio_util::sync::CancellationToken::new();
    let server = match (&args.upstream, &args.stdio) {
        (Some(url), _) => guarded(Transport::Http(url.clone()), args.unlisted)?,
        (None, Some(command)) => guarded(
            Transport::Stdio(stdio::words(command).map_err(cannot("read --stdio"))?),
            args.unlisted,
        )?,
        (None, None) => {
            let url = demo::start(&home.notes(), &credential, demo_stop.clone())
                .await
                .map_err(cannot("start the demo server"))?;
            notes(url.to_string(), credential)?
        }
    };
    let name = server.name.clone();
    let urls = Urls::of(&listeners)?;
    let config = configuration(&home, &urls, server)?;
    let world = World::open(&config)?;

    let (Some(gateway), Some(authority)) = (&config.gateway, &config.authority) else {
        return Err(Failure::refused("the embedded configuration is incomplete"));
    };
    let (parts, _) = join::gateway(&config, gateway, &world, None).await?;
    let (authority, store) =
        join::authority(&config, authority, &world, Some(parts.gateway.catalogue())).await?;
    let mut password = people::ensure_user(&store, USER, &random::System, world.clock.now())
        .await
        .map_err(cannot("make the demo user"))?;
    if args.new_password && password.is_none() {
        let new = Secret::new(token::<15>(&random::System).map_err(cannot("make a password"))?);
        people::ensure_password(&store, USER, &new, &random::System, world.clock.now())
            .await
            .map_err(cannot("make a new password"))?;
        password = Some(new);
    }
    let secret = world.derived_secret("script client secret v1")?;
    let scopes =
        ScopeSet::parse(&format!("{name}:read {name}:write")).map_err(cannot("make the script client"))?;
    let client = clients::ensure_confidential(
        &store,
        SCRIPT_CLIENT,
        &secret,
        "Scripts",
        &scopes,
        world.clock.now(),
    )
    .await
    .map_err(cannot("make the script client"))?;

    stop_on_signal(&world.stop)?;
    reap(&store, &world);
    world.record("start", format!("up, guarding {name}")).await?;
    let stop = || world.stop.clone().cancelled_owned();
    let (keyring, jwks) = authority.counted();
    let counted = Counted { keyring, jwks };
    let authority = tokio::spawn(serve(
        listeners.authority,
        guard_host(authority.router(), public_host(&urls.authority)?),
        limits,
        stop(),
    ));
    let admin = tokio::spawn(serve(
        listeners.admin,
        guard_host(
            parts.gateway.admin_router(vec![counted]),
            public_host(&urls.admin)?,
        ),
        limits,
        stop(),
    ));
    let gateway = serve(listeners.gateway, parts.router(), limits, stop());

    let shown = Shown {
        urls: &urls,
        home: &home,
        server: &name,
        unlisted: (args.upstream.is_some() || args.stdio.is_some()).then_some(args.unlisted),
        password: password.as_ref(),
        client: &client,
        secret: &secret,
    };
    shown.print()?;
    if let Some(file) = &args.ready_file {
        write_private(file, &shown.json()).map_err(|error| {
            Failure::usage(format!(
                "the ready file {} cannot be written: {error}",
                file.display()
            ))
        })?;
    }
    let drained = gateway.await;
    for other in [authority, admin] {
        other.await.map_err(cannot("stop a listener"))?;
    }
    parts.finish().await;
    demo_stop.cancel();
    close(&world, drained).await
}

/// The origins that everything is reached at.
struct Urls {
    gateway: String,
    authority: String,
    admin: String,
}

impl Urls {
    fn of(listeners: &Listeners) -> Result<Self, Failure> {
        let of = |listener: &tokio::net::TcpListener| {
            Ok::<_, Failure>(format!("http://{}", listener.local_addr()?))
        };
        Ok(Self {
            gateway: of(&listeners.gateway)?,
            authority: of(&listeners.authority)?,
            admin: of(&listeners.admin)?,
        })
    }

    fn mcp(&self) -> String {
        format!("{}/mcp", self.gateway)
    }
}

/// The demo server, with its tools as they are.
fn notes(url: String, credential: Secret) -> Result<ServerConfig, Failure> {
    let mut tools = Vec::new();
    for (name, effect) in [
        ("list_notes", Effect::Read),
        ("add_note", Effect::Write),
        ("delete_all_notes", Effect::Irreversible),
    ] {
        tools.push(ToolRule {
            name: ToolName::parse(name).map_err(cannot("name a tool"))?,
            effect,
            scopes: None,
        });
    }
    Ok(ServerConfig {
        name: server_name("notes")?,
        transport: Transport::Http(url),
        unlisted: Effect::Irreversible,
        credential: Some(SecretFrom::Held(credential)),
        tools,
        seals: Vec::new(),
        rates: Vec::new(),
        dpop: DpopConfig::default().rule,
        mtls: MtlsRequired::default(),
    })
}

/// A server of the user's.
fn guarded(transport: Transport, unlisted: Effect) -> Result<ServerConfig, Failure> {
    Ok(ServerConfig {
        name: server_name("upstream")?,
        transport,
        unlisted,
        credential: None,
        tools: Vec::new(),
        seals: Vec::new(),
        rates: Vec::new(),
        dpop: DpopConfig::default().rule,
        mtls: MtlsRequired::default(),
    })
}

/// What `up` served last from this folder, as far as it is kept there: in front of the demo server, or of one whose tools nobody
/// listed. On loopback, where nothing else was said.
pub(crate) fn remembered(home: &Home, server: Option<&str>) -> Result<Config, Failure> {
    let Some([gateway, authority, admin]) = crate::addresses::recall(home)? else {
        return Err(
            Failure::usage(format!("nothing was served from {}", home.path().display()))
                .hint("name the folder that `portcullis up` made with --data DIR, or a configuration with --config FILE"),
        );
    };
    let at = |port: u16| format!("http://127.0.0.1:{port}");
    let urls = Urls {
        gateway: at(gateway),
        authority: at(authority),
        admin: at(admin),
    };
    let server = match server {
        Some("upstream") => guarded(Transport::Http(urls.mcp()), Effect::Irreversible)?,
        Some(_) | None => notes(urls.mcp(), Secret::new(""))?,
    };
    configuration(home, &urls, server)
}

fn server_name(name: &str) -> Result<ServerName, Failure> {
    ServerName::parse(name).map_err(cannot("name the server"))
}

/// What a configuration file would say.
fn configuration(home: &Home, urls: &Urls, server: ServerConfig) -> Result<Config, Failure> {
    let issuer = Issuer::parse(&urls.authority).map_err(cannot("name the authority"))?;
    let resources =
        addresses(&urls.gateway, std::slice::from_ref(&server.name)).map_err(cannot("name the endpoints"))?;
    let resources = resources.into_iter().map(|address| ResourceConfig {
        uri: address.resource,
        server: address.server,
    });
    Ok(Config {
        gateway: Some(GatewayConfig {
            listen: String::new(),
            admin_listen: None,
            public_url: urls.gateway.clone(),
            origins: Vec::new(),
            seal: SealConfig::default(),
            tls: None,
        }),
        issuers: vec![IssuerConfig {
            issuer: issuer.clone(),
            jwks_uri: Some(format!("{}/jwks", urls.authority)),
            jwks_file: None,
            ca_file: None,
            algorithms: BTreeSet::from([SignatureAlgorithm::Es256]),
            max_token_lifetime: Lifetime::from_minutes(10),
            // One clock makes and reads the tokens.
            clock_skew: Lifetime::from_secs(0),
            tokens: TokenProfile::of(Profile::Rfc9068),
            serves: Serves::Every,
            calls: CallsOfToken::Many,
            introspection: None,
        }],
        trust_domains: Vec::new(),
        signals: Vec::new(),
        policy: PolicyConfig::default(),
        // Its callers are programs of one person's, and what they may ask for is not shared with others.
        limits: LimitsConfig {
            per_client: None,
            per_user: None,
            ..LimitsConfig::default()
        },
        audit: Some(AuditConfig { dir: home.audit() }),
        keys: Some(rings::keys_of(home)),
        store: Some(StoreConfig {
            url: format!("sqlite:{}", home.store().display()),
        }),
        ephemeral: EphemeralConfig::default(),
        dpop: DpopConfig::default(),
        mtls: None,
        authority: Some(AuthorityConfig {
            listen: String::new(),
            admin_listen: None,
            issuer,
            tls: None,
            access_token_lifetime: Lifetime::from_minutes(5),
            refresh_token_lifetime: Lifetime::from_days(30),
            resources: resources.collect(),
            users: Vec::new(),
            clients: Vec::new(),
        }),
        servers: vec![server],
    })
}

/// What people and scripts are told.
struct Shown<'s> {
    urls: &'s Urls,
    home: &'s Home,
    server: &'s ServerName,
    /// What unlisted tools do, where none is listed.
    unlisted: Option<Effect>,
    password: Option<&'s Secret>,
    client: &'s ClientId,
    secret: &'s Secret,
}

impl Shown<'_> {
    fn print(&self) -> Result<(), Failure> {
        let (mcp, data) = (self.urls.mcp(), self.home.path().display());
        let password = match self.password {
            Some(password) => format!("{}   (shown this once)", password.reveal()),
            None => "as shown at the first start (--new-password makes another)".to_owned(),
        };
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "Portcullis {version} guards `{server}`.

  MCP endpoint  {mcp}
  Log in as     {USER}
  Password      {password}
  Authority     {authority}
  Admin         {admin}   (healthz, readyz, metrics)
  Data          {data}
  Audit log     {audit}

Paste into a client:
  claude mcp add --transport http {server} {mcp}
  {{\"mcpServers\": {{\"{server}\": {{\"type\": \"http\", \"url\": \"{mcp}\"}}}}}}

Or from here:
  portcullis agent login {mcp}
  portcullis audit tail --data {data}

Ctrl-C stops.",
            version = env!("CARGO_PKG_VERSION"),
            server = self.server,
            authority = self.urls.authority,
            admin = self.urls.admin,
            audit = self.home.audit().display(),
        )?;
        if let Some(effect) = self.unlisted {
            let scope = format!("{}:{}", self.server, effect.as_str());
            writeln!(
                out,
                "\nNobody listed the tools of this server: each counts as {effect} and is shown to callers who hold {scope}.
  portcullis agent login {mcp} --scope {scope}
Another effect for all of them: --unlisted EFFECT. One for each: a configuration file.",
                effect = effect.as_str(),
            )?;
        }
        Ok(out.flush()?)
    }

    fn json(&self) -> String {
        let ready = serde_json::json!({
            "gateway": self.urls.gateway,
            "mcp_url": self.urls.mcp(),
            "issuer": self.urls.authority,
            "jwks_uri": format!("{}/.well-known/jwks.json", self.urls.gateway),
            "admin": self.urls.admin,
            "console": null,
            "user": USER,
            "password": self.password.map(Secret::reveal),
            "client_id": self.client,
            "client_secret": self.secret.reveal(),
            "data_dir": self.home.path(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        format!("{ready:#}\n")
    }
}
