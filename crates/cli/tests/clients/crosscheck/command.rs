//! `portcullis seal` as a command, and npm `jose`: what one seals the other opens.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use portcullis_core::jose::base64url;
use portcullis_testkit::{Outcome, Scratch};
use serde_json::{Value, json};

use super::ours::with;
use super::peer::{Peer, member, text};
use super::random::Random;
use crate::parts::{Language, Parts};
use crate::portcullis;

/// Messages each way of each kind.
const MESSAGES: usize = 5;

#[tokio::test]
async fn real_client_jose_and_the_command_read_each_other() -> Outcome {
    let Some(parts) = Parts::find()? else {
        return Ok(());
    };
    let (mut peer, mut random) = (Peer::start(&parts, Language::TypeScript).await?, Random::new()?);
    let folder = Scratch::new("seal-jose")?;
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (to, own, clear, sealed) = (at("to.jwk"), at("own.jwk"), at("clear"), at("sealed"));
    for (alg, crv) in [
        ("RSA-OAEP-256", None),
        ("ECDH-ES", Some("P-256")),
        ("ECDH-ES", Some("P-384")),
        ("ECDH-ES", Some("X25519")),
        ("ECDH-ES+A128KW", Some("P-256")),
        ("ECDH-ES+A256KW", Some("X25519")),
    ] {
        let key = format!("{alg} {crv:?}");
        let (public, _) = peer.generate("command", alg, crv).await?;
        let said = peer.ask(json!({ "do": "private", "key": "command" })).await?;
        let private = with(member(&said, "jwk")?, &[("kid", "command"), ("alg", alg)]);
        fs::write(&to, public.to_string())?;
        fs::write(&own, private.to_string())?;
        fs::set_permissions(&own, fs::Permissions::from_mode(0o600))?;
        for index in 0..MESSAGES {
            let plaintext = random.bytes();
            fs::write(&clear, &plaintext)?;
            let form: &[&str] = if index % 2 == 0 { &[] } else { &["--json"] };
            let seal = ["seal", "seal", "--to", &to, &clear, "--force", "--out", &sealed];
            let ran = portcullis().run(seal.iter().chain(form))?;
            assert_eq!(ran.code, Some(0), "{key}: {}", ran.stderr);
            let token = fs::read_to_string(&sealed)?;
            let token: Value = match form {
                [] => token.trim().into(),
                _ => serde_json::from_str(&token)?,
            };
            let task = json!({ "do": "decrypt", "key": "command", "alg": alg, "token": token });
            let opened = peer.ask(task).await?;
            assert_eq!(
                text(&opened, "plaintext")?,
                base64url::encode(&plaintext),
                "{key}"
            );

            let form = if index % 2 == 0 { "compact" } else { "flattened" };
            let task = json!({
                "do": "encrypt", "key": "command", "alg": alg, "enc": "A256GCM",
                "plaintext": base64url::encode(&plaintext), "form": form,
            });
            let answer = peer.ask(task).await?;
            let token = member(&answer, "token")?;
            fs::write(
                &sealed,
                token.as_str().map_or_else(|| token.to_string(), str::to_owned),
            )?;
            let open = ["seal", "open", "--key", &own, &sealed, "--force", "--out", &clear];
            let ran = portcullis().run(open)?;
            assert_eq!(ran.code, Some(0), "{key}: {}", ran.stderr);
            assert!(fs::read(&clear)? == plaintext, "{key}");
        }
    }
    Ok(())
}
