//! The authorization request (RFC 6749 §4.1.1, RFC 7636, RFC 8707, RFC 9207), from the browser's arrival to the code.

use super::Refusal;
use super::client::{Client, GrantType, Provenance};
use super::code::{Code, Grant};
use super::opaque::Opaque;
use super::parameters::Parameters;
use super::redirect::RedirectUri;
use crate::ids::{Issuer, ResourceUri, ScopeSet, Subject};
use crate::oauth::pkce::{self, Challenge};
use crate::random::{RandomUnavailable, SecureRandom};
use crate::time::{Lifetime, UnixTime};

/// A resource that tokens can be asked for, with its scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its identifier.
    pub uri: ResourceUri,
    /// All its scopes.
    pub scopes: ScopeSet,
    /// What a request without `scope` asks for (RFC 6749 §3.3).
    pub basic: ScopeSet,
    /// Whether a request without `resource` means this one: where there is no choice of servers.
    pub unnamed: bool,
}

impl Offer {
    /// The offer that a request means: the one it names, or the one it need not name.
    ///
    /// # Errors
    /// [`Refusal::Resource`]: several, unknown, or none where there is a choice (RFC 8707 §2).
    pub fn choose<'o>(offers: &'o [Self], parameters: &Parameters) -> Result<&'o Self, Refusal> {
        let mut named = parameters.all("resource");
        let found = match (named.next(), named.next()) {
            (None, _) => offers.iter().find(|offer| offer.unnamed),
            (Some(one), None) => offers.iter().find(|offer| offer.uri.as_str() == one),
            (Some(_), Some(_)) => None,
        };
        found.ok_or(Refusal::Resource)
    }

    /// The scopes that a request asks for. `offline_access` is no scope of a resource: whether a refresh token is
    /// issued depends on the client's registration.
    ///
    /// # Errors
    /// [`Refusal::Scope`] when one is malformed or not offered, or none is asked for and none is basic.
    pub fn scopes_asked(&self, scope: Option<&str>) -> Result<ScopeSet, Refusal> {
        let asked = match scope {
            Some(text) => ScopeSet::parse(text).map_err(|_| Refusal::Scope)?,
            None => ScopeSet::new(),
        };
        let asked: ScopeSet = asked
            .iter()
            .filter(|scope| scope.as_str() != "offline_access")
            .cloned()
            .collect();
        let asked = if asked.is_empty() {
            self.basic.clone()
        } else {
            asked
        };
        if asked.is_empty() || !asked.is_subset(&self.scopes) {
            return Err(Refusal::Scope);
        }
        Ok(asked)
    }
}

/// A request whose client and redirect URI hold: from here on, a refusal is an answer to the client.
#[derive(Clone, Debug)]
pub struct Addressed {
    client: Client,
    redirect: RedirectUri,
    state: Option<String>,
}

/// A refusal, and whom to answer.
#[derive(Clone, Debug)]
pub struct Answered {
    /// Whom.
    pub to: Addressed,
    /// What.
    pub refusal: Refusal,
}

impl Addressed {
    /// Checks the redirect URI against the client's registration. It must be given, even if only one is registered.
    ///
    /// # Errors
    /// To be shown to the user and sent nowhere: [`Refusal::RedirectUri`], [`Refusal::Missing`], [`Refusal::Repeated`].
    pub fn new(client: Client, parameters: &Parameters) -> Result<Self, Refusal> {
        parameters.required("client_id")?;
        let requested = parameters.required("redirect_uri")?;
        let redirect = client
            .redirects
            .iter()
            .find_map(|registered| registered.matching(requested));
        let redirect = redirect.ok_or(Refusal::RedirectUri)?;
        // A repeated `state` is refused later; until then there is none to return.
        let state = parameters.once("state").ok().flatten().map(str::to_owned);
        Ok(Self {
            client,
            redirect,
            state,
        })
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where the answer goes.
    #[must_use]
    pub fn redirect(&self) -> &RedirectUri {
        &self.redirect
    }

    /// The address of an answer: its parameters, `state` as it came (RFC 6749 §4.1.2) and always `iss` (RFC 9207 §2).
    #[must_use]
    pub fn answer(&self, issuer: &Issuer, parameters: &[(&str, &str)]) -> String {
        let state = self.state.as_deref().map(|state| ("state", state));
        self.redirect.with(
            parameters
                .iter()
                .copied()
                .chain(state)
                .chain([("iss", issuer.as_str())]),
        )
    }

    /// Checks everything else about the request.
    ///
    /// # Errors
    /// The refusal, to be sent to the redirect URI.
    pub fn request(
        self,
        parameters: &Parameters,
        offers: &[Offer],
    ) -> Result<AuthorizationRequest, Box<Answered>> {
        match self.checked(parameters, offers) {
            Ok((challenge, resource, scopes)) => Ok(AuthorizationRequest {
                addressed: self,
                challenge,
                resource,
                scopes,
            }),
            Err(refusal) => Err(Box::new(Answered { to: self, refusal })),
        }
    }

    fn checked(
        &self,
        parameters: &Parameters,
        offers: &[Offer],
    ) -> Result<(Challenge, ResourceUri, ScopeSet), Refusal> {
        parameters.refuse_repeats()?;
        if parameters.once("request")?.is_some() {
            return Err(Refusal::RequestObject);
        }
        if parameters.once("request_uri")?.is_some() {
            return Err(Refusal::RequestReference);
        }
        // RFC 9700 §2.1.2: no implicit, no hybrid.
        if parameters.required("response_type")? != "code" {
            return Err(Refusal::ResponseType);
        }
        if parameters
            .once("response_mode")?
            .is_some_and(|mode| mode != "query")
        {
            return Err(Refusal::Malformed("response_mode"));
        }
        if !self.client.may_use(GrantType::AuthorizationCode) {
            return Err(Refusal::GrantNotRegistered);
        }
        // RFC 7636 §4.3: an absent method means `plain`, which is refused like `plain` itself.
        let challenge = parameters.required("code_challenge")?;
        if parameters.required("code_challenge_method")? != pkce::METHOD {
            return Err(Refusal::Malformed("code_challenge_method"));
        }
        let challenge = Challenge::parse(challenge).map_err(|_| Refusal::Malformed("code_challenge"))?;
        let offer = Offer::choose(offers, parameters)?;
        let scopes = offer.scopes_asked(parameters.once("scope")?)?;
        Ok((challenge, offer.uri.clone(), scopes))
    }
}

/// A valid request of a known client. Nobody is logged in yet.
#[derive(Clone, Debug)]
pub struct AuthorizationRequest {
    addressed: Addressed,
    challenge: Challenge,
    resource: ResourceUri,
    scopes: ScopeSet,
}

impl AuthorizationRequest {
    /// The client and where its answer goes.
    #[must_use]
    pub fn addressed(&self) -> &Addressed {
        &self.addressed
    }

    /// The resource it is about.
    #[must_use]
    pub fn resource(&self) -> &ResourceUri {
        &self.resource
    }

    /// The scopes it asks for.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    /// With the user whose login session the browser has.
    #[must_use]
    pub fn authenticated(self, user: Subject) -> Authenticated {
        Authenticated { request: self, user }
    }
}

/// A request with a user.
#[derive(Clone, Debug)]
pub struct Authenticated {
    request: AuthorizationRequest,
    user: Subject,
}

/// What follows from what the user consented to before.
#[derive(Clone, Debug)]
pub enum Recalled {
    /// Everything was consented to before.
    Consented(Consented),
    /// The user must be asked.
    Ask(Asking),
}

impl Authenticated {
    /// The request.
    #[must_use]
    pub fn request(&self) -> &AuthorizationRequest {
        &self.request
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &Subject {
        &self.user
    }

    /// Looks at the scopes that this user allowed this client at this resource before, those included that they imply.
    ///
    /// A client known by its document whose code goes to this machine is asked about every time: anyone can use its
    /// public id and listen there (RFC 8252 §8.6).
    #[must_use]
    pub fn recall(self, allowed: &ScopeSet) -> Recalled {
        let new = self.request.scopes.difference(allowed);
        let addressed = &self.request.addressed;
        let impersonable =
            addressed.client.provenance == Provenance::Document && addressed.redirect.is_loopback();
        if new.is_empty() && !impersonable {
            Recalled::Consented(Consented { authenticated: self })
        } else {
            Recalled::Ask(Asking {
                authenticated: self,
                new,
            })
        }
    }
}

/// A request that waits for the user's answer.
#[derive(Clone, Debug)]
pub struct Asking {
    authenticated: Authenticated,
    new: ScopeSet,
}

impl Asking {
    /// The request with its user.
    #[must_use]
    pub fn authenticated(&self) -> &Authenticated {
        &self.authenticated
    }

    /// The scopes that were not consented to before.
    #[must_use]
    pub fn new_scopes(&self) -> &ScopeSet {
        &self.new
    }

    /// The user said yes.
    #[must_use]
    pub fn approve(self) -> Consented {
        Consented {
            authenticated: self.authenticated,
        }
    }

    /// The user said no.
    #[must_use]
    pub fn deny(self) -> Answered {
        Answered {
            to: self.authenticated.request.addressed,
            refusal: Refusal::ConsentDenied,
        }
    }
}

/// A request that its user consented to, now or before.
#[derive(Clone, Debug)]
pub struct Consented {
    authenticated: Authenticated,
}

/// A code on its way: the text for the client, and what is kept.
#[derive(Debug)]
pub struct Issued {
    /// Whom to answer.
    pub to: Addressed,
    /// The code itself.
    pub text: Opaque,
    /// What it stands for, kept under the hash of the text.
    pub code: Code,
}

impl Consented {
    /// The request with its user.
    #[must_use]
    pub fn authenticated(&self) -> &Authenticated {
        &self.authenticated
    }

    /// Issues the code (RFC 6749 §4.1.2).
    ///
    /// # Errors
    /// [`RandomUnavailable`].
    pub fn issue(
        self,
        random: &dyn SecureRandom,
        now: UnixTime,
        lifetime: Lifetime,
    ) -> Result<Issued, RandomUnavailable> {
        let text = Opaque::generate(random)?;
        let Authenticated { request, user } = self.authenticated;
        let AuthorizationRequest {
            addressed,
            challenge,
            resource,
            scopes,
        } = request;
        let grant = Grant {
            client: addressed.client.id.clone(),
            user,
            resource,
            scopes,
            refreshable: addressed.client.may_use(GrantType::RefreshToken),
        };
        let code = Code {
            grant,
            redirect: addressed.redirect.as_str().to_owned(),
            challenge,
            expires: now.plus(lifetime),
            used: false,
        };
        Ok(Issued {
            to: addressed,
            text,
            code,
        })
    }
}
