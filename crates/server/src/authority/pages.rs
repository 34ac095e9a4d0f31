//! Pages for people: no script, nothing loaded from anywhere, nothing cached, not framed by anyone.

use std::sync::LazyLock;

use askama::Template;
use aws_lc_rs::digest;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::ids::ScopeSet;
use portcullis_core::oauth::server::Refusal;
use portcullis_core::oauth::server::authorization::Asking;
use portcullis_core::oauth::server::client::{Client, ClientName, GrantType, Provenance};
use portcullis_core::policy::{Effect, ScopeDescription};
use portcullis_core::time::{Lifetime, UnixTime};

use super::Settings;
use super::refusal::Failure;

const STYLE: &str = include_str!("../../templates/style.css");
/// Most tools named per scope.
const TOOLS: usize = 30;

/// Only our own style may apply. There is no `form-action`: browsers apply it to the redirect that follows the form, which
/// leads to the client and from there on wherever the client likes.
static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    let policy =
        format!("default-src 'none'; style-src 'sha256-{hash}'; frame-ancestors 'none'; base-uri 'none'");
    HeaderValue::from_str(&policy).ok()
});

/// The login page.
pub(super) struct Login {
    pub(super) action: String,
    pub(super) csrf: String,
    pub(super) request: String,
    pub(super) client: String,
    pub(super) resource: String,
    pub(super) wrong: Option<String>,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginTemplate<'p> {
    style: &'static str,
    page: &'p Login,
}

/// What the consent page is about.
pub(super) struct Asked<'a> {
    pub(super) action: String,
    pub(super) csrf: String,
    pub(super) request: String,
    pub(super) asking: &'a Asking,
    pub(super) title: &'a str,
    pub(super) catalogue: &'a [ScopeDescription],
    pub(super) settings: &'a Settings,
}

/// The consent page.
pub(super) struct Consent {
    action: String,
    csrf: String,
    request: String,
    client: String,
    client_url: Option<String>,
    provenance: String,
    title: String,
    resource: String,
    host: String,
    loopback: bool,
    user: String,
    lasts: String,
    step_up: bool,
    new: Vec<ScopeShown>,
    known: Vec<ScopeShown>,
}

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentTemplate<'p> {
    style: &'static str,
    page: &'p Consent,
}

/// One scope on the consent page.
struct ScopeShown {
    name: String,
    effect: &'static str,
    label: &'static str,
    says: &'static str,
    tools: Vec<String>,
    more: usize,
    unlisted: bool,
    implies: String,
}

struct Error {
    heading: &'static str,
    says: String,
    advice: &'static str,
    code: &'static str,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorTemplate<'p> {
    style: &'static str,
    page: &'p Error,
}

impl Consent {
    pub(super) fn new(asked: Asked<'_>) -> Self {
        let Asked {
            action,
            csrf,
            request,
            asking,
            title,
            catalogue,
            settings,
        } = asked;
        let wanted = asking.authenticated().request();
        let client = wanted.addressed().client();
        let redirect = wanted.addressed().redirect();
        let known = wanted.scopes().difference(asking.new_scopes());
        // A client that must be asked about every time may ask for nothing new: then everything is shown in full.
        let (new, known) = if asking.new_scopes().is_empty() {
            (known, ScopeSet::new())
        } else {
            (asking.new_scopes().clone(), known)
        };
        Self {
            action,
            csrf,
            request,
            client: client.name.as_str().to_owned(),
            client_url: (client.provenance == Provenance::Document).then(|| client.id.to_string()),
            provenance: provenance(client),
            title: title.to_owned(),
            resource: wanted.resource().to_string(),
            host: redirect.host().to_owned(),
            loopback: redirect.is_loopback(),
            user: asking.authenticated().user().to_string(),
            lasts: lasts(client, settings),
            step_up: !known.is_empty(),
            new: shown(&new, catalogue),
            known: shown(&known, catalogue),
        }
    }
}

/// A text for developers as a sentence for people.
pub(super) fn sentence(says: &str) -> String {
    let mut rest = says.chars();
    rest.next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(rest)
        .chain(['.'])
        .collect()
}

fn provenance(client: &Client) -> String {
    match client.provenance {
        Provenance::Dynamic { at } => {
            format!(
                "It registered itself here on {}. Nobody has checked its name.",
                date(at)
            )
        }
        Provenance::Document => {
            let id = client.id.as_str();
            let host = url::Url::parse(id)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned));
            format!("It is described by {}.", host.unwrap_or_else(|| id.to_owned()))
        }
        Provenance::Preregistered => "Your operator has set it up.".to_owned(),
    }
}

fn lasts(client: &Client, settings: &Settings) -> String {
    let at_a_time = span(settings.access_token_lifetime);
    if client.may_use(GrantType::RefreshToken) {
        format!(
            "{at_a_time} at a time, renewed without asking for up to {}",
            span(settings.refresh_absolute_lifetime)
        )
    } else {
        format!("{at_a_time}, then it must ask again")
    }
}

/// A length of time in the largest unit that fits.
fn span(lifetime: Lifetime) -> String {
    let secs = lifetime.as_secs();
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute")];
    let fits = units
        .into_iter()
        .find(|(unit, _)| secs >= *unit && secs.is_multiple_of(*unit));
    let (unit, name) = fits.unwrap_or((1, "second"));
    let count = secs / unit;
    if count == 1 {
        format!("1 {name}")
    } else {
        format!("{count} {name}s")
    }
}

fn date(at: UnixTime) -> String {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%-d %B %Y").to_string()
}

/// The scopes in order of what they can do, harmless first. One that nobody describes counts as irreversible.
fn shown(scopes: &ScopeSet, catalogue: &[ScopeDescription]) -> Vec<ScopeShown> {
    let mut found: Vec<(Effect, ScopeShown)> = scopes
        .iter()
        .map(|scope| {
            let described = catalogue.iter().find(|described| described.scope == *scope);
            let effect = described.map_or(Effect::Irreversible, |described| described.effect);
            let (label, says) = words(effect);
            let tools = described
                .map(|described| described.tools.as_slice())
                .unwrap_or_default();
            let shown = ScopeShown {
                name: scope.to_string(),
                effect: effect.as_str(),
                label,
                says,
                tools: tools
                    .iter()
                    .take(TOOLS)
                    .map(|tool| ClientName::clean(tool.as_str()).as_str().to_owned())
                    .collect(),
                more: tools.len().saturating_sub(TOOLS),
                unlisted: described.is_none_or(|described| described.unlisted),
                implies: described
                    .map(|described| described.implies.to_string())
                    .unwrap_or_default(),
            };
            (effect, shown)
        })
        .collect();
    found.sort_by_key(|(effect, _)| *effect);
    found.into_iter().map(|(_, shown)| shown).collect()
}

const fn words(effect: Effect) -> (&'static str, &'static str) {
    match effect {
        Effect::Read => ("Read", "look at things, change nothing"),
        Effect::Write => ("Write", "change things; it can be undone"),
        Effect::Irreversible => ("Irreversible", "do things that cannot be undone"),
    }
}

/// The login page.
pub(super) fn login(page: &Login) -> Response {
    render(StatusCode::OK, &LoginTemplate { style: STYLE, page })
}

/// The consent page.
pub(super) fn consent(page: &Consent) -> Response {
    render(StatusCode::OK, &ConsentTemplate { style: STYLE, page })
}

/// The page for what is told to the user and to nobody else.
pub(super) fn error(failure: &Failure) -> Response {
    failure.log();
    let told = failure.told();
    let (heading, advice) = match failure {
        Failure::Unavailable(_) | Failure::Keys(_) => (
            "Not available now",
            "Try again in a moment. If it stays like this, tell your operator.",
        ),
        Failure::Address | Failure::Method => ("Nothing here", "Go back to your client and start again."),
        Failure::Form => ("This page is too old", "Go back to your client and start again."),
        Failure::Login | Failure::LoginThrottled(_) => {
            ("Not signed in", "Go back to your client and start again.")
        }
        Failure::Refused(Refusal::UnknownClient) => (
            "Unknown client",
            "The client must register again. Remove its saved login there, and start again.",
        ),
        Failure::Refused(Refusal::DocumentQuota) => ("Not available now", "Try again in a minute."),
        Failure::Refused(_) => (
            "This request cannot be answered",
            "Something is wrong with the link that brought you here. Nothing was sent anywhere. Tell whoever made the client.",
        ),
    };
    // An unknown client is no reason for a browser to ask for credentials.
    let status = if told.status == StatusCode::UNAUTHORIZED {
        StatusCode::BAD_REQUEST
    } else {
        told.status
    };
    let page = Error {
        heading,
        says: sentence(told.says),
        advice,
        code: failure.code(),
    };
    let mut response = render(
        status,
        &ErrorTemplate {
            style: STYLE,
            page: &page,
        },
    );
    failure.add_retry_after(&mut response);
    response
}

/// On to another address, always with GET (RFC 9700 §4.12).
pub(super) fn redirect(location: &str) -> Result<Response, Failure> {
    let location = HeaderValue::from_str(location).map_err(|_| Refusal::Malformed("request"))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

fn render(status: StatusCode, template: &impl Template) -> Response {
    let (Ok(html), Some(policy)) = (template.render(), POLICY.clone()) else {
        tracing::error!("a page could not be made");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    };
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_in_the_largest_unit_that_fits() {
        for (secs, text) in [
            (300, "5 minutes"),
            (60, "1 minute"),
            (90, "90 seconds"),
            (86_400 * 30, "30 days"),
            (3600, "1 hour"),
        ] {
            assert_eq!(span(Lifetime::from_secs(secs)), text);
        }
    }

    #[test]
    fn a_scope_that_nobody_describes_counts_as_irreversible() {
        let [shown] = shown(&ScopeSet::parse("x:y").unwrap(), &[])
            .try_into()
            .ok()
            .unwrap();
        assert_eq!((shown.effect, shown.unlisted), ("irreversible", true));
    }
}
