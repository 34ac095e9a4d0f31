//! Connections: names resolved under the address guard, TLS with the operating system's trust roots.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::{BuilderVerifierExt as _, Verifier};
use tower::Service;

use super::Body;
use super::address::Rule;

/// A connection that is not made within this fails.
const CONNECT: Duration = Duration::from_secs(10);
/// A pooled connection idle for longer is closed: less than the 5 seconds after which Node's HTTP server
/// closes it, so that no request meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(4);
/// Idle connections kept for one host.
const IDLE_PER_HOST: usize = 256;
/// Largest head of an answer, in bytes.
const HEAD_BYTES: usize = 64 * 1024;

pub(super) type PlainClient = Client<HttpConnector<Resolver>, Body>;
pub(super) type TlsClient = Client<HttpsConnector<HttpConnector<Resolver>>, Body>;

/// The address guard's word among a connector's errors.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(pub(super) &'static str);

/// Resolves a name, and lets through only the addresses that the rule allows.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    system: GaiResolver,
    rule: Rule,
}

type ResolveError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ResolveError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.system.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let answer = self.system.call(name);
        let rule = self.rule;
        Box::pin(async move { Ok(allowed(rule, answer.await?)?.into_iter()) })
    }
}

/// All of a name's addresses that the rule allows; without any, why the first was refused.
fn allowed(rule: Rule, addresses: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, Refusal> {
    let mut kept = Vec::new();
    let mut refused = None;
    for address in addresses {
        match rule.check(address.ip()) {
            Ok(()) => kept.push(address),
            Err(reason) => refused = refused.or(Some(reason)),
        }
    }
    match refused {
        Some(reason) if kept.is_empty() => Err(Refusal(reason)),
        Some(_) | None => Ok(kept),
    }
}

fn connector(rule: Rule) -> HttpConnector<Resolver> {
    let mut connector = HttpConnector::new_with_resolver(Resolver {
        system: GaiResolver::new(),
        rule,
    });
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector
}

/// A client for http.
pub(super) fn plain(rule: Rule) -> PlainClient {
    builder().build(connector(rule))
}

/// A client for https.
pub(super) fn tls(rule: Rule, config: ClientConfig) -> TlsClient {
    let mut connector = connector(rule);
    // It would refuse the scheme `https`, which the layer around it takes care of.
    connector.enforce_http(false);
    builder().build(
        HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_all_versions()
            .wrap_connector(connector),
    )
}

fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .http1_max_buf_size(HEAD_BYTES)
        .http2_max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX));
    builder
}

/// TLS with the operating system's trust roots and the certificates of a PEM file.
///
/// # Errors
/// What cannot be read, or what the TLS library said.
pub(super) fn trust_roots_and(file: &Path) -> Result<ClientConfig, String> {
    let wrong = |detail: String| format!("the certificates in `{}`: {detail}", file.display());
    let mut roots = Vec::new();
    for root in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
        roots.push(root.map_err(|error| wrong(error.to_string()))?);
    }
    if roots.is_empty() {
        return Err(wrong("there are none".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))
        .map_err(|error| wrong(error.to_string()))?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// TLS with the operating system's trust roots, read once. A machine without any can still speak http on
/// loopback, so that is a warning here and a failed handshake later.
///
/// # Errors
/// What the TLS library said.
pub(super) fn trust_roots() -> Result<ClientConfig, String> {
    static ONCE: OnceLock<ClientConfig> = OnceLock::new();
    if let Some(config) = ONCE.get() {
        return Ok(config.clone());
    }
    let builder = || {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())
    };
    let config = match builder()?.with_platform_verifier() {
        Ok(builder) => builder.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "no trust roots: every https connection will fail; install the package ca-certificates");
            builder()?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth()
        }
    };
    Ok(ONCE.get_or_init(|| config).clone())
}

#[cfg(test)]
mod tests {
    use super::super::Reach;
    use super::*;

    #[test]
    fn of_several_addresses_only_the_allowed_ones_are_connected_to() {
        let rule = Rule::tls(Reach::PublicOnly);
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let mixed = [at("10.0.0.1"), at("8.8.8.8"), at("::1")];
        assert_eq!(allowed(rule, mixed.into_iter()).unwrap(), [at("8.8.8.8")]);
        assert!(allowed(rule, [at("10.0.0.1"), at("::1")].into_iter()).is_err());
        // A name without addresses is the connector's error, not the guard's.
        assert!(allowed(rule, std::iter::empty()).unwrap().is_empty());
    }
}
