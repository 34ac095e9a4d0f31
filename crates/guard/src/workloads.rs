//! The trust domains that configuration knows, and what their workloads have at each server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use portcullis_core::identity::{
    ClientCertificate, DomainTrust, Failed, Grant, Vouched, WorkloadToken, x509_svid,
};
use portcullis_core::ids::{InvalidId, Issuer, ServerName, SpiffeId, ToolName, TrustDomain};
use portcullis_core::jose::jwk::KeySet;
use portcullis_core::time::UnixTime;

use crate::endpoint::Endpoint;

/// The keys of a trust domain that sign JWT-SVIDs, as its bundle is now.
pub trait DomainKeys: Send + Sync {
    /// They, if the bundle is known. The same value for as long as they do not change.
    fn keys(&self) -> Option<Arc<KeySet>>;
}

/// One trust domain.
#[derive(Clone)]
pub struct TrustedDomain {
    /// From configuration.
    pub trust: DomainTrust,
    /// From its bundle.
    pub keys: Arc<dyn DomainKeys>,
    /// What its workloads have; at any other server, nothing.
    pub servers: BTreeMap<ServerName, DomainPart>,
}

/// What the workloads of a domain have at one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainPart {
    /// The tools that may be called; all, where nothing is said. With tools named, nothing else that has a name on the server
    /// can be reached.
    pub tools: Option<BTreeSet<ToolName>>,
    /// What each has: all that fits it, together. One that none fits has nothing.
    pub workloads: Vec<(WorkloadPath, Grant)>,
}

/// Which workloads of a domain: one, by its path, or all below a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkloadPath {
    /// The one with this path.
    Exactly(Box<str>),
    /// Those whose path begins with this, which ends with `/`.
    Below(Box<str>),
}

impl WorkloadPath {
    /// A path such as `/ns/sales/report`, or `/ns/sales/*` for all below it.
    ///
    /// # Errors
    /// [`InvalidId`]: no workload could have it.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let (path, below) = match text.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (text, false),
        };
        // All workloads of the domain are below nothing.
        if !(below && path.is_empty()) {
            // Without the `/` in front it would be a part of the domain.
            let segments = path.strip_prefix('/').unwrap_or_default();
            SpiffeId::parse(&format!("spiffe://any/{segments}"))?;
        }
        Ok(if below {
            Self::Below(format!("{path}/").into())
        } else {
            Self::Exactly(path.into())
        })
    }

    fn is_of(&self, path: &str) -> bool {
        match self {
            Self::Exactly(one) => **one == *path,
            Self::Below(folder) => path.starts_with(&**folder),
        }
    }
}

impl DomainPart {
    fn grant(&self, id: &SpiffeId) -> Option<Grant> {
        let mut fitting = self.workloads.iter().filter(|(which, _)| which.is_of(id.path()));
        let (_, first) = fitting.next()?;
        Some(fitting.fold(first.clone(), |all, (_, more)| Grant {
            scopes: all.scopes.union(&more.scopes),
            roles: all.roles.union(&more.roles).cloned().collect(),
        }))
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct Domains {
    by_name: HashMap<TrustDomain, TrustedDomain>,
    /// Under the name by which they vouch.
    names: HashMap<Issuer, TrustDomain>,
}

impl Domains {
    pub(crate) fn new(domains: Vec<TrustedDomain>) -> Self {
        let names = domains.iter().map(|domain| {
            let name = &domain.trust.domain;
            (name.issuer(), name.clone())
        });
        Self {
            names: names.collect(),
            by_name: domains
                .into_iter()
                .map(|domain| (domain.trust.domain.clone(), domain))
                .collect(),
        }
    }

    /// The part of the domain that vouches under this name, at a server.
    pub(crate) fn part(&self, issuer: &Issuer, server: &ServerName) -> Option<&DomainPart> {
        self.by_name.get(self.names.get(issuer)?)?.servers.get(server)
    }

    /// The keys of the domain that vouches under this name.
    pub(crate) fn keys(&self, issuer: &Issuer) -> Option<Arc<KeySet>> {
        self.by_name.get(self.names.get(issuer)?)?.keys.keys()
    }

    /// The workload that a certificate names, with what it has at a server; none, where it names none, or one that has
    /// nothing there.
    pub(crate) fn by_certificate(
        &self,
        certificate: &ClientCertificate,
        endpoint: &Endpoint,
        now: UnixTime,
    ) -> Option<Result<Vouched, Failed>> {
        let id = certificate.workload()?;
        let domain = self.by_name.get(id.domain())?;
        let grant = domain.servers.get(endpoint.server())?.grant(id)?;
        Some(x509_svid(certificate, grant, endpoint.resource(), now))
    }

    /// The workload that a token is about, where it is a JWT-SVID of a domain that has such, with the keys that say so; none,
    /// where it is somebody else's token.
    pub(crate) fn by_token(
        &self,
        token: &WorkloadToken<'_>,
        endpoint: &Endpoint,
        now: UnixTime,
    ) -> Option<Result<(Vouched, Arc<KeySet>), Failed>> {
        let id = token.claimed();
        let domain = self.by_name.get(id.domain())?;
        if domain.trust.algorithms.is_empty() {
            return None;
        }
        let part = domain.servers.get(endpoint.server());
        let Some(grant) = part.and_then(|part| part.grant(id)) else {
            return Some(Err(Failed::IssuerNotForServer));
        };
        let Some(keys) = domain.keys.keys() else {
            return Some(Err(Failed::KeyUnknown));
        };
        let verified = token.verify(&domain.trust, &keys, grant, endpoint.resource(), now);
        Some(verified.map(|vouched| (vouched, keys)))
    }
}

impl fmt::Debug for Domains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Domains").field(&self.by_name.keys()).finish()
    }
}

impl fmt::Debug for TrustedDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedDomain")
            .field("trust", &self.trust)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::ids::ScopeSet;

    #[test]
    fn a_path_is_of_one_workload_or_of_all_below_it() {
        for (which, path, fits) in [
            ("/ns/sales/report", "/ns/sales/report", true),
            ("/ns/sales/report", "/ns/sales/report/1", false),
            ("/ns/sales/*", "/ns/sales/report", true),
            ("/ns/sales/*", "/ns/sales/a/b", true),
            ("/ns/sales/*", "/ns/sales", false),
            ("/ns/sales/*", "/ns/salesforce", false),
            ("/*", "/ns/sales", true),
        ] {
            assert_eq!(
                WorkloadPath::parse(which).unwrap().is_of(path),
                fits,
                "{path} of {which}"
            );
        }
        for wrong in [
            "",
            "/",
            "*",
            "ns/sales",
            "/ns/*/report",
            "/ns//a",
            "/ns/sales/",
            "/ns/../a",
            "/ns/s*",
            "//*",
        ] {
            assert!(WorkloadPath::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_workload_has_all_that_fits_it_and_nothing_if_nothing_does() {
        let grant = |scopes: &str, role: &str| Grant {
            scopes: ScopeSet::parse(scopes).unwrap(),
            roles: std::iter::once(Arc::from(role)).collect(),
        };
        let part = DomainPart {
            tools: None,
            workloads: vec![
                (
                    WorkloadPath::parse("/ns/sales/*").unwrap(),
                    grant("crm:read", "sales"),
                ),
                (
                    WorkloadPath::parse("/ns/sales/report").unwrap(),
                    grant("crm:write", "reporter"),
                ),
            ],
        };
        let of = |path: &str| {
            let id = SpiffeId::parse(&format!("spiffe://prod.example{path}")).unwrap();
            part.grant(&id).map(|grant| {
                let roles: Vec<String> = grant.roles.iter().map(ToString::to_string).collect();
                (grant.scopes.to_string(), roles.join(" "))
            })
        };
        let some = |scopes: &str, roles: &str| Some((scopes.to_owned(), roles.to_owned()));
        assert_eq!(of("/ns/sales/a"), some("crm:read", "sales"));
        assert_eq!(
            of("/ns/sales/report"),
            some("crm:read crm:write", "reporter sales")
        );
        assert_eq!(of("/ns/ops/a"), None);
    }
}
