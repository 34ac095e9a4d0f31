//! `POST /login`: name and password for a session.
//!
//! Wrong passwords are counted so that guessing is slow and nobody can lock anybody out: tightly for one guesser at one
//! account, loosely for an account from everywhere, for those who would guess from many addresses. A browser in which
//! the account's user logged in before is a guesser of its own, for whom strangers' attempts do not count (OWASP, "Slow Down
//! Online Guessing Attacks with Device Cookies").

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use portcullis_core::audit::Login;
use portcullis_core::ids::Subject;
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::opaque::{Opaque, OpaqueHash};
use portcullis_core::oauth::server::parameters::Parameters;
use portcullis_core::secret::Secret;
use portcullis_core::time::Lifetime;

use super::browser::{Browser, Purpose};
use super::refusal::Failure;
use super::{Authority, pages, people, request};
use crate::http::Network;

/// Most failed attempts of one guesser for one account within [`ATTEMPTS_WITHIN`].
pub(super) const ATTEMPTS_PER_GUESSER: u32 = 10;
/// Most failed attempts of all strangers for one account within [`ATTEMPTS_WITHIN`].
pub(super) const ATTEMPTS_PER_ACCOUNT: u32 = 100;
/// Most failed attempts from one address within [`ATTEMPTS_WITHIN`].
pub(super) const ATTEMPTS_PER_ADDRESS: u32 = 50;
/// The window of the three.
pub(super) const ATTEMPTS_WITHIN: Lifetime = Lifetime::from_minutes(10);
/// How long a browser is known after a login.
const DEVICE: Lifetime = Lifetime::from_days(90);

/// Who tries passwords.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Guesser {
    /// Anyone at an address.
    Stranger(Network),
    /// A browser in which the account's user logged in before.
    Device(OpaqueHash),
}

/// What a browser gets for the right password.
struct LoggedIn {
    session: Browser,
    device: Opaque,
}

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
        let device = authority.site.device(&head.headers);
        match authority.log_in(&fields, device, peer).await {
            Ok(given) => authority.logged_in(&given, fields.query),
            // The same page again, with what was wrong.
            Err(failure @ (Failure::Login | Failure::LoginThrottled(_))) => {
                let from = Network::of(peer);
                Ok(authority
                    .login_again(&browser, fields.query, from, &failure)
                    .await)
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
    async fn log_in(
        &self,
        fields: &Fields<'_>,
        device: Option<Opaque>,
        peer: Option<IpAddr>,
    ) -> Result<LoggedIn, Failure> {
        let now = self.now();
        // What stands in the record is a name, not a megabyte.
        let account: String = fields
            .name
            .chars()
            .filter(|c| !c.is_control())
            .take(128)
            .collect();
        let device = self.known_device(device, &account).await?;
        let guesser = match &device {
            Some(device) => Guesser::Device(device.hash()),
            None => Guesser::Stranger(Network::of(peer)),
        };
        let tried = (account, guesser);
        let attempted = self.attempt(&tried, &fields.password).await;
        let (account, guesser) = &tried;
        self.record(Login {
            user: account.clone(),
            result: attempted.as_ref().map_or_else(Failure::code, |_| "ok"),
            peer: peer.map(|peer| peer.to_string()),
        })
        .await?;
        let user = attempted?;
        self.guesses.forget(&tried);
        if let Guesser::Stranger(network) = guesser {
            self.accounts.take_back(account);
            self.addresses.take_back(network);
        }
        // A new text: one that somebody put into the browser before the login is worth nothing after it.
        let session = Browser::new(&*self.deps.random)?;
        let expires = now.plus(self.settings.session_lifetime);
        let store = &self.deps.store;
        store
            .keep_session(&session.cookie().hash(), &user, expires)
            .await?;
        let device = match device {
            Some(device) => device,
            None => Opaque::generate(&*self.deps.random)?,
        };
        store.keep_device(&device.hash(), &user, now.plus(DEVICE)).await?;
        Ok(LoggedIn { session, device })
    }

    /// What the browser shows, if it was given to it at a login to this account.
    async fn known_device(&self, shown: Option<Opaque>, account: &str) -> Result<Option<Opaque>, Failure> {
        let Some(device) = shown else {
            return Ok(None);
        };
        let user = self.deps.store.device(&device.hash(), self.now()).await?;
        Ok(user.filter(|user| user.as_str() == account).map(|_| device))
    }

    async fn attempt(&self, tried: &(String, Guesser), password: &Secret) -> Result<Subject, Failure> {
        let now = self.now();
        let (account, guesser) = tried;
        let allowed = || {
            match guesser {
                Guesser::Stranger(network) => {
                    self.addresses.attempt(network, ATTEMPTS_PER_ADDRESS, now)?;
                    self.guesses.attempt(tried, ATTEMPTS_PER_GUESSER, now)?;
                    // Last, so that what is refused to one address does not count for all.
                    self.accounts.attempt(account, ATTEMPTS_PER_ACCOUNT, now)
                }
                Guesser::Device(_) => self.guesses.attempt(tried, ATTEMPTS_PER_GUESSER, now),
            }
        };
        allowed().map_err(Failure::LoginThrottled)?;
        if password.reveal().len() > people::PASSWORD_BYTES {
            return Err(Failure::Login);
        }
        people::verify(&self.deps.store, account, password)
            .await?
            .ok_or(Failure::Login)
    }

    /// Back to the authorization request, with the session. 303, so that no browser sends the password again
    /// (RFC 9700 §4.12).
    fn logged_in(&self, given: &LoggedIn, query: &str) -> Result<Response, Failure> {
        let mut response = pages::redirect(&format!("{}?{query}", self.site.endpoint("/authorize")))?;
        let session = self
            .site
            .set_cookie(&given.session, Some(self.settings.session_lifetime));
        let device = self.site.set_device(&given.device, DEVICE);
        for cookie in session.into_iter().chain(device) {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }
}
