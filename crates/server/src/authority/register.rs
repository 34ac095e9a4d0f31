//! `POST /register`: dynamic client registration (RFC 7591).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use portcullis_core::audit::{RegisteredBy, Registration};
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::registration::{REGISTRATION_BYTES, Wish};
use portcullis_core::time::Lifetime;
use serde_json::{Value, json};

use super::documents::hosts;
use super::refusal::{Failure, Shown};
use super::{Authority, request};
use crate::http::Network;

/// Most registrations from one address within [`QUOTA_WITHIN`].
pub(super) const PER_ADDRESS: u32 = 60;
/// The same for this machine, all of whose agents have one address.
pub(super) const FROM_LOOPBACK: u32 = 1000;
/// The window of these, and of the bound for all addresses together.
pub(super) const QUOTA_WITHIN: Lifetime = Lifetime::from_hours(1);

/// The endpoint.
pub(super) async fn endpoint(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    let from = Network::of(request::peer(&request));
    let (head, body) = request.into_parts();
    let wish = async {
        request::media_type(&head.headers, "application/json")?;
        Wish::parse(&request::bytes(body, REGISTRATION_BYTES).await?)
    };
    let registered = match wish.await {
        Ok(wish) => authority.register(wish, from).await,
        Err(refusal) => Err(authority.not_registered(refusal, None).await),
    };
    match registered {
        Ok(answer) => {
            let mut response = (StatusCode::CREATED, axum::Json(answer)).into_response();
            response
                .headers_mut()
                .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(failure) => failure.json(Shown::Elsewhere),
    }
}

impl Authority {
    async fn register(&self, wish: Wish, from: Network) -> Result<Value, Failure> {
        let now = self.now();
        let quota = match from {
            Network::Loopback => FROM_LOOPBACK,
            Network::At(_) | Network::Unknown => PER_ADDRESS,
        };
        let allowed = self.registrations.attempt(&from, quota, now);
        let recent = self.deps.store.registered_since(now.minus(QUOTA_WITHIN)).await?;
        if allowed.is_err() || recent >= self.settings.registrations_per_hour {
            return Err(self
                .not_registered(Refusal::RegistrationQuota, Some(wish.name.as_str()))
                .await);
        }
        let (method, application) = (wish.method, wish.application);
        let jwks = wish.keys.as_ref().map(|(_, jwks)| jwks.clone());
        let (client, secret) = wish.grant(&*self.deps.random, now)?;
        self.record(Registration {
            client: Some(client.id.to_string()),
            how: RegisteredBy::Dcr,
            client_name: Some(client.name.as_str().to_owned()),
            redirect_hosts: hosts(&client),
            result: "ok",
        })
        .await?;
        self.deps.store.keep_client(&client, now).await?;
        // RFC 7591 §3.2.1: everything as registered, which may differ from what was asked for.
        let mut answer = json!({
            "client_id": client.id,
            "client_id_issued_at": now.as_secs(),
            "client_name": client.name.as_str(),
            "redirect_uris": client.redirects.iter().map(|redirect| redirect.as_str()).collect::<Vec<_>>(),
            "grant_types": client.grants.iter().map(|grant| grant.name()).collect::<Vec<_>>(),
            "response_types": ["code"],
            "token_endpoint_auth_method": method.name(),
            "application_type": application.name(),
        });
        if let (Some(jwks), Some(answer)) = (jwks, answer.as_object_mut()) {
            answer.insert("jwks".to_owned(), jwks);
        }
        if let (Some(secret), Some(answer)) = (secret, answer.as_object_mut()) {
            answer.insert("client_secret".to_owned(), json!(secret.reveal()));
            answer.insert("client_secret_expires_at".to_owned(), json!(0));
        }
        Ok(answer)
    }

    async fn not_registered(&self, refusal: Refusal, name: Option<&str>) -> Failure {
        let recorded = self.record(Registration {
            client: None,
            how: RegisteredBy::Dcr,
            client_name: name.map(str::to_owned),
            redirect_hosts: Vec::new(),
            result: refusal.code(),
        });
        match recorded.await {
            Ok(()) => refusal.into(),
            Err(unavailable) => unavailable.into(),
        }
    }
}
