//! Client certificates as a proxy in front of us hands them on: it made the handshake, and says in a header whose it was.
//!
//! The header is read from that proxy alone, and of everybody else nothing is believed of it. What the proxy says is that the
//! client holds the key; who vouches for the certificate is found out here.

mod forms;

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use http::{HeaderMap, HeaderName};
use portcullis_guard::{CertificateRefused, ClientCertificate, ShownCertificate};
use quick_cache::sync::Cache;

use crate::tls::{Clients, Sender};
use forms::Chain;

/// Chains that are remembered, so that not each request costs the check of its signatures. Each has at most 64 KiB, as the
/// head that it came in.
const REMEMBERED: usize = 1_024;

/// How the proxy writes what it saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyForm {
    /// `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    ClientCert,
    /// `X-Forwarded-Client-Cert`, as Envoy writes it, with `Cert` or `Chain`.
    ForwardedClientCert,
    /// PEM with percent-encoding in this header, as nginx has it in `$ssl_client_escaped_cert`.
    EscapedPem(HeaderName),
}

/// How the proxy is known. With both, both hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyRule {
    /// Networks that its connections come from.
    pub networks: Vec<Addresses>,
    /// DNS names or SPIFFE IDs, one of which its own client certificate has.
    pub names: Vec<String>,
}

/// One address, or all of a network: an address, and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    address: IpAddr,
    bits: u8,
}

/// A text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address such as `10.0.0.5`, or a network such as `10.0.0.0/24`")]
pub struct InvalidAddresses;

impl Addresses {
    /// An address, or one with `/` and a number of bits.
    ///
    /// # Errors
    /// [`InvalidAddresses`], also for bits that are set beyond those that count.
    pub fn parse(text: &str) -> Result<Self, InvalidAddresses> {
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits)),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidAddresses)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().map_err(|_| InvalidAddresses)?,
        };
        let network = Self { address, bits };
        if bits > most || network.head(address) != bits_of(address) {
            return Err(InvalidAddresses);
        }
        Ok(network)
    }

    fn contains(self, peer: IpAddr) -> bool {
        peer.is_ipv4() == self.address.is_ipv4() && self.head(peer) == bits_of(self.address)
    }

    /// The bits of an address that count, at their places.
    fn head(self, address: IpAddr) -> u128 {
        let unused = (if address.is_ipv4() { 32_u32 } else { 128 }).saturating_sub(self.bits.into());
        let bits = bits_of(address);
        bits.checked_shr(unused)
            .and_then(|head| head.checked_shl(unused))
            .unwrap_or(0)
    }
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The proxy that is trusted to say whose certificate it saw.
pub struct TrustedProxy {
    form: ProxyForm,
    rule: ProxyRule,
    clients: Arc<Clients>,
    seen: Cache<[u8; 32], Arc<Sender>>,
}

impl TrustedProxy {
    /// A proxy that is known by this rule; by an empty one, none is. What it hands on is judged as certificates of our own
    /// handshakes are.
    #[must_use]
    pub fn new(form: ProxyForm, rule: ProxyRule, clients: Arc<Clients>) -> Self {
        Self {
            form,
            rule,
            clients,
            seen: Cache::new(REMEMBERED),
        }
    }

    /// The certificate that comes with a request of this connection: the proxy's own is never its clients'.
    pub(crate) fn certificate(
        &self,
        peer: Option<IpAddr>,
        shown: Option<&Arc<ClientCertificate>>,
        headers: &HeaderMap,
    ) -> ShownCertificate {
        if !self.rule.is_met(peer, shown.map(|shown| &**shown)) {
            return shown.map_or(ShownCertificate::Absent, |shown| {
                ShownCertificate::Held(Arc::clone(shown))
            });
        }
        match self.form.read(headers) {
            Ok(None) => ShownCertificate::Absent,
            Ok(Some(chain)) => match self.judged(&chain) {
                Ok(certificate) => ShownCertificate::Held(certificate),
                Err(refused) => ShownCertificate::Refused(refused),
            },
            Err(refused) => ShownCertificate::Refused(refused),
        }
    }

    fn judged(&self, chain: &Chain) -> Result<Arc<ClientCertificate>, CertificateRefused> {
        // DER says how long it is, so no other chain gives the same bytes.
        let mut context = Context::new(&SHA256);
        for certificate in chain {
            context.update(certificate);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        let untrusted = |error: rustls::Error| {
            tracing::debug!(%error, "a certificate that the proxy hands on is not accepted");
            CertificateRefused::Untrusted
        };
        let sender = match self.seen.get(&key) {
            Some(sender) => sender,
            None => {
                let sender = Arc::new(Sender::new(&self.clients, chain).map_err(untrusted)?);
                self.seen.insert(key, Arc::clone(&sender));
                sender
            }
        };
        sender.certificate().map_err(untrusted)
    }
}

impl ProxyRule {
    fn is_met(&self, peer: Option<IpAddr>, shown: Option<&ClientCertificate>) -> bool {
        let by_address =
            || peer.is_some_and(|peer| self.networks.iter().any(|network| network.contains(peer)));
        let by_name = || {
            shown.is_some_and(|shown| {
                let workload = shown.workload().map(|id| id.as_str());
                let names = shown.dns_names().chain(workload);
                names
                    .into_iter()
                    .any(|name| self.names.iter().any(|known| known.eq_ignore_ascii_case(name)))
            })
        };
        match (self.networks.is_empty(), self.names.is_empty()) {
            (true, true) => false,
            (false, true) => by_address(),
            (true, false) => by_name(),
            (false, false) => by_address() && by_name(),
        }
    }
}

impl std::fmt::Debug for TrustedProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrustedProxy")
            .field("form", &self.form)
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_written_one_way_and_hold_what_they_say() {
        let holds =
            |network: &str, peer: &str| Addresses::parse(network).unwrap().contains(peer.parse().unwrap());
        for (network, peer, inside) in [
            ("10.0.0.5", "10.0.0.5", true),
            ("10.0.0.5", "10.0.0.4", false),
            ("10.0.0.0/24", "10.0.0.255", true),
            ("10.0.0.0/24", "10.0.1.0", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
        ] {
            assert_eq!(holds(network, peer), inside, "{peer} in {network}");
        }
        for wrong in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.1/24",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "proxy.internal",
            "10.0.0.0/24/1",
            "10.0.0.0/256",
        ] {
            assert_eq!(Addresses::parse(wrong), Err(InvalidAddresses), "{wrong}");
        }
    }

    #[test]
    fn a_rule_that_says_nothing_is_met_by_nobody() {
        let peer = "10.0.0.5".parse().ok();
        assert!(!ProxyRule::default().is_met(peer, None));
        let by_address = ProxyRule {
            networks: vec![Addresses::parse("10.0.0.5").unwrap()],
            names: Vec::new(),
        };
        assert!(by_address.is_met(peer, None) && !by_address.is_met(None, None));
        let both = ProxyRule {
            names: vec!["edge.internal".to_owned()],
            ..by_address
        };
        assert!(!both.is_met(peer, None));
    }
}
