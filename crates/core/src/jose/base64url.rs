//! base64url without padding (RFC 7515 §2), one spelling per value: no padding, no line breaks, no set spare bits.

use base64_simd::{AsOut as _, URL_SAFE_NO_PAD};

/// A text that is not the base64url form of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not base64url without padding")]
pub struct NotBase64Url;

/// The text of these bytes.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

/// Appends the text of these bytes.
pub fn encode_onto(out: &mut String, bytes: impl AsRef<[u8]>) {
    URL_SAFE_NO_PAD.encode_append(bytes, out);
}

/// Writes the text of these bytes at the start of `out` and gives its length; `None` when it does not fit.
pub(super) fn encode_into(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    let length = encoded_len(bytes.len())?;
    let place = out.get_mut(..length)?;
    Some(URL_SAFE_NO_PAD.encode(bytes, place.as_out()).len())
}

/// How long the text of this many bytes is; `None` past what memory can hold.
pub(super) fn encoded_len(bytes: usize) -> Option<usize> {
    bytes.checked_mul(4).map(|bits| bits.div_ceil(3))
}

/// The bytes of this text.
///
/// # Errors
/// [`NotBase64Url`], also for a text that has another spelling of the same bytes.
pub fn decode(text: impl AsRef<[u8]>) -> Result<Vec<u8>, NotBase64Url> {
    URL_SAFE_NO_PAD.decode_to_vec(text).map_err(|_| NotBase64Url)
}

/// The bytes of this text, in the caller's buffer.
///
/// # Errors
/// [`NotBase64Url`] as [`decode`], and when the bytes do not fit.
pub fn decode_into<'b>(text: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], NotBase64Url> {
    // Asked first: the library takes for granted that the bytes fit.
    let length = URL_SAFE_NO_PAD
        .decoded_length(text.as_bytes())
        .map_err(|_| NotBase64Url)?;
    let place = buffer.get_mut(..length).ok_or(NotBase64Url)?;
    match URL_SAFE_NO_PAD.decode(text.as_bytes(), place.as_out()) {
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(NotBase64Url),
    }
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

    /// The library works on many bytes at once and has another way for each kind of processor: all of its answers are
    /// compared with those of the plain one.
    #[test]
    fn every_answer_is_that_of_the_plain_implementation() {
        use base64::Engine as _;
        let plain = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        for length in 0..200_u8 {
            let bytes: Vec<u8> = (0..length).map(|at| at.wrapping_mul(37) ^ length).collect();
            let text = encode(&bytes);
            assert_eq!(text, plain.encode(&bytes));
            assert_eq!(encoded_len(bytes.len()), Some(text.len()));
            let mut changed = text.into_bytes();
            for at in 0..changed.len() {
                let was = changed[at];
                for other in 0..=u8::MAX {
                    changed[at] = other;
                    assert_eq!(
                        decode(&changed).ok(),
                        plain.decode(&changed).ok(),
                        "{length} {at} {other}"
                    );
                }
                changed[at] = was;
            }
        }
    }

    #[test]
    fn the_place_may_be_exactly_as_large_as_the_text() {
        let mut place = *b"....";
        assert_eq!(encode_into(&[0xff, 0xef], &mut place[..3]), Some(3));
        assert_eq!(&place, b"_-8.");
        assert_eq!(encode_into(&[0xff, 0xef], &mut place[..2]), None);
        assert_eq!(encoded_len(usize::MAX), None);
    }

    #[test]
    fn the_buffer_may_be_exactly_as_large_as_the_bytes() {
        assert_eq!(decode_into("AAAA", &mut [1; 3]).unwrap(), [0, 0, 0]);
        assert_eq!(decode_into("AAAA", &mut [1; 2]), Err(NotBase64Url));
    }
}
