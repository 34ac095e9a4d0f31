//! Examples printed in the RFCs. Signatures only: their claims are not those of access tokens.

use portcullis_core::jose::jwk::VerificationKey;
use portcullis_core::jose::jws::{Error, Unverified};
use portcullis_core::jose::{SignatureAlgorithm, base64url};

struct Example {
    section: &'static str,
    algorithm: SignatureAlgorithm,
    jwk: &'static str,
    token: &'static str,
    begins: &'static [u8],
}

const EXAMPLES: [Example; 3] = [
    Example {
        section: "RFC 7515 §A.2",
        algorithm: SignatureAlgorithm::Rs256,
        jwk: r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#,
        token: "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        begins: br#"{"iss":""#,
    },
    Example {
        section: "RFC 7515 §A.3",
        algorithm: SignatureAlgorithm::Es256,
        jwk: r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        token: "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        begins: br#"{"iss":""#,
    },
    Example {
        section: "RFC 8037 §A.4",
        algorithm: SignatureAlgorithm::EdDsa,
        jwk: r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        token: "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        begins: b"Example ",
    },
];

#[test]
fn signatures_of_the_rfcs_hold() {
    for example in EXAMPLES {
        let key = VerificationKey::parse(example.jwk.as_bytes()).unwrap();
        assert_eq!(key.algorithm(), example.algorithm, "{}", example.section);
        let token = Unverified::parse(example.token).unwrap();
        let payload = token.verify(&key).unwrap().payload();
        assert!(payload.starts_with(example.begins), "{}", example.section);
    }
}

#[test]
fn changed_by_one_bit_they_do_not() {
    for example in EXAMPLES {
        let key = VerificationKey::parse(example.jwk.as_bytes()).unwrap();
        let (input, signature) = example.token.rsplit_once('.').unwrap();
        let mut bytes = base64url::decode(signature).unwrap();
        bytes[0] ^= 1;
        let changed = format!("{input}.{}", base64url::encode(bytes));
        assert_eq!(
            Unverified::parse(&changed).unwrap().verify(&key).unwrap_err(),
            Error::Signature,
            "{}",
            example.section
        );
    }
}

#[test]
fn the_unsecured_example_is_refused() {
    // RFC 7515 §A.5
    let token = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";
    assert_eq!(Unverified::parse(token).unwrap_err(), Error::NotCompact);
    assert_eq!(
        Unverified::parse(&format!("{token}AA")).unwrap_err(),
        Error::Algorithm
    );
}
