use super::*;
use crate::limits;
use crate::oauth::server::Refusal;
use crate::oauth::server::document::{DocumentUrl, Hosts};
use crate::oauth::server::redirect::REDIRECT_URIS;
use crate::oauth::server::registration::{ApplicationType, AuthMethod, Wish};

fn wish(body: &str) -> Result<Wish, Refusal> {
    Wish::parse(body.as_bytes())
}

#[test]
fn a_registration_gets_its_defaults() {
    // RFC 7591 §2
    let wish = wish(r#"{"redirect_uris":["https://c.example/cb"],"unknown":{"x":1}}"#).unwrap();
    assert_eq!(wish.method, AuthMethod::Basic);
    assert_eq!(wish.application, ApplicationType::Web);
    assert_eq!(wish.grants, BTreeSet::from([GrantType::AuthorizationCode]));
    let (client, secret) = wish.grant(&counting(), NOW).unwrap();
    assert_eq!(
        client.authentication,
        Authentication::Basic(secret.unwrap().hash())
    );
    assert_eq!(client.provenance, Provenance::Dynamic { at: NOW });
}

#[test]
fn a_public_client_gets_no_secret() {
    let wish =
        wish(r#"{"redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"none"}"#).unwrap();
    assert_eq!(wish.application, ApplicationType::Native);
    let (client, secret) = wish.grant(&counting(), NOW).unwrap();
    assert!(secret.is_none());
    assert_eq!(client.authentication, Authentication::Public);
}

#[test]
fn grants_that_do_not_exist_or_need_someone_to_vouch_are_left_out() {
    let body = r#"{"redirect_uris":["https://c.example/cb"],"grant_types":["authorization_code","refresh_token","client_credentials","urn:x"]}"#;
    assert_eq!(
        wish(body).unwrap().grants,
        BTreeSet::from([GrantType::AuthorizationCode, GrantType::RefreshToken])
    );
}

#[test]
fn what_cannot_be_registered() {
    let redirect = |refusal: &Refusal| matches!(refusal, Refusal::RegistrationRedirectUri(_));
    let metadata = |refusal: &Refusal| matches!(refusal, Refusal::RegistrationMetadata(_));
    for body in [
        "{}",
        r#"{"redirect_uris":[]}"#,
        r#"{"redirect_uris":"https://c.example/cb"}"#,
        r#"{"redirect_uris":[1]}"#,
        r#"{"redirect_uris":["https://c.example/cb","http://c.example/cb"]}"#,
        r#"{"redirect_uris":["javascript:alert(1)"]}"#,
        r#"{"redirect_uris":["http://localhost/cb"],"application_type":"web"}"#,
    ] {
        assert!(redirect(&wish(body).unwrap_err()), "{body}");
    }
    for body in [
        "",
        "[]",
        r#"{"redirect_uris":["https://c.example/cb"],"redirect_uris":["https://d.example/cb"]}"#,
        r#"{"redirect_uris":["https://c.example/cb"],"token_endpoint_auth_method":"private_key_jwt"}"#,
        r#"{"redirect_uris":["https://c.example/cb"],"token_endpoint_auth_method":1}"#,
        r#"{"redirect_uris":["https://c.example/cb"],"application_type":"desktop"}"#,
        r#"{"redirect_uris":["https://c.example/cb"],"response_types":["token"]}"#,
        r#"{"redirect_uris":["https://c.example/cb"],"grant_types":["implicit"]}"#,
        r#"{"redirect_uris":["https://c.example/cb"],"grant_types":"authorization_code"}"#,
        r#"{"redirect_uris":["https://c.example/cb"],"client_name":["x"]}"#,
    ] {
        assert!(metadata(&wish(body).unwrap_err()), "{body}");
    }
}

#[test]
fn redirect_uris_at_the_limit_and_one_past_it() {
    let many = |n: usize| {
        let uris: Vec<String> = (0..n).map(|i| format!("\"https://c.example/{i}\"")).collect();
        format!(r#"{{"redirect_uris":[{}]}}"#, uris.join(","))
    };
    assert!(wish(&many(REDIRECT_URIS)).is_ok());
    assert!(wish(&many(REDIRECT_URIS + 1)).is_err());
}

#[test]
fn addresses_of_documents_have_one_spelling() {
    let parse = |text: &str, hosts| DocumentUrl::parse(&id(text), hosts).is_ok();
    for good in [
        "https://client.example/metadata.json",
        "https://client.example/a/b?v=1",
    ] {
        assert!(parse(good, Hosts::Public), "{good}");
    }
    for bad in [
        "http://client.example/c.json",
        "https://client.example",
        "https://client.example/",
        "https://client.example/c.json#x",
        "https://client.example/a/../c.json",
        "https://client.example/%2e%2e/c.json",
        "https://client.example/./c.json",
        "https://user@client.example/c.json",
        "https://user:pw@client.example/c.json",
        "https://client.example:443/c.json",
        "https://client.example:8443/c.json",
        "https://client.example./c.json",
        "https://CLIENT.example/c.json",
        "HTTPS://client.example/c.json",
        "https://2130706433/c.json",
        "https://0x7f.1/c.json",
        "https:/client.example/c.json",
        "https://client.example\\c.json",
        "ftp://client.example/c.json",
        "http://localhost:3000/c.json",
    ] {
        assert!(!parse(bad, Hosts::Public), "{bad}");
    }
    for local in [
        "http://localhost:3000/c.json",
        "http://127.0.0.1:3000/c.json",
        "https://localhost:3000/c.json",
    ] {
        assert!(parse(local, Hosts::LoopbackToo), "{local}");
    }
    assert!(!parse("http://client.example/c.json", Hosts::LoopbackToo));
    assert!(!parse("ftp://localhost/c.json", Hosts::LoopbackToo));
}

const URL: &str = "https://client.example/c.json";

fn document(text: &str) -> Result<Client, Refusal> {
    DocumentUrl::parse(&id(URL), Hosts::Public)
        .unwrap()
        .read(text.as_bytes())
}

#[test]
fn a_document_describes_a_public_client() {
    let client = document(
        r#"{"client_id":"https://client.example/c.json","client_name":"C","redirect_uris":["cursor://x/cb","http://127.0.0.1/cb"],
            "grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none","logo_uri":"javascript:x"}"#,
    )
    .unwrap();
    assert_eq!(client.id, id(URL));
    assert_eq!(
        client.redirects,
        [RedirectUri::parse("http://127.0.0.1/cb").unwrap()]
    );
    assert_eq!(
        client.grants,
        BTreeSet::from([GrantType::AuthorizationCode, GrantType::RefreshToken])
    );
    assert_eq!(
        (client.authentication, client.provenance),
        (Authentication::Public, Provenance::Document)
    );
}

#[test]
fn documents_that_are_refused() {
    for bad in [
        "not json",
        "[]",
        r#"{"client_name":"C","redirect_uris":["https://c.example/cb"]}"#,
        r#"{"client_id":"https://client.example/c.json/","client_name":"C","redirect_uris":["https://c.example/cb"]}"#,
        r#"{"client_id":"https://evil.example/c.json","client_name":"C","redirect_uris":["https://c.example/cb"]}"#,
        r#"{"client_id":"https://client.example/c.json","redirect_uris":["https://c.example/cb"]}"#,
        r#"{"client_id":"https://client.example/c.json","client_name":"C"}"#,
        r#"{"client_id":"https://client.example/c.json","client_name":"C","redirect_uris":["cursor://x"]}"#,
        r#"{"client_id":"https://client.example/c.json","client_name":"C","redirect_uris":["https://c.example/cb"],"client_secret":"x"}"#,
        r#"{"client_id":"https://client.example/c.json","client_name":"C","redirect_uris":["https://c.example/cb"],"client_secret_expires_at":0}"#,
        r#"{"client_id":"https://client.example/c.json","client_name":"C","redirect_uris":["https://c.example/cb"],"token_endpoint_auth_method":"client_secret_post"}"#,
        r#"{"client_id":"https://client.example/c.json","client_name":"C","redirect_uris":["https://c.example/cb"],"token_endpoint_auth_method":"private_key_jwt"}"#,
        r#"{"client_id":"https://client.example/c.json","client_name":"C","redirect_uris":["https://c.example/cb"],"grant_types":["client_credentials"]}"#,
        r#"{"client_id":"https://client.example/c.json","client_id":"https://client.example/c.json","client_name":"C","redirect_uris":["https://c.example/cb"]}"#,
    ] {
        assert!(matches!(document(bad), Err(Refusal::ClientDocument(_))), "{bad}");
    }
}

#[test]
fn documents_at_the_limit_and_one_byte_past_it() {
    let frame = r#"{"client_id":"https://client.example/c.json","client_name":"","redirect_uris":["https://c.example/cb"]}"#;
    let sized = |size: usize| frame.replace("\"\"", &format!("\"{}\"", "x".repeat(size - frame.len())));
    assert!(document(&sized(limits::CLIENT_METADATA_BYTES)).is_ok());
    assert!(document(&sized(limits::CLIENT_METADATA_BYTES + 1)).is_err());
}

#[test]
fn keys_for_sealed_fields_are_one_of_each_and_public() {
    // RFC 7517 §A.1 and RFC 8037 §A.6.
    const SIG: &str = r#"{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const ENC: &str = r#"{"kty":"OKP","crv":"X25519","use":"enc","alg":"ECDH-ES","x":"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"}"#;
    let registration =
        |keys: &str| format!(r#"{{"redirect_uris":["https://c.example/cb"],"jwks":{{"keys":[{keys}]}}}}"#);
    let asked = wish(&registration(&format!("{SIG},{ENC}"))).unwrap();
    let (keys, jwks) = asked.keys.clone().unwrap();
    assert_eq!(jwks["keys"][1]["crv"], "X25519");
    assert_eq!(asked.grant(&counting(), NOW).unwrap().0.keys, Some(keys));
    let private = SIG.replace("\"use\"", "\"d\":\"AA\",\"use\"");
    for bad in [
        SIG.to_owned(),
        format!("{private},{ENC}"),
        format!("{SIG},{SIG},{ENC}"),
        "7".to_owned(),
    ] {
        let refused = wish(&registration(&bad)).unwrap_err();
        assert!(matches!(refused, Refusal::RegistrationMetadata(_)), "{bad}");
    }

    let url = "https://c.example/client";
    let document = |jwks: &str| {
        let text = format!(
            r#"{{"client_id":"{url}","client_name":"c","redirect_uris":["https://c.example/cb"],"jwks":{jwks}}}"#
        );
        let url = DocumentUrl::parse(&ClientId::parse(url).unwrap(), Hosts::Public).unwrap();
        url.read(text.as_bytes()).map(|client| client.keys)
    };
    assert_eq!(document(&format!(r#"{{"keys":[{ENC},{SIG}]}}"#)), Ok(Some(keys)));
    // A set for something else, such as `private_key_jwt`, does no harm; a private key does.
    assert_eq!(document(&format!(r#"{{"keys":[{SIG},{SIG}]}}"#)), Ok(None));
    assert!(matches!(
        document(&format!(r#"{{"keys":[{private}]}}"#)),
        Err(Refusal::ClientDocument(_))
    ));
}
