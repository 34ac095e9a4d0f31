//! `initialize` and `server/discover`: what each side is, told once or whenever it is asked.

use serde_json::value::RawValue;

use super::outcome::fresh;
use super::{Stamp, Unreadable, incoming, is_object, meta, raw, string};
use crate::wire::entries::Entries;
use crate::wire::{LEGACY_VERSIONS, MODERN_VERSIONS};

/// The notification that ends the handshake.
pub const INITIALIZED: &str = "notifications/initialized";

/// Revisions with `initialize` that a server may answer with. The oldest has no Streamable HTTP of its own, and some servers of
/// it have.
const ANSWERED: [&str; 1] = ["2024-11-05"];

/// What a legacy server said of itself.
#[derive(Debug)]
pub struct Welcome {
    version: String,
    capabilities: Box<RawValue>,
    server: Option<Box<RawValue>>,
    instructions: Option<Box<RawValue>>,
}

impl Welcome {
    /// The `initialize` that gets it, for a client with these capabilities.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn request(id: &RawValue, capabilities: &RawValue, client: &RawValue) -> Result<Vec<u8>, Unreadable> {
        let mut params = Entries::read("{}", &[])?;
        let version = LEGACY_VERSIONS.last().copied().unwrap_or_default();
        params.put("protocolVersion", &version)?;
        params.put("capabilities", &capabilities)?;
        params.put("clientInfo", &client)?;
        Ok(incoming::request(id, "initialize", Some(&*raw(&params)?)))
    }

    /// Reads an `InitializeResult`.
    ///
    /// # Errors
    /// [`Unreadable`]: also for a revision that is not known here.
    pub fn read(result: &RawValue) -> Result<Self, Unreadable> {
        let result = Entries::read(
            result.get(),
            &["protocolVersion", "capabilities", "serverInfo", "instructions"],
        )?;
        let version = result.raw("protocolVersion").and_then(string).ok_or(Unreadable)?;
        if !LEGACY_VERSIONS.contains(&&*version) && !ANSWERED.contains(&&*version) {
            return Err(Unreadable);
        }
        let text = result.raw("capabilities").map_or("{}", RawValue::get);
        let mut capabilities = Entries::read(text, &["tasks"])?;
        // Those of 2025-11-25 are another thing than the extension of that name.
        capabilities.remove("tasks");
        Ok(Self {
            version,
            capabilities: raw(&capabilities)?,
            server: result
                .raw("serverInfo")
                .filter(|server| is_object(server))
                .map(ToOwned::to_owned),
            instructions: result.raw("instructions").map(ToOwned::to_owned),
        })
    }

    /// The revision that the session speaks.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Who the server says it is.
    #[must_use]
    pub fn server(&self) -> Option<&RawValue> {
        self.server.as_deref()
    }

    /// Whether it declared a capability, and a flag of that.
    #[must_use]
    pub fn can(&self, capability: &str, flag: Option<&str>) -> bool {
        can(&self.capabilities, capability, flag)
    }

    /// The result of `server/discover` that says the same.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn discovered(&self) -> Result<Box<RawValue>, Unreadable> {
        let mut result = Entries::read("{}", &[])?;
        result.put("supportedVersions", &MODERN_VERSIONS)?;
        result.put("capabilities", &self.capabilities)?;
        if let Some(instructions) = &self.instructions {
            result.put("instructions", instructions)?;
        }
        fresh(&mut result)?;
        if let Some(server) = &self.server {
            let mut about = Entries::read("{}", &[])?;
            about.put(meta::SERVER, server)?;
            result.put("_meta", &about)?;
        }
        raw(&result)
    }
}

/// What a modern server said of itself.
#[derive(Debug)]
pub struct Found {
    capabilities: Box<RawValue>,
    server: Option<Box<RawValue>>,
    instructions: Option<Box<RawValue>>,
}

/// The `server/discover` that gets it.
///
/// # Errors
/// [`Unreadable`].
pub fn discover(id: &RawValue, stamp: &Stamp) -> Result<Vec<u8>, Unreadable> {
    Ok(incoming::request(id, "server/discover", Some(&*stamp.params()?)))
}

impl Found {
    /// Reads the result of `server/discover`.
    ///
    /// # Errors
    /// [`Unreadable`]: also when it speaks none of the revisions that are known here.
    pub fn read(result: &RawValue) -> Result<Self, Unreadable> {
        let result = Entries::read(
            result.get(),
            &["supportedVersions", "capabilities", "instructions", "_meta"],
        )?;
        let versions = result.raw("supportedVersions").ok_or(Unreadable)?;
        let versions: Vec<String> = serde_json::from_str(versions.get())?;
        if !versions
            .iter()
            .any(|version| MODERN_VERSIONS.contains(&&**version))
        {
            return Err(Unreadable);
        }
        let about = Entries::read(result.raw("_meta").map_or("{}", RawValue::get), &[meta::SERVER])?;
        Ok(Self {
            capabilities: match result.raw("capabilities").filter(|value| is_object(value)) {
                Some(capabilities) => capabilities.to_owned(),
                None => raw(&Entries::read("{}", &[])?)?,
            },
            server: about.raw(meta::SERVER).map(ToOwned::to_owned),
            instructions: result.raw("instructions").map(ToOwned::to_owned),
        })
    }

    /// Whether it declared a capability, and a flag of that.
    #[must_use]
    pub fn can(&self, capability: &str, flag: Option<&str>) -> bool {
        can(&self.capabilities, capability, flag)
    }

    /// The `InitializeResult` that says the same, in this revision. `name` is what the server is called if it does not say.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn welcome(&self, version: &str, name: &str) -> Result<Box<RawValue>, Unreadable> {
        let mut result = Entries::read("{}", &[])?;
        result.put("protocolVersion", &version)?;
        result.put("capabilities", &self.capabilities)?;
        match &self.server {
            Some(server) => result.put("serverInfo", server)?,
            None => result.put("serverInfo", &serde_json::json!({"name": name, "version": ""}))?,
        }
        if let Some(instructions) = &self.instructions {
            result.put("instructions", instructions)?;
        }
        raw(&result)
    }
}

/// What a legacy client said of itself on `initialize`.
#[derive(Debug)]
pub struct Hello {
    /// The revision that the session is to speak: the client's, or the last that has sessions.
    pub version: &'static str,
    /// What each of its requests will say.
    pub stamp: Stamp,
}

impl Hello {
    /// Reads the parameters of `initialize`.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(request: &super::Request<'_>) -> Result<Self, Unreadable> {
        let asked = request
            .param("protocolVersion")
            .and_then(string)
            .ok_or(Unreadable)?;
        let mut known = LEGACY_VERSIONS.iter().copied();
        let last = LEGACY_VERSIONS.last().copied().unwrap_or_default();
        let stamp = Stamp::of(request.param("capabilities"), request.param("clientInfo"))?;
        Ok(Self {
            version: known.find(|version| *version == asked).unwrap_or(last),
            stamp,
        })
    }
}

fn can(capabilities: &RawValue, capability: &str, flag: Option<&str>) -> bool {
    let Ok(all) = Entries::read(capabilities.get(), &[]) else {
        return false;
    };
    match (all.raw(capability), flag) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(about), Some(flag)) => Entries::read(about.get(), &[])
            .is_ok_and(|about| about.raw(flag).is_some_and(|value| value.get() == "true")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_legacy_server_is_discovered() {
        let welcome = Welcome::read(&json(
            r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"tasks":{}},"serverInfo":{"name":"s","version":"1"},"instructions":"read me"}"#,
        ))
        .unwrap();
        assert_eq!(welcome.version(), "2025-06-18");
        assert!(welcome.can("tools", Some("listChanged")) && welcome.can("tools", None));
        assert!(!welcome.can("resources", None) && !welcome.can("tools", Some("subscribe")));
        assert_eq!(
            welcome.discovered().unwrap().get(),
            r#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}},"instructions":"read me","resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}}"#
        );
        for version in ["1900-01-01", "2026-07-28", ""] {
            let result = json(&format!(
                r#"{{"protocolVersion":"{version}","capabilities":{{}}}}"#
            ));
            assert_eq!(Welcome::read(&result).unwrap_err(), Unreadable, "{version}");
        }
    }

    #[test]
    fn a_modern_server_welcomes() {
        let found = Found::read(&json(
            r#"{"resultType":"complete","supportedVersions":["2026-07-28","2099-01-01"],"capabilities":{"resources":{"subscribe":true}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}}}"#,
        ))
        .unwrap();
        assert!(found.can("resources", Some("subscribe")));
        assert_eq!(
            found.welcome("2025-11-25", "x").unwrap().get(),
            r#"{"protocolVersion":"2025-11-25","capabilities":{"resources":{"subscribe":true}},"serverInfo":{"name":"s"}}"#
        );
        assert!(Found::read(&json(r#"{"supportedVersions":["2099-01-01"],"capabilities":{}}"#)).is_err());
        assert!(Found::read(&json(r#"{"tools":[]}"#)).is_err());
    }

    #[test]
    fn a_client_gets_its_own_revision_or_the_last() {
        for (asked, version) in [
            ("2025-03-26", "2025-03-26"),
            ("2025-11-25", "2025-11-25"),
            ("2024-11-05", "2025-11-25"),
            ("2026-07-28", "2025-11-25"),
        ] {
            let body = format!(
                r#"{{"id":0,"method":"initialize","params":{{"protocolVersion":"{asked}","capabilities":{{}}}}}}"#
            );
            let request = super::super::Request::read(body.as_bytes()).unwrap();
            assert_eq!(Hello::read(&request).unwrap().version, version);
        }
    }
}
