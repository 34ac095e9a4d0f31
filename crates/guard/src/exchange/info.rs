//! What is known of a call beyond its bytes.

use portcullis_core::wire::{Call, Era, Kind, Method, RequestId};

/// What a server that is not spoken to over HTTP must know of a call.
#[derive(Clone, Debug)]
pub struct CallInfo {
    /// The era it speaks.
    pub era: Era,
    /// Request, notification, response, or GET and DELETE of a session.
    pub kind: Kind,
    /// Its method.
    pub method: Method,
    /// The session that it names, which has been found to be the principal's.
    pub session: Option<Box<str>>,
    /// `Last-Event-ID`, where a broken stream goes on.
    pub last_event_id: Option<Box<str>>,
    /// The id that the answer must echo.
    pub id: Option<RequestId>,
}

impl CallInfo {
    /// Of a call.
    #[must_use]
    pub fn of(call: &Call) -> Self {
        Self {
            era: call.era(),
            kind: call.kind(),
            method: call.method().clone(),
            session: call.session().map(Into::into),
            last_event_id: call.last_event_id().map(Into::into),
            id: call.id().cloned(),
        }
    }
}
