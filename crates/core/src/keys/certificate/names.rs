//! Name constraints (RFC 5280 §4.2.1.10): what a CA may certify, written and read.
//!
//! The built-in CA is for one host and for tokens. Where the server's identity has a host name, the CA is permitted that
//! host in URIs, and no DNS name and no IP address: what it certifies has none, and one that it were permitted would stand
//! for every name below it too, so that whoever stole the CA's key could make certificates for TLS. Where the identity
//! has an IP address, a constraint on URIs cannot say so: RFC 5280 knows
//! host names only there and has verifiers refuse every URI with an address as soon as there is one. Such a CA is
//! permitted that one address, and no DNS name; its URIs are unconstrained, and so no TLS stack takes anything from it
//! for another server either.

use url::{Host, Url};
use x509_parser::extensions::{GeneralName, GeneralSubtree, NameConstraints};

/// OID of the extension.
pub(super) const OID: &[u64] = &[2, 5, 29, 30];

const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// The extension's value for a CA of this identity; none where the identity is no URL with a host.
pub(super) fn for_identity(identity: &str) -> Option<Vec<u8>> {
    let url = Url::parse(identity).ok()?;
    let (permitted, excluded) = match url.host()? {
        Host::Domain(host) => (
            vec![subtree(URI, host.as_bytes())?],
            // No name begins the name of everything.
            vec![subtree(DNS, b"")?, subtree(IP, &[0; 8])?, subtree(IP, &[0; 32])?],
        ),
        Host::Ipv4(address) => (
            vec![subtree(IP, &exactly(&address.octets()))?],
            vec![subtree(DNS, b"")?],
        ),
        Host::Ipv6(address) => (
            vec![subtree(IP, &exactly(&address.octets()))?],
            vec![subtree(DNS, b"")?],
        ),
    };
    tlv(
        0x30,
        &[tlv(0xa0, &permitted.concat())?, tlv(0xa1, &excluded.concat())?].concat(),
    )
}

/// The address and a mask of ones.
fn exactly(address: &[u8]) -> Vec<u8> {
    [address, &vec![0xff; address.len()]].concat()
}

fn subtree(tag: u8, base: &[u8]) -> Option<Vec<u8>> {
    tlv(0x30, &tlv(tag, base)?)
}

/// DER (X.690 §8.1, §10.1).
pub(super) fn tlv(tag: u8, value: &[u8]) -> Option<Vec<u8>> {
    let [high, low] = u16::try_from(value.len()).ok()?.to_be_bytes();
    let length = match (high, low) {
        (0, low @ 0..=0x7f) => vec![low],
        (0, low) => vec![0x81, low],
        (high, low) => vec![0x82, high, low],
    };
    Some([&[tag], length.as_slice(), value].concat())
}

/// Whether a certificate with this name may be under a CA with these constraints. What cannot be judged is not
/// permitted.
pub(super) fn permits(constraints: &NameConstraints<'_>, name: &GeneralName<'_>) -> bool {
    let of_form = |subtrees: &Option<Vec<GeneralSubtree<'_>>>| -> Vec<Option<bool>> {
        subtrees
            .iter()
            .flatten()
            .filter(|subtree| {
                std::mem::discriminant(&subtree.base) == std::mem::discriminant(name)
                    || matches!(subtree.base, GeneralName::Invalid(..))
            })
            .map(|subtree| is_within(name, &subtree.base))
            .collect()
    };
    let permitted = of_form(&constraints.permitted_subtrees);
    let excluded = of_form(&constraints.excluded_subtrees);
    (permitted.is_empty() || permitted.contains(&Some(true))) && excluded.iter().all(|is| *is == Some(false))
}

fn is_within(name: &GeneralName<'_>, base: &GeneralName<'_>) -> Option<bool> {
    match (name, base) {
        (GeneralName::DNSName(name), GeneralName::DNSName(base)) => Some(within_domain(name, base)),
        (GeneralName::URI(name), GeneralName::URI(base)) => match Url::parse(name).ok()?.host()? {
            // A constraint on URIs without a period in front is a host, not a domain.
            Host::Domain(host) if base.starts_with('.') => Some(within_domain(host, base)),
            Host::Domain(host) => Some(host.eq_ignore_ascii_case(base)),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        },
        (GeneralName::IPAddress(name), GeneralName::IPAddress(base)) => {
            let (address, mask) = base.split_at_checked(base.len() / 2)?;
            if address.len() != mask.len() || !matches!(name.len(), 4 | 16) {
                return None;
            }
            if address.len() != name.len() {
                return Some(false);
            }
            let mut bytes = name.iter().zip(address).zip(mask);
            Some(bytes.all(|((name, base), mask)| name & mask == base & mask))
        }
        (GeneralName::DirectoryName(name), GeneralName::DirectoryName(base)) => {
            let mut above = base.iter_rdn();
            let mut parts = name.iter_rdn();
            // Compared as encoded: two spellings of one name are two names, which must not help one that is excluded.
            above.all(|part| parts.next() == Some(part)).then_some(true)
        }
        _ => None,
    }
}

fn within_domain(name: &str, base: &str) -> bool {
    let (name, base) = (name.to_ascii_lowercase(), base.to_ascii_lowercase());
    if base.is_empty() || name == base {
        return true;
    }
    let domain = base.strip_prefix('.').unwrap_or(&base);
    name.strip_suffix(domain)
        .is_some_and(|host| host.len() > 1 && host.ends_with('.'))
}
