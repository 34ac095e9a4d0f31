//! `[servers.tools.NAME.seal]` and `[gateway.seal]`.

use super::{CLEAR, Kind, Need, SESSION_CIPHERS, Section, key, once};

pub(super) const SESSIONS: Section = once(
    "seal",
    "Sessions for sealed fields, which agents may ask for.",
    &[
        key(
            "ciphers",
            Kind::Words(SESSION_CIPHERS),
            Need::Absent("`[\"A256GCM\", \"C20P\"]`"),
            "Ciphers that a session may use, the preferred one first: AES-256-GCM, ChaCha20-Poly1305.",
        ),
        key(
            "session_lifetime",
            Kind::Duration,
            Need::Absent("24h"),
            "How long a session lasts, `24h` at most. Its keys are gone then, and nothing opens what it sealed.",
        ),
    ],
    &[],
);

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
