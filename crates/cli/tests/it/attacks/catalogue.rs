//! Every row of the attack catalogue, and the test that shows it.
//!
//! A row that is [`Shown::Here`] has its turn in the test of its section: that test fails for a row that it lists and this does
//! not, and for one that this lists and it does not. [`every_row_is_shown`] looks for the others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where a row is shown.
enum Shown {
    /// In the test of its section.
    Here,
    /// In a test of another file below `crates`, which names the row.
    By(&'static [(&'static str, &'static str)]),
    /// Not at a resource server.
    Elsewhere(&'static str),
}

struct Row {
    id: &'static str,
    section: &'static str,
    title: &'static str,
    shown: Shown,
}

const fn here(section: &'static str, id: &'static str, title: &'static str) -> Row {
    Row {
        id,
        section,
        title,
        shown: Shown::Here,
    }
}

const fn by(
    section: &'static str,
    id: &'static str,
    title: &'static str,
    tests: &'static [(&'static str, &'static str)],
) -> Row {
    Row {
        id,
        section,
        title,
        shown: Shown::By(tests),
    }
}

const fn elsewhere(section: &'static str, id: &'static str, title: &'static str, why: &'static str) -> Row {
    Row {
        id,
        section,
        title,
        shown: Shown::Elsewhere(why),
    }
}

const AUTHORITY: &str = "a matter of the authorization server";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    here("A", "JWS-03", "`alg: none` with a signature"),
    here("A", "JWS-04", "an algorithm that there is none"),
    here("A", "JWS-05", "`alg` missing, or not a text"),
    here("A", "JWS-06", "HMAC with the public key as the secret"),
    here("A", "JWS-08", "confusion through a key without `alg`"),
    here("A", "JWS-10", "a weak HMAC secret"),
    here("A", "JWS-11", "a key in the header"),
    here("A", "JWS-12", "`jku` to the attacker"),
    here("A", "JWS-13", "`jku` that passes a filter"),
    here("A", "JWS-14", "`x5u` to the attacker, to a file, to the machine's metadata"),
    here("A", "JWS-16", "a certificate thumbprint that does not match"),
    here("A", "JWS-17", "`kid` as a path"),
    here("A", "JWS-20", "`kid` missing or ambiguous"),
    here("A", "JWS-21", "`kid` that is no text"),
    here("A", "JWS-24", "`b64: false`, `crit`"),
    here("A", "JWS-25", "psychic signatures"),
    here("A", "JWS-26", "ECDSA as a SEQUENCE"),
    here("A", "JWS-27", "ECDSA of other lengths"),
    here("A", "JWS-28", "the other s of the same signature"),
    here("A", "JWS-29", "a curve that is not the algorithm's"),
    here("A", "JWS-30", "PKCS#1 v1.5 padding that is not exact"),
    here("A", "JWS-31", "RSA keys that are too small, too large or have a bad exponent"),
    here("A", "JWS-32", "PSS and PKCS#1 v1.5 swapped; salts of other lengths"),
    here("A", "JWS-33", "SHA-1"),
    here("A", "JWS-34", "Ed25519 that is not canonical"),
    here("A", "JWS-35", "the signature stripped"),
    here("A", "JWS-36", "the signature of another token"),
    here("A", "JWS-37", "a payload changed after signing"),
    here("A", "JWS-38", "JSON serialisation"),
    here("A", "JWS-39", "one bad and one good signature"),
    here("A", "JWS-40", "a header that nobody signed"),
    here("A", "JWS-43", "an ID token for an access token"),
    here("A", "JWS-45", "a token of another kind for an access token"),
    here("A", "JWS-46", "what is remembered of a token, under a short key"),
    here("A", "JWS-47", "what is remembered of a token, for another address"),
    here("A", "JWS-48", "what is remembered of a token, after its end"),
    here("B", "CLM-01", "expired"),
    here("B", "CLM-02", "no `exp`"),
    here("B", "CLM-03", "`exp` that is no number"),
    here("B", "CLM-05", "`nbf` in the future, or no number"),
    here("B", "CLM-06", "`iat` in the future, or long ago"),
    here("B", "CLM-07", "a very long life"),
    here("B", "CLM-08", "the name of one issuer, the key of another"),
    here("B", "CLM-09", "nearly the issuer"),
    here("B", "CLM-10", "a list of issuers"),
    here("B", "CLM-12", "`aud` missing, empty or of a wrong type"),
    here("B", "CLM-13", "nearly the audience"),
    here("B", "CLM-14", "more than one audience"),
    here("B", "CLM-16", "no subject, or a client for one"),
    elsewhere("B", "CLM-20", "`may_act`", AUTHORITY),
    here("B", "CLM-21", "a token without a name"),
    here("B", "CLM-22", "names of claims that a language reserves"),
    by("B", "CLM-24", "a clock that goes back", &[("guard/src/replay/local/tests.rs", "a_clock_that_goes_back_brings_nothing_back")]),
    here("C", "ENC-01", "padding"),
    here("C", "ENC-02", "the other alphabet"),
    here("C", "ENC-04", "white space inside"),
    here("C", "ENC-05", "more parts"),
    here("C", "ENC-06", "a name twice"),
    here("C", "ENC-09", "what is not UTF-8"),
    here("C", "ENC-10", "other encodings"),
    here("C", "ENC-12", "nearly JSON"),
    here("C", "ENC-13", "deep nesting"),
    here("C", "ENC-14", "a token that is too long"),
    here("C", "ENC-16", "a number of many digits"),
    here("C", "ENC-17", "a payload that is no object"),
    here("C", "ENC-18", "a payload that is no JSON"),
    here("C", "ENC-19", "what looks alike"),
    here("D", "JWK-01", "a point that is not on its curve"),
    here("D", "JWK-02", "coordinates of other lengths, zero, or beyond the field"),
    here("D", "JWK-03", "a private key that is published"),
    here("D", "JWK-04", "a symmetric key that is published"),
    here("D", "JWK-05", "a key for another use"),
    here("D", "JWK-06", "a key for another algorithm"),
    here("D", "JWK-08", "two keys of one name"),
    here("D", "JWK-09", "an RSA key that can be guessed"),
    here("D", "JWK-10", "keys behind a redirect"),
    here("D", "JWK-11", "a set that is huge, compressed, or never ends"),
    here("D", "JWK-12", "a flood of unknown names"),
    here("D, later", "JWK-13", "an issuer that fails after its keys were fetched"),
    here("D", "JWK-14", "an empty set that makes us ask more often"),
    by("D", "JWK-17", "a set from before, with a key that was withdrawn", &[("net/src/discovery/tests.rs", "a_withdrawn_key_is_void_at_once_and_whatever_the_issuer_says"), ("server/src/custody/tests/ledger.rs", "a_folder_from_before_a_revocation_does_not_bring_the_key_back")]),
    here("D, later", "JWK-18", "another key under the same name"),
    by("D", "JWK-20", "files with two keys, with more after one, or with something else", &[("core/src/keys/tests.rs", "only_one_certificate_is_read"), ("server/src/custody/tests/operator.rs", "a_private_key_comes_in_for_one_purpose_once")]),
    here("E", "JWE-02", "five parts where three are wanted"),
    here("E", "JWE-03", "a public key as a symmetric one"),
    here("E", "JWE-04", "`zip`"),
    here("E", "JWE-05", "PBES2 with a count of billions"),
    here("E", "JWE-06", "PBES2 with a count of one, or a short salt"),
    here("E", "JWE-07", "RSA1_5"),
    here("E", "JWE-09", "`epk` off its curve, or of small order"),
    here("E", "JWE-10", "`epk` of another curve, with a private key, or missing"),
    here("E", "JWE-11", "a short tag"),
    by("E", "JWE-13", "a nonce twice", &[("core/src/seal/tests/session.rs", "counters_end_before_they_repeat")]),
    here("E", "JWE-16", "`enc` swapped"),
    here("E", "JWE-17", "`dir` with an encrypted key"),
    here("E", "JWE-18", "a header that nobody protects"),
    here("E", "JWE-19", "many recipients"),
    here("E", "JWE-20", "`crit`"),
    by("E", "JWE-21", "a signed payload sealed again for another", &[("cli/tests/it/sealed/mod.rs", "a_field_cut_from_one_call_opens_in_no_other")]),
    by("E", "JWE-23", "what was sealed for one call in another", &[("cli/tests/it/sealed/mod.rs", "a_field_cut_from_one_call_opens_in_no_other")]),
    elsewhere("E", "JWE-24", "what a length tells", "sealed payloads are as long as what they hold, which `docs/sealed-payloads.md` says"),
    by("E", "JWE-25", "sealed fields in clear", &[("cli/tests/it/sealed/mod.rs", "a_client_without_the_extension_is_refused_or_served_in_clear_as_configured")]),
    here("F", "RS-03", "two credentials"),
    here("F", "RS-04", "other schemes, and ways to write one"),
    here("F", "RS-05", "a token in the query"),
    here("F", "RS-06", "a token in the body"),
    here("F", "RS-08", "a token in a header of another name"),
    here("F", "RS-09", "an identity in a header"),
    here("F", "RS-10", "our own headers named as hop-by-hop"),
    here("F", "RS-11", "control bytes"),
    here("F", "RS-12", "a token that is not ASCII"),
    here("F", "RS-13", "ambiguous framing"),
    here("F", "RS-14", "ambiguous framing over HTTP/2"),
    here("F", "RS-17", "other spellings of a path"),
    here("F", "RS-18", "other names of the host"),
    here("F", "RS-20", "pages of other origins"),
    here("F", "RS-21", "a challenge that a name breaks out of"),
    here("F", "RS-22", "metadata at whatever `Host` says"),
    here("F", "RS-23", "metadata at whatever `X-Forwarded-Host` says"),
    here("F", "RS-24", "a credential for the first request of a connection alone"),
    here("F", "RS-25", "a stream that outlives its token"),
    elsewhere("F", "RS-26", "what the time of an answer says", "nothing here compares a secret with what was sent but the library that verifies nonces, in constant time; opaque tokens are compared by their issuer, and remembered by their hash"),
    here("F", "RS-28", "tokens in logs: every part of every token of these tests is looked for, after each section"),
    by("F", "RS-29", "what is remembered of an introspection", &[("cli/tests/it/issuers.rs", "an_opaque_token_is_worth_what_its_issuer_says_of_it")]),
    by("F", "RS-30", "answers to an introspection that are none", &[("cli/tests/it/issuers.rs", "an_opaque_token_is_worth_what_its_issuer_says_of_it")]),
    here("F", "RS-32", "an issuer that cannot be asked"),
    here("F", "RS-33", "metadata of other resources"),
    here("F", "RS-34", "a body before a credential; one that comes slowly is in the floods"),
    here("G", "CLM-15", "the token of another client, with a key that is not its"),
    here("G", "DPOP-01", "a bound token as a bearer token, and the reverse"),
    here("G", "DPOP-03", "no proof"),
    here("G", "DPOP-04", "two proofs"),
    here("G", "DPOP-05", "the proof of another key"),
    here("G", "DPOP-07", "a private key in the proof, and other headers"),
    here("G", "DPOP-09", "another method"),
    here("G", "DPOP-10", "another URL"),
    here("G", "DPOP-11", "the URL behind a proxy"),
    here("G", "DPOP-12", "a proof that is old, or of the future"),
    here("G", "DPOP-13", "a proof twice; across a restart and replicas in `dpop` and `replicas`"),
    here("G", "DPOP-14", "a proof twice, spelled differently"),
    here("G", "DPOP-15", "a proof twice, at the end of its time"),
    by("G", "DPOP-16", "proofs that fill the memory", &[("guard/src/replay/local/tests.rs", "a_sender_gets_no_more_than_is_left")]),
    here("G", "DPOP-17", "a long `jti`"),
    here("G", "DPOP-18", "`ath` missing, of another token, or in hexadecimal"),
    here("G, nonce", "DPOP-19", "a nonce that is missing, or not ours"),
    here("G, nonce", "DPOP-21", "proofs that were made ahead of time"),
    elsewhere("G", "DPOP-23", "a code that is not bound", AUTHORITY),
    elsewhere("G", "DPOP-25", "a refresh with another key", AUTHORITY),
    elsewhere("G", "DPOP-26", "a token that is not bound though the client wants it so", AUTHORITY),
    here("G", "DPOP-29", "a proof for the issuer"),
    here("G", "DPOP-30", "`jkt` that is another hash"),
    here("L", "MCP-01", "pages of other origins"),
    here("L", "MCP-02", "other hosts"),
    here("L", "MCP-03", "open to every network"),
    here("L", "MCP-04", "other ways in"),
    here("L", "MCP-05", "`Mcp-Method` that is not the body's"),
    here("L", "MCP-06", "`Mcp-Name` that is not the body's"),
    here("L", "MCP-07", "headers that are missing"),
    here("L", "MCP-08", "headers twice"),
    elsewhere("L", "MCP-10", "`Mcp-Param-*`", "forwarded as they came, and compared by the server whose schema says what they are: `docs/divergences.md`"),
    here("L", "MCP-11", "versions"),
    here("L", "MCP-12", "the older era to get around the rules"),
    by("L", "MCP-13", "a session of somebody else", &[("cli/tests/it/eras.rs", "a_session_of_one_principal_is_not_there_for_another")]),
    by("L", "MCP-14", "a session that can be guessed, or chosen", &[("cli/tests/it/eras.rs", "a_session_of_one_principal_is_not_there_for_another")]),
    here("L", "MCP-15", "no session, for the only one there is"),
    elsewhere("L", "MCP-16", "a task, cursor or subscription of somebody else", "ids of tasks are the server's own, which tells its callers apart by the gateway's credential alone: not bound to the caller in this version"),
    elsewhere("L", "MCP-17", "`requestState` that was changed", "the server's own, which protects it (MCP 2026-07-28, Multi Round-Trip Requests); the gateway makes none"),
    here("L", "MCP-19", "names twice, and names in other cases"),
    here("L", "MCP-20", "batches"),
    here("L", "MCP-22", "what is no request"),
    here("L", "MCP-24", "names of tools that are nearly another's"),
    elsewhere("L", "MCP-25", "two servers with tools of one name", "each server has an address of its own"),
    here("L", "MCP-29", "compressed bodies"),
    here("L", "MCP-30", "other content types"),
    here("L", "MCP-31", "a token that goes on"),
    here("L", "MCP-32", "an address in an argument"),
    elsewhere("L", "MCP-33", "paths out of a folder", "a matter of the server behind"),
    here("L", "MCP-34", "WebSocket"),
    by("L", "MCP-35", "events inside of an event", &[("server/src/gateway/tests/sealed.rs", "a_message_that_can_be_read_in_two_ways_is_not_handed_on")]),
    here("L", "MCP-38", "messages that are none"),
    here("L", "MCP-39", "a URI that takes long to match"),
    here("L", "MCP-40", "metadata that says too much"),
    elsewhere("L", "MCP-41", "endpoints of before there was metadata", "a matter of the client"),
    by("M", "DOS-01", "signatures that are expensive to check", &[("guard/src/tests/limits.rs", "an_address_that_shows_nothing_good_is_stopped_before_signatures_and_others_are_not")]),
    here("C", "DOS-02", "lists that are as long as may be"),
    by("M", "DOS-04", "connections over and over", &[("cli/tests/it/floods.rs", "connections_that_say_nothing_little_or_too_much_leave_room_for_others")]),
    by("M", "DOS-05", "used proofs that fill the memory", &[("guard/src/replay/local/tests.rs", "a_sender_gets_no_more_than_is_left")]),
    by("M", "DOS-06", "bad tokens that fill the log", &[("cli/tests/it/floods.rs", "a_flood_of_bad_tokens_is_stopped_and_fills_no_log")]),
    by("M", "DOS-08", "opaque tokens that are all asked about", &[("net/src/introspection/tests.rs", "a_flood_of_unknown_tokens_is_asked_about_so_often_and_no_more")]),
    elsewhere("M", "DOS-09", "registrations without end", AUTHORITY),
    by("M", "DOS-10", "streams without end", &[("cli/tests/it/floods.rs", "streams_without_an_end_are_bounded_and_calls_go_on"), ("server/src/gateway/tests/bounds.rs", "one_stream_more_than_the_limit_is_refused_before_the_call_is_made")]),
    by("M", "DOS-11", "a compressed body", &[("cli/tests/it/attacks/transport.rs", "mcp_at_a_gateway")]),
    by("N", "KEY-01", "a key after its time", &[("cli/tests/it/apart.rs", "a_revoked_key_is_void_at_every_gateway_on_its_shelf_and_the_next_one_is_good_at_each")]),
    by("N", "KEY-02", "a rotation that is cut off", &[("server/src/custody/shelf/tests.rs", "whenever_the_writer_died_a_change_happened_whole_or_not_at_all")]),
    elsewhere("N", "KEY-05", "a module that signs wrongly", "a resource server signs no tokens"),
    by("N", "KEY-06", "private keys at an endpoint or in a file", &[("cli/tests/it/secrecy.rs", "no_secret_is_written_anywhere")]),
    elsewhere("N", "KEY-07", "names of keys that collide", "names of keys are the issuer's; two of one name are JWK-08"),
    by("N", "KEY-08", "a configuration that weakens something", &[("server/src/config/tests.rs", "every_error_is_reported_at_once_with_its_line")]),
    elsewhere("N", "KEY-09", "keys that everybody knows", "a list of them is not in this version"),
    elsewhere("N", "KEY-10", "signatures with one nonce", "a resource server signs no tokens"),
    elsewhere("N", "KEY-12", "certificates for others", "a resource server issues none to callers"),
    by("N", "KEY-13", "a backup that brings revoked keys back", &[("server/src/custody/tests/ledger.rs", "a_folder_from_before_a_revocation_does_not_bring_the_key_back")]),
];

/// The rows that the test of a section has to show.
pub(super) fn rows_of(section: &str) -> BTreeSet<&'static str> {
    let rows = ROWS.iter().filter(|row| row.section == section);
    let rows = rows.filter(|row| matches!(row.shown, Shown::Here));
    rows.map(|row| row.id).collect()
}

#[test]
fn every_row_is_shown() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for row in ROWS {
        if !seen.insert(row.id) {
            wrong.push(format!("{} is there twice", row.id));
        }
        assert!(!row.title.is_empty(), "{}", row.id);
        match row.shown {
            Shown::Here => {}
            Shown::Elsewhere(why) => assert!(!why.is_empty(), "{}", row.id),
            Shown::By(tests) => {
                assert!(!tests.is_empty(), "{}", row.id);
                for (file, name) in tests {
                    let text = fs::read_to_string(crates.join(file)).unwrap_or_default();
                    if !text.contains(&format!("fn {name}(")) {
                        wrong.push(format!("{}: there is no test `{name}` in crates/{file}", row.id));
                    }
                    if !text.contains(row.id) {
                        wrong.push(format!("{}: crates/{file} does not name the row", row.id));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
