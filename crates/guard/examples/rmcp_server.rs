//! A notebook with three tools, one of each effect, behind the guard. `docs/guard.md` tells what happens here.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use http::request::Parts;
use portcullis_guard::layer::{AuthorizationServer, GuardBuilder, GuardLayer, JsonLines};
use portcullis_guard::{Effect, VerifiedIdentity};
use rmcp::handler::server::tool::Extension;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::schemars::{self, JsonSchema};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use serde::Deserialize;
use tokio::net::TcpListener;

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

#[derive(Deserialize, JsonSchema)]
struct NewNote {
    text: String,
}

#[tool_router]
impl Notes {
    /// Lists all notes.
    #[tool]
    async fn list_notes(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Writes a note down, with the name of its user.
    #[tool]
    async fn add_note(
        &self,
        Parameters(NewNote { text }): Parameters<NewNote>,
        Extension(request): Extension<Parts>,
    ) -> Result<String, String> {
        // Only a token that held makes one of these. The token itself is not here, nor anywhere in the request.
        let who = request
            .extensions
            .get::<Arc<VerifiedIdentity>>()
            .ok_or("nobody")?;
        let note = format!("{}: {text}", who.subject());
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(note.clone());
        Ok(note)
    }

    /// Deletes all notes. They cannot be brought back.
    #[tool]
    async fn delete_all_notes(&self) -> String {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{} notes deleted", notes.drain(..).count())
    }
}

#[tool_handler]
impl ServerHandler for Notes {}

/// Says which tool does what. What is not named here, such as `delete_all_notes`, is irreversible.
pub(crate) fn ruled(guard: GuardBuilder) -> GuardBuilder {
    guard
        .tool("list_notes", Effect::Read)
        .tool("add_note", Effect::Write)
}

/// Routes of your own, such as a health check, go beside the guarded service: it lets nothing through but judged calls.
pub(crate) fn app(guard: &GuardLayer) -> Router {
    use tower::Layer as _;
    let notes = Notes::default();
    let server = StreamableHttpService::new(
        move || Ok(notes.clone()),
        Arc::<LocalSessionManager>::default(),
        // The guard checks `Host` and `Origin`.
        StreamableHttpServerConfig::default().disable_allowed_hosts(),
    );
    Router::new().fallback_service(guard.layer(server))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let issuer = AuthorizationServer::at("http://127.0.0.1:8421");
    let record = JsonLines::append("decisions.jsonl")?;
    let guard = GuardLayer::builder("notes", "http://127.0.0.1:3000/mcp", issuer, record);
    let guard = ruled(guard).build()?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app(&guard)).await?;
    Ok(())
}
