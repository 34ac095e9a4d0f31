//! Form bodies and JSON answers, read strictly.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use url::form_urlencoded::Serializer;

use crate::jose::json::Object;
use crate::limits;

use super::{Client, ClientAuth, Endpoint, Error};

pub(super) const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// A POST of form parameters in which the client authenticates (RFC 6749 §2.3.1).
pub(super) fn authenticated(endpoint: &Endpoint, client: &Client, fields: &[(&str, &str)]) -> Request<Bytes> {
    let mut form = Serializer::new(String::new());
    form.extend_pairs(fields);
    let mut basic = None;
    match &client.auth {
        ClientAuth::None => {
            form.append_pair("client_id", client.id.as_str());
        }
        ClientAuth::Post(secret) => {
            form.append_pair("client_id", client.id.as_str())
                .append_pair("client_secret", secret.reveal());
        }
        ClientAuth::Basic(secret) => basic = Some(basic_credentials(client.id.as_str(), secret.reveal())),
    }
    let mut request = post(endpoint, FORM, form.finish());
    if let Some(value) = basic {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    request
}

pub(super) fn post(endpoint: &Endpoint, content_type: &'static str, body: String) -> Request<Bytes> {
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = http::Method::POST;
    // A URL that the parser serialised is a URI: visible ASCII, absolute.
    *request.uri_mut() = endpoint.url().as_str().parse().unwrap_or_default();
    request
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    request
        .headers_mut()
        .insert(ACCEPT, HeaderValue::from_static(JSON));
    request
}

/// RFC 6749 §2.3.1: both parts form-encoded, so that a colon in either stays in it.
fn basic_credentials(id: &str, secret: &str) -> HeaderValue {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = base64_simd::STANDARD.encode_to_string(format!("{}:{}", encoded(id), encoded(secret)));
    // base64 is visible ASCII, so the fallback is never taken.
    let mut value =
        HeaderValue::try_from(format!("Basic {pair}")).unwrap_or(HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

/// The JSON object of an answer.
pub(super) fn object<'a>(answer: &'a Response<Bytes>, what: &'static str) -> Result<Object<'a>, Error> {
    let content_type = answer
        .headers()
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let json = JSON.as_bytes();
    let matches = content_type
        .get(..json.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(json));
    if !matches {
        return Err(Error::Answer {
            what,
            reason: "it is not JSON by its content type",
        });
    }
    if answer.body().len() > limits::METADATA_BYTES {
        return Err(Error::Answer {
            what,
            reason: "it is too large",
        });
    }
    Object::parse(answer.body()).map_err(|_| Error::Answer {
        what,
        reason: "it is not a JSON object with each member once",
    })
}
