//! The forms in which proxies write certificates. Each is read as its own description has it; what is anything else, or twice,
//! is refused: which of two would count depends on who reads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_guard::CertificateRefused::{self, Malformed, Two};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::ProxyForm;

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Certificates, the client's own first.
pub(super) type Chain = Vec<CertificateDer<'static>>;

impl ProxyForm {
    /// What the proxy says; none, when its client showed none.
    pub(super) fn read(&self, headers: &HeaderMap) -> Result<Option<Chain>, CertificateRefused> {
        match self {
            Self::ClientCert => client_cert(headers),
            Self::ForwardedClientCert => one(headers, &FORWARDED)?.map(forwarded).transpose(),
            Self::EscapedPem(name) => one(headers, name)?.map(escaped_pem).transpose(),
        }
    }
}

/// The one value of a header, if it is there. An empty one is what some proxies write for none.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, CertificateRefused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Two),
        (value, None) => Ok(value.map(text).transpose()?.filter(|value| !value.is_empty())),
    }
}

fn text(value: &HeaderValue) -> Result<&str, CertificateRefused> {
    value.to_str().map(str::trim).map_err(|_| Malformed)
}

/// RFC 9440 §2.2 and §2.3: a byte sequence, and a list of them (RFC 8941 §3.3.5, §3.1). A chain without a certificate is none.
fn client_cert(headers: &HeaderMap) -> Result<Option<Chain>, CertificateRefused> {
    let Some(own) = one(headers, &CLIENT_CERT)? else {
        return match headers.contains_key(&CLIENT_CERT_CHAIN) {
            true => Err(Malformed),
            false => Ok(None),
        };
    };
    // Of two certificates in one value one came through the proxy.
    if own.contains(',') {
        return Err(Two);
    }
    let mut chain = vec![byte_sequence(own)?];
    for line in headers.get_all(&CLIENT_CERT_CHAIN) {
        for member in text(line)?.split(',') {
            chain.push(byte_sequence(member.trim_matches([' ', '\t']))?);
        }
    }
    Ok(Some(chain))
}

fn byte_sequence(item: &str) -> Result<CertificateDer<'static>, CertificateRefused> {
    let inner = item.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    let inner = inner.filter(|inner| !inner.is_empty()).ok_or(Malformed)?;
    let der = STANDARD.decode(inner).map_err(|_| Malformed)?;
    Ok(CertificateDer::from(der))
}

/// Envoy's `XFCC`: elements with commas between, of `Key=Value` with semicolons between; a value may be in quotes. One element:
/// a second one is what a client or another proxy said before.
fn forwarded(value: &str) -> Result<Chain, CertificateRefused> {
    let mut certificate = None;
    let mut chain = None;
    for (index, element) in split(value, ',')?.into_iter().enumerate() {
        if index > 0 {
            return Err(Two);
        }
        for pair in split(element, ';')? {
            let (key, value) = pair.split_once('=').ok_or(Malformed)?;
            let slot = match key.trim().to_ascii_lowercase().as_str() {
                "cert" => &mut certificate,
                "chain" => &mut chain,
                _ => continue,
            };
            let value = unquoted(value.trim())?;
            if slot.replace(escaped_pem(value)?).is_some() {
                return Err(Two);
            }
        }
    }
    // `Chain` begins with the client's own certificate, which `Cert` is alone.
    match (certificate, chain) {
        (Some(own), None) if own.len() == 1 => Ok(own),
        (None, Some(chain)) => Ok(chain),
        (Some(own), Some(chain)) if own.len() == 1 && own.first() == chain.first() => Ok(chain),
        (Some(_), Some(_)) => Err(Two),
        (None | Some(_), None) => Err(Malformed),
    }
}

/// Splits where no quotes are open.
fn split(text: &str, at: char) -> Result<Vec<&str>, CertificateRefused> {
    let (mut parts, mut rest) = (Vec::new(), text);
    let (mut quoted, mut escaped) = (false, false);
    for (index, found) in text.char_indices() {
        match found {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if found == at && !quoted => {
                let begin = text.len() - rest.len();
                parts.push(text.get(begin..index).unwrap_or_default());
                rest = text.get(index + at.len_utf8()..).unwrap_or_default();
            }
            _ => {}
        }
    }
    if quoted {
        return Err(Malformed);
    }
    parts.push(rest);
    Ok(parts)
}

/// What is in the quotes. A certificate with percent-encoding has nothing in it that would have to be escaped.
fn unquoted(value: &str) -> Result<&str, CertificateRefused> {
    let inner = match value.strip_prefix('"') {
        None => value,
        Some(rest) => rest.strip_suffix('"').ok_or(Malformed)?,
    };
    match inner.contains(['"', '\\']) {
        true => Err(Malformed),
        false => Ok(inner),
    }
}

/// PEM with percent-encoding. `+` is itself (it is a character of base64).
fn escaped_pem(value: &str) -> Result<Chain, CertificateRefused> {
    let mut pem = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
            let (high, low) = (digit().ok_or(Malformed)?, digit().ok_or(Malformed)?);
            pem.push(u8::try_from(high * 16 + low).map_err(|_| Malformed)?);
        } else {
            pem.push(byte);
        }
    }
    let chain: Result<Chain, _> = CertificateDer::pem_slice_iter(&pem).collect();
    chain.map_err(|_| Malformed).and_then(|chain| {
        if chain.is_empty() {
            Err(Malformed)
        } else {
            Ok(chain)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
    const TWO: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nBAUG\n-----END CERTIFICATE-----\n";

    fn escaped(pem: &str) -> String {
        pem.replace(' ', "%20").replace('\n', "%0A")
    }

    fn read(form: &ProxyForm, headers: &[(&str, &str)]) -> Result<Option<Vec<Vec<u8>>>, CertificateRefused> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            );
        }
        let chain = form.read(&map)?;
        Ok(chain.map(|chain| chain.iter().map(|der| der.to_vec()).collect()))
    }

    #[test]
    fn rfc_9440_has_byte_sequences() {
        let form = ProxyForm::ClientCert;
        type Row<'r> = (
            &'r [(&'r str, &'r str)],
            Result<Option<usize>, CertificateRefused>,
        );
        let rows: &[Row<'_>] = &[
            (&[], Ok(None)),
            (&[("client-cert", "")], Ok(None)),
            (&[("client-cert", ":AQID:")], Ok(Some(1))),
            (
                &[("Client-Cert", ":AQID:"), ("client-cert-chain", ":BAUG:, :BwgJ:")],
                Ok(Some(3)),
            ),
            (
                &[
                    ("client-cert", ":AQID:"),
                    ("client-cert-chain", ":BAUG:"),
                    ("client-cert-chain", ":BwgJ:"),
                ],
                Ok(Some(3)),
            ),
            (&[("client-cert", ":AQID:"), ("client-cert", ":AQID:")], Err(Two)),
            (&[("client-cert", ":AQID:, :BAUG:")], Err(Two)),
            (&[("client-cert-chain", ":BAUG:")], Err(Malformed)),
            (&[("client-cert", "AQID")], Err(Malformed)),
            (&[("client-cert", "::")], Err(Malformed)),
            (&[("client-cert", ":")], Err(Malformed)),
            (&[("client-cert", ":AQID")], Err(Malformed)),
            (&[("client-cert", ":AQI:")], Err(Malformed)),
            (&[("client-cert", ":AQ_D:")], Err(Malformed)),
            (&[("client-cert", ":AQID:;a=b")], Err(Malformed)),
            (
                &[("client-cert", ":AQID:"), ("client-cert-chain", "")],
                Err(Malformed),
            ),
            // Other names are other headers.
            (
                &[("client_cert", ":AQID:"), ("x-client-cert", ":AQID:")],
                Ok(None),
            ),
        ];
        for (headers, expected) in rows {
            let found = read(&form, headers).map(|chain| chain.map(|chain| chain.len()));
            assert_eq!(found, *expected, "{headers:?}");
        }
    }

    #[test]
    fn envoys_form_is_one_element() {
        let (form, pem, two) = (ProxyForm::ForwardedClientCert, escaped(PEM), escaped(TWO));
        let name = "x-forwarded-client-cert";
        let rows: Vec<(String, Result<usize, CertificateRefused>)> = vec![
            (format!("Cert=\"{pem}\""), Ok(1)),
            (
                format!("By=spiffe://a/b;Hash=00;Subject=\"CN=\\\"a, b\\\";O=c\";URI=;Cert=\"{pem}\""),
                Ok(1),
            ),
            (format!("Hash=00;Cert={pem};Chain=\"{two}\""), Ok(2)),
            (format!("chain=\"{two}\""), Ok(2)),
            (format!("Cert=\"{pem}\",Cert=\"{pem}\""), Err(Two)),
            (format!("Hash=00,Cert=\"{pem}\""), Err(Two)),
            (format!("Cert=\"{pem}\";Cert=\"{pem}\""), Err(Two)),
            (
                format!("Cert=\"{}\";Chain=\"{two}\"", pem.replace("AQID", "BAUG")),
                Err(Two),
            ),
            (format!("Cert=\"{two}\""), Err(Malformed)),
            ("Hash=00".to_owned(), Err(Malformed)),
            (format!("Cert=\"{pem}"), Err(Malformed)),
            ("Cert=\"\"".to_owned(), Err(Malformed)),
            ("Cert=%2".to_owned(), Err(Malformed)),
            ("Cert=%zz".to_owned(), Err(Malformed)),
            ("nonsense".to_owned(), Err(Malformed)),
        ];
        for (value, expected) in &rows {
            let found = read(&form, &[(name, value)]).map(|chain| chain.unwrap().len());
            assert_eq!(found, *expected, "{value}");
        }
        let once = rows[0].0.as_str();
        assert_eq!(read(&form, &[(name, once), (name, once)]), Err(Two));
        assert_eq!(read(&form, &[(name, "")]), Ok(None));
    }

    #[test]
    fn nginxs_form_is_escaped_pem_in_the_header_that_is_named() {
        let form = ProxyForm::EscapedPem(HeaderName::from_static("x-ssl-cert"));
        let pem = escaped(PEM);
        assert_eq!(
            read(&form, &[("x-ssl-cert", &pem)]),
            Ok(Some(vec![vec![1, 2, 3]]))
        );
        let two = read(&form, &[("x-ssl-cert", &escaped(TWO))]).unwrap().unwrap();
        assert_eq!(two.len(), 2);
        assert_eq!(
            read(&form, &[("x-ssl-cert", &pem), ("x-ssl-cert", &pem)]),
            Err(Two)
        );
        assert_eq!(
            read(&form, &[("client-cert", &pem), ("x-ssl-cert", "")]),
            Ok(None)
        );
        for wrong in ["%", "AQID", "-----BEGIN CERTIFICATE-----"] {
            assert_eq!(read(&form, &[("x-ssl-cert", wrong)]), Err(Malformed), "{wrong}");
        }
    }
}
