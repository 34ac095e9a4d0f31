//! `POST /token`: grants for tokens (RFC 6749 §3.2).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use portcullis_core::audit::{Token, TokenHash, TokenResult};
use portcullis_core::ids::{ClientId, GrantId, ResourceUri, ScopeSet, Subject};
use portcullis_core::jose::jwk::ClientKeys;
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::access_token::AccessToken;
use portcullis_core::oauth::server::authorization::Offer;
use portcullis_core::oauth::server::client::Client;
use portcullis_core::oauth::server::code::Redemption;
use portcullis_core::oauth::server::opaque::Opaque;
use portcullis_core::oauth::server::parameters::Parameters;
use portcullis_core::oauth::server::refresh::Use;
use portcullis_core::oauth::server::token::{PresentedClient, TokenRequest};
use portcullis_core::random;
use portcullis_core::revocation::{Claim, Revoked};
use portcullis_core::time::UnixTime;
use serde_json::{Value, json};

use super::refusal::{Failure, Shown};
use super::signing::Asked;
use super::{Authority, request};
use crate::store::{Error as StoreError, NewFamily, Successor};

/// The endpoint.
pub(super) async fn endpoint(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut record = unknown();
    let answer = match request::form(&head.headers, &head.uri, body).await {
        Ok(form) => authority.token(&head.headers, &form, &mut record).await,
        Err(refusal) => Err(refusal.into()),
    };
    match authority.recorded(answer, record).await {
        Ok(answer) => {
            let mut response = axum::Json(answer).into_response();
            // RFC 6749 §5.1
            response
                .headers_mut()
                .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(failure) => failure.json(shown(&head.headers)),
    }
}

/// Where this request's credentials are.
pub(super) fn shown(headers: &HeaderMap) -> Shown {
    if headers.contains_key(header::AUTHORIZATION) {
        Shown::Header
    } else {
        Shown::Elsewhere
    }
}

/// A record of a request about which nothing is known yet.
pub(super) fn unknown() -> Token {
    Token {
        grant_type: "unknown",
        client: None,
        user: None,
        resource: None,
        scopes: ScopeSet::new(),
        token: None,
        result: TokenResult::Refused,
        reason: "ok",
    }
}

impl Authority {
    /// The client of a request, authenticated.
    pub(super) async fn authenticated(
        &self,
        headers: &HeaderMap,
        form: &Parameters,
        record: &mut Token,
    ) -> Result<Client, Failure> {
        form.refuse_repeats()?;
        let presented = PresentedClient::read(request::authorization(headers)?, form)?;
        let client = self.redeeming_client(presented.id()).await?;
        client.authenticate(&presented)?;
        record.client = Some(client.id.to_string());
        Ok(client)
    }

    /// Records how a request ended, before anyone learns it.
    pub(super) async fn recorded<T>(
        &self,
        answer: Result<T, Failure>,
        mut record: Token,
    ) -> Result<T, Failure> {
        if let Err(failure) = &answer {
            record.reason = failure.code();
            record.result = match failure {
                Failure::Refused(Refusal::CodeReplayed | Refusal::RefreshTokenReused) => {
                    TokenResult::ReuseDetected
                }
                Failure::Refused(_)
                | Failure::Address
                | Failure::Method
                | Failure::Form
                | Failure::Login
                | Failure::LoginThrottled(_)
                | Failure::Unavailable(_)
                | Failure::Keys(_) => TokenResult::Refused,
            };
            record.token = None;
        }
        self.record(record).await?;
        answer
    }

    async fn token(
        &self,
        headers: &HeaderMap,
        form: &Parameters,
        record: &mut Token,
    ) -> Result<Value, Failure> {
        let client = self.authenticated(headers, form, record).await?;
        let asked = TokenRequest::read(form)?;
        record.grant_type = asked.grant_type().name();
        if !client.may_use(asked.grant_type()) {
            return Err(Refusal::GrantNotRegistered.into());
        }
        match asked {
            TokenRequest::AuthorizationCode {
                code,
                redirect,
                verifier,
                resource,
            } => {
                let shown = Redemption {
                    client: &client.id,
                    redirect: redirect.as_deref(),
                    verifier: &verifier,
                    resource: resource.as_deref(),
                };
                self.redeem(&code, &shown, client.keys, record).await
            }
            TokenRequest::RefreshToken {
                token,
                scopes,
                resource,
            } => {
                let shown = Use {
                    client: &client.id,
                    scopes: scopes.as_ref(),
                    resource: resource.as_deref(),
                };
                self.refresh(&token, &shown, client.keys, record).await
            }
            TokenRequest::ClientCredentials { scope } => {
                self.own_token(&client, form, scope.as_deref(), record).await
            }
        }
    }

    async fn redeem(
        &self,
        code: &Opaque,
        shown: &Redemption<'_>,
        keys: Option<ClientKeys>,
        record: &mut Token,
    ) -> Result<Value, Failure> {
        let now = self.now();
        let refresh = Opaque::generate(&*self.deps.random)?;
        let family = NewFamily {
            id: random::token::<16>(&*self.deps.random)?,
            first: refresh.hash(),
            idle_expires: now.plus(self.settings.refresh_idle_lifetime),
            expires: now.plus(self.settings.refresh_absolute_lifetime),
        };
        self.can_sign().await?;
        let grant = self
            .deps
            .store
            .redeem(&code.hash(), shown, &family, now)
            .await??;
        let id = GrantId::parse(&family.id).map_err(|_| StoreError::Damaged("family"))?;
        record.user = Some(grant.user.to_string());
        record.result = TokenResult::Issued;
        let answer = self
            .issued(
                (shown.client, keys),
                (&grant.user, Some(&id)),
                &grant.resource,
                &grant.scopes,
                now,
                record,
            )
            .await?;
        Ok(if grant.refreshable {
            with_refresh(answer, &refresh)
        } else {
            answer
        })
    }

    async fn refresh(
        &self,
        token: &Opaque,
        shown: &Use<'_>,
        keys: Option<ClientKeys>,
        record: &mut Token,
    ) -> Result<Value, Failure> {
        let now = self.now();
        let next = Opaque::generate(&*self.deps.random)?;
        let successor = Successor {
            hash: next.hash(),
            idle_expires: now.plus(self.settings.refresh_idle_lifetime),
        };
        self.can_sign().await?;
        let rotation = self
            .deps
            .store
            .rotate(&token.hash(), shown, &successor, now)
            .await??;
        let grant = &rotation.grant;
        record.user = Some(grant.user.to_string());
        record.result = TokenResult::Refreshed;
        let answer = self
            .issued(
                (shown.client, keys),
                (&grant.user, Some(&rotation.family)),
                &grant.resource,
                &rotation.scopes,
                now,
                record,
            )
            .await?;
        Ok(with_refresh(answer, &next))
    }

    /// A token for the client itself (RFC 6749 §4.4): of the scopes it asks for, or of all that it may have there.
    async fn own_token(
        &self,
        client: &Client,
        form: &Parameters,
        scope: Option<&str>,
        record: &mut Token,
    ) -> Result<Value, Failure> {
        let offers = self.offers();
        let offer = Offer::choose(&offers, form)?;
        let scopes = match scope {
            Some(_) => offer.scopes_asked(scope)?,
            None => offer.scopes.intersection(&client.allowance),
        };
        record.scopes = scopes.clone();
        if scopes.is_empty() || !scopes.is_subset(&client.allowance) {
            return Err(Refusal::Scope.into());
        }
        record.result = TokenResult::Issued;
        let subject = Subject::parse(client.id.as_str()).map_err(|_| Refusal::UnknownClient)?;
        self.issued(
            (&client.id, client.keys),
            (&subject, None),
            &offer.uri,
            &scopes,
            self.now(),
            record,
        )
        .await
    }

    /// Makes sure that a token for this user and agent would count. Grants that ended are in the store, and were refused before.
    fn unrevoked(&self, subject: &Subject, client: &ClientId, now: UnixTime) -> Result<(), Failure> {
        let claim = Claim {
            issuer: &self.settings.issuer,
            subject,
            client,
            token: None,
            grant: None,
            issued: now,
            server: None,
        };
        let judged = self.deps.revocations.judge(&claim);
        match judged.map_err(|error| Failure::Unavailable(error.to_string()))? {
            None | Some(Revoked::Token | Revoked::Grant | Revoked::Server) => Ok(()),
            Some(Revoked::Agent | Revoked::AgentTokens) => Err(Refusal::ClientRevoked.into()),
            Some(Revoked::User | Revoked::UserTokens) => Err(Refusal::UserRevoked.into()),
        }
    }

    /// The token response (RFC 6749 §5.1).
    async fn issued(
        &self,
        (client, client_keys): (&ClientId, Option<ClientKeys>),
        (subject, grant): (&Subject, Option<&GrantId>),
        resource: &ResourceUri,
        scopes: &ScopeSet,
        now: UnixTime,
        record: &mut Token,
    ) -> Result<Value, Failure> {
        // A grant may be older than the configuration.
        if self.described(resource).is_none() {
            return Err(Refusal::Resource.into());
        }
        let lifetime = self.settings.access_token_lifetime;
        self.unrevoked(subject, client, now)?;
        let asked = Asked {
            subject: subject.as_str(),
            client,
            grant,
            keys: client_keys,
            resource,
            scopes,
            lifetime,
        };
        let AccessToken { text, id } = self.sign(asked, now).await?;
        record.resource = Some(resource.to_string());
        record.scopes = scopes.clone();
        record.token = Some(TokenHash::of(&id));
        Ok(json!({
            "access_token": text.reveal(),
            "token_type": "Bearer",
            "expires_in": lifetime.as_secs(),
            "scope": scopes,
        }))
    }
}

fn with_refresh(mut answer: Value, refresh: &Opaque) -> Value {
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("refresh_token".to_owned(), json!(refresh.reveal()));
    }
    answer
}
