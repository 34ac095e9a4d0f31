//! `portcullis gateway` and `portcullis authority`: one server, from a configuration file, until it is told to stop.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use portcullis_core::time::UnixTime;
use portcullis_guard::PublicHost;
use portcullis_net::random;
use portcullis_server::authority::{clients, people};
use portcullis_server::config::{AuthorityConfig, TlsConfig};
use portcullis_server::http::{Drained, Listener, guard_host, serve};
use portcullis_server::store::Store;
use portcullis_server::tls::{self, Clients, Tls, TlsError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::join::{self, World, cannot, secret_file};
use crate::limits::connections;
use crate::reload::Reloader;
use crate::senders::clients;
use crate::{config, logs, reload};

/// How often expired rows leave the store.
const REAPING: Duration = Duration::from_secs(600);

/// Arguments of `portcullis gateway` and `portcullis authority`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "portcullis.toml")]
    config: PathBuf,
}

/// Runs the gateway.
pub(crate) async fn gateway(args: &Args) -> Result<ExitCode, Failure> {
    logs::start();
    let config = config::load(&args.config)?;
    let Some(settings) = &config.gateway else {
        return Err(Failure::usage(format!(
            "{} has no `[gateway]` section",
            args.config.display()
        )));
    };
    let seen = reload::files(&args.config, &config);
    let world = Arc::new(World::open(&config)?);
    let clients = clients(&config).map_err(unusable)?;
    if let Some(clients) = &clients {
        clients.follow(world.stop.clone());
    }
    let (parts, replaceable) = join::gateway(&config, settings, &world, clients.as_ref()).await?;
    let listener = listener(&settings.listen, settings.tls.as_ref(), clients, &world).await?;
    let admin = admin(
        settings.admin_listen.as_deref(),
        parts.gateway.admin_router(Vec::new()),
    )
    .await?;
    stop_on_signal(&world.stop)?;
    let reloader = Reloader::new(
        &args.config,
        (config.clone(), seen),
        Arc::clone(&world),
        Arc::clone(&parts.guard),
        replaceable,
    )?;
    world
        .record("start", format!("gateway {}", settings.public_url))
        .await?;
    tokio::spawn(reloader.run());
    let limits = connections(&config, 1 + u64::from(admin.is_some()));
    if let Some((admin, router)) = admin {
        tokio::spawn(serve(admin, router, limits, world.stop.clone().cancelled_owned()));
    }
    say(&format!(
        "Portcullis {} gateway serves {} on {}. Ctrl-C stops.",
        env!("CARGO_PKG_VERSION"),
        settings.public_url,
        settings.listen
    ))?;
    let drained = serve(
        listener,
        parts.router(),
        limits,
        world.stop.clone().cancelled_owned(),
    )
    .await;
    parts.finish().await;
    close(&world, drained).await
}

/// Runs the authority.
pub(crate) async fn authority(args: &Args) -> Result<ExitCode, Failure> {
    logs::start();
    let config = config::load(&args.config)?;
    let Some(settings) = &config.authority else {
        return Err(Failure::usage(format!(
            "{} has no `[authority]` section",
            args.config.display()
        )));
    };
    let world = World::open(&config)?;
    let (authority, store) = join::authority(&config, settings, &world, None).await?;
    people_and_clients(settings, &store, world.clock.now()).await?;
    let listener = listener(&settings.listen, settings.tls.as_ref(), None, &world).await?;
    let admin = admin(
        settings.admin_listen.as_deref(),
        authority.admin_router(world.audit.clone()),
    )
    .await?;
    stop_on_signal(&world.stop)?;
    reap(&store, &world);
    world
        .record("start", format!("authority {}", settings.issuer))
        .await?;
    let limits = connections(&config, 1 + u64::from(admin.is_some()));
    if let Some((admin, router)) = admin {
        tokio::spawn(serve(admin, router, limits, world.stop.clone().cancelled_owned()));
    }
    say(&format!(
        "Portcullis {} authority serves {} on {}. Ctrl-C stops.",
        env!("CARGO_PKG_VERSION"),
        settings.issuer,
        settings.listen
    ))?;
    let drained = serve(
        listener,
        guard_host(authority.router(), public_host(settings.issuer.as_str())?),
        limits,
        world.stop.clone().cancelled_owned(),
    )
    .await;
    close(&world, drained).await
}

/// The admin listener, if there is to be one, with what it serves.
async fn admin(address: Option<&str>, router: Router) -> Result<Option<(TcpListener, Router)>, Failure> {
    let Some(address) = address else { return Ok(None) };
    let listener = listen(address).await?;
    let at = listener.local_addr()?;
    // Elsewhere than on loopback its names are the network's to give.
    let router = match at.ip().is_loopback() {
        true => guard_host(router, public_host(&format!("http://{at}"))?),
        false => router,
    };
    Ok(Some((listener, router)))
}

/// Makes sure that the people and clients of the configuration are in the store, with the secrets that their files hold now.
async fn people_and_clients(settings: &AuthorityConfig, store: &Store, now: UnixTime) -> Result<(), Failure> {
    for user in &settings.users {
        let password = secret_file(&user.password_file)?;
        people::ensure_password(store, &user.name, &password, &random::System, now)
            .await
            .map_err(cannot(&format!("keep the user `{}`", user.name)))?;
    }
    for client in &settings.clients {
        let secret = secret_file(&client.secret_file)?;
        let id = client.client_id.as_str();
        clients::ensure_confidential(store, id, &secret, id, &client.scopes, now)
            .await
            .map_err(cannot(&format!("keep the client `{id}`")))?;
    }
    Ok(())
}

/// The rule for a listener that is reached at this URL.
pub(crate) fn public_host(url: &str) -> Result<PublicHost, Failure> {
    PublicHost::of(url, Vec::new()).map_err(cannot("name the host"))
}

fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// The listener that callers reach, with TLS if it has that itself.
async fn listener(
    address: &str,
    tls: Option<&TlsConfig>,
    clients: Option<Arc<Clients>>,
    world: &World,
) -> Result<Listener, Failure> {
    let tls = match tls {
        None => None,
        Some(tls) => {
            let tls = open_tls(tls, clients).map_err(unusable)?;
            tls.follow(world.stop.clone());
            Some(tls)
        }
    };
    let socket = listen(address).await?;
    Ok(match tls {
        None => Listener::from(socket),
        Some(tls) => Listener::secured(socket, tls),
    })
}

fn unusable(error: TlsError) -> Failure {
    Failure::usage(format!("could not use TLS: {error}")).hint(error.hint())
}

/// The TLS of a listener, of its files.
pub(crate) fn open_tls(config: &TlsConfig, clients: Option<Arc<Clients>>) -> Result<Arc<Tls>, TlsError> {
    Tls::open(tls::Settings {
        certificate_file: config.certificate_file.clone(),
        key_file: config.key_file.clone(),
        clients,
    })
}

async fn listen(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::usage(format!("{address} cannot be listened on: {error}")))
}

/// Cancels `stop` at SIGINT or SIGTERM.
pub(crate) fn stop_on_signal(stop: &CancellationToken) -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot("listen for signals"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot("listen for signals"))?;
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// Lets expired rows leave the store from time to time, until the process stops.
pub(crate) fn reap(store: &Store, world: &World) {
    let (store, clock, stop) = (
        store.clone(),
        std::sync::Arc::clone(&world.clock),
        world.stop.clone(),
    );
    tokio::spawn(async move {
        while stop
            .run_until_cancelled(tokio::time::sleep(REAPING))
            .await
            .is_some()
        {
            if let Err(error) = store.reap(clock.now()).await {
                tracing::warn!(%error, "expired rows stay in the store for now");
            }
        }
    });
}

/// The last record, and the log on disk.
pub(crate) async fn close(world: &World, drained: Drained) -> Result<ExitCode, Failure> {
    let detail = match drained {
        Drained::Clean => "every request was answered".to_owned(),
        Drained::Cut(connections) => format!("{connections} connections were cut"),
    };
    world.keys_at_rest().await;
    world.record("stop", detail).await?;
    world.audit.close().map_err(cannot("close the audit log"))?;
    Ok(ExitCode::SUCCESS)
}
