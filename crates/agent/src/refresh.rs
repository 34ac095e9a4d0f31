//! A token that can be sent now: the kept one, or a new one for the refresh token, spent by one process at a time.

use portcullis_core::oauth::client::{self, Endpoint, Error as Client, ServerUrl};
use portcullis_core::secret::Secret;

use crate::agent::Inner;
use crate::error::Error;
use crate::tokens::Grant;

/// What is there to send.
#[derive(Debug)]
pub(crate) enum Held {
    /// Nobody has logged in.
    Nothing,
    /// A login that has ended: its token is over, and there is no refresh token that would be taken.
    Ended,
    /// A token to send.
    Token(Secret),
}

impl Inner {
    /// A token for this server that is not the one that was `refused`.
    pub(crate) async fn held(
        self: &std::sync::Arc<Self>,
        server: &ServerUrl,
        refused: Option<&Secret>,
    ) -> Result<Held, Error> {
        let Some(grant) = self.store.grant(server.as_str()).await? else {
            return Ok(Held::Nothing);
        };
        if grant.is_usable(self.clock.now(), refused) {
            return Ok(Held::Token(grant.access));
        }
        if grant.refresh.is_none() {
            return Ok(Held::Ended);
        }
        let (inner, server, refused) = (std::sync::Arc::clone(self), server.clone(), refused.cloned());
        // A task of its own: once the refresh token is spent, the new one must be stored, even if nobody waits any more.
        match tokio::spawn(async move { inner.refresh(&server, refused.as_ref()).await }).await {
            Ok(held) => held,
            Err(_) => Err(Error::Store(crate::tokens::StoreError::Lost)),
        }
    }

    async fn refresh(&self, server: &ServerUrl, refused: Option<&Secret>) -> Result<Held, Error> {
        let _lock = self.store.hold(server.as_str()).await?;
        // Another process may have done it while this one waited.
        let Some(grant) = self.store.grant(server.as_str()).await? else {
            return Ok(Held::Nothing);
        };
        if grant.is_usable(self.clock.now(), refused) {
            return Ok(Held::Token(grant.access));
        }
        let Some(refresh) = &grant.refresh else {
            return Ok(Held::Ended);
        };
        let endpoint = Endpoint::parse(&grant.issuer, "token_endpoint", &grant.token_endpoint)?;
        let request =
            client::build_refresh(&endpoint, &grant.client.clone().into(), refresh, &grant.resource);
        let answer = self.fetchers.send(server, request).await?;
        match client::process_tokens(&answer, grant.granted.as_ref(), self.clock.now()) {
            Ok(tokens) => {
                let access = tokens.access.clone();
                self.change(server, &grant, move |grant| grant.renew(tokens))
                    .await?;
                Ok(Held::Token(access))
            }
            Err(Client::TokenRefused(refused)) if refused.error() == "invalid_grant" => {
                self.change(server, &grant, |grant| grant.refresh = None).await?;
                Ok(Held::Ended)
            }
            Err(Client::TokenRefused(refused)) if is_unknown_client(refused.error()) => {
                self.forget_client(&grant).await?;
                self.change(server, &grant, |grant| grant.refresh = None).await?;
                Ok(Held::Ended)
            }
            // Anything else may pass: the refresh token is kept for another time.
            Err(error) => Err(error.into()),
        }
    }

    /// Changes the grant that was read, unless a login has replaced it meanwhile.
    async fn change(
        &self,
        server: &ServerUrl,
        read: &Grant,
        change: impl FnOnce(&mut Grant) + Send + 'static,
    ) -> Result<(), Error> {
        let (server, read) = (server.as_str().to_owned(), read.access.clone());
        let changed = self.store.update(move |kept| {
            if let Some(grant) = kept.grants.get_mut(&server).filter(|grant| grant.access == read) {
                change(grant);
            }
        });
        Ok(changed.await?)
    }
}

/// The authorization server has forgotten the client (RFC 6749 §5.2), so that it has to register again.
pub(crate) fn is_unknown_client(error: &str) -> bool {
    matches!(error, "invalid_client" | "unauthorized_client")
}
