//! Which addresses are public, and which of them a URL may lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Reach;

/// What kind of place an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Reachable by anyone: speaking to it tells an attacker nothing new.
    Public,
    /// This machine.
    Loopback,
    /// A network of the operator's (RFC 1918, RFC 4193, RFC 6598).
    Private,
    /// Link-local, transition mechanisms that hide another address, documentation, benchmarking, reserved.
    Special,
    /// The metadata service of a cloud: credentials for whoever asks.
    Metadata,
    /// No destination of a connection at all.
    Nowhere,
}

/// The addresses that one scheme of one [`Reach`] may lead to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    reach: Reach,
    encrypted: bool,
}

impl Rule {
    /// For https.
    pub(super) const fn tls(reach: Reach) -> Self {
        Self {
            reach,
            encrypted: true,
        }
    }

    /// For http.
    pub(super) const fn plain(reach: Reach) -> Self {
        Self {
            reach,
            encrypted: false,
        }
    }

    /// Checks a host that is a literal address. A name passes: its addresses are checked when it is resolved.
    pub(super) fn literal(self, host: &str) -> Result<(), &'static str> {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        match bare.parse() {
            Ok(address) => self.check(address),
            Err(_) => Ok(()),
        }
    }

    /// Checks one address.
    pub(super) fn check(self, address: IpAddr) -> Result<(), &'static str> {
        match (place(address), self.reach, self.encrypted) {
            (Place::Nowhere, _, _) => Err("its address is no destination"),
            (Place::Metadata, _, _) => Err("its address is that of a metadata service"),
            (Place::Public, _, true) => Ok(()),
            (Place::Loopback, Reach::LoopbackToo | Reach::Configured, _) => Ok(()),
            (Place::Private, Reach::Configured, _) => Ok(()),
            (Place::Special, Reach::Configured, true) => Ok(()),
            (Place::Public | Place::Special, _, false) => Err("http is not encrypted"),
            (Place::Loopback | Place::Private | Place::Special, _, _) => Err("its address is not public"),
        }
    }
}

fn place(address: IpAddr) -> Place {
    match address {
        IpAddr::V4(address) => place_v4(address),
        IpAddr::V6(address) => place_v6(address),
    }
}

/// The IANA special-purpose registry of IPv4 (RFC 6890), and the metadata services outside link-local ranges.
fn place_v4(address: Ipv4Addr) -> Place {
    match address.octets() {
        // AWS, Azure, GCP and most others; AWS ECS; Azure's wire server; Alibaba Cloud; Oracle Cloud.
        [169, 254, 169, 254]
        | [169, 254, 170, 2]
        | [168, 63, 129, 16]
        | [100, 100, 100, 200]
        | [192, 0, 0, 192] => Place::Metadata,
        [0, ..] | [224..=239, ..] | [255, 255, 255, 255] => Place::Nowhere,
        [127, ..] => Place::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Place::Private,
        [169, 254, ..]
        | [192, 0, 0, _]
        | [192, 0, 2, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [240..=255, ..] => Place::Special,
        _ => Place::Public,
    }
}

/// The IANA special-purpose registry of IPv6 (RFC 6890): only `2000::/3` is public, and not all of that.
fn place_v6(address: Ipv6Addr) -> Place {
    // Metadata of AWS over IPv6.
    const AWS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    if address == AWS {
        return Place::Metadata;
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] | [0xff00..=0xffff, ..] => Place::Nowhere,
        [0, 0, 0, 0, 0, 0, 0, 1] => Place::Loopback,
        [0xfc00..=0xfdff, ..] => Place::Private,
        // RFC 2928 (Teredo, ORCHID and others), documentation, 6to4, documentation: each inside 2000::/3.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => {
            Place::Special
        }
        [0x2000..=0x3fff, ..] => Place::Public,
        // IPv4-mapped and -compatible, NAT64 (RFC 6052, RFC 8215), link-local, site-local and all that has no
        // meaning yet.
        _ => Place::Special,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Place {
        place(text.parse().unwrap())
    }

    #[test]
    fn every_special_range_ends_where_its_registry_says() {
        for (text, expected) in [
            ("0.0.0.0", Place::Nowhere),
            ("0.255.255.255", Place::Nowhere),
            ("1.0.0.0", Place::Public),
            ("9.255.255.255", Place::Public),
            ("10.0.0.0", Place::Private),
            ("10.255.255.255", Place::Private),
            ("11.0.0.0", Place::Public),
            ("100.63.255.255", Place::Public),
            ("100.64.0.0", Place::Private),
            ("100.100.100.200", Place::Metadata),
            ("100.127.255.255", Place::Private),
            ("100.128.0.0", Place::Public),
            ("126.255.255.255", Place::Public),
            ("127.0.0.1", Place::Loopback),
            ("127.255.255.255", Place::Loopback),
            ("168.63.129.16", Place::Metadata),
            ("169.253.255.255", Place::Public),
            ("169.254.0.1", Place::Special),
            ("169.254.169.254", Place::Metadata),
            ("169.254.170.2", Place::Metadata),
            ("169.255.0.0", Place::Public),
            ("172.15.255.255", Place::Public),
            ("172.16.0.0", Place::Private),
            ("172.31.255.255", Place::Private),
            ("172.32.0.0", Place::Public),
            ("192.0.0.1", Place::Special),
            ("192.0.0.192", Place::Metadata),
            ("192.0.1.0", Place::Public),
            ("192.0.2.1", Place::Special),
            ("192.88.99.1", Place::Special),
            ("192.167.255.255", Place::Public),
            ("192.168.0.0", Place::Private),
            ("192.169.0.0", Place::Public),
            ("198.17.255.255", Place::Public),
            ("198.18.0.0", Place::Special),
            ("198.19.255.255", Place::Special),
            ("198.20.0.0", Place::Public),
            ("198.51.100.7", Place::Special),
            ("203.0.113.7", Place::Special),
            ("223.255.255.255", Place::Public),
            ("224.0.0.1", Place::Nowhere),
            ("239.255.255.255", Place::Nowhere),
            ("240.0.0.1", Place::Special),
            ("255.255.255.255", Place::Nowhere),
            ("::", Place::Nowhere),
            ("::1", Place::Loopback),
            ("::127.0.0.1", Place::Special),
            ("::ffff:127.0.0.1", Place::Special),
            ("::ffff:8.8.8.8", Place::Special),
            ("64:ff9b::7f00:1", Place::Special),
            ("64:ff9b:1::7f00:1", Place::Special),
            ("100::1", Place::Special),
            ("1fff:ffff::1", Place::Special),
            ("2000::1", Place::Public),
            ("2001::1", Place::Special),
            ("2001:20::1", Place::Special),
            ("2001:1ff::1", Place::Special),
            ("2001:200::1", Place::Public),
            ("2001:db8::1", Place::Special),
            ("2002:7f00:1::1", Place::Special),
            ("2003::1", Place::Public),
            ("2606:4700::1111", Place::Public),
            ("3ffe::1", Place::Public),
            ("3fff::1", Place::Special),
            ("3fff:1000::1", Place::Public),
            ("4000::1", Place::Special),
            ("fc00::1", Place::Private),
            ("fd00:ec2::254", Place::Metadata),
            ("fdff::1", Place::Private),
            ("fe80::1", Place::Special),
            ("fec0::1", Place::Special),
            ("ff02::1", Place::Nowhere),
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
    }

    #[test]
    fn what_may_be_reached_depends_on_who_named_it_and_on_the_scheme() {
        let (public, loopback, private, special) = ("8.8.8.8", "127.0.0.1", "10.1.2.3", "64:ff9b::a00:1");
        for (reach, encrypted, allowed) in [
            (Reach::PublicOnly, true, &[public][..]),
            (Reach::PublicOnly, false, &[]),
            (Reach::LoopbackToo, true, &[public, loopback]),
            (Reach::LoopbackToo, false, &[loopback]),
            (Reach::Configured, true, &[public, loopback, private, special]),
            (Reach::Configured, false, &[loopback, private]),
        ] {
            // Loopback over plain http is for those that have a plain client at all.
            let rule = if encrypted {
                Rule::tls(reach)
            } else {
                Rule::plain(reach)
            };
            for address in [
                public,
                loopback,
                private,
                special,
                "169.254.169.254",
                "0.0.0.0",
                "ff02::1",
            ] {
                let answer = rule.check(address.parse().unwrap());
                assert_eq!(
                    answer.is_ok(),
                    allowed.contains(&address),
                    "{reach:?} {encrypted} {address}"
                );
            }
        }
    }

    #[test]
    fn literals_are_checked_in_both_spellings_of_ipv6_and_names_wait_for_the_resolver() {
        let rule = Rule::tls(Reach::PublicOnly);
        for host in [
            "127.0.0.1",
            "[::1]",
            "::1",
            "[::ffff:10.0.0.1]",
            "169.254.169.254",
        ] {
            assert!(rule.literal(host).is_err(), "{host}");
        }
        assert!(rule.literal("as.example").is_ok());
    }
}
