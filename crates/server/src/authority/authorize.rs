//! `/authorize`: the authorization request, and the answer to the consent page.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use portcullis_core::audit::Consent;
use portcullis_core::ids::{ClientId, ScopeSet, Subject};
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::authorization::{
    Addressed, Answered, Asking, Authenticated, AuthorizationRequest, Consented, Recalled,
};
use portcullis_core::oauth::server::parameters::Parameters;

use super::browser::{Browser, Purpose};
use super::refusal::Failure;
use super::{Authority, pages, request, with_implied};
use crate::http::Network;

/// Where a request stops.
enum Stop {
    /// The user is told; nobody else.
    Page(Failure),
    /// The client is told, through the browser.
    Answer(Box<Answered>),
}

impl<F: Into<Failure>> From<F> for Stop {
    fn from(failure: F) -> Self {
        Self::Page(failure.into())
    }
}

impl From<Box<Answered>> for Stop {
    fn from(answered: Box<Answered>) -> Self {
        Self::Answer(answered)
    }
}

/// `GET`: where a client sends the browser.
pub(super) async fn show(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    let from = Network::of(request::peer(&request));
    let (head, _) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let answer = async {
        let browser = authority.site.browser(&head.headers, &*authority.deps.random)?;
        let asked = authority.asked(query, from).await?;
        let Some(user) = authority.user(&browser).await? else {
            return Ok(authority.login_page(&asked, &browser, query, None));
        };
        match authority.recalled(asked, user).await? {
            Recalled::Consented(consented) => authority.issue(consented).await,
            Recalled::Ask(asking) => Ok(authority.consent_page(&asking, &browser, query)),
        }
    };
    answer.await.unwrap_or_else(|stop| authority.stopped(stop))
}

/// `POST`: what the user says on the consent page.
pub(super) async fn answer(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    let from = Network::of(request::peer(&request));
    let (head, body) = request.into_parts();
    let answer = async {
        let form = request::form(&head.headers, &head.uri, body).await?;
        let browser = authority.site.browser(&head.headers, &*authority.deps.random)?;
        let query = form.required("request")?;
        if authority.site.is_foreign(&head.headers)
            || !browser.sent(form.required("csrf")?, Purpose::Consent, query)
        {
            return Err(Stop::Page(Failure::Form));
        }
        let asked = authority.asked(query, from).await?;
        let Some(user) = authority.user(&browser).await? else {
            // The session ended while the page was open.
            return Ok(authority.login_page(&asked, &browser, query, None));
        };
        let recalled = authority.recalled(asked, user).await?;
        match (recalled, form.once("decision")?) {
            // Everything was allowed meanwhile, on another page.
            (Recalled::Consented(consented), Some("approve")) => {
                authority.record_consent(consented.authenticated(), "ok").await?;
                authority.issue(consented).await
            }
            (Recalled::Consented(consented), Some("deny")) => {
                authority
                    .record_consent(consented.authenticated(), Refusal::ConsentDenied.code())
                    .await?;
                let to = consented.authenticated().request().addressed().clone();
                Err(Stop::Answer(Box::new(Answered {
                    to,
                    refusal: Refusal::ConsentDenied,
                })))
            }
            (Recalled::Ask(asking), Some("approve")) => authority.approved(asking).await,
            (Recalled::Ask(asking), Some("deny")) => {
                authority
                    .record_consent(asking.authenticated(), Refusal::ConsentDenied.code())
                    .await?;
                Err(Stop::Answer(Box::new(asking.deny())))
            }
            (Recalled::Consented(_) | Recalled::Ask(_), _) => Err(Refusal::Malformed("decision").into()),
        }
    };
    answer.await.unwrap_or_else(|stop| authority.stopped(stop))
}

impl Authority {
    /// The request that a query makes, checked from scratch.
    async fn asked(&self, query: &str, from: Network) -> Result<AuthorizationRequest, Stop> {
        if query.len() > request::QUERY_BYTES {
            return Err(Refusal::TooLarge.into());
        }
        let parameters = Parameters::parse(query.as_bytes())?;
        let id = ClientId::parse(parameters.required("client_id")?).map_err(|_| Refusal::UnknownClient)?;
        let client = self.client(&id, from).await?;
        let addressed = Addressed::new(client, &parameters)?;
        Ok(addressed.request(&parameters, &self.offers())?)
    }

    /// Who is logged in in this browser.
    async fn user(&self, browser: &Browser) -> Result<Option<Subject>, Failure> {
        if !browser.is_known() {
            return Ok(None);
        }
        let session = browser.cookie().hash();
        Ok(self.deps.store.session(&session, self.now()).await?)
    }

    /// With what the user allowed before.
    async fn recalled(&self, asked: AuthorizationRequest, user: Subject) -> Result<Recalled, Failure> {
        let authenticated = asked.authenticated(user);
        let allowed = self.allowed(&authenticated).await?;
        Ok(authenticated.recall(&allowed))
    }

    async fn allowed(&self, authenticated: &Authenticated) -> Result<ScopeSet, Failure> {
        let asked = authenticated.request();
        let client = &asked.addressed().client().id;
        let allowed = self
            .deps
            .store
            .allowed(authenticated.user(), client, asked.resource())
            .await?;
        let catalogue = self
            .described(asked.resource())
            .map(|(_, scopes)| scopes)
            .unwrap_or_default();
        Ok(with_implied(&allowed, &catalogue))
    }

    async fn approved(&self, asking: Asking) -> Result<Response, Stop> {
        let authenticated = asking.authenticated();
        self.record_consent(authenticated, "ok").await?;
        let asked = authenticated.request();
        let client = &asked.addressed().client().id;
        let allowed = self.deps.store.allow(
            authenticated.user(),
            client,
            asked.resource(),
            asked.scopes(),
            self.now(),
        );
        allowed.await?;
        self.issue(asking.approve()).await
    }

    async fn record_consent(
        &self,
        authenticated: &Authenticated,
        result: &'static str,
    ) -> Result<(), Failure> {
        let asked = authenticated.request();
        let client = asked.addressed().client();
        let consent = Consent {
            user: authenticated.user().to_string(),
            client: client.id.to_string(),
            client_name: Some(client.name.as_str().to_owned()),
            redirect_host: asked.addressed().redirect().host().to_owned(),
            resource: asked.resource().to_string(),
            scopes: asked.scopes().clone(),
            result,
        };
        Ok(self.record(consent).await?)
    }

    /// Sends the code (RFC 6749 §4.1.2).
    async fn issue(&self, consented: Consented) -> Result<Response, Stop> {
        let issued = consented.issue(&*self.deps.random, self.now(), self.settings.code_lifetime)?;
        self.deps
            .store
            .keep_code(&issued.text.hash(), &issued.code)
            .await?;
        let location = issued
            .to
            .answer(&self.settings.issuer, &[("code", issued.text.reveal())]);
        Ok(pages::redirect(&location)?)
    }

    fn stopped(&self, stop: Stop) -> Response {
        match stop {
            Stop::Page(failure) => pages::error(&failure),
            Stop::Answer(answered) => {
                let told = Failure::from(answered.refusal).told();
                let parameters = [("error", told.error), ("error_description", told.says)];
                let location = answered.to.answer(&self.settings.issuer, &parameters);
                pages::redirect(&location).unwrap_or_else(|failure| pages::error(&failure))
            }
        }
    }

    /// The login page after a failed login. The request is checked again.
    pub(super) async fn login_again(
        &self,
        browser: &Browser,
        query: &str,
        from: Network,
        wrong: &Failure,
    ) -> Response {
        match self.asked(query, from).await {
            Ok(asked) => self.login_page(&asked, browser, query, Some(wrong)),
            Err(stop) => self.stopped(stop),
        }
    }

    /// The login page for a request that was checked: what is wrong with one shows before anyone types a password.
    fn login_page(
        &self,
        asked: &AuthorizationRequest,
        browser: &Browser,
        query: &str,
        wrong: Option<&Failure>,
    ) -> Response {
        let title = self
            .described(asked.resource())
            .map(|(resource, _)| resource.title.clone())
            .unwrap_or_default();
        let mut response = pages::login(&pages::Login {
            action: format!("{}/login", self.site.path()),
            csrf: browser.form_token(Purpose::Login, query),
            request: query.to_owned(),
            client: asked.addressed().client().name.as_str().to_owned(),
            resource: title,
            wrong: wrong.map(|failure| pages::sentence(failure.told().says)),
        });
        if let Some(failure) = wrong {
            *response.status_mut() = failure.told().status;
            failure.add_retry_after(&mut response);
        }
        self.remember(browser, &mut response);
        response
    }

    fn consent_page(&self, asking: &Asking, browser: &Browser, query: &str) -> Response {
        let asked = asking.authenticated().request();
        let described = self.described(asked.resource());
        let (resource, catalogue) =
            described.map_or((None, Vec::new()), |(resource, scopes)| (Some(resource), scopes));
        pages::consent(&pages::Consent::new(pages::Asked {
            action: format!("{}/authorize", self.site.path()),
            csrf: browser.form_token(Purpose::Consent, query),
            request: query.to_owned(),
            asking,
            title: resource
                .map(|resource| resource.title.as_str())
                .unwrap_or_default(),
            catalogue: &catalogue,
            settings: &self.settings,
        }))
    }

    /// Gives a browser that has none its cookie.
    fn remember(&self, browser: &Browser, response: &mut Response) {
        if !browser.is_known()
            && let Some(cookie) = self.site.set_cookie(browser, None)
        {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
}
