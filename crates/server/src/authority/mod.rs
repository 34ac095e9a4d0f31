//! The authorization server: metadata, registration, login, consent, codes, tokens.
//!
//! Takes: HTTP requests, [`Settings`], [`Dependencies`]. Gives: pages, redirects, tokens, records of all of them. May use:
//! `store`, `custody`, the audit recorder, `core::oauth::server`. Never: uses `gateway`, keeps a secret in clear, sends an
//! answer whose record is not on disk.
//!
//! One file per endpoint. The state machines of `core::oauth::server` decide; a file here reads the request, asks the
//! store, records, and writes the answer. `refusal.rs` alone knows statuses and OAuth error codes.
//!
//! The browser's part keeps no state between pages: each page carries the original query of `/authorize`, which is checked
//! from scratch every time, bound to the browser's cookie by the form's token.

mod admin;
mod authorize;
mod browser;
pub mod clients;
mod cors;
mod documents;
mod login;
mod metadata;
mod pages;
pub mod people;
mod refusal;
mod register;
mod request;
mod revoke;
mod signing;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;

use axum::Router;
use axum::middleware::map_response;
use axum::routing::{get, post};
use portcullis_core::audit::Event;
use portcullis_core::ids::{Issuer, ResourceUri, Scope, ScopeSet, ServerName};
use portcullis_core::oauth::server::authorization::Offer;
use portcullis_core::oauth::server::document::Hosts;
use portcullis_core::policy::{Effect, ScopeDescription};
use portcullis_core::random::SecureRandom;
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_guard::Revocations;
use portcullis_guard::recorder::{Durability, Recorder, RecorderUnavailable};
use portcullis_net::clock::Clock;
use portcullis_net::fetch::Fetcher;

use crate::custody::Keyring;
use crate::http::{JwksCounts, JwksPage, Network, Readiness, Throttle};
use crate::store::Store;

/// A resource that tokens are issued for.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its identifier, byte for byte the `resource` parameter and the `aud` claim.
    pub uri: ResourceUri,
    /// The guarded server behind it, whose scopes it has.
    pub server: ServerName,
    /// Its name for people.
    pub title: String,
}

/// What the operator decides about one authority.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its issuer identifier: also where its endpoints are.
    pub issuer: Issuer,
    /// The resources it issues tokens for. If all are of one server, a request that names none means the first.
    pub resources: Vec<Resource>,
    /// From `iat` to `exp` of an access token.
    pub access_token_lifetime: Lifetime,
    /// From consent to the last moment of a code.
    pub code_lifetime: Lifetime,
    /// How long a refresh token lasts unless it is used.
    pub refresh_idle_lifetime: Lifetime,
    /// How long a family of refresh tokens lasts in any case.
    pub refresh_absolute_lifetime: Lifetime,
    /// How long a browser stays logged in.
    pub session_lifetime: Lifetime,
    /// Most clients that may register themselves within an hour, from all addresses together. Each address has less.
    pub registrations_per_hour: u64,
    /// Which hosts may publish client metadata documents. The fetcher's reach must be as wide.
    pub document_hosts: Hosts,
}

impl Settings {
    /// The usual lifetimes and bounds.
    #[must_use]
    pub fn new(issuer: Issuer, resources: Vec<Resource>) -> Self {
        Self {
            issuer,
            resources,
            access_token_lifetime: Lifetime::from_minutes(5),
            code_lifetime: Lifetime::from_secs(60),
            refresh_idle_lifetime: Lifetime::from_days(14),
            refresh_absolute_lifetime: Lifetime::from_days(30),
            session_lifetime: Lifetime::from_hours(8),
            registrations_per_hour: 10_000,
            document_hosts: Hosts::Public,
        }
    }
}

/// The scopes of a server, as policy has them now.
pub trait ScopeCatalogue: Send + Sync {
    /// All scopes of this server; none for one that is unknown.
    fn scopes(&self, server: &ServerName) -> Vec<ScopeDescription>;
}

/// What the authority works with.
#[derive(Clone)]
pub struct Dependencies {
    /// Users, clients, grants.
    pub store: Store,
    /// Its own keys.
    pub keyring: Arc<Keyring>,
    /// Where everything is recorded.
    pub recorder: Arc<dyn Recorder>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is revoked: nothing is issued for it.
    pub revocations: Revocations,
    /// Randomness.
    pub random: Arc<dyn SecureRandom>,
    /// For client metadata documents.
    pub fetcher: Fetcher,
    /// What scopes open.
    pub catalogue: Arc<dyn ScopeCatalogue>,
}

/// One issuer.
pub struct Authority {
    settings: Settings,
    deps: Dependencies,
    site: browser::Site,
    documents: documents::Documents,
    jwks: Arc<JwksPage>,
    guesses: Throttle<(String, login::Guesser)>,
    accounts: Throttle<String>,
    addresses: Throttle<Network>,
    registrations: Throttle<Network>,
    signed: signing::LastSigned,
}

impl Authority {
    /// Sets up an issuer.
    #[must_use]
    pub fn new(settings: Settings, deps: Dependencies) -> Arc<Self> {
        Arc::new(Self {
            site: browser::Site::of(&settings.issuer),
            documents: documents::Documents::new(deps.fetcher.clone(), settings.document_hosts),
            jwks: Arc::new(JwksPage::new()),
            guesses: Throttle::new(login::ATTEMPTS_WITHIN),
            accounts: Throttle::new(login::ATTEMPTS_WITHIN),
            addresses: Throttle::new(login::ATTEMPTS_WITHIN),
            registrations: Throttle::new(register::QUOTA_WITHIN),
            signed: signing::LastSigned::default(),
            settings,
            deps,
        })
    }

    /// All endpoints. Every request should carry [`crate::http::Peer`], which the listener adds: what anyone may
    /// ask for is counted by it.
    pub fn router(self: Arc<Self>) -> Router {
        let path = self.site.path();
        let at = |name: &str| format!("{path}{name}");
        let mut open = Router::new()
            .route(&at("/jwks"), get(metadata::keys).options(cors::preflight))
            .route(
                &at("/.well-known/jwks.json"),
                get(metadata::keys).options(cors::preflight),
            )
            .route(
                &at("/.well-known/openid-configuration"),
                get(metadata::openid).options(cors::preflight),
            )
            .route(
                &format!("/.well-known/oauth-authorization-server{path}"),
                get(metadata::oauth).options(cors::preflight),
            )
            .route(
                &at("/register"),
                post(register::endpoint).options(cors::preflight),
            )
            .route(&at("/token"), post(token::endpoint).options(cors::preflight))
            .route(&at("/revoke"), post(revoke::endpoint).options(cors::preflight));
        if !path.is_empty() {
            // MCP clients look for the OpenID form before the path as well.
            let inserted = format!("/.well-known/openid-configuration{path}");
            open = open.route(&inserted, get(metadata::openid).options(cors::preflight));
        }
        Router::new()
            .route(&at("/authorize"), get(authorize::show).post(authorize::answer))
            .route(&at("/login"), post(login::endpoint))
            .method_not_allowed_fallback(refusal::no_such_method)
            // Before the layer, so that pages of other origins can read this refusal too.
            .merge(
                open.method_not_allowed_fallback(refusal::no_such_method)
                    .layer(map_response(cors::open)),
            )
            .fallback(refusal::no_such_address)
            .with_state(self)
    }

    /// What the operator's machinery reaches: `/healthz`, `/readyz`, `/metrics`. Never to be exposed to callers.
    pub fn admin_router(&self, readiness: Arc<dyn Readiness>) -> Router {
        admin::routes(self, readiness)
    }

    /// Its keys and how often they were asked for, for the metrics page of a gateway in the same process.
    #[must_use]
    pub fn counted(&self) -> (Arc<Keyring>, JwksCounts) {
        (Arc::clone(&self.deps.keyring), JwksCounts::of(&self.jwks))
    }

    fn now(&self) -> UnixTime {
        self.deps.clock.now()
    }

    /// Puts an event on disk. What it is about must not be answered before.
    async fn record(&self, event: impl Into<Event>) -> Result<(), RecorderUnavailable> {
        self.deps
            .recorder
            .record(event.into(), Durability::Synced)
            .await
            .map(drop)
    }

    /// What can be asked for now.
    fn offers(&self) -> Vec<Offer> {
        let resources = &self.settings.resources;
        let first = resources.first();
        let no_choice = resources
            .iter()
            .all(|resource| first.is_some_and(|first| first.server == resource.server));
        let offer = |(index, resource): (usize, &Resource)| {
            let scopes = self.deps.catalogue.scopes(&resource.server);
            let basic = scopes.iter().filter(|described| described.effect == Effect::Read);
            Offer {
                uri: resource.uri.clone(),
                basic: basic.map(|described| described.scope.clone()).collect(),
                scopes: scopes.iter().map(|described| described.scope.clone()).collect(),
                unnamed: no_choice && index == 0,
            }
        };
        resources.iter().enumerate().map(offer).collect()
    }

    /// The resource of this identifier, with the descriptions of its scopes.
    fn described(&self, uri: &ResourceUri) -> Option<(&Resource, Vec<ScopeDescription>)> {
        let resource = self
            .settings
            .resources
            .iter()
            .find(|resource| resource.uri == *uri)?;
        Some((resource, self.deps.catalogue.scopes(&resource.server)))
    }
}

/// These scopes and all that they imply.
fn with_implied(scopes: &ScopeSet, catalogue: &[ScopeDescription]) -> ScopeSet {
    let implied = |scope: &Scope| {
        catalogue
            .iter()
            .find(|described| described.scope == *scope)
            .map(|found| &found.implies)
    };
    scopes
        .iter()
        .filter_map(implied)
        .fold(scopes.clone(), |all, implied| all.union(implied))
}
