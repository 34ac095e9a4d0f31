//! A login, step by step as the state machine orders them: where, as whom, through the browser, and what came of it.

use std::collections::BTreeMap;

use portcullis_core::ids::ScopeSet;
use portcullis_core::oauth::client::{
    self, AuthorizationServer, Challenged, Client, ClientOrigin, Code, Error as OAuth, OAuthError, Pending,
    Plan, Preregistered, ServerUrl, Tokens,
};
use portcullis_core::oauth::metadata::ProtectedResourceMetadata;
use portcullis_net::random;

use crate::agent::Inner;
use crate::callback::Callback;
use crate::error::Error;
use crate::page::Page;
use crate::refresh::is_unknown_client;
use crate::sealing::OwnKeys;
use crate::tokens::{ClientRecord, Grant, KeysRecord};

/// What a server and its authorization server say about themselves.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) resource: ProtectedResourceMetadata,
    pub(crate) server: AuthorizationServer,
}

/// A client, and the listener on its redirect URI.
struct Became {
    client: Client,
    keys: Option<KeysRecord>,
    callback: Callback,
    redirect_uri: String,
}

/// Whether a client that the authorization server has forgotten may be replaced by a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chance {
    First,
    Last,
}

impl Inner {
    /// Finds the authorization server of a server. Always asks anew: a server that moves to another authorization server
    /// says so with a 401.
    pub(crate) async fn discover(&self, server: &ServerUrl, challenged: &Challenged) -> Result<Found, Error> {
        let urls = client::protected_resource_urls(server, challenged)?;
        let Some((url, document)) = self.fetchers.document(server, &urls).await? else {
            return Err(Error::NoResourceMetadata {
                server: server.as_str().to_owned(),
                tried: urls,
            });
        };
        let resource = client::process_protected_resource(server, &url, &document)?;
        // RFC 9728 §7.6 leaves the choice to the client: one that knows it already, else the first.
        let kept = self.store.read().await?;
        let known = resource
            .authorization_servers
            .iter()
            .find(|issuer| kept.clients.contains_key(issuer.as_str()));
        let Some(issuer) = known.or_else(|| resource.authorization_servers.first()) else {
            return Err(Error::NoResourceMetadata {
                server: server.as_str().to_owned(),
                tried: urls,
            });
        };
        let urls = client::authorization_server_urls(issuer)?;
        let Some((url, document)) = self.fetchers.document(server, &urls).await? else {
            return Err(Error::NoServerMetadata {
                issuer: issuer.to_string(),
                tried: urls,
            });
        };
        let server = client::process_authorization_server(issuer, &url, &document)?;
        Ok(Found { resource, server })
    }

    /// Sends the person through the browser, and keeps what comes of it.
    pub(crate) async fn authorize(
        &self,
        server: &ServerUrl,
        found: &Found,
        scope: Option<&ScopeSet>,
        preregistered: Option<&Preregistered>,
    ) -> Result<Grant, Error> {
        let became = self.become_client(server, &found.server, preregistered).await?;
        let client = became.client.clone();
        match self
            .through_browser(server, found, scope, became, Chance::First)
            .await
        {
            Err(Error::OAuth(OAuth::TokenRefused(refused))) if replaceable(&client, &refused) => {
                self.forget(found.server.issuer().to_string(), &client).await?;
                let became = self.become_client(server, &found.server, preregistered).await?;
                self.through_browser(server, found, scope, became, Chance::Last)
                    .await
            }
            outcome => outcome,
        }
    }

    /// A client of this authorization server, and the listener on its redirect URI.
    async fn become_client(
        &self,
        server: &ServerUrl,
        authorization_server: &AuthorizationServer,
        preregistered: Option<&Preregistered>,
    ) -> Result<Became, Error> {
        let issuer = authorization_server.issuer();
        let kept = self.store.read().await?;
        let record = kept.clients.get(issuer.as_str()).cloned();
        let keys_of = |client: &Client| {
            let record = record
                .as_ref()
                .filter(|record| Client::from((*record).clone()).id == client.id);
            record.and_then(|record| record.keys().cloned())
        };
        let held = record.clone().map(Client::from);
        // Credentials are good at one issuer only: those made by hand cannot be made again by us.
        if let Some(grant) = kept.grants.get(server.as_str())
            && grant.issuer != *issuer
            && preregistered.is_none()
            && held.is_none()
            && Client::from(grant.client.clone()).origin == ClientOrigin::Preregistered
        {
            return Err(OAuth::ForeignClient {
                now: issuer.clone(),
                then: grant.issuer.clone(),
            }
            .into());
        }
        // The redirect URI of a registration names a port: that one, if it is free and the person wants no other. RFC 8252
        // §7.3 has authorization servers ignore the port, and some do not.
        let registered = held
            .as_ref()
            .and_then(|client| client.redirect_uri.as_deref())
            .and_then(port);
        let (held, callback) = match registered {
            Some(port) if self.callback_port == 0 || self.callback_port == port => {
                match Callback::listen(port).await {
                    Ok(callback) => (held, callback),
                    Err(_) => (None, Callback::listen(self.callback_port).await?),
                }
            }
            Some(_) => (None, Callback::listen(self.callback_port).await?),
            None => (held, Callback::listen(self.callback_port).await?),
        };
        let document = self.client_metadata_document.as_ref();
        let now = self.clock.now();
        match client::plan_registration(authorization_server, preregistered, document, held, now)? {
            Plan::Use(client) => {
                let redirect_uri = client
                    .redirect_uri
                    .clone()
                    .unwrap_or_else(|| callback.redirect_uri());
                Ok(Became {
                    keys: keys_of(&client),
                    client,
                    callback,
                    redirect_uri,
                })
            }
            Plan::Register(endpoint) => {
                // Keys of its own, for sealed fields: one registration's, like its id.
                let keys = OwnKeys::make();
                let jwks = keys.as_ref().and_then(OwnKeys::open).map(|keys| keys.jwks());
                let (client, redirect_uri) = self
                    .register(server, authorization_server, &endpoint, &callback, jwks.as_ref())
                    .await?;
                let record = ClientRecord::from(client.clone()).with_keys(keys.clone());
                let issuer = issuer.to_string();
                self.store
                    .update(move |kept| drop(kept.clients.insert(issuer, record)))
                    .await?;
                Ok(Became {
                    client,
                    keys,
                    callback,
                    redirect_uri,
                })
            }
        }
    }

    /// Registers, with the redirect URI by address, and by name where an authorization server takes no address.
    async fn register(
        &self,
        server: &ServerUrl,
        authorization_server: &AuthorizationServer,
        endpoint: &client::Endpoint,
        callback: &Callback,
        jwks: Option<&serde_json::Value>,
    ) -> Result<(Client, String), Error> {
        let issuer = authorization_server.issuer();
        let attempt = async |redirect_uri: String| -> Result<(Client, String), Error> {
            let request = client::build_registration(authorization_server, endpoint, &redirect_uri, jwks)?;
            let answer = self.fetchers.send(server, request).await?;
            Ok((
                client::process_registration(issuer, &redirect_uri, &answer)?,
                redirect_uri,
            ))
        };
        match attempt(callback.redirect_uri()).await {
            Err(Error::OAuth(OAuth::RegistrationRefused(refused)))
                if matches!(
                    refused.error(),
                    "invalid_redirect_uri" | "invalid_client_metadata"
                ) =>
            {
                attempt(callback.redirect_uri_by_name()).await
            }
            outcome => outcome,
        }
    }

    async fn through_browser(
        &self,
        server: &ServerUrl,
        found: &Found,
        scope: Option<&ScopeSet>,
        became: Became,
        chance: Chance,
    ) -> Result<Grant, Error> {
        let Became {
            client,
            keys,
            callback,
            redirect_uri,
        } = became;
        let resource = &found.resource.resource;
        let pending = client::build_authorization(
            &found.server,
            &client,
            &redirect_uri,
            resource,
            scope,
            &random::System,
        )?;
        self.presenter.authorize(pending.url());
        let arrival = callback.wait(pending.clone(), self.login_patience).await?;
        let outcome = match &arrival.outcome {
            Ok(code) => match self.redeem(server, found, &client, &pending, code).await {
                Ok(tokens) => {
                    let record = ClientRecord::from(client.clone()).with_keys(keys);
                    self.keep(server, found, record, scope, tokens).await
                }
                Err(error) => Err(error),
            },
            Err(refused) => Err(refused.clone().into()),
        };
        let page = match &outcome {
            Ok(_) => Page::done(server.as_str()),
            Err(Error::OAuth(OAuth::TokenRefused(refused)))
                if chance == Chance::First && replaceable(&client, refused) =>
            {
                Page::again()
            }
            Err(error) => Page::failed(&error.to_string()),
        };
        arrival.show(page).await;
        outcome
    }

    async fn redeem(
        &self,
        server: &ServerUrl,
        found: &Found,
        client: &Client,
        pending: &Pending,
        code: &Code,
    ) -> Result<Tokens, Error> {
        let request = client::build_code_exchange(found.server.token_endpoint(), client, pending, code);
        let answer = self.fetchers.send(server, request).await?;
        Ok(client::process_tokens(
            &answer,
            pending.requested(),
            self.clock.now(),
        )?)
    }

    async fn keep(
        &self,
        server: &ServerUrl,
        found: &Found,
        record: ClientRecord,
        scope: Option<&ScopeSet>,
        tokens: Tokens,
    ) -> Result<Grant, Error> {
        let grant = Grant {
            issuer: found.server.issuer().clone(),
            resource: found.resource.resource.clone(),
            token_endpoint: found.server.token_endpoint().url().to_string(),
            revocation_endpoint: found
                .server
                .revocation_endpoint()
                .map(|endpoint| endpoint.url().to_string()),
            client: record.clone(),
            requested: scope.cloned(),
            granted: tokens.granted,
            access: tokens.access,
            refresh: tokens.refresh,
            expires_at: tokens.expires_at.map(|end| end.as_secs()),
            sealed: BTreeMap::new(),
        };
        self.forget_gateway(server);
        let (server, kept_grant) = (server.as_str().to_owned(), grant.clone());
        let update = self.store.update(move |kept| {
            let _earlier = kept.clients.insert(kept_grant.issuer.to_string(), record);
            // What was told of sealed fields lasts until a logout, or until somebody else logs in.
            let mut kept_grant = kept_grant;
            if let Some(earlier) = kept.grants.remove(&server)
                && !kept_grant.replaces_another_users(&earlier)
            {
                kept_grant.sealed = earlier.sealed;
            }
            let _earlier = kept.grants.insert(server, kept_grant);
        });
        update.await?;
        Ok(grant)
    }

    /// Forgets a dynamic registration, so that the next login makes a new one.
    pub(crate) async fn forget_client(&self, grant: &Grant) -> Result<(), Error> {
        self.forget(grant.issuer.to_string(), &grant.client.clone().into())
            .await
    }

    async fn forget(&self, issuer: String, client: &Client) -> Result<(), Error> {
        if client.origin != ClientOrigin::Dynamic {
            return Ok(());
        }
        let id = client.id.clone();
        let update = self.store.update(move |kept| {
            if kept
                .clients
                .get(&issuer)
                .is_some_and(|held| Client::from(held.clone()).id == id)
            {
                let _forgotten = kept.clients.remove(&issuer);
            }
        });
        Ok(update.await?)
    }
}

/// Whether the authorization server has forgotten a client that this program can register again.
fn replaceable(client: &Client, refused: &OAuthError) -> bool {
    client.origin == ClientOrigin::Dynamic && is_unknown_client(refused.error())
}

fn port(redirect_uri: &str) -> Option<u16> {
    url::Url::parse(redirect_uri).ok()?.port()
}
