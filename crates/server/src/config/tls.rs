//! `[gateway.tls]` and `[authority.tls]`.

use super::build::Builder;
use super::document::{Found, Node};
use super::settings::TlsConfig;

impl Builder<'_> {
    /// `[….tls]` of a listener that is reached at this URL.
    pub(super) fn tls(&mut self, node: &Node, public_url: Option<&Found<&str>>) -> Option<TlsConfig> {
        let tls = node.one("tls")?;
        if let Some(url) = public_url.filter(|url| !url.value.starts_with("https:")) {
            let hint = Some("write `https://…`, or remove the section `tls`".to_owned());
            self.add(
                url,
                "callers are sent to an address without TLS, and the listener has it",
                hint,
            );
        }
        Some(TlsConfig {
            certificate_file: tls.path_value("certificate_file")?,
            key_file: tls.path_value("key_file")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    const TLS: &str = "certificate_file = \"a.pem\"\nkey_file = \"b.pem\"\n";

    fn gateway(url: &str, tls: &str) -> Result<Config, Vec<String>> {
        let text = format!(
            "version = 1\n[gateway]\nlisten = \"127.0.0.1:1\"\npublic_url = \"{url}\"\n[gateway.tls]\n{tls}\
             [[issuers]]\nissuer = \"https://as.example\"\nalgorithms = [\"ES256\"]\n[[servers]]\nname = \"crm\"\nurl = \"http://127.0.0.1:1\"\n\
             [audit]\ndir = \"a\"\n[keys]\ndir = \"k\"\nmaster_key_file = \"m\"\n"
        );
        Config::parse(&text).map_err(|report| {
            let findings = report.findings().iter();
            findings.map(|finding| finding.path.clone()).collect()
        })
    }

    #[test]
    fn a_listener_with_tls_has_both_files_and_is_reached_by_https() {
        let config = gateway("https://gw.example", TLS).unwrap();
        let tls = config.gateway.unwrap().tls.unwrap();
        assert_eq!(tls.certificate_file.to_str(), Some("a.pem"));
        assert_eq!(tls.key_file.to_str(), Some("b.pem"));
        for (url, tls, path) in [
            ("http://gw.example", TLS, "gateway.public_url"),
            (
                "https://gw.example",
                "key_file = \"b.pem\"\n",
                "gateway.tls.certificate_file",
            ),
            (
                "https://gw.example",
                "certificate_file = \"a.pem\"\n",
                "gateway.tls.key_file",
            ),
        ] {
            assert_eq!(gateway(url, tls).unwrap_err(), [path], "{url} {tls}");
        }
    }
}
