//! One operation on an MCP server: connect in whichever era it speaks, do it, disconnect.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use portcullis_core::oauth::client::ServerUrl;
use portcullis_core::secret::Secret;
use portcullis_core::wire::SEALED_FIELDS;
use rmcp::RoleClient;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientConfig, ErrorCode, Implementation, PaginatedRequestParams,
    ProtocolVersion,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt as _, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::{sleep, timeout};

use crate::agent::Inner;
use crate::error::Error;
use crate::sealing::{Patience, Refusal, SealTrouble, SealedFields, Told, agent_capabilities};
use crate::transport::{Transport, Trouble};

/// Longest time to connect, and to disconnect.
const CONNECT: Duration = Duration::from_secs(60);
/// Most pages of a tool list.
const PAGES: usize = 100;
/// Most characters of what a server says of a failure.
const WORDS: usize = 1_000;

/// A tool, as its server describes it. The words are the server's: do not trust them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tool {
    /// Its name, byte for byte what a call must say.
    pub name: String,
    /// What its server says it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema of its arguments.
    #[serde(rename = "inputSchema")]
    pub input_schema: Map<String, Value>,
    /// Which fields are sealed between this agent and the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedFields>,
    #[serde(skip)]
    pub(crate) told: Option<Value>,
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The blocks of its content, as MCP spells them.
    pub content: Vec<Value>,
    /// Whether the tool says that it failed (`isError`).
    pub failed: bool,
    /// The whole result, as MCP spells it.
    pub result: Value,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error(transparent)]
    Trouble(Trouble),
    /// A JSON-RPC error.
    #[error("{message} (JSON-RPC error {code})")]
    Rpc { code: i32, message: String },
    #[error("the server did not answer within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    #[error("{0}")]
    Protocol(String),
    /// Something that is an error of the agent's already.
    #[error(transparent)]
    Agent(Box<Error>),
}

/// A connection to a server, in whichever era it speaks.
pub(crate) type Connection = RunningService<RoleClient, ClientConfig>;

/// What to do on a connection.
pub(crate) trait Operation: Send + Sync {
    /// What comes of it.
    type Done: Send;
    /// Longest time for it.
    const LIMIT: Duration;

    /// Does it. May be done again on another connection, when the server refused before anything happened.
    fn perform(&self, link: &Link<'_>) -> impl Future<Output = Result<Self::Done, Failed>> + Send;
}

/// A connection, and what else an operation may need.
pub(crate) struct Link<'l> {
    pub(crate) connection: &'l Connection,
    pub(crate) transport: &'l Transport,
    pub(crate) inner: &'l Arc<Inner>,
    pub(crate) server: &'l ServerUrl,
    pub(crate) token: Option<&'l Secret>,
}

/// `tools/list`, all pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List;

/// `tools/call`
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) tool: String,
    pub(crate) arguments: Map<String, Value>,
}

/// Does one operation with this token, or without one to learn what the server wants.
pub(crate) async fn run<O: Operation>(
    server: &ServerUrl,
    inner: &Arc<Inner>,
    token: Option<Secret>,
    operation: &O,
) -> Result<O::Done, Failed> {
    let transport = Transport::new(inner.fetchers.typed().clone(), token.clone());
    let attempt = async {
        let connection = within(CONNECT, connect(server, &transport)).await?;
        let link = Link {
            connection: &connection,
            transport: &transport,
            inner,
            server,
            token: token.as_ref(),
        };
        let done = within(O::LIMIT, operation.perform(&link)).await;
        // Ends the session of the older era; a server that does not hear it forgets by itself.
        let _quit = timeout(CONNECT, connection.cancel()).await;
        done
    };
    // What the transport saw says more than what rmcp made of it.
    attempt
        .await
        .map_err(|failed| transport.take_trouble().map_or(failed, Failed::Trouble))
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    timeout(limit, work).await.unwrap_or(Err(Failed::TimedOut(limit)))
}

async fn connect(server: &ServerUrl, transport: &Transport) -> Result<Connection, Failed> {
    let config = StreamableHttpClientTransportConfig::with_uri(server.url().as_str());
    let transport = StreamableHttpClientTransport::with_client(transport.clone(), config);
    let identity = Implementation::new("portcullis-agent", env!("CARGO_PKG_VERSION"));
    let lifecycle = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
    };
    ClientConfig::new(agent_capabilities(), identity)
        .serve_with_lifecycle(transport, lifecycle)
        .await
        .map_err(|error| Failed::Protocol(words(&error.to_string())))
}

impl Operation for List {
    type Done = Vec<Tool>;
    const LIMIT: Duration = Duration::from_secs(60);

    async fn perform(&self, link: &Link<'_>) -> Result<Vec<Tool>, Failed> {
        let mut tools = Vec::new();
        let mut page = None;
        for _ in 0..PAGES {
            let answer = link.connection.peer().list_tools(page).await.map_err(failed)?;
            tools.extend(answer.tools.into_iter().map(|tool| {
                let told = tool
                    .meta
                    .as_ref()
                    .and_then(|meta| meta.0.get(SEALED_FIELDS))
                    .cloned();
                Tool {
                    name: tool.name.into_owned(),
                    description: tool.description.map(Cow::into_owned),
                    input_schema: (*tool.input_schema).clone(),
                    sealed: told
                        .as_ref()
                        .and_then(|told| Told::read(told).ok())
                        .map(|told| told.fields),
                    told,
                }
            }));
            let Some(cursor) = answer.next_cursor else {
                return Ok(tools);
            };
            page = Some(PaginatedRequestParams::default().with_cursor(Some(cursor)));
        }
        Err(Failed::Protocol(format!(
            "its tool list has more than {PAGES} pages"
        )))
    }
}

impl Operation for Call {
    type Done = Called;
    const LIMIT: Duration = Duration::from_secs(600);

    async fn perform(&self, link: &Link<'_>) -> Result<Called, Failed> {
        let mut told = self.told(link).await?;
        let mut answer = self.sealed_call(link, told.as_ref()).await?;
        let mut patience = Patience::default();
        while answer.is_err()
            && let Some(refusal) = refusal(link)
            && refusal.is_of_first_round()
            && let Some(wait) = patience.with_call(&refusal.trouble())
        {
            // What is sealed, or the other side's keys or session, have changed: once more, with what the refusal says.
            let refused = refusal.trouble();
            if let Some(sealing) = link.transport.sealing() {
                sealing.refused(&refused).await;
            }
            sleep(wait).await;
            told = Some(refusal.told().ok_or_else(|| trouble(refused))?);
            answer = self.sealed_call(link, told.as_ref()).await?;
        }
        let answer = answer.map_err(|error| match refusal(link) {
            Some(refusal) => trouble(refusal.trouble()),
            None => failed(error),
        })?;
        let result = serde_json::to_value(&answer).map_err(|error| Failed::Protocol(error.to_string()))?;
        let content = result
            .get("content")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        Ok(Called {
            content,
            failed: answer.is_error == Some(true),
            result,
        })
    }
}

impl Call {
    /// What the server says of sealed fields of this tool. One that has the extension is asked for the tool's definition.
    async fn told(&self, link: &Link<'_>) -> Result<Option<Told>, Failed> {
        let announced = link.connection.peer_info().is_some_and(|info| {
            let extensions = info.capabilities.extensions.as_ref();
            extensions.is_some_and(|extensions| extensions.contains_key(SEALED_FIELDS))
        });
        if !announced {
            return Ok(None);
        }
        let tools = List.perform(link).await?;
        let said = tools
            .into_iter()
            .find(|tool| tool.name == self.tool)
            .and_then(|tool| tool.told);
        said.map(|said| Told::read(&said)).transpose().map_err(trouble)
    }

    /// The call, with its fields sealed as the tool's definition says. Nothing that was once to be sealed goes in clear.
    async fn sealed_call(
        &self,
        link: &Link<'_>,
        told: Option<&Told>,
    ) -> Result<Result<CallToolResult, ServiceError>, Failed> {
        let agent = |error| Failed::Agent(Box::new(error));
        let grant = link.grant().await.map_err(agent)?;
        if let Some(grant) = &grant {
            link.settle(&self.tool, told, grant).await.map_err(agent)?;
        }
        let exchange = match (told, &grant) {
            (Some(told), Some(grant)) => {
                let exchange = link.exchange(&self.tool, told, grant).await;
                Some(exchange.map_err(agent)?)
            }
            (Some(_), None) => return Err(trouble(SealTrouble::NoKeys)),
            (None, _) => None,
        };
        link.transport.seal(exchange);
        let request = || CallToolRequestParams::new(self.tool.clone()).with_arguments(self.arguments.clone());
        Ok(match link.connection.call_tool(request()).await {
            // MCP 2026-07-28: some arguments go into headers too, as the tool's schema says, which a list makes known. Only
            // what was refused with 400 was not looked at by the tool.
            Err(_) if lacks_headers(link) => {
                let _known = List.perform(link).await?;
                link.connection.call_tool(request()).await
            }
            answer => answer,
        })
    }
}

/// The refusal that the last call came back with, if it came from the gateway and says that nothing went on.
fn refusal(link: &Link<'_>) -> Option<Refusal> {
    link.transport.rejected().and_then(Refusal::of)
}

fn lacks_headers(link: &Link<'_>) -> bool {
    link.transport.rejected().is_some_and(|rejected| {
        rejected.status == StatusCode::BAD_REQUEST && rejected.error.code == ErrorCode::HEADER_MISMATCH
    })
}

fn trouble(trouble: SealTrouble) -> Failed {
    Failed::Trouble(Trouble::Sealing(trouble))
}

fn failed(error: ServiceError) -> Failed {
    if let ServiceError::McpError(error) = error {
        return Failed::Rpc {
            code: error.code.0,
            message: words(&error.message),
        };
    }
    Failed::Protocol(words(&error.to_string()))
}

/// What a server says of a failure, as far as a person would read it.
pub(crate) fn words(text: &str) -> String {
    let mut text = printable(text);
    if let Some((end, _)) = text.char_indices().nth(WORDS) {
        text.truncate(end);
    }
    text
}

/// A text of a server's for one line of a terminal: without control characters, which could move the cursor, and without
/// the invisible ones that reorder or hide what is read.
#[must_use]
pub fn printable(text: &str) -> String {
    let hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .filter(|c| !hidden(*c))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_a_failure_is_printable_and_no_novel() {
        assert_eq!(words("a\u{1b}[2Jb\u{202e}c"), "a [2Jbc");
        assert_eq!(words(&"ä".repeat(WORDS)), "ä".repeat(WORDS));
        assert_eq!(words(&"ä".repeat(WORDS + 1)), "ä".repeat(WORDS));
    }
}
