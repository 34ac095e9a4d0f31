//! A legacy session's own stream before a modern server: `subscriptions/listen`, for what the client wants to hear.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use portcullis_core::bridge::{Change, Filter, Incoming, notification, request, unstamped};
use portcullis_core::wire::Method;
use portcullis_net::fetch::Body;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::session::Session;
use crate::gateway::bridge::line::{Messages, unreadable};
use crate::gateway::bridge::reply::{self, Outgoing, number, on_one_line};
use crate::gateway::upstream::UpstreamError;

/// The wait before a server's stream is opened again; it doubles, up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Opens the session's stream. Whoever had it before gets no more.
pub(super) fn follow(session: Arc<Session>) -> Response<Body> {
    let mine = session.take_stream();
    let (outgoing, coming) = reply::channel();
    tokio::spawn(keep(session, outgoing, mine));
    reply::stream(None, coming)
}

async fn keep(session: Arc<Session>, outgoing: Outgoing, mine: CancellationToken) {
    let mut resources = session.resources();
    let mut wait = FIRST_WAIT;
    loop {
        let filter = session.filter(&resources.borrow_and_update());
        let listening = async {
            if filter.is_empty() {
                std::future::pending::<()>().await;
            }
            match listen(&session, &filter, &outgoing).await {
                Ok(Heard::Something) => wait = FIRST_WAIT,
                Ok(Heard::Nothing) => {}
                Err(error) => tracing::debug!(%error, "a server does not tell of changes"),
            }
            sleep(wait).await;
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        };
        tokio::select! {
            () = listening => {}
            // It wants to hear of others: the server is asked anew.
            Ok(()) = resources.changed() => {}
            () = outgoing.closed() => return,
            () = mine.cancelled() => return,
        }
    }
}

/// Whether anything came.
enum Heard {
    Something,
    Nothing,
}

async fn listen(session: &Session, filter: &Filter, outgoing: &Outgoing) -> Result<Heard, UpstreamError> {
    let line = session.line();
    let method = Method::SubscriptionsListen;
    let stamp = session.stamp().params().map_err(|_| unreadable())?;
    let params = filter.params(Some(&stamp)).map_err(|_| unreadable())?;
    let body = request(&number(session.number()), method.as_str(), Some(&params));
    let (outbound, info) = line.modern(&method, Vec::new(), body);
    let response = line.upstream.call(&line.principal, outbound, &info).await?;
    let mut messages = Messages::of(response).await?;
    let mut heard = Heard::Nothing;
    while let Some(message) = messages.next().await? {
        match message {
            Incoming::Notification { method, params } => {
                heard = Heard::Something;
                if !Change::of(&method, params.as_deref()).is_some_and(|change| filter.wants(&change)) {
                    continue;
                }
                let params = params.as_deref().map(unstamped).transpose();
                let params = params.map_err(|_| unreadable())?;
                let note = on_one_line(notification(&method, params.as_deref()));
                if outgoing.send(Ok(note)).await.is_err() {
                    break;
                }
            }
            Incoming::Result { .. } | Incoming::Error { .. } => break,
            Incoming::Request { .. } => {}
        }
    }
    Ok(heard)
}
