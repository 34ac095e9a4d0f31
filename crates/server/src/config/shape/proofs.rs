//! `[dpop]`, `[servers.dpop]` and `[ephemeral]`: proofs, and where those that were used are remembered.

use super::{DPOP_NONCE, DPOP_REQUIRED, Kind, Need, Section, key, once};

pub(super) const DPOP: Section = once(
    "dpop",
    "Proofs that a caller holds the key of its token (RFC 9449). A token that is bound to a key is never accepted without one.",
    &[
        key(
            "required",
            Kind::Word(DPOP_REQUIRED),
            Need::Absent("bound-tokens"),
            "Of whom a proof is required: of those whose token is bound to a key, or `always`, so that no token is accepted that is not.",
        ),
        key(
            "nonce",
            Kind::Word(DPOP_NONCE),
            Need::Absent("never"),
            "Whether proofs must carry a nonce of ours (RFC 9449 §9), so that none can be made ahead of time.",
        ),
        key(
            "window",
            Kind::Duration,
            Need::Absent("1m"),
            "How old a proof may be, `1m` at most.",
        ),
    ],
    &[],
);

pub(super) const OF_SERVER: Section = once(
    "dpop",
    "Where the server differs from `[dpop]`.",
    &[
        key(
            "required",
            Kind::Word(DPOP_REQUIRED),
            Need::Absent("as in `[dpop]`"),
            "Of whom a proof is required at this server.",
        ),
        key(
            "nonce",
            Kind::Word(DPOP_NONCE),
            Need::Absent("as in `[dpop]`"),
            "Whether proofs for this server must carry a nonce.",
        ),
    ],
    &[],
);

pub(super) const EPHEMERAL: Section = once(
    "ephemeral",
    "Where is remembered which proofs and assertions were used: see `ephemeral.md`.",
    &[
        key(
            "url",
            Kind::Text,
            Need::Absent("`memory:`"),
            "`memory:` is this process alone. Replicas share `redis://USER@HOST:PORT/DATABASE`, or `rediss://…` with TLS.",
        ),
        key(
            "password_file",
            Kind::Path,
            Need::Absent("no password, or `password_env` is given"),
            "File with the password of Redis, private to its owner. Read at each connection.",
        ),
        key(
            "password_env",
            Kind::Text,
            Need::Absent("no password, or `password_file` is given"),
            "Environment variable with that password.",
        ),
        key(
            "ca_file",
            Kind::Path,
            Need::Absent("the operating system's roots"),
            "Certificates (PEM) that are trusted for `rediss:` instead of the operating system's.",
        ),
        key(
            "memory",
            Kind::Size,
            Need::Absent("400MiB"),
            "What this process may remember at most, 40 bytes for each id: 10 million in `400MiB`. When that is full, calls that need room are refused.",
        ),
    ],
    &[],
);
