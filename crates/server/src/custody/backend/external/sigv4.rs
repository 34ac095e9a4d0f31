//! AWS Signature Version 4 for one kind of request: `POST /` with a JSON body.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use portcullis_core::time::UnixTime;
use zeroize::Zeroizing;

use super::super::BackendError;
use super::super::hex;
use super::credentials::Credentials;

/// What is signed besides the body.
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// The values of `X-Amz-Date` and `Authorization`.
pub(super) struct Signed {
    pub(super) date: String,
    pub(super) authorization: String,
}

/// Signs. `headers` are lower-case names with their values, sorted, without `x-amz-date`, which is added as the last
/// but what sorts behind it.
pub(super) fn sign(
    credentials: &Credentials,
    scope: &Scope<'_>,
    now: UnixTime,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Signed, BackendError> {
    let (day, date) = stamps(now)?;
    let mut all = headers.to_vec();
    all.push(("x-amz-date", &date));
    all.sort_unstable();
    let mut canonical = "POST\n/\n\n".to_owned();
    for (name, value) in &all {
        canonical.push_str(name);
        canonical.push(':');
        canonical.push_str(value.trim());
        canonical.push('\n');
    }
    let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    canonical.push('\n');
    canonical.push_str(&names);
    canonical.push('\n');
    canonical.push_str(&hex(digest(&SHA256, body).as_ref()));
    let within = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{within}\n{}",
        hex(digest(&SHA256, canonical.as_bytes()).as_ref())
    );
    let first = Zeroizing::new(format!("AWS4{}", credentials.secret.as_str()));
    let mut key = hmac::Key::new(HMAC_SHA256, first.as_bytes());
    for part in [day.as_str(), scope.region, scope.service, "aws4_request"] {
        key = hmac::Key::new(HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    let signature = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
    Ok(Signed {
        authorization: format!(
            "AWS4-HMAC-SHA256 Credential={}/{within}, SignedHeaders={names}, Signature={signature}",
            credentials.id
        ),
        date,
    })
}

/// `20150830` and `20150830T123600Z`.
fn stamps(now: UnixTime) -> Result<(String, String), BackendError> {
    let time = jiff::Timestamp::from_second(now.as_secs())
        .map_err(|_| BackendError::Crypto("read the clock"))?
        .to_zoned(jiff::tz::TimeZone::UTC);
    let day = format!("{:04}{:02}{:02}", time.year(), time.month(), time.day());
    let date = format!(
        "{day}T{:02}{:02}{:02}Z",
        time.hour(),
        time.minute(),
        time.second()
    );
    Ok((day, date))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `post-vanilla` of the published test suite of Signature Version 4.
    #[test]
    fn the_published_example_is_reproduced() {
        let credentials = Credentials {
            id: "AKIDEXAMPLE".to_owned(),
            secret: Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
            session: None,
        };
        let scope = Scope {
            region: "us-east-1",
            service: "service",
        };
        let now = UnixTime::from_secs(1_440_938_160);
        let signed = sign(
            &credentials,
            &scope,
            now,
            &[("host", "example.amazonaws.com")],
            b"",
        )
        .unwrap();
        assert_eq!(signed.date, "20150830T123600Z");
        assert_eq!(
            signed.authorization,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
    }
}
