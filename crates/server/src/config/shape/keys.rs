//! `[keys]`, `[keys.pkcs11]` and `[keys.external]`.

use super::{
    ALGORITHMS, CUSTODY, KEPT_IN, KEY_MANAGEMENT, Kind, Need, RSA_BITS, SERVICES, Section, key, once,
};

pub(super) const SECTION: Section = once(
    "keys",
    "The server's own keys and certificates.",
    &[
        key(
            "dir",
            Kind::Path,
            Need::Required,
            "Folder of the keys, encrypted at rest.",
        ),
        key(
            "master_key_file",
            Kind::Path,
            Need::Absent("`master_key_env` or `master_key_credential` is given"),
            "File with the key they are encrypted under. Made, with mode 0600, when it does not exist.",
        ),
        key(
            "master_key_env",
            Kind::Text,
            Need::Absent("`master_key_file` or `master_key_credential` is given"),
            "Environment variable with that key instead: 32 bytes as base64url.",
        ),
        key(
            "master_key_credential",
            Kind::Text,
            Need::Absent("`master_key_file` or `master_key_env` is given"),
            "systemd credential with that key instead (`LoadCredential=` or `LoadCredentialEncrypted=` in the unit): 32 bytes, or those as base64url.",
        ),
        key(
            "kept_in",
            Kind::Word(KEPT_IN),
            Need::Absent("`store` when the store is PostgreSQL, else `folder`"),
            "Whether the keys are files in `dir`, or rows in the database of `[store]`, where several replicas share them.",
        ),
        key(
            "custody",
            Kind::Word(CUSTODY),
            Need::Absent("file"),
            "Where new private keys are made and stay: encrypted in files, in an HSM or TPM (`[keys.pkcs11]`), or at a key service (`[keys.external]`).",
        ),
        key(
            "signing_algorithm",
            Kind::Word(ALGORITHMS),
            Need::Absent("ES256"),
            "Algorithm of new signing keys.",
        ),
        key(
            "encryption_algorithm",
            Kind::Word(KEY_MANAGEMENT),
            Need::Absent("ECDH-ES"),
            "Algorithm of new encryption keys.",
        ),
        key(
            "validity",
            Kind::Duration,
            Need::Absent("90d"),
            "How long certificates are valid. The three lengths below follow it unless they are given; see `portcullis keys simulate`.",
        ),
        key(
            "stage_before",
            Kind::Duration,
            Need::Absent("5/6 of `validity`"),
            "How long before the primary's certificate ends the next key is staged: made, and published if it is for signatures.",
        ),
        key(
            "promote_after",
            Kind::Duration,
            Need::Absent("1/6 of `validity`"),
            "How long after it was staged a key becomes the primary.",
        ),
        key(
            "grace",
            Kind::Duration,
            Need::Absent("1/6 of `validity`"),
            "How long a retired key still verifies or opens, at least.",
        ),
    ],
    &[
        once(
            "pkcs11",
            "The HSM, smart card or TPM of `custody = \"pkcs11\"`.",
            &[
                key(
                    "module",
                    Kind::Path,
                    Need::Required,
                    "Its PKCS #11 library, such as `/usr/lib/softhsm/libsofthsm2.so`.",
                ),
                key(
                    "token",
                    Kind::Text,
                    Need::Required,
                    "Label or serial number of the token.",
                ),
                key(
                    "pin_file",
                    Kind::Path,
                    Need::Absent("`pin_env` is given"),
                    "File with the user's PIN, private to its owner.",
                ),
                key(
                    "pin_env",
                    Kind::Text,
                    Need::Absent("`pin_file` is given"),
                    "Environment variable with the user's PIN.",
                ),
                key(
                    "rsa_bits",
                    Kind::Word(RSA_BITS),
                    Need::Absent("2048"),
                    "Length of new RSA keys.",
                ),
            ],
            &[],
        ),
        once(
            "external",
            "The key service of `custody = \"external\"`.",
            &[
                key(
                    "service",
                    Kind::Word(SERVICES),
                    Need::Required,
                    "Whose interface it has.",
                ),
                key(
                    "region",
                    Kind::Text,
                    Need::Required,
                    "The region of the keys, such as `eu-central-1`.",
                ),
                key(
                    "endpoint",
                    Kind::Url,
                    Need::Absent("the region's own"),
                    "Where the service is.",
                ),
                key(
                    "ca_file",
                    Kind::Path,
                    Need::Absent("the operating system's roots alone"),
                    "Certificates (PEM) that are trusted for it besides the operating system's.",
                ),
                key(
                    "credentials_file",
                    Kind::Path,
                    Need::Absent(
                        "`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` of the environment",
                    ),
                    "Shared credentials file, private to its owner.",
                ),
                key(
                    "profile",
                    Kind::Text,
                    Need::Absent("default"),
                    "Profile in `credentials_file`.",
                ),
                key(
                    "rsa_bits",
                    Kind::Word(RSA_BITS),
                    Need::Absent("2048"),
                    "Length of new RSA keys.",
                ),
            ],
            &[],
        ),
    ],
);
