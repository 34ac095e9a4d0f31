//! What the server says of sealed fields, and what follows from it for one call.

use std::sync::Arc;

use http::StatusCode;
use portcullis_core::ids::{Issuer, Principal, ServerName, Subject, ToolName};
use portcullis_core::jose::base64url;
use portcullis_core::jose::json::Object;
use portcullis_core::oauth::client::Client;
use portcullis_core::seal::{Parties, Pointers};
use portcullis_core::secret::Secret;
use portcullis_core::wire::SEALED_FIELDS;
use rmcp::model::{ClientCapabilities, ErrorData};
use serde_json::{Map, Value, json};

use super::exchange::{Exchange, Fields, With};
use super::keys::OwnKeys;
use super::{SealMode, SealTrouble, SealedFields};
use crate::error::Error;
use crate::mcp::Link;
use crate::tokens::Grant;
use crate::transport::Rejected;

/// JSON-RPC codes of the gateway for what is wrong with sealed fields, and with their session.
const REFUSED: [i32; 2] = [-31_460, -31_461];

/// What a tool's definition says, or the refusal of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) fields: SealedFields,
    issuer: Issuer,
    server: ServerName,
}

/// The extension among the client's capabilities.
pub(crate) fn agent_capabilities() -> ClientCapabilities {
    let mut capabilities = ClientCapabilities::default();
    let version = Map::from_iter([("version".to_owned(), json!(1))]);
    capabilities.extensions = Some([(SEALED_FIELDS.to_owned(), version)].into());
    capabilities
}

/// A gateway's refusal of a call because of its sealed fields, before anything of the call went on: what its fields, keys
/// and sessions are now is in it, and the call may be repeated once, a write too.
///
/// The status of HTTP tells it from what comes from the server behind, in whose answers these codes mean nothing; and a
/// gateway keeps `data` back from a server's errors to sealed calls.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    error: ErrorData,
    sent: usize,
}

impl Refusal {
    /// The one that this is, if it is one.
    pub(crate) fn of(rejected: Rejected) -> Option<Self> {
        let Rejected { status, error, sent } = rejected;
        let extension = error.data.as_ref().and_then(|data| data.get("extension"));
        let ours = matches!(status, StatusCode::BAD_REQUEST | StatusCode::SERVICE_UNAVAILABLE)
            && REFUSED.contains(&error.code.0)
            && extension.is_some_and(|extension| extension == SEALED_FIELDS);
        ours.then_some(Self { error, sent })
    }

    /// Whether nothing of the call went on before, such as a first round that asked for input.
    pub(crate) fn is_of_first_round(&self) -> bool {
        self.sent == 1
    }

    /// What is sealed, as it says.
    pub(crate) fn told(&self) -> Option<Told> {
        let said = self.error.data.as_ref()?.get("sealed")?;
        Told::read(said).ok()
    }

    /// The same as a reason.
    pub(crate) fn trouble(&self) -> SealTrouble {
        SealTrouble::of_error(&serde_json::to_value(&self.error).unwrap_or_default())
    }
}

impl Told {
    /// Whether everything that was to be sealed before still is.
    pub(crate) fn covers(&self, then: &SealedFields) -> bool {
        let within = |then: &[String], now: &[String]| then.iter().all(|pointer| now.contains(pointer));
        within(&then.arguments, &self.fields.arguments) && within(&then.result, &self.fields.result)
    }

    /// Reads the member of a tool's `_meta`, or of the refusal's `data`.
    pub(crate) fn read(said: &Value) -> Result<Self, SealTrouble> {
        let texts = |name: &str| -> Option<Vec<String>> {
            let items = said.get(name)?.as_array()?;
            items.iter().map(|item| Some(item.as_str()?.to_owned())).collect()
        };
        let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
        if said.get("version") != Some(&json!(1)) {
            return Err(SealTrouble::Told("it is of another version"));
        }
        Ok(Self {
            fields: SealedFields {
                arguments: texts("arguments").ok_or(SealTrouble::Told("it names no `arguments`"))?,
                result: texts("result").ok_or(SealTrouble::Told("it names no `result`"))?,
            },
            issuer: Issuer::parse(text("issuer")).map_err(|_| SealTrouble::Told("its `issuer` is none"))?,
            server: ServerName::parse(text("server"))
                .map_err(|_| SealTrouble::Told("its `server` is none"))?,
        })
    }

    fn fields(&self) -> Result<Fields, SealTrouble> {
        let pointers = |texts: &[String]| {
            Pointers::parse(texts.iter().map(String::as_str))
                .map_err(|_| SealTrouble::Told("it names a place that is none"))
        };
        Ok(Fields {
            arguments: pointers(&self.fields.arguments)?,
            result: pointers(&self.fields.result)?,
        })
    }
}

impl Link<'_> {
    /// The login that the token of this connection is of.
    pub(crate) async fn grant(&self) -> Result<Option<Grant>, Error> {
        let grant = self.inner.store.grant(self.server.as_str()).await?;
        match (&grant, self.token) {
            // Somebody else has logged in meanwhile.
            (Some(grant), Some(token)) if subject(token) != subject(&grant.access) => Err(self.ended()),
            _ => Ok(grant),
        }
    }

    fn ended(&self) -> Error {
        Error::LoginEnded(self.server.as_str().to_owned())
    }

    /// Settles what is sealed of this tool: what its definition says now, and no less than what was once told. What is told
    /// for the first time is on the disk when this returns, and nothing was sent before: whoever makes this call come to
    /// nothing does not make the next one go in clear.
    pub(crate) async fn settle(&self, tool: &str, told: Option<&Told>, grant: &Grant) -> Result<(), Error> {
        let trouble = |trouble: SealTrouble| Error::sealing(self.server.as_str(), &trouble);
        let Some(told) = told else {
            return match grant.sealed.get(tool) {
                None => Ok(()),
                Some(_) => Err(trouble(SealTrouble::ToldLess)),
            };
        };
        if grant.sealed.get(tool) == Some(&told.fields) {
            return Ok(());
        }
        // What is kept is bounded as a configuration is.
        let _usable = told.fields().map_err(trouble)?;
        let (server, tool, told, of) = (
            self.server.as_str().to_owned(),
            tool.to_owned(),
            told.clone(),
            grant.clone(),
        );
        let update = self.inner.store.update(move |kept| {
            let grant = kept.grants.get_mut(&server)?;
            if !grant.is_of(&of) {
                return None;
            }
            if grant.sealed.get(&tool).is_some_and(|then| !told.covers(then)) {
                return Some(Err(SealTrouble::ToldLess));
            }
            let _earlier = grant.sealed.insert(tool, told.fields);
            Some(Ok(()))
        });
        update.await?.ok_or_else(|| self.ended())?.map_err(trouble)
    }

    /// What seals one call.
    pub(crate) async fn exchange(&self, tool: &str, told: &Told, grant: &Grant) -> Result<Exchange, Error> {
        let server = self.server;
        let trouble = |error: SealTrouble| Error::sealing(server.as_str(), &error);
        let token = self
            .token
            .ok_or_else(|| Error::NotLoggedIn(server.as_str().to_owned()))?;
        let keys = grant.client.keys().and_then(OwnKeys::open);
        let keys = Arc::new(keys.ok_or_else(|| trouble(SealTrouble::NoKeys))?);
        let parties = parties(told, grant, token).map_err(trouble)?;
        let gateway = self.inner.gateway_keys(server, None).await?;
        let with = match self.inner.seal_mode {
            SealMode::EachField => With::Keys,
            SealMode::Session => With::Session(
                self.inner
                    .seal_session(server, token, &parties, &keys, &gateway)
                    .await?,
            ),
        };
        let tool =
            ToolName::parse(tool).map_err(|_| trouble(SealTrouble::Told("the tool has no usable name")))?;
        let fields = told.fields().map_err(trouble)?;
        let clock = Arc::clone(&self.inner.clock);
        Ok(Exchange {
            tool,
            fields,
            parties,
            keys,
            gateway,
            with,
            clock,
            agent: Arc::clone(self.inner),
            server: server.clone(),
        })
    }
}

/// Both sides bind the fields to the same: a server that says of itself what the login does not bear out gets nothing that
/// opens.
fn parties(told: &Told, grant: &Grant, token: &Secret) -> Result<Parties, SealTrouble> {
    // The resource is an address of the gateway that seals for it.
    let of_gateway = grant
        .resource
        .as_str()
        .strip_prefix(told.issuer.as_str())
        .is_some_and(|path| path.starts_with('/'));
    if !of_gateway {
        return Err(SealTrouble::Told("its `issuer` is not where the server is"));
    }
    Ok(Parties {
        principal: Principal {
            issuer: grant.issuer.clone(),
            subject: subject(token).ok_or(SealTrouble::Told("the access token names no subject"))?,
            client: Client::from(grant.client.clone()).id,
        },
        gateway: told.issuer.clone(),
        resource: grant.resource.clone(),
        server: told.server.clone(),
    })
}

/// Whom the token is about. Not to be believed, only to be repeated: the gateway knows it by itself, and opens nothing that
/// is bound to someone else.
pub(crate) fn subject(token: &Secret) -> Option<Subject> {
    let payload = token.reveal().split('.').nth(1)?;
    let payload = base64url::decode(payload).ok()?;
    let claims = Object::parse(&payload).ok()?;
    Subject::parse(claims.get("sub")?.as_text()?).ok()
}
