//! `POST /login`: name and password for a session.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use portcullis_core::audit::Login;
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::parameters::Parameters;
use portcullis_core::secret::Secret;
use portcullis_core::time::Lifetime;

use super::browser::{Browser, Purpose};
use super::refusal::Failure;
use super::{Authority, pages, people, request};

/// Most attempts for one account within [`ATTEMPTS_WITHIN`].
pub(super) const ATTEMPTS_PER_ACCOUNT: u32 = 10;
/// Most failed attempts from one address within [`ATTEMPTS_WITHIN`].
pub(super) const ATTEMPTS_PER_ADDRESS: u32 = 50;
/// The window of the two.
pub(super) const ATTEMPTS_WITHIN: Lifetime = Lifetime::from_minutes(10);

/// The endpoint.
pub(super) async fn endpoint(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    let peer = request::peer(&request);
    let (head, body) = request.into_parts();
    let form = match request::form(&head.headers, &head.uri, body).await {
        Ok(form) => form,
        Err(refusal) => return pages::error(&refusal.into()),
    };
    let answer = async {
        let browser = authority.site.browser(&head.headers, &*authority.deps.random)?;
        let fields = Fields::read(&form)?;
        if authority.site.is_foreign(&head.headers)
            || !browser.sent(fields.token, Purpose::Login, fields.query)
        {
            return Err(Failure::Form);
        }
        match authority.log_in(&fields, peer).await {
            Ok(session) => authority.logged_in(&session, fields.query),
            // The same page again, with what was wrong.
            Err(failure @ (Failure::Login | Failure::LoginThrottled(_))) => {
                Ok(authority.login_page(&browser, fields.query, Some(&failure)).await)
            }
            Err(failure) => Err(failure),
        }
    };
    answer.await.unwrap_or_else(|failure| pages::error(&failure))
}

struct Fields<'f> {
    token: &'f str,
    query: &'f str,
    name: &'f str,
    password: Secret,
}

impl<'f> Fields<'f> {
    fn read(form: &'f Parameters) -> Result<Self, Refusal> {
        Ok(Self {
            token: form.required("csrf")?,
            query: form.required("request")?,
            name: form.once("username")?.unwrap_or_default().trim(),
            password: Secret::new(form.once("password")?.unwrap_or_default()),
        })
    }
}

impl Authority {
    async fn log_in(&self, fields: &Fields<'_>, peer: Option<std::net::IpAddr>) -> Result<Browser, Failure> {
        let now = self.now();
        // What stands in the record is a name, not a megabyte.
        let account: String = fields
            .name
            .chars()
            .filter(|c| !c.is_control())
            .take(128)
            .collect();
        let attempted = self.attempt(&account, &fields.password, peer).await;
        let result = match &attempted {
            Ok(_) => "ok",
            Err(failure) => failure.code(),
        };
        self.record(Login {
            user: account.clone(),
            result,
            peer: peer.map(|peer| peer.to_string()),
        })
        .await?;
        let user = attempted?;
        self.accounts.forget(&account);
        if let Some(peer) = peer {
            self.addresses.take_back(&peer);
        }
        // A new text: one that somebody put into the browser before the login is worth nothing after it.
        let session = Browser::new(&*self.deps.random)?;
        let expires = now.plus(self.settings.session_lifetime);
        self.deps
            .store
            .keep_session(&session.cookie().hash(), &user, expires)
            .await?;
        Ok(session)
    }

    async fn attempt(
        &self,
        account: &String,
        password: &Secret,
        peer: Option<std::net::IpAddr>,
    ) -> Result<portcullis_core::ids::Subject, Failure> {
        let now = self.now();
        if let Some(peer) = peer {
            self.addresses
                .attempt(&peer, now)
                .map_err(Failure::LoginThrottled)?;
        }
        self.accounts
            .attempt(account, now)
            .map_err(Failure::LoginThrottled)?;
        if password.reveal().len() > people::PASSWORD_BYTES {
            return Err(Failure::Login);
        }
        people::verify(&self.deps.store, account, password)
            .await?
            .ok_or(Failure::Login)
    }

    /// Back to the authorization request, with the session. 303, so that no browser sends the password again
    /// (RFC 9700 §4.12).
    fn logged_in(&self, session: &Browser, query: &str) -> Result<Response, Failure> {
        let mut response = pages::redirect(&format!("{}?{query}", self.site.endpoint("/authorize")))?;
        if let Some(cookie) = self
            .site
            .set_cookie(session, Some(self.settings.session_lifetime))
        {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }
}
