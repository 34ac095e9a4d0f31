//! The three tools, one of each effect.

use std::sync::Arc;

use portcullis_net::offload;
use rmcp::handler::server::wrapper::{Json, Parameters};
use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use rmcp::schemars::{self, JsonSchema};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use serde::{Deserialize, Serialize};

use super::book::{Book, Error, NOTE_BYTES, Note};

/// The MCP server. Clones share the book.
#[derive(Clone, Debug)]
pub(super) struct Notes {
    book: Arc<Book>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct NoteList {
    /// The notes, oldest first.
    notes: Vec<Note>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewNote {
    /// What to write down, at most 10 kB.
    #[schemars(length(max = NOTE_BYTES))]
    text: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoArguments {}

#[derive(Debug, Serialize, JsonSchema)]
struct Deleted {
    /// How many notes there were.
    deleted: usize,
}

#[tool_router]
impl Notes {
    pub(super) fn new(book: Book) -> Self {
        Self { book: Arc::new(book) }
    }

    /// Lists all notes, oldest first.
    #[tool(annotations(
        title = "List the notes",
        read_only_hint = true,
        destructive_hint = false,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    async fn list_notes(&self, Parameters(NoArguments {}): Parameters<NoArguments>) -> Json<NoteList> {
        Json(NoteList {
            notes: self.book.list(),
        })
    }

    /// Writes a note down.
    #[tool(annotations(
        title = "Add a note",
        read_only_hint = false,
        destructive_hint = false,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    async fn add_note(
        &self,
        Parameters(NewNote { text }): Parameters<NewNote>,
    ) -> Result<Json<Note>, String> {
        self.on_disk(|book| book.add(text)).await.map(Json)
    }

    /// Deletes all notes. They cannot be brought back.
    #[tool(annotations(
        title = "Delete all notes",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    async fn delete_all_notes(
        &self,
        Parameters(NoArguments {}): Parameters<NoArguments>,
    ) -> Result<Json<Deleted>, String> {
        self.on_disk(|book| book.clear().map(|deleted| Deleted { deleted }))
            .await
            .map(Json)
    }

    /// Changes the book on a thread that may wait for the disk. What has begun ends, even when nobody waits for it any more.
    async fn on_disk<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Book) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, String> {
        let book = Arc::clone(&self.book);
        match offload::run(move || change(&book)).await {
            Ok(changed) => changed.map_err(|error| error.to_string()),
            Err(lost) => Err(lost.to_string()),
        }
    }
}

#[tool_handler]
impl ServerHandler for Notes {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("portcullis-notes", env!("CARGO_PKG_VERSION")).with_title("Portcullis demo: notes"))
            .with_instructions("A notebook to try Portcullis with: one tool that reads, one that writes, one that cannot be undone.")
    }
}
