//! `[mtls]` and `[servers.mtls]`: client certificates.

use super::{Kind, MTLS_REQUIRED, Need, PROXY_FORMS, SELF_SIGNED, Section, key, once};

pub(super) const MTLS: Section = once(
    "mtls",
    "Client certificates (RFC 8705): see `sender-constrained.md`. With this section clients are asked for one, and a token that is bound to a certificate is taken on a connection with it.",
    &[
        key(
            "client_ca_files",
            Kind::Texts,
            Need::Absent("none"),
            "Certificates (PEM) of the authorities whose clients are taken. A certificate of another one ends the handshake.",
        ),
        key(
            "crl_files",
            Kind::Texts,
            Need::Absent("nothing is looked up"),
            "Revocation lists (PEM or DER) of these authorities. With one, a certificate is taken only if a list that is still good speaks for each authority above it. Nothing is ever fetched.",
        ),
        key(
            "self_signed",
            Kind::Word(SELF_SIGNED),
            Need::Absent("refuse"),
            "Certificates that nobody vouches for: `bind` takes them for tokens that are bound to them, and for nothing else.",
        ),
        key(
            "required",
            Kind::Word(MTLS_REQUIRED),
            Need::Absent("bound-tokens"),
            "Of whom a certificate is required: of those whose token is bound to one; `always`, so that no other token is accepted; or `either`, which accepts those bound to a key (`[dpop]`) as well.",
        ),
    ],
    &[PROXY],
);

const PROXY: Section = once(
    "proxy",
    "A proxy in front that makes the handshakes and hands client certificates on in a header. The header is believed of this proxy and of nobody else.",
    &[
        key(
            "form",
            Kind::Word(PROXY_FORMS),
            Need::Required,
            "What it writes: `Client-Cert` and `Client-Cert-Chain` (RFC 9440); `X-Forwarded-Client-Cert` with `Cert` or `Chain`, as Envoy does; or PEM with percent-encoding, as nginx has it in `$ssl_client_escaped_cert`.",
        ),
        key(
            "header",
            Kind::Text,
            Need::Absent("that of the form"),
            "The header, for `escaped-pem`.",
        ),
        key(
            "certificate_names",
            Kind::Texts,
            Need::Absent("it is known by `addresses`"),
            "DNS names or SPIFFE IDs, one of which the proxy's own client certificate has: it authenticates itself to the gateway. The certificate is vouched for by `client_ca_files` or a trust domain.",
        ),
        key(
            "addresses",
            Kind::Texts,
            Need::Absent("it is known by `certificate_names`"),
            "Addresses or networks that the proxy's connections come from. Whoever can send from there can be any client. With `certificate_names`, both have to hold.",
        ),
    ],
    &[],
);

pub(super) const OF_SERVER: Section = once(
    "mtls",
    "Where the server differs from `[mtls]`.",
    &[key(
        "required",
        Kind::Word(MTLS_REQUIRED),
        Need::Absent("as in `[mtls]`"),
        "Of whom a certificate is required at this server.",
    )],
    &[],
);
