//! `[limits]`.

use super::{Kind, Need, Section, key, once};

pub(super) const SECTION: Section = once(
    "limits",
    "Bounds on what callers may send: see `limits.md`.",
    &[
        key("body", Kind::Size, Need::Absent("4MiB"), "Largest request body."),
        key(
            "per_address",
            Kind::Rate,
            Need::Absent("6000/min"),
            "Requests of one address (of one /64 with IPv6) whose credential is missing or does not hold. A proxy in front of the gateway is one address.",
        ),
        key(
            "per_client",
            Kind::Rate,
            Need::Absent("6000/min"),
            "Requests of one client in the name of one user.",
        ),
        key(
            "per_user",
            Kind::Rate,
            Need::Absent("12000/min"),
            "Requests of all clients of one user together.",
        ),
        key(
            "per_tool",
            Kind::Rate,
            Need::Absent("none"),
            "Permitted calls of one tool, of all callers together.",
        ),
        key(
            "connections",
            Kind::Count,
            Need::Absent("16000, or fewer where the process may open fewer files"),
            "Most connections of one listener; more wait.",
        ),
        key(
            "connections_per_address",
            Kind::Count,
            Need::Absent("a quarter of `connections`"),
            "Most connections of one address (of one /64 with IPv6); one more is closed.",
        ),
        key(
            "streams",
            Kind::Count,
            Need::Absent("10000"),
            "Most streams open at one server at one time. A client asks in vain for one more that has no end of its own.",
        ),
    ],
    &[],
);
