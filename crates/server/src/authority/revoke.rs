//! `POST /revoke`: a client ends its refresh token (RFC 7009), and with it the family.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use portcullis_core::audit::{Token, TokenResult};
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::opaque::Opaque;
use portcullis_core::oauth::server::parameters::Parameters;

use super::refusal::Failure;
use super::token::{shown, unknown};
use super::{Authority, request};

/// The endpoint. A token that is unknown, or of another client, is none of the caller's business: 200, and nothing happens
/// (RFC 7009 §2.2).
pub(super) async fn endpoint(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut record = unknown();
    let answer = match request::form(&head.headers, &head.uri, body).await {
        Ok(form) => authority.revoke(&head.headers, &form, &mut record).await,
        Err(refusal) => Err(refusal.into()),
    };
    match authority.recorded(answer, record).await {
        Ok(()) => (StatusCode::OK, [(header::CACHE_CONTROL, "no-store")]).into_response(),
        Err(failure) => failure.json(shown(&head.headers)),
    }
}

impl Authority {
    async fn revoke(
        &self,
        headers: &HeaderMap,
        form: &Parameters,
        record: &mut Token,
    ) -> Result<(), Failure> {
        let client = self.authenticated(headers, form, record).await?;
        let token = form.required("token")?;
        // A JWT is not in any store of ours (RFC 7009 §2.2.1).
        if token.contains('.') {
            return Err(Refusal::TokenType.into());
        }
        let revoked = self
            .deps
            .store
            .revoke(&Opaque::presented(token).hash(), &client.id, self.now())
            .await?;
        match revoked {
            Some(grant) => {
                record.grant_type = "refresh_token";
                record.user = Some(grant.user.to_string());
                record.resource = Some(grant.resource.to_string());
                record.scopes = grant.scopes;
                record.result = TokenResult::Revoked;
            }
            None => record.reason = Refusal::RefreshToken.code(),
        }
        Ok(())
    }
}
