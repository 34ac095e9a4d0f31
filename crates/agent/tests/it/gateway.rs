//! A gateway with sealed fields: opens calls and seals results as a real one does, or does what a test wants instead.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use portcullis_core::ids::{ClientId, Issuer, KeyId, Principal, ResourceUri, ServerName, Subject, ToolName};
use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::{ContentEncryption, KeyManagement, PayloadOpener};
use portcullis_core::jose::jwk::{
    DecryptionKey, DecryptionKind, EncryptionKey, PublicJwk, SigningKey, VerificationKey,
};
use portcullis_core::jose::jws::TokenSigner as _;
use portcullis_core::seal::session::{Answering, Cipher, Curve, Session, respond};
use portcullis_core::seal::{
    self, Call, CallId, Clear, MessageId, Moment, NestedOpener, NestedSealer, Parties, Pointers, Seen,
    SenderKeys,
};
use portcullis_core::time::{Lifetime, UnixTime};
use portcullis_net::clock::{self, Clock as _};
use portcullis_net::random::System;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::parties::{Parties as Everyone, look};

pub(crate) const EXTENSION: &str = "dev.portcullis/sealed-fields";
/// What the tool answers, at a place that is sealed.
pub(crate) const ANSWER: &str = "the balance is 8031977";

/// What becomes of a call.
pub(crate) type Step = Box<dyn FnOnce(Heard) -> Response + Send>;

/// A call that came.
pub(crate) struct Heard {
    pub(crate) id: Value,
    /// As it goes back: sealed, if the call was.
    pub(crate) result: Value,
    /// As the tool gave it.
    pub(crate) clear: Value,
    /// What is sealed.
    pub(crate) told: Value,
    /// Onto the stream that was opened first.
    pub(crate) stream: Arc<Mutex<Common>>,
}

/// The stream of a session, and what waits for it to be opened.
#[derive(Default)]
pub(crate) struct Common {
    open: Option<mpsc::UnboundedSender<String>>,
    waiting: Vec<String>,
}

/// The gateway: what it does, and what it saw.
pub(crate) struct Gateway {
    signing: SigningKey,
    opening: Arc<DecryptionKey>,
    arguments: [&'static str; 2],
    result: [&'static str; 1],
    /// What the tool's definition says instead; `null` for nothing.
    pub(crate) says: Option<Value>,
    /// Wants a sealed field in a header.
    pub(crate) wants_header: bool,
    /// Where its metadata says that its keys are.
    pub(crate) jwks_uri: Option<&'static str>,
    /// Publishes no keys.
    pub(crate) hides_keys: bool,
    /// Publishes another key under this name than the one that signs.
    pub(crate) publishes: Option<&'static str>,
    /// How often its keys were read.
    pub(crate) reads: usize,
    pub(crate) steps: VecDeque<Step>,
    /// The arguments of every call, as opened, or as they came if they were in clear.
    pub(crate) calls: Vec<Value>,
    /// What every call says of its sender.
    pub(crate) said: Vec<Value>,
    pub(crate) ids: Vec<Value>,
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) session_lifetime: u64,
    pub(crate) agreed: usize,
    pub(crate) ended: usize,
    /// How far its clock is ahead, in seconds.
    pub(crate) ahead: u64,
    pub(crate) common: Arc<Mutex<Common>>,
    seen: Seen,
}

impl Gateway {
    pub(crate) fn new() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            signing: signing("gw-sig"),
            opening: opening("gw-enc"),
            arguments: ["/text", "/card"],
            result: ["/content/*/text"],
            says: None,
            wants_header: false,
            jwks_uri: None,
            hides_keys: false,
            publishes: None,
            reads: 0,
            steps: VecDeque::new(),
            calls: Vec::new(),
            said: Vec::new(),
            ids: Vec::new(),
            sessions: HashMap::new(),
            session_lifetime: 3_600,
            agreed: 0,
            ended: 0,
            ahead: 0,
            common: Arc::default(),
            seen: Seen::new(1_000, 1_000),
        }))
    }

    /// Revokes the key that signs: another has taken its place at once.
    pub(crate) fn signs_with(&mut self, kid: &str) {
        self.signing = signing(kid);
    }

    /// The same with the key that fields are sealed for.
    pub(crate) fn opens_with(&mut self, kid: &str) {
        self.opening = opening(kid);
    }

    /// What happens to the next call.
    pub(crate) fn then(&mut self, step: impl FnOnce(Heard) -> Response + Send + 'static) {
        self.steps.push_back(Box::new(step));
    }

    fn now(&self) -> UnixTime {
        clock::System.now().plus(Lifetime::from_secs(self.ahead))
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.now(),
            skew: Lifetime::from_secs(30),
        }
    }

    fn jwks(&self) -> Value {
        let jwk = |key: &portcullis_core::jose::jwk::PublicKey, algorithm, kid: &KeyId| {
            let (key, kid) = (key.clone(), kid.clone());
            let chain = Vec::new();
            Value::Object(
                PublicJwk {
                    key,
                    algorithm,
                    kid,
                    chain,
                }
                .to_json(),
            )
        };
        let other = self.publishes.map(signing);
        let (signing, opening) = (other.as_ref().unwrap_or(&self.signing), &self.opening);
        json!({"keys": [
            jwk(signing.public(), SignatureAlgorithm::Es256.into(), signing.kid()),
            jwk(opening.public(), KeyManagement::EcdhEs.into(), opening.kid()),
        ]})
    }

    pub(crate) fn told(&self, origin: &str) -> Value {
        let (arguments, result) = (self.arguments, self.result);
        json!({
            "version": 1, "jwks_uri": format!("{origin}/jwks.json"), "issuer": origin, "server": "notes",
            "arguments": arguments, "result": result, "clear": "refuse",
        })
    }

    fn tools(&self, origin: &str) -> Value {
        let mut schema = json!({"type": "object"});
        if self.wants_header {
            schema["properties"] = json!({"card": {"type": "object", "properties": {
                "holder": {"type": "object", "properties": {"vip": {"type": "boolean", "x-mcp-header": "Vip"}}},
                "number": {"type": "string", "x-mcp-header": "Card"}}}});
        }
        let mut tool = json!({"name": "add_note", "inputSchema": schema});
        let says = self.says.clone().unwrap_or_else(|| self.told(origin));
        if !says.is_null() {
            tool["_meta"] = json!({ EXTENSION: says });
        }
        json!([tool])
    }

    fn called(&mut self, message: &Value, parties: Parties) -> Response {
        let (params, id) = (&message["params"], message["id"].clone());
        let (said, arguments) = (params["_meta"][EXTENSION].clone(), params["arguments"].clone());
        let told = self.told(parties.gateway.as_str());
        let clear = json!({"resultType": "complete", "content": [{"type": "text", "text": ANSWER}], "isError": false});
        let result = if said.is_null() {
            self.calls.push(arguments);
            Ok(clear.clone())
        } else {
            let call = Call {
                parties,
                tool: ToolName::parse(params["name"].as_str().unwrap()).unwrap(),
                id: CallId::from_value(id.clone()).unwrap(),
                message: MessageId::parse(said["message"].as_str().unwrap()).unwrap(),
            };
            self.opened(&said, arguments, call, &clear)
        };
        self.said.push(said);
        self.ids.push(id.clone());
        let step = self.steps.pop_front();
        match (step, result) {
            (None, Ok(result)) => answered(&id, &result),
            (None, Err(error)) => {
                let code = if error.wants_sealing_afresh() {
                    -31_461
                } else {
                    -31_460
                };
                refused(
                    400,
                    &id,
                    code,
                    json!({"reason": error.code(), "extension": EXTENSION, "sealed": told}),
                )
            }
            (Some(step), result) => step(Heard {
                id,
                result: result.unwrap_or_default(),
                clear,
                told,
                stream: Arc::clone(&self.common),
            }),
        }
    }

    fn opened(
        &mut self,
        said: &Value,
        arguments: Value,
        call: Call,
        clear: &Value,
    ) -> Result<Value, seal::Error> {
        let pointers = Pointers::parse(self.arguments).unwrap();
        let results = Pointers::parse(self.result).unwrap();
        let (opened, result) = if let Some(session) = said["session"].as_str() {
            let session = self.sessions.get(session).ok_or(seal::Error::SessionUnknown)?;
            let mut opener = session.opener(self.now());
            let (opened, bound) =
                seal::open_arguments(arguments, &pointers, Clear::Refuse, call, &mut opener)?;
            let mut sealer = session.sealer(self.now());
            (
                opened,
                seal::seal_result(clear.clone(), &results, &bound, &mut sealer)?,
            )
        } else {
            let (signature, recipient) = keys_of(said);
            let openers = |kid: &KeyId| {
                (self.opening.kid() == kid).then(|| Arc::clone(&self.opening) as Arc<dyn PayloadOpener>)
            };
            let sender = SenderKeys::One(&signature);
            let mut opener = NestedOpener::new(sender, &openers, &self.seen, self.moment());
            let (opened, bound) =
                seal::open_arguments(arguments, &pointers, Clear::Refuse, call, &mut opener)?;
            let mut sealer = NestedSealer {
                signer: &self.signing,
                recipient: &recipient,
                encryption: ContentEncryption::A256Gcm,
                now: self.now(),
                random: &System,
            };
            (
                opened,
                seal::seal_result(clear.clone(), &results, &bound, &mut sealer)?,
            )
        };
        self.calls.push(opened.value);
        Ok(result)
    }

    fn agrees(&mut self, body: &Value, parties: &Parties) -> Response {
        let (signature, _) = keys_of(body);
        let answering = Answering {
            ciphers: Cipher::ALL.to_vec(),
            curves: vec![Curve::X25519],
            ends: self.now().plus(Lifetime::from_secs(self.session_lifetime)),
        };
        let offer = body["offer"].as_str().unwrap();
        let answer = respond(
            offer,
            parties,
            SenderKeys::One(&signature),
            &answering,
            &self.signing,
            &self.seen,
            self.moment(),
            &System,
        );
        let answer = answer.unwrap();
        self.agreed += 1;
        let id = answer.session.id().to_string();
        self.sessions.insert(id, answer.session);
        Json(json!({ "answer": answer.text })).into_response()
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

fn signing(kid: &str) -> SigningKey {
    let kid = KeyId::parse(kid).unwrap();
    SigningKey::generate(kid, SignatureAlgorithm::Es256).unwrap().0
}

fn opening(kid: &str) -> Arc<DecryptionKey> {
    let (kid, kind) = (KeyId::parse(kid).unwrap(), DecryptionKind::X25519);
    Arc::new(DecryptionKey::generate(kid, KeyManagement::EcdhEs, kind, &System).unwrap())
}

fn keys_of(said: &Value) -> (VerificationKey, EncryptionKey) {
    let text = |at: usize| said["keys"][at].to_string();
    (
        VerificationKey::parse(text(0).as_bytes()).unwrap(),
        EncryptionKey::parse(text(1).as_bytes()).unwrap(),
    )
}

/// The answer to a request, as JSON.
pub(crate) fn answered(id: &Value, result: &Value) -> Response {
    Json(json!({"jsonrpc": "2.0", "id": id, "result": result})).into_response()
}

/// An error of this status, code and data.
pub(crate) fn refused(status: u16, id: &Value, code: i64, data: Value) -> Response {
    let error = json!({"code": code, "message": "no", "data": data});
    let body = Json(json!({"jsonrpc": "2.0", "id": id, "error": error}));
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

/// Events with these data.
pub(crate) fn events(data: &[String]) -> Response {
    let text: String = data.iter().map(|data| format!("data: {data}\n\n")).collect();
    ([(header::CONTENT_TYPE, "text/event-stream")], text).into_response()
}

impl Heard {
    /// Nothing here; the answer comes on the stream that was opened when the session began.
    pub(crate) fn elsewhere(self) -> Response {
        let data = json!({"jsonrpc": "2.0", "id": self.id, "result": self.result});
        let event = format!("data: {data}\n\n");
        let mut common = look(&self.stream);
        let sent = common
            .open
            .as_ref()
            .is_some_and(|open| open.send(event.clone()).is_ok());
        if !sent {
            common.waiting.push(event);
        }
        StatusCode::ACCEPTED.into_response()
    }
}

/// A message of an agent that may send it.
pub(crate) fn answer(
    gateway: &Arc<Mutex<Gateway>>,
    message: &Value,
    parties: Parties,
    legacy: bool,
) -> Response {
    let mut gateway = look(gateway);
    let id = &message["id"];
    let server = json!({"name": "notes", "version": "1"});
    let origin = parties.gateway.to_string();
    let capabilities = json!({"tools": {}, "extensions": {EXTENSION: {"version": 1}}});
    match message["method"].as_str().unwrap() {
        "server/discover" if legacy => (StatusCode::BAD_REQUEST, "what?").into_response(),
        "server/discover" => answered(
            id,
            &json!({
                "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "supportedVersions": ["2026-07-28"],
                "capabilities": capabilities, "serverInfo": server,
            }),
        ),
        "initialize" => {
            let result =
                json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": server});
            let mut response = answered(id, &result);
            response
                .headers_mut()
                .insert("mcp-session-id", header::HeaderValue::from_static("s"));
            response
        }
        "tools/list" => {
            let tools = gateway.tools(&origin);
            answered(
                id,
                &json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": tools}),
            )
        }
        "tools/call" => gateway.called(message, parties),
        _ => StatusCode::ACCEPTED.into_response(),
    }
}

pub(crate) async fn jwks(State(everyone): State<Everyone>) -> Response {
    match everyone.sealing() {
        Some(gateway) if !look(&gateway).hides_keys => {
            let mut gateway = look(&gateway);
            gateway.reads += 1;
            Json(gateway.jwks()).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The stream of a session, if it is to have one.
pub(crate) async fn stream(State(everyone): State<Everyone>) -> Response {
    let Some(gateway) = everyone.sealing() else {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    };
    let common = Arc::clone(&look(&gateway).common);
    let (open, events) = mpsc::unbounded_channel();
    let mut common = look(&common);
    for event in common.waiting.drain(..) {
        open.send(event).unwrap();
    }
    common.open = Some(open);
    let body = futures_util::stream::unfold(events, async |mut events| {
        let event = events.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(event)), events))
    });
    let body = Body::from_stream(body);
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

pub(crate) async fn session(
    State(everyone): State<Everyone>,
    method: Method,
    headers: HeaderMap,
    body: String,
) -> Response {
    let token = headers[header::AUTHORIZATION]
        .to_str()
        .unwrap()
        .trim_start_matches("Bearer ")
        .to_owned();
    let (Some(gateway), Some(parties)) = (everyone.sealing(), everyone.bound(&token)) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let mut gateway = look(&gateway);
    if method == Method::DELETE {
        gateway.ended += 1;
        return StatusCode::NO_CONTENT.into_response();
    }
    gateway.agrees(&serde_json::from_str(&body).unwrap(), &parties)
}

impl Everyone {
    pub(crate) fn sealing(&self) -> Option<Arc<Mutex<Gateway>>> {
        look(&self.resource).sealing.clone()
    }

    /// Who the fields of a call with this token are bound to.
    pub(crate) fn bound(&self, token: &str) -> Option<Parties> {
        let authority = look(&self.authority);
        let (client, subject) = authority.who.get(token)?;
        let url = look(&self.resource).url.clone();
        Some(Parties {
            principal: Principal {
                issuer: Issuer::parse(&authority.issuer).unwrap(),
                subject: Subject::parse(subject).unwrap(),
                client: ClientId::parse(client).unwrap(),
            },
            gateway: Issuer::parse(url.trim_end_matches("/mcp")).unwrap(),
            resource: ResourceUri::parse(&url).unwrap(),
            server: ServerName::parse("notes").unwrap(),
        })
    }
}
