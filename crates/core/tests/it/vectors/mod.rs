//! What others published: every file of a folder of test vectors runs against this crate.
//!
//! The files are not in this repository. Where they are absent a test says what it did not run and how to get it. One
//! table knows every file; each row is a test, and one more test compares the table with the folder.

mod agreement;
mod content;
mod cookbook;
mod exceptions;
mod interop;
mod keys;
mod objects;
mod reader;
mod rfc;
mod secrets;
mod signatures;
mod verdict;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use verdict::{Cases, Expected, Outcome};

type Runner = fn(&[u8], &mut Cases);

macro_rules! files {
    ($($name:ident: $path:literal => $runner:path,)*) => {
        const FILES: &[(&str, Runner)] = &[$(($path, $runner)),*];

        $(#[test] fn $name() { run($path, $runner) })*
    };
}

files! {
    a128cbc_hs256: "wycheproof/a128cbc_hs256_test.json" => content::composed,
    a192cbc_hs384: "wycheproof/a192cbc_hs384_test.json" => content::composed,
    a256cbc_hs512: "wycheproof/a256cbc_hs512_test.json" => content::composed,
    aes_gcm: "wycheproof/aes_gcm_test.json" => content::aes_gcm,
    aes_wrap: "wycheproof/aes_wrap_test.json" => content::aes_wrap,
    chacha20_poly1305: "wycheproof/chacha20_poly1305_test.json" => content::chacha20_poly1305,
    ecdh_p256_points: "wycheproof/ecdh_secp256r1_ecpoint_test.json" => agreement::points,
    ecdh_p256_jwk: "wycheproof/ecdh_secp256r1_webcrypto_test.json" => agreement::jwks,
    ecdh_p384_jwk: "wycheproof/ecdh_secp384r1_webcrypto_test.json" => agreement::jwks,
    ecdsa_p256: "wycheproof/ecdsa_secp256r1_sha256_p1363_test.json" => signatures::ecdsa,
    ecdsa_p256_der: "wycheproof/ecdsa_secp256r1_sha256_test.json" => signatures::ecdsa_der,
    ecdsa_p384: "wycheproof/ecdsa_secp384r1_sha384_p1363_test.json" => signatures::ecdsa,
    ecdsa_p384_der: "wycheproof/ecdsa_secp384r1_sha384_test.json" => signatures::ecdsa_der,
    ecdsa_p521: "wycheproof/ecdsa_secp521r1_sha512_p1363_test.json" => signatures::ecdsa,
    ed25519: "wycheproof/ed25519_test.json" => signatures::ed25519,
    hkdf_sha256: "wycheproof/hkdf_sha256_test.json" => content::hkdf,
    hmac_sha256: "wycheproof/hmac_sha256_test.json" => content::hmac,
    hmac_sha384: "wycheproof/hmac_sha384_test.json" => content::hmac,
    hmac_sha512: "wycheproof/hmac_sha512_test.json" => content::hmac,
    json_web_crypto: "wycheproof/json_web_crypto_test.json" => objects::either,
    json_web_encryption: "wycheproof/json_web_encryption_test.json" => objects::either,
    json_web_key: "wycheproof/json_web_key_test.json" => objects::key_sets,
    json_web_signature: "wycheproof/json_web_signature_test.json" => objects::either,
    pbkdf2_sha256: "wycheproof/pbkdf2_hmacsha256_test.json" => content::pbkdf2,
    pbkdf2_sha384: "wycheproof/pbkdf2_hmacsha384_test.json" => content::pbkdf2,
    pbkdf2_sha512: "wycheproof/pbkdf2_hmacsha512_test.json" => content::pbkdf2,
    rsa_oaep_2048_sha1: "wycheproof/rsa_oaep_2048_sha1_mgf1sha1_test.json" => agreement::rsa_not_offered,
    rsa_oaep_2048_sha256: "wycheproof/rsa_oaep_2048_sha256_mgf1sha256_test.json" => agreement::rsa_oaep_256,
    rsa_oaep_2048_sha384: "wycheproof/rsa_oaep_2048_sha384_mgf1sha384_test.json" => agreement::rsa_not_offered,
    rsa_oaep_2048_sha512: "wycheproof/rsa_oaep_2048_sha512_mgf1sha512_test.json" => agreement::rsa_not_offered,
    rsa_oaep_3072_sha256: "wycheproof/rsa_oaep_3072_sha256_mgf1sha256_test.json" => agreement::rsa_oaep_256,
    rsa_oaep_4096_sha256: "wycheproof/rsa_oaep_4096_sha256_mgf1sha256_test.json" => agreement::rsa_oaep_256,
    rsa_pkcs1_2048: "wycheproof/rsa_pkcs1_2048_test.json" => agreement::rsa_not_offered,
    rsa_pss_2048_sha256: "wycheproof/rsa_pss_2048_sha256_mgf1_32_test.json" => signatures::rsa_pss,
    rsa_pss_2048_sha384: "wycheproof/rsa_pss_2048_sha384_mgf1_48_test.json" => signatures::rsa_pss,
    rsa_pss_3072_sha256: "wycheproof/rsa_pss_3072_sha256_mgf1_32_test.json" => signatures::rsa_pss,
    rsa_pss_4096_sha512: "wycheproof/rsa_pss_4096_sha512_mgf1_64_test.json" => signatures::rsa_pss,
    rsa_pss_misc: "wycheproof/rsa_pss_misc_test.json" => signatures::rsa_pss,
    rsa_2048_sha256: "wycheproof/rsa_signature_2048_sha256_test.json" => signatures::rsa,
    rsa_2048_sha384: "wycheproof/rsa_signature_2048_sha384_test.json" => signatures::rsa,
    rsa_2048_sha512: "wycheproof/rsa_signature_2048_sha512_test.json" => signatures::rsa,
    rsa_3072_sha256: "wycheproof/rsa_signature_3072_sha256_test.json" => signatures::rsa,
    rsa_4096_sha256: "wycheproof/rsa_signature_4096_sha256_test.json" => signatures::rsa,
    x25519_jwk: "wycheproof/x25519_jwk_test.json" => agreement::x25519_jwks,
    x25519: "wycheproof/x25519_test.json" => agreement::x25519,
    xchacha20_poly1305: "wycheproof/xchacha20_poly1305_test.json" => content::xchacha20_poly1305,

    rfc7520_nested: "ietf-jose-cookbook/6.nesting_signatures_and_encryption.json" => cookbook::nested,
    rfc8037_ecdh_es: "ietf-jose-cookbook/curve25519/ecdh-es.json" => cookbook::encrypted,
    rfc8037_jws: "ietf-jose-cookbook/curve25519/jws.json" => cookbook::signed,
    rfc7520_5_1: "ietf-jose-cookbook/jwe/5_1.key_encryption_using_rsa_v15_and_aes-hmac-sha2.json" => cookbook::encrypted,
    rfc7520_5_2: "ietf-jose-cookbook/jwe/5_2.key_encryption_using_rsa-oaep_with_aes-gcm.json" => cookbook::encrypted,
    rfc7520_5_3: "ietf-jose-cookbook/jwe/5_3.key_wrap_using_pbes2-aes-keywrap_with-aes-cbc-hmac-sha2.json"
        => cookbook::encrypted,
    rfc7520_5_4:
        "ietf-jose-cookbook/jwe/5_4.key_agreement_with_key_wrapping_using_ecdh-es_and_aes-keywrap_with_aes-gcm.json"
        => cookbook::encrypted,
    rfc7520_5_5: "ietf-jose-cookbook/jwe/5_5.key_agreement_using_ecdh-es_with_aes-cbc-hmac-sha2.json"
        => cookbook::encrypted,
    rfc7520_5_6: "ietf-jose-cookbook/jwe/5_6.direct_encryption_using_aes-gcm.json" => cookbook::encrypted,
    rfc7520_5_7: "ietf-jose-cookbook/jwe/5_7.key_wrap_using_aes-gcm_keywrap_with_aes-cbc-hmac-sha2.json"
        => cookbook::encrypted,
    rfc7520_5_8: "ietf-jose-cookbook/jwe/5_8.key_wrap_using_aes-keywrap_with_aes-gcm.json" => cookbook::encrypted,
    rfc7520_5_9: "ietf-jose-cookbook/jwe/5_9.compressed_content.json" => cookbook::encrypted,
    rfc7520_5_10: "ietf-jose-cookbook/jwe/5_10.including_additional_authentication_data.json" => cookbook::encrypted,
    rfc7520_5_11: "ietf-jose-cookbook/jwe/5_11.protecting_specific_header_fields.json" => cookbook::encrypted,
    rfc7520_5_12: "ietf-jose-cookbook/jwe/5_12.protecting_content_only.json" => cookbook::encrypted,
    rfc7520_5_13: "ietf-jose-cookbook/jwe/5_13.encrypting_to_multiple_recipients.json" => cookbook::encrypted,
    rfc7520_3_1: "ietf-jose-cookbook/jwk/3_1.ec_public_key.json" => keys::single,
    rfc7520_3_2: "ietf-jose-cookbook/jwk/3_2.ec_private_key.json" => keys::single,
    rfc7520_3_3: "ietf-jose-cookbook/jwk/3_3.rsa_public_key.json" => keys::single,
    rfc7520_3_4: "ietf-jose-cookbook/jwk/3_4.rsa_private_key.json" => keys::single,
    rfc7520_3_5: "ietf-jose-cookbook/jwk/3_5.symmetric_key_mac_computation.json" => keys::single,
    rfc7520_3_6: "ietf-jose-cookbook/jwk/3_6.symmetric_key_encryption.json" => keys::single,
    rfc7520_4_1: "ietf-jose-cookbook/jws/4_1.rsa_v15_signature.json" => cookbook::signed,
    rfc7520_4_2: "ietf-jose-cookbook/jws/4_2.rsa-pss_signature.json" => cookbook::signed,
    rfc7520_4_3: "ietf-jose-cookbook/jws/4_3.ecdsa_signature.json" => cookbook::signed,
    rfc7520_4_4: "ietf-jose-cookbook/jws/4_4.hmac-sha2_integrity_protection.json" => cookbook::signed,
    rfc7520_4_5: "ietf-jose-cookbook/jws/4_5.signature_with_detached_content.json" => cookbook::signed,
    rfc7520_4_6: "ietf-jose-cookbook/jws/4_6.protecting_specific_header_fields.json" => cookbook::signed,
    rfc7520_4_7: "ietf-jose-cookbook/jws/4_7.protecting_content_only.json" => cookbook::signed,
    rfc7520_4_8: "ietf-jose-cookbook/jws/4_8.multiple_signatures.json" => cookbook::signed,
    rfc7797_4_2: "ietf-jose-cookbook/rfc7797/4.2.hmac-sha2_b64_false.json" => cookbook::signed,
    rfc7797_b64_false: "ietf-jose-cookbook/rfc7797/hmac-sha2_b64_false.json" => cookbook::signed,

    panva_jwe: "panva-jose/cookbook-jwe.json" => cookbook::all_encrypted,
    panva_jws: "panva-jose/cookbook-jws.json" => cookbook::all_signed,
    panva_keys: "panva-jose/keys-jwk-pkcs8-spki-x509.json" => keys::in_all_forms,

    rfc7515: "rfc/rfc7515.json" => rfc::signed,
    rfc7516: "rfc/rfc7516.json" => rfc::encrypted,
    rfc7517: "rfc/rfc7517.json" => rfc::key_sets,
    rfc7518: "rfc/rfc7518.json" => rfc::derivation,
    rfc7636: "rfc/rfc7636.json" => rfc::pkce,
    rfc7797: "rfc/rfc7797.json" => rfc::unencoded,
    rfc8037: "rfc/rfc8037.json" => rfc::signed,
    rfc9449: "rfc/rfc9449.json" => rfc::proofs,
    rsa1_5_oracle_pair: "rfc/rsa1_5_oracle_pair.json" => rfc::oracle,
    thumbprints: "rfc/thumbprint.json" => keys::thumbprints,

    interop_keys: "interop/keys.json" => interop::keys,
    interop_joserfc: "interop/joserfc.json" => interop::tokens,
    interop_jwcrypto: "interop/jwcrypto.json" => interop::tokens,
    interop_panva_jose: "interop/panva-jose.json" => interop::tokens,

    weak_secrets: "wallarm-jwt-secrets/jwt.secrets.list" => secrets::list,
}

/// Where each folder comes from, and the commit that these tests were written against.
const SOURCES: [(&str, &str); 6] = [
    (
        "wycheproof",
        "testvectors_v1/*.json of https://github.com/C2SP/wycheproof at dac1dd4729fd1f8dd9e1e9f3dce51d783da6c166",
    ),
    (
        "ietf-jose-cookbook",
        "https://github.com/ietf-jose/cookbook at 13692b68bfc18b99557a5b1ed311fd5077bfff04",
    ),
    (
        "panva-jose",
        "the values of cookbook/*.mjs and tap/fixtures.ts of https://github.com/panva/jose at \
         afbc664914bb975709a35bdfe5963a5583b63b2f, as JSON",
    ),
    (
        "rfc",
        "the examples of RFC 7515 A, 7516 A, 7517 A and B, 7518 C, 7636 B, 7638 3.1, 7797 4, 8037 A and 9449, as JSON",
    ),
    (
        "interop",
        "tokens made with jose 6.2.17 (npm), joserfc 1.8.0 and jwcrypto 1.6.1 (PyPI) under the keys of keys.json",
    ),
    (
        "wallarm-jwt-secrets",
        "jwt.secrets.list of https://github.com/wallarm/jwt-secrets at 99e2360ba3357d5d2ddac1f054f003945e82b9bc",
    ),
];

/// The folder: named by the environment, or beside the workspace.
#[expect(
    clippy::disallowed_methods,
    reason = "tests: where the vectors are is a matter of the machine"
)]
fn folder() -> PathBuf {
    match std::env::var_os("PORTCULLIS_VECTORS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
    }
}

fn say_not_run(file: &str) {
    let source = SOURCES
        .iter()
        .find(|(folder, _)| file.starts_with(folder))
        .map_or("", |(_, source)| *source);
    println!(
        "not run: {file}. To run it, put it into a folder that PORTCULLIS_VECTORS names; it is from {source}"
    );
}

#[expect(clippy::disallowed_methods, reason = "tests: the vectors are files")]
fn run(file: &'static str, runner: Runner) {
    let Ok(text) = std::fs::read(folder().join(file)) else {
        return say_not_run(file);
    };
    let mut cases = Cases::of(file);
    runner(&text, &mut cases);
    cases.judge(&exceptions::of(file));
}

#[expect(clippy::disallowed_methods, reason = "tests: the vectors are files")]
fn files_below(folder: &Path, under: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{under}{name}");
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), &format!("{path}/"), found);
        } else if !name.starts_with("LICENSE") && name != "README.md" {
            found.insert(path);
        }
    }
}

#[test]
fn every_file_of_the_folder_is_run() {
    let folder = folder();
    if !folder.is_dir() {
        FILES.iter().for_each(|(file, _)| say_not_run(file));
        return;
    }
    let mut found = BTreeSet::new();
    files_below(&folder, "", &mut found);
    let known: BTreeSet<String> = FILES.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(known.len(), FILES.len(), "a file is in the table twice");
    let unknown: Vec<_> = found.difference(&known).collect();
    let absent: Vec<_> = known.difference(&found).collect();
    assert!(
        unknown.is_empty() && absent.is_empty(),
        "there and not in the table: {unknown:?}; in the table and not there: {absent:?}"
    );
    println!("{} files are there and run", known.len());
}

#[test]
fn every_exception_is_of_a_file_that_is_run_and_has_a_reason() {
    for exception in exceptions::all() {
        assert!(
            FILES.iter().any(|(file, _)| *file == exception.file()),
            "{} is not in the table",
            exception.file()
        );
        assert!(exception.reason().len() > 10, "{}: no reason", exception.file());
    }
}

/// Runs each test of a Wycheproof file. `acceptable` is what strict implementations may refuse: we do.
fn wycheproof(text: &[u8], cases: &mut Cases, mut run: impl FnMut(&Value, &Value) -> Outcome) {
    wycheproof_expecting(text, cases, |group, test| {
        let expected = if test["result"] == "valid" {
            Expected::Holds
        } else {
            Expected::Fails
        };
        (expected, run(group, test))
    });
}

fn wycheproof_expecting(
    text: &[u8],
    cases: &mut Cases,
    mut run: impl FnMut(&Value, &Value) -> (Expected, Outcome),
) {
    let file: Value = serde_json::from_slice(text).unwrap();
    for group in file["testGroups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let (expected, outcome) = run(group, test);
            let comment = test["comment"].as_str().unwrap_or_default();
            cases.add(test["tcId"].as_u64().unwrap(), comment, expected, outcome);
        }
    }
    assert_eq!(cases.len(), file["numberOfTests"].as_u64().unwrap());
}

fn hex(value: &Value) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    let text = value.as_str().unwrap().as_bytes();
    assert!(text.len().is_multiple_of(2));
    text.chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// Without leading zeros, as JWK wants integers (RFC 7518 §2).
fn integer(value: &Value) -> Vec<u8> {
    let bytes = hex(value);
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].to_vec()
}
