//! base64url without padding (RFC 7515 §2), one spelling per value: no padding, no line breaks, no set spare bits.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A text that is not the base64url form of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not base64url without padding")]
pub struct NotBase64Url;

/// The text of these bytes.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Appends the text of these bytes.
pub fn encode_onto(out: &mut String, bytes: impl AsRef<[u8]>) {
    URL_SAFE_NO_PAD.encode_string(bytes, out);
}

/// The bytes of this text.
///
/// # Errors
/// [`NotBase64Url`], also for a text that has another spelling of the same bytes.
pub fn decode(text: impl AsRef<[u8]>) -> Result<Vec<u8>, NotBase64Url> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| NotBase64Url)
}

/// The bytes of this text, in the caller's buffer.
///
/// # Errors
/// [`NotBase64Url`] as [`decode`], and when the bytes do not fit.
pub fn decode_into<'b>(text: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], NotBase64Url> {
    let length = URL_SAFE_NO_PAD
        .decode_slice(text, buffer)
        .map_err(|_| NotBase64Url)?;
    buffer.get(..length).ok_or(NotBase64Url)
}

/// Whether a text is longer than the base64url form of this many bytes: asked before it is decoded.
pub(super) fn exceeds(text: &str, bytes: usize) -> bool {
    text.len() > bytes.saturating_mul(4).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_per_value() {
        assert_eq!(decode("_-8").unwrap(), [0xff, 0xef]);
        // padded, standard alphabet, white space, spare bits set, impossible length
        for bad in ["_-8=", "/+8", "_-8\n", " _-8", "_-9", "_", "_-8_-"] {
            assert_eq!(decode(bad), Err(NotBase64Url), "{bad:?}");
        }
    }

    #[test]
    fn as_long_as_the_form_of_that_many_bytes_and_one_more() {
        for bytes in 0..100 {
            assert!(!exceeds(&encode(vec![7; bytes]), bytes), "{bytes}");
            assert!(exceeds(&encode(vec![7; bytes + 1]), bytes), "{bytes}");
        }
        assert!(!exceeds("AAAA", usize::MAX));
    }

    #[test]
    fn the_buffer_may_be_exactly_as_large_as_the_bytes() {
        assert_eq!(decode_into("AAAA", &mut [1; 3]).unwrap(), [0, 0, 0]);
        assert_eq!(decode_into("AAAA", &mut [1; 2]), Err(NotBase64Url));
    }
}
