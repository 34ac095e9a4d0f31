//! The browser's side: where we are, its cookie, and proof that a form is one of ours.
//!
//! The cookie is an unguessable text. Before a login nobody is behind it; it only ties forms to this browser. A login
//! replaces it with the text of a session. A form's token is an HMAC under the cookie of what the form is for, so that
//! nothing needs to be kept for it, and a form for one request is worth nothing for another.
//!
//! A second cookie stays after the session: it says that a user logged in here before, and opens nothing.

use aws_lc_rs::hmac;
use axum::http::{HeaderMap, HeaderValue, header};
use portcullis_core::ids::Issuer;
use portcullis_core::jose::base64url;
use portcullis_core::oauth::server::opaque::Opaque;
use portcullis_core::random::{RandomUnavailable, SecureRandom};
use portcullis_core::time::Lifetime;

/// Where the authority is, in a browser's terms.
#[derive(Clone, Debug)]
pub(super) struct Site {
    base: String,
    path: String,
    origin: String,
    cookie: String,
    device: String,
    secure: bool,
}

impl Site {
    pub(super) fn of(issuer: &Issuer) -> Self {
        let base = issuer.as_str().trim_end_matches('/').to_owned();
        // An issuer is an absolute URL; the fallbacks are never used.
        let url = url::Url::parse(issuer.as_str()).ok();
        let origin = url
            .as_ref()
            .map(|url| url.origin().ascii_serialization())
            .unwrap_or_default();
        let path = url
            .as_ref()
            .map(|url| url.path().trim_end_matches('/').to_owned())
            .unwrap_or_default();
        let port = url
            .as_ref()
            .and_then(url::Url::port_or_known_default)
            .unwrap_or_default();
        let secure = url.is_some_and(|url| url.scheme() == "https");
        // Cookies ignore ports: two authorities on one machine must not overwrite each other's. `__Host-` keeps
        // other hosts of the domain from setting it, and browsers allow that name on https only.
        let cookie = if secure {
            format!("__Host-portcullis-{port}")
        } else {
            format!("portcullis-{port}")
        };
        Self {
            base,
            path,
            origin,
            device: format!("{cookie}-device"),
            cookie,
            secure,
        }
    }

    /// The path under which everything is; empty when there is none.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The address of an endpoint.
    pub(super) fn endpoint(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    /// The browser of this request; a new one if it has no cookie of ours, or several, one of which is then not ours.
    pub(super) fn browser(
        &self,
        headers: &HeaderMap,
        random: &dyn SecureRandom,
    ) -> Result<Browser, RandomUnavailable> {
        match only(headers, &self.cookie) {
            Some(cookie) => Ok(Browser { cookie, known: true }),
            None => Browser::new(random),
        }
    }

    /// What a browser says to have been given at an earlier login.
    pub(super) fn device(&self, headers: &HeaderMap) -> Option<Opaque> {
        only(headers, &self.device)
    }

    /// The `Set-Cookie` that makes a browser come back as this one. Without a lifetime it is forgotten with the window.
    pub(super) fn set_cookie(&self, browser: &Browser, lifetime: Option<Lifetime>) -> Option<HeaderValue> {
        self.set(&self.cookie, &browser.cookie, lifetime)
    }

    /// The `Set-Cookie` by which a browser is known at its next login.
    pub(super) fn set_device(&self, device: &Opaque, lifetime: Lifetime) -> Option<HeaderValue> {
        self.set(&self.device, device, Some(lifetime))
    }

    fn set(&self, name: &str, value: &Opaque, lifetime: Option<Lifetime>) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let age = lifetime
            .map(|lifetime| format!("; Max-Age={}", lifetime.as_secs()))
            .unwrap_or_default();
        let text = format!(
            "{name}={}; Path=/; HttpOnly; SameSite=Lax{secure}{age}",
            value.reveal()
        );
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether the browser says that a form was sent from elsewhere. `Origin: null` says nothing: browsers send it for our
    /// own forms too, because our pages ask for no referrer.
    pub(super) fn is_foreign(&self, headers: &HeaderMap) -> bool {
        let says = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
        says("sec-fetch-site").is_some_and(|site| site != b"same-origin")
            || says("origin").is_some_and(|origin| origin != b"null" && origin != self.origin.as_bytes())
    }
}

/// The cookie of this name, if there is one and it can be one of ours.
fn only(headers: &HeaderMap, name: &str) -> Option<Opaque> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut values = cookies.flat_map(|list| list.split(';')).filter_map(|pair| {
        let (given, value) = pair.trim().split_once('=')?;
        (given == name).then_some(value)
    });
    match (values.next(), values.next()) {
        (Some(one), None) if one.len() == 43 => Some(Opaque::presented(one)),
        (Some(_) | None, _) => None,
    }
}

/// A browser, by its cookie.
pub(super) struct Browser {
    cookie: Opaque,
    known: bool,
}

impl Browser {
    /// One that was not here before.
    pub(super) fn new(random: &dyn SecureRandom) -> Result<Self, RandomUnavailable> {
        Ok(Self {
            cookie: Opaque::generate(random)?,
            known: false,
        })
    }

    /// Whether it came with its cookie. One that did not has not seen any form of ours.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// What a session is found by.
    pub(super) fn cookie(&self) -> &Opaque {
        &self.cookie
    }

    /// The token of a form.
    pub(super) fn form_token(&self, purpose: Purpose, query: &str) -> String {
        base64url::encode(hmac::sign(&self.key(), &message(purpose, query)))
    }

    /// Whether a form came from a page that we made for this browser, this purpose and this request.
    pub(super) fn sent(&self, token: &str, purpose: Purpose, query: &str) -> bool {
        self.known
            && base64url::decode(token)
                .is_ok_and(|tag| hmac::verify(&self.key(), &message(purpose, query), &tag).is_ok())
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.cookie.reveal().as_bytes())
    }
}

/// What a form does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Login,
    Consent,
}

fn message(purpose: Purpose, query: &str) -> Vec<u8> {
    let purpose = match purpose {
        Purpose::Login => "login",
        Purpose::Consent => "consent",
    };
    [purpose.as_bytes(), b"\0", query.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(issuer: &str) -> Site {
        Site::of(&Issuer::parse(issuer).unwrap())
    }

    fn browser(site: &Site, cookie: &str) -> Browser {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
        site.browser(&headers, &portcullis_net::random::System).unwrap()
    }

    #[test]
    fn endpoints_follow_the_issuer() {
        for (issuer, path, token) in [
            ("https://as.example", "", "https://as.example/token"),
            ("https://as.example/", "", "https://as.example/token"),
            ("https://as.example/t/1", "/t/1", "https://as.example/t/1/token"),
        ] {
            assert_eq!(
                (site(issuer).path(), site(issuer).endpoint("/token")),
                (path, token.to_owned())
            );
        }
    }

    #[test]
    fn cookies_are_named_by_port_and_locked_to_https_where_there_is_https() {
        let random = portcullis_net::random::System;
        let cookie = |issuer: &str| {
            let browser = Browser::new(&random).unwrap();
            let value = site(issuer)
                .set_cookie(&browser, None)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            value.replace(browser.cookie().reveal(), "X")
        };
        assert_eq!(
            cookie("http://127.0.0.1:8421"),
            "portcullis-8421=X; Path=/; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            cookie("https://as.example"),
            "__Host-portcullis-443=X; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
    }

    #[test]
    fn a_cookie_that_comes_twice_is_nobodys() {
        let site = site("http://127.0.0.1:8421");
        let text = "x".repeat(43);
        assert!(browser(&site, &format!("a=b; portcullis-8421={text}")).is_known());
        assert!(!browser(&site, &format!("portcullis-8421={text}; portcullis-8421={text}")).is_known());
        assert!(!browser(&site, &format!("portcullis-9={text}")).is_known());
        assert!(!browser(&site, "portcullis-8421=short").is_known());
    }

    #[test]
    fn a_form_is_worth_something_to_its_browser_purpose_and_request_only() {
        let site = site("http://127.0.0.1:8421");
        let one = browser(&site, &format!("portcullis-8421={}", "x".repeat(43)));
        let other = browser(&site, &format!("portcullis-8421={}", "y".repeat(43)));
        let token = one.form_token(Purpose::Consent, "a=1");
        assert!(one.sent(&token, Purpose::Consent, "a=1"));
        assert!(!one.sent(&token, Purpose::Consent, "a=2"));
        assert!(!one.sent(&token, Purpose::Login, "a=1"));
        assert!(!other.sent(&token, Purpose::Consent, "a=1"));
        assert!(!one.sent("", Purpose::Consent, "a=1"));
    }

    #[test]
    fn forms_from_elsewhere_are_told_by_the_browser() {
        let foreign = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            site("http://127.0.0.1:8421").is_foreign(&headers)
        };
        assert!(!foreign("sec-fetch-site", "same-origin"));
        assert!(foreign("sec-fetch-site", "same-site"));
        assert!(foreign("sec-fetch-site", "cross-site"));
        assert!(foreign("sec-fetch-site", "none"));
        assert!(!foreign("origin", "http://127.0.0.1:8421"));
        assert!(!foreign("origin", "null"));
        assert!(foreign("origin", "http://127.0.0.1:8420"));
    }
}
