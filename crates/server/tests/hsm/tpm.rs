//! A TPM in software (swtpm), its resource manager (tpm2-abrmd) on a D-Bus of its own, tpm2-pkcs11 in front.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use portcullis_core::jose::SignatureAlgorithm;
use portcullis_core::jose::jwe::KeyManagement;

use crate::contract::{self, Place};
use crate::parts::{Folder, Started, inside, library, ports, program, run, run_inside, until, variable};
use crate::token::{self, LABEL, PIN};

const FOLDER: &str = "PORTCULLIS_TPM_FOLDER";
const START: Duration = Duration::from_secs(20);

fn module() -> Option<PathBuf> {
    library("libtpm2_pkcs11.so.1", "libtpm2-pkcs11-1")
}

fn all_there() -> bool {
    module().is_some()
        && library("libtss2-tcti-tabrmd.so.0", "libtss2-tcti-tabrmd0").is_some()
        && [
            ("swtpm", "swtpm"),
            ("tpm2-abrmd", "tpm2-abrmd"),
            ("tpm2_getrandom", "tpm2-tools"),
            ("tpm2_ptool", "libtpm2-pkcs11-tools"),
            ("dbus-daemon", "dbus"),
        ]
        .iter()
        .all(|(name, package)| program(name, package).is_some())
}

/// A bus of its own, and the test inside.
fn within(test: &str) {
    if !all_there() {
        return;
    }
    let folder = Folder::new("tpm");
    let mut bus = Started::new(
        Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .stdout(Stdio::piped()),
    );
    let mut address = String::new();
    BufReader::new(bus.child().stdout.take().unwrap())
        .read_line(&mut address)
        .unwrap();
    let store = folder.path().join("store");
    std::fs::create_dir(&store).unwrap();
    run_inside(
        test,
        &[
            ("DBUS_SESSION_BUS_ADDRESS", address.trim()),
            ("TPM2TOOLS_TCTI", "tabrmd:bus_type=session"),
            ("TPM2_PKCS11_TCTI", "tabrmd:bus_type=session"),
            ("TPM2_PKCS11_STORE", store.to_str().unwrap()),
            ("TSS2_LOG", "all+NONE"),
            (FOLDER, folder.path().to_str().unwrap()),
        ],
    );
}

/// The TPM and its resource manager.
struct Tpm {
    _manager: Started,
    _chip: Started,
}

impl Tpm {
    fn start(folder: &Path) -> Self {
        let state = folder.join("state");
        std::fs::create_dir_all(&state).unwrap();
        let port = ports(2);
        let chip = Started::new(
            Command::new("swtpm")
                .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
                .arg("--tpmstate")
                .arg(format!("dir={}", state.display()))
                .arg("--ctrl")
                .arg(format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1))
                .arg("--server")
                .arg(format!("type=tcp,port={port},bindaddr=127.0.0.1"))
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        // A connection to the TPM itself would be the one it serves.
        until("swtpm serves", START, || {
            TcpStream::connect(("127.0.0.1", port + 1)).is_ok()
        });
        let manager = Started::new(
            Command::new("tpm2-abrmd")
                .args(["--session", "--allow-root"])
                .arg(format!("--tcti=swtpm:host=127.0.0.1,port={port}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        until("the resource manager serves", START, || {
            Command::new("tpm2_getrandom")
                .args(["--hex", "4"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        });
        Self {
            _manager: manager,
            _chip: chip,
        }
    }

    /// With a token in it.
    fn prepared(folder: &Path) -> Self {
        let tpm = Self::start(folder);
        let store = variable("TPM2_PKCS11_STORE");
        run(Command::new("tpm2_ptool").arg("init").arg("--path").arg(&store));
        run(Command::new("tpm2_ptool")
            .args([
                "addtoken",
                "--pid",
                "1",
                "--label",
                LABEL,
                "--sopin",
                "87654321",
                "--userpin",
                PIN,
            ])
            .arg("--path")
            .arg(&store));
        tpm
    }
}

#[test]
fn a_tpm_keeps_the_contract() {
    let test = "tpm::a_tpm_keeps_the_contract";
    if !inside(test) {
        return within(test);
    }
    let folder = variable(FOLDER);
    let _tpm = Tpm::prepared(&folder);
    let module = module().unwrap();
    let settings = token::settings(&module, token::pin_file(&folder, PIN));
    contract::holds(&Place {
        open: &|| token::open(&settings),
        signing: &[SignatureAlgorithm::Es256, SignatureAlgorithm::Rs256],
        sealing: &[KeyManagement::RsaOaep256],
        refused_signing: &[(SignatureAlgorithm::EdDsa, "does not offer")],
        refused_sealing: &[(KeyManagement::EcdhEs, "does not offer")],
        stops: true,
        bears_others: false,
        longest: 10_000,
        owns: true,
    });
    token::private_keys_stay(
        &module,
        &*token::open(&settings),
        &[SignatureAlgorithm::Es256, SignatureAlgorithm::Rs256],
    );
}

#[test]
fn a_tpm_that_stops_under_load_comes_back_without_a_restart() {
    let test = "tpm::a_tpm_that_stops_under_load_comes_back_without_a_restart";
    if !inside(test) {
        return within(test);
    }
    let folder = variable(FOLDER);
    let tpm = Tpm::prepared(&folder);
    let backend = token::open(&token::settings(
        &module().unwrap(),
        token::pin_file(&folder, PIN),
    ));
    let mut again = None;
    token::is_lost_and_comes_back(&*backend, || drop(tpm), || again = Some(Tpm::start(&folder)));
}
