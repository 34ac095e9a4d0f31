//! `[servers.tools.NAME.seal]`.

use super::{CLEAR, Kind, Need, Section, key, once};

pub(super) const SECTION: Section = once(
    "seal",
    "Fields of the tool that are encrypted between agent and gateway: see `sealed-payloads.md`.",
    &[
        key(
            "arguments",
            Kind::Texts,
            Need::Absent("none"),
            "JSON Pointers into the arguments, such as `/card/number`; `*` is every element or member.",
        ),
        key(
            "result",
            Kind::Texts,
            Need::Absent("none"),
            "JSON Pointers into the result, such as `/content/*/text` and `/structuredContent/balance`.",
        ),
        key(
            "clear",
            Kind::Word(CLEAR),
            Need::Absent("refuse"),
            "What a client that cannot seal gets: a refusal, or the tool in clear.",
        ),
    ],
    &[],
);
