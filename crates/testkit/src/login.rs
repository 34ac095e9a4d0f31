//! A login as a real client does it, but without a browser: discovery from the 401, dynamic registration, the
//! authorization request with PKCE, the login and consent pages by their forms, the code for tokens.
//!
//! [`login`] does all of it; the steps are public for tests that go wrong on purpose in the middle.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::Url;

use crate::page::forms;
use crate::{Answer, Failure, Outcome, Request, Running};

/// Where a code is sent. Nothing listens there: the address is read from the redirect.
pub const REDIRECT: &str = "http://127.0.0.1:7/callback";
const MAX_PAGES: usize = 12;

/// The tokens of a login, and what a refresh needs.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// The access token.
    pub access_token: String,
    /// The refresh token, when one was issued.
    pub refresh_token: Option<String>,
    /// Seconds.
    pub expires_in: u64,
    /// What was granted.
    pub scope: String,
    /// The client they were issued to.
    pub client: Client,
}

/// A registered client.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its secret, when it has one.
    pub secret: Option<String>,
    /// The redirect URI it uses.
    pub redirect_uri: String,
}

/// What the resource and its authority say about themselves.
#[derive(Debug, Clone)]
pub struct Discovered {
    /// The resource identifier, as the metadata spells it.
    pub resource: String,
    /// The scope named by the first challenge.
    pub scope: String,
    /// Protected resource metadata (RFC 9728).
    pub protected_resource: Value,
    /// Authorization server metadata (RFC 8414).
    pub authority: Value,
}

/// Logs the demo user in for `scopes` (separated by spaces), as a client registered for this login.
///
/// # Errors
/// At the first step that does not go as a real client needs it to.
pub async fn login(running: &Running, scopes: &str) -> Outcome<Tokens> {
    let ready = running.ready();
    let password = ready
        .password
        .as_deref()
        .ok_or_else(|| Failure::new("the ready file has no password"))?;
    let found = discover(&ready.mcp_url).await?;
    let client = register(&found, REDIRECT).await?;
    let attempt = Attempt::new(&found, &client, scopes)?;
    let redirect = Browser::default()
        .approve(&attempt.url, REDIRECT, &ready.user, password)
        .await?;
    attempt.redeem(&found, &redirect).await
}

/// Follows the 401 of `mcp_url` to the resource's metadata and from there to the authority's.
///
/// # Errors
/// When a step is missing or is not JSON.
pub async fn discover(mcp_url: &str) -> Outcome<Discovered> {
    let challenged = Request::post(mcp_url)
        .header("accept", "application/json, text/event-stream")
        .json(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
        .send()
        .await?;
    if challenged.status != 401 {
        return Err(unexpected("a call without a token, wanted 401", &challenged));
    }
    let challenge = challenged.header("www-authenticate").to_owned();
    let metadata = challenge_parameter(&challenge, "resource_metadata")
        .ok_or_else(|| Failure::new(format!("no resource_metadata in `{challenge}`")))?;
    let protected_resource = ok(Request::get(metadata).send().await?)?.json()?;
    let issuer = text(&protected_resource, "/authorization_servers/0")?;
    let authority = ok(Request::get(well_known(&issuer)?).send().await?)?.json()?;
    Ok(Discovered {
        resource: text(&protected_resource, "/resource")?,
        scope: challenge_parameter(&challenge, "scope").unwrap_or_default(),
        protected_resource,
        authority,
    })
}

/// One quoted parameter of a `WWW-Authenticate` challenge.
#[must_use]
pub fn challenge_parameter(challenge: &str, name: &str) -> Option<String> {
    let (_, after) = challenge.split_once(&format!("{name}=\""))?;
    after.split_once('"').map(|(value, _)| value.to_owned())
}

/// Registers a public client (RFC 7591).
///
/// # Errors
/// When the authority does not answer 201 with a `client_id`.
pub async fn register(found: &Discovered, redirect_uri: &str) -> Outcome<Client> {
    let wish = json!({
        "client_name": "Test client",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    });
    let answer = Request::post(text(&found.authority, "/registration_endpoint")?)
        .json(&wish)
        .send()
        .await?;
    if answer.status != 201 {
        return Err(unexpected("registration", &answer));
    }
    let registered = answer.json()?;
    Ok(Client {
        id: text(&registered, "/client_id")?,
        secret: text(&registered, "/client_secret").ok(),
        redirect_uri: redirect_uri.to_owned(),
    })
}

/// One authorization request.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The address that a browser is sent to.
    pub url: String,
    /// The PKCE verifier.
    pub verifier: String,
    /// The `state` of the request.
    pub state: String,
    client: Client,
}

impl Attempt {
    /// A well-formed request for `scopes`.
    ///
    /// # Errors
    /// When the authority names no authorization endpoint.
    pub fn new(found: &Discovered, client: &Client, scopes: &str) -> Outcome<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let state = format!("state-{number}");
        // Long enough for RFC 7636 §4.1; a test needs no secret.
        let verifier = format!("verifier-of-a-test-that-keeps-nothing-secret-{number:08}");
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
        let mut url = Url::parse(&text(&found.authority, "/authorization_endpoint")?)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", &client.redirect_uri)
            .append_pair("scope", scopes)
            .append_pair("state", &state)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", &found.resource);
        Ok(Self {
            url: url.into(),
            verifier,
            state,
            client: client.clone(),
        })
    }

    /// Checks `state` and `iss` of the redirect and trades its code for tokens.
    ///
    /// # Errors
    /// When the redirect carries an error, another state, another issuer, or the code is refused.
    pub async fn redeem(&self, found: &Discovered, redirect: &str) -> Outcome<Tokens> {
        let url = Url::parse(redirect)?;
        let parameter = |name: &str| {
            url.query_pairs()
                .find(|(given, _)| given == name)
                .map(|(_, value)| value.into_owned())
        };
        let (Some(code), Some(state)) = (parameter("code"), parameter("state")) else {
            return Err(Failure::new(format!("no code in `{redirect}`")));
        };
        if state != self.state || parameter("iss") != Some(text(&found.authority, "/issuer")?) {
            return Err(Failure::new(format!("wrong state or issuer in `{redirect}`")));
        }
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", &self.client.redirect_uri),
            ("client_id", &self.client.id),
            ("code_verifier", &self.verifier),
            ("resource", &found.resource),
        ];
        let answer = Request::post(text(&found.authority, "/token_endpoint")?)
            .form(fields)
            .send()
            .await?;
        Tokens::read(&answer, &self.client)
    }
}

impl Tokens {
    /// Reads a token response (RFC 6749 §5.1).
    ///
    /// # Errors
    /// When it is an error response, or lacks a required member.
    pub fn read(answer: &Answer, client: &Client) -> Outcome<Self> {
        if answer.status != 200 {
            return Err(unexpected("the token endpoint", answer));
        }
        let body = answer.json()?;
        Ok(Self {
            access_token: text(&body, "/access_token")?,
            refresh_token: text(&body, "/refresh_token").ok(),
            expires_in: body.get("expires_in").and_then(Value::as_u64).unwrap_or_default(),
            scope: text(&body, "/scope").unwrap_or_default(),
            client: client.clone(),
        })
    }

    /// Spends the refresh token.
    ///
    /// # Errors
    /// When there is none, or it is refused.
    pub async fn refresh(&self, found: &Discovered) -> Outcome<Self> {
        let token = self
            .refresh_token
            .as_deref()
            .ok_or_else(|| Failure::new("no refresh token was issued"))?;
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", &self.client.id),
            ("resource", &found.resource),
        ];
        let answer = Request::post(text(&found.authority, "/token_endpoint")?)
            .form(fields)
            .send()
            .await?;
        Self::read(&answer, &self.client)
    }
}

/// The part of a browser that a login needs: cookies, redirects and forms.
#[derive(Debug, Default)]
pub struct Browser {
    cookies: Vec<(String, String, String)>,
}

impl Browser {
    /// The values of the cookies it keeps: secrets, to be searched for where they must not be.
    #[must_use]
    pub fn cookie_values(&self) -> Vec<String> {
        self.cookies.iter().map(|(_, _, value)| value.clone()).collect()
    }

    /// Opens `url`, signs in if asked, approves if asked, and gives the address of the redirect to `redirect_uri`,
    /// which is not fetched. A browser that has signed in before is not asked again.
    ///
    /// # Errors
    /// When a page is refused, asks for the password twice, or shows nothing that can be approved.
    pub async fn approve(
        &mut self,
        url: &str,
        redirect_uri: &str,
        user: &str,
        password: &str,
    ) -> Outcome<String> {
        let mut next = Request::get(url);
        let mut at = Url::parse(url)?;
        let mut signed_in = false;
        for _ in 0..MAX_PAGES {
            let answer = self.open(next, &at).await?;
            if (300..400).contains(&answer.status) {
                let target = at.join(answer.header("location"))?;
                if answer.header("location").starts_with(redirect_uri) {
                    return Ok(answer.header("location").to_owned());
                }
                next = Request::get(target.as_str());
                at = target;
                continue;
            }
            let page = forms(&answer.text());
            let asked = page.iter().find(|form| form.password.is_some());
            if signed_in && asked.is_some() {
                return Err(unexpected("asked for the password twice", &answer));
            }
            signed_in |= asked.is_some();
            let filled = asked.map(|form| (form, form.filled(user, password)));
            let approved = || {
                page.iter()
                    .find_map(|form| form.approved().map(|fields| (form, fields)))
            };
            let (form, fields) = filled
                .or_else(approved)
                .ok_or_else(|| unexpected("no form to approve", &answer))?;
            at = at.join(&form.action)?;
            next = submit(&at, fields);
        }
        Err(Failure::new(format!(
            "no redirect to `{redirect_uri}` after {MAX_PAGES} pages"
        )))
    }

    /// Fills in the login form of `page`, which came from `at`, and gives the page it leads to.
    ///
    /// # Errors
    /// When the page has no login form, or it leads nowhere.
    pub async fn sign_in(&mut self, page: &Answer, at: &Url, user: &str, password: &str) -> Outcome<Answer> {
        let page_forms = forms(&page.text());
        let form = page_forms.iter().find(|form| form.password.is_some());
        let form = form.ok_or_else(|| unexpected("no login form", page))?;
        let mut at = at.join(&form.action)?;
        let mut answer = self.open(submit(&at, form.filled(user, password)), &at).await?;
        for _ in 0..MAX_PAGES {
            if !(300..400).contains(&answer.status) {
                return Ok(answer);
            }
            at = at.join(answer.header("location"))?;
            answer = self.open(Request::get(at.as_str()), &at).await?;
        }
        Err(unexpected("a login that only redirects", &answer))
    }

    /// Sends one request with the cookies of its host, and keeps those that come back.
    ///
    /// # Errors
    /// As [`Request::send`].
    pub async fn open(&mut self, request: Request, at: &Url) -> Outcome<Answer> {
        let host = at.host_str().unwrap_or_default().to_owned();
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .filter(|(of, ..)| *of == host)
            .map(|(_, name, value)| format!("{name}={value}"))
            .collect();
        let request = if cookies.is_empty() {
            request
        } else {
            request.header("cookie", cookies.join("; "))
        };
        let answer = request.header("accept", "text/html").send().await?;
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap_or_default();
            let pair = cookie.split_once(';').map_or(cookie, |(pair, _)| pair);
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.retain(|(of, kept, _)| *of != host || kept != name);
                if !value.is_empty() {
                    self.cookies
                        .push((host.clone(), name.to_owned(), value.to_owned()));
                }
            }
        }
        Ok(answer)
    }
}

fn submit(to: &Url, fields: Vec<(String, String)>) -> Request {
    Request::post(to.as_str())
        .header("origin", to.origin().ascii_serialization())
        .form(fields)
}

/// RFC 8414 §3.1: between the host and the path of the issuer.
fn well_known(issuer: &str) -> Outcome<String> {
    let url = Url::parse(issuer)?;
    let path = url.path().trim_end_matches('/');
    Ok(format!(
        "{}/.well-known/oauth-authorization-server{path}",
        url.origin().ascii_serialization()
    ))
}

fn ok(answer: Answer) -> Outcome<Answer> {
    if answer.status == 200 {
        Ok(answer)
    } else {
        Err(unexpected("wanted 200", &answer))
    }
}

fn unexpected(what: &str, answer: &Answer) -> Failure {
    Failure::new(format!(
        "{what}: {} {:?} `{}`",
        answer.status,
        answer.headers,
        answer.text()
    ))
}

/// The string at a JSON pointer.
fn text(value: &Value, pointer: &str) -> Outcome<String> {
    let found = value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| Failure::new(format!("no `{pointer}` in `{value}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_gives_its_parameters() {
        let challenge = r#"Bearer resource_metadata="http://a/b", scope="x:read y""#;
        assert_eq!(
            challenge_parameter(challenge, "scope").as_deref(),
            Some("x:read y")
        );
        assert_eq!(
            challenge_parameter(challenge, "resource_metadata").as_deref(),
            Some("http://a/b")
        );
        assert_eq!(challenge_parameter(challenge, "error"), None);
    }

    #[test]
    fn the_metadata_of_an_issuer_stands_before_its_path() {
        assert_eq!(
            well_known("http://h:1").unwrap(),
            "http://h:1/.well-known/oauth-authorization-server"
        );
        assert_eq!(
            well_known("http://h:1/t").unwrap(),
            "http://h:1/.well-known/oauth-authorization-server/t"
        );
    }
}
