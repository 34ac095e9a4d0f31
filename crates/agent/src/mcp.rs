//! One operation on an MCP server: connect in whichever era it speaks, do it, disconnect.

use std::borrow::Cow;
use std::time::Duration;

use portcullis_core::oauth::client::ServerUrl;
use portcullis_core::secret::Secret;
use portcullis_net::fetch::Fetcher;
use rmcp::RoleClient;
use rmcp::model::{
    CallToolRequestParams, ClientConfig, ErrorCode, Implementation, PaginatedRequestParams, ProtocolVersion,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt as _, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::transport::{Transport, Trouble};

/// Longest time to connect, and to disconnect.
const CONNECT: Duration = Duration::from_secs(60);
/// Most pages of a tool list.
const PAGES: usize = 100;

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
    fn perform(&self, connection: &Connection) -> impl Future<Output = Result<Self::Done, Failed>> + Send;
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
    fetcher: &Fetcher,
    token: Option<Secret>,
    operation: &O,
) -> Result<O::Done, Failed> {
    let transport = Transport::new(fetcher.clone(), token);
    let attempt = async {
        let connection = within(CONNECT, connect(server, &transport)).await?;
        let done = within(O::LIMIT, operation.perform(&connection)).await;
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
    ClientConfig::new(rmcp::model::ClientCapabilities::default(), identity)
        .serve_with_lifecycle(transport, lifecycle)
        .await
        .map_err(|error| Failed::Protocol(printable(&error.to_string())))
}

impl Operation for List {
    type Done = Vec<Tool>;
    const LIMIT: Duration = Duration::from_secs(60);

    async fn perform(&self, connection: &Connection) -> Result<Vec<Tool>, Failed> {
        let mut tools = Vec::new();
        let mut page = None;
        for _ in 0..PAGES {
            let answer = connection.peer().list_tools(page).await.map_err(failed)?;
            tools.extend(answer.tools.into_iter().map(|tool| Tool {
                name: tool.name.into_owned(),
                description: tool.description.map(Cow::into_owned),
                input_schema: (*tool.input_schema).clone(),
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

    async fn perform(&self, connection: &Connection) -> Result<Called, Failed> {
        let request = || CallToolRequestParams::new(self.tool.clone()).with_arguments(self.arguments.clone());
        let answer = match connection.call_tool(request()).await {
            // MCP 2026-07-28: some arguments go into headers too, as the tool's schema says, which a list makes known.
            Err(ServiceError::McpError(error)) if error.code == ErrorCode::HEADER_MISMATCH => {
                let _known = List.perform(connection).await?;
                connection.call_tool(request()).await
            }
            answer => answer,
        };
        let answer = answer.map_err(failed)?;
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

fn failed(error: ServiceError) -> Failed {
    if let ServiceError::McpError(error) = error {
        return Failed::Rpc {
            code: error.code.0,
            message: printable(&error.message),
        };
    }
    Failed::Protocol(printable(&error.to_string()))
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
