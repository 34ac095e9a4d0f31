//! The loopback listeners of `portcullis up`. Ports that were picked are remembered: clients key what they know of an authority by its
//! issuer, so a second start at other ports would log everyone out.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::failure::Failure;
use crate::files::write_private;
use crate::home::Home;

/// Where `up` listens when nothing else is said: gateway, authority and admin on three ports in a row.
pub(crate) const DEFAULT: &str = "127.0.0.1:8420";

/// The bound listeners.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) gateway: TcpListener,
    pub(crate) authority: TcpListener,
    pub(crate) admin: TcpListener,
}

/// Binds the three listeners. Port 0 picks free ports: the remembered ones of this data folder when they are free.
pub(crate) async fn bind(home: &Home, listen: SocketAddr) -> Result<Listeners, Failure> {
    if !listen.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "`up` serves plain HTTP and listens on loopback only, not on {listen}"
        ))
        .hint("put a TLS proxy in front and use `portcullis gateway --config FILE` for anything else"));
    }
    let remembered = if listen.port() == 0 { recall(home)? } else { None };
    let at = |port: u16| SocketAddr::new(listen.ip(), port);
    if let Some([gateway, authority, admin]) = remembered
        && let (Ok(gateway), Ok(authority), Ok(admin)) = (
            TcpListener::bind(at(gateway)).await,
            TcpListener::bind(at(authority)).await,
            TcpListener::bind(at(admin)).await,
        )
    {
        return Ok(Listeners {
            gateway,
            authority,
            admin,
        });
    }
    let next = |by: u16| {
        if listen.port() == 0 {
            0
        } else {
            listen.port().saturating_add(by)
        }
    };
    let listeners = Listeners {
        gateway: one(at(next(0))).await?,
        authority: one(at(next(1))).await?,
        admin: one(at(next(2))).await?,
    };
    remember(home, &listeners)?;
    Ok(listeners)
}

async fn one(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::usage(format!("{address} cannot be listened on: {error}"))
            .hint("another program has the port; choose other ports with --listen 127.0.0.1:PORT, or free ones with --listen 127.0.0.1:0")
    })
}

/// The remembered ports. A file that cannot be read is an error: other ports would be another issuer, and every client would
/// have to begin again.
pub(crate) fn recall(home: &Home) -> Result<Option<[u16; 3]>, Failure> {
    let path = home.addresses();
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::usage(format!(
            "the remembered ports in {} cannot be read: {error}",
            path.display()
        ))
        .hint("remove the file to pick new ports; clients then have to log in again")
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| unreadable(&error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&error)),
    }
}

fn remember(home: &Home, listeners: &Listeners) -> Result<(), Failure> {
    let mut ports = Vec::new();
    for listener in [&listeners.gateway, &listeners.authority, &listeners.admin] {
        ports.push(listener.local_addr()?.port());
    }
    Ok(write_private(
        &home.addresses(),
        &serde_json::json!(ports).to_string(),
    )?)
}
