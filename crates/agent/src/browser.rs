//! The person's own browser.

use std::process::Stdio;

use tokio::process::Command;

/// What opens an address here. Each takes it as one argument; no shell reads it.
const OPENER: &str = if cfg!(target_os = "macos") {
    "open"
} else {
    "xdg-open"
};

/// Opens the address, which must come from the client's state machine: it begins with `https://` or `http://`, so no
/// program takes it for an option. Returns at once; a browser that does not open is the person's to notice.
///
/// # Errors
/// When there is no program that opens addresses.
pub fn open(url: &str) -> std::io::Result<()> {
    let mut child = Command::new(OPENER)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // Waits only so that the child leaves no entry behind in the process table.
    drop(tokio::spawn(async move { child.wait().await }));
    Ok(())
}
