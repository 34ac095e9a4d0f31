//! `[mtls]` and `[servers.mtls]`.

use std::path::PathBuf;

use http::HeaderName;

use super::build::Builder;
use super::document::{Found, Node};
use super::settings::{DpopRequired, ServerConfig};
use crate::http::{Addresses, ProxyForm, ProxyRule};
use crate::tls::SelfSigned;

/// `[mtls]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MtlsConfig {
    /// Certificates of the authorities whose clients are taken.
    pub client_ca_files: Vec<PathBuf>,
    /// What they revoked.
    pub crl_files: Vec<PathBuf>,
    /// Whether others are taken.
    pub self_signed: SelfSigned,
    /// `[mtls.proxy]`
    pub proxy: Option<ProxyConfig>,
}

/// `[mtls.proxy]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// What it writes.
    pub form: ProxyForm,
    /// How it is known.
    pub rule: ProxyRule,
}

/// Of whom a client certificate is required.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MtlsRequired {
    /// Of those whose token is bound to one. Holds everywhere, whatever is configured, and grants nothing.
    #[default]
    BoundTokens,
    /// Of all: a token that is not bound to one is refused.
    Always,
    /// Of all whose token is not bound to a key that they prove.
    Either,
}

impl Builder<'_> {
    pub(super) fn mtls(&mut self, document: &Node) -> Option<MtlsConfig> {
        let node = document.one("mtls")?;
        let files = |name| {
            let files = node.texts(name).into_iter().flatten();
            files.map(|file| PathBuf::from(&file.value)).collect::<Vec<_>>()
        };
        let proxy = match node.one("proxy") {
            None => None,
            // One that says something wrong is on the report, and must not become none.
            Some(proxy) => Some(self.proxy(proxy)?),
        };
        let config = MtlsConfig {
            proxy,
            client_ca_files: files("client_ca_files"),
            crl_files: files("crl_files"),
            self_signed: match node.text("self_signed").map(|found| found.value) {
                Some("bind") => SelfSigned::Bind,
                Some(_) | None => SelfSigned::Refuse,
            },
        };
        let mut wrong = |what: &str, hint: &str| {
            let (what, hint) = (what.to_owned(), Some(hint.to_owned()));
            self.report.add(self.text, node.at(), node.path(), what, hint);
        };
        if config.client_ca_files.is_empty() {
            if config.self_signed == SelfSigned::Refuse && document.many("trust_domains").next().is_none() {
                wrong(
                    "no client certificate could be taken",
                    "add `client_ca_files = [\"clients.pem\"]` or `self_signed = \"bind\"`",
                );
            }
            if !config.crl_files.is_empty() {
                wrong(
                    "revocation lists are given, and no authority that could have made them",
                    "add `client_ca_files`, or remove `crl_files`",
                );
            }
        }
        let clear = document
            .one("gateway")
            .is_some_and(|gateway| gateway.one("tls").is_none());
        match &config.proxy {
            None if clear => wrong(
                "no connection could have a client certificate: the gateway has no TLS",
                "add `[gateway.tls]`, or `[mtls.proxy]` for a proxy that has it",
            ),
            Some(proxy) if clear && !proxy.rule.names.is_empty() => wrong(
                "the proxy could not show a certificate of its own: the gateway has no TLS",
                "add `[gateway.tls]`, or name the proxy's `addresses` instead of `certificate_names`",
            ),
            None | Some(_) => {}
        }
        Some(config)
    }

    fn proxy(&mut self, node: &Node) -> Option<ProxyConfig> {
        let form = node.text("form")?;
        let header = node.text("header");
        let form = match (form.value, header) {
            ("client-cert", None) => Some(ProxyForm::ClientCert),
            ("x-forwarded-client-cert", None) => Some(ProxyForm::ForwardedClientCert),
            ("escaped-pem", Some(header)) => self
                .parsed(header, |name| HeaderName::try_from(name))
                .map(ProxyForm::EscapedPem),
            (_, Some(header)) => {
                let hint = Some("remove it, or write `form = \"escaped-pem\"`".to_owned());
                self.add(&header, "the form has a header of its own", hint);
                None
            }
            (_, None) => {
                let hint = Some("add `header = \"X-SSL-Client-Cert\"`, as the proxy names it".to_owned());
                self.add(&form, "the form has no header of its own", hint);
                None
            }
        };
        let texts = |name| node.texts(name).into_iter().flatten();
        let mut networks = Vec::new();
        for found in texts("addresses") {
            let found = Found {
                value: found.value.as_str(),
                at: found.at.clone(),
                path: found.path.clone(),
            };
            networks.extend(self.parsed(found, Addresses::parse));
        }
        let names: Vec<String> = texts("certificate_names")
            .map(|found| found.value.clone())
            .collect();
        if names.is_empty() && texts("addresses").next().is_none() {
            let hint = Some(
                "add `certificate_names = [\"proxy.internal\"]` or `addresses = [\"10.0.0.5\"]`".to_owned(),
            );
            let message = "nothing says which proxy is meant, so that none would be believed".to_owned();
            self.report.add(self.text, node.at(), node.path(), message, hint);
        }
        Some(ProxyConfig {
            form: form?,
            rule: ProxyRule { networks, names },
        })
    }

    /// What the servers require, against what there is.
    pub(super) fn senders(&mut self, document: &Node, servers: &[ServerConfig]) {
        let of = |server: &ServerConfig| {
            let name = server.name.as_str();
            let mut nodes = document.many("servers");
            nodes.find(|node| node.text("name").is_some_and(|found| found.value == name))
        };
        for server in servers {
            let Some(node) = of(server) else { continue };
            if server.mtls == MtlsRequired::BoundTokens {
                continue;
            }
            if document.one("mtls").is_none() && document.many("trust_domains").next().is_none() {
                let hint = Some("add an `[mtls]` section, or remove `required`".to_owned());
                let message = "client certificates are required, and nobody is asked for one".to_owned();
                self.report.add(self.text, node.at(), node.path(), message, hint);
            }
            if server.dpop.required == DpopRequired::Always {
                let hint = Some(
                    "for tokens that are bound to one of the two, write `required = \"either\"` for `mtls` and `required = \"bound-tokens\"` for `dpop`; a token that is bound to both needs both anyway"
                        .to_owned(),
                );
                let message =
                    "`dpop` and `mtls` both say which tokens are accepted, and no token is both".to_owned();
                self.report.add(self.text, node.at(), node.path(), message, hint);
            }
        }
    }
}

/// What a section says, and what holds where it says nothing.
pub(super) fn mtls_required(node: Option<&Node>, otherwise: MtlsRequired) -> MtlsRequired {
    match node
        .and_then(|node| node.text("required"))
        .map(|found| found.value)
    {
        Some("always") => MtlsRequired::Always,
        Some("either") => MtlsRequired::Either,
        Some("bound-tokens") => MtlsRequired::BoundTokens,
        Some(_) | None => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const CA: &str = "[mtls]\nclient_ca_files = [\"ca.pem\"]\n";

    fn config(tls: &str, server: &str, rest: &str) -> Result<Config, Vec<String>> {
        let text = format!(
            "version = 1\n[gateway]\nlisten = \"127.0.0.1:1\"\npublic_url = \"https://gw.example\"\n{tls}\
             [[issuers]]\nissuer = \"https://as.example\"\nalgorithms = [\"ES256\"]\n[[servers]]\nname = \"crm\"\nurl = \"http://127.0.0.1:1\"\n{server}\n\
             [audit]\ndir = \"a\"\n[keys]\ndir = \"k\"\nmaster_key_file = \"m\"\n{rest}"
        );
        Config::parse(&text).map_err(|report| {
            let findings = report.findings().iter();
            findings.map(|finding| finding.path.clone()).collect()
        })
    }

    const TLS: &str = "[gateway.tls]\ncertificate_file = \"a\"\nkey_file = \"b\"\n";

    #[test]
    fn without_the_section_nobody_is_asked_and_with_it_only_authorities_count() {
        assert_eq!(config(TLS, "", "").unwrap().mtls, None);
        let read = config(TLS, "", CA).unwrap();
        let mtls = read.mtls.unwrap();
        assert_eq!(mtls.self_signed, SelfSigned::Refuse);
        assert_eq!(mtls.client_ca_files, [PathBuf::from("ca.pem")]);
        assert_eq!(read.servers[0].mtls, MtlsRequired::BoundTokens);
        let alone = config(TLS, "", "[mtls]\nself_signed = \"bind\"\n").unwrap();
        assert_eq!(alone.mtls.unwrap().self_signed, SelfSigned::Bind);
    }

    #[test]
    fn a_proxy_is_known_by_its_address_or_its_certificate() {
        let proxy = |tls: &str, text: &str| {
            let read = config(tls, "", &format!("{CA}[mtls.proxy]\n{text}\n")).unwrap();
            read.mtls.unwrap().proxy.unwrap()
        };
        let by_address = proxy("", "form = \"client-cert\"\naddresses = [\"10.0.0.0/24\"]");
        assert_eq!(by_address.form, ProxyForm::ClientCert);
        assert_eq!(
            by_address.rule.networks,
            [Addresses::parse("10.0.0.0/24").unwrap()]
        );
        let by_name = proxy(
            TLS,
            "form = \"escaped-pem\"\nheader = \"X-SSL-Cert\"\ncertificate_names = [\"edge.internal\"]",
        );
        assert_eq!(
            by_name.form,
            ProxyForm::EscapedPem(HeaderName::from_static("x-ssl-cert"))
        );
        assert_eq!(by_name.rule.names, ["edge.internal"]);
    }

    #[test]
    fn a_server_has_its_own_word_or_that_of_all() {
        for (server, all, expected) in [
            ("", "required = \"always\"", MtlsRequired::Always),
            ("", "required = \"either\"", MtlsRequired::Either),
            (
                "[servers.mtls]\nrequired = \"bound-tokens\"",
                "required = \"always\"",
                MtlsRequired::BoundTokens,
            ),
            ("[servers.mtls]\nrequired = \"either\"", "", MtlsRequired::Either),
        ] {
            let read = config(TLS, server, &format!("{CA}{all}\n")).unwrap();
            assert_eq!(read.servers[0].mtls, expected, "{server} {all}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_an_error() {
        let always = "[servers.mtls]\nrequired = \"always\"";
        for (tls, server, rest, path) in [
            ("", "", CA.to_owned(), "mtls"),
            (TLS, "", "[mtls]\n".to_owned(), "mtls"),
            (
                TLS,
                "",
                "[mtls]\nself_signed = \"bind\"\ncrl_files = [\"x\"]\n".to_owned(),
                "mtls",
            ),
            (TLS, always, String::new(), "servers[0]"),
            (
                TLS,
                "[servers.dpop]\nrequired = \"always\"\n[servers.mtls]\nrequired = \"either\"",
                CA.to_owned(),
                "servers[0]",
            ),
            (
                TLS,
                always,
                format!("{CA}[dpop]\nrequired = \"always\"\n"),
                "servers[0]",
            ),
            (
                TLS,
                "",
                format!("{CA}[mtls.proxy]\nform = \"client-cert\"\n"),
                "mtls.proxy",
            ),
            (
                TLS,
                "",
                format!("{CA}[mtls.proxy]\nform = \"escaped-pem\"\naddresses = [\"10.0.0.5\"]\n"),
                "mtls.proxy.form",
            ),
            (
                TLS,
                "",
                format!(
                    "{CA}[mtls.proxy]\nform = \"client-cert\"\nheader = \"X\"\naddresses = [\"10.0.0.5\"]\n"
                ),
                "mtls.proxy.header",
            ),
            (
                TLS,
                "",
                format!("{CA}[mtls.proxy]\nform = \"client-cert\"\naddresses = [\"10.0.0.5/24\"]\n"),
                "mtls.proxy.addresses[0]",
            ),
            (
                "",
                "",
                format!("{CA}[mtls.proxy]\nform = \"client-cert\"\ncertificate_names = [\"edge\"]\n"),
                "mtls",
            ),
            (
                TLS,
                "",
                format!("{CA}self_signed = \"yes\"\n"),
                "mtls.self_signed",
            ),
        ] {
            assert_eq!(config(tls, server, &rest).unwrap_err(), [path], "{server} {rest}");
        }
    }
}
