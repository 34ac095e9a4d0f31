//! What the operator's machinery asks of an authority that runs by itself.

use std::sync::Arc;

use axum::Router;

use super::{Authority, refusal};
use crate::custody::{self, Keyring};
use crate::http::{self, Endpoints, JwksCounts, Readiness};

struct Admin {
    keyring: Arc<Keyring>,
    jwks: JwksCounts,
    readiness: Arc<dyn Readiness>,
}

/// The admin listener's routes.
pub(super) fn routes(authority: &Authority, readiness: Arc<dyn Readiness>) -> Router {
    let (keyring, jwks) = authority.counted();
    http::admin(Arc::new(Admin {
        keyring,
        jwks,
        readiness,
    }))
    .method_not_allowed_fallback(refusal::no_such_method)
    .fallback(refusal::no_such_address)
}

impl Endpoints for Admin {
    /// Without its record no token is issued. A key that does not sign now is told to whoever asks for a token: the
    /// published keys have to be served meanwhile. With a shelf that cannot be read it goes on with the keys that it knows,
    /// but others that can read it are to be asked.
    fn ready(&self) -> Result<(), &'static str> {
        self.readiness.ready()?;
        self.keyring.is_followed()
    }

    fn metrics(&self) -> String {
        let role = self.keyring.role();
        let mut text = JwksCounts::metrics([(role, &self.jwks)]);
        text.push_str(&custody::metrics([(role, self.keyring.uses())]));
        text
    }
}
