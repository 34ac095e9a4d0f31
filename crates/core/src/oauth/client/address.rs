//! Addresses that a secret may be sent to.

use url::{Host, Url};

use crate::ids::Issuer;

use super::Error;

/// The address of an MCP server: https, or http on loopback (OAuth 2.1 §1.5), kept byte for byte as the person typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    url: Url,
}

impl ServerUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        match confidential(text) {
            Ok(url) => Ok(Self {
                text: text.to_owned(),
                url,
            }),
            Err(reason) => Err(Error::Address {
                url: text.to_owned(),
                reason,
            }),
        }
    }

    /// As it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// For sending a request there.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the server is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        loopback(&self.url)
    }
}

/// An endpoint of an authorization server: https, or http on loopback, without a fragment (RFC 6749 §3.1, §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Reads an endpoint. `role` is the name of its metadata member.
    ///
    /// # Errors
    /// [`Error::Endpoint`].
    pub fn parse(issuer: &Issuer, role: &'static str, text: &str) -> Result<Self, Error> {
        match confidential(text) {
            Ok(url) => Ok(Self(url)),
            Err(reason) => Err(Error::Endpoint {
                issuer: issuer.clone(),
                role,
                url: text.to_owned(),
                reason,
            }),
        }
    }

    /// The address.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    pub(super) fn shares_origin(&self, other: &Self) -> bool {
        self.0.origin() == other.0.origin()
    }
}

/// Only what is encrypted, or does not leave the machine. `javascript:`, `file:` and the like end here.
pub(super) fn confidential(text: &str) -> Result<Url, &'static str> {
    if text.len() > crate::limits::NAME_BYTES {
        return Err("it is too long");
    }
    // The URL parser drops tabs and line feeds silently and cuts white space off the ends.
    if text.chars().any(|c| c.is_control() || c == ' ') {
        return Err("it has a space or a control character");
    }
    let url = Url::parse(text).map_err(|_| "it is not an absolute URL")?;
    match url.scheme() {
        "https" => {}
        "http" if loopback(&url) => {}
        "http" => return Err("http is not encrypted, and is used on loopback only"),
        _ => return Err("its scheme is neither https nor http"),
    }
    if url.fragment().is_some() {
        return Err("it has a fragment");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it carries a user name or password");
    }
    Ok(url)
}

fn loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
