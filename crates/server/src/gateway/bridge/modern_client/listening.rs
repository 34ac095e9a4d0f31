//! `subscriptions/listen` before a legacy server: its session's own stream, and its subscriptions to resources.

use std::sync::Arc;

use http::Response;
use portcullis_core::bridge::{Change, Filter, Request, notification, stamped};
use portcullis_net::fetch::Body;
use serde_json::value::RawValue;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::session::Session;
use crate::gateway::bridge::line::unreadable;
use crate::gateway::bridge::reply::{self, Outgoing, nothing, on_one_line};
use crate::gateway::upstream::UpstreamError;

const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// Begins to listen; `None` when the request does not say for what.
pub(super) async fn begin(
    session: Arc<Session>,
    request: &Request<'_>,
    id: &RawValue,
) -> Result<Option<Response<Body>>, UpstreamError> {
    let Ok(wanted) = Filter::read(request.param("notifications")) else {
        return Ok(None);
    };
    let welcome = session.welcome();
    let mut filter = Filter {
        tools: wanted.tools && welcome.can("tools", Some("listChanged")),
        prompts: wanted.prompts && welcome.can("prompts", Some("listChanged")),
        resources: wanted.resources && welcome.can("resources", Some("listChanged")),
        uris: Vec::new(),
    };
    let changes = session.changes();
    let mut subscriptions = Subscriptions {
        session: Arc::clone(&session),
        uris: Vec::new(),
    };
    if welcome.can("resources", Some("subscribe")) {
        for uri in wanted.uris {
            if session.subscribe(&uri).await {
                subscriptions.uris.push(uri);
            }
        }
        filter.uris.clone_from(&subscriptions.uris);
    }
    let params = filter.params(None).and_then(|params| stamped(Some(&params), id));
    let params = params.map_err(|_| unreadable())?;
    let first = on_one_line(notification(ACKNOWLEDGED, Some(&params)));
    let (outgoing, coming) = reply::channel();
    tokio::spawn(listen(subscriptions, changes, filter, id.to_owned(), outgoing));
    Ok(Some(reply::stream(Some(first), coming)))
}

async fn listen(
    subscriptions: Subscriptions,
    mut changes: Receiver<Change>,
    filter: Filter,
    id: Box<RawValue>,
    outgoing: Outgoing,
) {
    loop {
        let change = tokio::select! {
            () = outgoing.closed() => return,
            () = subscriptions.session.ended() => break,
            change = changes.recv() => match change {
                Ok(change) => change,
                // The client lists again when it listens again, and misses nothing.
                Err(RecvError::Lagged(_) | RecvError::Closed) => break,
            },
        };
        if !filter.wants(&change) {
            continue;
        }
        let about = match &change {
            Change::Resource(uri) => {
                RawValue::from_string(serde_json::json!({ "uri": uri }).to_string()).ok()
            }
            Change::Tools | Change::Prompts | Change::Resources => None,
        };
        let Ok(params) = stamped(about.as_deref(), &id) else {
            continue;
        };
        let note = on_one_line(notification(change.method(), Some(&params)));
        if outgoing.send(Ok(note)).await.is_err() {
            return;
        }
    }
    // MCP 2026-07-28, Subscriptions: an end in order is a result.
    let complete = RawValue::from_string(r#"{"resultType":"complete"}"#.to_owned());
    let complete = complete.unwrap_or_else(|_| nothing());
    if let Ok(result) = stamped(Some(&complete), &id) {
        let _gone = outgoing.send(Ok(reply::message(Some(&id), Ok(&result)))).await;
    }
}

/// The resources that somebody listens for, until they do not.
struct Subscriptions {
    session: Arc<Session>,
    uris: Vec<String>,
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        let uris = std::mem::take(&mut self.uris);
        if uris.is_empty() {
            return;
        }
        let session = Arc::clone(&self.session);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(async move { session.unsubscribe(&uris).await }));
        }
    }
}
