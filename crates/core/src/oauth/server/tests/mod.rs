//! State by message: each state of a grant, each thing a client can send, what comes of it.

mod authorization;
mod grants;
mod registered;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};

use super::client::{Authentication, Client, ClientName, GrantType, Provenance};
use super::redirect::RedirectUri;
use crate::ids::{ClientId, GrantId, ResourceUri, ScopeSet, Subject};
use crate::random::{RandomUnavailable, SecureRandom};
use crate::time::UnixTime;

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);
const RESOURCE: &str = "https://rs.example/mcp";
// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Counts, so that each text is another.
struct Counting(AtomicU8);

impl SecureRandom for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomUnavailable> {
        out.fill(self.0.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}

fn counting() -> Counting {
    Counting(AtomicU8::new(1))
}

fn scopes(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

fn id(text: &str) -> ClientId {
    ClientId::parse(text).unwrap()
}

fn user() -> Subject {
    Subject::parse("alice").unwrap()
}

fn resource() -> ResourceUri {
    ResourceUri::parse(RESOURCE).unwrap()
}

fn client() -> Client {
    Client {
        id: id("c1"),
        name: ClientName::clean("One"),
        provenance: Provenance::Dynamic { at: NOW },
        redirects: vec![
            RedirectUri::parse("https://c.example/cb").unwrap(),
            RedirectUri::parse("http://127.0.0.1/cb").unwrap(),
        ],
        grants: BTreeSet::from([GrantType::AuthorizationCode, GrantType::RefreshToken]),
        authentication: Authentication::Public,
        allowance: ScopeSet::new(),
        keys: None,
    }
}
