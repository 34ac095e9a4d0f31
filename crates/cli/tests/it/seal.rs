//! `portcullis seal` as a person and as a script use it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use portcullis_testkit::{Failure, Outcome, Scratch};
use serde_json::{Value, json};

use crate::{demo, portcullis, text};

fn write(folder: &Scratch, name: &str, content: impl AsRef<[u8]>) -> Outcome<String> {
    let path = folder.path().join(name);
    fs::write(&path, content)?;
    Ok(path.display().to_string())
}

/// A file that its owner alone can read, as private keys must be.
fn write_key(folder: &Scratch, name: &str, content: impl AsRef<[u8]>) -> Outcome<String> {
    let path = write(folder, name, content)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

fn at(folder: &Scratch, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// A key pair of P-256 as JWKs: private and public. From RFC 7517 appendix A.2, so nobody's secret.
fn pair() -> (Value, Value) {
    let private = json!({
        "kty": "EC", "crv": "P-256", "use": "enc", "kid": "1",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
    });
    let mut public = private.clone();
    if let Some(members) = public.as_object_mut() {
        members.remove("d");
    }
    (private, public)
}

/// Runs the binary with `input` on its standard input, and gives its code, standard output and standard error.
fn piped(arguments: &[&str], input: &[u8]) -> Outcome<(Option<i32>, Vec<u8>, String)> {
    use std::io::Write as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child
        .stdin
        .take()
        .ok_or_else(|| std::io::Error::other("no pipe"))?;
    let input = input.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output()?;
    // A command that refuses before it has read everything closes the pipe.
    drop(writing.join());
    Ok((
        output.status.code(),
        output.stdout,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

#[test]
fn what_is_sealed_for_a_key_opens_with_it_and_with_no_other() -> Outcome {
    let folder = Scratch::new("seal")?;
    let (private, public) = pair();
    let (own, to) = (
        write_key(&folder, "own.jwk", private.to_string())?,
        write(&folder, "to.jwk", public.to_string())?,
    );
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let file = write(&folder, "report.bin", &content)?;
    for algorithm in ["ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"] {
        for extra in [&["--enc", "A128GCM"][..], &["--json"][..]] {
            let sealed = at(&folder, "report.jwe");
            let seal = [
                "seal", "seal", "--to", &to, "--alg", algorithm, &file, "--force", "--out", &sealed,
            ];
            let ran = portcullis().run(seal.iter().chain(extra))?;
            assert_eq!(ran.code, Some(0), "{algorithm}: {}", ran.stderr);
            let opened = at(&folder, "report.copy");
            let ran = portcullis().run([
                "seal", "open", "--key", &own, "--alg", algorithm, &sealed, "--force", "--out", &opened,
            ])?;
            assert_eq!(ran.code, Some(0), "{algorithm}: {}", ran.stderr);
            assert!(fs::read(&opened)? == content, "{algorithm}");
        }
    }
    // One changed byte, and nothing comes out.
    let mut sealed = fs::read(at(&folder, "report.jwe"))?;
    let middle = sealed.len() / 2;
    sealed[middle] = if sealed[middle] == b'A' { b'B' } else { b'A' };
    fs::write(at(&folder, "report.jwe"), sealed)?;
    fs::remove_file(at(&folder, "report.copy"))?;
    let arguments = [
        "seal",
        "open",
        "--key",
        &own,
        "--alg",
        "ECDH-ES+A256KW",
        &at(&folder, "report.jwe"),
        "--out",
        &at(&folder, "report.copy"),
    ];
    let ran = portcullis().run(arguments)?;
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.stderr.contains("cannot be opened"), "{}", ran.stderr);
    assert!(!Path::new(&at(&folder, "report.copy")).exists());
    Ok(())
}

#[test]
fn pipes_work_in_both_directions() -> Outcome {
    let folder = Scratch::new("seal-pipe")?;
    let key = at(&folder, "today.jwk");
    let made = portcullis().run(["seal", "keygen-session", "--lifetime", "1h", "--out", &key])?;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let content = b"line one\nline two\x00\xff".repeat(10_000);
    let (code, sealed, said) = piped(&["seal", "seal", "--session", &key], &content)?;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(sealed.iter().filter(|byte| **byte == b'.').count(), 4);
    let (code, opened, said) = piped(&["seal", "open", "--session", &key], &sealed)?;
    assert_eq!(code, Some(0), "{said}");
    assert!(opened == content);
    // Nothing is a message too.
    let (_, empty, _) = piped(&["seal", "seal", "--session", &key], b"")?;
    assert_eq!(piped(&["seal", "open", "--session", &key], &empty)?.1, b"");
    Ok(())
}

#[test]
fn a_session_key_is_private_and_ends() -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Scratch::new("seal-session")?;
    let key = at(&folder, "today.jwk");
    portcullis().run(["seal", "keygen-session", "--lifetime", "1s", "--out", &key])?;
    assert_eq!(fs::metadata(&key)?.permissions().mode() & 0o777, 0o600);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let (code, out, said) = piped(&["seal", "seal", "--session", &key], b"late")?;
    assert_eq!((code, out.as_slice()), (Some(1), &b""[..]));
    assert!(
        said.contains("ended at") && said.contains("keygen-session"),
        "{said}"
    );
    let again = portcullis().run(["seal", "keygen-session", "--out", &key])?;
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    assert!(again.stderr.contains("is there already"), "{}", again.stderr);
    let longer = portcullis().run(["seal", "keygen-session", "--lifetime", "25h", "--out", &key])?;
    assert_eq!(longer.code, Some(2), "{}", longer.stderr);
    Ok(())
}

#[test]
fn bad_input_is_told_and_never_sealed_to_the_wrong_key() -> Outcome {
    let folder = Scratch::new("seal-bad")?;
    let (private, public) = pair();
    let own = write_key(&folder, "own.jwk", private.to_string())?;
    let to = write_key(&folder, "to.jwk", public.to_string())?;
    let mut signing = public.clone();
    signing["use"] = "sig".into();
    let signing = write(&folder, "sig.jwk", signing.to_string())?;
    let garbage = write(&folder, "garbage.jwk", "{{{{")?;
    for (key, expected) in [
        (&own, "private"),
        (&signing, "not for encrypting"),
        (&garbage, "malformed"),
        (&at(&folder, "absent.jwk"), "cannot be read"),
    ] {
        let (code, out, said) = piped(&["seal", "seal", "--to", key], b"secret")?;
        assert_eq!((code, out.as_slice()), (Some(2), &b""[..]), "{key}: {said}");
        assert!(said.contains(expected), "{key}: {said}");
    }
    for (input, key) in [
        (&b"not a message"[..], &own),
        (b"", &own),
        (b"a.b.c.d.e", &own),
        (b"{}", &own),
        (b"\xff\xfe", &own),
    ] {
        let (code, out, said) = piped(&["seal", "open", "--key", key], input)?;
        assert_eq!((code, out.as_slice()), (Some(1), &b""[..]), "{said}");
        assert!(said.starts_with("portcullis: "), "{said}");
    }
    let (code, _, said) = piped(&["seal", "open", "--key", &to], b"")?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("public key"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_key_of_a_running_gateway_is_found_at_its_address() -> Outcome {
    use base64::Engine as _;
    let running = demo().await?;
    let folder = Scratch::new("seal-url")?;
    let file = write(&folder, "notes.txt", "water the plants")?;
    // The server is a process of its own: it answers while this one waits.
    let (code, sealed, said) = piped(&["seal", "seal", "--to", &running.ready().jwks_uri, &file], b"")?;
    assert_eq!(code, Some(0), "{said}");
    let header = sealed.split(|byte| *byte == b'.').next().unwrap_or_default();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|error| Failure::new(error.to_string()))?;
    let header: Value = serde_json::from_slice(&header)?;
    assert!(text(&header, "/kid").starts_with("enc-"), "{header}");
    Ok(())
}

#[test]
fn nothing_takes_the_place_of_a_file_that_is_there_unless_it_is_asked_for() -> Outcome {
    let folder = Scratch::new("seal-force")?;
    let (private, public) = pair();
    let own = write_key(&folder, "own.jwk", private.to_string())?;
    let to = write(&folder, "to.jwk", public.to_string())?;
    let notes = write(&folder, "notes.txt", "water the plants")?;
    let sealed = write(&folder, "notes.jwe", "precious")?;
    let seal = ["seal", "seal", "--to", &to, &notes, "--out", &sealed];
    let refused = portcullis().run(seal)?;
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&sealed)?, "precious");
    let forced = portcullis().run(seal.iter().chain(&["--force"]))?;
    assert_eq!(forced.code, Some(0), "{}", forced.stderr);
    let open = ["seal", "open", "--key", &own, &sealed, "--out", &notes];
    let refused = portcullis().run(open)?;
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let forced = portcullis().run(open.iter().chain(&["--force"]))?;
    assert_eq!(forced.code, Some(0), "{}", forced.stderr);
    assert_eq!(fs::read_to_string(&notes)?, "water the plants");
    Ok(())
}

#[test]
fn a_private_key_that_others_can_read_is_refused_with_what_to_do() -> Outcome {
    let folder = Scratch::new("seal-mode")?;
    let (private, public) = pair();
    let own = write_key(&folder, "own.jwk", private.to_string())?;
    let to = write(&folder, "to.jwk", public.to_string())?;
    let today = at(&folder, "today.jwk");
    assert_eq!(
        portcullis()
            .run(["seal", "keygen-session", "--out", &today])?
            .code,
        Some(0)
    );
    let (_, to_own, _) = piped(&["seal", "seal", "--to", &to], b"secret")?;
    let (_, to_today, _) = piped(&["seal", "seal", "--session", &today], b"secret")?;
    for (option, key, sealed) in [("--key", &own, to_own), ("--session", &today, to_today)] {
        for mode in [0o644, 0o640, 0o602] {
            fs::set_permissions(key, fs::Permissions::from_mode(mode))?;
            let (code, out, said) = piped(&["seal", "open", option, key], &sealed)?;
            assert_eq!((code, out.as_slice()), (Some(2), &b""[..]), "{mode:o}: {said}");
            assert!(said.contains(&format!("chmod 600 {key}")), "{said}");
        }
        fs::set_permissions(key, fs::Permissions::from_mode(0o400))?;
        let (code, out, said) = piped(&["seal", "open", option, key], &sealed)?;
        assert_eq!((code, out.as_slice()), (Some(0), &b"secret"[..]), "{said}");
    }
    Ok(())
}

#[test]
fn a_private_key_in_pem_is_never_taken_for_the_recipients() -> Outcome {
    let folder = Scratch::new("seal-pem")?;
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIA==\n-----END PRIVATE KEY-----\n";
    let private = write_key(&folder, "private.pem", pem)?;
    let (code, out, said) = piped(&["seal", "seal", "--to", &private], b"secret")?;
    assert_eq!((code, out.as_slice()), (Some(2), &b""[..]), "{said}");
    assert!(said.contains("BEGIN PUBLIC KEY"), "{said}");
    Ok(())
}

#[test]
fn an_input_that_takes_long_says_how_far_it_is_and_never_in_the_output() -> Outcome {
    use std::io::Write as _;
    const MIB: usize = 1024 * 1024;
    let folder = Scratch::new("seal-slow")?;
    let key = at(&folder, "today.jwk");
    let made = portcullis().run(["seal", "keygen-session", "--lifetime", "1h", "--out", &key])?;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let (sealed, said) = {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["seal", "seal", "--session", &key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let mut stdin = stdin.ok_or_else(|| std::io::Error::other("no pipe"))?;
        let writing = std::thread::spawn(move || -> std::io::Result<()> {
            stdin.write_all(&vec![b'x'; MIB])?;
            // Longer than it stays silent.
            std::thread::sleep(std::time::Duration::from_millis(1_500));
            stdin.write_all(&vec![b'x'; 2 * MIB])
        });
        let output = child.wait_with_output()?;
        writing
            .join()
            .map_err(|_| Failure::new("the writer panicked"))??;
        assert_eq!(output.status.code(), Some(0));
        (
            output.stdout,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    assert!(said.contains("reading: 2.0 MiB"), "{said}");
    let (code, opened, _) = piped(&["seal", "open", "--session", &key], &sealed)?;
    assert_eq!(code, Some(0));
    assert!(opened == vec![b'x'; 3 * MIB]);
    Ok(())
}

#[test]
fn a_key_set_over_plain_http_is_asked_for_on_this_machine_alone() -> Outcome {
    let url = "http://192.0.2.1/jwks.json";
    let (code, out, said) = piped(&["seal", "seal", "--to", url], b"secret")?;
    assert_eq!((code, out.as_slice()), (Some(2), &b""[..]), "{said}");
    assert!(said.contains("unprotected") && said.contains("https:"), "{said}");
    Ok(())
}
